#!/bin/bash
# info --output=json says what qemu-img says, key by key, about images of many kinds (format.md C-12, C-13); and its
# text starts with the same lines (C-14).
set -euo pipefail
command -v qemu-img qemu-io python3 > /dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
mkdir sub

make() { qemu-img create -q -f qcow2 "$@"; }
make plain 1G
make version2 -o compat=0.10 1M
make small_clusters -o cluster_size=512,refcount_bits=1 64k
make large_clusters -o cluster_size=2M,refcount_bits=64,lazy_refcounts=on 3G
make zstd -o compression_type=zstd,extended_l2=on 1M
make data_file -o data_file=data.raw 1M
make data_file_raw -o data_file=data2.raw,data_file_raw=on 1M
rm data.raw # never opened
make empty 0
make overlay -b plain -F qcow2
make sub/relative -b ../version2 -F qcow2
make unsafe -u -b missing -F raw 1M
make 'unsafe, odd "name"' -u -b "$(printf 'tab\there')" -F raw 1M
make unsafe_protocol -u -b nbd:host:1 -F raw 1M
make unsafe_file -u -b file:other -F raw 1M
make "it's" 1M
make aes --object secret,id=s,data=abc -o encrypt.format=aes,encrypt.key-secret=s 1M
make snapshots 1M
qemu-io -c 'write 0 300k' snapshots > /dev/null
for name in one 'two words' three; do qemu-img snapshot -c "$name" snapshots; done
make bitmaps 64M
qemu-img bitmap --add bitmaps first
qemu-img bitmap --add --disable -g 512 bitmaps second
make dirty 1M
python3 - << 'PYTHON'
with open("dirty", "r+b") as file:
    file.seek(79)
    file.write(b"\3")
PYTHON
head -c 1000001 /dev/zero > raw_image

python3 - << 'PYTHON'
import json, os, subprocess, sys

def ask(tool, *arguments):
    done = subprocess.run([tool, "info", *arguments], capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{tool} info {arguments}: {done.stderr.decode()}")
    return done.stdout.decode()

byre = os.environ["BYRE"]
files = ["sub/relative"] + sorted(f for f in os.listdir(".") if os.path.isfile(f) and not f.startswith("data2.raw"))
failures = 0
for name in files:
    for extra in ([], ["-f", "raw"], ["--backing-chain"]):
        if extra == ["--backing-chain"] and (name.startswith("unsafe") or name == "data_file"):
            continue
        theirs = json.loads(ask("qemu-img", "--output=json", *extra, name))
        ours = json.loads(ask(byre, "--output=json", *extra, name))
        if theirs != ours:
            failures += 1
            print(f"{name} {extra}:\n  qemu-img {theirs}\n  byre     {ours}")
    theirs = ask("qemu-img", name).splitlines()
    ours = ask(byre, name).splitlines()
    if any(ord(c) < 32 for line in ours for c in line):
        failures += 1
        print(f"{name}: control characters in the text")
    # Byre adds to the line of such a name that it is never followed.
    ours = [line.removesuffix(" (not a plain file name: never followed)") for line in ours]
    if "\t" not in "".join(theirs) and ours[: len(theirs)] != theirs:
        failures += 1
        print(f"{name}:\n  " + "\n  ".join(f"{a!r} | {b!r}" for a, b in zip(theirs, ours) if a != b))
print(f"{len(files)} images compared")
sys.exit(failures > 0)
PYTHON
