#!/usr/bin/env python3
"""`byre amend` and qemu-img's: exit code, what `info` says and content after the same options on the same image.

qemu-img 7.2 does not always come to an end when it changes the refcount width: it gets one second, and where it needs
more the widths are compared with what was asked for.
"""

import filecmp
import json
import os
import shutil
import struct
import subprocess
import sys

BYRE = os.environ.get("BYRE", "byre")
failures = 0


def run(*arguments, timeout=60):
    try:
        return subprocess.run(arguments, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return None


def make_images():
    run("qemu-img", "create", "-q", "-f", "raw", "base.raw", "2M")
    run("qemu-io", "-f", "raw", "-c", "write -P 8 0 2M", "base.raw")
    zeros = ["-c", "write -P 1 0 300k", "-c", "write -z 64k 64k", "-c", "write -z -u 128k 64k",
             "-c", "discard 192k 64k"]
    for name, options, snapshots in (("plain", "compat=1.1", 0), ("lazy", "compat=1.1,lazy_refcounts=on", 0),
                                     ("old", "compat=0.10", 1), ("wide", "compat=1.1,refcount_bits=64", 2),
                                     ("snapshots", "compat=1.1", 3)):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", "base.raw", "-F", "raw", name, "2M")
        run("qemu-io", *zeros, name)
        for i in range(snapshots):
            run("qemu-img", "snapshot", "-c", f"s{i}", name)
            run("qemu-io", "-c", f"write -P {i + 2} 256k 64k", "-c", "write -z 512k 128k", name)


OPTIONS = ["compat=0.10", "compat=1.1", "compat=v2,lazy_refcounts=off", "lazy_refcounts=on", "lazy_refcounts=off",
           "refcount_bits=1", "refcount_bits=2", "refcount_bits=16,compat=0.10", "refcount_bits=64",
           "refcount_bits=3", "refcount_bits=128", "size=3M", "size=1M", "size=1000001",
           "cluster_size=4096", "compat=0.11", "compat=0.10,size=3M", "lazy_refcounts=on,size=1000001",
           "backing_file=other.raw", "backing_fmt=qcow2", "nonsense=1"]


def facts(image):
    info = json.loads(run("qemu-img", "info", "--output=json", image).stdout)
    data = info["format-specific"]["data"]
    return {"size": info["virtual-size"], "compat": data["compat"], "lazy": data.get("lazy-refcounts"),
            "width": data["refcount-bits"], "snapshots": [entry["name"] for entry in info.get("snapshots", [])]}


def content(image, snapshot=None):
    words = ["-l", f"snapshot.name={snapshot}"] if snapshot else []
    run(BYRE, "convert", *words, "-O", "raw", image, "out.raw")
    with open("out.raw", "rb") as file:
        data = file.read()
    os.unlink("out.raw")
    return data


def differ(*what):
    global failures
    failures += 1
    print(*what)


def compare(image, options):
    for copy in ("ours", "theirs"):
        shutil.copy(image, copy)
    contents = {name: content(image, name) for name in [None] + facts(image)["snapshots"]}
    ours = run(BYRE, "amend", "-o", options, "ours")
    theirs = run("qemu-img", "amend", "-o", options, "theirs", timeout=1)
    if run("qemu-img", "check", "-q", "ours").returncode != 0:
        differ(image, options, "qemu-img check finds something")
    if theirs and ours.returncode != theirs.returncode:
        differ(image, options, f"exit {ours.returncode}, the reference {theirs.returncode}: {ours.stderr}")
    if ours.returncode != 0 and not filecmp.cmp(image, "ours", shallow=False):
        differ(image, options, f"refused, and changed: {ours.stderr}")
    if theirs and ours.returncode == theirs.returncode == 0 and facts("ours") != facts("theirs"):
        differ(image, options, f"{facts('ours')}, the reference {facts('theirs')}")
    if not theirs and ours.returncode == 0 and f"refcount_bits={facts('ours')['width']}" not in options:
        differ(image, options, f"{facts('ours')}")
    for name, before in contents.items():
        length = min(len(before), facts("ours")["size"]) if name is None else len(before)
        if content("ours", name)[:length] != before[:length]:
            differ(image, options, f"content of {name or 'the disk'} differs")


def word_at(image, at):
    return struct.unpack_from(">Q", image, at)[0] & 0x00FFFFFFFFFFFE00


def zero_flag_in_version_2(in_snapshot):
    """A bit that version 2 does not know and version 3 takes for zeros (H-30): not upgraded, and as it was."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "flag", "1M")
    run("qemu-io", "-c", "write -P 1 0 256k", "flag")
    run("qemu-img", "snapshot", "-c", "s", "flag")
    run("qemu-io", "-c", "write -P 2 0 64k", "flag")  # the table is the snapshot's alone now
    with open("flag", "r+b") as file:
        image = file.read()
        l1 = word_at(image, word_at(image, 64)) if in_snapshot else word_at(image, 40)
        at = word_at(image, l1) + 8
        file.seek(at + 7)
        file.write(bytes([image[at + 7] | 1]))
    shutil.copy("flag", "before")
    done = run(BYRE, "amend", "-o", "compat=1.1", "flag")
    if done.returncode != 1 or "byre check" not in done.stderr or not filecmp.cmp("flag", "before", shallow=False):
        differ("zero flag", in_snapshot, f"exit {done.returncode}: {done.stderr}")


make_images()
zero_flag_in_version_2(False)
zero_flag_in_version_2(True)
for image in ("plain", "old", "wide", "snapshots"):
    for options in OPTIONS:
        compare(image, options)
sys.exit(1 if failures else 0)
