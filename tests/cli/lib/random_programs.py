"""Runs random programs, each a function of its seed, on all cores; a failure prints the command that repeats it.

A program is a class: made with (seed, directory, files), it has run(), tools (a Tools) and counts (a dictionary of what
it did). It raises Mismatch.
"""

import argparse
import functools
import multiprocessing
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback

from memory_file import memory_file, text_of

BYRE = os.environ.get("BYRE", "byre")
SHM = "/dev/shm"
MOST_SECONDS = 120  # that a tool may take
MOST_FAILURES = 5  # then it stops early: they probably have one cause


class Mismatch(Exception):
    pass


def on_alarm(*_):
    raise TimeoutError


class Tools:
    """Runs the tools in a directory, and remembers how, so that a failure can be repeated by hand."""

    def __init__(self, directory):
        self.directory = directory
        self.log = []
        signal.signal(signal.SIGALRM, on_alarm)

    def run(self, arguments, exit_code=0, output=None, folder="."):
        """Its standard output."""
        self.log.append(("" if folder == "." else f"cd {folder}; ") +
                        " ".join(shlex.quote(word) for word in arguments) + f"  # exit {exit_code}")
        status, said, complained = self._result(arguments, os.path.join(self.directory, folder))
        if status != exit_code or (output is not None and said != output):
            raise Mismatch(f"{self.log[-1]}\nexit status {status}, not {exit_code}\n"
                           f"standard output: {said}\nnot: {output}\nstandard error: {complained}")
        return said

    def _result(self, arguments, directory):
        """Exit status, standard output and standard error. Files take half of Python's time that pipes take."""
        with memory_file() as out, memory_file() as err, subprocess.Popen(
                arguments, cwd=directory, stdin=subprocess.DEVNULL, stdout=out, stderr=err) as process:
            signal.alarm(MOST_SECONDS)
            try:
                process.wait()
            except TimeoutError:
                process.kill()
                raise Mismatch(f"hangs: {self.log[-1]}") from None
            finally:
                signal.alarm(0)
            return process.returncode, text_of(out), text_of(err)

    def exercise(self, tool, options, commands, image, expected=(), exit_code=None, folder="."):
        """Commands of `io` for `image`, or, without one, for what they open themselves."""
        arguments = ([BYRE, "io"] if tool == "byre" else ["qemu-io"]) + options
        for command in commands:
            arguments += ["-c", command]
        if image:
            arguments += ["-f", "qcow2", image]
        if exit_code is not None:  # its output may be lost
            self.run(arguments, exit_code, folder=folder)
        else:
            self.run(arguments, 1 if expected else 0, "".join(line + "\n" for line in expected), folder)

    def img(self, tool, *arguments, exit_code=0, folder="."):
        return self.run([BYRE if tool == "byre" else "qemu-img", *arguments], exit_code, folder=folder)


@functools.cache
def content():
    """Incompressible, compressible, and mixed; of odd lengths, so that misplaced data shows."""
    draw = random.Random(0)
    noise = draw.randbytes(70001)
    text = b" ".join(str(draw.randrange(1000)).encode() for _ in range(1500))
    return {"noise": noise, "text": text, "mixed": noise[:9001] + text[:5000] + bytes(30000)}


def content_files(directory):
    """Sources of content, as files."""
    files = content()
    for name, data in files.items():
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)
    return files


def run_program(program_class, seed, directory):
    """(counts, None), or (counts, what went wrong)."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    program = program_class(seed, directory, content_files(directory))
    try:
        program.run()
    except Mismatch as mismatch:
        failure = str(mismatch)
    except Exception:  # the test itself: its seed matters as much
        failure = traceback.format_exc()
    else:
        return program.counts, None
    with open(os.path.join(directory, "program.sh"), "w", encoding="utf-8") as file:
        file.write("\n".join(program.tools.log) + "\n")
    return program.counts, failure


def run_in_worker(job):
    program_class, seed, scratch = job
    directory = os.path.join(scratch, str(os.getpid()))
    counts, failure = run_program(program_class, seed, directory)
    if failure:
        os.rename(directory, os.path.join(scratch, f"seed-{seed}"))
    return seed, counts, failure


def report(seed, failure, directory):
    script = os.path.realpath(sys.argv[0])
    print(f"seed {seed}: {failure[:4000]}\nfiles: {directory}\nrepeat: BYRE={shlex.quote(BYRE)} {shlex.quote(script)} "
          f"--seed {seed}\n", flush=True)


def add_counts(total, counts):
    for what, count in counts.items():
        total[what] = total.get(what, 0) + count


def summary(programs, total, failures):
    counted = "".join(f", {count} {what}" for what, count in total.items())
    return f"{programs} program{'' if programs == 1 else 's'}{counted}, {failures} mismatches"


def run_many(program_class, first, count, workers, results):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as on a timeout: what follows removes the directory
    scratch = tempfile.mkdtemp(prefix="byre-programs-", dir=SHM if os.access(SHM, os.W_OK) else None)
    programs = failures = 0
    total = {}
    try:
        with multiprocessing.Pool(workers, signal.signal, (signal.SIGTERM, signal.SIG_DFL)) as pool:
            jobs = ((program_class, seed, scratch) for seed in range(first, first + count))
            for seed, counts, failure in pool.imap_unordered(run_in_worker, jobs, chunksize=4):
                programs += 1
                add_counts(total, counts)
                if failure:
                    failures += 1
                    kept = os.path.join(results, f"seed-{seed}")
                    shutil.copytree(os.path.join(scratch, f"seed-{seed}"), kept, dirs_exist_ok=True)
                    report(seed, failure, kept)
                if failures == MOST_FAILURES:
                    break
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{summary(programs, total, failures)} (seeds from {first})")
    return 0 if failures == 0 and programs == count else 1


def run_one(program_class, seed, results):
    directory = os.path.join(results, f"seed-{seed}")
    counts, failure = run_program(program_class, seed, directory)
    if failure:
        report(seed, failure, directory)
    print(summary(1, counts, 1 if failure else 0))
    return 1 if failure else 0


def main(program_class, description, programs):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=programs)
    parser.add_argument("--first", type=int, default=1, help="seed of the first program")
    parser.add_argument("--seed", type=int, help="run only this program")
    parser.add_argument("--workers", type=int, default=2 * os.cpu_count())  # a tool waits half of its time
    arguments = parser.parse_args()
    if not (shutil.which("qemu-img") and shutil.which("qemu-io")):
        return 77
    results = os.environ.get("TEST_DIR") or os.getcwd()
    if arguments.seed is not None:
        return run_one(program_class, arguments.seed, results)
    return run_many(program_class, arguments.first, arguments.programs, arguments.workers, results)
