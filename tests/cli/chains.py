#!/usr/bin/env python3
"""commit, stream and rebase: chains of 51 layers beside qemu-img, byte for byte; killed at any moment, run again.

  chains.py [--chains COUNT] [--kills COUNT]
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

BYRE = os.environ.get("BYRE", "byre")
LAYERS = 51
MIB = 1 << 20


def run(*arguments, code=0, folder="."):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    if done.returncode != code:
        raise SystemExit(f"{' '.join(arguments)}: exit {done.returncode}, not {code}: {done.stderr}")
    return done.stdout


def raw(image, tool="qemu-img", folder="."):
    run(tool, "convert", "-O", "raw", image, "out.raw", folder=folder)
    path = os.path.join(folder, "out.raw")
    with open(path, "rb") as file:
        data = file.read()
    os.unlink(path)
    return data


def make_chain(draw):
    """Each layer has a size and a cluster size of its own, some data, some zeros, and something discarded."""
    os.makedirs("chain", exist_ok=True)
    below = None
    for i in range(LAYERS):
        size = 64 * 1024 * draw.randint(8, 40) + 512 * draw.randrange(128)
        words = ["create", "-q", "-f", "qcow2", "-o", f"cluster_size={draw.choice([4096, 16384, 65536])}"]
        words += ["-b", below, "-F", "qcow2"] if below else []
        name = f"layer{i}"
        run("qemu-img", *words, name, str(size), folder="chain")
        commands = []
        for kind in ("write -q -P {}", "write -q -P {}", "write -q -z", "discard -q"):
            at = draw.randrange(size // 512 - 1) * 512
            length = min(size - at, 512 * draw.randint(1, 300))
            commands += ["-c", f"{kind.format(draw.randint(1, 255))} {at} {length}"]
        run("qemu-io", "-f", "qcow2", *commands, name, folder="chain")
        below = name


def sides():
    for side in ("byre", "qemu"):
        shutil.rmtree(side, ignore_errors=True)
        shutil.copytree("chain", side)


def expect(same, what):
    if not same:
        raise SystemExit(what)


def deep_chain(seed):
    draw = random.Random(seed)
    shutil.rmtree("chain", ignore_errors=True)
    make_chain(draw)
    top = f"layer{LAYERS - 1}"
    before = raw(top, folder="chain")
    expect(raw(top, BYRE, folder="chain") == before, f"seed {seed}: byre reads the chain differently")
    maps = [json.loads(run(tool, "map", "--output=json", top, folder="chain")) for tool in (BYRE, "qemu-img")]
    depths = [max(entry["depth"] for entry in entries) for entries in maps]
    expect(depths[0] == depths[1], f"seed {seed}: depths of {depths}")
    expect(len(json.loads(run(BYRE, "info", "--backing-chain", "--output=json", top, folder="chain"))) == LAYERS,
           f"seed {seed}: info --backing-chain")
    for base in (f"layer{LAYERS - 2}", f"layer{draw.randrange(LAYERS - 2)}", "layer0"):
        sides()
        for side, tool in (("byre", BYRE), ("qemu", "qemu-img")):
            run(tool, "commit", "-q", "-b", base, top, folder=side)
        ours, theirs = (raw(base, folder=side) for side in ("byre", "qemu"))
        # Growing, the reference may show what the last cluster held behind the old end.
        expect(ours[: len(before)] == before, f"seed {seed}: commit -b {base}")
        expect(theirs[len(before):] == ours[len(before):], f"seed {seed}: the rest of {base}")
        run("qemu-img", "check", "-q", base, folder="byre")
    for base in (None, f"layer{draw.randrange(LAYERS - 2)}", "layer0"):
        for command in ("stream", "rebase"):
            sides()
            words = ["-b", base or ""] if command == "rebase" or base else []
            words += ["-F", "qcow2"] if command == "rebase" and base else []
            run(BYRE, command, *words, top, folder="byre")
            expect(raw(top, folder="byre") == before, f"seed {seed}: {command} {base}")
            run("qemu-img", "check", "-q", top, folder="byre")
            named = json.loads(run("qemu-img", "info", "--output=json", top, folder="byre")).get("backing-filename")
            expect(named == base, f"seed {seed}: {command} {base} leaves {named}")


def allocated(image):
    extents = json.loads(run("qemu-img", "map", "--output=json", image))
    return sum(entry["length"] for entry in extents if entry["depth"] == 0 and entry["data"])


def make_overlay(draw):
    """200 MiB in the base, some of it hidden again."""
    for name in ("kbase", "kmid", "ktop"):
        if os.path.exists(name):
            os.unlink(name)
    run("qemu-img", "create", "-q", "-f", "qcow2", "kbase", "256M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "kbase", "-F", "qcow2", "kmid", "256M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "kmid", "-F", "qcow2", "ktop", "256M")
    for name, writes in (("kbase", 4), ("kmid", 150), ("ktop", 40)):
        commands = []
        for i in range(writes):
            commands += ["-c", f"write -q -P {draw.randint(1, 255)} {draw.randrange(255)}M 1M"]
        commands += ["-c", f"write -q -z {draw.randrange(200)}M 8M"]
        run("qemu-io", "-f", "qcow2", *commands, name)


COMMANDS = (["stream", "ktop"], ["stream", "-b", "kbase", "ktop"], ["rebase", "-b", "", "ktop"], ["commit", "ktop"],
            ["commit", "-b", "kbase", "ktop"])


def wait_for_locks():
    """A killed process may hold its locks a moment longer, while the kernel takes its requests back."""
    for _ in range(200):
        looked = subprocess.run(["qemu-img", "info", "--backing-chain", "ktop"], capture_output=True, check=False)
        if looked.returncode == 0:
            return
        time.sleep(0.02)


def expect_no_damage(when):
    """A killed process leaves leaks, nothing else; who goes on does not look for them."""
    for name in ("kbase", "kmid", "ktop"):
        checked = subprocess.run(["qemu-img", "check", "-q", name], capture_output=True, check=False).returncode
        expect(checked in (0, 3), f"{when} {name} is damaged ({checked})")


def kill_once(draw, words, before):
    process = subprocess.Popen([BYRE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(draw.uniform(0.001, 0.12))
    process.send_signal(draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
    process.wait()
    wait_for_locks()
    expect(raw("ktop") == before, f"{words}: after a kill the disk reads differently")
    expect_no_damage(f"{words}: after a kill")


def kills(count, seed):
    draw = random.Random(seed)
    for i in range(count):
        words = COMMANDS[i % len(COMMANDS)]
        make_overlay(draw)
        before = raw("ktop")
        for _ in range(2):
            kill_once(draw, words, before)
        run(BYRE, *words)
        expect(raw("ktop") == before, f"{words}: after the last run the disk reads differently")
        expect_no_damage(f"{words}: after the last run")


def commit_goes_on(seed):
    """What a killed commit has moved into the backing file is no longer in the overlay."""
    make_overlay(random.Random(seed))
    before = raw("ktop")
    run("qemu-io", "-f", "qcow2", "-c", "write -q -P 9 0 100M", "ktop")
    before = bytes([9]) * (100 * MIB) + before[100 * MIB:]
    start, held = allocated("ktop"), allocated_now("kmid")
    process = subprocess.Popen([BYRE, "commit", "-q", "-r", "30M", "ktop"])
    while allocated_now("kmid") < held + 20 * MIB and process.poll() is None:
        time.sleep(0.02)
    time.sleep(2.5)
    process.kill()
    process.wait()
    wait_for_locks()
    expect(allocated("ktop") <= start - 40 * MIB, "a killed commit has moved nothing for good")
    run(BYRE, "commit", "-q", "ktop")
    expect(raw("ktop") == before, "going on, commit changes what the disk reads")


def goes_on(seed):
    """What a killed run has copied is there, and is not copied again."""
    make_overlay(random.Random(seed))
    before = raw("ktop")
    start = allocated("ktop")
    process = subprocess.Popen([BYRE, "stream", "-r", "30M", "ktop"])
    while allocated_now("ktop") < start + 70 * MIB and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    wait_for_locks()
    kept = allocated("ktop") - start
    expect(kept >= 40 * MIB, f"a killed stream keeps {kept} bytes of what it has copied")
    run(BYRE, "stream", "ktop")
    expect(raw("ktop") == before, "going on, stream changes what the disk reads")


def allocated_now(path):
    return os.stat(path).st_blocks * 512


def from_nothing():
    """An image without a backing file gets one: what it does not store still reads as zeros. The reference shows the
    new file there in version 2 (docs/format.md section 27.2)."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "nbase", "6M")
    run("qemu-io", "-f", "qcow2", "-c", "write -q -P 9 0 5M", "-c", "write -q -z 2M 512k", "nbase")
    for compat in ("0.10", "1.1"):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"compat={compat}", "nothing", "4M")
        run("qemu-io", "-f", "qcow2", "-c", "write -q -P 1 100k 64k", "-c", "write -q -P 9 3M 64k", "nothing")
        before = raw("nothing")
        run(BYRE, "rebase", "-b", "nbase", "-F", "qcow2", "nothing")
        expect(raw("nothing") == before, f"compat={compat}: rebased onto a file, the disk reads differently")
        run("qemu-img", "check", "-q", "nothing")


def refusals():
    """Words that cannot be meant: exit code 1, and every byte stays."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "rbase", "1M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "rbase", "-F", "qcow2", "rtop")
    with open("rtop", "rb") as file:
        before = file.read()
    for words in (["rebase"], ["rebase", "-b", "rbase"], ["rebase", "-b", "rtop", "-F", "qcow2"],
                  ["rebase", "-u", "-b", "./rtop", "-F", "qcow2"], ["rebase", "-b", "none", "-F", "qcow2"],
                  ["commit", "-b", "none"], ["stream", "-b", "none"], ["stream", "-b", "rtop"]):
        run(BYRE, *words, "rtop", code=1)
        with open("rtop", "rb") as file:
            expect(file.read() == before, f"{words}: refused, but the image has changed")
    run(BYRE, "commit", "rbase", code=1)
    run(BYRE, "rebase", "-u", "rtop")  # without -b: none, as with the reference
    expect("backing-filename" not in run("qemu-img", "info", "--output=json", "rtop"), "rebase -u leaves a name")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=1)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not shutil.which("qemu-img"):
        return 77
    for i in range(arguments.chains):
        deep_chain(arguments.seed + i)
    from_nothing()
    refusals()
    kills(arguments.kills, arguments.seed)
    goes_on(arguments.seed)
    commit_goes_on(arguments.seed)
    print(f"{arguments.chains} chains, {2 * arguments.kills} kills, no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
