#!/usr/bin/env python3
"""The tool on images made to harm (docs/format.md section 24): it answers each within a second or two of computing and
64 MiB, with exit code 0 or 1, an error that says `byre: ...`, nothing that a terminal obeys, and the image as it was
unless it was asked to change it and could."""
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))

from limited_runs import Forker, Starter  # noqa: E402  (found beside this file)
from memory_file import bytes_of, memory_file  # noqa: E402

BYRE = os.environ["BYRE"]
GENERATOR = os.environ["HOSTILE_IMAGES"]
SANITIZED = os.environ.get("BYRE_SANITIZE", "") != ""
CPU_SECONDS = 10 if SANITIZED else 2
WALL_SECONDS = 120  # for what waits without computing; generous, the machine may be busy
PEAK_KIB = 64 << 10  # for images up to 1 MiB; longer ones may take 16 bytes more for each byte stored
ALL = sys.argv[1:] == ["--all"]  # in the nightly run; else every n-th
FIELD_STEP = 1 if ALL else 32 if SANITIZED else 8  # of the images with one nasty value: the unit tests use all
THOROUGH_STEP = 3 if SANITIZED and not ALL else 1  # of the images of rules: looked at by every command that reads
WORKERS = 2
# With a sanitizer, starting takes several times as long as what is asked for.
TOOL = (Forker(os.environ["FORKED_TOOL"], CPU_SECONDS, WALL_SECONDS) if SANITIZED else
        Starter(BYRE, CPU_SECONDS, WALL_SECONDS))

# C0 but newline, DEL, and C1 in UTF-8: what a terminal may obey.
CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
CHANGES = ["write -P 0xdd 0 512", "write 2m 512", "write 0 4m", "write -z 64k 64k", "discard 0 64k",
           "write -c 128k 4k", "flush", "read 0 4m", "truncate 32m", "truncate 1m"]
LOOKS = ["read 0 512", "read 2m 512", "read 0 4m", "map", "alloc 0 4m"]


class Failures:
    def __init__(self):
        self.count = 0
        self.lock = threading.Lock()

    def add(self, what, command, outcome):
        with self.lock:
            self.count += 1
            print(f"FAILED: {what}\n  {' '.join(map(str, command))}", flush=True)
            print(f"  code {outcome.code}, peak {outcome.peak_kib} KiB\n  {outcome.stderr[-400:]!r}", flush=True)


class Outcome:
    """One run of the tool."""

    def __init__(self, words, directory=None):
        with memory_file() as out, memory_file() as err:
            self.code, self.cpu_seconds, self.peak_kib = TOOL.run(words, directory, out, err)
            self.stdout, self.stderr = (bytes_of(file, 1 << 20) for file in (out, err))


FAILURES = Failures()


def run(*arguments, directory=None, expect=None, says=None):
    """Runs the tool and holds it to what every run owes."""
    command = [BYRE, *map(str, arguments)]
    outcome = Outcome(command[1:], directory)
    if outcome.code not in (0, 1):
        FAILURES.add(f"exit code {outcome.code}, not 0 or 1", command, outcome)
    elif expect is not None and outcome.code != expect:
        FAILURES.add(f"exit code {outcome.code}, not {expect}", command, outcome)
    if outcome.cpu_seconds > CPU_SECONDS:
        FAILURES.add(f"computes for {outcome.cpu_seconds} s", command, outcome)
    if outcome.code == 1 and b"byre: " not in outcome.stderr and b"failed" not in outcome.stdout:
        FAILURES.add("failed without saying why", command, outcome)
    for line in outcome.stderr.splitlines():
        if not line.startswith(b"byre: "):
            FAILURES.add(f"says {line!r}", command, outcome)
            break
    if CONTROL.search(outcome.stdout) or CONTROL.search(outcome.stderr):
        FAILURES.add("prints control bytes", command, outcome)
    if says is not None and says not in outcome.stderr:
        FAILURES.add(f"does not say {says!r}", command, outcome)
    image = Path(arguments[-1])
    stored = image.stat().st_blocks * 512 if image.is_file() else 0
    if not SANITIZED and outcome.peak_kib > PEAK_KIB + max(0, stored - (1 << 20)) * 16 // 1024:
        FAILURES.add("takes too much memory", command, outcome)
    return outcome


def digest(path):
    """Of the bytes that are stored, and the length: holes of terabytes are not read."""
    text = hashlib.sha256(str(path.stat().st_size).encode())
    with open(path, "rb") as file:
        text.update(file.read(4 << 20))
    text.update(str(path.stat().st_blocks).encode())
    return text.hexdigest()


def io_commands(commands):
    return [word for command in commands for word in ("-c", command)]


def look(image, thorough):
    """Everything that only reads. Returns the outcomes of info and of reading."""
    before = digest(image)
    info = run("info", "-f", "qcow2", image)
    read = run("io", "-r", "-f", "qcow2", *io_commands(LOOKS), image)
    if thorough and not SANITIZED:
        run("info", "--output=json", image)
        run("map", "--output=json", "-f", "qcow2", image)
        run("map", "--output=svg", "-f", "qcow2", image)
    if thorough:
        run("map", "-f", "qcow2", image)
        run("snapshot", "--diff", "1", "-f", "qcow2", image)
        run("checksum", "-f", "qcow2", image)
        run("checksum", "-f", "qcow2", "--all-snapshots", image)
        output = image.with_suffix(".raw")
        run("convert", "-f", "qcow2", "-O", "raw", image, output)
        run("convert", "-f", "qcow2", "-O", "qcow2", "--all-snapshots", image, output)
        output.unlink(missing_ok=True)
    if digest(image) != before:
        FAILURES.add("reading changed the image", [image], read)
    return info, read


def change(image, writing):
    copy = image.with_suffix(".copy")
    subprocess.run(["cp", "--sparse=always", image, copy], check=True)
    before = digest(copy)
    outcome = run("io", "-f", "qcow2", *io_commands(CHANGES), copy)
    if writing == "refused" and (outcome.code != 1 or digest(copy) != before):
        FAILURES.add("was not refused, or changed", [copy], outcome)
    for action in (["-c", "new"], ["-a", "1"], ["-d", "snap1"]):
        run("snapshot", "-q", "-f", "qcow2", *action, copy)
    copy.unlink()


def check_rule_image(image, thorough, reading, writing, inspection):
    info, read = look(image, thorough)
    if inspection == "refused" and info.code != 1:
        FAILURES.add("info shows it", [image], info)
    if (reading == "refused" or reading == "fails") and read.code != 1:
        FAILURES.add("can be read", [image], read)
    change(image, writing)


def check_field_image(image):
    look(image, thorough=False)
    change(image, "any")


def check_images(directory):
    subprocess.run([GENERATOR, directory], check=True)
    rules = [line.split("\t") for line in (directory / "rules" / "expected").read_text().splitlines()]
    fields = sorted((directory / "fields").iterdir())[::FIELD_STEP]
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [pool.submit(check_rule_image, directory / "rules" / name, at % THOROUGH_STEP == 0, *expected)
                for at, (name, _, *expected) in enumerate(rules)]
        jobs += [pool.submit(check_field_image, image) for image in fields]
        for job in jobs:
            job.result()
    return len(jobs)


def check_bitmaps_against_reference(directory):
    """H-45 to H-48: info and reading refuse at least what qemu-img refuses."""
    if not shutil.which("qemu-img"):
        return
    for image in sorted((directory / "rules").glob("h4[5-8]-*.qcow2")):
        reference = ["timeout", "10", "qemu-img", "info", "-f", "qcow2", image]
        if subprocess.run(reference, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 1:
            run("info", "-f", "qcow2", image, expect=1)
            run("io", "-r", "-f", "qcow2", "-c", "read 0 512", image, expect=1)


def overlay(path, backing, backing_format="qcow2"):
    """The name is put in afterwards: create would not take all of them, and a chain needs hundreds."""
    model = path.parent / f"overlay-of-{backing_format}"
    if not model.exists():
        subprocess.run([BYRE, "create", "-q", "-u", "-f", "qcow2", "-b", "name", "-F", backing_format, model, "1M"],
                       check=True)
    shutil.copy(model, path)
    name = os.fsencode(backing)
    with open(path, "r+b") as file:
        offset = int.from_bytes(file.read(16)[8:], "big")
        file.seek(16)
        file.write(len(name).to_bytes(4, "big"))
        file.seek(offset)
        file.write(name)


def make_chain(directory, depth):
    directory.mkdir()
    subprocess.run([BYRE, "create", "-q", "-f", "qcow2", directory / "0", "1M"], check=True)
    subprocess.run([BYRE, "io", "-c", "write -P 0xaa 0 64k", directory / "0"], check=True, stdout=subprocess.DEVNULL)
    for number in range(1, depth + 1):
        overlay(directory / str(number), str(number - 1))
    return directory / str(depth)


def check_chains(directory):
    """H-50: loops and depth."""
    overlay(directory / "self", "self")
    run("io", "-r", "-c", "read 0 512", directory / "self", expect=1, says=b"is a loop")
    run("info", directory / "self", expect=0)
    run("info", "--backing-chain", directory / "self", expect=1, says=b"is a loop")
    overlay(directory / "one", "two")
    overlay(directory / "two", "./three")
    overlay(directory / "three", str(directory / "one"))
    for command in ("map", "io"):
        arguments = ["-r", "-c", "read 0 512"] if command == "io" else []
        run(command, *arguments, directory / "one", expect=1, says=b"is a loop")
    os.link(directory / "one", directory / "another name")
    overlay(directory / "top", "another name")
    run("convert", "-O", "raw", directory / "top", directory / "out", expect=1, says=b"is a loop")

    top = make_chain(directory / "deep", 300)
    for command in (["io", "-r", "-c", "read -P 0xaa 0 64k"], ["io", "-c", "write 0 512"], ["map"]):
        run(*command, top, expect=1, says=b"deeper than 200")
    run("info", "--backing-chain", top, expect=1, says=b"deeper than 200")
    run("info", top, expect=0)
    middle = directory / "deep" / "150"
    run("io", "-r", "-c", "read -P 0xaa 0 64k", "-c", "read -P 0 64k 64k", middle, expect=0)
    run("map", "--output=json", middle, expect=0)
    run("io", "-c", "write -P 0x55 128k 512", "-c", "read -P 0xaa 0 64k", middle, expect=0)


def check_names(directory):
    """H-49 to H-51: what a name inside an image may lead to."""
    secret = directory / "secret"
    secret.write_bytes(b"S3CRET" * 20000)
    allowed = directory / "allowed"
    (allowed / "below").mkdir(parents=True)
    shutil.copy(secret, allowed / "base")
    (allowed / "link").symlink_to(secret)
    (allowed / "relative link").symlink_to("../secret")
    (allowed / "directory link").symlink_to("..")
    os.mkfifo(allowed / "pipe")
    fence = ["--backing-dir", allowed]

    def read(image, *arguments, **expected):
        outcome = run("io", "-r", *arguments, "-c", "read -v 0 16", image, **expected)
        if b"S3CRET" in outcome.stdout and expected.get("expect") == 1:
            FAILURES.add("shows what it must not", [image], outcome)
        output = directory / "out"
        run("convert", "-O", "raw", *arguments, image, output, expect=expected.get("expect"))
        if output.exists() and expected.get("expect") == 1 and b"S3CRET" in output.read_bytes():
            FAILURES.add("copies what it must not", [image], outcome)
        output.unlink(missing_ok=True)

    image = allowed / "image"
    for name in ("base", "./base", "below/../base", str(allowed / "base")):
        overlay(image, name, "raw")
        read(image, *fence, expect=0)
    for name in ("../secret", "below/../../secret", str(secret), "link", "relative link", "directory link/secret",
                 str(allowed / ".." / "secret"), "/etc/passwd", "/proc/self/root" + str(secret)):
        overlay(image, name, "raw")
        read(image, *fence, expect=1)
    for name in ("nbd:localhost:1", "nbd://localhost/x", "http://localhost/x", "https://[::1]/x", "json:{}", "fd:0",
                 'json:{"driver":"file","filename":"base"}', "file:base", "ssh://localhost/x", "rbd:pool/x"):
        overlay(image, name, "raw")
        read(image, expect=1, says=b"is not a plain file name")
        run("info", image, expect=0)
    for name in ("pipe", "/dev/zero", "/dev/stdin", ".", "/dev/full"):
        overlay(image, name, "raw")
        read(image, expect=1)
    overlay(image, "base", "raw")
    read(image, "--no-backing", expect=1, says=b"was not opened")


def check_missing_format(directory):
    """H-51: a backing file that was raw and now looks like an image is not taken for one."""
    rules = directory / "images" / "rules"
    image = next(rules.glob("h51-backing_format_missing.qcow2"))
    (rules / "base.raw").write_bytes(b"\0" * (1 << 20))
    run("io", "-r", "-c", "read 0 4k", image, expect=1, says=b"is not guessed")
    run("io", "-r", "--backing-format", "raw", "-c", "read -P 0 2m 4k", image, expect=0)


def check_inspection_opens_nothing(directory):
    """H-7: info opens the named file only."""
    if not shutil.which("strace"):
        return
    trace = directory / "trace"
    rules = directory / "images" / "rules"
    overlay(directory / "overlay", "base.raw", "raw")
    (directory / "base.raw").write_bytes(b"\0" * 4096)
    images = [directory / "overlay", *rules.glob("h49-*.qcow2"), *rules.glob("h50-*.qcow2")]
    for image in images:
        command = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2,connect", "-o", trace, BYRE, "info", image]
        if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode not in (0, 1):
            return  # tracing is not allowed here
        names = re.findall(r'(?:open\w*|connect)\([^"]*"([^"]*)"', trace.read_text())
        others = [name for name in names if name != str(image) and ".so" not in name
                  and not name.startswith(("/proc/", "/sys/", "/usr/lib/locale", "/usr/share", "/etc/localtime"))]
        if others or not names:
            FAILURES.add(f"info opens {others}", command, run("info", image))


def main():
    directory = Path(os.environ.get("TEST_DIR") or tempfile.mkdtemp())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in ("chains", "names"):
        (directory / name).mkdir()
    count = check_images(directory / "images")
    check_bitmaps_against_reference(directory / "images")
    check_chains(directory / "chains")
    check_names(directory / "names")
    check_missing_format(directory)
    check_inspection_opens_nothing(directory)
    print(f"{count} images, {FAILURES.count} failures")
    return 1 if FAILURES.count else 0


if __name__ == "__main__":
    sys.exit(main())
