#!/usr/bin/env python3
"""qemu-img compare finds every image that byre converts identical to its source, and qemu-img check finds it clean.

  compare_converted.py [--sparse-mib COUNT]    how much of the 8 TiB disk is used (default: 64)
"""

import argparse
import itertools
import os
import random
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))

from content import Content  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
CLUSTERS = [1 << bits for bits in range(9, 22)]
COMPRESSIONS = {"plain": [], "deflate": ["-c"], "zstd": ["-c", "-o", "compression_type=zstd"]}
MIB = 1 << 20
TIB = 1 << 40


def run(*arguments):
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"exit status {done.returncode}: {' '.join(arguments)[:3000]}\n{done.stdout}{done.stderr}")
    return done.stdout


class Judge:
    def __init__(self):
        self.converted = 0

    def convert(self, source, source_format, target, target_format, *options):
        """Converts with byre; the reference compares and checks. The caller removes the target."""
        run(BYRE, "convert", "-f", source_format, "-O", target_format, *options, source, target)
        said = run("qemu-img", "compare", "-f", source_format, "-F", target_format, source, target)
        assert said == "Images are identical.\n", (source, target, options, said)
        if target_format == "qcow2":
            run("qemu-img", "check", "-q", "-f", "qcow2", target)
        self.converted += 1

    def each_way(self, source, source_format, *options):
        """Plain, deflate, zstd and raw."""
        for words in COMPRESSIONS.values():
            self.convert(source, source_format, "out.qcow2", "qcow2", *options, *words)
            os.unlink("out.qcow2")
        self.convert(source, source_format, "out.raw", "raw")
        os.unlink("out.raw")


def mixed_content(size, seed):
    """Noise, text, zeros and holes, in runs from a few bytes to a mebibyte."""
    draw = random.Random(seed)
    noise = draw.randbytes(300007)
    text = b" ".join(str(draw.randrange(1000)).encode() for _ in range(5000))
    content = Content(size)
    for length in itertools.chain([1, 511, 512, 4095, 65536, MIB], (draw.randrange(1, 100000) for _ in range(60))):
        begin = draw.randrange(0, size - length)
        content.write(begin, begin + length, draw.choice([0, 0xFF, (noise, begin), (noise, begin), (text, begin)]))
    return content


def test_every_cluster_size(judge):
    content = mixed_content(5 * MIB + 3 * 512, 1)
    content.store("source.raw")
    for cluster in CLUSTERS:
        for words in COMPRESSIONS.values():
            judge.convert("source.raw", "raw", "a.qcow2", "qcow2", *words, "-o", f"cluster_size={cluster}")
            # There and back again.
            judge.convert("a.qcow2", "qcow2", "back.raw", "raw")
            assert content.difference("back.raw") is None, (cluster, words, content.difference("back.raw"))
            other = CLUSTERS[-1 - CLUSTERS.index(cluster)]
            judge.convert("a.qcow2", "qcow2", "b.qcow2", "qcow2", "-o", f"cluster_size={other}")


def test_options(judge):
    mixed_content(3 * MIB + 512, 2).store("source.raw")
    for words in (["-o", "compat=0.10"], ["-c", "-o", "compat=0.10,cluster_size=4k"], ["-o", "lazy_refcounts=on"],
                  ["-c", "-o", "refcount_bits=1"], ["-o", "refcount_bits=64,cluster_size=512"], ["-S", "0"],
                  ["-S", "64k"], ["-m", "1"], ["-c", "-m", "16", "-W"], ["-m", "16", "-W"], ["-m", "1", "-c"],
                  ["-o", "preallocation=metadata"], ["-o", "preallocation=full"]):
        judge.convert("source.raw", "raw", "out.qcow2", "qcow2", *words)
        os.unlink("out.qcow2")


def test_sources_of_the_reference(judge):
    """Images that the reference compressed, with the payloads it makes."""
    mixed_content(4 * MIB, 3).store("source.raw")
    for cluster in (512, 4096, 65536, 2 << 20):
        for kind in ("zlib", "zstd"):
            run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
                f"cluster_size={cluster},compression_type={kind}", "source.raw", "source.qcow2")
            judge.each_way("source.qcow2", "qcow2")


def write_commands(draw, size, count):
    commands = []
    for _ in range(count):
        length = draw.randrange(1, 200000)
        begin = draw.randrange(0, size - length)
        kind = draw.choice(["write -P 17", "write -P 99", "write -s noise", "write -s noise", "write -z", "discard"])
        commands += ["-c", f"{kind} -q {begin} {length}" if kind == "discard" else f"{kind} {begin} {length}"]
    return commands


def make_chain(depth):
    """Layers of different sizes and cluster sizes over a raw file; the top is layer `depth`."""
    draw = random.Random(depth)
    mixed_content(4 * MIB, depth).store("layer0")
    for layer in range(1, depth + 1):
        size = draw.choice([3 * MIB + 512, 4 * MIB, 4 * MIB, 5 * MIB + 1024])
        options = f"cluster_size={draw.choice([512, 4096, 65536, 65536, 2 << 20])}"
        run(BYRE, "create", "-q", "-f", "qcow2", "-o", options, "-b", f"layer{layer - 1}", "-F",
            "raw" if layer == 1 else "qcow2", f"layer{layer}", str(size))
        commands = write_commands(draw, size, 5)
        run(BYRE, "io", "-f", "qcow2", *commands, f"layer{layer}")
        run("qemu-img", "check", "-q", f"layer{layer}")


def test_chains(judge):
    with open("noise", "wb") as file:
        file.write(random.Random(4).randbytes(50021))
    for depth in (1, 10, 50):
        make_chain(depth)
        top, below = f"layer{depth}", f"layer{depth - 1}"
        judge.each_way(top, "qcow2")
        below_format = "raw" if depth == 1 else "qcow2"
        judge.convert(top, "qcow2", "overlay.qcow2", "qcow2", "-B", below, "-F", below_format)
        judge.convert(top, "qcow2", "overlay.qcow2", "qcow2", "-c", "-B", "layer0", "-F", "raw")


def test_huge_sparse_disk(judge, used_mib):
    with open("noise", "wb") as file:
        file.write(random.Random(5).randbytes(700001))
    for cluster in ("64k", "2M"):
        run(BYRE, "create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster}", "huge.qcow2", str(8 * TIB))
        draw = random.Random(6)
        places = [0, 8 * TIB - MIB] + [draw.randrange(0, 8 * TIB - MIB) for _ in range(used_mib - 2)]
        for at in range(0, len(places), 256):
            commands = []
            for place in places[at:at + 256]:
                commands += ["-c", f"write -q -s noise {place} {MIB}"]
            run(BYRE, "io", "-f", "qcow2", *commands, "huge.qcow2")
        run("qemu-img", "check", "-q", "huge.qcow2")
        judge.each_way("huge.qcow2", "qcow2", "-o", f"cluster_size={cluster}")
        os.unlink("huge.qcow2")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparse-mib", type=int, default=64)
    arguments = parser.parse_args()
    if not shutil.which("qemu-img"):
        return 77
    os.chdir(os.environ.get("TEST_DIR", "."))
    judge = Judge()
    for test in (test_every_cluster_size, test_options, test_sources_of_the_reference, test_chains):
        test(judge)
        print(f"{test.__name__}: {judge.converted} images so far", flush=True)
    test_huge_sparse_disk(judge, arguments.sparse_mib)
    print(f"{judge.converted} converted images are identical to their sources")
    return 0


if __name__ == "__main__":
    sys.exit(main())
