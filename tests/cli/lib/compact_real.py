#!/usr/bin/env python3
"""byre compact on a file system: the system's own files, half of them deleted, what they used trimmed away.

  compact_real.py [--tree DIRECTORY] [--kills COUNT]

Needs root, for a loop device. The image has five snapshots, taken while files were deleted.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from used_clusters import Image  # noqa: E402

BYRE = os.environ.get("BYRE", "byre")
SNAPSHOTS = 5


def run(*arguments, code=0):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(arguments)}: exit {done.returncode}, not {code}: {done.stderr}")
    return done.stdout


def make_file_system(tree):
    used = int(run("du", "-sx", "--block-size=1M", tree).split()[0])
    run("truncate", "-s", f"{used * 3 // 2 + 200}M", "fs.raw")
    run("mkfs.ext4", "-q", "-F", "-d", tree, "fs.raw")


def delete_some(draw, share):
    os.makedirs("mnt", exist_ok=True)
    run("mount", "-o", "loop", "fs.raw", "mnt")
    try:
        for folder, _, names in os.walk("mnt"):
            for name in names:
                if draw.random() < share:
                    os.unlink(os.path.join(folder, name))
        run("fstrim", "mnt")
    finally:
        run("umount", "mnt")


def write_changes():
    """Only what differs, so that snapshots share the rest."""
    run(BYRE, "convert", "-O", "qcow2", "-B", "disk.qcow2", "-F", "qcow2", "fs.raw", "over.qcow2")
    run(BYRE, "commit", "-q", "-d", "over.qcow2")


def kills(count, draw):
    begin = time.monotonic()
    run("cp", "fragmented.qcow2", "killed.qcow2")
    run(BYRE, "compact", "-q", "killed.qcow2")
    whole = time.monotonic() - begin
    hits = 0
    run("cp", "fragmented.qcow2", "killed.qcow2")
    while hits < count:
        process = subprocess.Popen([BYRE, "compact", "-q", "killed.qcow2"])
        try:
            process.wait(timeout=draw.uniform(0, whole / 4))
            run("cp", "fragmented.qcow2", "killed.qcow2")  # it was done: begin anew
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.05)
            hits += 1
            done = subprocess.run(["qemu-img", "check", "killed.qcow2"], capture_output=True, text=True, check=False)
            if done.returncode not in (0, 3):
                raise SystemExit(f"kill {hits}: {done.stdout}{done.stderr}")
            run(BYRE, "compare", "-q", "fs.raw", "killed.qcow2")
    run(BYRE, "compact", "-q", "killed.qcow2")
    run("qemu-img", "check", "killed.qcow2")
    run("qemu-img", "compare", "fs.raw", "killed.qcow2")
    print(f"killed {hits} times: what the disk holds stays")


def compact_and_compare(snapshots):
    before = os.path.getsize("disk.qcow2")
    begin = time.monotonic()
    run(BYRE, "compact", "-q", "disk.qcow2")
    seconds = time.monotonic() - begin
    after = os.path.getsize("disk.qcow2")
    run("qemu-img", "check", "disk.qcow2")
    run("qemu-img", "compare", "fs.raw", "disk.qcow2")
    for i in range(snapshots):
        run("qemu-img", "convert", "-l", f"snapshot.name=s{i}", "-O", "raw", "disk.qcow2", "out.raw")
        run("cmp", f"s{i}.raw", "out.raw")
    used = Image("disk.qcow2")
    least = len(used.used) << used.bits
    measured = json.loads(run(BYRE, "measure", "--output=json", "-O", "qcow2", "disk.qcow2"))["required"]
    print(f"{snapshots} snapshots: {before >> 20} MiB before, {after >> 20} MiB after in {seconds:.1f} s; referred to "
          f"{least >> 20} MiB; measure, for the disk alone, {measured >> 20} MiB", flush=True)
    wanted = least if snapshots else measured
    if not wanted * 0.99 <= after <= wanted * 1.01:
        raise SystemExit("not within 1 % of that")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tree", default="/usr")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    make_file_system(arguments.tree)
    run(BYRE, "convert", "-O", "qcow2", "fs.raw", "disk.qcow2")
    for i in range(SNAPSHOTS):
        delete_some(draw, 0.13)  # half of them, in five steps
        write_changes()
        run("qemu-img", "snapshot", "-c", f"s{i}", "disk.qcow2")
        run("cp", "--sparse=always", "fs.raw", f"s{i}.raw")
    compact_and_compare(SNAPSHOTS)
    for i in range(SNAPSHOTS):
        run("qemu-img", "snapshot", "-d", f"s{i}", "disk.qcow2")
        os.unlink(f"s{i}.raw")
    run("cp", "disk.qcow2", "fragmented.qcow2")
    compact_and_compare(0)
    kills(arguments.kills, draw)


main()
