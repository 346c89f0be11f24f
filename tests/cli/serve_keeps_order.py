#!/usr/bin/env python3
"""Overlapping requests of several connections: each read returns what could have been current, and each kill loses
only what was not flushed.

  serve_keeps_order.py [--seconds TIME] [--kills COUNT] [--seed SEED]

Four connections keep up to 32 requests each in flight: writes, zeroes, trims, reads and flushes of few blocks, so that
they collide. A write puts one stamp all over its blocks. Overlapping writes in flight have no order, and a block may
end up as a mixture of them: so each stamp that is found is judged by itself. A stamp could be current if its write had
begun when the read ended, and no later write of that block was over before the read began. After SIGKILL the same holds
with the last flush in the read's place.
"""

import argparse
import os
import random
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
import nbd_client as nbd  # noqa: E402
from nbd_client import Client, Closed  # noqa: E402
from nbd_server import BYRE, Server  # noqa: E402

BLOCK = 4096
BLOCKS = 48
CONNECTIONS = 4
DEPTH = 32
NEVER = float("inf")
SLICE_SECONDS = 2
EMPTY = [{0}] * BLOCKS

KINDS = {"default": [], "lazy": ["-o", "lazy_refcounts=on"], "backing": ["-b", "base.qcow2", "-F", "qcow2"],
         "snapshot": []}


def run(*arguments):
    subprocess.run(arguments, check=True, timeout=120, stdout=subprocess.DEVNULL)


class Write:
    """Of one stamp to a range of blocks; 0 stands for zeroes and trims."""

    def __init__(self, stamp, first, count, begin):
        self.stamp, self.first, self.count, self.begin, self.end = stamp, first, count, begin, NEVER


class History:
    def __init__(self, blocks):
        """`blocks`: the stamps that each is made of at the beginning."""
        self.writes = [Write(stamp, block, 1, -2) for block, stamps in enumerate(blocks) for stamp in stamps]
        for before in self.writes:
            before.end = -1
        self.reads = []  # (begin, end, first block, the stamps of each block)
        self.flushes = []  # (begin, end)
        self.lock = threading.Lock()
        self.by_block = []
        self.indexed = 0  # how many writes are in it

    def of_block(self, block):
        if self.indexed != len(self.writes):
            self.by_block = [[] for _ in range(BLOCKS)]
            for write in self.writes:
                for of in range(write.first, write.first + write.count):
                    self.by_block[of].append(write)
            self.indexed = len(self.writes)
        return self.by_block[block]

    def check_block(self, block, stamps, begin, end, what):
        """`begin` and `end` of the read, or of the flush that it stands for."""
        writes = self.of_block(block)
        done = [write for write in writes if write.end < begin]
        latest_begin = max((write.begin for write in done), default=-NEVER)
        for stamp in stamps:
            # Overwritten: it had ended before a write began that was over in time.
            if not any(write.stamp == stamp and write.begin < end and write.end >= latest_begin for write in writes):
                raise SystemExit(f"{what}: block {block} has the stamp {stamp}, which could not be current")

    def check_blocks(self, blocks, flushed, what):
        """Of the whole disk, after the last request."""
        for block, stamps in enumerate(blocks):
            self.check_block(block, stamps, flushed, NEVER, what)

    def check(self):
        for begin, end, first, blocks in self.reads:
            for index, stamps in enumerate(blocks):
                self.check_block(first + index, stamps, begin, end, f"a read from {begin} to {end}")


def stamps_in(data):
    """Of each block, the set of stamps that it is made of."""
    return [set(struct.unpack(f"<{BLOCK // 8}Q", data[at : at + BLOCK])) for at in range(0, len(data), BLOCK)]


class Stamps:
    def __init__(self):
        self.last = 0
        self.lock = threading.Lock()

    def next(self):
        with self.lock:
            self.last += 1
            return self.last


class Traffic:
    """One connection: a thread that sends and one that receives."""

    def __init__(self, path, seed, history, stamps, stop):
        self.client = Client(path, timeout=60).go(style=random.Random(seed).choice(["structured", "extended"]))
        self.draw = random.Random(seed)
        self.history, self.stamps, self.stop = history, stamps, stop
        self.slots = threading.Semaphore(DEPTH)
        self.pending = {}
        self.failure = None
        self.threads = [threading.Thread(target=self.guarded, args=(work,)) for work in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def guarded(self, work):
        try:
            work()
        except (Closed, OSError):  # killed
            self.slots.release()
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure
            self.stop.set()

    def send(self):
        cookie = 0
        while not self.stop.is_set():
            self.slots.acquire()
            cookie += 1
            self.send_one(cookie)
        self.client.request(nbd.DISCONNECT)

    def send_one(self, cookie):
        kind = self.draw.choices(["write", "zero", "trim", "read", "flush"], [40, 8, 8, 40, 4])[0]
        first = self.draw.randrange(BLOCKS)
        count = min(self.draw.choice([1, 1, 1, 2, 3, 8]), BLOCKS - first)
        place = (first * BLOCK, count * BLOCK)
        now = time.monotonic_ns()
        if kind in ("read", "flush"):
            self.pending[cookie] = (kind, now, first)
            if kind == "read":
                self.client.request(nbd.READ, *place, cookie=cookie)
            else:
                self.client.request(nbd.FLUSH, cookie=cookie)
            return
        stamp = self.stamps.next() if kind == "write" else 0
        write = Write(stamp, first, count, now)
        with self.history.lock:
            self.history.writes.append(write)
        self.pending[cookie] = (kind, now, write)
        if kind == "write":
            flags = nbd.FUA if self.draw.random() < 0.1 else 0
            self.client.request(nbd.WRITE, *place, flags, struct.pack("<Q", stamp) * (count * BLOCK // 8), cookie)
        elif kind == "zero":
            flags = self.draw.choice([0, nbd.NO_HOLE])
            self.client.request(nbd.WRITE_ZEROES, *place, flags, cookie=cookie)
        else:
            self.client.request(nbd.TRIM, *place, cookie=cookie)

    def receive(self):
        while True:
            cookie, error, chunks = self.client.reply()
            now = time.monotonic_ns()
            kind, begin, subject = self.pending.pop(cookie)
            assert error == 0, (kind, error)
            if kind == "read":
                (_, data), = [chunk for chunk in chunks if chunk[0] == nbd.DATA_CHUNK]
                with self.history.lock:
                    self.history.reads.append((begin, now, subject, stamps_in(data[8:])))
            elif kind == "flush":
                with self.history.lock:
                    self.history.flushes.append((begin, now))
            else:
                subject.end = now
            self.slots.release()

    def join(self):
        for thread in self.threads:
            thread.join()
        if self.failure:
            raise SystemExit(f"a connection failed: {self.failure!r}")


def make_image(kind):
    for name in ("disk.qcow2", "base.qcow2"):
        if os.path.exists(name):
            os.unlink(name)
    if kind == "backing":
        run(BYRE, "create", "-q", "-f", "qcow2", "base.qcow2", str(BLOCK * BLOCKS))
    options = KINDS[kind]
    if "-o" not in options:
        options = ["-o", "cluster_size=4096", *options]
    else:
        options = ["-o", f"cluster_size=4096,{options[1]}"]
    run(BYRE, "create", "-q", "-f", "qcow2", *options, "disk.qcow2", str(BLOCK * BLOCKS))
    if kind == "snapshot":
        run(BYRE, "io", "-c", f"write -q -P 0 0 {BLOCK * BLOCKS}", "disk.qcow2")
        run(BYRE, "snapshot", "-c", "s", "disk.qcow2")


def traffic(server, seed, history, stamps, seconds):
    stop = threading.Event()
    connections = [Traffic(server.socket, seed * CONNECTIONS + i, history, stamps, stop) for i in range(CONNECTIONS)]
    stop.wait(seconds)
    return stop, connections


def orderly(seed, kind, seconds):
    """In slices: to judge a read takes looking at every write of its slice."""
    make_image(kind)
    stamps, blocks, requests, number = Stamps(), EMPTY, 0, 0
    with Server("--persistent", "--shared", "0", "-q", "disk.qcow2") as server:
        while seconds > 0:
            history = History(blocks)
            stop, connections = traffic(server, seed * 1000 + number, history, stamps, min(seconds, SLICE_SECONDS))
            stop.set()
            for connection in connections:
                connection.join()
            history.check()
            blocks = stamps_in(Client(server.socket, timeout=60).go().read(0, BLOCK * BLOCKS))
            history.check_blocks(blocks, time.monotonic_ns(), f"seed {seed}, {kind}, slice {number}")
            requests += len(history.writes) + len(history.reads) + len(history.flushes)
            seconds -= SLICE_SECONDS
            number += 1
    check_end(history, time.monotonic_ns(), f"seed {seed}, {kind}: at the end")
    return requests


def killed(seed, kind):
    make_image(kind)
    history = History(EMPTY)
    with Server("--persistent", "--shared", "0", "-q", "disk.qcow2") as server:
        stop, connections = traffic(server, seed, history, Stamps(), random.Random(seed).uniform(0.02, 0.4))
        server.process.kill()
        server.process.wait()
        server.process.returncode = 0
        stop.set()
        for connection in connections:
            connection.join()
    time.sleep(0.05)  # a ring outlives its process for a moment, and so does the lock
    history.check()
    flushed = max((begin for begin, _ in history.flushes), default=-1)
    check_end(history, flushed, f"seed {seed}, {kind}: after a kill")


def check_end(history, flushed, what):
    """What the image holds, opened again."""
    run(BYRE, "io", "-c", "flush", "disk.qcow2")  # repairs what was not closed
    run(BYRE, "check", "-q", "-r", "leaks", "disk.qcow2")
    run("qemu-img", "check", "-q", "disk.qcow2")
    run(BYRE, "convert", "-q", "-O", "raw", "disk.qcow2", "disk.raw")
    with open("disk.raw", "rb") as file:
        history.check_blocks(stamps_in(file.read()), flushed, what)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    requests = 0
    for number, kind in enumerate(KINDS):
        requests += orderly(arguments.seed + number, kind, arguments.seconds / len(KINDS))
    for number in range(arguments.kills):
        killed(arguments.seed + 100 + number, list(KINDS)[number % len(KINDS)])
    print(f"{requests} requests, {arguments.kills} kills")


main()
