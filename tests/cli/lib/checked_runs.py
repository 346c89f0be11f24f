"""Runs tools and counts what is not as it should be, for scripts that go on after a failure."""

import shutil
import subprocess
import sys

failures = []


def fail(text):
    failures.append(text)
    print(text[:5000])


def need(*tools):
    """Without one of them the script is skipped."""
    if not all(shutil.which(tool) for tool in tools):
        sys.exit(77)


def attempt(*arguments):
    """However it ends; its output as bytes."""
    return subprocess.run(arguments, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def outcome(*arguments, code=0, says="", **options):
    """Of a run that ends with that exit code, and has these words on standard error."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False, **options)
    if done.returncode != code or says not in done.stderr:
        fail(f"{' '.join(arguments)[:2000]}: exit {done.returncode}, not {code} with '{says}': "
             f"{done.stdout[:2000]}{done.stderr[:2000]}")
    return done


def run(*arguments, **options):
    """What it printed."""
    return outcome(*arguments, **options).stdout
