#!/usr/bin/env python3
"""byre checksum prints what the program in docs/checksum.md computes from `qemu-img convert -O raw`, for every way in
which an image can store its content; and behaves as a tool should: exit codes, --expect, JSON, several files."""

import json
import os
import random
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "lib"))

from content import Content  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
KIB = 1 << 10
MIB = 1 << 20


def definition():
    """checksum(path, name), from the document."""
    with open(os.path.join(HERE, "../../docs/checksum.md"), encoding="utf-8") as file:
        text = file.read()
    program = {}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], program)  # pylint: disable=exec-used
    return program["checksum"]


checksum = definition()


def run(*words, exit_code=0):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != exit_code:
        sys.exit(f"exit status {done.returncode}, not {exit_code}: {' '.join(words)[:3000]}\n"
                 f"{done.stdout}{done.stderr}")
    return done


def byre(*words, exit_code=0):
    return run(BYRE, "checksum", *words, exit_code=exit_code)


def same(got, wanted, what=""):
    if got != wanted:
        sys.exit(f"{what}: {got!r}, not {wanted!r}")


def reference(image, *options, name="sha256", size=None):
    """From the reference's own reading of the image. It gives snapshots the size that the disk has now (section 14.3 of
    docs/format.md): `size` is theirs."""
    run("qemu-img", "convert", *options, "-O", "raw", image, "reference.raw")
    if size:
        os.truncate("reference.raw", size)
    return checksum("reference.raw", name)


def make_source(path, size, seed):
    """Noise, text, zeros and holes, some of them whole blocks."""
    draw = random.Random(seed)
    noise = draw.randbytes(300007)
    content = Content(size)
    for _ in range(40):
        length = min(draw.choice([512, 5000, 64 * KIB, 200000, MIB]), size // 2)
        begin = draw.randrange(0, size - length)
        begin -= draw.choice([0, begin % (64 * KIB)])
        content.write(begin, begin + length, draw.choice([0, 0xFF, (noise, begin), (b"text" * 3, 0)]))
    content.store(path)


def test_every_way_to_store_it():
    make_source("source.raw", 5 * MIB + 3 * 512, 1)
    wanted = checksum("source.raw")
    same(byre("source.raw").stdout, f"{wanted}  source.raw\n")
    same(byre("--algorithm", "blake2b", "source.raw").stdout, checksum("source.raw", "blake2b") + "  source.raw\n")
    ways = [["-o", "compat=0.10"], ["-o", "preallocation=full"], ["-S", "0"], ["-o", "extended_l2=on"]]
    for bits in range(9, 22):
        for words in ([], ["-c"], ["-c", "-o", "compression_type=zstd"]):
            ways.append([*words, "-o", f"cluster_size={1 << bits}"])
    for way in ways:
        run("qemu-img", "convert", "-O", "qcow2", *way, "source.raw", "stored.qcow2")
        same(byre("-f", "qcow2", "stored.qcow2").stdout, f"{wanted}  stored.qcow2\n", way)
        os.unlink("stored.qcow2")


def test_sizes():
    for size in (0, 1, 511, 512, 65535, 65536, 65537, 16 * MIB - 512, 16 * MIB, 16 * MIB + 512, 40 * MIB):
        with open("sized.raw", "wb") as file:
            file.write(b"\1" * (size // 2))
            file.truncate(size)
        for name in ("sha256", "blake2b"):
            same(byre("--algorithm", name, "-f", "raw", "sized.raw").stdout,
                 checksum("sized.raw", name) + "  sized.raw\n", size)


def test_chains():
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", "base.qcow2", "7M")
    run("qemu-io", "-c", "write -P 1 100k 3M", "-c", "write -P 2 6M 1M", "base.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "middle.qcow2", "9M")
    run("qemu-io", "-c", "write -z 1M 200k", "-c", "write -P 4 8M 70k", "middle.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "-b", "middle.qcow2", "-F", "qcow2",
        "top.qcow2", "8M")
    run("qemu-io", "-c", "write -P 5 2M 5k", "-c", "write -z 64k 64k", "-c", "discard 6M 1M", "top.qcow2")
    for image in ("base.qcow2", "middle.qcow2", "top.qcow2"):
        same(byre(image).stdout, reference(image) + f"  {image}\n")
    refused = byre("--no-backing", "top.qcow2", exit_code=1)
    assert "backing file" in refused.stderr and not refused.stdout, refused


def make_snapshots(image, draw):
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"cluster_size={draw.choice(['512', '4k', '64k', '2M'])}",
        image, "12M")
    for number in range(8):
        commands = []
        for _ in range(draw.randrange(4)):
            offset, length = draw.randrange(0, 10 * MIB), draw.randrange(1, 2 * MIB)
            commands += ["-c", draw.choice([f"write -P {draw.randrange(1, 9)}", "write -z"]) + f" {offset} {length}"]
        if commands:
            run("qemu-io", *commands, image)
        if number in (3, 5):
            run("qemu-img", "resize", "-q", image, f"{13 + number}M")
        run("qemu-img", "snapshot", "-c", f"name'{number}", image)
    run("qemu-io", "-c", "write -P 77 0 1k", image)


def test_snapshots():
    for seed in range(4):
        make_snapshots("states.qcow2", random.Random(seed))
        wanted = [reference("states.qcow2") + "  states.qcow2"]
        for number in range(8):
            size = (12 if number < 3 else 16 if number < 5 else 18) * MIB
            of_it = reference("states.qcow2", "-l", f"snapshot.id={number + 1}", size=size)
            wanted.append(f"{of_it}  states.qcow2 (snapshot {number + 1} 'name\\x27{number}')")
            same(byre("-l", f"name'{number}", "states.qcow2").stdout,
                 f"{of_it}  states.qcow2 (snapshot name\\x27{number})\n")
        same(byre("--all-snapshots", "states.qcow2").stdout.splitlines(), wanted, f"seed {seed}")
        same(byre("--all-snapshots", "-m", "1", "states.qcow2").stdout.splitlines(), wanted, f"seed {seed}, -m 1")
    [told] = json.loads(byre("--all-snapshots", "--output=json", "states.qcow2").stdout)
    same(told["checksum"], wanted[0].split()[0])
    same([state["id"] for state in told["snapshots"]], [str(number + 1) for number in range(8)])
    same([state["checksum"] for state in told["snapshots"]], [line.split()[0] for line in wanted[1:]])
    same([told["virtual-size"], told["snapshots"][0]["virtual-size"]], [18 * MIB, 12 * MIB])
    assert "there is no snapshot" in byre("-l", "none", "states.qcow2", exit_code=1).stderr


def test_expect():
    make_source("one.raw", MIB, 2)
    run("qemu-img", "convert", "-O", "qcow2", "one.raw", "one.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "other.qcow2", "1M")
    for name in ("sha256", "blake2b"):
        wanted, other = checksum("one.raw", name), reference("other.qcow2", name=name)
        digits = wanted.split(":")[1]
        same(byre("-q", "--expect", f"byre1-{name}:{digits.upper()}", "one.raw", "one.qcow2").stdout, "")
        done = byre("--expect", wanted, "one.raw", "other.qcow2", "one.qcow2", exit_code=1)
        same(done.stdout, f"{wanted}  one.raw\n{other}  other.qcow2\n{wanted}  one.qcow2\n")
        same(done.stderr, f"byre: other.qcow2: the checksum is {other}, not {wanted} as expected\n")
        for wrong in (digits, f"byre1-{name}:{digits[1:]}", f"byre2-{name}:{digits}", f"byre1-{name}:{digits[:-1]}x"):
            assert "is no checksum" in byre("--expect", wrong, "one.raw", exit_code=1).stderr, wrong
    for words in (["--expect", checksum("one.raw"), "--algorithm", "blake2b"], ["--algorithm", "md5"], ["-m", "0"],
                  ["-m", "17"], ["--all-snapshots", "-l", "x"], ["--all-snapshots", "--expect", checksum("one.raw")]):
        refused = byre(*words, "one.raw", exit_code=1)
        assert refused.stderr and not refused.stdout, (words, refused)
    byre(exit_code=1)


def test_several_files():
    with open("damaged.qcow2", "wb") as file:
        file.write(b"QFI\xfb\0\0\0\3" + bytes(600))
    done = byre("one.raw", "missing.raw", "damaged.qcow2", "one.qcow2", exit_code=1)
    same(done.stdout, f"{checksum('one.raw')}  one.raw\n{checksum('one.raw')}  one.qcow2\n")
    assert "missing.raw: No such file" in done.stderr and "damaged.qcow2" in done.stderr, done.stderr
    told = json.loads(byre("--output=json", "one.raw", "missing.raw", "one.qcow2", exit_code=1).stdout)
    same([(entry["filename"], entry["format"], entry["virtual-size"]) for entry in told],
         [("one.raw", "raw", MIB), ("one.qcow2", "qcow2", MIB)])
    same(told[0]["checksum"], told[1]["checksum"])
    [told] = json.loads(byre("--output=json", "-l", "1", "states.qcow2").stdout)
    same(told["snapshot"], "1")
    shutil.copy("one.raw", "strange\n\x1b[1mname")
    same(byre("-f", "raw", "strange\n\x1b[1mname").stdout, checksum("one.raw") + "  strange\\x0a\\x1b[1mname\n")


def test_locks():
    """A file that another process writes is refused, unless -U says otherwise."""
    with subprocess.Popen(["qemu-io", "one.qcow2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdin.write(b"length\n")
        writer.stdin.flush()
        writer.stdout.readline()
        byre("one.qcow2", exit_code=1)
        same(byre("-U", "one.qcow2").stdout, checksum("one.raw") + "  one.qcow2\n")
        writer.stdin.close()


def test_memory():
    """Many stretches of 2 MiB in flight, compressed, stay below 64 MiB."""
    with open("large.raw", "wb") as file:
        for number in range(150):
            file.write(random.Random(number).randbytes(KIB) * KIB)
    run("qemu-img", "convert", "-c", "-O", "qcow2", "-o", "cluster_size=2M", "large.raw", "large.qcow2")
    wanted = checksum("large.raw")
    for image in ("large.raw", "large.qcow2"):
        for parallel in ("1", "16"):
            done = run("/usr/bin/time", "-f", "%M", BYRE, "checksum", "-m", parallel, image)
            same(done.stdout, f"{wanted}  {image}\n")
            if not os.environ.get("BYRE_SANITIZE"):
                assert int(done.stderr) < 64 * KIB, (image, parallel, done.stderr)


def test_holes_are_not_read():
    """Nothing but the metadata of 8 TiB of holes is read, as strace sees it."""
    wanted = "byre1-sha256:c602de90ea7146bfa390193f3bdf6dc4e23c9843178ede5710a4ac5efc48d5bc"
    run("qemu-img", "create", "-q", "-f", "qcow2", "holes.qcow2", "8T")
    run("qemu-img", "create", "-q", "-f", "raw", "holes.raw", "8T")
    for image in ("holes.qcow2", "holes.raw"):
        same(byre(image).stdout, f"{wanted}  {image}\n")
        done = subprocess.run(["strace", "-f", "-y", "-e", "trace=pread64,preadv,preadv2", "-o", "calls", BYRE,
                               "checksum", image], env={**os.environ, "BYRE_IO": "threads"}, capture_output=True,
                              check=False)
        assert done.returncode == 0, done
        with open("calls", encoding="utf-8") as file:
            calls = [line for line in file if image in line]
        read = sum(int(match[1]) for match in (re.search(r"= (\d+)$", line.strip()) for line in calls) if match)
        assert calls and read < MIB, (image, read, len(calls))


def main():
    if not all(shutil.which(tool) for tool in ("qemu-img", "qemu-io", "strace", "/usr/bin/time")):
        return 77
    test_every_way_to_store_it()
    test_sizes()
    test_chains()
    test_snapshots()
    test_expect()
    test_several_files()
    test_locks()
    test_memory()
    test_holes_are_not_read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
