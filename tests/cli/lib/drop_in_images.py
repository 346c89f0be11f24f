"""The images that drop_in.py's command lines work on: small ones of all kinds, made once by the reference."""

import os
import shutil
import struct
import subprocess

# What a name needs beside itself.
LAYERS = {"mid.qcow2": ["base.raw"], "top.qcow2": ["mid.qcow2", "base.raw"], "lost.qcow2": [],
          "data.qcow2": ["data.bin"]}


def run(*words):
    subprocess.run(words, check=True, capture_output=True, timeout=60)


def create(name, *options, size="1M"):
    run("qemu-img", "create", "-q", "-f", "qcow2", *options, name, *([size] if size else []))


def io(name, *commands, form="qcow2"):
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", form, *words, name], capture_output=True, timeout=60, check=False)


def patch(name, offset, data):
    with open(name, "r+b") as file:
        file.seek(offset)
        file.write(data)


def make_raw():
    for name, size in (("disk.raw", 1 << 20), ("base.raw", 1 << 20), ("odd.raw", 70_001), ("tiny.raw", 512)):
        with open(name, "wb") as file:
            file.truncate(size)
    io("disk.raw", "write -P 1 0 64k", "write -P 2 512k 100k", form="raw")
    io("base.raw", "write -P 3 0 256k", "write -P 4 768k 64k", form="raw")
    patch("odd.raw", 60_000, b"\x05" * 10_001)
    patch("tiny.raw", 0, b"\x06" * 512)
    with open("text", "w", encoding="utf-8") as file:
        file.write("not an image\n" * 100)


def make_chain():
    create("mid.qcow2", "-b", "base.raw", "-F", "raw", size="")
    io("mid.qcow2", "write -P 10 128k 64k", "write -z 256k 64k")
    create("top.qcow2", "-b", "mid.qcow2", "-F", "qcow2", size="")
    io("top.qcow2", "write -P 11 160k 64k", "write -P 12 900k 4k")
    shutil.copy("top.qcow2", "lost.qcow2")
    run("qemu-img", "rebase", "-u", "-b", "gone.qcow2", "-F", "qcow2", "lost.qcow2")


def make_kinds():
    fill = ("write -P 1 0 64k", "write -P 2 512k 100k", "write -z 640k 64k")
    for name, options in (("plain.qcow2", []), ("v2.qcow2", ["-o", "compat=0.10"]),
                          ("small.qcow2", ["-o", "cluster_size=512"]), ("zstd.qcow2", ["-o", "compression_type=zstd"]),
                          ("narrow.qcow2", ["-o", "refcount_bits=1,cluster_size=4k"]),
                          ("full.qcow2", ["-o", "preallocation=metadata"]),
                          ("sub.qcow2", ["-o", "extended_l2=on"]), ("lazy.qcow2", ["-o", "lazy_refcounts=on"])):
        create(name, *options)
        io(name, *fill)
    create("big.qcow2", size="1T")
    create("none.qcow2", size="0")
    create("packed.qcow2")
    io("packed.qcow2", "write -c -P 1 0 64k", "write -c -P 2 64k 64k", "write -P 3 256k 64k")
    create("data.qcow2", "-o", "data_file=data.bin")
    io("data.qcow2", "write -P 1 0 64k")
    create("marks.qcow2")
    run("qemu-img", "bitmap", "--add", "marks.qcow2", "b0")


def make_snapshots():
    create("snap.qcow2")
    io("snap.qcow2", "write -P 1 0 256k")
    run("qemu-img", "snapshot", "-c", "one", "snap.qcow2")
    io("snap.qcow2", "write -P 2 64k 64k")
    run("qemu-img", "snapshot", "-c", "2", "snap.qcow2")
    io("snap.qcow2", "write -P 3 128k 64k", "discard 192k 64k")


def make_damaged():
    shutil.copy("plain.qcow2", "leak.qcow2")
    last = os.path.getsize("leak.qcow2") >> 16
    patch("leak.qcow2", (last << 16) + 65535, b"\0")
    patch("leak.qcow2", refcount_block("leak.qcow2") + 2 * last, struct.pack(">H", 1))
    shutil.copy("plain.qcow2", "beyond.qcow2")
    patch("beyond.qcow2", refcount_block("beyond.qcow2") + 2 * 20, struct.pack(">H", 1))
    shutil.copy("plain.qcow2", "broken.qcow2")
    patch("broken.qcow2", refcount_block("broken.qcow2") + 2 * 5, struct.pack(">H", 0))
    create("dirty.qcow2", "-o", "lazy_refcounts=on")
    io("dirty.qcow2", "write -P 1 0 128k", "abort")


def refcount_block(name):
    with open(name, "rb") as file:
        table = struct.unpack(">Q", file.read(56)[48:])[0]
        file.seek(table)
        return struct.unpack(">Q", file.read(8))[0]


def make(directory):
    os.makedirs(directory)
    before = os.getcwd()
    os.chdir(directory)
    make_raw()
    make_chain()
    make_kinds()
    make_snapshots()
    make_damaged()
    os.chdir(before)


def copy(images, words, directory):
    """Those that a command line names, with what they need."""
    os.makedirs(directory)
    text = " ".join(words)
    names = {name for name in os.listdir(images) if name in text}
    for name in list(names):
        names.update(LAYERS.get(name, []))
    for name in names:
        copy_sparse(os.path.join(images, name), os.path.join(directory, name))


def copy_sparse(source, target):
    with open(source, "rb") as old, open(target, "wb") as new:
        size, at = os.fstat(old.fileno()).st_size, 0
        new.truncate(size)
        while at < size:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # no more data
                break
            end = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            os.pwrite(new.fileno(), os.pread(old.fileno(), end - at, at), at)
            at = end
