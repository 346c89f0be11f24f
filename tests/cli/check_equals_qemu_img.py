#!/usr/bin/env python3
"""byre check reports what qemu-img check reports, key by key, and ends with the same code: on sound images of every
kind, with leaks, left dirty by a killed writer, and on raw files."""
import json
import os
import random
import subprocess
import sys

BYRE = os.environ["BYRE"]
OPTIONS = ["cluster_size=512", "cluster_size=4k", "refcount_bits=1", "refcount_bits=2", "refcount_bits=8",
           "refcount_bits=64", "cluster_size=2M", "cluster_size=16k,extended_l2=on", "compat=0.10",
           "compression_type=zstd", "lazy_refcounts=on", "preallocation=metadata"]
NO_SNAPSHOT = ("refcount_bits=1", "refcount_bits=2")


def run(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def reported(tool, path):
    human = run(tool, "check", path)
    machine = run(tool, "check", "--output=json", path)
    figures = json.loads(machine.stdout) if machine.stdout else {}
    figures.pop("findings", None)
    return human.returncode, machine.returncode, figures, human.stdout.split("\n")[-4:]


def compare(path, failures):
    ours, theirs = reported(BYRE, path), reported("qemu-img", path)
    if ours != theirs:
        failures.append(f"{path}: {ours} against {theirs}")


def requests(draw):
    words = []
    for _ in range(40):
        offset, length = draw.randrange(0, 100_000) * 512, draw.randrange(1, 200) * 512
        words += ["-c", f"write -q -P {draw.randrange(1, 256)} {offset} {length}"]
    return words + ["-c", "discard -q 1M 2M", "-c", "write -q -z 4M 1M", "-c", "write -q -c -P 7 56M 2M"]


def change_counts(path, draw):
    """Counts that are too high, within the file and behind its end."""
    with open(path, "r+b") as file:
        file.seek(48)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        block = int.from_bytes(file.read(8), "big")
        file.seek(block + 2 * 5)
        count = int.from_bytes(file.read(2), "big")
        file.seek(block + 2 * 5)
        file.write((count + draw.randrange(1, 4)).to_bytes(2, "big"))


def main():
    draw = random.Random(7)
    failures = []
    checked = 0
    for number, options in enumerate(OPTIONS):
        path = f"{number}.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "64M")
        run("qemu-io", *requests(draw), path)
        compare(path, failures)
        checked += 1
        if options not in NO_SNAPSHOT:
            for name in ("a", "b"):
                run("qemu-img", "snapshot", "-c", name, path)
                run("qemu-io", "-c", f"write -q -P 9 {draw.randrange(0, 40)}M 10M", path)
            compare(path, failures)
            checked += 1
    change_counts("8.qcow2", draw)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", "dirty.qcow2", "64M")
    run("qemu-io", "-c", "write -q 0 1M", "-c", "flush", "-c", "write -q 10M 1M", "-c", "flush", "-c", "sigraise 9",
        "dirty.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=outside.raw", "outside.qcow2", "64M")
    run("qemu-io", "-c", "write -q 1M 5M", "outside.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "bitmaps.qcow2", "64M")
    run("qemu-img", "bitmap", "--add", "bitmaps.qcow2", "first")
    run("qemu-io", "-c", "write -q 1M 5M", "bitmaps.qcow2")
    run("qemu-img", "create", "-q", "-f", "raw", "plain.raw", "1M")
    for path in ("8.qcow2", "dirty.qcow2", "outside.qcow2", "bitmaps.qcow2"):
        compare(path, failures)
        checked += 1
    if run(BYRE, "check", "plain.raw").returncode != 63 or run(BYRE, "check", "missing.qcow2").returncode != 1:
        failures.append("raw or missing files do not end with 63 and 1")
    print("\n".join(failures))
    print(f"{checked} images, {len(failures)} differ")
    return 1 if failures or checked < 24 else 0


if __name__ == "__main__":
    sys.exit(main())
