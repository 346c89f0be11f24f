"""What the scripts beside this folder share: their arguments, commands that are run in turn, Markdown tables."""
import argparse
import contextlib
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
BYRE = ROOT / 'build' / 'byre'
LARGEST_ORDER = 10  # of the kernel's blocks of free pages: beyond it none is given back


class Figures(NamedTuple):
    """What a command took."""
    wall: float  # seconds
    cpu: float  # seconds, user and system, all threads
    peak: float  # MiB; 0 if it was not asked for
    output: str


def arguments_of(text, *names, **defaults):
    """A parser for a script whose description is `text`, with those of --runs, --dir, --only and --byre that are
    named."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    if 'runs' in names:
        parser.add_argument('--runs', type=int, default=defaults.get('runs', 5))
    if 'dir' in names:
        parser.add_argument('--dir', default=defaults.get('dir'))
    if 'only' in names:
        parser.add_argument('--only', default='')
    if 'byre' in names:
        parser.add_argument('--byre', default=str(BYRE), type=os.path.abspath)
    return parser


@contextlib.contextmanager
def scratch(parent, needed_gib=0.0):
    """A directory that is gone afterwards."""
    directory = os.path.abspath(tempfile.mkdtemp(prefix='byre-bench-', dir=parent))
    try:
        free_gib = shutil.disk_usage(directory).free / (1 << 30)
        if free_gib < needed_gib:
            sys.exit(f'{directory}: {needed_gib:g} GiB are needed, {free_gib:.1f} GiB are free')
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def working_in(directory):
    """`directory` is the current one meanwhile."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def run(command, with_peak=False):
    """Figures of a command, which must succeed. GNU time tells the peak: a process starts with the peak of the one that
    it comes from, and Python's is high."""
    words = [str(word) for word in command]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    done = subprocess.run((['/usr/bin/time', '-q', '-f', '%M'] if with_peak else []) + words,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f'{" ".join(words)}: exit {done.returncode}: {done.stderr.strip()}')
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(wall, cpu, int(done.stderr.split()[-1]) / 1024 if with_peak else 0.0, done.stdout)


def in_turn(sides, runs, uncounted=1):
    """Calls each of `sides` (name: function) one after the other, `runs` times after those that do not count. The
    results by name."""
    results = {name: [] for name in sides}
    for turn in range(-uncounted, runs):
        for name, take in sides.items():
            result = take()
            if turn >= 0:
                results[name].append(result)
    return results


def times_as_fast(ours, theirs):
    """The median of the ratios of neighbouring runs."""
    return statistics.median(b / a for a, b in zip(ours, theirs))


def version_of(tool):
    return subprocess.run([tool, '--version'], capture_output=True, text=True, check=True).stdout.split('\n')[0]


def memory_remark():
    """Where free memory is given back, writes to new pages of a file may take several times as long."""
    try:
        with open('/sys/module/page_reporting/parameters/page_reporting_order', encoding='ascii') as file:
            order = int(file.read())
    except OSError:
        return ''
    return ' free memory is given back to the hypervisor;' if order <= LARGEST_ORDER else ' free memory is kept;'


def headline(runs, remark=''):
    """Where and how the table below was made."""
    print(f'{os.cpu_count()} cores, Linux {platform.release()}, {version_of("qemu-img")};{memory_remark()}{remark} '
          f'{runs} runs in turn after one that does not count.\n')


def table(*columns):
    row(*columns)
    print('|' + '---|' * len(columns))


def row(*cells):
    print('| ' + ' | '.join(map(str, cells)) + ' |', flush=True)


def met(reached):
    return 'met' if reached else 'missed'
