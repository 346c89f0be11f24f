"""One command line through both tools, each in a directory of its own with fresh images, and what differs then."""

import dataclasses
import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess

import drop_in_images

PROGRESS = re.compile(r"(    \(\d+\.\d\d/100%\)\r)+")
SECONDS = re.compile(r"\d+\.\d{3} seconds")
UNSTABLE = {"actual-size", "date-sec", "date-nsec"}  # what the host or the clock says


@dataclasses.dataclass
class Outcome:
    exit_code: int
    stdout: object
    stderr: str
    files: dict


def run(*words, cwd):
    """Exit code, standard output, standard error; what does not end counts as an exit code of its own."""
    try:
        done = subprocess.run(words, cwd=cwd, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return "does not end", b"", b""
    return done.returncode, done.stdout, done.stderr


def stable(value):
    if isinstance(value, dict):
        return {key: stable(member) for key, member in value.items() if key not in UNSTABLE}
    return [stable(member) for member in value] if isinstance(value, list) else value


def readable(output):
    """JSON as data; else lines, without what depends on the time."""
    text = output.decode(errors="replace")
    try:
        return stable(json.loads(text))
    except ValueError:
        pass
    text = PROGRESS.sub("(progress)", text)
    if re.match(r"(Supported|Amend) .*options", text):
        # Which there are and of what type; not what is said of them.
        text = "\n".join(re.findall(r"^(?:\w.*options.*:|  \S+=<[^>]*>)", text, re.M))
    text = re.sub(r"^disk size: .*$", "disk size: N", SECONDS.sub("N seconds", text), flags=re.M)
    return text.splitlines()


def changes(reference, ours):
    """The lines that differ, of at most ten."""
    sides = [side if isinstance(side, list) and all(isinstance(line, str) for line in side)
             else json.dumps(side, indent=1, sort_keys=True).splitlines() for side in (reference, ours)]
    lines = [line for line in difflib.ndiff(*sides) if line[0] in "+-"]
    return "\n      ".join(line[:200] for line in lines[:10])


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def facts(directory, name):
    """What the reference says of a file that was made or changed."""
    form = ["-f", "raw"] if name.endswith(".raw") else []
    info = run("qemu-img", "info", *form, "--output=json", name, cwd=directory)
    if info[0] != 0:
        return {"info": info[0]}
    info = readable(info[1])
    if info["format"] == "raw":
        return {"raw": info["virtual-size"]}
    check = run("qemu-img", "check", "--output=json", name, cwd=directory)
    found = json.loads(check[1]) if check[1] else {}
    mapped = run("qemu-img", "map", "--output=json", name, cwd=directory)
    pieces = json.loads(mapped[1]) if mapped[1] else []
    keys = ("start", "length", "depth", "zero", "data")
    return {"info": info, "check": (check[0], found.get("corruptions", 0), found.get("leaks", 0)),
            "map": merged([{key: piece[key] for key in keys} for piece in pieces])}


def merged(pieces):
    result = []
    for piece in pieces:
        last = result[-1] if result else None
        if last and all(last[key] == piece[key] for key in ("depth", "zero", "data")):
            last["length"] += piece["length"]
        else:
            result.append(piece)
    return result


def same_content(places, name, is_raw):
    form = ["-f", "raw", "-F", "raw"] if is_raw else []
    return run("qemu-img", "compare", *form, *(os.path.join(place, name) for place in places), cwd=places[0])[0] == 0


class Comparison:
    """`images` is the directory of the images, `tools` the two programs, the reference first."""

    def __init__(self, images, tools, work):
        self.images = images
        self.tools = tools
        self.work = work

    def differences(self, number, words):
        """{aspect: text} of what is not the same."""
        places = [os.path.join(self.work, f"{number}.{side}") for side in ("reference", "ours")]
        outcomes = []
        for tool, place in zip(self.tools, places):
            drop_in_images.copy(self.images, words, place)
            before = {name: digest(os.path.join(place, name)) for name in os.listdir(place)}
            code, stdout, stderr = run(tool, *words, cwd=place)
            files = {}
            for name in sorted(os.listdir(place)):
                content = digest(os.path.join(place, name))
                if before.get(name) != content:
                    files[name] = content
            outcomes.append(Outcome(code, readable(stdout), stderr.decode(errors="replace"), files))
        found = dict(self.compare_outcomes(*outcomes))
        found.update(self.compare_files(places, outcomes))
        for place in places:
            shutil.rmtree(place)
        return found

    @staticmethod
    def compare_outcomes(reference, ours):
        if reference.exit_code != ours.exit_code:
            yield "exit", f"{reference.exit_code} is {ours.exit_code}: {ours.stderr.strip()[:300]}"
        if reference.stdout != ours.stdout:
            yield "stdout", changes(reference.stdout, ours.stdout)
        if bool(reference.stderr) != bool(ours.stderr):
            yield "stderr", f"{reference.stderr.strip()[:300]!r} is {ours.stderr.strip()[:300]!r}"
        elif ours.stderr and reference.stderr.startswith("qemu-img: ") and not ours.stderr.startswith("qemu-img: "):
            yield "stderr", f"another prefix: {ours.stderr[:100]!r}"

    @staticmethod
    def compare_files(places, outcomes):
        """"layout" is where bytes are stored, "result" everything else."""
        reference, ours = (outcome.files for outcome in outcomes)
        if outcomes[0].exit_code != 0 and not ours:
            return {}  # a command that failed may leave something behind; to leave nothing is as good
        found = {}
        for name in sorted(set(reference) | set(ours)):
            if reference.get(name) == ours.get(name):
                continue
            if not all(os.path.exists(os.path.join(place, name)) for place in places):
                return {"result": f"changed files: {sorted(reference)} is {sorted(ours)}"}
            both = [facts(place, name) for place in places]
            layouts = [each.pop("map", None) for each in both]
            if both[0] != both[1]:
                found["result"] = f"{name}: " + changes(*both)
            elif not same_content(places, name, "raw" in both[0]):
                found["result"] = f"{name}: the contents differ"
            elif layouts[0] != layouts[1]:
                found["layout"] = f"{name}: " + changes(*layouts)
        return found
