"""`byre serve` as a test's own process: started, waited for, and ended by its process id."""

import os
import signal
import socket
import subprocess
import time

BYRE = os.environ.get("BYRE", "byre")


class Server:
    """Used with `with`: after it the server has ended with exit status 0."""

    def __init__(self, *words, path="socket", log="serve.log", ends=signal.SIGTERM):
        self.socket = os.path.abspath(path)
        self.log = log
        self.ends = ends
        self.words = [BYRE, "serve", "--socket", path, *words]

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while not self.accepts():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.words}: does not serve: {self.output()}")
            time.sleep(0.005)
        return self

    def accepts(self):
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(self.socket)
            except OSError:
                return False
        return True

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait(self, seconds=30):
        """Its exit status, once it has ended by itself."""
        return self.process.wait(seconds)

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.send_signal(self.ends if kind is None else signal.SIGKILL)
        status = self.process.wait(60)
        if kind is None and status != 0:
            raise SystemExit(f"{self.words}: exit status {status}: {self.output()}")
