"""Runs tools and counts what is not as it should be, for scripts that go on after a failure."""

import subprocess

failures = []


def fail(text):
    failures.append(text)
    print(text[:5000])


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
