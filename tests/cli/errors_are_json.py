#!/usr/bin/env python3
"""--errors json and BYRE_ERRORS: every diagnostic is one JSON object, with a code of docs/errors.md, which lists those
of include/byre/base/error.h and no others. Exit codes and standard output stay as they are."""

import json
import os
import re
import resource
import signal
import struct
import subprocess
import time

BYRE = os.environ["BYRE"]
ROOT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..")


def expect(truth, what):
    if not truth:
        raise SystemExit(what)


def run(*arguments, text_environment=None, **others):
    environment = dict(os.environ)
    environment.pop("BYRE_ERRORS", None)
    if text_environment is not None:
        environment["BYRE_ERRORS"] = text_environment
    others.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([BYRE, *arguments], capture_output=True, timeout=60, check=False, env=environment, **others)


def objects(error_output):
    lines = error_output.decode().splitlines()
    parsed = [json.loads(line) for line in lines]
    for one in parsed:
        expect(one["level"] in ("error", "warning", "note"), f"level of {one}")
        expect(("code" in one) == (one["level"] == "error"), f"errors, and only errors, have a code: {one}")
        expect(set(one) <= {"level", "code", "message", "file", "errno"} and one["message"], f"keys of {one}")
    return parsed


def first_error(*arguments, **others):
    """What the same run says with and without --errors json must be the same thing."""
    plain = run(*arguments, **others)
    as_json = run(*arguments, "--errors", "json", **others)
    expect(plain.returncode == as_json.returncode != 0, f"{arguments}: exit {plain.returncode}, {as_json.returncode}")
    expect(plain.stdout == as_json.stdout, f"{arguments}: standard output differs")
    found = [one for one in objects(as_json.stderr) if one["level"] == "error"]
    expect(found, f"{arguments}: no error: {as_json.stderr}")
    text = "byre: " + found[0]["message"]
    expect(text in plain.stderr.decode(errors="replace"), f"{arguments}: '{text}' is not in {plain.stderr}")
    return found[0]


def make(name, size="1M", *options):
    expect(run("create", "-q", "-f", "qcow2", *options, name, size).returncode == 0, f"create {name}")


def patch(name, offset, data):
    with open(name, "r+b") as file:
        file.seek(offset)
        file.write(data)


def small_files():
    """Room for the image, but not for what is to go into it."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (400 << 10, resource.RLIM_INFINITY))


def cancelled():
    """Compression of zeros that count as data: long, and quick to make."""
    with open("long.raw", "wb") as file:
        file.truncate(64 << 30)
    process = subprocess.Popen([BYRE, "convert", "--errors", "json", "-c", "-S", "0", "-f", "raw", "-O", "qcow2",
                                "long.raw", "long.qcow2"], stderr=subprocess.PIPE)
    made = "long.qcow2.partial"
    while not os.path.exists(made) or os.path.getsize(made) < 300_000:
        expect(process.poll() is None, "the conversion has ended")
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    error = objects(process.communicate(timeout=60)[1])[0]
    os.unlink("long.raw")
    expect(process.returncode == 1, f"cancelled: exit {process.returncode}")
    return error


def locked():
    with subprocess.Popen([BYRE, "io", "image"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdin.write(b"length\n")
        holder.stdin.flush()
        holder.stdout.readline()  # it is open
        error = first_error("io", "-c", "length", "image")
        holder.stdin.close()
    return error


def io_failure():
    with open("unreadable", "wb") as write_only:
        return first_error("dd", "if=-", "of=copied", stdin=write_only)


def every_code():
    """Each code, by what brings it about, and the file and errno with it."""
    make("image")
    make("broken")
    patch("broken", 40, struct.pack(">Q", 513))  # the L1 table's offset
    make("lost_base", "1M")
    make("overlay", "1M", "-b", "lost_base", "-F", "qcow2")
    os.unlink("lost_base")
    with open("source.raw", "wb") as file:
        file.write(os.urandom(1 << 20))
    seen = {
        "invalid-argument": (first_error("convert", "-m", "99", "image", "copy"), None, None),
        "not-found": (first_error("compare", "overlay", "image"), "lost_base", 2),
        "refused": (first_error("resize", "image", "512k"), "image", None),
        "unsupported": (first_error("snapshot", "-c", "s", "source.raw", "-f", "raw"), "source.raw", None),
        "corrupt": (first_error("map", "broken"), "broken", None),
        "locked": (locked(), "image", None),
        "no-space": (first_error("convert", "-f", "raw", "-O", "qcow2", "source.raw", "new", preexec_fn=small_files),
                     "new.partial", 27),
        "io": (io_failure(), None, 9),
        "cancelled": (cancelled(), None, None),
    }
    for code, (error, file, number) in seen.items():
        expect(error["code"] == code, f"{code}: {error}")
        expect(error.get("file") == file, f"{code}: the file of {error}")
        expect(error.get("errno") == number, f"{code}: the errno of {error}")
    return set(seen)


def documented_codes():
    with open(os.path.join(ROOT, "docs", "errors.md"), encoding="utf-8") as file:
        section = file.read().split("### Codes")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def declared_codes():
    with open(os.path.join(ROOT, "include", "byre", "base", "error.h"), encoding="utf-8") as file:
        body = file.read().split("enum class ErrorCode {")[1].split("}")[0]
    return [name.replace("_", "-") for name in re.findall(r"^\s*(\w+),", body, re.MULTILINE)]


def codes_are_those_of_the_documentation():
    documented, declared = documented_codes(), declared_codes()
    expect(len(set(documented)) == len(documented), f"documented twice: {documented}")
    expect(len(declared) >= 9 and sorted(documented) == sorted(declared), f"documented {documented}, not {declared}")
    seen = every_code()
    expect(seen == set(declared), f"not seen: {set(declared) - seen}")


def is_read_wherever_it_stands():
    for arguments in (["--errors", "json", "info", "nothing"], ["info", "--errors=json", "nothing"],
                      ["info", "nothing", "--errors", "json"],
                      ["--errors", "text", "info", "nothing", "--errors=json"]):
        found = objects(run(*arguments).stderr)
        expect([one["code"] for one in found] == ["not-found"], f"{arguments}: {found}")
    expect(objects(run("info", "nothing", text_environment="json").stderr), "BYRE_ERRORS=json")
    for environment in ("", "text", None):
        expect(run("info", "nothing", text_environment=environment).stderr.startswith(b"byre: nothing: "),
               f"BYRE_ERRORS={environment}")
    overruled = run("info", "--errors", "text", "nothing", text_environment="json").stderr
    expect(overruled.startswith(b"byre: nothing: "), f"the option counts more: {overruled}")
    operand = run("info", "--", "--errors=json").stderr
    expect(operand.startswith(b"byre: --errors=json: No such file"), f"behind --: {operand}")
    for command, code in (("info", 1), ("compare", 2)):
        for arguments, environment in ((["--errors", "xml"], None), ([], "xml"), (["--errors"], None)):
            refused = run(command, "image", "image", *arguments, text_environment=environment)
            expect(refused.returncode == code and b"must be text or json" in refused.stderr,
                   f"{command} {arguments}: {refused}")


def usage_errors_are_objects():
    for arguments, code in ((["info", "--zork", "image"], 1), (["zork"], 1), ([], 1), (["info"], 1), (["-f"], 1),
                            (["help", "zork"], 1), (["compare", "a"], 2), (["convert", "-O", "vmdk", "a", "b"], 1),
                            (["create", "-f", "vmdk"], 1), (["measure"], 1), (["amend", "image"], 1),
                            (["dd", "zork"], 1)):
        done = run(*arguments, text_environment="json")
        found = objects(done.stderr)
        expect(done.returncode == code and not done.stdout, f"{arguments}: exit {done.returncode}")
        expect(found[0]["code"] == "invalid-argument" and "file" not in found[0], f"{arguments}: {found}")
        expect(all(one["level"] == "note" for one in found[1:]), f"{arguments}: {found}")
    hinted = objects(run("info", "--zork", "image", text_environment="json").stderr)
    expect(hinted[1] == {"level": "note", "message": "Try 'byre info --help' for more information."}, f"{hinted}")


def requests_of_io_have_objects():
    for command in ("zork", "read 0", "read -Z 0 1", "write -s nothing 0 512", "open image"):
        plain = run("io", "-c", command, "image")
        as_json = run("io", "-c", command, "image", "--errors", "json")
        expect(plain.stdout == as_json.stdout and plain.returncode == as_json.returncode == 1, f"io {command}")
        expect(len(objects(as_json.stderr)) == len(plain.stderr.splitlines()) == 1, f"io {command}: {as_json.stderr}")
    read_only = objects(run("io", "-r", "-c", "write 0 512", "image", "--errors", "json").stderr)
    expect(read_only[0]["code"] == "refused", f"{read_only}")


def names_may_be_anything():
    make(b"\xff\x1b[31m")
    patch(b"\xff\x1b[31m", 40, struct.pack(">Q", 513))
    error = objects(run("map", b"\xff\x1b[31m", "--errors", "json").stderr)[0]
    expect(error["file"] == "\ufffd\x1b[31m" and error["message"].startswith("\\xff\\x1b[31m: "), f"{error}")


def findings_are_objects():
    make("damaged")
    run("io", "-c", "write 0 64k", "-c", "write 128k 64k", "damaged")
    patch("damaged", 0x20000 + 5 * 2, struct.pack(">H", 0))
    patch("damaged", 0x20000 + 1000 * 2, struct.pack(">H", 1))
    plain, as_json = run("check", "damaged"), run("check", "damaged", "--errors", "json")
    expect(plain.returncode == as_json.returncode == 2 and plain.stdout == as_json.stdout, f"check: {as_json}")
    found = objects(as_json.stderr)
    kinds = {(one["level"], one.get("code"), one["file"]) for one in found}
    expect(kinds == {("error", "corrupt", "damaged"), ("warning", None, "damaged")}, f"findings: {found}")
    for one in found:
        expect(one["message"].split(";")[0] in plain.stderr.decode(), f"{one} is not in {plain.stderr}")
    quiet = run("check", "-q", "damaged", "--errors", "json")
    expect(quiet.returncode == 2 and not quiet.stderr, f"check -q: {quiet}")


def remarks_are_objects():
    make("dirty", "1M", "-o", "lazy_refcounts=on")
    patch("dirty", 72, struct.pack(">Q", 1))
    repaired = run("io", "-c", "length", "dirty", "--errors", "json")
    found = objects(repaired.stderr)
    expect(repaired.returncode == 0 and found and found[0]["level"] in ("note", "warning"), f"{repaired}")
    skipped = run("dd", "if=image", "of=skipped", "skip=1G", "bs=1M", "--errors", "json")
    found = objects(skipped.stderr)
    expect(skipped.returncode == 0 and [one["level"] for one in found] == ["warning"], f"{skipped}")


def standard_output_that_fails_is_an_object():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BYRE, "--errors", "json", "info", "image"], stdout=full, stderr=subprocess.PIPE,
                              timeout=60, check=False)
    found = objects(done.stderr)
    expect(done.returncode == 1 and found[0]["code"] == "no-space" and found[0]["errno"] == 28, f"{found}")


codes_are_those_of_the_documentation()
is_read_wherever_it_stands()
usage_errors_are_objects()
requests_of_io_have_objects()
names_may_be_anything()
findings_are_objects()
remarks_are_objects()
standard_output_that_fails_is_an_object()
