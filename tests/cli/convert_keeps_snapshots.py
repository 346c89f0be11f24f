#!/usr/bin/env python3
"""`convert --all-snapshots`: disk and snapshots of random images, made by writes of all kinds, by resizes, by snapshots
that are taken, applied and deleted, read the same in the copy, whatever cluster size, refcount width and compression it
has; ids, names, dates and VM states are kept; the copy of an image refers to no more clusters than the image does.

usage: convert_keeps_snapshots.py [FIRST_SEED [IMAGES]]
"""

import json
import os
import random
import resource
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))

from used_clusters import Image  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
SECTOR = 512
failures = 0


def fail(text):
    global failures
    failures += 1
    print(text)


def run(*arguments, code=0, **options):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False, **options)
    if done.returncode != code:
        raise AssertionError(f"{' '.join(arguments)}: exit {done.returncode}, not {code}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def content(path):
    with open(path, "rb") as file:
        return file.read()


def snapshots(image):
    return json.loads(run(BYRE, "snapshot", "--json", image))


def states(image):
    """Name of a state to what it reads as."""
    found = {}
    for choice in [""] + [f"snapshot.id={entry['id']}" for entry in snapshots(image)]:
        run(BYRE, "convert", *(["-l", choice] if choice else []), "-f", "qcow2", "-O", "raw", image, "state.raw")
        found[choice] = content("state.raw")
    return found


class Source:
    """A random image; what it holds is asked of it."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.size = SECTOR * self.random.randrange(1, 6000)
        self.cluster = 512 << self.random.randrange(0, 8)
        self.width = self.random.choice([4, 8, 16, 16, 32, 64])
        self.compressed = False
        options = f"cluster_size={self.cluster},refcount_bits={self.width}"
        self.backed = self.random.random() < 0.3
        backing = []
        if self.backed:
            with open("base.raw", "wb") as file:
                file.write(self.random.randbytes(SECTOR * self.random.randrange(1, 5000)))
            backing = ["-b", "base.raw", "-F", "raw"]
        run(BYRE, "create", "-q", "-f", "qcow2", "-o", options, *backing, "source.qcow2", str(self.size))
        for _ in range(self.random.randrange(3, 14)):
            self.step()

    def step(self):
        names = [entry["name"] for entry in snapshots("source.qcow2")]
        kinds = [self.change, self.change, self.resize] + ([self.take] if len(names) < 6 else [])
        if names:
            kinds += [self.apply, self.delete]
        self.random.choice(kinds)(names)

    def change(self, _):
        commands = []
        for _ in range(self.random.randrange(1, 5)):
            kind = self.random.choice(["write -P {}", "write -P {}", "write -P 0", "write -z", "write -zu", "discard"])
            offset = self.random.randrange(self.size // SECTOR) * SECTOR
            length = min(self.size - offset, SECTOR * self.random.choice([1, 3, 8, 64, 300]))
            commands += ["-c", f"{kind.format(self.random.randrange(1, 256))} {offset} {length}"]
        if self.random.random() < 0.3 and self.width >= 16 and self.size > self.cluster:
            at = self.random.randrange(self.size // self.cluster) * self.cluster
            commands += ["-c", f"discard {at} {self.cluster}", "-c", f"write -c -P 7 {at} {self.cluster}"]
            self.compressed = True
        subprocess.run([BYRE, "io", *commands, "source.qcow2"], stdout=subprocess.DEVNULL, timeout=300, check=False)

    def resize(self, _):
        self.size = SECTOR * self.random.randrange(1, 6000)
        run(BYRE, "resize", "-q", "--shrink", "source.qcow2", str(self.size))

    def take(self, names):
        run(BYRE, "snapshot", "-c", self.random.choice(["", "a", "two words", f"s{len(names)}"]), "source.qcow2")

    def apply(self, names):
        run(BYRE, "snapshot", "-a", self.random.choice(snapshots("source.qcow2"))["id"], "source.qcow2")
        self.size = json.loads(run(BYRE, "info", "--output=json", "source.qcow2"))["virtual-size"]

    def delete(self, names):
        run(BYRE, "snapshot", "-d", self.random.choice(names), "source.qcow2")


def check_copy(seed, what):
    run("qemu-img", "check", "-q", "copy.qcow2")
    run(BYRE, "check", "-q", "--data", "copy.qcow2")
    if snapshots("copy.qcow2") != snapshots("source.qcow2"):
        fail(f"seed {seed}, {what}: the lists of snapshots differ")
    if owned_by_snapshots("copy.qcow2"):
        fail(f"seed {seed}, {what}: COPIED in an L1 table of a snapshot")
    wanted, found = states("source.qcow2"), states("copy.qcow2")
    for state in wanted:
        if found.get(state) != wanted[state]:
            fail(f"seed {seed}, {what}: state '{state}' reads differently")


def random_image(seed):
    source = Source(seed)
    run(BYRE, "convert", "-O", "qcow2", "--all-snapshots", "-o",
        f"cluster_size={source.cluster},refcount_bits={source.width}", "source.qcow2", "copy.qcow2")
    check_copy(seed, "same options")
    before, after = Image("source.qcow2"), Image("copy.qcow2")
    if not source.compressed and not source.backed and len(after.used) > len(before.used):
        fail(f"seed {seed}: {len(after.used)} clusters in the copy, {len(before.used)} in the source")
    if os.path.getsize("copy.qcow2") != len(after.used) * source.cluster:
        fail(f"seed {seed}: {os.path.getsize('copy.qcow2')} bytes, but {len(after.used)} clusters are used")
    for _ in range(3):
        compress = source.random.choice([[], ["-c"]])
        options = f"cluster_size={512 << source.random.randrange(0, 13)}"
        options += f",refcount_bits={source.random.choice([16, 32, 64] if compress else [4, 8, 16, 32, 64])}"
        options += f",compression_type={source.random.choice(['zlib', 'zstd'])}"
        copies = []
        for parallel in ("1", "16"):
            run(BYRE, "convert", "-O", "qcow2", "--all-snapshots", *compress, "-m", parallel, "-o", options,
                "source.qcow2", "copy.qcow2")
            copies.append(content("copy.qcow2"))
        if copies[0] != copies[1]:
            fail(f"seed {seed}, {compress} {options}: one request and 16 in flight make different files")
        check_copy(seed, f"{compress} {options}")


def ends_within_a_cluster():
    """Two states have one cluster, and the end of the disk at different places in it."""
    run(BYRE, "create", "-q", "-f", "qcow2", "source.qcow2", "1M")
    run(BYRE, "io", "-c", "write -P 5 0 1M", "source.qcow2")
    for arguments in (["-c", "long"], ["--shrink", "544k"], ["-c", "short"], ["-a", "long"], ["-d", "long"]):
        command = "resize" if "--shrink" in arguments else "snapshot"
        words = ["-q", "--shrink", "source.qcow2", "544k"] if command == "resize" else [*arguments, "source.qcow2"]
        run(BYRE, command, *words)
    run(BYRE, "convert", "-O", "qcow2", "--all-snapshots", "source.qcow2", "copy.qcow2")
    check_copy(0, "ends within a cluster")


def disk_of_nothing():
    run(BYRE, "create", "-q", "-f", "qcow2", "source.qcow2", "0")
    run(BYRE, "snapshot", "-c", "one", "source.qcow2")
    run(BYRE, "convert", "-O", "qcow2", "--all-snapshots", "source.qcow2", "copy.qcow2")
    check_copy(0, "a disk of 0 bytes")


def owned_by_snapshots(path):
    """How many L1 entries of snapshots claim to be the only reference (COPIED): `snapshot -c` leaves none either."""
    image = content(path)
    count, at = struct.unpack_from(">IQ", image, 60)
    found = 0
    for _ in range(count):
        l1, entries, identity, name, extra = struct.unpack_from(">QIHH20xI", image, at)
        found += sum(entry >> 63 for entry in struct.unpack_from(f">{entries}Q", image, l1))
        at += (40 + extra + identity + name + 7) & ~7
    return found


def set_snapshot(path, disk_bytes, vm_state_bytes):
    """Of the only snapshot of an image."""
    with open(path, "r+b") as file:
        file.seek(64)
        at, = struct.unpack(">Q", file.read(8))
        file.seek(at + 40)
        file.write(struct.pack(">QQ", vm_state_bytes, disk_bytes))


def vm_state():
    """It lies behind the disk: here a longer disk is declared to be a short one with a VM state, and at the end the
    other way round, to read it."""
    disk_bytes, state_bytes = 32 << 10, 40000  # 32 KiB: what one L2 table of clusters of 512 bytes covers
    run(BYRE, "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "source.qcow2", "96k")
    run(BYRE, "io", "-c", "write -P 1 1k 7k", "-c", f"write -P 2 32k {state_bytes // 512 * 512}", "source.qcow2")
    run(BYRE, "snapshot", "-c", "with a state", "source.qcow2")
    set_snapshot("source.qcow2", disk_bytes, state_bytes)
    for cluster, start in (("512", 32 << 10), ("4k", 2 << 20), ("64k", 512 << 20)):
        options = f"cluster_size={cluster}"
        run(BYRE, "convert", "-O", "qcow2", "--all-snapshots", "-o", options, "source.qcow2", "copy.qcow2")
        run("qemu-img", "check", "-q", "copy.qcow2")
        if snapshots("copy.qcow2")[0]["vm-state-size"] != state_bytes:
            fail(f"VM state, {options}: {snapshots('copy.qcow2')}")
        run(BYRE, "convert", "-O", "raw", "-l", "with a state", "copy.qcow2", "state.raw")
        disk = content("state.raw")
        set_snapshot("copy.qcow2", start + 40960, 0)
        run(BYRE, "convert", "-O", "raw", "-l", "with a state", "copy.qcow2", "state.raw")
        with open("state.raw", "rb") as file:
            file.seek(start)
            state = file.read()
        wanted = b"\2" * (state_bytes // 512 * 512)
        if len(disk) != disk_bytes or disk[1024:8192] != b"\1" * 7168 or state.rstrip(b"\0") != wanted:
            fail(f"VM state, {options}: disk of {len(disk)} bytes, state {state[:8]}... of {len(state)}")


def refusals():
    run(BYRE, "create", "-q", "-f", "qcow2", "source.qcow2", "1M")
    run(BYRE, "snapshot", "-c", "one", "source.qcow2")
    run(BYRE, "resize", "-q", "source.qcow2", "2M")
    run(BYRE, "create", "-q", "-f", "raw", "raw", "1M")
    with open("target", "wb") as file:
        file.write(b"precious")
    command = [BYRE, "convert", "--all-snapshots", "-f", "qcow2"]
    for arguments, says in ((["-O", "raw", "source.qcow2", "target"], "a raw image cannot hold snapshots"),
                            (["-O", "qcow2", "source.qcow2", "source.qcow2", "target"], "several sources"),
                            (["-O", "qcow2", "-l", "one", "source.qcow2", "target"], "one snapshot (-l)"),
                            (["-O", "qcow2", "-n", "source.qcow2", "target"], "not created (-n)"),
                            (["-O", "qcow2", "-B", "raw", "-F", "raw", "source.qcow2", "target"], "backing file"),
                            (["-O", "qcow2", "-o", "preallocation=full", "source.qcow2", "target"], "preallocation"),
                            (["-O", "qcow2", "-o", "compat=0.10", "source.qcow2", "target"], "snapshot '1'"),
                            (["-f", "raw", "-O", "qcow2", "raw", "target"], "no internal snapshots")):
        message = run(*command, *arguments, code=1)
        if says not in message or message.count("\n") != 1 or content("target") != b"precious":
            fail(f"{arguments}: '{message}', target {content('target')[:8]}")


def no_room():
    """Counts that are too narrow, and a file that may not grow: a new target goes."""
    run(BYRE, "create", "-q", "-f", "qcow2", "source.qcow2", "4M")
    run(BYRE, "io", "-c", "write -P 1 0 4M", "source.qcow2")
    run(BYRE, "snapshot", "-c", "one", "source.qcow2")
    command = [BYRE, "convert", "-O", "qcow2", "--all-snapshots"]
    message = run(*command, "-o", "refcount_bits=1", "source.qcow2", "new", code=1)
    wanted = "new: a cluster would have 2 references, but refcount_bits=1 counts to 1"
    if wanted not in message or os.path.exists("new"):
        fail(f"narrow counts: '{message}', target there: {os.path.exists('new')}")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    message = run(*command, "source.qcow2", "new", code=1, preexec_fn=limit)
    if "the unfinished target was removed" not in message or os.path.exists("new"):
        fail(f"no room: '{message}', target there: {os.path.exists('new')}")


def main():
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for seed in range(first, first + (int(sys.argv[2]) if len(sys.argv) > 2 else 30)):
        try:
            random_image(seed)
        except AssertionError as failure:
            fail(f"seed {seed}: {failure}; repeat with: convert_keeps_snapshots.py {seed} 1")
    ends_within_a_cluster()
    disk_of_nothing()
    vm_state()
    refusals()
    no_room()
    return 1 if failures else 0


sys.exit(main())
