#!/usr/bin/env python3
"""Each level of `convert -c`, with both types and all cluster sizes: qemu-img finds nothing wrong and reads the same,
the bytes do not depend on -m, and the top levels of deflate are at least as small as qemu-img's images."""

import hashlib
import itertools
import os
import random
import subprocess
import sys
from pathlib import Path

BYRE = os.environ["BYRE"]
SOURCE = Path("source.raw")
SIZE = 6 << 20
CLUSTERS = [512, 1024, 4096, 16384, 65536, 262144, 1 << 20, 2 << 20]
LEVELS = range(1, 10)


def run(*words, code=0):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != code:
        sys.exit(f"exit code {done.returncode}, not {code}: {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done


def make_source():
    """Programs and documents of this machine, with noise, zeros and a short end."""
    draw = random.Random(5)
    pieces = []
    for path in sorted(itertools.chain(Path("/usr/bin").iterdir(), Path("/usr/include").glob("*.h"))):
        if path.is_file() and path.stat().st_size > 20000:
            pieces.append(path.read_bytes()[:400000])
        if sum(map(len, pieces)) > SIZE:
            break
    content = bytearray(b"".join(pieces)[:SIZE])
    content[1 << 20:(1 << 20) + 300000] = draw.randbytes(300000)
    content[2 << 20:(2 << 20) + 500000] = bytes(500000)
    SOURCE.write_bytes(content + b"end" * 700)


def convert(target, kind, cluster, *options):
    run(BYRE, "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", "-o",
        f"compression_type={kind},cluster_size={cluster}", *options, SOURCE, target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def check(target, cluster, what):
    run("qemu-img", "check", "-q", target)
    run("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", SOURCE, target)
    tables = 6 * cluster
    if target.stat().st_size - tables > SIZE * 0.9:
        sys.exit(f"{what}: {target.stat().st_size} bytes")


def check_all():
    for kind, cluster, level in itertools.product(["zlib", "zstd"], CLUSTERS, LEVELS):
        if level % 3 != CLUSTERS.index(cluster) % 3 and cluster != 65536:
            continue  # a third for each size but the common one
        target = Path("target.qcow2")
        digests = {convert(target, kind, cluster, "--compression-level", level, "-m", parallel)
                   for parallel in ((1, 16) if level % 4 == 1 else (8,))}
        if len(digests) != 1:
            sys.exit(f"{kind}, {cluster}, level {level}: other bytes with another -m")
        check(target, cluster, f"{kind}, {cluster}, level {level}")


def check_sizes():
    """What qemu-img makes is no smaller, but for the file's end, which is ours a whole cluster."""
    cluster = 65536
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", SOURCE, "theirs.qcow2")
    theirs = Path("theirs.qcow2").stat().st_size
    sizes = []
    for level in (1, 3, 6, 9):
        convert(Path("ours.qcow2"), "zlib", cluster, "--compression-level", level)
        sizes.append(Path("ours.qcow2").stat().st_size)
    if sorted(sizes, reverse=True) != sizes or sizes[-1] >= theirs + cluster:
        sys.exit(f"levels 1, 3, 6, 9 make {sizes} bytes, qemu-img {theirs}")


def check_refusals():
    for words, says in ((["-c", "--compression-level", "0"], "must be 1"),
                        (["-c", "--compression-level", "10"], "to 9"),
                        (["--compression-level", "3"], "no effect without -c")):
        done = run(BYRE, "convert", *words, "-O", "qcow2", SOURCE, "refused.qcow2", code=1)
        if says not in done.stderr or Path("refused.qcow2").exists():
            sys.exit(f"{words}: {done.stderr}")


if __name__ == "__main__":
    make_source()
    check_refusals()
    check_all()
    check_sizes()
