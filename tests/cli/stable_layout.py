#!/usr/bin/env python3
"""`convert --layout stable`: two versions of a file system, in one of which files were replaced and added, share the
4 MiB chunks of their images whose part of the disk is the same. Images read as their sources and are clean, -m and -W
do not change them, an 8 TiB disk takes neither time nor memory. What cannot be is refused, with nothing changed.
"""

import hashlib
import json
import os
import random
import resource
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
from checked_runs import fail, failures, run  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
MIB = 1 << 20
CHUNK = 4 * MIB


def read(path):
    with open(path, "rb") as file:
        return file.read()


def chunks(path):
    data = read(path)
    return [hashlib.sha256(data[at : at + CHUNK]).digest() for at in range(0, len(data), CHUNK)]


def convert(source, target, *options):
    run(BYRE, "convert", "-f", "raw", "-O", "qcow2", "--layout", "stable", *options, source, target)


def check(source, image):
    run("qemu-img", "check", "-q", image)
    run(BYRE, "check", "-q", image)
    run("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", source, image)


def make_files(draw, files):
    os.makedirs("root", exist_ok=True)
    for name, length in files.items():
        with open(f"root/{name}", "wb") as file:
            file.write(draw.randbytes(length))


def make_file_system(image):
    """The same files lie at the same places, as they do where an image is upgraded in use."""
    if os.path.exists(image):
        os.unlink(image)
    run("mkfs.ext4", "-q", "-E", "hash_seed=11111111-2222-3333-4444-555555555555", "-U",
        "11111111-2222-3333-4444-555555555555", "-d", "root", image, "300M")


def upgrade(image):
    """One package: two files are replaced by others of another length, one is new."""
    draw = random.Random(2)
    for name, length in (("file-10", 900000), ("file-11", 1500000), ("new", 700000)):
        with open("upgraded", "wb") as file:
            file.write(draw.randbytes(length))
        for command in ([f"rm {name}"] if name != "new" else []) + [f"write upgraded {name}"]:
            subprocess.run(["debugfs", "-w", "-R", command, image], capture_output=True, timeout=60, check=True)


def versions_share_chunks():
    draw = random.Random(1)
    make_files(draw, {f"file-{i}": draw.randrange(1, 5 * MIB) for i in range(60)})
    make_file_system("one.raw")
    run("cp", "--sparse=always", "one.raw", "two.raw")
    upgrade("two.raw")
    same = sum(a == b for a, b in zip(chunks("one.raw"), chunks("two.raw")))
    total = len(chunks("one.raw"))
    if not total * 0.5 < same < total:
        fail(f"{same} of {total} chunks of the disks are the same: that shows nothing")
    shared = {}
    for layout in ("stable", "compact"):
        for version in ("one", "two"):
            run(BYRE, "convert", "-f", "raw", "-O", "qcow2", "--layout", layout, f"{version}.raw", f"{version}.qcow2")
            check(f"{version}.raw", f"{version}.qcow2")
        zero = hashlib.sha256(bytes(CHUNK)).digest()
        stored = set(chunks("one.qcow2")) - {zero}
        shared[layout] = sum(chunk in stored for chunk in chunks("two.qcow2"))
    same_stored = sum(a == b != zero for a, b in zip(chunks("one.raw"), chunks("two.raw")))
    print(f"{same_stored} chunks with data unchanged: stable shares {shared['stable']}, compact {shared['compact']}")
    if shared["stable"] < 0.95 * same_stored:
        fail(f"only {shared['stable']} of {same_stored} unchanged chunks are shared")
    if shared["compact"] >= shared["stable"]:
        fail("the compact layout shares as much")


def equal_whatever_is_faster():
    draw = random.Random(3)
    for options in (["cluster_size=512"], ["cluster_size=4k", "refcount_bits=1"], ["cluster_size=64k,refcount_bits=64"],
                    ["cluster_size=2M"], ["compat=0.10"]):
        size = draw.randrange(1, 30 * MIB)
        with open("source.raw", "wb") as file:
            file.truncate(size)
            for _ in range(20):
                at = draw.randrange(size)
                file.seek(at)
                file.write(draw.randbytes(min(size - at, draw.randrange(1, MIB))))
        option = ["-o", ",".join(options)]
        convert("source.raw", "image.qcow2", *option, "-m", "1")
        check("source.raw", "image.qcow2")
        for more in (["-m", "2"], ["-m", "16"], ["-m", "16", "-W"], ["--reflink", "never"]):
            convert("source.raw", "again.qcow2", *option, *more)
            if read("again.qcow2") != read("image.qcow2"):
                fail(f"{option} {more}: another file than with -m 1")
        measured = json.loads(run(BYRE, "measure", "--exact", "--output=json", "--layout", "stable", "-f", "raw", "-O",
                                  "qcow2", *option, "source.raw"))
        if measured["required"] != os.path.getsize("image.qcow2"):
            fail(f"{option}: measured {measured['required']}, made {os.path.getsize('image.qcow2')}")
        for tool in ("qemu-io", f"{BYRE} io"):
            run(*tool.split(), "-f", "qcow2", "-c", f"write -P 7 {size // 3} 100000", "-c", "discard 0 1M",
                "image.qcow2")
            run("qemu-img", "check", "-q", "image.qcow2")
            run(BYRE, "check", "-q", "image.qcow2")


def large_and_sparse():
    run("truncate", "-s", "8T", "large.raw")
    with open("large.raw", "r+b") as file:
        for at in range(0, 8 << 40, 300 << 30):
            file.seek(at)
            file.write(b"data" * 1000)
    convert("large.raw", "large.qcow2")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if peak > 128 * 1024:
        fail(f"8 TiB took {peak} KiB of memory")
    used = os.stat("large.qcow2").st_blocks * 512
    if used > 16 * MIB:
        fail(f"8 TiB with 28 clusters take {used} bytes")
    run("qemu-img", "check", "-q", "large.qcow2")
    run(BYRE, "check", "-q", "large.qcow2")
    run("qemu-io", "-r", "-f", "qcow2", "-c", f"read -P 0 {(300 << 30) + 65536} 1M", "large.qcow2")
    status = json.loads(run("qemu-img", "map", "--output=json", "-f", "qcow2", "large.qcow2"))
    starts = {entry["offset"] - entry["start"] for entry in status if entry.get("offset")}
    if len(starts) != 1 or min(starts) % CHUNK:
        fail(f"clusters begin at {starts}")


def refusals():
    run(BYRE, "create", "-q", "-f", "qcow2", "target.qcow2", "1M")
    before = read("target.qcow2")
    for arguments, says in [
        (["-O", "qcow2", "-c"], "--layout stable and -c do not go together"),
        (["-O", "raw"], "--layout stable: a raw image has no clusters; use -O qcow2"),
        (["-O", "qcow2", "-n"], "(-n)"),
        (["-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2"], "(-B)"),
        (["-O", "qcow2", "--all-snapshots"], "--all-snapshots"),
        (["-O", "qcow2", "-o", "preallocation=metadata"], "preallocation"),
    ]:
        run(BYRE, "convert", "--layout", "stable", *arguments, "-f", "raw", "source.raw", "target.qcow2", code=1,
            says=says)
        if read("target.qcow2") != before:
            fail(f"--layout stable {arguments}: the target was changed")
    run("truncate", "-s", "127G", "wide.raw")
    run(BYRE, "convert", "--layout", "stable", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=512", "wide.raw",
        "target.qcow2", code=1, says="refcount table")
    if read("target.qcow2") != before:
        fail("a disk that is too large: the target was changed")
    run(BYRE, "convert", "--layout", "other", "source.raw", "target.qcow2", code=1, says="compact or stable")


def main():
    large_and_sparse()
    equal_whatever_is_faster()
    versions_share_chunks()
    refusals()
    sys.exit(1 if failures else 0)


main()
