#!/bin/bash
# map tells the same as qemu-img's (docs/format.md C-15, C-16), but for one detail: Byre looks into every host file for
# holes, so that a stored stretch may come as parts that read as zeros and parts that do not.
set -euo pipefail
command -v qemu-img qemu-io python3 > /dev/null || exit 77
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

qemu-img create -q -f qcow2 base 8M
qemu-io -c 'write 0 1M' -c 'write 3M 64k' -c 'write -z 4M 1M' base > /dev/null
qemu-img create -q -f qcow2 -b base -F qcow2 overlay 16M
qemu-io -c 'write 512k 100k' -c 'write -z 3M 64k' -c 'discard 12M 1M' overlay > /dev/null
qemu-img create -q -f qcow2 -o cluster_size=4k -b overlay -F qcow2 top
qemu-io -c 'write 5000 10000' -c 'write 15M 1M' top > /dev/null
qemu-img create -q -f qcow2 -o preallocation=metadata preallocated 4M
qemu-io -c 'write -P 7 0 3M' preallocated > /dev/null
qemu-img convert -c -O qcow2 base compressed
qemu-img create -q -f qcow2 -b base -F qcow2 -o compat=0.10 version2 7M
qemu-io -c 'write 1M 128k' version2 > /dev/null
qemu-img create -q -f qcow2 empty 0
qemu-img create -q -f raw raw_image 1M
qemu-io -f raw -c 'write 64k 64k' raw_image > /dev/null
sync .

python3 - << 'PYTHON'
import json, os, subprocess, sys

def ask(tool, *arguments):
    return subprocess.run([tool, "map", "--output=json", *arguments], capture_output=True, check=True).stdout

# Holes in stored stretches are taken for data, and neighbours that are then alike are joined.
def normal(text):
    entries = []
    for entry in json.loads(text):
        entry.pop("compressed", None)
        if entry["data"]:
            entry["zero"] = False
        last = entries[-1] if entries else None
        fits = last and all(last.get(k) == entry.get(k) for k in ("depth", "present", "zero", "data"))
        fits = fits and ("offset" in last) == ("offset" in entry)
        if fits and ("offset" not in last or last["offset"] + last["length"] == entry["offset"]):
            last["length"] += entry["length"]
        else:
            entries.append(entry)
    return entries

failures = 0
for name in ("base", "overlay", "top", "preallocated", "compressed", "version2", "empty", "raw_image"):
    for extra in ([], ["-s", "70000", "-l", "5000000"], ["-s", "100M"], ["-l", "0"]):
        extra = (["-f", "raw"] if name == "raw_image" else []) + extra
        theirs, ours = normal(ask("qemu-img", *extra, name)), normal(ask(os.environ["BYRE"], *extra, name))
        if theirs != ours:
            failures += 1
            print(f"{name} {extra}:\n  qemu-img {theirs}\n  byre     {ours}")
sys.exit(failures > 0)
PYTHON

# The text form: the same columns; compressed ranges make it stop with an error.
[[ $("$BYRE" map -f raw raw_image) == $(qemu-img map -f raw raw_image) ]]
[[ $("$BYRE" map empty) == $(qemu-img map empty) ]]
! "$BYRE" map compressed > /dev/null 2> error
grep -q '^byre: .*compressed' error
