#!/usr/bin/env python3
"""Every kind of damage as a user meets it: byre check finds it, -r all repairs it so that the reference tool finds
nothing wrong, and --apply-undo gives the damaged file back byte for byte."""
import concurrent.futures
import hashlib
import os
import pathlib
import subprocess
import sys

BYRE = os.environ["BYRE"]
STRIDE = int(os.environ.get("STRIDE", "3"))


def run(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def judge(path, check_code, repair_code):
    """Returns what is wrong, or nothing."""
    before = digest(path)
    undo = path.with_suffix(".undo")
    checked = run(BYRE, "check", path)
    if checked.returncode != check_code or digest(path) != before:
        return f"check ends with {checked.returncode}, expected {check_code}: {checked.stdout}{checked.stderr}"
    repaired = run(BYRE, "check", "-r", "all", "--undo", undo, path)
    if repaired.returncode != repair_code:
        return f"repair ends with {repaired.returncode}: {repaired.stdout}{repaired.stderr}"
    reference = run("qemu-img", "check", "-f", "qcow2", path)
    if reference.returncode != 0:
        return f"the reference finds after the repair: {reference.stdout}{reference.stderr}"
    again = run(BYRE, "check", "-q", path)
    if again.returncode != 0:
        return f"a check after the repair ends with {again.returncode}: {again.stderr}"
    undone = run(BYRE, "check", "--apply-undo", undo, path)
    if undone.returncode != 0 or digest(path) != before:
        return f"taking back ends with {undone.returncode}: {undone.stderr}"
    return None


def main():
    directory = pathlib.Path("damaged")
    subprocess.run([os.environ["DAMAGED_IMAGES"], directory], check=True)
    lines = [line.split("\t") for line in (directory / "expected").read_text().splitlines()]
    chosen = lines[::STRIDE]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda line: judge(directory / line[0], int(line[1]), int(line[2])), chosen)
        failures = [f"{line[0]}: {result}" for line, result in zip(chosen, results) if result]
    print("\n".join(failures))
    print(f"{len(chosen)} of {len(lines)} damaged images, {len(failures)} failures")
    return 1 if failures or len(chosen) < 300 else 0


if __name__ == "__main__":
    sys.exit(main())
