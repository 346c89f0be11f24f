#!/usr/bin/env python3
"""Random programs of 30 management operations lead to the same disks as with another implementation.

A program runs its operations on two sides, each with its own files: one managed by byre, one by qemu-img. The data on
both is written by qemu-io, so that only management differs. After each operation qemu-img checks the image of byre's
side. The active disk and every snapshot of every layer are compared with a model in memory as the reference reads
them; at the end those of both sides, and the facts that `info` and `snapshot -l` tell.

An image with snapshots takes no part in commit, rebase and stream: what its snapshots leave unallocated would read
through to another backing file afterwards.

  management.py [--programs COUNT] [--first SEED]     many
  management.py --seed SEED                           one again; its files and a script of it stay in the directory
"""

import json
import os
import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))

import disk_requests as rq  # noqa: E402  (found beside this file)
import random_programs as programs  # noqa: E402
from content import Content  # noqa: E402
from layer import Layer  # noqa: E402
from random_programs import Mismatch, Tools  # noqa: E402

OPERATIONS = 30
SIDES = ("byre", "qemu")
MOST_LAYERS = 4
SNAPSHOTS = {1: 0, 2: 1, 4: 5, 8: 20, 16: 20, 32: 20, 64: 20}  # by refcount width: none overflows

# Operation and how often, out of the sum.
WEIGHTS = {
    "write": 30,
    "snapshot_create": 12,
    "snapshot_apply": 7,
    "snapshot_delete": 8,
    "resize": 10,
    "overlay": 6,
    "commit": 5,
    "commit_below": 3,
    "rebase": 5,
    "rename_backing": 2,
    "stream": 5,
    "amend_compat": 5,
    "amend_refcounts": 4,
    "amend_lazy": 3,
    "convert": 3,
    "convert_states": 3,
    "dd": 2,
    "check": 1,
}


class Program:
    def __init__(self, seed, directory, files):
        self.draw = random.Random(seed)
        self.tools = Tools(directory)
        self.directory = directory
        self.files = files
        self.counts = {"operations": 0, "where only the reference's own side differs": 0}
        self.made = 0
        self.layers = []  # from the base to the top
        for side in SIDES:
            os.makedirs(os.path.join(directory, side))
            for name in files:
                os.link(os.path.join(directory, name), os.path.join(directory, side, name))

    # Both sides

    def both(self, *arguments, exit_code=0):
        for side in SIDES:
            self.tools.img(side, *arguments, exit_code=exit_code, folder=side)

    def new_name(self, kind):
        self.made += 1
        return f"{kind}{self.made}"

    @property
    def top(self):
        return self.layers[-1]

    def size_near(self, size):
        factor = self.draw.choice([1, 1, 0.5, 0.75, 1.5, 2])
        sectors = int(size * factor) // 512 + self.draw.choice([0, 0, 1, -1, 64])
        return 512 * max(1, min(sectors, (6 << 20) // 512))

    # Making images

    def options(self, layer, cluster):
        version = layer.disk.version
        words = [f"cluster_size={cluster}", "compat=" + ("0.10" if version == 2 else "1.1")]
        if version == 3:
            words += [f"refcount_bits={layer.refcount_bits}", f"lazy_refcounts={'on' if layer.lazy else 'off'}"]
        return ",".join(words)

    def draw_layer(self, content, has_backing):
        cluster = self.draw.choice([512, 4096, 4096, 65536])
        version = self.draw.choice([2, 3, 3, 3])
        layer = Layer(self.new_name("image"), "qcow2", rq.Disk(content, cluster, version, has_backing))
        if version == 3:
            layer.refcount_bits = self.draw.choice([1, 2, 4, 8, 16, 16, 16, 32, 64])
            layer.reference_refcount_bits = layer.refcount_bits
            layer.lazy = self.draw.random() < 0.2
        return layer, self.options(layer, cluster)

    def make_raw_base(self):
        content = Content(self.size_near(1 << 20))
        layer = Layer(self.new_name("raw"), "raw", rq.Disk(content, 512, 3, False, rq.UNKNOWN))
        for _ in range(6):
            begin = self.draw.randrange(content.size)
            end = min(content.size, begin + self.draw.randint(1, 200000))
            content.write(begin, end, self.draw.choice([0, 0x5A, (self.files["text"], begin)]))
        for side in SIDES:
            content.store(os.path.join(self.directory, side, layer.name))
        self.layers = [layer]

    def make_base(self):
        if self.draw.random() < 0.2:
            self.make_raw_base()
            self.overlay()
            return
        layer, options = self.draw_layer(Content(self.size_near(1 << 20)), False)
        self.both("create", "-q", "-f", "qcow2", "-o", options, layer.name, str(layer.size))
        self.layers = [layer]

    def overlay(self):
        if len(self.layers) >= MOST_LAYERS:
            return False
        below = self.top
        size = below.size if self.draw.random() < 0.5 else self.size_near(below.size)
        layer, options = self.draw_layer(rq.overlay_content(below.disk.content, size), True)
        self.both("create", "-q", "-f", "qcow2", "-o", options, "-b", below.name, "-F", below.format, layer.name,
                  str(size))
        self.layers.append(layer)
        return True

    @staticmethod
    def reference_can_grow(layer):
        """It has no way to hide what a longer backing file holds in an image of version 2, and fails half-way."""
        return layer.disk.version == 3 or not layer.disk.has_backing

    def hide_old_end(self, layer, size):
        """Growing, the reference shows what a cluster happens to hold behind the old end of the disk."""
        if layer.format == "qcow2" and size > layer.size and layer.size % layer.disk.cluster:
            end = min(size, layer.size - layer.size % layer.disk.cluster + layer.disk.cluster)
            self.tools.exercise("qemu", [], [f"write -q -z {layer.size} {end - layer.size}"], layer.name,
                                folder="qemu")

    # Operations on the top layer. Each returns False if it cannot be done now.

    def write(self):
        disk = self.top.disk
        most_compressed = 20 if min(self.top.widths()) >= 16 else 0
        limits = rq.Limits(self.files, [(0, disk.content.size)], most_compressed)
        session = rq.Session(self.draw, disk, limits, avoids_reuse=True)
        for _ in range(self.draw.randint(1, 6)):
            session.step()
        session.finish()
        self.top.compressed |= limits.compressed_clusters < most_compressed
        commands = []  # of one process: starting it takes longer than writing
        for side in SIDES:
            commands += [f"open -d unmap -o driver=qcow2 {side}/{self.top.name}", *session.commands, "close"]
        self.tools.exercise("qemu", [], commands, None, session.expected * len(SIDES))
        return True

    def snapshot_create(self):
        layer = self.top
        if len(layer.snapshots) >= SNAPSHOTS[min(layer.widths())]:
            return False
        name = self.new_name("s")
        self.both("snapshot", "-c", name, layer.name)
        layer.snapshots[name] = layer.disk.copy_model()
        return True

    def snapshot_apply(self):
        layer = self.top
        if not layer.snapshots:
            return False
        name = self.draw.choice(sorted(layer.snapshots))
        self.both("snapshot", "-a", name, layer.name)
        layer.disk.restore_model(layer.snapshots[name])
        layer.changed()
        return True

    def snapshot_delete(self):
        layer = self.top
        if not layer.snapshots:
            return False
        name = self.draw.choice(sorted(layer.snapshots))
        self.both("snapshot", "-d", name, layer.name)
        del layer.snapshots[name]
        return True

    def resize(self):
        layer = self.top
        size = self.size_near(layer.size)
        if size == layer.size or (size > layer.size and not self.reference_can_grow(layer)):
            return False
        refused = layer.disk.version == 2 and layer.snapshots
        words = ["--shrink"] if size < layer.size else []
        if size > layer.size and len(self.layers) == 1 and self.draw.random() < 0.2:
            words = ["--preallocation=" + self.draw.choice(["metadata", "falloc", "off"])]
        code = 1 if refused else 0
        self.tools.img("byre", "resize", "-q", *words, layer.name, str(size), exit_code=code, folder="byre")
        words = [word for word in words if word != "--preallocation=falloc"]  # where it sometimes fails by itself
        self.tools.img("qemu", "resize", "-q", *words, layer.name, str(size), exit_code=code, folder="qemu")
        if refused:
            return True
        self.hide_old_end(layer, size)
        layer.disk.content = layer.disk.content.resized(size)
        layer.changed()
        return True

    # Chains

    def backing_of_top(self):
        return self.layers[-2] if len(self.layers) > 1 else None

    def run_commit(self, words, base, top):
        if top.size > base.size and base.format == "qcow2":
            self.tools.img("qemu", "resize", "-q", base.name, str(top.size), folder="qemu")
            self.hide_old_end(base, top.size)
        self.both("commit", "-q", *words, top.name)
        base.disk.content = self.committed(base, top)
        base.changed()
        top.changed()

    @staticmethod
    def committed(base, top):
        """What the base holds then: it is never cut."""
        content = base.disk.content.resized(max(base.size, top.size))
        for begin, end, value in top.disk.content.runs():
            content.write(begin, end, value)
        return content

    def can_commit_to(self, base):
        grows = self.top.size > base.size
        can_grow = self.reference_can_grow(base) and (base.disk.version == 3 or not base.snapshots)
        return not self.top.snapshots and (can_grow or not grows)

    def commit(self):
        base = self.backing_of_top()
        if not base or not self.can_commit_to(base):
            return False
        drops = self.draw.random() < 0.5
        words = ["-d"] if drops else []
        if self.draw.random() < 0.3:
            words += ["-b", base.name]
            drops = True  # nothing is emptied where a base is named
        self.run_commit(words, base, self.top)
        if drops and self.draw.random() < 0.7:
            self.cut_layers(len(self.layers) - 1)
        return True

    def commit_below(self):
        """Into an image further down; those between do not show what they did, and are given up."""
        if len(self.layers) < 3:
            return False
        at = self.draw.randrange(len(self.layers) - 2)
        base, top = self.layers[at], self.top
        if not self.can_commit_to(base):
            return False
        self.run_commit(["-b", base.name], base, top)
        self.cut_layers(at + 1)
        return True

    def cut_layers(self, count):
        self.layers = self.layers[:count]
        if self.top.format == "raw":
            self.overlay()

    def set_backing(self, at):
        """The top's backing file is layer `at` from now on, or none (-1)."""
        self.layers = self.layers[: at + 1] + [self.top]
        self.top.disk.has_backing = at >= 0
        self.top.changed()

    def rebase(self):
        if len(self.layers) < 2 or self.top.snapshots:
            return False
        at = self.draw.randrange(-1, len(self.layers) - 1)
        words = ["-b", self.layers[at].name, "-F", self.layers[at].format] if at >= 0 else ["-b", ""]
        self.both("rebase", *words, self.top.name)
        self.set_backing(at)
        return True

    def rename_backing(self):
        below = self.backing_of_top()
        if not below:
            return False
        name = self.new_name(below.format)
        for side in SIDES:
            folder = os.path.join(self.directory, side)
            os.rename(os.path.join(folder, below.name), os.path.join(folder, name))
        self.both("rebase", "-u", "-b", name, "-F", below.format, self.top.name)
        below.name = name
        return True

    def stream(self):
        """The reference has no such command, but its rebase onto a layer of the chain leads to the same disk."""
        if len(self.layers) < 2 or self.top.snapshots:
            return False
        at = self.draw.randrange(-1, len(self.layers) - 2)
        words = ["-b", self.layers[at].name] if at >= 0 else []
        self.tools.img("byre", "stream", *words, self.top.name, folder="byre")
        words = ["-b", self.layers[at].name, "-F", self.layers[at].format] if at >= 0 else ["-b", ""]
        self.tools.img("qemu", "rebase", *words, self.top.name, folder="qemu")
        self.set_backing(at)
        return True

    # What an image is

    def amend(self, *words):
        self.both("amend", "-o", ",".join(words), self.top.name)

    def amend_compat(self):
        layer = self.top
        if layer.disk.version == 2:
            self.amend("compat=1.1")
            layer.disk.version = 3
            return True
        if layer.widths() != (16, 16) or layer.snapshots:
            return False
        self.amend("compat=0.10", "lazy_refcounts=off")
        layer.disk.version, layer.lazy = 2, False
        layer.changed()
        return True

    def amend_refcounts(self):
        """Only by byre: the reference sometimes does not end (docs/format.md section 27)."""
        layer = self.top
        widths = [bits for bits, most in SNAPSHOTS.items() if len(layer.snapshots) <= most and
                  bits != layer.refcount_bits and (bits >= 16 or not layer.compressed)]
        if layer.disk.version == 2 or not widths:
            return False
        bits = self.draw.choice(widths)
        self.tools.img("byre", "amend", "-o", f"refcount_bits={bits}", layer.name, folder="byre")
        layer.refcount_bits = bits
        return True

    def amend_lazy(self):
        layer = self.top
        if layer.disk.version == 2:
            return False
        layer.lazy = not layer.lazy
        self.amend(f"lazy_refcounts={'on' if layer.lazy else 'off'}")
        return True

    # Copies

    def convert(self):
        """The copy takes the place of the chain."""
        content = self.top.disk.content.copy()
        layer, options = self.draw_layer(content, False)
        layer.changed()
        layer.compressed = self.draw.random() < 0.3 and layer.refcount_bits >= 16
        words = ["-c"] if layer.compressed else []
        self.both("convert", *words, "-O", "qcow2", "-o", options, self.top.name, layer.name)
        self.layers = [layer]
        return True

    def convert_states(self):
        """The copy has the snapshots too. Only byre can: the reference's side stays as it is."""
        layer = self.top
        if len(self.layers) > 1:
            return False
        compressed = self.draw.random() < 0.3 and layer.refcount_bits >= 16
        words = ["-c"] if compressed else []
        self.tools.img("byre", "convert", "--all-snapshots", *words, "-O", "qcow2", "-o",
                       self.options(layer, layer.disk.cluster), layer.name, "copy", folder="byre")
        folder = os.path.join(self.directory, "byre")
        os.rename(os.path.join(folder, "copy"), os.path.join(folder, layer.name))
        layer.compressed |= compressed
        layer.changed()
        return True

    def dd(self):
        """Both of byre's side: the reference's own may show old metadata (docs/format.md 27.10)."""
        block = self.draw.choice([512, 4096, 10000])
        words = [f"bs={block}", f"if={self.top.name}", "of=copy"]
        if self.draw.random() < 0.5:
            words.append(f"skip={self.draw.randrange(self.top.size // block + 1)}")
        if self.draw.random() < 0.5:
            words.append(f"count={self.draw.randrange(1, 200)}")
        copies = []
        for tool in SIDES:
            self.tools.img(tool, "dd", "-f", "qcow2", "-O", "raw", *words, folder="byre")
            copies.append(self.take(os.path.join(self.directory, "byre", "copy")))
        if copies[0] != copies[1]:
            raise Mismatch(f"{self.tools.log[-2]}\ncopies differ: {len(copies[0])} and {len(copies[1])} bytes")
        return True

    @staticmethod
    def take(path):
        with open(path, "rb") as file:
            data = file.read()
        os.unlink(path)
        return data

    def check(self):
        before = self.facts("byre", "qemu", self.top)
        self.tools.img("byre", "check", "-q", "-r", self.draw.choice(["leaks", "all"]), self.top.name, folder="byre")
        if self.facts("byre", "qemu", self.top) != before:
            raise Mismatch(f"{self.tools.log[-1]}\nchanged what `info` says of a sound image")
        return True

    # Comparing

    def compare(self, reader, side, layer, content, *words):
        out = os.path.join(self.directory, side, "out.raw")
        self.tools.img(reader, "convert", *words, "-f", layer.format, "-O", "raw", layer.name, "out.raw", folder=side)
        difference = content.difference(out)
        os.unlink(out)
        if difference:
            raise Mismatch(f"{self.tools.log[-1]}\nside of {side}, {layer.name}: {difference}")

    def compare_all(self, reader, side):
        for layer in self.layers:
            self.compare(reader, side, layer, layer.disk.content)
            for name, (content, _) in layer.snapshots.items():
                # The reference reads a snapshot with the size of the active disk (docs/format.md section 14).
                if reader == "byre" or content.size == layer.size:
                    self.compare(reader, side, layer, content, "-l", f"snapshot.name={name}")

    def facts(self, side, tool, layer):
        info = json.loads(self.tools.img(tool, "info", "--output=json", "-U", layer.name, folder=side))
        data = info.get("format-specific", {}).get("data", {})
        snapshots = [[entry[key] for key in ("id", "name", "vm-state-size")] for entry in info.get("snapshots", [])]
        return {"size": info["virtual-size"], "format": info["format"], "cluster": info.get("cluster-size"),
                "backing": info.get("backing-filename"), "backing format": info.get("backing-filename-format"),
                "dirty": info.get("dirty-flag"), "snapshots": snapshots, "compat": data.get("compat"),
                "lazy": data.get("lazy-refcounts"), "width": data.get("refcount-bits")}

    def compare_facts(self):
        for layer in self.layers:
            ours, by_reference = self.facts("byre", "byre", layer), self.facts("byre", "qemu", layer)
            theirs = self.facts("qemu", "qemu", layer)
            theirs["width"] = ours["width"]  # which is amended only on one side
            if not ours == by_reference == theirs or ours["width"] not in (None, layer.refcount_bits):
                raise Mismatch(f"{layer.name}: byre says {ours}\nthe reference {by_reference}\nof its own {theirs}")
            if layer.format == "qcow2":
                lists = [self.tools.img(tool, "snapshot", "-l", layer.name, folder="byre") for tool in SIDES]
                if lists[0] != lists[1]:
                    raise Mismatch(f"snapshot -l {layer.name}:\n{lists[0]}\n{lists[1]}")

    # All of it

    def step(self):
        while not getattr(self, kind := self.draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])():
            pass
        self.counts["operations"] += 1
        if kind in ("write", "dd", "check"):  # byre has changed nothing
            return
        for layer in self.layers[-2:] if kind.startswith("commit") else [self.top]:
            if layer.format == "qcow2":
                self.tools.img("qemu", "check", "-q", layer.name, folder="byre")

    def run(self):
        self.make_base()
        for at in range(OPERATIONS):
            self.step()
            if at in (9, 19):
                self.compare_all("qemu", "byre")
        self.compare_all("byre", "byre")
        self.compare_all("qemu", "byre")
        self.compare_reference()
        self.compare_facts()

    def compare_reference(self):
        """Where disks have had several sizes, the reference may show what lay behind an end: counted, not a mismatch of
        ours, since both tools have read our side as the model has it."""
        try:
            self.compare_all("qemu", "qemu")
        except Mismatch:
            self.counts["where only the reference's own side differs"] += 1


if __name__ == "__main__":
    sys.exit(programs.main(Program, __doc__, programs=1000))
