#!/usr/bin/env python3
"""`convert` and `dd` from and to pipes: what arrives is sound and reads the same, the same bytes each time, with memory
bounded by the tables; whatever cannot be is refused and leaves no target; nothing waits for ever."""

import os
import random
import signal
import subprocess
import time

BYRE = os.environ["BYRE"]
SANITIZED = os.environ.get("BYRE_SANITIZE", "") != ""


def expect(truth, what):
    if not truth:
        raise SystemExit(f"FAILED: {what}")


def run(*arguments, data=None, code=0, says=b""):
    done = subprocess.run([BYRE, *arguments], input=data, capture_output=True, timeout=300, check=False)
    expect(done.returncode == code and says in done.stderr, f"{arguments}: {done.returncode} {done.stderr!r}")
    return done.stdout


def qemu(*arguments):
    done = subprocess.run(["qemu-img", *arguments], capture_output=True, timeout=300, check=False)
    expect(done.returncode == 0, f"{arguments}: {done}")


def write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def is_copy(image, source, source_format):
    """Sound, without leaks, and the same content for both tools."""
    qemu("check", "-f", "qcow2", image)
    run("check", "-f", "qcow2", image)
    qemu("compare", "-f", source_format, "-F", "qcow2", source, image)
    run("compare", "-f", source_format, "-F", "qcow2", source, image)


def make_sources():
    draw = random.Random(4)
    letters = bytes(draw.randrange(97, 123) for _ in range(1 << 16))
    with open("holes.raw", "wb") as file:
        for at, piece in ((0, letters), (1 << 20, draw.randbytes(300000)), (5 << 20, letters * 20),
                          ((9 << 20) + 4096, b"alone"), ((40 << 20) - 512, draw.randbytes(512))):
            file.seek(at)
            file.write(piece)
    write_file("empty.raw", b"")
    write_file("sector.raw", draw.randbytes(512))
    write_file("odd.raw", draw.randbytes(123457))
    write_file("noise.raw", draw.randbytes(8 << 20))
    with open("large.raw", "wb") as file:
        for at in range(0, 160 << 20, 1 << 20):
            file.seek(at)
            file.write(bytes([1 + (at >> 20) % 250]) * (1 << 20))
    with open("zeros.raw", "wb") as file:
        file.truncate(3 << 20)
    qemu("convert", "-f", "raw", "-O", "qcow2", "-c", "holes.raw", "base.qcow2")
    qemu("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", "base.qcow2", "-F", "qcow2", "chain.qcow2")
    subprocess.run(["qemu-io", "-c", "write -P 7 100k 50k", "-c", "write -z 5M 100k", "chain.qcow2"], check=True,
                   stdout=subprocess.DEVNULL)
    qemu("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "fine.qcow2", "1M")
    writes = [word for at in range(0, 300, 3) for word in ("-c", f"write -P {1 + at % 9} {at * 512} 512")]
    subprocess.run(["qemu-io", *writes, "fine.qcow2"], check=True, stdout=subprocess.DEVNULL)


SOURCES = (("holes.raw", "raw"), ("empty.raw", "raw"), ("sector.raw", "raw"), ("odd.raw", "raw"), ("zeros.raw", "raw"),
           ("chain.qcow2", "qcow2"), ("fine.qcow2", "qcow2"))
OPTIONS = ([], ["-c"], ["-c", "-o", "compression_type=zstd"], ["-o", "cluster_size=512"],
           ["-c", "-o", "cluster_size=512"], ["-o", "cluster_size=2M"], ["-c", "-o", "cluster_size=2M"],
           ["-c", "-o", "refcount_bits=1"], ["-c", "-o", "refcount_bits=2,cluster_size=4k"], ["-o", "refcount_bits=64"],
           ["-c", "-o", "compat=0.10"], ["-S", "4k"], ["-S", "0"])


def out_and_in():
    for source, source_format in SOURCES:
        for options in OPTIONS:
            image = run("convert", "-f", source_format, "-O", "qcow2", *options, source, "-")
            write_file("out.qcow2", image)
            is_copy("out.qcow2", source, source_format)
            run("convert", "-O", "qcow2", "-", "in.qcow2", data=image)
            is_copy("in.qcow2", source, source_format)
        again = [run("convert", "-f", source_format, "-O", "qcow2", "-c", "-m", count, source, "-") for count in "16"]
        expect(again[0] == again[1], f"{source}: other bytes with another -m")
        expect(run("convert", "-f", source_format, "-O", "raw", source, "-") ==
               run("convert", "-O", "raw", "-", "-", data=again[0]), f"{source}: raw streams differ")


def zeros_are_told_from_the_status_or_looked_for():
    """Stored zeros are data, unless they are looked for."""
    write_file("stored.raw", bytes(1 << 20) + b"x")
    sizes = [len(run("convert", "-f", "raw", "-O", "qcow2", *options, "stored.raw", "-"))
             for options in ([], ["-S", "4k"], ["-c"])]
    expect(sizes[0] > 1 << 20 and sizes[1] < 500000 and sizes[2] <= sizes[1], f"sizes {sizes}")


def layout_is_the_documented_one():
    """Header, refcounts, L1 table, L2 tables, data in the order of the guest."""
    image = run("convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", "holes.raw", "-")

    def word(at):
        return int.from_bytes(image[at:at + 8], "big")

    l1_table = word(40)
    tables = [word(l1_table + 8 * i) & 0x00fffffffffffe00 for i in range(int.from_bytes(image[36:40], "big"))]
    tables = [at for at in tables if at]
    data = [word(table + 8 * i) & 0x00fffffffffffe00 for table in tables for i in range(512)]
    data = [at for at in data if at]
    refcounts = word(48)
    expect(0 < refcounts < word(refcounts) < l1_table < tables[0] and tables == sorted(tables), "places of the tables")
    expect(data == sorted(data) and data[0] == tables[-1] + 4096, "places of the data")
    expect(data[-1] + 4096 == len(image), "something behind the data")
    expect(len(data) * 4096 <= os.stat("holes.raw").st_blocks * 512 + 65536, "holes are stored")


def images_of_qemu():
    for source in ("holes.raw", "odd.raw"):
        for options in ([], ["-c"], ["-o", "cluster_size=512"], ["-o", "preallocation=metadata"]):
            qemu("convert", "-f", "raw", "-O", "qcow2", *options, source, "qemu.qcow2")
            run("convert", "-O", "raw", "-", "in.raw", data=read_file("qemu.qcow2"))
            run("compare", "-f", "raw", "-F", "raw", "in.raw", source)


def raw_streams():
    for source, _ in SOURCES[:5]:
        data = read_file(source)
        for options in (["-O", "raw"], ["-O", "qcow2"], ["-O", "qcow2", "-c"], ["-O", "qcow2", "-m", "1"],
                        ["-O", "qcow2", "-o", "cluster_size=512"], ["-O", "qcow2", "-S", "0"]):
            run("convert", "-f", "raw", *options, "-", "in", data=data)
            if options[1] == "qcow2":
                is_copy("in", source, "raw")
            else:
                expect(read_file("in") == data + bytes(-len(data) % 512), f"{source} {options}")
                expect(os.stat("in").st_blocks <= os.stat(source).st_blocks + 16, f"{source}: zeros are stored")
            os.unlink("in")
    write_file("tail.raw", read_file("noise.raw")[:-100])  # its last buffer has been used before
    run("convert", "-m", "1", "-O", "raw", "-", "in", data=read_file("tail.raw"))
    expect(read_file("in") == read_file("tail.raw") + bytes(100), "bytes behind the end of a raw stream")
    run("convert", "-f", "raw", "-O", "qcow2", "-", "in", data=read_file("base.qcow2"))
    qemu("compare", "-f", "raw", "-F", "qcow2", "base.qcow2", "in")


def truncated_streams():
    """Wherever the guest's data or a table before it ends early, it is an error."""
    for options in ([], ["-c"], ["-c", "-o", "compression_type=zstd"]):
        image = run("convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", *options, "holes.raw", "-")
        last = max(i for i in range(len(image)) if image[i])
        draw = random.Random(5)
        places = {8, 71, 104, 4095, 4096, 4097, 8192, last, last - 1, last // 512 * 512, last // 4096 * 4096}
        places |= {draw.randrange(8, last) for _ in range(5 if SANITIZED else 60)}
        for place in places:
            for target in (["-O", "raw"], ["-O", "qcow2"]):
                run("convert", *target, "-", "cut", data=image[:place], code=1, says=b"byre: ")
                expect(not os.path.exists("cut"), f"cut at {place}: a target is left")
        run("convert", "-O", "raw", "-", "whole", data=image)
    run("convert", "-f", "qcow2", "-O", "raw", "-", "other", data=b"QFI", code=1)


def far_apart():
    """Tables behind more data than is remembered, and data behind its table's region, are named."""
    run("convert", "-f", "raw", "-O", "qcow2", "large.raw", "file.qcow2")  # its L2 and L1 table lie at the end
    data = read_file("file.qcow2")
    run("convert", "-O", "raw", "-", "late.raw", data=data, code=1, says=b"save the image in a file first")
    expect(not os.path.exists("late.raw"), "a target is left")
    qemu("convert", "-f", "raw", "-O", "qcow2", "large.raw", "file.qcow2")
    run("convert", "-O", "raw", "-", "in.raw", data=read_file("file.qcow2"))
    expect(read_file("in.raw") == read_file("large.raw"), "qemu-img's image on a pipe")
    run("convert", "-O", "qcow2", "-", "in.qcow2", data=run("convert", "-f", "raw", "-O", "qcow2", "large.raw", "-"))
    qemu("compare", "-f", "raw", "-F", "qcow2", "large.raw", "in.qcow2")


def backing_files():
    overlay = read_file("chain.qcow2")
    run("convert", "-O", "raw", "-", "in2.raw", data=overlay, code=1, says=b"--backing-dir")
    expect(not os.path.exists("in2.raw"), "a target is left")
    os.mkdir("elsewhere")
    run("convert", "-O", "raw", "--backing-dir", "elsewhere", "-", "in2.raw", data=overlay, code=1)
    run("convert", "-O", "raw", "--no-backing", "-", "in2.raw", data=overlay, code=1, says=b"backing file")
    expect(not os.path.exists("in2.raw"), "a target is left")
    run("convert", "-O", "raw", "--backing-dir", ".", "-", "in2.raw", data=overlay)
    qemu("compare", "-f", "raw", "-F", "qcow2", "in2.raw", "chain.qcow2")


def dd():
    for operands in ([], ["bs=1000", "skip=3", "count=5000"], ["bs=1M", "skip=2"], ["count=0"]):
        image = run("dd", "-f", "raw", "-O", "qcow2", *operands, "if=holes.raw", "of=-")
        write_file("dd.qcow2", image)
        qemu("check", "-f", "qcow2", "dd.qcow2")
        for path in ("want.raw", "got.raw"):
            if os.path.exists(path):
                os.unlink(path)
        run("dd", "-f", "raw", "-O", "raw", *operands, "if=holes.raw", "of=want.raw")
        qemu("compare", "-f", "raw", "-F", "qcow2", "want.raw", "dd.qcow2")
        run("dd", "-O", "raw", "if=-", "of=got.raw", data=image)
        qemu("compare", "-f", "raw", "-F", "raw", "want.raw", "got.raw")
    data = read_file("odd.raw")
    middle = run("dd", "-f", "raw", "bs=1000", "skip=3", "count=9", "if=-", "of=-", data=data)
    expect(middle == data[3000:9000], "dd if=- of=-")
    expect(not os.path.exists("-"), "a file named -")
    run("dd", "-O", "qcow2", "if=-", "of=-", data=data, code=1, says=b"save it in a file first")
    run("dd", "seek=1", "if=odd.raw", "of=-", code=1, says=b"seek=")


def refusals():
    image = run("convert", "-O", "qcow2", "chain.qcow2", "-")
    raw = b"raw" * 1000
    for arguments, data, says in (
            (["-O", "qcow2", "-n", "chain.qcow2", "-"], None, b"-n"),
            (["-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2", "chain.qcow2", "-"], None, b"-B"),
            (["-O", "qcow2", "-o", "preallocation=full", "chain.qcow2", "-"], None, b"preallocation"),
            (["-O", "qcow2", "--all-snapshots", "chain.qcow2", "-"], None, b"--all-snapshots"),
            (["-O", "qcow2", "--reflink", "always", "chain.qcow2", "-"], None, b"--reflink"),
            (["-O", "qcow2", "-W", "chain.qcow2", "-"], None, b"-W"),
            (["-O", "qcow2", "-p", "chain.qcow2", "-"], None, b"--progress json:FD"),
            (["-O", "raw", "-S", "4k", "chain.qcow2", "-"], None, b"-S"),
            (["-O", "raw", "-c", "chain.qcow2", "-"], None, b"-c"),
            (["-O", "qcow2", "-", "chain.qcow2", "new"], image, b"other sources"),
            (["-O", "qcow2", "-W", "-", "new"], image, b"-W"),
            (["-O", "qcow2", "--all-snapshots", "-", "new"], image, b"--all-snapshots"),
            (["-O", "qcow2", "-l", "one", "-", "new"], image, b"snapshot"),
            (["-O", "qcow2", "-c", "-", "-"], image, b"only once"),
            (["-O", "qcow2", "-S", "4k", "-", "-"], image, b"only once"),
            (["-O", "qcow2", "-", "-"], raw, b"save it in a file first"),
            (["-O", "qcow2", "-n", "-", "base.qcow2"], raw, b"-n"),
            (["-O", "qcow2", "-o", "preallocation=falloc", "-", "new"], raw, b"preallocation"),
            (["-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2", "-", "new"], raw, b"-B")):
        expect(run("convert", *arguments, data=data, code=1, says=says) == b"", f"{arguments}: writes data")
        expect(not os.path.exists("new"), f"{arguments}: a target was made")
    terminal, other_end = os.openpty()
    done = subprocess.run([BYRE, "convert", "-O", "qcow2", "chain.qcow2", "-"], stdout=other_end, timeout=60,
                          stderr=subprocess.PIPE, check=False)
    expect(done.returncode == 1 and b"terminal" in done.stderr, f"a terminal: {done}")
    os.close(terminal)
    os.close(other_end)
    before = read_file("odd.raw")
    with open("odd.raw", "rb") as file:
        done = subprocess.run([BYRE, "convert", "-O", "qcow2", "-", "odd.raw"], stdin=file, timeout=60,
                              stderr=subprocess.PIPE, check=False)
    expect(done.returncode == 1 and b"is the source" in done.stderr and read_file("odd.raw") == before, f"{done}")
    with open("chain.qcow2", "ab") as file:
        done = subprocess.run([BYRE, "convert", "-O", "raw", "chain.qcow2", "-"], stdout=file, timeout=60,
                              stderr=subprocess.PIPE, check=False)
    expect(done.returncode == 1 and b"is the source" in done.stderr, f"{done}")


def readers_that_go_away():
    for arguments in (["convert", "-O", "qcow2", "large.raw", "-"], ["dd", "if=large.raw", "of=-"]):
        with subprocess.Popen([BYRE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.read(100)
            process.stdout.close()
            message = process.stderr.read()
            expect(process.wait(60) == 1 and b"standard output: Broken pipe" in message, f"{arguments}: {message}")


def interrupt(process, what):
    time.sleep(0.5)
    expect(process.poll() is None, f"{what}: it has ended already")
    process.send_signal(signal.SIGINT)
    try:
        message = process.communicate(timeout=10)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise SystemExit(f"FAILED: {what}: it goes on") from None
    expect(process.returncode == 1 and b"interrupted" in message, f"{what}: {process.returncode} {message}")


def ends_that_do_nothing():
    for arguments in (["-O", "qcow2"], ["-O", "qcow2", "-c"], ["-O", "raw"]):
        reader, writer = os.pipe()
        with subprocess.Popen([BYRE, "convert", *arguments, "noise.raw", "-"], stdout=writer,
                              stderr=subprocess.PIPE) as process:
            os.close(writer)
            interrupt(process, f"nobody reads, {arguments}")
        os.close(reader)
    image = run("convert", "-f", "raw", "-O", "qcow2", "holes.raw", "-")
    for begin in (b"", b"x" * 100000, image[:200000]):
        reader, writer = os.pipe()
        with subprocess.Popen([BYRE, "convert", "-O", "qcow2", "-", "waits"], stdin=reader,
                              stderr=subprocess.PIPE) as process:
            os.close(reader)
            os.set_blocking(writer, False)
            while begin:
                try:
                    begin = begin[os.write(writer, begin):]
                except BlockingIOError:
                    time.sleep(0.01)
            interrupt(process, "nobody writes")
        os.close(writer)
        expect(not os.path.exists("waits"), "a target is left")


def peak_kib(*arguments, data=os.devnull, output=os.devnull):
    """What a child begins with counts too: it is this program, which must be small."""
    with open(data, "rb") as source, open(output, "wb") as target:
        process = subprocess.Popen([BYRE, *arguments], stdin=source, stdout=target)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    expect(process.returncode == 0, f"{arguments}: {process.returncode}")
    return usage.ru_maxrss


def memory_is_bounded():
    if SANITIZED:
        return
    with open("huge.raw", "wb") as file:
        file.truncate(8 << 40)
        for at in range(0, 8 << 40, 64 << 30):
            file.seek(at)
            file.write(b"here")
    for options in ([], ["-c"]):
        peak = peak_kib("convert", "-f", "raw", "-O", "qcow2", *options, "huge.raw", "-", output="huge.qcow2")
        expect(peak < 64 << 10, f"8 TiB out, {options}: {peak} KiB")
        peak = peak_kib("convert", "-O", "qcow2", "-", "copy.qcow2", data="huge.qcow2")
        expect(peak < 128 << 10, f"8 TiB in, {options}: {peak} KiB")
        is_copy("copy.qcow2", "huge.raw", "raw")
    peak = peak_kib("convert", "-f", "raw", "-O", "raw", "-", "copy.raw", data="large.raw")
    expect(peak < 64 << 10, f"raw in: {peak} KiB")
    os.unlink("huge.raw")


def what_is_left_is_read():
    """Whoever writes the stream is not cut off by a reader that has enough."""
    image = run("convert", "-f", "raw", "-O", "qcow2", "holes.raw", "-")
    with subprocess.Popen([BYRE, "convert", "-O", "raw", "-", "in.raw"], stdin=subprocess.PIPE) as process:
        process.stdin.write(image + bytes(4 << 20))
        process.stdin.close()
        expect(process.wait(60) == 0, "bytes behind the image")


make_sources()
memory_is_bounded()  # first: this program is small yet
out_and_in()
zeros_are_told_from_the_status_or_looked_for()
layout_is_the_documented_one()
images_of_qemu()
raw_streams()
truncated_streams()
far_apart()
backing_files()
dd()
refusals()
readers_that_go_away()
ends_that_do_nothing()
what_is_left_is_read()
