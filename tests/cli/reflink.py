#!/usr/bin/env python3
"""convert shares blocks with its sources on XFS and btrfs, which are mounted from files here: raw and qcow2 of every
cluster size, chains, snapshots, mixed clusters and odd sizes. Copies read as their sources, are sound, share what they
can, and stay as they are when the source is written; --reflink always fails where it cannot, and changes nothing.

Runs as root, in a mount namespace of its own: whatever ends it, mounts and loop devices go with it.

usage: reflink.py [FIRST_SEED [IMAGES]]
"""

import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
from checked_runs import fail, failures, run  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
MIB = 1 << 20
BLOCK = 4096
FICLONERANGE = 0x4020940D
KINDS = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q"]}
# XFS reserves blocks where a file grows; once they were read they pass for data.
MOUNT_OPTIONS = {"xfs": "loop,allocsize=4k", "btrfs": "loop"}


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def shared_bytes(path):
    """What the file system says of the file's extents."""
    extents = run("filefrag", "-s", "-v", path).splitlines()
    lengths = [line.split(":")[3] for line in extents if re.match(r" *\d+:", line) and "shared" in line]
    return sum(int(length) for length in lengths) * BLOCK


def check_copy(what, source, source_format, copy, copy_format, snapshot=()):
    if copy_format == "qcow2":
        run("qemu-img", "check", "-q", "-f", "qcow2", copy)
        run(BYRE, "check", "-q", copy)
    if snapshot:
        run("qemu-img", "convert", *snapshot, "-f", source_format, "-O", "raw", source, "snapshot.raw")
        source, source_format = "snapshot.raw", "raw"
    done = subprocess.run(["qemu-img", "compare", "-f", source_format, "-F", copy_format, source, copy],
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        fail(f"{what}: {done.stdout}{done.stderr}")


def convert(what, source, source_format, target_format, *options, snapshot=(), least_shared=0):
    copy = f"copy.{target_format}"
    if os.path.exists(copy):
        os.unlink(copy)
    run(BYRE, "convert", *options, *snapshot, "-f", source_format, "-O", target_format, source, copy)
    check_copy(what, source, source_format, copy, target_format, snapshot)
    shared = shared_bytes(copy)
    if shared < least_shared:
        fail(f"{what}: {options}: {shared} bytes are shared, not {least_shared}")
    return copy


def cluster_option(cluster):
    return ["-o", f"cluster_size={cluster}"]


def make_raw(path, draw, sectors, stored_zeros=True):
    """Stretches of noise, of stored zeros and of holes, most of them noise."""
    size = sectors * 512
    with open(path, "wb") as file:
        file.truncate(size)
        at = 0
        while at < size:
            length = min(draw.choice([1, 3, 16, 64, 300, 1024]) * BLOCK, size - at)
            kind = draw.random()
            file.seek(at)
            if kind < 0.75:
                file.write(draw.randbytes(length))
            elif kind < 0.85 and stored_zeros:
                file.write(bytes(length))
            at += length
        file.flush()
        os.fsync(file.fileno())
    return size


def every_cluster_size():
    draw = random.Random(1)
    sectors = 16 * MIB // 512 + 1000
    make_raw("source.raw", draw, sectors, stored_zeros=False)
    data = os.stat("source.raw").st_blocks * 512
    for bits in range(9, 22):
        cluster = 1 << bits
        # Small ones must be shared too where they lie one behind the other; of large ones each has a hole.
        most = 0 if cluster < BLOCK else data // 2 if cluster <= 65536 else 2 * MIB if cluster <= 256 << 10 else 0
        made = convert("raw to qcow2", "source.raw", "raw", "qcow2", *cluster_option(cluster), least_shared=most)
        os.replace(made, "made.qcow2")
        run(BYRE, "convert", "--reflink", "never", "-f", "raw", "-O", "qcow2", *cluster_option(cluster), "source.raw",
            "copied.qcow2")
        if digest("made.qcow2") != digest("copied.qcow2"):
            fail(f"cluster size {cluster}: the shared copy is another file than the copy")
        convert("qcow2 to raw", "made.qcow2", "qcow2", "raw", least_shared=most)
        other = 1 << draw.randrange(12, 22)
        convert("qcow2 to qcow2", "made.qcow2", "qcow2", "qcow2", *cluster_option(other),
                least_shared=most if other <= 65536 else 0)
        if BLOCK <= cluster:
            convert("always", "source.raw", "raw", "qcow2", "--reflink", "always", *cluster_option(cluster),
                    least_shared=most)


def pieces_make_up_larger_clusters():
    """Clusters of 64 KiB in the opposite order, in clusters of 2 MiB: shared one by one."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "backwards.qcow2", "8M")
    for at in reversed(range(0, 8 * 1024, 64)):
        run("qemu-io", "-f", "qcow2", "-c", f"write -q -P {at // 64 + 1} {at}k 64k", "backwards.qcow2")
    for cluster in (65536, 2 * MIB):
        convert("backwards", "backwards.qcow2", "qcow2", "qcow2", *cluster_option(cluster), least_shared=8 * MIB)
    convert("backwards", "backwards.qcow2", "qcow2", "raw", least_shared=8 * MIB)


def mixed_clusters_chains_and_snapshots():
    """Compressed, zero, preallocated and unallocated clusters between data, three layers, and a snapshot."""
    make_raw("base.raw", random.Random(2), 12 * MIB // 512 + 7)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=16k", "-F", "raw", "-b", "base.raw", "mid.qcow2",
        "14M")
    mid = ["write -q -P 1 1M 1M", "write -q -z 3M 512k", "write -q -c -P 2 4M 16k", "write -q -c -P 3 4112k 16k",
           "write -q -P 4 4128k 999k", "discard -q 6M 1M", "write -q -P 5 13M 300k"]
    run("qemu-io", "-f", "qcow2", *[word for command in mid for word in ("-c", command)], "mid.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "mid.qcow2", "top.qcow2",
        str(15 * MIB + 512000))
    run("qemu-io", "-f", "qcow2", "-c", "write -q -P 6 2M 700k", "-c", "write -q -P 7 14M 1M", "top.qcow2")
    run("qemu-img", "snapshot", "-c", "kept", "top.qcow2")
    run("qemu-io", "-f", "qcow2", "-c", "write -q -P 8 2M 2M", "-c", "write -q -z 14M 512k", "top.qcow2")
    run("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "top.qcow2", "flat.qcow2")
    for source in ("top.qcow2", "mid.qcow2", "flat.qcow2"):
        for target_format, options in (("raw", []), ("qcow2", cluster_option(4096)), ("qcow2", []),
                                       ("qcow2", cluster_option(MIB)), ("qcow2", ["-W"]), ("qcow2", ["-t", "none"]),
                                       ("raw", ["-T", "none", "-t", "directsync"])):
            large = options == cluster_option(MIB)
            convert(source, source, "qcow2", target_format, *options, least_shared=MIB if large else 6 * MIB)
    for snapshot in (["-l", "kept"], ["-l", "snapshot.name=kept"]):
        for target_format in ("raw", "qcow2"):
            convert("snapshot", "top.qcow2", "qcow2", target_format, snapshot=snapshot, least_shared=6 * MIB)
    for options in ([], cluster_option(4096), cluster_option(32768), cluster_option(2 * MIB), ["--reflink", "always"]):
        shared = 0 if options and options[0] == "-o" and "32768" not in options[1] else 8 * MIB
        copy = convert("all snapshots", "top.qcow2", "qcow2", "qcow2", "--all-snapshots", *options, least_shared=shared)
        run("qemu-img", "convert", "-l", "kept", "-f", "qcow2", "-O", "raw", copy, "kept.raw")
        check_copy("snapshot in a copy of all", "top.qcow2", "qcow2", "kept.raw", "raw", ("-l", "kept"))
    # Several sources, of which the second begins inside a block.
    shutil.copyfile("base.raw", "again.raw")
    run(BYRE, "convert", "-f", "raw", "-O", "qcow2", "base.raw", "again.raw", "two.qcow2")
    with open("two.raw", "wb") as file:
        for name in ("base.raw", "again.raw"):
            with open(name, "rb") as part:
                shutil.copyfileobj(part, file)
    check_copy("two sources", "two.raw", "raw", "two.qcow2", "qcow2")


def copies_are_independent():
    draw = random.Random(3)
    size = make_raw("source.raw", draw, 6 * MIB // 512)
    copy = os.path.abspath(convert("raw", "source.raw", "raw", "qcow2", least_shared=3 * MIB))
    os.replace(copy, "kept.qcow2")
    convert("back", "kept.qcow2", "qcow2", "raw", least_shared=3 * MIB)
    os.replace("copy.raw", "kept.raw")
    before = {name: digest(name) for name in ("source.raw", "kept.qcow2", "kept.raw")}
    for name, image_format in (("source.raw", "raw"), ("kept.qcow2", "qcow2"), ("kept.raw", "raw")):
        run("qemu-io", "-f", image_format, "-c", f"write -q -P 9 0 {size}", "-c", "flush", name)
        if digest(name) == before.pop(name):
            fail(f"{name} was not written")
        for other, old in before.items():
            if digest(other) != old:
                fail(f"writing {name} changed {other}")
    run("qemu-img", "check", "-q", "-f", "qcow2", "kept.qcow2")


def zeros_stay_stored_unless_they_are_looked_for():
    with open("zeros.raw", "wb") as file:
        file.write(b"x" * MIB + bytes(4 * MIB) + b"y" * MIB)
    shared = convert("stored zeros", "zeros.raw", "raw", "qcow2", least_shared=6 * MIB)
    allocated = os.path.getsize(shared)
    for options in (["-S", "4k"], ["--reflink", "never"], ["--reflink", "auto", "-S", "64k"], ["-c"]):
        copied = convert("zeros looked for", "zeros.raw", "raw", "qcow2", *options)
        if os.path.getsize(copied) + 4 * MIB > allocated or shared_bytes(copied) != 0:
            fail(f"{options}: {os.path.getsize(copied)} bytes, {shared_bytes(copied)} of them shared")
    stored = convert("all zeros stored", "zeros.raw", "raw", "raw", "-S", "0")
    if shared_bytes(stored) != 0:
        fail("-S 0 has shared blocks")


def what_has_its_blocks_keeps_them():
    make_raw("source.raw", random.Random(7), 4 * MIB // 512)
    for target_format, preallocation in (("raw", "falloc"), ("qcow2", "metadata")):
        copy = convert(preallocation, "source.raw", "raw", target_format, "-o", f"preallocation={preallocation}")
        if shared_bytes(copy) != 0:
            fail(f"-O {target_format}, preallocation={preallocation}: blocks are shared")
    for target_format in ("raw", "qcow2"):
        copy = convert("made", "source.raw", "raw", target_format, "--reflink", "never")
        run(BYRE, "convert", "-n", "-f", "raw", "-O", target_format, "source.raw", copy)
        check_copy("-n", "source.raw", "raw", copy, target_format)
        if shared_bytes(copy) != 0:
            fail(f"-n -O {target_format}: blocks are shared")


def larger_than_the_limit():
    """A file that may not grow so far says so, and is removed."""
    with open("source.raw", "wb") as file:
        file.write(random.Random(8).randbytes(8 * MIB))
    for target_format in ("raw", "qcow2"):
        script = f"ulimit -f 4096; trap '' XFSZ; exec '{BYRE}' convert -f raw -O {target_format} source.raw target"
        run("bash", "-c", script, code=1, says="too large")
        if os.path.exists("target"):
            fail("the target that could not grow is still there")


def larger_than_its_file_system():
    """The source is one stretch of 64 MiB, 40 times; a copy that stored anything twice would not fit."""
    with open("part.bin", "wb") as file:
        file.write(random.Random(4).randbytes(64 * MIB))
    with open("part.bin", "rb") as part, open("huge.raw", "wb") as huge:
        for index in range(40):
            request = struct.pack("qQQQ", part.fileno(), 0, 64 * MIB, index * 64 * MIB)
            fcntl.ioctl(huge.fileno(), FICLONERANGE, request)
    run(BYRE, "convert", "-f", "raw", "-O", "qcow2", "huge.raw", "huge.qcow2")
    run(BYRE, "convert", "-f", "qcow2", "-O", "raw", "huge.qcow2", "back.raw")
    run("qemu-img", "check", "-q", "-f", "qcow2", "huge.qcow2")
    run("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", "huge.raw", "huge.qcow2")
    run("cmp", "huge.raw", "back.raw")
    for name in ("part.bin", "huge.raw", "huge.qcow2", "back.raw"):
        os.unlink(name)


def refused(*arguments, says):
    """--reflink always: exit code 1, and neither a new nor an existing target, nor the sources, have changed."""
    *others, target = arguments
    names = [name for name in arguments if os.path.isfile(name)]
    before = {name: digest(name) for name in names}
    existed = os.path.exists(target)
    run(BYRE, "convert", "--reflink", "always", *others, target, code=1, says=says)
    if os.path.exists(target) != existed:
        fail(f"{arguments}: the target {'is gone' if existed else 'is there'}")
    for name in names:
        if os.path.exists(name) and digest(name) != before[name]:
            fail(f"{arguments}: {name} has changed")


def always_changes_nothing_where_it_cannot(elsewhere):
    make_raw("source.raw", random.Random(5), 3 * MIB // 512 + 1)
    run(BYRE, "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=512", "source.raw", "fine.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "source.raw", "overlay.qcow2")
    far = os.path.join(elsewhere, "target")
    for existing in (False, True):
        for target in (far, "target"):
            if os.path.exists(target):
                os.unlink(target)
            if existing:
                shutil.copyfile("source.raw", target)
        refused("-f", "raw", "-O", "qcow2", "source.raw", far,
                says=f"{far}.partial: cannot share blocks with source.raw")
        refused("-f", "raw", "-O", "raw", "source.raw", far, says="source.raw: Invalid cross-device link")
        refused("-f", "qcow2", "-O", "raw", "overlay.qcow2", far, says=far)
        refused("-f", "raw", "-O", "qcow2", "-o", "cluster_size=512", "source.raw", "target", says="of 512 bytes")
        refused("-f", "qcow2", "-O", "raw", "fine.qcow2", "target", says="fine.qcow2: its clusters of 512 bytes")
        refused("-f", "raw", "-O", "qcow2", "source.raw", "source.raw", "target", says="begin at byte 3146240")
        for words, says in ((["-c"], "-c"), (["-S", "4k"], "-S"), (["-S", "0"], "-S"), (["-n"], "-n"),
                            (["-B", "source.raw", "-F", "raw"], "-B"),
                            (["-o", "preallocation=falloc"], "preallocation")):
            refused(*words, "-f", "raw", "-O", "qcow2", "source.raw", "target", says=says)
    run(BYRE, "convert", "--reflink", "sometimes", "source.raw", "target", code=1, says="'sometimes'")
    run(BYRE, "convert", "-f", "raw", "-O", "qcow2", "source.raw", far)
    check_copy("copied to another file system", "source.raw", "raw", far, "qcow2")


def full_file_system():
    """Not even the tables of the copy fit: it fails with a reason, and leaves nothing."""
    make_raw("source.raw", random.Random(6), 16 * MIB // 512)
    before = digest("source.raw")
    try:
        with open("filler", "wb", buffering=0) as file:
            while True:
                file.write(bytes(BLOCK))
                if file.tell() % (4 * MIB) == 0:
                    os.fsync(file.fileno())
    except OSError:
        pass
    for options in (["auto"], ["always"], ["never"]):
        run(BYRE, "convert", "--reflink", *options, "-t", "writeback", "-f", "raw", "-O", "qcow2", "source.raw",
            "copy.qcow2", code=1, says="No space left on device")
        if os.path.exists("copy.qcow2"):
            fail("the unfinished target is still there")
    os.unlink("filler")
    if digest("source.raw") != before:
        fail("the source has changed")


def random_images(first, count):
    for seed in range(first, first + count):
        draw = random.Random(seed)
        make_raw("source.raw", draw, draw.randrange(1, 8 * MIB // 512))
        name, image_format = "source.raw", "raw"
        if draw.random() < 0.7:
            name, image_format = "source.qcow2", "qcow2"
            options = cluster_option(512 << draw.randrange(13))
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", *draw.choice([[], ["-W"], ["-c"], ["-S", "0"]]),
                *options, "source.raw", name)
            for _ in range(draw.randrange(8)):
                at, length = draw.randrange(8 * MIB), draw.randrange(1, MIB)
                how = draw.choice(["write -P 7", "write -z", "write -z -u", "discard"])
                subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"{how} {at} {length}", name], capture_output=True,
                               timeout=60, check=False)
        target_format = draw.choice(["raw", "qcow2"])
        options = cluster_option(512 << draw.randrange(13)) if target_format == "qcow2" else []
        convert(f"seed {seed}; repeat with: reflink.py {seed} 1", name, image_format, target_format, *options,
                *draw.choice([[], ["-W"], ["-m", "1"], ["-m", "16"]]))
        if image_format == "qcow2":
            continue  # it may have reserved blocks
        measured = json.loads(run(BYRE, "measure", "--exact", "--reflink", "auto", "--output=json", "-f", image_format,
                                  "-O", target_format, *options, name))["required"]
        if measured != os.path.getsize(f"copy.{target_format}"):
            fail(f"seed {seed}: {measured} bytes measured, {os.path.getsize(f'copy.{target_format}')} made")


def on_file_system(place, elsewhere):
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 25
    steps = [(random_images, first, count)]
    if len(sys.argv) == 1:
        steps += [(every_cluster_size,), (pieces_make_up_larger_clusters,), (mixed_clusters_chains_and_snapshots,),
                  (copies_are_independent,), (zeros_stay_stored_unless_they_are_looked_for,),
                  (what_has_its_blocks_keeps_them,), (larger_than_the_limit,), (larger_than_its_file_system,),
                  (always_changes_nothing_where_it_cannot, elsewhere), (full_file_system,)]
    for function, *arguments in steps:
        directory = os.path.join(place, function.__name__)
        os.mkdir(directory)
        os.chdir(directory)
        before = len(failures)
        function(*arguments)
        os.chdir(elsewhere)
        shutil.rmtree(directory)
        if len(failures) > before:
            print(f"in {directory}")


def mount(kind, directory):
    """An empty file system; None if this machine has none of the kind."""
    image, place = os.path.join(directory, f"{kind}.image"), os.path.join(directory, kind)
    with open(image, "wb") as file:
        file.truncate(400 * MIB)
    os.mkdir(place)
    for command in ([*KINDS[kind], image], ["mount", "-t", kind, "-o", MOUNT_OPTIONS[kind], image, place]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"no {kind} here: {' '.join(command)}: {done.stderr}")
            return None
    return place


def main():
    needed = [kind[0] for kind in KINDS.values()] + ["unshare", "mount", "filefrag", "qemu-img", "qemu-io"]
    missing = [name for name in needed if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        print(f"needs to be root, and {missing}")
        return 77
    if os.environ.get("REFLINK_TEST_IS_ALONE") != "yes":
        os.environ["REFLINK_TEST_IS_ALONE"] = "yes"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    directory = os.getcwd()
    places = [place for place in (mount(kind, directory) for kind in KINDS) if place]
    for place in places:
        on_file_system(place, directory)
    if not places:
        return 77
    return 1 if failures else 0


sys.exit(main())
