#!/usr/bin/env python3
"""Faults at named events (driver blkdebug): each errno comes out of the request, on the n-th call, once or always;
whatever failed, the image stays sound, and what was written before and flushed is still there. Break points hold a
request until it is resumed. Where events are the reference's own, it says the same.
"""

import os
import re
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
from checked_runs import attempt as run, fail, failures, need  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
EVENTS = ["l1_update", "l2_load", "l2_update", "read_aio", "read_backing_aio", "read_compressed", "write_aio",
          "write_compressed", "cow_read", "reftable_load", "reftable_update", "refblock_load", "refblock_update",
          "refblock_alloc", "refblock_alloc_hookup", "cluster_alloc", "cluster_free", "flush_to_os", "flush_to_disk",
          "pwritev", "pwritev_zero", "pwritev_done", "none"]
NOT_IN_QCOW2 = {"pwritev_zero"}  # zeros there are entries
REQUESTS = ["write -P 1 10k 100k", "read -P 7 512k 64k", "write -c -P 2 256k 64k", "read -P 2 256k 64k",
            "write -P 3 2M 1M", "write -P 8 5000 1000", "flush", "write -P 4 30k 200k", "discard 2M 512k",
            "write -z 10k 64k", "flush", "read 0 3M", "write -P 6 40M 8M", "truncate 70M", "write -P 6 69M 64k",
            "flush"]


def make_first_image():
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "-b", "base", "-F", "raw", "first", "64M")
    run("qemu-io", "-c", "write -P 9 1M 64k", "-c", "write -P 9 600k 100", "first")


def make_image():
    shutil.copy("first", "image")


def described(event, number, errno, once):
    """A fault at the n-th event: states count the calls before it."""
    options = ["driver=qcow2", "file.driver=blkdebug", "file.image.filename=image",
               f"file.inject-error.0.event={event}", f"file.inject-error.0.errno={errno}",
               f"file.inject-error.0.once={once}"]
    if number > 1:
        options.append(f"file.inject-error.0.state={number}")
    for i in range(1, number):
        options += [f"file.set-state.{i - 1}.event={event}", f"file.set-state.{i - 1}.state={i}",
                    f"file.set-state.{i - 1}.new_state={i + 1}"]
    return ",".join(options)


def requests(node):
    return run(BYRE, "io", "--image-opts", node, *(word for text in REQUESTS for word in ("-c", text)))


def check_image(label):
    check = run("qemu-img", "check", "-q", "image")
    if check.returncode not in (0, 3):  # sound, or with leaks
        fail(f"{label}: qemu-img check: {check.returncode} {check.stderr.decode()[:300]}")
    kept = run("qemu-io", "-r", "-c", "read -P 9 1M 64k", "-c", "read -P 7 700k 64k", "image")
    if kept.returncode != 0:
        fail(f"{label}: what was there before is lost")


def inject(event, number, errno, once):
    label = f"{event} {number} {errno} {once}"
    make_image()
    result = requests(described(event, number, errno, once))
    if result.returncode not in (0, 1):
        fail(f"{label}: exit code {result.returncode}: {result.stderr.decode()[-300:]}")
    text = result.stdout.decode() + result.stderr.decode()
    if result.returncode == 1 and os.strerror(errno) not in text:
        fail(f"{label}: does not say '{os.strerror(errno)}': {text}")
    check_image(label)
    return result.returncode


def inject_everywhere():
    met = 0
    for event in EVENTS:
        for number in (1, 2, 3):
            for once in ("on", "off"):
                met += inject(event, number, 28 if number == 2 else 5, once)
    never = [event for event in EVENTS if event not in NOT_IN_QCOW2 and not any(
        inject(event, 1, 5, once) for once in ("on", "off"))]
    if never:
        fail(f"no request fails at {never}")
    return met


def same_words(node, *commands):
    """Both tools: exit code and standard output without times."""
    words = [word for command in commands for word in ("-c", command)]
    outcomes = []
    for tool in (["qemu-io"], [BYRE, "io"]):
        make_image()
        result = run(*tool, *node, *words)
        outcomes.append((result.returncode, re.sub(r"ops; .*", "ops;", result.stdout.decode()).splitlines()))
    if outcomes[0] != outcomes[1]:
        fail(f"{node} {commands}: {outcomes[1]}, expected {outcomes[0]}")


def as_the_reference():
    node = "driver=qcow2,file.driver=blkdebug,file.image.filename=image,file.inject-error.0.event="
    same_words(["--image-opts", node + "read_aio"], "read 1M 64k", "read 1M 64k")
    same_words(["--image-opts", node + "read_aio,file.inject-error.0.once=on,file.inject-error.0.errno=28"],
               "read 1M 64k", "read 1M 64k")
    same_words(["--image-opts", node + "write_aio,file.inject-error.0.once=on,file.inject-error.0.errno=28"],
               "write 1M 64k", "write 1M 64k", "read 1M 64k")
    same_words(["--image-opts", node + "none,file.inject-error.0.iotype=discard"], "read 1M 64k", "write 1M 64k")
    same_words(["--image-opts", node + "read_aio,file.set-state.0.event=read_aio,file.set-state.0.new_state=2,"
                "file.inject-error.0.state=2"], "read 1M 512", "read 1M 512", "read 1M 512")
    same_words(["--image-opts", node + "nosuch"], "length")
    same_words(["--image-opts", node + "read_aio,file.inject-error.0.iotype=x"], "length")
    same_words(["--image-opts", node + "read_aio,file.inject-error.0.x=1"], "length")
    with open("rules", "w") as rules:
        rules.write('[inject-error]\nevent = "read_aio"\nerrno = "28"\nonce = "on"\n')
    same_words(["blkdebug:rules:image"], "read 1M 64k", "read 1M 64k")
    same_words(["blkdebug:missing:image"], "length")
    with open("rules", "w") as rules:
        rules.write('[inject-errors]\nevent = "read_aio"\n')
    same_words(["blkdebug:rules:image"], "length")
    same_words(["blkdebug::image"], "break write_aio A", "aio_write 1M 64k", "wait_break A", "resume A", "aio_flush",
               "read -P 205 1M 64k")
    same_words(["blkdebug::image"], "break read_aio A", "break read_aio B", "remove_break B", "resume C",
               "remove_break C", "aio_read 1M 512", "wait_break A", "resume A", "aio_flush")
    same_words(["image"], "break read_aio A", "resume A", "remove_break A")
    same_words(["blkdebug::image"], "break nosuch A")


def zeros_of_raw_files():
    result = run(BYRE, "io", "-c", "write -z 0 64k", "-c", "write -z 0 64k", "--image-opts",
                 "driver=raw,file.driver=blkdebug,file.image.filename=base,file.inject-error.0.event=pwritev_zero,"
                 "file.inject-error.0.once=on,file.inject-error.0.errno=28")
    if result.returncode != 1 or result.stdout.count(b"wrote") != 1 or b"No space left" not in result.stdout:
        fail(f"pwritev_zero: {result}")


def breaks_order_requests():
    """A write that is held, and one behind it that is not: the held one comes last."""
    make_image()
    result = run(BYRE, "io", "-c", "write -P 3 3M 64k", "-c", "break write_aio A", "-c", "aio_write -P 1 3M 64k",
                 "-c", "wait_break A", "-c", "write -P 2 3M 64k", "-c", "read -P 2 3M 64k", "-c", "resume A",
                 "-c", "aio_flush", "-c", "read -P 1 3M 64k", "blkdebug::image")
    if result.returncode != 0:
        fail(f"break: {result}")
    late = run(BYRE, "io", "-c", "break read_aio A", "-c", "wait_break A", "blkdebug::image")
    if late.returncode != 1 or b"No request is under way" not in late.stdout:
        fail(f"a break that nothing can reach: {late}")
    forgotten = run(BYRE, "io", "-c", "break write_aio A", "-c", "aio_write 3M 64k", "-c", "wait_break A",
                    "blkdebug::image")
    if forgotten.returncode != 0:
        fail(f"a break that is never resumed: {forgotten}")
    check_image("breaks")


def pairs_are_compared():
    run("qemu-img", "create", "-q", "-f", "raw", "raw", "64M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "pair", "64M")
    written = run(BYRE, "io", "-c", "write -P 1 0 100k", "-c", "write -z 10k 20k", "-c", "read 0 1M",
                  "blkverify:raw:pair")
    same = run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "raw", "pair")
    if written.returncode != 0 or same.returncode != 0:
        fail(f"blkverify: {written} {same}")
    run("qemu-io", "-f", "raw", "-c", "write -P 5 70001 1", "raw")
    different = run(BYRE, "io", "-r", "-c", "read 64k 64k", "blkverify:raw:pair")
    if different.returncode != 1 or b"70001" not in different.stdout + different.stderr:
        fail(f"blkverify: {different}")


def main():
    need("qemu-img", "qemu-io")
    with open("base", "wb") as base:
        base.write(b"\x07" * (4 << 20))
    make_first_image()
    as_the_reference()
    breaks_order_requests()
    zeros_of_raw_files()
    pairs_are_compared()
    met = inject_everywhere()
    print(f"{len(EVENTS)} events, {len(EVENTS) * 6} runs, {met} of them failed as asked")
    return 1 if failures else 0


sys.exit(main())
