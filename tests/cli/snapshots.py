#!/usr/bin/env python3
"""`byre snapshot` beside qemu-img: what it lists, refuses and leaves alone; many snapshots, other disk sizes."""

import hashlib
import json
import os
import subprocess
import sys

BYRE = os.environ.get("BYRE", "byre")
failures = 0


def run(*arguments, code=0):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != code:
        fail(f"{' '.join(arguments)[:300]}: exit {done.returncode}, not {code}: {done.stderr}")
    return done.stdout


def fail(text):
    global failures
    failures += 1
    print(text)


def byre(*arguments, code=0):
    return run(BYRE, *arguments, code=code)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def same_lists(image):
    ours, theirs = byre("snapshot", "-l", image), run("qemu-img", "snapshot", "-l", image)
    if ours != theirs:
        fail(f"snapshot -l {image}:\n{ours}\n{theirs}")
    listed = json.loads(byre("snapshot", "--output=json", image))
    by_info = json.loads(run("qemu-img", "info", "--output=json", image)).get("snapshots", [])
    if listed != by_info:
        fail(f"snapshot --output=json {image}: {listed}, not {by_info}")


def refused(image, *arguments):
    before = digest(image)
    byre(*arguments, image, code=1)
    if digest(image) != before:
        fail(f"{' '.join(arguments)} {image}: refused, but the file has changed")


def many():
    byre("create", "-q", "-f", "qcow2", "many.qcow2", "4M")
    run("qemu-io", "-c", "write -P 7 0 1M", "many.qcow2")
    for i in range(1100):
        byre("snapshot", "-c", f"s{i}", "many.qcow2")
    same_lists("many.qcow2")
    run("qemu-img", "check", "-q", "many.qcow2")
    for i in (0, 500, 1099):
        byre("snapshot", "-d", f"s{i}", "many.qcow2")
    byre("snapshot", "-a", "s1098", "many.qcow2")
    run("qemu-img", "check", "-q", "many.qcow2")


def overflow():
    for bits, most in ((1, 0), (2, 2), (4, 14)):
        image = f"width{bits}.qcow2"
        byre("create", "-q", "-f", "qcow2", "-o", f"refcount_bits={bits}", image, "1M")
        run("qemu-io", "-c", "write 0 128k", image)
        for i in range(most):
            byre("snapshot", "-c", f"s{i}", image)
        refused(image, "snapshot", "-c", "one-too-many")
        if most:
            refused(image, "snapshot", "-a", "s0")  # counts once more before it counts less
            byre("snapshot", "-d", "s0", image)
            byre("snapshot", "-a", "s1", image)
        run("qemu-img", "check", "-q", image)


def names_and_ids():
    byre("create", "-q", "-f", "qcow2", "names.qcow2", "1M")
    for name in ("one", "1", "", "two", "two", "a b"):
        byre("snapshot", "-c", name, "names.qcow2")
    same_lists("names.qcow2")
    byre("snapshot", "-a", "1", "names.qcow2")  # the id, not the name
    byre("snapshot", "-d", "two", "names.qcow2")  # the older one
    byre("snapshot", "-d", "1", "names.qcow2")  # the name: -d takes no ids
    left = [entry["id"] for entry in json.loads(byre("snapshot", "--output=json", "names.qcow2"))]
    if left != ["1", "3", "5", "6"]:
        fail(f"ids left: {left}")
    refused("names.qcow2", "snapshot", "-d", "6")
    refused("names.qcow2", "snapshot", "-a", "nothing")
    refused("names.qcow2", "snapshot", "-c", "x" * 256)
    refused("names.qcow2", "snapshot", "-c", "a", "-d", "b")


def sizes():
    """A snapshot of another size: the disk gets it, and reads as it did."""
    for compat in ("1.1", "0.10"):
        image = f"sizes{compat}.qcow2"
        byre("create", "-q", "-f", "qcow2", "-o", "compat=1.1", image, "1M")
        run("qemu-io", "-c", "write -P 1 0 1M", image)
        byre("snapshot", "-c", "small", image)
        run("qemu-img", "resize", "-q", image, "3M")
        run("qemu-io", "-c", "write -P 2 2M 1M", image)
        byre("snapshot", "-c", "large", image)
        for name, size, offset, value in (("small", 1 << 20, "0", 1), ("large", 3 << 20, "2M", 2)):
            byre("snapshot", "-a", name, image)
            info = json.loads(run("qemu-img", "info", "--output=json", image))
            if info["virtual-size"] != size:
                fail(f"{image}, {name}: size {info['virtual-size']}, not {size}")
            run("qemu-io", "-c", f"read -P {value} {offset} 1M", image)
            run("qemu-img", "check", "-q", image)


def vm_state():
    """What lies in the VM state area goes to the snapshot, and comes back with it."""
    byre("create", "-q", "-f", "qcow2", "vm.qcow2", "1M")
    run("qemu-io", "-c", "write -b -P 9 0 64k", "vm.qcow2")
    byre("snapshot", "-c", "running", "vm.qcow2")
    run("qemu-img", "check", "-q", "vm.qcow2")
    run("qemu-io", "-c", "read -b -P 0 0 64k", "vm.qcow2")
    byre("snapshot", "-a", "running", "vm.qcow2")
    run("qemu-io", "-c", "read -b -P 9 0 64k", "vm.qcow2")
    run("qemu-img", "check", "-q", "vm.qcow2")


def other_formats():
    with open("disk.raw", "wb") as file:
        file.truncate(1 << 20)
    refused("disk.raw", "snapshot", "-f", "raw", "-c", "a")
    if byre("snapshot", "-l", "-f", "raw", "disk.raw"):
        fail("a raw disk lists snapshots")
    byre("create", "-q", "-f", "qcow2", "empty.qcow2", "0")
    for action in ("-c", "-a", "-d"):
        byre("snapshot", action, "a", "empty.qcow2")
        run("qemu-img", "check", "-q", "empty.qcow2")


for test in (many, overflow, names_and_ids, sizes, vm_state, other_formats):
    test()
sys.exit(1 if failures else 0)
