#!/usr/bin/env python3
"""`convert -c --dedup` stores equal clusters once: images read as their sources, qemu-img check and byre check find
them clean, -m does not change them, `measure --exact` knows their length, and they stay clean while qemu-io and byre
write into shared clusters, discard them, and make and delete snapshots. What cannot be is refused, nothing changed.

usage: dedup.py [FIRST_SEED [SOURCES]]
"""

import json
import os
import random
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
from checked_runs import fail, failures, run  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
MIB = 1 << 20
SIZES = [512, 4096, 65536, 2 * MIB]
WIDTHS = [1, 2, 8, 16, 64]
TYPES = ["zlib", "zstd"]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def make_source(draw, cluster, kinds):
    """Clusters of few kinds: zeros, noise, text; the end is no whole cluster."""
    pool = [bytes(cluster)]
    for kind in range(kinds):
        pool.append(draw.randbytes(cluster) if kind % 2 else (b"%d " % kind * cluster)[:cluster])
    count = min(2000, 64 * MIB // cluster) if cluster < 2 * MIB else 12
    data = b"".join(draw.choice(pool) for _ in range(count)) + b"end" * 170
    with open("source.raw", "wb") as file:
        file.write(data)
    return data


def check(what, content):
    """`content` of the image, padded to sectors."""
    run("qemu-img", "check", "-q", "image.qcow2")
    run(BYRE, "check", "-q", "image.qcow2")
    with open("content.raw", "wb") as file:
        file.write(content)
    done = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", "content.raw", "image.qcow2"],
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        fail(f"{what}: qemu-img: {done.stdout}{done.stderr}")
    run(BYRE, "convert", "-q", "-f", "qcow2", "-O", "raw", "image.qcow2", "read.raw")
    if read("read.raw")[:len(content)] != bytes(content):
        fail(f"{what}: byre reads something else")


def commands(draw, content, cluster, count):
    """Writes and discards at random places, and what they make of the content."""
    for _ in range(count):
        length = draw.randrange(1, 5 * cluster)
        at = draw.randrange(len(content) - length)
        if draw.random() < 0.3:
            at -= at % cluster
            length = cluster * draw.randrange(1, 4)
            length = min(length, len(content) - at) // 512 * 512
            content[at : at + length] = bytes(length)
            yield f"write -z -u {at} {length}"
        else:
            pattern = draw.randrange(1, 256)
            content[at : at + length] = bytes([pattern]) * length
            yield f"write -P {pattern} {at} {length}"


def write(draw, tool, content, cluster, count):
    arguments = [argument for command in commands(draw, content, cluster, count) for argument in ("-c", command)]
    run(*tool, "-f", "qcow2", *arguments, "image.qcow2")


def write_into(what, draw, content, cluster, width):
    content = bytearray(content)
    for tool in (["qemu-io"], [BYRE, "io"]) * 2:
        write(draw, tool, content, cluster, 12)
        check(f"{what}, written by {tool[0]}", content)
    if width < 16:
        return
    before = bytes(content)
    snapshot = draw.choice([["qemu-img", "snapshot", "-c", "kept"], [BYRE, "snapshot", "-c", "kept"]])
    run(*snapshot, "image.qcow2")
    write(draw, draw.choice([["qemu-io"], [BYRE, "io"]]), content, cluster, 12)
    check(f"{what}, with a snapshot", content)
    kept = [["qemu-img", "snapshot", "-d", "kept"], [BYRE, "snapshot", "-d", "kept"]]
    if draw.random() < 0.5:
        kept = [["qemu-img", "snapshot", "-a", "kept"], *kept]
        content = bytearray(before)
    for step in kept[:-2] + [draw.choice(kept[-2:])]:
        run(*step, "image.qcow2")
    check(f"{what}, without it", content)
    run(BYRE, "compact", "-q", "image.qcow2")
    check(f"{what}, compact", content)


def one_source(seed):
    draw = random.Random(seed)
    cluster, width, kind = SIZES[seed % 4], WIDTHS[seed // 4 % 5], TYPES[seed // 20 % 2]
    kinds = [1, 5, 40, 800, 40, 800, 5][seed % 7]  # with 800 the counts of small clusters need several blocks
    data = make_source(draw, cluster, kinds)
    options = ["-O", "qcow2", "-o", f"cluster_size={cluster},refcount_bits={width},compression_type={kind}"]
    what = f"seed {seed}: {' '.join(options)}"
    run(BYRE, "convert", "-c", "--dedup", "-f", "raw", *options, "source.raw", "image.qcow2")
    made = read("image.qcow2")
    run(BYRE, "convert", "-c", "-f", "raw", *options, "source.raw", "plain.qcow2")
    plain = os.path.getsize("plain.qcow2")
    if width == 1 and made != read("plain.qcow2"):
        fail(f"{what}: one bit shares something")
    if width >= 16 and 1 < kinds < 800 and cluster < 2 * MIB and len(made) > plain / 2:
        fail(f"{what}: {len(made)} bytes of {plain} remain")
    for requests in ("1", "3", "16"):
        run(BYRE, "convert", "-c", "--dedup", "-m", requests, "-f", "raw", *options, "source.raw", "again.qcow2")
        if read("again.qcow2") != made:
            fail(f"{what}: -m {requests} makes another file")
    run(BYRE, "convert", "-c", "--dedup", "-W", "-f", "raw", *options, "source.raw", "image.qcow2")
    check(f"{what} -W", data)
    measured = json.loads(run(BYRE, "measure", "--exact", "-c", "--dedup", "--output=json", "-f", "raw", *options,
                              "source.raw"))
    if measured["required"] != len(made):
        fail(f"{what}: measured {measured['required']}, made {len(made)}")
    os.rename("again.qcow2", "image.qcow2")
    check(what, data)
    write_into(what, draw, data + bytes(-len(data) % 512), cluster, width)


def refusals():
    run(BYRE, "create", "-q", "-f", "qcow2", "target.qcow2", "1M")
    before = read("target.qcow2")
    dedup = [BYRE, "convert", "--dedup"]
    small = ["source.raw", "target.qcow2"]
    for arguments, says in [
        (["-O", "qcow2"], "--dedup needs -c"),
        (["-c", "-O", "raw"], "raw image"),
        ([], "--dedup: a raw image has no clusters; use -O qcow2"),
        (["-c", "-n", "-O", "qcow2"], "(-n)"),
        (["-c", "-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2"], "(-B)"),
        (["-c", "-O", "qcow2", "--all-snapshots"], "--all-snapshots"),
        (["-c", "-O", "qcow2", "-o", "preallocation=metadata"], "preallocation"),
        (["-c", "-O", "qcow2", "--layout", "stable"], "--layout stable"),
        (["-c", "-O", "qcow2", "--reflink", "always"], "--reflink always"),
    ]:
        run(*dedup, *arguments, "-f", "raw", *small, code=1, says=says)
        if read("target.qcow2") != before:
            fail(f"--dedup {arguments}: the target was changed")
    run(BYRE, "measure", "--dedup", "-c", "-O", "qcow2", "source.raw", code=1, says="needs --exact")


def main():
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 16
    for seed in range(first, first + count):
        one_source(seed)
        if failures:
            print(f"seed {seed}")
            break
    refusals()
    sys.exit(1 if failures else 0)


main()
