#!/usr/bin/env python3
"""`byre` through a link called qemu-img beside qemu-img itself: exit code, standard output, whether there is something
on standard error, and what is in the files afterwards, for the command lines of lib/drop_in_cases.py. They may differ
where lib/drop_in_differences.py says so, and must. docs/drop-in.md is what follows from both.

    drop_in.py                 compares
    drop_in.py PATTERN         only the command lines that match, and shows all differences
    drop_in.py --write-docs    writes docs/drop-in.md
"""

import concurrent.futures
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "lib"))
import drop_in_cases
import drop_in_compare
import drop_in_differences
import drop_in_docs
import drop_in_images

BYRE = os.environ.get("BYRE", "byre")
WORK = tempfile.mkdtemp()
DOCS = os.path.join(HERE, "../../docs/drop-in.md")
LEAST_LINES = 400
failures = 0


def fail(text):
    global failures
    failures += 1
    print(text)


def compare(lines):
    """What differs, line by line."""
    os.makedirs(os.path.join(WORK, "bin"))
    link = os.path.join(WORK, "bin", "qemu-img")
    os.symlink(os.path.realpath(shutil.which(BYRE)), link)
    images = os.path.join(WORK, "images")
    drop_in_images.make(images)
    comparison = drop_in_compare.Comparison(images, [shutil.which("qemu-img"), link], WORK)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda each: comparison.differences(*each), enumerate(lines)))


def show(words, found):
    return shlex.join(words) + "".join(f"\n    {aspect}: {text}" for aspect, text in found.items())


def judge(lines, results):
    for words, found in zip(lines, results):
        for aspect in sorted(set(found) - drop_in_differences.declared(words)):
            fail(show(words, {aspect: found[aspect]}))
    for each in drop_in_differences.unseen(lines, results):
        fail(f"this declared difference does not show any more: {each}")


def reference_help():
    return subprocess.run(["qemu-img", "--help"], capture_output=True, text=True, check=True, timeout=60).stdout


def coverage(lines):
    """Every option that the reference's help names is in the table, and every one of the table is in some line."""
    if len(lines) < LEAST_LINES:
        fail(f"{len(lines)} command lines, fewer than {LEAST_LINES}")
    used = drop_in_docs.options_used(lines)
    for command, names in drop_in_docs.options_by_command().items():
        for name in sorted(set(names) - used.get(command, set())):
            fail(f"no command line has qemu-img {command} {name}")
    for command, names in drop_in_docs.options_in_help(reference_help()).items():
        for name in sorted(names - set(drop_in_docs.options_by_command().get(command, []))):
            fail(f"the table lacks qemu-img {command} {name}")


def gaps_are_told():
    """`byre help drop-in` names what docs/drop-in.md calls not yet there, and nothing else."""
    told = subprocess.run([BYRE, "help", "drop-in"], capture_output=True, text=True, check=True, timeout=60).stdout
    if drop_in_docs.gaps_in_help(told) != drop_in_docs.gaps_declared():
        fail(f"byre help drop-in says {drop_in_docs.gaps_in_help(told)}\n    the table {drop_in_docs.gaps_declared()}")


def docs_are_current(text):
    with open(DOCS, encoding="utf-8") as file:
        if file.read() != text:
            fail("docs/drop-in.md is not what drop_in.py --write-docs writes")


def main():
    lines = drop_in_cases.all_lines()
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    if pattern == "--write-docs":
        with open(DOCS, "w", encoding="utf-8") as file:
            file.write(drop_in_docs.text(len(lines)))
        return
    chosen = [words for words in lines if re.search(pattern, shlex.join(words))]
    results = compare(chosen)
    if pattern:
        print("\n".join(show(words, found) for words, found in zip(chosen, results) if found))
        return
    judge(lines, results)
    coverage(lines)
    gaps_are_told()
    docs_are_current(drop_in_docs.text(len(lines)))


try:
    main()
finally:
    shutil.rmtree(WORK)
sys.exit(1 if failures else 0)
