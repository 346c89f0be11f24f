#!/usr/bin/env python3
"""`measure --exact` tells to the byte how long the file is that convert makes: of random raw and qcow2 sources, with
zeros in their data, of odd sizes, for all cluster sizes, refcount widths, versions and preallocations, compressed or
not; of a snapshot, and of all of them.

usage: measure_is_exact.py [FIRST_SEED [SOURCES]]
"""

import json
import os
import random
import subprocess
import sys

BYRE = os.environ.get("BYRE", "byre")
failures = 0


def fail(text):
    global failures
    failures += 1
    print(text)


def run(*arguments, code=0):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != code:
        fail(f"{' '.join(arguments)}: exit {done.returncode}, not {code}: {done.stderr}")
    return done.stdout + done.stderr


def make_source(draw):
    size = draw.randrange(1, 12 << 20) if draw.random() < 0.7 else draw.randrange(1, 300)
    with open("source.raw", "wb") as file:
        file.truncate(size)
        for _ in range(draw.randrange(6)):
            file.seek(draw.randrange(size))
            length = min(size - file.tell(), draw.randrange(1, 1 << 20))
            file.write(draw.choice([bytes(length), draw.randbytes(length), b"x" + bytes(length - 1)]))
    if draw.random() < 0.5:
        return ["-f", "raw", "source.raw"]
    run(BYRE, "convert", "-f", "raw", "-S", draw.choice(["0", "4k"]), "-O", "qcow2", "-o",
        f"cluster_size={512 << draw.randrange(8)}", "source.raw", "source.qcow2")
    return ["-f", "qcow2", "source.qcow2"]


def random_options(draw):
    version = draw.choice(["0.10", "1.1", "1.1"])
    options = [f"cluster_size={512 << draw.randrange(13)}", f"compat={version}"]
    if version == "1.1":
        options += [f"refcount_bits={1 << draw.randrange(7)}", f"lazy_refcounts={draw.choice(['on', 'off'])}"]
    if draw.random() < 0.3:
        options.append("preallocation=" + draw.choice(["metadata", "falloc", "full"]))
    return ",".join(options)


def measured(*arguments):
    return json.loads(run(BYRE, "measure", "--exact", "--output=json", *arguments))


def compare(seed, draw):
    source = make_source(draw)
    for _ in range(4):
        options = ["-O", "qcow2", "-o", random_options(draw), "--reflink", "never"]
        if draw.random() < 0.3 and "preallocation" not in options[3]:
            # zstd: ISA-L now and then finds other matches in the same input
            options[3] += ",compression_type=zstd" if "compat=1.1" in options[3] else ""
            options += ["-c"] if "zstd" in options[3] else []
        required = measured(*options, *source)["required"]
        run(BYRE, "convert", *options, "-m", draw.choice(["1", "8", "16"]), *source, "target.qcow2")
        if required != os.path.getsize("target.qcow2"):
            fail(f"seed {seed}: {options} {source}: {required} bytes measured, {os.path.getsize('target.qcow2')} made; "
                 f"repeat with: measure_is_exact.py {seed} 1")
    run(BYRE, "convert", "-O", "raw", *source, "target.raw")
    if measured("-O", "raw", *source)["required"] != os.path.getsize("target.raw"):
        fail(f"seed {seed}: raw: {measured('-O', 'raw', *source)}, {os.path.getsize('target.raw')} made")


def others():
    run(BYRE, "create", "-q", "-f", "qcow2", "empty.qcow2", "3T")
    run(BYRE, "convert", "-O", "qcow2", "empty.qcow2", "target.qcow2")
    if measured("-O", "qcow2", "--size", "3T")["required"] != os.path.getsize("target.qcow2"):
        fail("an empty disk is not measured as it is made")
    run(BYRE, "io", "-c", "write 1M 3M", "empty.qcow2")
    run(BYRE, "snapshot", "-c", "one", "empty.qcow2")
    run(BYRE, "io", "-c", "write 100M 5M", "empty.qcow2")
    run(BYRE, "convert", "-O", "qcow2", "-l", "one", "empty.qcow2", "target.qcow2")
    if measured("-O", "qcow2", "-l", "one", "empty.qcow2")["required"] != os.path.getsize("target.qcow2"):
        fail("a snapshot is not measured as it is made")
    all_states = ["-O", "qcow2", "--all-snapshots", "empty.qcow2"]
    run(BYRE, "convert", *all_states, "target.qcow2")
    if measured(*all_states)["required"] != os.path.getsize("target.qcow2"):
        fail("an image with its snapshots is not measured as it is made")
    for options, says in (("extended_l2=on", "extended_l2=on"), ("backing_file=a,backing_fmt=raw", "backing file")):
        message = run(BYRE, "measure", "--exact", "-O", "qcow2", "-o", options, "empty.qcow2", code=1)
        if says not in message or message.count("\n") != 1:
            fail(f"{options}: {message}")


def main():
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for seed in range(first, first + (int(sys.argv[2]) if len(sys.argv) > 2 else 40)):
        compare(seed, random.Random(seed))
    others()
    return 1 if failures else 0


sys.exit(main())
