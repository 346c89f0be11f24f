#!/usr/bin/env python3
"""`byre dd` and qemu-img's: exit code, and every byte of the target, for many operands; then what only byre has."""

import itertools
import os
import random
import subprocess
import sys

BYRE = os.environ.get("BYRE", "byre")
failures = 0


def run(*arguments, data=None):
    return subprocess.run(arguments, input=data, capture_output=True, timeout=60, check=False)


def fail(*what):
    global failures
    failures += 1
    print(*what)


def content(path):
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        data = file.read()
    return data


def raw(path, image_format):
    run("qemu-img", "convert", "-f", image_format, "-O", "raw", path, "out.raw")
    return content("out.raw")


def compare(words, target_format):
    results = []
    for tool in (BYRE, "qemu-img"):
        if os.path.exists("target"):
            os.unlink("target")
        done = run(tool, "dd", *words, "of=target")
        there = os.path.exists("target")
        results.append((done.returncode, raw("target", target_format) if there and done.returncode == 0 else None))
    if results[0] != results[1]:
        sizes = [result[1] and len(result[1]) for result in results]
        fail(words, "exit codes", results[0][0], results[1][0], "sizes", sizes)


def make_images():
    draw = random.Random(1)
    with open("in.raw", "wb") as file:
        file.write(draw.randbytes(100000))
        file.write(bytes(200000))
        file.write(draw.randbytes(33333))
    run("qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=4096", "in.raw", "in.qcow2")


def operands():
    for block, skip, count in itertools.product(("", "bs=777", "bs=3000", "bs=64k", "bs=1M"), ("", "skip=1", "skip=77"),
                                                ("", "count=0", "count=1", "count=90")):
        yield [word for word in (block, skip, count) if word]
    for odd in ("bs=0", "bs=4G", "bs=-1", "bs=1x", "count=x", "foo=1", "conv=notrunc", "skip=1G", "bs=1k", "bs=0x200"):
        yield [odd]


def streams_and_places():
    whole = content("in.raw")
    out = run(BYRE, "dd", "-f", "raw", "bs=1000", "skip=3", "count=9", "if=in.raw", "of=-").stdout
    if out != whole[3000:9000]:
        fail("to a stream:", len(out))
    for image_format in ("raw", "qcow2"):
        run(BYRE, "dd", "-O", image_format, "if=-", "of=stream", data=whole)
        got = raw("stream", image_format)
        if got[: len(whole)] != whole or len(got) != -(-len(whole) // 512) * 512 or got[len(whole):].strip(b"\0"):
            fail("from a stream:", image_format, len(got))
        run("qemu-img", "create", "-q", "-f", image_format, "place", "1M")
        run("qemu-io", "-f", image_format, "-c", "write -P 5 0 1M", "place")
        words = ["dd", "-n", "-f", "raw", "-O", image_format, "if=in.raw", "of=place"]
        done = run(BYRE, *words, "bs=1000", "seek=7", "count=200")
        got = raw("place", image_format)
        if done.returncode or got != b"\5" * 7000 + whole[:200000] + b"\5" * ((1 << 20) - 207000):
            fail("into a place:", image_format, done.stderr)
        too_far = run(BYRE, *words, "bs=1M", "seek=1")
        if too_far.returncode != 1 or raw("place", image_format) != got:
            fail("behind the end:", image_format, too_far.stderr)


make_images()
for source_format, target_format in (("raw", "raw"), ("qcow2", "raw"), ("raw", "qcow2")):
    for words in operands():
        compare(["-f", source_format, "-O", target_format, f"if=in.{source_format}", *words], target_format)
compare(["if=none"], "raw")
if run(BYRE, "dd", "if=in.raw").returncode != 1 or run(BYRE, "dd", "of=target").returncode != 1:
    fail("a missing operand is no error")
streams_and_places()
sys.exit(1 if failures else 0)
