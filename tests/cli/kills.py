#!/usr/bin/env python3
"""`byre io` is killed at random moments: the image has no error but leaks, and what was flushed is there.

The process gets a stream of writes, zeroes, discards, compressed writes and flushes on its standard input, several
requests in flight, and is killed with SIGKILL. Then qemu-img check finds no corruption (leaks are allowed), `byre
check` agrees if the tool has it, and the whole disk is read by byre or by qemu-img and compared sector by sector. The
image stays in use for many kills. The stream is a function of the seed; the moment of the kill is not.

  kills.py [--kills COUNT] [--first SEED] [--workers COUNT]
"""

import argparse
import fcntl
import multiprocessing
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))

import kill_stream as ks  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
KILLS_OF_AN_IMAGE = [5, 15, 40]
SHM = "/dev/shm"
DIRTY_BYTE = 79  # the lowest byte of the incompatible features; its bit 0 is the dirty bit


class Failure(Exception):
    pass


def run(directory, *arguments, allowed=(0,)):
    done = subprocess.run(arguments, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
                          text=True, errors="replace", check=False)
    if done.returncode not in allowed:
        raise Failure(f"{' '.join(arguments)}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def has_check():
    return subprocess.run([BYRE, "check", "--help"], stdin=subprocess.DEVNULL, capture_output=True,
                          check=False).returncode == 0


def set_dirty(path):
    with open(path, "r+b") as file:
        file.seek(DIRTY_BYTE)
        value = file.read(1)[0]
        file.seek(DIRTY_BYTE)
        file.write(bytes([value | 1]))


def is_dirty(path):
    with open(path, "rb") as file:
        return file.read(DIRTY_BYTE + 1)[DIRTY_BYTE] & 1 == 1


def wait_until_closed(path):
    """A ring outlives its process for a moment: what it had in flight ends, and then the locks go."""
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    deadline = time.monotonic() + 20
    with open(path, "r+b") as file:
        while struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK:
            if time.monotonic() > deadline:
                raise Failure("the file is still locked 20 seconds after the kill")
            time.sleep(0.001)


def why_not_lazy(directory):
    """Nothing if an image that a crash left dirty can be opened for writing, else what the tool says."""
    run(directory, BYRE, "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", "dirty", "1M")
    set_dirty(os.path.join(directory, "dirty"))
    done = subprocess.run([BYRE, "io", "-f", "qcow2", "-c", "write -q 0 512", "dirty"], cwd=directory,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


class Image:
    """One image and what it may hold, drawn from a seed."""

    def __init__(self, seed, directory, lazy):
        self.draw = random.Random(seed)
        self.directory = directory
        self.cluster = self.draw.choice([512, 1024, 4096, 4096, 65536, 65536, 2 << 20])
        self.version = self.draw.choice([2, 3, 3])
        most = {512: 600, 1024: 400, 4096: 150}.get(self.cluster, 6)
        sectors = self.cluster // ks.SECTOR * self.draw.randint(1, most)
        sectors -= self.draw.choice([0, self.draw.randrange(self.cluster // ks.SECTOR)])
        self.lazy = lazy and self.version == 3
        options = [f"cluster_size={self.cluster}", "compat=" + ("0.10" if self.version == 2 else "1.1")]
        if self.version == 3:
            options.append(f"refcount_bits={self.draw.choice([1, 4, 16, 64])}")
            options.append("compression_type=" + self.draw.choice(["zlib", "zstd"]))
        if self.lazy:
            options.append("lazy_refcounts=on")
        values = [0] * sectors
        backing = []
        if self.draw.random() < 0.5:
            backing = ["-b", "base", "-F", "raw"]
            below = [self.draw.choice([0, 7, 99]) for _ in range(self.draw.choice([sectors, max(1, sectors // 2)]))]
            values[: len(below)] = below
            with open(os.path.join(directory, "base"), "wb") as file:
                file.write(b"".join(ks.sector_of(value) for value in below))
        for number in range(ks.NOISES):
            with open(os.path.join(directory, f"noise{number}"), "wb") as file:
                file.write(ks.noise(number))
        run(directory, BYRE, "create", "-q", "-f", "qcow2", "-o", ",".join(options), *backing, "image",
            str(sectors * ks.SECTOR))
        self.disk = ks.Disk(self.cluster, sectors, self.version == 3 or not backing, values)

    def path(self, name):
        return os.path.join(self.directory, name)

    def kill_once(self):
        """Returns (still running when killed, answered flushes, certain sectors)."""
        shutil.copy(self.path("image"), self.path("before"))
        commands = ks.Stream(self.draw, self.disk).make(self.draw.choice([20, 400, 400, 2000]))
        with open(self.path("commands"), "w", encoding="utf-8") as file:
            file.write("\n".join(command.text for command in commands) + "\n")
        was_running = self._run_and_kill()
        with open(self.path("output"), encoding="utf-8") as file:
            text = file.read()
        lines = text.split("\n")[:-1]  # what is behind the last newline was cut off by the kill
        self._check_messages()
        try:
            flushed = self.disk.apply(commands, lines)
            return was_running, flushed, self._examine()
        except AssertionError as error:
            raise Failure(str(error)) from error

    def _run_and_kill(self):
        moment = self.draw.choice([0.003, 0.01, 0.03, 0.1]) * self.draw.random() + 0.001
        with open(self.path("output"), "wb") as output, open(self.path("messages"), "wb") as messages, \
                open(self.path("commands"), "rb") as commands:
            process = subprocess.Popen([BYRE, "io", "-f", "qcow2", "image"], cwd=self.directory, stdin=commands,
                                       stdout=output, stderr=messages)
            time.sleep(moment)
            was_running = process.poll() is None
            process.kill()
            status = process.wait()
        wait_until_closed(self.path("image"))
        if status not in (-signal.SIGKILL, 0, 1):
            raise Failure(f"it ended with status {status} by itself")
        return was_running

    def _check_messages(self):
        with open(self.path("messages"), encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.endswith("\n") and ks.REFUSED not in line:
                    raise Failure(f"it said: {line}")

    def _examine(self):
        """The whole of it before anything repairs it; then it must be in order, or leak."""
        certain = self._read(self.draw.choice([BYRE, "qemu-img"]))
        if self.lazy and is_dirty(self.path("image")):
            self._repair()
            self._read(BYRE)
        run(self.directory, "qemu-img", "check", "-q", "-f", "qcow2", "image", allowed=(0, 3))
        if HAS_CHECK:
            run(self.directory, BYRE, "check", "-q", "-f", "qcow2", "image", allowed=(0, 3))
        return certain

    def _read(self, tool):
        run(self.directory, tool, "convert", "-f", "qcow2", "-O", "raw", "image", "raw")
        return self.disk.compare(self.path("raw"))

    def _repair(self):
        """What opening for writing does, or the reference."""
        if self.draw.random() < 0.5:
            run(self.directory, BYRE, "io", "-f", "qcow2", "-c", "write -q -z 0 0", "image")
        else:
            run(self.directory, "qemu-img", "check", "-q", "-r", "all", "-f", "qcow2", "image")


HAS_CHECK = False


def use_image(job):
    """(kills, kills while it ran, flushes, certain sectors, what went wrong)"""
    seed, kills, lazy, scratches = job
    directory = os.path.join(scratches[seed % 2], f"seed-{seed}")
    os.makedirs(directory)
    totals = [0, 0, 0, 0]
    try:
        image = Image(seed, directory, lazy)
        for _ in range(kills):
            was_running, flushes, certain = image.kill_once()
            for index, count in enumerate([1, was_running, flushes, certain]):
                totals[index] += count
    except Failure as failure:
        return totals, f"seed {seed}, kill {totals[0] + 1}: {failure}", directory
    except Exception:  # the test itself
        return totals, f"seed {seed}, kill {totals[0] + 1}: {traceback.format_exc()}", directory
    shutil.rmtree(directory)
    return totals, None, directory


def run_many(arguments, scratches, results):
    """In memory many requests fit between two kills; on a real disk syncs take time, and kills fall between them."""
    reason = why_not_lazy(scratches[0])
    jobs, left, seed = [], arguments.kills, arguments.first
    while left > 0:
        kills = min(left, KILLS_OF_AN_IMAGE[seed % len(KILLS_OF_AN_IMAGE)])
        jobs.append((seed, kills, reason is None and seed % 4 == 0, scratches))
        left, seed = left - kills, seed + 1
    if reason:
        print(f"lazy refcounts: not run, because a dirty image cannot be written: {reason}")
    totals, failures = [0, 0, 0, 0], 0
    with multiprocessing.Pool(arguments.workers, signal.signal, (signal.SIGTERM, signal.SIG_DFL)) as pool:
        for counts, failure, directory in pool.imap_unordered(use_image, jobs):
            totals = [one + two for one, two in zip(totals, counts)]
            if failure:
                failures += 1
                kept = os.path.join(results, os.path.basename(directory))
                shutil.copytree(directory, kept, dirs_exist_ok=True)
                print(f"{failure}\nfiles: {kept} (image, the image before it, commands, output)\n", flush=True)
            if failures == 5:
                break
    print(f"{totals[0]} kills of {len(jobs)} images, {totals[1]} while it ran; {totals[2]} answered flushes; "
          f"{totals[3]} sectors that had to hold one value; {failures} failures")
    # Kills that come too late prove nothing.
    return 0 if failures == 0 and totals[1] * 2 >= totals[0] and totals[2] > totals[0] else 1


def main():
    global HAS_CHECK
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--first", type=int, default=1, help="seed of the first image")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if not (shutil.which("qemu-img") and shutil.which("qemu-io")):
        print("qemu-img is not installed")
        return 77
    HAS_CHECK = has_check()
    print("byre check: " + ("used too" if HAS_CHECK else "not run, this tool does not have it"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as on a timeout: what follows removes the directory
    results = os.environ.get("TEST_DIR") or os.getcwd()
    scratches = [tempfile.mkdtemp(prefix="byre-kills-", dir=place)
                 for place in (SHM if os.access(SHM, os.W_OK) else results, results)]
    try:
        return run_many(arguments, scratches, results)
    finally:
        for scratch in scratches:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
