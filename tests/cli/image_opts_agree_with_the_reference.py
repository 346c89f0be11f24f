#!/usr/bin/env python3
"""Images that are described (--image-opts, json:{...}): the same descriptions lead qemu-img and qemu-io to the same
image as byre, or both refuse them; and every subcommand does with a described image what it does with a named one.
"""

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
from checked_runs import attempt as run, fail, failures, need  # noqa: E402  (found beside this file)

BYRE = os.environ.get("BYRE", "byre")
TOP = "driver=qcow2,file.filename=top"
RAW = "driver=raw,file.filename=base"

# Read alike, or refused alike.
LISTS = [
    TOP, "file.filename=top", RAW, "driver=raw,file.filename=top", "driver=qcow2,file.driver=file,file.filename=top",
    "driver=file,filename=base", "driver=qcow2,driver=raw,file.filename=base", "file.filename=comma,,name",
    TOP + ",", TOP + ",,x=y", TOP + ",node-name=a,file.node-name=b",
    # the layer below
    TOP + ",backing.driver=raw,backing.file.filename=other", TOP + ",backing.file.filename=other", TOP + ",backing=",
    TOP + ",backing.file.filename=missing", TOP + ",backing.driver=qcow2,backing.file.filename=other",
    TOP + ",backing=other", RAW + ",backing.file.filename=other",
    # runtime options
    TOP + ",lazy-refcounts=on", TOP + ",lazy-refcounts=off", TOP + ",lazy-refcounts=1", TOP + ",lazy-refcounts=",
    "driver=qcow2,file.filename=old,lazy-refcounts=on", "driver=qcow2,file.filename=old,lazy-refcounts=off",
    TOP + ",overlap-check=none", TOP + ",overlap-check=all", TOP + ",overlap-check=some",
    TOP + ",overlap-check=all,overlap-check.template=all", TOP + ",overlap-check=all,overlap-check.template=none",
    TOP + ",overlap-check.main-header=off,overlap-check.bitmap-directory=on", TOP + ",overlap-check.header=on",
    TOP + ",pass-discard-request=off,pass-discard-snapshot=on,pass-discard-other=on", TOP + ",pass-discard-request=x",
    TOP + ",cache-size=1M", TOP + ",l2-cache-size=1M,refcount-cache-size=256k", TOP + ",cache-size=1M,l2-cache-size=1M",
    TOP + ",cache-size=1M,l2-cache-size=512k,refcount-cache-size=512k", TOP + ",cache-size=1M,l2-cache-size=2M",
    TOP + ",cache-size=many", TOP + ",cache-size=-1", TOP + ",l2-cache-entry-size=4096",
    TOP + ",l2-cache-entry-size=1000", TOP + ",l2-cache-entry-size=256", TOP + ",cache-clean-interval=0",
    TOP + ",cache-clean-interval=600", TOP + ",cache-clean-interval=99999999999",
    TOP + ",discard=unmap", TOP + ",discard=on", TOP + ",discard=ignore", TOP + ",discard=off", TOP + ",discard=yes",
    TOP + ",detect-zeroes=on", TOP + ",detect-zeroes=off", TOP + ",detect-zeroes=maybe",
    TOP + ",discard=ignore,detect-zeroes=unmap", TOP + ",discard=unmap,detect-zeroes=unmap",
    TOP + ",cache.direct=off,cache.no-flush=on", TOP + ",cache.no-flush=2", TOP + ",cache.writeback=on",
    TOP + ",read-only=on", TOP + ",read-only=off", TOP + ",read-only=maybe", TOP + ",force-share=on",
    TOP + ",file.read-only=on", TOP + ",auto-read-only=on",
    # the file
    TOP + ",file.aio=threads", TOP + ",file.aio=native", TOP + ",file.aio=fast", TOP + ",file.locking=on",
    TOP + ",file.locking=auto", TOP + ",file.locking=perhaps", TOP + ",file.driver=host_device",
    TOP + ",file.x=1", TOP + ",x=1", TOP + ",file.driver.x=1", TOP + ",file.filename.x=1",
    # raw
    RAW + ",offset=512,size=1k", RAW + ",offset=64k", RAW + ",size=64k", RAW + ",offset=3M", RAW + ",size=3M",
    RAW + ",offset=1M,size=2M", RAW + ",offset=x", RAW + ",offset=-1",
    "driver=qcow2,file.driver=raw,file.file.filename=top", "driver=qcow2,file.driver=raw,file.offset=64k,"
    "file.file.filename=shifted", "driver=raw,file.driver=raw,file.file.filename=base",
    # others
    "driver=null-co", "driver=null-aio,size=1M,read-zeroes=on,latency-ns=1000", "driver=null-co,size=x",
    "driver=null-co,x=1", "driver=quorum", "driver=nosuch", "driver=qcow2", "driver=", "driver=raw,file.driver=null-co",
    "driver=qcow2,file=top", "top", "", ",", "=", "=x", "filename=top", "driver=file", "driver=file,filename=missing",
    "driver=nbd", "driver=nbd,server.type=unix,server.path=missing", "driver=nbd,path=missing",
    "driver=nbd,server.type=inet", "driver=nbd,server.type=udp,server.host=localhost",
    "driver=blkdebug,image.filename=base", "driver=blkdebug", TOP + ",file.driver=blkdebug",
    "driver=qcow2,file.driver=blkdebug,file.image.filename=top",
    "driver=qcow2,file.driver=blkdebug,file.config=missing,file.image.filename=top",
]

JSONS = [
    '{"driver":"qcow2","file":{"driver":"file","filename":"top"}}', '{"driver":"qcow2","file.filename":"top"}',
    "{'driver':'qcow2','file':{'driver':'file','filename':'top'}}", '{"file":{"filename":"top"}}',
    '{"driver":"raw","file":{"filename":"base"},"offset":512,"size":1024}',
    '{"driver":"raw","file":{"filename":"base"},"offset":"512"}',
    '{"driver":"qcow2","file":{"filename":"top"},"backing":null}',
    '{"driver":"qcow2","file":{"filename":"top"},"backing":{"driver":"raw","file":{"filename":"other"}}}',
    '{"driver":"qcow2","file":{"filename":"top"},"lazy-refcounts":true}',
    '{"driver":"qcow2","file":{"filename":"top"},"lazy-refcounts":"on"}',
    '{"driver":"qcow2","file":{"filename":"top"},"lazy-refcounts":1}',
    '{"driver":"qcow2","file":{"filename":"top"},"lazy-refcounts":[]}', "{}", "[]", "", "{", '"x"', "{}x", "null",
    '{"driver":"qcow2","driver":"qcow2","file":{"filename":"top"}}', '{"driver":null}', '{"driver":1}', '{"driver":{}}',
    '{"driver":"qcow2","file":{"filename":"top","filename":"top"}}', '{"driver":"qcow2","file":[]}',
    '{"driver":"qcow2","file":{"filename":"top"},"x":1}', "{'driver':'null-co','size':1048576,'read-zeroes':true}",
    '{"driver":"qcow2","file":{"driver":"nbd","server":{"type":"unix","path":"missing"}}}',
]

NAMES = ["file:top", "file:missing", "./top", "null-co://", "null-aio://", "null-co://x", "nbd:unix:missing",
         "nbd+unix:///x?socket=missing", "nbd:unix:", "nbd:top", "nbd://", "http://localhost/top", "ssh://h/top",
         "blkdebug::top", "blkdebug:top", "blkdebug:missing:top", "blkverify:base", "blkverify:missing:top"]

REFUSED_HERE = [TOP + ",data-file.filename=other", TOP + ",encrypt.format=luks", TOP + ",file.locking=off",
                "driver=copy-on-read,file.driver=qcow2,file.file.filename=top", "driver=nbd,path=s,reconnect-delay=5"]

# What `info` is told about other layers is not looked at, since it opens the named file alone: the reference refuses
# it. It also ends with an abort where a size is no size.
INFO_TELLS = (",backing.driver", ",backing.file", "filename=old,lazy-refcounts=on", '"backing":{')
ABORTS = "driver=null-co,size=x"


def make_images():
    run("qemu-img", "create", "-q", "-f", "raw", "base", "2M")
    run("qemu-io", "-f", "raw", "-c", "write -P 8 0 2M", "base")
    run("qemu-img", "create", "-q", "-f", "raw", "other", "2M")
    run("qemu-io", "-f", "raw", "-c", "write -P 9 0 2M", "other")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "top", "2M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 1 64k 64k", "-c", "write -z 192k 64k", "top")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "old", "1M")
    run("qemu-img", "create", "-q", "-f", "qcow2", "comma,name", "1M")
    with open("shifted", "wb") as shifted, open("top", "rb") as top:
        shifted.write(bytes(65536) + top.read())


def facts(result):
    """What `info` tells, as far as it is about the image."""
    if result.returncode != 0:
        return None
    told = json.loads(result.stdout)
    protocol = told["format"] in ("file", "null-co", "null-aio", "nbd", "blkdebug")
    size = (told["virtual-size"] + 511) // 512 * 512
    return ("raw" if protocol else told["format"], size, told.get("backing-filename"))


def requests(tool, words):
    """What requests find: exit code and standard output without times."""
    result = run(*tool, *words, "-c", "length", "-c", "read -v 0 16", "-c", "read -v 65536 16", "-c",
                 "read -v 196608 16")
    text = re.sub(r"ops; .*", "ops;", result.stdout.decode())
    # Where zeros are not promised, anything is read.
    null = any("null-" in word and "read-zeroes" not in word for word in words)
    return result.returncode, None if null else text


def compare(words):
    tells = any(part in words[-1] for part in INFO_TELLS) and not words[-1].startswith("driver=raw")
    told = [facts(run(*tool, "info", "--output=json", *words)) for tool in (["qemu-img"], [BYRE])]
    if told[0] != told[1] and not (tells and told[1]):
        fail(f"info {words}: {told[1]}, expected {told[0]}")
    formats = [] if "--image-opts" in words or words[-1].startswith("json:") else ["-f", "qcow2"]
    if told[0] and told[0][0] == "raw" and formats:
        formats = ["-f", "raw"]
    for mode in (["-r"], []):
        found = [requests(tool, [*mode, *formats, *words]) for tool in (["qemu-io"], [BYRE, "io"])]
        if found[0] != found[1] and not (words[-1] == ABORTS and found[1][0] == 1):
            fail(f"io {mode} {words}: {found[1]}, expected {found[0]}")


# Words before the image, and whether it is changed.
COMMANDS = [
    (["info"], []), (["info", "--backing-chain"], []), (["check"], []), (["check", "--backing-chain"], []),
    (["check", "-r", "all"], []), (["map", "--output=json"], []), (["measure", "-O", "qcow2"], []),
    (["snapshot"], []), (["snapshot", "-l"], []), (["snapshot", "-c", "s"], []), (["snapshot", "--diff", "first"], []),
    (["checksum"], []),
    (["amend", "-o", "lazy_refcounts=on"], []), (["resize"], ["3M"]), (["commit", "-q"], []), (["stream"], []),
    (["rebase", "-u", "-b", "other", "-F", "raw"], []), (["rebase", "-b", "other", "-F", "raw"], []), (["compact"], []),
    (["compare"], ["TOO"]), (["convert", "-O", "raw"], ["out"]), (["dd", "of=out", "bs=64k", "count=3"], []),
    (["io", "-c", "write -P 5 0 100k", "-c", "discard 64k 64k"], []), (["bench", "-c", "10", "-w"], []),
]


def run_command(before, image, behind, directory, options):
    """Runs it in a directory of its own. Returns exit code and output; the files stay there."""
    os.makedirs(directory)
    for name in ("base", "other", "snap"):
        shutil.copy(name, directory)
    shutil.copy("snap", os.path.join(directory, "image"))
    behind = [image if word == "TOO" else word for word in behind]
    word = f"if={image}" if before[0] == "dd" else image
    result = subprocess.run([BYRE, before[0], *options, *before[1:], word, *behind], cwd=directory, timeout=60,
                            capture_output=True, check=False, stdin=subprocess.DEVNULL)
    text = result.stdout.decode().replace(image, "image").replace(image.replace("'", r"\x27"), "image")
    times = r"ops; .*|[0-9.]+ seconds.*|[0-9.]+ s\b.*|[0-9,.]+ (MiB/s|requests).*|date.*"
    return result.returncode, re.sub(times, "", text)


def compare_command(before, behind):
    ways = {"named": ("image", []), "json": ("json:{'driver':'qcow2','file':{'filename':'image'}}", []),
            "listed": ("driver=qcow2,file.filename=image", ["--image-opts"])}
    outcomes = {way: run_command(before, image, behind, f"run-{way}", options)
                for way, (image, options) in ways.items()}
    for way in ("json", "listed"):
        same = outcomes[way] == outcomes["named"] or (before[0] == "bench" and outcomes[way][0] == 0)
        if not same or outcomes[way][0] != 0:
            fail(f"{before} {way}: {outcomes[way]}, expected {outcomes['named']}")
        # A snapshot has the time at which it was taken.
        names = [] if before[:2] == ["snapshot", "-c"] else os.listdir("run-named")
        _, different, missing = filecmp.cmpfiles("run-named", f"run-{way}", names, shallow=False)
        if different or missing:
            fail(f"{before} {way}: other files: {different} {missing}")
    for way in ways:
        shutil.rmtree(f"run-{way}")


def main():
    need("qemu-img", "qemu-io")
    make_images()
    for text in LISTS:
        compare(["--image-opts", text])
    for text in REFUSED_HERE:
        result = run(BYRE, "io", "--image-opts", text, "-c", "length")
        key = text.rsplit(",", 1)[1].split("=")[0] if "copy-on-read" not in text else "driver"
        if result.returncode != 1 or key.removesuffix(".filename").encode() not in result.stderr.split(b": ", 2)[2]:
            fail(f"{text}: {result}")
    for text in JSONS:
        compare(["json:" + text])
    for name in NAMES:
        compare([name])
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "snap", "2M")
    run("qemu-io", "-c", "write -P 1 64k 64k", "snap")
    run("qemu-img", "snapshot", "-c", "first", "snap")
    for before, behind in COMMANDS:
        compare_command(before, behind)
    print(f"{len(LISTS)} lists, {len(JSONS)} objects, {len(NAMES)} names, {len(COMMANDS)} commands")
    return 1 if failures else 0


sys.exit(main())
