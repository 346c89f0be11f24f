#!/usr/bin/env python3
"""What an operation on snapshots does not touch stays: extra data of other snapshots that nobody knows yet, a VM state
of more than 32 bits; and the whole file, byte for byte, where there is no room for the operation."""

import os
import resource
import struct
import subprocess
import sys

BYRE = os.environ.get("BYRE", "byre")
EXTRA = struct.pack(">QQQ", 5 << 32, 1 << 20, 77) + b"of another time!"
failures = 0


def run(*arguments, code=0, **options):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False, **options)
    if done.returncode != code:
        fail(f"{' '.join(arguments)}: exit {done.returncode}, not {code}: {done.stderr}")
    return done.stdout + done.stderr


def fail(text):
    global failures
    failures += 1
    print(text)


def content(path):
    with open(path, "rb") as file:
        return file.read()


def entries(path):
    """(id, extra data) of each snapshot."""
    image = content(path)
    count, at = struct.unpack_from(">IQ", image, 60)
    found = []
    for _ in range(count):
        identity, name, extra = struct.unpack_from(">HH20xI", image, at + 12)
        found.append((image[at + 40 + extra:at + 40 + extra + identity].decode(), image[at + 40:at + 40 + extra]))
        length = 40 + extra + identity + name
        at += length + -length % 8
    return found


def give_extra_data(path):
    """The only snapshot of the image gets more extra data than this program knows of."""
    image = bytearray(content(path))
    at, = struct.unpack_from(">Q", image, 64)
    names = image[at + 64:at + 64 + sum(struct.unpack_from(">HH", image, at + 12))]
    struct.pack_into(">I", image, at + 36, len(EXTRA))
    image[at + 40:at + 40 + len(EXTRA) + len(names)] = EXTRA + names
    with open(path, "wb") as file:
        file.write(image)


def unknown_extra_data():
    for compat in ("1.1", "0.10"):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"compat={compat}", "extra.qcow2", "1M")
        run("qemu-io", "-c", "write -P 1 0 128k", "extra.qcow2")
        run(BYRE, "snapshot", "-c", "old", "extra.qcow2")
        give_extra_data("extra.qcow2")
        run("qemu-img", "check", "-q", "extra.qcow2")
        run("qemu-io", "-c", "write -P 2 0 64k", "extra.qcow2")
        for action in (["-c", "new"], ["-a", "old"], ["-d", "new"], ["-c", "newer"]):
            run(BYRE, "snapshot", *action, "extra.qcow2")
            if entries("extra.qcow2")[0] != ("1", EXTRA):
                fail(f"{compat}, after {action}: {entries('extra.qcow2')}")
        listed = run(BYRE, "snapshot", "-l", "extra.qcow2")
        if "20 GiB" not in listed or listed != run("qemu-img", "snapshot", "-l", "extra.qcow2"):
            fail(listed)
        run("qemu-img", "check", "-q", "extra.qcow2")


def fill_holes(path):
    """Until nothing fits into the file any more."""
    size = os.path.getsize(path)
    at = 1 << 20
    while os.path.getsize(path) == size or os.path.getsize(path) % 65536 != 0:
        run("qemu-io", "-c", f"write -P 3 {at} 64k", path)
        at += 65536


def no_room():
    """The file may not grow beyond a limit: the operation fails and every byte is what it was."""
    for compat in ("1.1", "0.10"):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"compat={compat}", "full.qcow2", "64M")
        run("qemu-io", "-c", "write -P 1 0 1M", "full.qcow2")
        for action, room in ((["-c", "a"], 0), (["-c", "a"], 8), (["-a", "a"], 0), (["-d", "b"], 0)):
            fill_holes("full.qcow2")
            before = content("full.qcow2")

            def limit(size=len(before) + room):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

            said = run(BYRE, "snapshot", *action, "full.qcow2", code=1, preexec_fn=limit)
            if "byre: " not in said:
                fail(f"{compat} {action}, {room} more bytes: {said}")
            after = content("full.qcow2")
            if after != before:
                where = next((i for i, (a, b) in enumerate(zip(before, after)) if a != b), "the end")
                fail(f"{compat} {action}, {room} more bytes: the file differs at {where} "
                     f"({len(before)}, {len(after)} bytes)")
            run("qemu-img", "check", "-q", "full.qcow2")
            if room > 0:
                run(BYRE, "snapshot", "-c", "a", "full.qcow2")
                run(BYRE, "snapshot", "-c", "b", "full.qcow2")
                run(BYRE, "snapshot", "-c", "c", "full.qcow2")


for test in (unknown_extra_data, no_room):
    test()
sys.exit(1 if failures else 0)
