#!/usr/bin/env python3
"""Images made to harm (docs/format.md section 24), as streams: whatever is refused as a file is refused, what is read
reads the same, no target is left behind an error, and time and memory are bounded."""

import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BYRE = os.environ["BYRE"]
SANITIZED = os.environ.get("BYRE_SANITIZE", "") != ""
CPU_SECONDS = 10 if SANITIZED else 2
PEAK_KIB = 96 << 10  # the window of 64 MiB is used only as far as bytes have come
STEP = 32 if SANITIZED else 4
MOST_BYTES = 64 << 20  # sparse files of terabytes would take long to come through a pipe


class Run:
    """One conversion to a raw file, through a pipe or from the file."""

    def __init__(self, image, through_pipe):
        with tempfile.TemporaryDirectory(dir=".") as directory, tempfile.TemporaryFile() as err:
            target = Path(directory) / "out.raw"
            command = ["prlimit", f"--cpu={CPU_SECONDS}", "--core=0", f"--fsize={4 << 30}", "--", BYRE, "convert", "-f",
                       "qcow2", "-O", "raw", "--no-backing", "-" if through_pipe else str(image), str(target)]
            feeder = subprocess.Popen(["cat", image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            process = subprocess.Popen(command, stdin=feeder.stdout, stdout=subprocess.DEVNULL, stderr=err)
            feeder.stdout.close()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = self.code = os.waitstatus_to_exitcode(status)
            self.peak_kib = usage.ru_maxrss
            feeder.kill()
            feeder.wait()
            err.seek(0)
            self.stderr = err.read()
            self.left = target.exists()
            self.content = self.hash_of(target) if self.left else None

    @staticmethod
    def hash_of(path):
        done = subprocess.run([BYRE, "checksum", "-f", "raw", path], capture_output=True, timeout=120, check=False)
        return done.stdout.split()[:1]


def judge(image):
    """What is wrong with the stream's answer, or nothing."""
    stream = Run(image, True)
    if stream.code not in (0, 1):
        return f"exit code {stream.code}"
    if stream.code == 1 and (stream.left or not stream.stderr.startswith(b"byre: ")):
        return f"a target is left, or no message: {stream.stderr}"
    if not SANITIZED and stream.peak_kib > PEAK_KIB:
        return f"{stream.peak_kib} KiB"
    if stream.code == 1:
        return None
    file = Run(image, False)
    if file.code == 1 and (b"bitmap" in file.stderr or image.name.startswith(("h45-", "h46-"))):
        return None  # bitmaps are not looked at in a stream, and not copied
    if file.code != 0 or file.content != stream.content:
        return f"as a file it is refused or reads otherwise: {file.stderr}"
    return None


def images():
    subprocess.run([os.environ["HOSTILE_IMAGES"], "."], check=True)
    yield from sorted(Path("rules").glob("*.qcow2"))
    yield from sorted(Path("fields").iterdir())[::STEP]


def main():
    wrong = 0
    chosen = [image for image in images() if image.stat().st_size <= MOST_BYTES]
    with ThreadPoolExecutor(2) as pool:
        for image, answer in zip(chosen, pool.map(judge, chosen)):
            wrong += answer is not None
            if answer:
                print(f"FAILED: {image}: {answer}", flush=True)
    print(f"{len(chosen)} images, {wrong} failures")
    raise SystemExit(wrong != 0 or len(chosen) < 50)


main()
