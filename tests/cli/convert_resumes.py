#!/usr/bin/env python3
"""convert, interrupted at any moment (SIGKILL, SIGINT), leaves the old target or the new one, whole; --resume then
makes the file that an uninterrupted run makes, whatever the interrupted one has left. A full disk is an error that
leaves nothing. What cannot be replaced is written in place; who else uses the target, or makes it, is left alone.

usage: convert_resumes.py [--rounds N] [--seed N]
"""

import argparse
import collections
import fcntl
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
from checked_runs import fail, failures, outcome as run  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
MIB = 1 << 20
OLD = b"what the target held before\n" * 1000
KINDS = {
    "raw": ["-O", "raw"],
    "raw, all stored": ["-O", "raw", "-S", "0"],
    "qcow2": ["-O", "qcow2"],
    "qcow2, 512": ["-O", "qcow2", "-o", "cluster_size=512"],
    "qcow2, 4k, -W": ["-O", "qcow2", "-o", "cluster_size=4k", "-W"],
    "qcow2, 2M": ["-O", "qcow2", "-o", "cluster_size=2M"],
    "deflate": ["-O", "qcow2", "-c"],
    "deflate, 4k": ["-O", "qcow2", "-c", "-o", "cluster_size=4k"],
    "zstd, 2M": ["-O", "qcow2", "-c", "-o", "cluster_size=2M,compression_type=zstd"],
    "overlay": ["-O", "qcow2", "-B", "base.qcow2", "-F", "qcow2"],
    "all snapshots": ["-O", "qcow2", "--all-snapshots"],
}


def expect(truth, text):
    if not truth:
        fail(text)


def content(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def make_sources(generator):
    """A raw file with holes, zeros, text and noise, and an image with a snapshot and a backing file."""
    run(BYRE, "create", "-q", "-f", "qcow2", "base.qcow2", "24M")
    run(BYRE, "io", "-c", "write -P 3 0 9M", "base.qcow2")
    with open("source.raw", "wb") as file:
        file.truncate(24 * MIB)
        for _ in range(60):
            file.seek(generator.randrange(24 * MIB - 600000) // 512 * 512)
            length = generator.randrange(1, 600000)
            kind = generator.randrange(4)
            if kind == 0:
                file.write(bytes(length))
            elif kind == 1:
                file.write(b"the text of line %d\n" % length * (length // 24))
            else:
                file.write(generator.randbytes(length))
    run(BYRE, "convert", "-f", "raw", "-O", "qcow2", "source.raw", "source.qcow2")
    run(BYRE, "snapshot", "-c", "first", "source.qcow2")
    run(BYRE, "io", "-c", "write -P 9 1M 3M", "source.qcow2")


def command(kind, *more):
    name = "source.qcow2" if kind == "all snapshots" else "source.raw"
    return [BYRE, "convert", "-f", name.rsplit(".", 1)[1], *KINDS[kind], *more, name, "target"]


class Kind:
    """What an uninterrupted run makes, and how long it takes."""

    def __init__(self, name):
        self.name = name
        remove("target", "target.partial")
        begin = time.monotonic()
        run(*command(name))
        self.seconds = time.monotonic() - begin
        os.rename("target", f"wanted {name}")
        self.wanted = content(f"wanted {name}")

    def check(self, what):
        expect(not os.path.exists("target.partial"), f"{what}: target.partial is still there")
        if not os.path.exists("target"):
            return fail(f"{what}: there is no target")
        found = content("target")
        # With -W places follow from what is ready first; an overlay is not written from front to back.
        if "-W" in self.name or self.name == "overlay":
            run(BYRE, "compare", "-q", "target", f"wanted {self.name}")
        else:
            expect(found == self.wanted, f"{what}: another file than an uninterrupted run makes")
        if "raw" not in self.name:
            run("qemu-img", "check", "-q", "target")
        return None


def remove(*names):
    for name in names:
        if os.path.lexists(name):
            os.remove(name)


def spoil(generator):
    """NAME.partial, as another source, other options or a program gone wild would leave it."""
    if not os.path.exists("target.partial"):
        return
    kind = generator.randrange(4)
    with open("target.partial", "r+b") as file:
        size = os.path.getsize("target.partial")
        if kind == 0:
            file.seek(size + generator.randrange(MIB))
            file.write(generator.randbytes(100000))
        elif kind == 1:
            for _ in range(20):
                file.seek(generator.randrange(size + 1))
                file.write(generator.randbytes(generator.randrange(70000)))
        elif kind == 2:
            file.truncate(generator.randrange(size + 1))
    if kind == 3:
        shutil.copy("source.qcow2", "target.partial")


def interrupt(kind, generator, flags):
    """Starts a run and sends the signal at a random moment. Returns the signal and the process."""
    number = generator.choice([signal.SIGKILL, signal.SIGINT])
    process = subprocess.Popen(command(kind.name, *flags), stderr=subprocess.PIPE)
    time.sleep(generator.random() * kind.seconds * 0.9)
    process.send_signal(number)
    process.message = process.communicate(timeout=60)[1].decode()
    return number, process


def wait_until_free():
    """The ring of a killed process, which may refer to its files, lives a moment longer."""
    end = time.monotonic() + 30
    for name in ("target", "target.partial"):
        while os.path.exists(name) and time.monotonic() < end:
            with open(name, "r+b") as file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    time.sleep(0.01)


def one_round(kind, generator, seen):
    flags = ["--resume"] if generator.random() < 0.5 else []
    existed = generator.random() < 0.5
    remove("target", "target.partial")
    if existed:
        write("target", OLD)
        os.chmod("target", 0o640)
    number, process = interrupt(kind, generator, flags)
    what = f"{kind.name} {flags} {signal.Signals(number).name}, old target: {existed}"
    partial = os.path.exists("target.partial")
    if process.returncode == 0:
        seen["complete"] += 1
        kind.seconds *= 0.8
        return kind.check(what)
    if number == signal.SIGKILL:
        wait_until_free()
    is_old = content("target") == OLD if os.path.exists("target") else not existed
    if number == signal.SIGKILL and not is_old:
        expect(content("target") == kind.wanted or "-W" in kind.name or kind.name == "overlay",
               f"{what}: neither the old nor the new target")
    else:
        expect(is_old, f"{what}: the old target has changed")
    if number == signal.SIGINT and process.returncode != -signal.SIGINT:  # before the signal was caught
        expect(process.returncode == 1 and "interrupted" in process.message, f"{what}: {process.message}")
        expect(flags or not partial, f"{what}: target.partial is still there: {process.message}")
        expect(not partial or "--resume goes on with it" in process.message, f"{what}: {process.message}")
    seen["gone on with" if partial else "begun anew"] += 1
    if generator.random() < 0.4:
        what += ", spoilt"
        spoil(generator)
    resumed_again(kind, generator, what)
    run(*command(kind.name, "--resume"))
    kind.check(what)
    expect(not existed or os.stat("target").st_mode & 0o777 == 0o640, f"{what}: another mode")
    return None


def resumed_again(kind, generator, what):
    """Now and then the second run is interrupted too."""
    while generator.random() < 0.3:
        number, process = interrupt(kind, generator, ["--resume"])
        wait_until_free()
        if process.returncode == 0:
            kind.check(what)
        elif number == signal.SIGINT and process.returncode not in (1, -signal.SIGINT):
            fail(f"{what}, again: exit {process.returncode}: {process.message}")


def rounds(count, seed):
    make_sources(random.Random(seed))
    kinds = [Kind(name) for name in KINDS]
    seen = collections.Counter()
    for number in range(count):
        before = len(failures)
        one_round(kinds[number % len(kinds)], random.Random(seed * 100003 + number), seen)
        if len(failures) > before:
            print(f"round {number}, seed {seed}")
    print(dict(seen))
    expect(seen["gone on with"] * 5 >= count, f"too few rounds were interrupted: {dict(seen)}")


def nothing_is_written_twice():
    """What is complete, but for its name, is written no more; it is compared."""
    remove("target")
    shutil.copy("wanted qcow2", "target.partial")
    with open("target.partial", "r+b") as file:
        file.write(bytes(512))
    os.utime("target.partial", (1, 1))
    before = os.stat("target.partial").st_ino
    run(*command("qcow2", "--resume"))
    expect(os.stat("target").st_ino == before, "--resume has made a new file")
    expect(content("target") == content("wanted qcow2"), "--resume has made another file")


def no_space():
    """A limit for files, and a full file system, which needs root."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, 3 * MIB))
    write("target", OLD)
    for kind in ("raw", "qcow2", "deflate", "overlay"):
        run(*command(kind), code=1, says="the target is as it was", preexec_fn=limit)
        expect(content("target") == OLD and not os.path.exists("target.partial"), f"{kind}: a limit for files")
        # A raw target has its length at once: nothing was made of it.
        says = "the target is as it was" if kind == "raw" else "target.partial: --resume goes on with it"
        run(*command(kind, "--resume"), code=1, says=says, preexec_fn=limit)
        expect(content("target") == OLD, f"{kind}: a limit for files, --resume")
        run(*command(kind))
        write("target", OLD)
    if os.geteuid() != 0:
        return
    script = """set -e
    mkdir -p full; mount -t tmpfs -o size=6m none full; cp target full/target
    for kind in "-O raw" "-O qcow2" "-O qcow2 -c"; do
      ! "$0" convert -f raw $kind source.raw full/target 2>message
      grep -q 'No space left on device.*the target is as it was' message || { cat message; exit 1; }
      cmp target full/target; [[ $(ls full) == target ]]
      ! "$0" convert -f raw $kind --resume source.raw full/target 2>message
      grep -q 'No space left on device.*--resume goes on with it' message || { cat message; exit 1; }
      cmp target full/target; [[ $(stat -c %s full/target.partial) -gt 1000000 ]]
      mount -o remount,size=64m full
      "$0" convert -f raw $kind --resume source.raw full/target
      "$0" convert -f raw $kind source.raw again
      cmp full/target again; [[ $(ls full) == target ]]
      cp target full/target; mount -o remount,size=6m full
    done"""
    run("unshare", "-m", "bash", "-c", script, BYRE)


def in_place():
    """What a rename would change more of than its content."""
    wanted = content("wanted qcow2")
    write("target", OLD)
    os.link("target", "second")
    run(*command("qcow2", "--resume"), code=1, says="hard links")
    expect(content("target") == OLD, "--resume in place has changed the target")
    run(*command("qcow2"))
    expect(content("second") == wanted, "a hard link does not lead to the new content")
    remove("second")
    remove("target")
    write("real", OLD)
    os.symlink("real", "target")
    run(*command("qcow2"))
    expect(os.path.islink("target") and content("real") == wanted, "the link, or what it leads to, is wrong")
    remove("target", "real")
    with open("target", "wb") as file:
        subprocess.run([BYRE, *"convert -f raw -O qcow2 source.raw /dev/stdout".split()], stdout=file, check=True)
    expect(content("target") == wanted, "/dev/stdout is another file than what was given")
    run(*command("qcow2", "--resume", "-n"), code=1, says="(-n)")
    run(*command("qcow2", "--resume", "-o", "preallocation=full"), code=1, says="preallocation")


def other_users():
    """A directory that takes no file, and a file of somebody else's in one that does."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return
    nobody = ["setpriv", "--reuid=12", "--regid=34", "--clear-groups"]
    base = os.path.join("/tmp", f"convert_resumes.{os.getpid()}")  # below it, anybody may go everywhere
    os.mkdir(base)
    try:
        shutil.copy("source.raw", base)
        os.chmod(base, 0o755)
        shutil.copy(BYRE, os.path.join(base, "byre"))
        environment = {**os.environ, "LD_LIBRARY_PATH": os.path.dirname(BYRE)}
        convert = [*nobody, os.path.join(base, "byre"), "convert", "-f", "raw", "-O", "qcow2"]
        for mode, owner, says in ((0o755, 12, "Permission denied"), (0o777, 13, "belongs to another user")):
            target = os.path.join(base, "target")
            write(target, OLD)
            os.chmod(target, 0o666)
            os.chown(target, owner, 34)
            os.chmod(base, mode)
            inode = os.stat(target).st_ino
            run(*convert, "--resume", f"{base}/source.raw", target, code=1, says=says, env=environment)
            expect(content(target) == OLD, f"{says}: --resume has changed the target")
            run(*convert, f"{base}/source.raw", target, env=environment)
            expect(content(target) == content("wanted qcow2") and os.stat(target).st_ino == inode, f"{says}: in place")
            expect(sorted(os.listdir(base)) == ["byre", "source.raw", "target"], f"{says}: {os.listdir(base)}")
    finally:
        shutil.rmtree(base)


def others_are_left_alone():
    remove("target", "target.partial")
    shutil.copy("wanted qcow2", "target")
    with subprocess.Popen([BYRE, "io", "target"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        user.stdin.write(b"read 0 512\n")
        user.stdin.flush()
        user.stdout.readline()
        for flags in ([], ["--resume"]):
            run(*command("raw", *flags), code=1, says="target: another process has it open for writing")
        user.stdin.close()
    expect(content("target") == content("wanted qcow2"), "a target in use has changed")
    expect(not os.path.exists("target.partial"), "a target in use: there is a partial one")
    remove("target")
    with subprocess.Popen([*command("qcow2", "-m", "1", "-r", "1M")], stderr=subprocess.PIPE) as first:
        while not os.path.exists("target.partial") or os.path.getsize("target.partial") < 70000:
            time.sleep(0.01)
        for flags in ([], ["--resume"]):
            run(*command("qcow2", *flags), code=1, says="target.partial: another process has it open for writing")
        run(*command("qcow2", "-U"), code=1, says="target.partial: another process")
        expect(os.path.getsize("target.partial") > 70000, "a second run has changed what the first one makes")
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)
    # The source itself, or a backing file, has that name.
    shutil.copy("wanted qcow2", "target.partial")
    for flags in ([], ["-U"], ["--resume"]):
        run(BYRE, "convert", *flags, "-O", "qcow2", "target.partial", "target", code=1, says="the target is the source")
        run(BYRE, "convert", *flags, "-f", "raw", "-O", "qcow2", "-B", "target.partial", "-F", "qcow2", "source.raw",
            "target", code=1, says="backing chain")
    expect(content("target.partial") == content("wanted qcow2"), "a source that is called target.partial has changed")
    expect(not os.path.exists("target"), "a refused conversion has made a target")


def many_at_once():
    """Of many runs to one target some are refused, but each that is not makes all of it."""
    remove("target", "target.partial")
    run(BYRE, "create", "-q", "-f", "qcow2", "small.qcow2", "1M")
    run(BYRE, "io", "-c", "write -P 5 0 1M", "small.qcow2")
    run(BYRE, "convert", "-O", "qcow2", "small.qcow2", "wanted small")
    for number in range(12):
        flags = ["--resume"] if number % 3 == 0 else []
        processes = [subprocess.Popen([BYRE, "convert", *flags, "-O", "qcow2", "small.qcow2", "target"],
                                      stderr=subprocess.PIPE) for _ in range(12)]
        results = [(process.communicate(timeout=60)[1].decode(), process.returncode) for process in processes]
        expect(any(code == 0 for _, code in results), f"nobody has made the target: {results}")
        for message, code in results:
            told = any(words in message for words in ("another process", "another file has got this name",
                                                      "other processes keep"))
            expect(code == 0 or told, f"many at once: exit {code}: {message}")
        expect(content("target") == content("wanted small"), "many at once: another file")
        expect(not os.path.exists("target.partial"), "many at once: target.partial is still there")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=33)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not shutil.which("qemu-img"):
        sys.exit(77)
    rounds(arguments.rounds, arguments.seed)
    make_sources(random.Random(1))  # the sizes below go with it
    nothing_is_written_twice()
    no_space()
    in_place()
    other_users()
    others_are_left_alone()
    many_at_once()
    sys.exit(1 if failures else 0)


main()
