#!/usr/bin/env python3
"""--progress json:FD: lines of JSON on a descriptor, of every command that has it, and what a reader can do wrong: be
away, go away, read nothing, share the pipe. The work, its exit code and its standard output are as without."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import time

BYRE = os.environ["BYRE"]


def expect(truth, what):
    if not truth:
        raise SystemExit(what)


def run(*arguments, fds=(), timeout=60, **others):
    others.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([BYRE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                          check=False, pass_fds=fds, **others)


def succeeds(*arguments, **others):
    done = run(*arguments, **others)
    expect(done.returncode == 0, f"{arguments}: {done}")
    return done


def watched(command, *arguments, **others):
    """Runs it with its events going to a file; returns how it ended and the events."""
    with open("events", "w+b") as file:
        fd = file.fileno()
        done = run(command, "--progress", f"json:{fd}", *arguments, fds=(fd,), **others)
        file.seek(0)
        return done, [json.loads(line) for line in file]


def check_events(events, operation, last="finished", exit_code=0):
    expect(events and events[0] == {"event": "started", "operation": operation, "elapsed": events[0]["elapsed"]},
           f"{operation}: begins with {events[:1]}")
    end = (events[-1]["event"], events[-1]["operation"], events[-1]["exit"])
    expect(end == (last, operation, exit_code), f"{operation}: ends with {events[-1]}")
    for before, event in zip(events, events[1:]):
        apart = event["elapsed"] - before["elapsed"]
        both_progress = before["event"] == event["event"] == "progress"
        expect(apart >= (0.099 if both_progress else 0), f"{operation}: too close, or backwards: {before}, {event}")
    for event in events[1:-1]:
        expect(set(event) == {"event", "operation", "done", "total", "percent", "elapsed"}, f"keys of {event}")
        expect(event["event"] == "progress" and 0 <= event["done"] <= event["total"], f"{event}")
        share = 100 * event["done"] / event["total"] if event["total"] else 100
        expect(abs(event["percent"] - share) <= 0.01, f"percent of {event}")
    return events[1:-1]


def make_images():
    with open("source.raw", "wb") as file:
        file.write(os.urandom(4 << 20))
    succeeds("convert", "-f", "raw", "-O", "qcow2", "source.raw", "source")
    succeeds("create", "-q", "-f", "qcow2", "-b", "source", "-F", "qcow2", "overlay")
    succeeds("io", "-c", "write -P 7 1M 1M", "overlay")


def every_command_has_it():
    commands = [
        ["convert", "-f", "raw", "-O", "qcow2", "source.raw", "copy"],
        ["compare", "source.raw", "copy"],
        ["check", "copy"],
        ["measure", "-O", "qcow2", "--exact", "copy"],
        ["measure", "--size", "1G", "-O", "qcow2"],
        ["dd", "-f", "qcow2", "bs=64k", "if=copy", "of=taken"],
        ["dd", "-f", "qcow2", "bs=64k", "count=3", "if=copy", "of=-"],
        ["amend", "-o", "refcount_bits=64", "copy"],
        ["rebase", "-b", "copy", "-F", "qcow2", "overlay"],
        ["commit", "overlay"],
        ["stream", "overlay"],
        ["compact", "copy"],
        ["resize", "copy", "8M"],
    ]
    for command in commands:
        done, events = watched(*command)
        expect(done.returncode == 0 and not done.stderr, f"{command}: {done}")
        told = check_events(events, command[0])
        nothing_to_do = command[0] in ("resize", "compact", "stream") or "--size" in command
        expect(told or nothing_to_do, f"{command}: no progress in {events}")


def the_rest_is_as_without():
    for command in (["compare", "source.raw", "source"], ["check", "source"], ["check", "--output=json", "source"],
                    ["measure", "--exact", "-O", "qcow2", "--output=json", "source"],
                    ["dd", "-f", "qcow2", "bs=64k", "count=3", "if=source", "of=-"]):
        plain, (done, _) = run(*command), watched(*command)
        for what in ("returncode", "stdout", "stderr"):
            expect(getattr(plain, what) == getattr(done, what), f"{command}: {plain}, then {done}")
    done, events = watched("convert", "-p", "-O", "qcow2", "source", "copy")
    expect(done.stdout.startswith(b"    (0.00/100%)\r"), f"-p: {done.stdout}")
    expect(done.stdout.endswith(b"    (100.00/100%)\r\n"), f"-p: {done.stdout}")
    check_events(events, "convert")
    done, events = watched("convert", "-q", "-O", "qcow2", "source", "copy")
    check_events(events, "convert")
    expect(not done.stdout, "-q, and something on standard output")
    long_name = succeeds("convert", "--progress", "-O", "qcow2", "source", "copy").stdout
    expect(long_name.endswith(b"    (100.00/100%)\r\n"), f"--progress alone: {long_name}")


def the_end_tells_what_came_of_it():
    succeeds("create", "-q", "-f", "qcow2", "empty", "4M")
    done, events = watched("compare", "source", "empty")
    check_events(events, "compare", exit_code=1)
    expect(done.returncode == 1 and "error" not in events[-1], f"{events}")
    done, events = watched("compare", "source", "nothing")
    check_events(events, "compare", "failed", 2)
    error = {"code": "not-found", "message": "nothing: No such file or directory", "file": "nothing", "errno": 2}
    expect(events[-1]["error"] == error, f"{events[-1]}")
    with open("events", "w+b") as file, open("/dev/full", "wb") as full:
        fd = file.fileno()
        done = subprocess.run([BYRE, "check", "source", "--progress", f"json:{fd}"], stdout=full, pass_fds=(fd,),
                              stderr=subprocess.PIPE, timeout=60, check=False)
        file.seek(0)
        events = [json.loads(line) for line in file]
    check_events(events, "check", "failed", 1)
    expect(done.returncode == 1 and events[-1]["error"]["code"] == "no-space", f"{events[-1]}")
    long_path = "d" * 250 + "/" + "\u00e9" * 100 + "/" + "/".join(["x" * 250] * 14)
    done, events = watched("check", long_path)
    check_events(events, "check", "failed", 1)
    with open("events", "rb") as file:
        expect(max(len(line) for line in file) < 4096, "a line is longer than PIPE_BUF")


def interrupted_work_is_cancelled():
    with open("long.raw", "wb") as file:
        file.truncate(64 << 30)
    reader, writer = os.pipe()
    process = subprocess.Popen([BYRE, "convert", "-c", "-S", "0", "-f", "raw", "-O", "qcow2", "--progress",
                                f"json:{writer}", "long.raw", "long"], pass_fds=(writer,), stderr=subprocess.PIPE)
    os.close(writer)
    with os.fdopen(reader, "rb") as lines:
        events = [json.loads(lines.readline()) for _ in range(12)]
        process.send_signal(signal.SIGINT)
        events += [json.loads(line) for line in lines]
    process.communicate(timeout=60)
    check_events(events, "convert", "cancelled", 1)
    expect(events[-1]["error"]["code"] == "cancelled", f"{events[-1]}")
    os.unlink("long.raw")


def wrong_descriptors_are_refused():
    read_only = os.open("source", os.O_RDONLY)
    directory = os.open(".", os.O_PATH)
    for word, fds, says in (("json:77", (), "77 is not open"), ("json:0", (), "json:FD"),
                            (f"json:{read_only}", (read_only,), "not open for writing"),
                            (f"json:{directory}", (directory,), "not open for writing"),
                            ("json:", (), "json:FD"), ("json:3x", (), "json:FD"), ("json:-1", (), "json:FD"),
                            ("json:99999999999", (), "json:FD"), ("xml:3", (), "json:FD")):
        for command, code in (["convert", "-O", "qcow2", "source", "new"], 1), (["compare", "source", "source"], 2):
            done = run(*command, f"--progress={word}", fds=fds)
            expect(done.returncode == code and says in done.stderr.decode() and not done.stdout, f"{word}: {done}")
        expect(not os.path.exists("new"), f"{word}: a target was made")
    closed = subprocess.run([BYRE, "check", "source", "--progress", "json:2"], stdout=subprocess.PIPE, timeout=60,
                            check=False, preexec_fn=lambda: os.close(2))
    expect(closed.returncode == 1 and not closed.stdout, f"a closed standard error: {closed}")
    os.close(read_only)
    os.close(directory)
    refused = run("dd", "-p", "if=source", "of=-")
    expect(refused.returncode == 1 and not refused.stdout and b"--progress json:FD" in refused.stderr, f"{refused}")
    for word in ("info", "create"):
        expect(run(word, "source", "--progress", "json:1").returncode == 1, f"{word} has no progress")


def standard_streams_will_do():
    done = succeeds("check", "source", "--progress", "json:2")
    check_events([json.loads(line) for line in done.stderr.splitlines()], "check")
    done = succeeds("compare", "-q", "source", "source", "--progress=json:1")
    check_events([json.loads(line) for line in done.stdout.splitlines()], "compare")
    both = run("compare", "source", "nothing", "--progress", "json:2", "--errors", "json")
    lines = [json.loads(line) for line in both.stderr.splitlines()]
    check_events([line for line in lines if "event" in line], "compare", "failed", 2)
    expect([line["code"] for line in lines if "level" in line] == ["not-found"], f"{lines}")


def convert_beside(descriptor, what):
    began = time.monotonic()
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    succeeds("convert", "-f", "raw", "-O", "qcow2", "--progress", f"json:{descriptor}", "source.raw", "beside",
             fds=(descriptor,), timeout=30)
    expect(fcntl.fcntl(descriptor, fcntl.F_GETFL) == flags, f"{what}: the flags of the descriptor have changed")
    succeeds("compare", "-q", "source.raw", "beside")
    return time.monotonic() - began


def fill(descriptor):
    os.set_blocking(descriptor, False)
    filled = 0
    try:
        while True:
            filled += os.write(descriptor, b"x" * 512)
    except BlockingIOError:
        pass
    os.set_blocking(descriptor, True)
    return filled


def readers_may_do_as_they_like():
    reader, writer = os.pipe()
    filled = fill(writer)
    convert_beside(writer, "a full pipe")
    os.set_blocking(reader, False)
    expect(os.read(reader, filled + 4096) == b"x" * filled, "what was in the full pipe has changed")
    convert_beside(writer, "an emptied pipe")
    check_events([json.loads(line) for line in os.read(reader, 65536).splitlines()], "convert")
    os.close(reader)
    convert_beside(writer, "a pipe without a reader")
    os.close(writer)
    ours, theirs = socket.socketpair()
    convert_beside(theirs.fileno(), "a socket")
    check_events([json.loads(line) for line in ours.recv(65536).splitlines()], "convert")
    fill(theirs.fileno())
    convert_beside(theirs.fileno(), "a full socket")
    ours.close()
    convert_beside(theirs.fileno(), "a socket whose other end is closed")
    with open("/dev/full", "wb") as full:
        convert_beside(full.fileno(), "a device without room")
    os.mkfifo("fifo")
    fifo = os.open("fifo", os.O_RDWR)
    convert_beside(fifo, "a named pipe")
    check_events([json.loads(line) for line in os.read(fifo, 65536).splitlines()], "convert")
    os.close(fifo)


RIVAL = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
int poll(struct pollfd *polled, nfds_t count, int timeout) {
  int (*real)(struct pollfd *, nfds_t, int) = dlsym(RTLD_NEXT, "poll");
  int ready = real(polled, count, timeout);
  struct stat status;
  if (count != 1 || fstat(polled->fd, &status) != 0 || !S_ISFIFO(status.st_mode)) return ready;
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", polled->fd);
  int pipe = open(name, O_WRONLY | O_NONBLOCK);
  while (write(pipe, "xxxxxxxxxxxxxxxx", 16) > 0) {}
  close(pipe);
  return ready;
}
"""


def another_may_fill_the_pipe_at_the_last_moment():
    """After it has been asked whether there is room, and before that is used."""
    if os.environ.get("BYRE_SANITIZE"):
        return  # a sanitizer wants to be loaded first
    with open("rival.c", "w", encoding="ascii") as file:
        file.write(RIVAL)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "rival.so", "rival.c", "-ldl"], check=True)
    reader, writer = os.pipe()
    os.environ["LD_PRELOAD"] = os.path.abspath("rival.so")
    convert_beside(writer, "a pipe that fills up")
    del os.environ["LD_PRELOAD"]
    os.set_blocking(reader, False)
    taken = os.read(reader, 1 << 20)
    expect(taken and not taken.strip(b"x"), f"the rival was not there: {taken[:200]}")
    os.close(reader)
    os.close(writer)


def programs_may_share_a_pipe():
    """One page of pipe for eight of them, and nobody reads."""
    for _ in range(5):
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.write(writer, b"\n" * 3700)
        programs = [subprocess.Popen([BYRE, "compare", "-q", "source", "source", "--progress", f"json:{writer}"],
                                     pass_fds=(writer,)) for _ in range(8)]
        for program in programs:
            expect(program.wait(timeout=30) == 0, "one of several failed")
        for line in os.read(reader, 65536).splitlines():
            expect(not line or json.loads(line)["operation"] == "compare", f"lines are mixed: {line}")
        os.close(reader)
        os.close(writer)


make_images()
every_command_has_it()
make_images()
the_rest_is_as_without()
the_end_tells_what_came_of_it()
interrupted_work_is_cancelled()
wrong_descriptors_are_refused()
standard_streams_will_do()
readers_may_do_as_they_like()
another_may_fill_the_pipe_at_the_last_moment()
programs_may_share_a_pipe()
