#!/usr/bin/env python3
"""SIGINT ends work that waits: a slow copy in its pause, dd for what does not come, dd for a reader that does not read.
The limit is generous; without care each of them lasts for ever, or nearly so."""

import os
import signal
import subprocess
import time

BYRE = os.environ["BYRE"]
LIMIT_SECONDS = 5


def expect(truth, what):
    if not truth:
        raise SystemExit(what)


def run(*arguments):
    done = subprocess.run([BYRE, *arguments], capture_output=True, text=True, timeout=60, check=False)
    expect(done.returncode == 0, f"{arguments}: {done}")


def wait_until(condition, what):
    end = time.monotonic() + 30
    while not condition():
        expect(time.monotonic() < end, what)
        time.sleep(0.01)


def sleeps(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "S"


def interrupt(process, exit_code, what):
    time.sleep(0.2)
    expect(process.poll() is None, f"{what}: it has ended already")
    process.send_signal(signal.SIGINT)
    try:
        error_output = process.communicate(timeout=LIMIT_SECONDS)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise SystemExit(f"{what}: it goes on") from None
    expect(process.returncode == exit_code, f"{what}: exit {process.returncode}: {error_output}")
    expect(exit_code < 0 or b"interrupted" in error_output, f"{what}: {error_output}")


def interrupt_slow(*arguments):
    reader, writer = os.pipe()
    with subprocess.Popen([BYRE, *arguments, "-r", "1k", "--progress", f"json:{writer}"], pass_fds=(writer,),
                          stderr=subprocess.PIPE) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as events:
            expect(any(b"progress" in line for line in iter(events.readline, b"")), f"{arguments}: has not begun")
            interrupt(process, 1, f"{arguments} -r 1k")


def slow_copies():
    run("create", "-q", "-f", "qcow2", "base", "16M")
    run("io", "-c", "write -P 5 0 16M", "base")
    run("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "overlay")
    interrupt_slow("stream", "overlay")
    run("compare", "base", "overlay")
    run("check", "overlay")
    interrupt_slow("convert", "-m", "1", "-O", "qcow2", "base", "copy")
    expect(not os.path.exists("copy"), "convert leaves its target")


def a_rate_is_kept():
    """16 MiB at 8 MiB a second take at least one: the first 512 KiB go at once."""
    began = time.monotonic()
    run("convert", "-r", "8M", "-O", "raw", "base", "copy.raw")
    expect(time.monotonic() - began > 1, "convert -r 8M is faster than that")
    run("compare", "base", "copy.raw")


def input_that_does_not_come():
    with subprocess.Popen([BYRE, "dd", "-O", "qcow2", "if=-", "of=taken"], stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        process.stdin.write(b"x" * 65536)
        process.stdin.flush()
        wait_until(lambda: os.path.exists("taken") and os.path.getsize("taken") > 256 << 10, "dd has not begun")
        # Its end stays open: what comes is not the end of the input.
        end = os.dup(process.stdin.fileno())
        interrupt(process, 1, "dd if=-")
        os.close(end)
    run("check", "taken")


def output_that_nobody_takes():
    reader, writer = os.pipe()
    with subprocess.Popen([BYRE, "dd", "-f", "qcow2", "bs=1M", "if=base", "of=-"], stdout=writer,
                          stderr=subprocess.PIPE) as process:
        os.close(writer)
        wait_until(lambda: sleeps(process), "dd does not wait")
        interrupt(process, 1, "dd of=-")
    os.close(reader)


slow_copies()
a_rate_is_kept()
input_that_does_not_come()
output_that_nobody_takes()
