#!/usr/bin/env python3
"""byre compact on fragmented images with snapshots: contents stay, holes go; killed at any moment, run again.

  compact.py [--images COUNT] [--kills COUNT] [--seed SEED]
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
from content import digest_of_raw  # noqa: E402  (found beside this file)
from used_clusters import Image  # noqa: E402

BYRE = os.environ.get("BYRE", "byre")


def run(*arguments, code=0):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(arguments)}: exit {done.returncode}, not {code}: {done.stderr}")
    return done.stdout


def expect(truth, what):
    if not truth:
        raise SystemExit(what)


def contents(image):
    """What the active disk and each snapshot hold, as the reference reads them."""
    ids = [entry["id"] for entry in json.loads(run("qemu-img", "info", "--output=json", image)).get("snapshots", [])]
    found = {}
    for snapshot in [None, *ids]:
        words = ["-l", f"snapshot.id={snapshot}"] if snapshot else []
        run("qemu-img", "convert", *words, "-O", "raw", image, "out.raw")
        found[snapshot] = digest_of_raw("out.raw")
    os.unlink("out.raw")
    return found


def random_requests(draw, size, cluster, count):
    commands = []
    for _ in range(count):
        length = cluster * draw.randint(1, 40)
        at = draw.randrange(max(1, (size - length) // cluster)) * cluster
        kind = draw.random()
        if kind < 0.2:
            commands += [f"discard -q {at} {length}"]
        elif kind < 0.3:
            commands += [f"write -q -z {at} {length}"]
        elif kind < 0.4:
            commands += [f"write -q -P 0 {at} {length}"]
        elif kind < 0.5:
            commands += [f"write -q -c -P {draw.randrange(256)} {at} {cluster}"]
        else:
            commands += [f"write -q -P {draw.randrange(256)} {at + draw.randrange(cluster)} {length}"]
    return commands


def requests(image, commands):
    """Writing compressed fails where something is: that is no matter here. It has a process of its own, since the
    reference corrupts an image to which one process writes compressed and frees such clusters (docs/format.md 27.1)."""
    for of_kind in ([c for c in commands if c.startswith("write -q -c") is compressed] for compressed in (False, True)):
        words = [word for command in of_kind for word in ("-c", command)]
        if words:
            subprocess.run(["qemu-io", "-f", "qcow2", *words, image], capture_output=True, timeout=300, check=False)


def make_image(draw, path, size, cluster, snapshots, count, may_be_backed=True):
    version = draw.choice(["0.10", "1.1", "1.1"])
    options = f"cluster_size={cluster},compat={version}"
    backing = ["-b", "base.raw", "-F", "raw"] if may_be_backed and draw.random() < 0.3 else []
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, *backing, path, str(size))
    for i in range(snapshots):
        requests(path, random_requests(draw, size, cluster, count))
        run("qemu-img", "snapshot", "-c", f"s{i}", path)
    requests(path, random_requests(draw, size, cluster, count))
    for i in draw.sample(range(snapshots), snapshots // 2):
        run("qemu-img", "snapshot", "-d", f"s{i}", path)


def check_clean(image):
    run("qemu-img", "check", image)
    run(BYRE, "check", "-q", image)


def check_size(image, what):
    used = Image(image)
    clusters = -(-os.path.getsize(image) // (1 << used.bits))
    spare = clusters - len(used.used)
    # A payload is moved by whole sectors and must lie in one piece.
    allowed = clusters // 100 + (used.payloads and 4 + clusters // 10)
    expect(0 <= spare <= allowed, f"{what}: {clusters} clusters, {spare} of them not used")


def check_dropped(dropped, old, new, what):
    """Clusters are counted once, however many snapshots have them. Refcount blocks that go are not counted."""
    gone = (len(old.plain) - len(new.plain)) << new.bits
    expect(dropped <= gone <= dropped + (8 << new.bits), f"{what}: {dropped} dropped, {gone} gone")


def one_image(seed):
    draw = random.Random(seed)
    cluster = draw.choice([512, 4096, 65536])
    size = cluster * draw.randint(100, 600 if cluster == 65536 else 3000)
    make_image(draw, "a.qcow2", size, cluster, draw.randint(0, 6), 20)
    before, old_size, old = contents("a.qcow2"), os.path.getsize("a.qcow2"), Image("a.qcow2")
    words = ["--zeroes"] if draw.random() < 0.5 else []
    report = json.loads(run(BYRE, "compact", "--output=json", *words, "a.qcow2"))
    expect(report["file-size"] == os.path.getsize("a.qcow2") <= old_size, f"seed {seed}: {report}")
    expect(contents("a.qcow2") == before, f"seed {seed}: it reads differently")
    check_clean("a.qcow2")
    check_size("a.qcow2", f"seed {seed}")
    check_dropped(report["dropped"], old, Image("a.qcow2"), f"seed {seed}")
    again = json.loads(run(BYRE, "compact", "--output=json", *words, "a.qcow2"))
    expect(again["file-size"] <= report["file-size"], f"seed {seed}: longer the second time")
    requests("a.qcow2", random_requests(draw, size, cluster, 10))  # it is an image like any other
    run("qemu-img", "check", "a.qcow2")
    return old_size, report["file-size"]


def kill_at(image, seconds):
    process = subprocess.Popen([BYRE, "compact", "-q", "--zeroes", image])
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.02)  # a ring outlives its process for a moment, and so does the lock
        return True


def no_corruption(image):
    done = subprocess.run(["qemu-img", "check", image], capture_output=True, text=True, timeout=300, check=False)
    expect(done.returncode in (0, 3), f"after a kill: {done.stdout}{done.stderr}")


def killed(seed, kills):
    draw = random.Random(seed)
    make_image(draw, "k.qcow2", 256 << 20, 65536, 5, 60)
    before = contents("k.qcow2")
    shutil.copy("k.qcow2", "w.qcow2")
    begin = time.monotonic()
    run(BYRE, "compact", "-q", "--zeroes", "w.qcow2")
    whole = time.monotonic() - begin
    shutil.copy("k.qcow2", "w.qcow2")
    hits = 0
    for _ in range(kills):
        if kill_at("w.qcow2", draw.uniform(0, whole)):
            hits += 1
            no_corruption("w.qcow2")
            expect(contents("w.qcow2") == before, f"seed {seed}: it reads differently after a kill")
        else:
            shutil.copy("k.qcow2", "w.qcow2")  # it was done: begin anew
    run(BYRE, "compact", "-q", "--zeroes", "w.qcow2")
    expect(contents("w.qcow2") == before, f"seed {seed}: it reads differently at the end")
    check_clean("w.qcow2")
    check_size("w.qcow2", f"seed {seed}")
    return hits


def make_compressed_image(draw, path):
    """96 MiB of payloads that are half as long, without those of the first half of the disk."""
    nibbles = bytes(value & 15 for value in range(256))
    with open("f.raw", "wb") as file:
        file.write(draw.randbytes(96 << 20).translate(nibbles))
    run(BYRE, "convert", "-q", "-c", "-O", "qcow2", "f.raw", path)
    os.unlink("f.raw")
    requests(path, ["discard 0 48M"])


def full_file_system(compressed):
    """Where it is needed most: nothing is free but what the image itself gives back."""
    if os.geteuid() != 0:
        return
    draw = random.Random(5)
    if compressed:
        make_compressed_image(draw, "f.qcow2")
    else:
        make_image(draw, "f.qcow2", 128 << 20, 65536, 3, 40, may_be_backed=False)
    what = f"full file system, compressed: {compressed}"
    before = contents("f.qcow2")
    stored = os.stat("f.qcow2").st_blocks * 512
    os.makedirs("full", exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={stored + (2 << 20)}", "none", "full")
    try:
        run("cp", "--sparse=always", "f.qcow2", "full/f.qcow2")
        # A payload that moves may need one more sector.
        run("fallocate", "-l", str(os.statvfs("full").f_bavail * 4096 - (1 << 20)), "full/rest")
        run(BYRE, "compact", "-q", "full/f.qcow2")
        expect(contents("full/f.qcow2") == before, f"{what}: it reads differently")
        check_clean("full/f.qcow2")
        check_size("full/f.qcow2", what)
    finally:
        run("umount", "full")


def refusals():
    run("qemu-img", "create", "-q", "-f", "raw", "r.raw", "1M")
    run(BYRE, "compact", "-f", "raw", "r.raw", code=1)
    run("qemu-img", "create", "-q", "-f", "qcow2", "m.qcow2", "1M")
    run("qemu-img", "bitmap", "--add", "m.qcow2", "one")
    with open("m.qcow2", "rb") as file:
        before = file.read()
    run(BYRE, "compact", "m.qcow2", code=1)
    with open("m.qcow2", "rb") as file:
        expect(file.read() == before, "an image with bitmaps was changed")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with open("base.raw", "wb") as file:
        file.write(random.Random(0).randbytes(1 << 20) * 8)
    refusals()
    full_file_system(compressed=False)
    full_file_system(compressed=True)
    before = after = 0
    for seed in range(arguments.seed, arguments.seed + arguments.images):
        sizes = one_image(seed)
        before, after = before + sizes[0], after + sizes[1]
    hits = 0
    for seed in range(arguments.seed, arguments.seed + max(1, arguments.kills // 20)):
        hits += killed(seed, min(20, arguments.kills))
    print(f"{arguments.images} images, {before >> 20} MiB before, {after >> 20} MiB after; {hits} kills while it ran")


main()
