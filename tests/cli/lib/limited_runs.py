"""Runs a program with limits of processor time and of time.

Starter and Forker have run(words, directory, out, err): the exit code, or the signal's number below zero, seconds of
processor time, and the peak of memory in KiB.
"""

import os
import resource
import select
import signal
import socket
import subprocess
import threading


class Starter:
    """Starts the program each time."""

    def __init__(self, program, cpu_seconds, wall_seconds):
        self.program = program
        self.cpu_seconds = cpu_seconds
        self.wall_seconds = wall_seconds

    def run(self, words, directory, out, err):
        process = subprocess.Popen([self.program, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   cwd=directory)
        # From here, since a program between that sets the limit takes as long as the tool itself.
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (self.cpu_seconds, self.cpu_seconds))
        if not self._ends(process.pid):
            os.kill(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss

    def _ends(self, pid):
        descriptor = os.pidfd_open(pid)
        try:
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            return bool(ended.poll(self.wall_seconds * 1000))
        finally:
            os.close(descriptor)


class Forker:
    """Has tests/tool/forked_tool.cc do it, one for each thread. A report of the address sanitizer does not say who
    allocated: to keep each allocation's stack takes a fifth of the time. The tool itself, run by hand, says it."""

    def __init__(self, program, cpu_seconds, wall_seconds):
        self.command = [program, str(cpu_seconds), str(wall_seconds)]
        options = [os.environ.get("ASAN_OPTIONS"), "malloc_context_size=1"]
        self.environment = {**os.environ, "ASAN_OPTIONS": ":".join(filter(None, options))}
        self.patience = wall_seconds + 60
        self.of_thread = threading.local()

    def run(self, words, directory, out, err):
        if not hasattr(self.of_thread, "socket"):
            self.of_thread.socket = self._start()
        folder = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            packet = b"\0".join(os.fsencode(word) for word in ["byre", *words])
            socket.send_fds(self.of_thread.socket, [packet], [out.fileno(), err.fileno(), folder])
        finally:
            os.close(folder)
        status, microseconds, peak_kib = map(int, self.of_thread.socket.recv(100).split())
        return os.waitstatus_to_exitcode(status), microseconds / 1e6, peak_kib

    def _start(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(self.patience)
        with theirs:
            subprocess.Popen(self.command, stdin=theirs, env=self.environment)  # ends when our end is closed
        return ours
