#!/usr/bin/env python3
"""Random programs of writes, snapshots and resizes, on one image with byre and on another with qemu-img: the disk and
every snapshot hold the same on both sides, the lists agree, both are clean after each step; and `snapshot --diff` finds
exactly the sectors in which two states differ.

usage: snapshots_random.py [FIRST_SEED [PROGRAMS]]
"""

import json
import os
import random
import subprocess
import sys

BYRE = os.environ.get("BYRE", "byre")
SECTOR = 512
STEPS = 14


class Failure(Exception):
    pass


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(arguments)}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def facts(image):
    listed = json.loads(run(BYRE, "snapshot", "--json", image))
    return [(entry["id"], entry["name"], entry["vm-state-size"], entry.get("icount")) for entry in listed]


def content(image, snapshot=None):
    choice = ["-l", f"snapshot.id={snapshot}"] if snapshot else []
    run(BYRE, "convert", *choice, "-f", "qcow2", "-O", "raw", image, "content.raw")
    with open("content.raw", "rb") as file:
        return file.read()


def sectors_that_differ(first, second):
    """Ranges (start, length) as long as possible; what only one has is compared with zeros."""
    size = max(len(first), len(second))
    first, second = first.ljust(size, b"\0"), second.ljust(size, b"\0")
    ranges = []
    for at in range(0, size, SECTOR):
        if first[at:at + SECTOR] == second[at:at + SECTOR]:
            continue
        if ranges and sum(ranges[-1]) == at:
            ranges[-1][1] += SECTOR
        else:
            ranges.append([at, SECTOR])
    return ranges


class Program:
    SIDES = {"byre.qcow2": BYRE, "reference.qcow2": "qemu-img"}

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.size = SECTOR * self.random.randrange(1, 4096)
        self.compat = self.random.choice(["0.10", "1.1", "1.1"])
        options = f"compat={self.compat},cluster_size={512 << self.random.randrange(0, 8)}"
        if self.compat == "1.1":
            options += f",refcount_bits={self.random.choice([4, 8, 16, 32, 64])}"
            options += f",lazy_refcounts={self.random.choice(['on', 'off'])}"
        for image in self.SIDES:
            run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, image, str(self.size))
        self.snapshots = {}  # id: (name, content)

    def change(self):
        commands = []
        for _ in range(self.random.randrange(1, 5)):
            offset = self.random.randrange(self.size // SECTOR) * SECTOR
            length = min(self.size - offset, SECTOR * self.random.choice([1, 3, 8, 64, 300]))
            kind = self.random.choice(["write -P {}", "write -P {}", "write -P {}", "write -z", "write -zu", "discard"])
            commands += ["-c", f"{kind.format(self.random.randrange(1, 256))} {offset} {length}"]
        for image in self.SIDES:
            run("qemu-io", "-d", "unmap", *commands, image)

    def resize(self):
        if self.compat == "0.10" and self.snapshots:
            return
        self.size = SECTOR * self.random.randrange(1, 4096)
        for image in self.SIDES:
            run("qemu-img", "resize", "-q", "--shrink", image, str(self.size))

    def create(self):
        name = self.random.choice(["a", "b", "7", "two words", ""])
        number = str(max([int(number) for number in self.snapshots], default=0) + 1)
        self.snapshots[number] = (name, content("reference.qcow2"))
        for image, tool in self.SIDES.items():
            run(tool, "snapshot", "-c", name, image)

    def apply(self):
        number = self.random.choice(list(self.snapshots))
        for image, tool in self.SIDES.items():
            run(tool, "snapshot", "-a", number, image)
        self.size = len(self.snapshots[number][1])

    def delete(self):
        name = self.random.choice([name for name, _ in self.snapshots.values()])
        first = next(number for number, (other, _) in self.snapshots.items() if other == name)
        del self.snapshots[first]
        for image, tool in self.SIDES.items():
            run(tool, "snapshot", "-d", name, image)

    def step(self):
        kinds = [self.change, self.change, self.create, self.create, self.resize]
        if self.snapshots:
            kinds += [self.apply, self.delete]
        if len(self.snapshots) > 6:
            kinds = [self.apply, self.delete]
        self.random.choice(kinds)()
        for image in self.SIDES:
            run("qemu-img", "check", "-q", image)
        if facts("byre.qcow2") != facts("reference.qcow2"):
            raise Failure(f"the lists differ: {facts('byre.qcow2')} and {facts('reference.qcow2')}")

    def compare_all(self):
        disk = content("reference.qcow2")
        if content("byre.qcow2") != disk:
            raise Failure("the disks differ")
        for number, (_, wanted) in self.snapshots.items():
            for image in self.SIDES:
                if content(image, number) != wanted:
                    raise Failure(f"snapshot {number} of {image} is not what was taken")
        states = {"": disk} | {f"snapshot.id={number}": wanted for number, (_, wanted) in self.snapshots.items()}
        for image in self.SIDES:
            first, second = self.random.choice(list(states)), self.random.choice(list(states))
            found = json.loads(run(BYRE, "snapshot", "--json", "--diff", first, second, image))
            ranges = [[one["start"], one["length"]] for one in found["ranges"]]
            if ranges != sectors_that_differ(states[first], states[second]):
                raise Failure(f"--diff '{first}' '{second}' {image}: {ranges}")
            if found["different"] != sum(length for _, length in ranges):
                raise Failure(f"--diff '{first}' '{second}' {image}: the sum is {found['different']}")


def main():
    first_seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    programs = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    for seed in range(first_seed, first_seed + programs):
        for image in Program.SIDES:
            if os.path.exists(image):
                os.unlink(image)
        try:
            program = Program(seed)
            for _ in range(STEPS):
                program.step()
            program.compare_all()
        except Failure as failure:
            print(f"seed {seed}: {failure}; repeat with: snapshots_random.py {seed} 1")
            return 1
    return 0


sys.exit(main())
