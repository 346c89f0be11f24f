#!/usr/bin/env python3
"""Random programs of 50 requests agree with another implementation, in both directions.

Each program makes an image and runs its requests in parts: by byre, by qemu-io, or by both in turn. After each part
the other tool checks the image and reads everything back; at the end its content, its map and its snapshots are
compared with a model in memory. A program is a function of its seed. A failure prints the command that repeats it.

With lazy refcounts qemu-io may be killed at the end of a part. The image that it leaves is dirty: byre must read it
without changing it, and repair it when it opens it for writing.

  differential.py [--programs COUNT] [--first SEED]     many
  differential.py --seed SEED                           one again; its files and a script of it stay in the directory
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))

import disk_requests as rq  # noqa: E402  (found beside this file)
import random_programs as programs  # noqa: E402
from content import Content  # noqa: E402
from random_programs import BYRE, Mismatch, Tools  # noqa: E402

REQUESTS = 50
DIRTY_REFUSED = ""  # why there are no dirty images


class Setup:
    """The image of a program, drawn from its seed."""

    def __init__(self, draw):
        self.cluster = draw.choice([512, 4096, 4096, 65536, 65536, 2 << 20])
        self.version = draw.choice([2, 3, 3, 3])
        self.refcount_bits = draw.choice([1, 2, 8, 16, 64]) if self.version == 3 else 16
        self.compression = draw.choice(["zlib", "zstd"]) if self.version == 3 else "zlib"
        self.lazy = draw.choice([None, "on", "on", "off"]) if self.version == 3 else None
        self.killed_part = draw.randrange(4) if self.lazy == "on" else None  # does nothing behind the last part
        self.size, self.windows = self._draw_size(draw)
        self.backing = draw.choice([None, None, None, "raw", "qcow2", "qcow2"])
        self.preallocated = not self.backing and self.size < (64 << 20) and draw.random() < 0.06
        self.snapshots = 0
        if self.refcount_bits > 1 and draw.random() < 0.4:
            self.snapshots = 1 if self.refcount_bits == 2 else 3
        # Taking a snapshot must not carry the count of a cluster of packed extents past the maximum: applying one
        # counts once more for a moment, so a cluster of n extents may reach n * (3 + 2).
        self.compressed_clusters = 1000
        if self.snapshots and self.refcount_bits < 16:
            self.compressed_clusters = 0 if self.refcount_bits == 2 else 50
        self.ignores_discards = draw.random() < 0.1
        self.cache = draw.choice([[], [], ["--cache-size", str(draw.choice([1, 8 * self.cluster]))]])

    def _draw_size(self, draw):
        clusters = {512: 700, 4096: 600, 65536: 64, 2 << 20: 8}[self.cluster]
        size = self.cluster * draw.randint(1, clusters)
        if draw.random() < 0.5:
            size -= draw.randrange(0, self.cluster, 512)
        size = max(size, 512)
        if draw.random() < 0.1:  # over the border of an L2 table
            border = self.cluster * self.cluster // 8
            if border <= (512 << 20):
                size = border * draw.randint(1, 3) + 512 * draw.randint(1, 5000)
                span = min(20 * self.cluster, border)
                return size, [(0, span), (border - min(span, border), min(size, border + span)),
                              (max(0, size - span), size)]
        return size, [(0, size)]

    def options(self):
        words = [f"cluster_size={self.cluster}", "compat=" + ("0.10" if self.version == 2 else "1.1")]
        if self.version == 3:
            words += [f"refcount_bits={self.refcount_bits}", f"compression_type={self.compression}"]
        if self.lazy:
            words.append(f"lazy_refcounts={self.lazy}")
        if self.preallocated:
            words.append("preallocation=metadata")
        return ",".join(words)


class Program:
    def __init__(self, seed, directory, files):
        self.seed = seed
        self.draw = random.Random(seed)
        self.tools = Tools(directory)
        self.directory = directory
        self.files = files
        self.setup = Setup(self.draw)
        self.snapshots = {}  # name -> model when it was taken
        self.taken = 0
        self.counts = {"requests": 0, "images left dirty": 0}

    def path(self, name):
        return os.path.join(self.directory, name)

    def either(self):
        return self.draw.choice(["byre", "qemu"])

    # The image

    def make_backing(self):
        if not self.setup.backing:
            return None
        size = self.draw.choice([self.setup.size, self.setup.size, self.setup.size // 2, self.setup.size * 3 // 2])
        content = Content(max(512, size // 512 * 512))
        if self.setup.backing == "raw":
            for _ in range(8):
                begin = self.draw.randrange(content.size)
                end = min(content.size, begin + self.draw.randint(1, 4 * self.setup.cluster))
                content.write(begin, end, self.draw.choice([0, 0x5A, (self.files["text"], begin)]))
            content.store(self.path("backing"))
            return content
        cluster = self.draw.choice([512, 4096, 65536])
        self.tools.img(self.either(), "create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster}", "backing",
                       str(content.size))
        disk = rq.Disk(content, cluster, 3, False)
        windows = [(begin, min(end, content.size)) for begin, end in self.setup.windows if begin < content.size]
        self.part(disk, self.either(), rq.Limits(self.files, windows, 20), 10, "backing")
        return disk.content

    def make_disk(self):
        backing = self.make_backing()
        arguments = ["create", "-q", "-f", "qcow2", "-o", self.setup.options()]
        if backing:
            arguments += ["-b", "backing", "-F", self.setup.backing]
        self.tools.img(self.either(), *arguments, "image", str(self.setup.size))
        state = rq.UNKNOWN if self.setup.preallocated else rq.FREE
        content = rq.overlay_content(backing, self.setup.size)
        return rq.Disk(content, self.setup.cluster, self.setup.version, backing is not None, state,
                       self.setup.ignores_discards)

    # Its parts

    def part(self, disk, tool, limits, count, image):
        session = rq.Session(self.draw, disk, limits, avoids_reuse=tool == "qemu")
        for _ in range(count):
            session.step()
        session.finish()
        options = ["-d", "ignore" if disk.ignores_discards else "unmap"] + (self.setup.cache if tool == "byre" else [])
        self.tools.exercise(tool, options, session.commands, image, session.expected)
        self.counts["requests"] += session.requests
        self.verify(disk, "qemu" if tool == "byre" else "byre", image)

    def killed_part(self, disk, limits, count):
        """By the reference, which is killed with what it kept in memory: the counts of what it flushed, and requests
        in flight."""
        session = rq.Session(self.draw, disk, limits, avoids_reuse=True)
        for _ in range(count):
            session.step()
        session.finish()
        session.commands.append("flush")
        for _ in range(self.draw.randrange(6)):
            session.rewrite()
        options = ["-d", "ignore" if disk.ignores_discards else "unmap"]
        self.tools.exercise("qemu", options, session.commands + ["sigraise 9"], "image", exit_code=-signal.SIGKILL)
        self.counts["requests"] += session.requests
        self.repair(disk)

    def is_dirty(self):
        return json.loads(self.tools.img("qemu", "info", "--output=json", "image")).get("dirty-flag", False)

    def repair(self, disk):
        """By opening it for writing; where the reference had not come to mark the image, by repairing leaks."""
        dirty = self.is_dirty()
        self.counts["images left dirty"] += dirty
        before = digest(self.path("image"))
        self.tools.exercise("byre", ["-r"], rq.reads_of(disk.content, 64 << 20), "image")
        if digest(self.path("image")) != before:
            raise Mismatch("an image that was not closed was changed by reading it")
        if dirty:
            self.tools.exercise("byre", [], ["flush"], "image")
        else:
            self.tools.img("byre", "check", "-q", "-r", "leaks", "image")
        if self.is_dirty():
            raise Mismatch("a dirty image is still dirty after it was opened for writing")
        self.verify(disk, "byre", "image")
        self.verify(disk, "qemu", "image")

    def verify(self, disk, reader, image):
        self.tools.img("qemu", "check", "-q", image)
        self.tools.exercise(reader, ["-r"], rq.reads_of(disk.content, 64 << 20), image)

    def compare(self, content, tool, *options):
        self.tools.img(tool, "convert", *options, "-O", "raw", "image", "out.raw")
        if difference := content.difference(self.path("out.raw")):
            raise Mismatch(f"{self.tools.log[-1]}\n{difference}")
        os.unlink(self.path("out.raw"))

    def compare_maps(self):
        maps = [json.loads(self.tools.img(tool, "map", "--output=json", "image")) for tool in ("byre", "qemu")]
        for entry in maps[0] + maps[1]:
            # Whether stored bytes are a hole of the host file is looked up by each at its own discretion.
            entry["zero"] = entry["zero"] and not entry["data"]
            entry.pop("compressed", None)  # the reference is older than this key
        merged = [merge(entries) for entries in maps]
        if merged[0] != merged[1]:
            pairs = [pair for pair in zip(*merged) if pair[0] != pair[1]]
            raise Mismatch(f"the maps differ: {len(merged[0])} and {len(merged[1])} entries, first {pairs[:1]}")

    # Snapshots, by the reference

    def change_snapshots(self, disk):
        names = sorted(self.snapshots)
        action = self.draw.choice(["-c", "-c", "-a", "-d"])
        if action == "-c" and len(names) < self.setup.snapshots:
            self.taken += 1
            name = f"s{self.taken}"
            self.snapshots[name] = disk.copy_model()
        elif action != "-c" and names:
            name = self.draw.choice(names)
            if action == "-a":
                disk.restore_model(self.snapshots[name])
            else:
                self.compare(self.snapshots.pop(name)[0], "byre", "-l", name)
        else:
            return
        self.tools.img("qemu", "snapshot", action, name, "image")

    # All of it

    def run(self):
        disk = self.make_disk()
        limits = rq.Limits(self.files, self.setup.windows, self.setup.compressed_clusters)
        parts = self.draw.randint(1, 4) + (self.setup.snapshots > 0)
        mode = self.draw.choice(["byre", "qemu", "both"])
        first = self.either()
        left = REQUESTS
        for at in range(parts):
            count = left if at == parts - 1 else self.draw.randint(1, max(1, left - (parts - 1 - at)))
            left -= count
            tool = mode if mode != "both" else (first if at % 2 == 0 else other(first))
            if at == self.setup.killed_part and not DIRTY_REFUSED:
                self.killed_part(disk, limits, count)
            else:
                self.part(disk, tool, limits, count, "image")
            if self.setup.snapshots:
                self.change_snapshots(disk)
        self.finish(disk)

    def finish(self, disk):
        self.compare(disk.content, "byre")
        self.compare(disk.content, "qemu")
        self.compare_maps()
        for name, (content, _) in self.snapshots.items():
            self.compare(content, "byre", "-l", name)
        self.tools.img("qemu", "check", "-q", "image")


def other(tool):
    return "qemu" if tool == "byre" else "byre"


def merge(entries):
    """Joins neighbours that differ in nothing but their place."""
    merged = []
    for entry in entries:
        if merged and same_kind(merged[-1], entry):
            merged[-1]["length"] += entry["length"]
        else:
            merged.append(dict(entry))
    return merged


def same_kind(one, two):
    if any(one[key] != two[key] for key in ("depth", "present", "zero", "data")):
        return False
    if "offset" in one and "offset" in two:
        return one["offset"] + one["length"] == two["offset"]
    return ("offset" in one) == ("offset" in two)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def refusal_of_dirty_images():
    """Why byre does not open a small dirty image for writing; empty if it does."""
    with tempfile.TemporaryDirectory() as directory:
        tools = Tools(directory)
        tools.img("qemu", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", "image", "1M")
        tools.exercise("qemu", [], ["write -q 0 1M", "flush", "sigraise 9"], "image", exit_code=-signal.SIGKILL)
        done = subprocess.run([BYRE, "io", "-f", "qcow2", "-c", "flush", "image"], cwd=directory, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
        return "" if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"


def main():
    global DIRTY_REFUSED
    if shutil.which("qemu-io"):
        DIRTY_REFUSED = refusal_of_dirty_images()
    if DIRTY_REFUSED:
        print(f"no image is left dirty: {DIRTY_REFUSED}")
    return programs.main(Program, __doc__, programs=2000)


if __name__ == "__main__":
    sys.exit(main())
