"""The tests that may find a mutant, cheapest first, and which of them pass the place of which mutant."""

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

MEMORY_BYTES = 4 << 30
LEAST_LIMIT_SECONDS = 10
STANDSTILL_SECONDS = 20
DIFFERENTIAL_PROGRAMS = 60


@dataclass
class Killer:
    name: str
    command: list
    environment: dict
    seconds: float = 0.0
    passes: set = field(default_factory=set)  # numbers of mutants


def gtest_killers(program, label, by_case):
    """One killer for each suite, or for each test."""
    listed = subprocess.run([program, "--gtest_list_tests", "--gtest_filter=-*Nightly*"], capture_output=True,
                            text=True, check=True)
    suite, filters = "", []
    for line in listed.stdout.splitlines()[1:]:
        if not line.startswith(" "):
            suite = line.split()[0]
            if not by_case:
                filters.append(suite + "*")
        elif by_case:
            filters.append(suite + line.split()[0])
    return [Killer(f"{label} {f}", [str(program), f"--gtest_filter={f}", "--gtest_fail_fast", "--gtest_brief=1"], {})
            for f in filters]


def all_killers(targets, root):
    differential = Killer("differential.py", [str(root / "tests/cli/differential.py"), "--programs",
                                              str(DIFFERENTIAL_PROGRAMS), "--workers", "1"],
                          {"BYRE": str(targets["tool"])})
    return gtest_killers(targets["unit"], "unit", False) + gtest_killers(targets["sim"], "sim", True) + [differential]


def _limits():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)


def _processor_seconds(session):
    """What all processes of the session have used, children that have ended included."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _wait(child, limit_seconds):
    """(its status or None, processor seconds). None: it used more than that, or none for a while; that the machine is
    busy with other things is no hang."""
    used, since, pause = 0.0, time.monotonic(), 0.001
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage.ru_utime + usage.ru_stime
        time.sleep(pause)
        pause = min(2 * pause, 0.3)
        if pause < 0.3:
            continue
        now = _processor_seconds(child.pid)
        if now > used:
            used, since = now, time.monotonic()
        if used > limit_seconds or time.monotonic() - since > STANDSTILL_SECONDS:
            return None, used


def run(killer, environment, limit_seconds):
    """(what ended it: None, "fails" or "hangs", seconds). Both are processor time."""
    scratch = tempfile.mkdtemp(prefix="byre-mutant-")
    variables = {**os.environ, **killer.environment, **environment, "TMPDIR": scratch, "TEST_DIR": scratch}
    child = subprocess.Popen(killer.command, cwd=scratch, env=variables, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                             preexec_fn=_limits)
    try:
        status, seconds = _wait(child, limit_seconds)
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        shutil.rmtree(scratch, ignore_errors=True)
    return {None: "hangs", 0: None}.get(status, "fails"), seconds


def measure(killer, log):
    """How long it takes without a mutant, and whose places it passes. It must succeed."""
    log.unlink(missing_ok=True)
    outcome, killer.seconds = run(killer, {"BYRE_MUTANT_LOG": str(log)}, 600)
    if outcome:
        raise SystemExit(f"mutate: {killer.name} {outcome} without a mutant")
    if log.exists():
        killer.passes = {int(line) for line in log.read_text().split()}
        log.unlink()
    return killer


def kill(number, killers):
    """Name and way of the first killer that finds the mutant; None if all succeed."""
    for killer in killers:
        if number not in killer.passes:
            continue
        outcome, _ = run(killer, {"BYRE_MUTANT": str(number)}, max(LEAST_LIMIT_SECONDS, 5 * killer.seconds))
        if outcome:
            return f"{killer.name} {outcome}"
    return None
