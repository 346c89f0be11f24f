#!/usr/bin/env python3
"""`byre resize` and qemu-img's: exit code, size and content after the same command on the same image; and zeros in what
is added, where qemu-img shows something else."""

import json
import os
import shutil
import subprocess
import sys

BYRE = os.environ.get("BYRE", "byre")
failures = 0


def run(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def make_images():
    run("qemu-img", "create", "-q", "-f", "raw", "base.raw", "3M")
    run("qemu-io", "-f", "raw", "-c", "write -P 8 0 3M", "base.raw")
    run("qemu-img", "create", "-q", "-f", "qcow2", "plain.qcow2", "2M")
    run("qemu-io", "-c", "write -P 1 0 2M", "plain.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "overlay.qcow2", "1M")
    run("qemu-io", "-c", "write -P 2 64k 64k", "overlay.qcow2")
    for compat in ("1.1", "0.10"):
        image = f"snapshots{compat}.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"compat={compat}", image, "2M")
        run("qemu-io", "-c", "write -P 3 0 2M", image)
        run("qemu-img", "snapshot", "-c", "s", image)
    shutil.copy("base.raw", "disk.raw")


GOOD_SIZES = ["4M", "+1000k", "1M", "-512k", "2M"]
SIZES = GOOD_SIZES + ["0", "-10M", "+1000", "1x", "+", "-", "9000000000000T"]
FLAGS = [[], ["-q", "--shrink"], ["--preallocation=metadata"], ["--preallocation=falloc"],
         ["--shrink", "--preallocation=full"], ["--preallocation=other"]]


def facts(image):
    info = json.loads(run("qemu-img", "info", "--output=json", image).stdout)
    checked = run("qemu-img", "check", "-q", image).returncode if image.endswith("qcow2") else 0
    return info["virtual-size"], [entry["name"] for entry in info.get("snapshots", [])], checked


def compare(image, words):
    global failures
    results = []
    for tool in ([BYRE], ["qemu-img"]):
        shutil.copy(image, "copy" + os.path.splitext(image)[1])
        copy = "copy" + os.path.splitext(image)[1]
        form = ["-f", "raw"] if image.endswith("raw") else []
        done = run(*tool, "resize", *form, *words[:-1], copy, words[-1])
        results.append((done.returncode, done.stdout, facts(copy)))
        os.rename(copy, tool[0].rsplit("/", 1)[-1] + "." + image)
    names = [BYRE.rsplit("/", 1)[-1] + "." + image, "qemu-img." + image]
    if results[0] != results[1]:
        failures += 1
        print(f"{image} {words}: {results[0]}, the reference {results[1]}")
    same = run("qemu-img", "compare", "-q", *names).returncode
    if same != 0 and results[0][2][0] == results[1][2][0]:
        failures += 1
        print(f"{image} {words}: contents differ")


def preallocated_clusters_read_as_zeros():
    """The old L1 table's cluster is free, and the next that is handed out. The reference shows what it held
    (docs/format.md 27.10)."""
    global failures
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "moved.qcow2", "2096640")
    run("qemu-io", "-c", "write -P 7 0 2096640", "moved.qcow2")
    grown = run(BYRE, "resize", "-q", "--preallocation=metadata", "moved.qcow2", "8M")
    read = run("qemu-io", "-r", "-c", "read -P 7 0 2096640", "-c", "read -P 0 2096640 6291968", "moved.qcow2")
    if grown.returncode != 0 or read.returncode != 0 or "failed" in read.stdout or facts("moved.qcow2")[2] != 0:
        failures += 1
        print(f"moved.qcow2: {grown.stderr}{read.stdout}")


make_images()
preallocated_clusters_read_as_zeros()
for image in ("plain.qcow2", "overlay.qcow2", "snapshots1.1.qcow2", "snapshots0.10.qcow2", "disk.raw"):
    for flags in FLAGS:
        for size in SIZES if image == "plain.qcow2" else GOOD_SIZES:
            compare(image, flags + [size])
sys.exit(1 if failures else 0)
