"""docs/drop-in.md, from the table of options and the declared differences."""

import getopt
import re

import drop_in_cases
import drop_in_differences
from drop_in_differences import NOT_YET, OURS

INTRODUCTION = """# Byre in the place of qemu-img

Started through a link called `qemu-img`, `byre` takes that tool's command line (version 7.2), prints what it prints,
and ends with its exit codes. Messages begin with `qemu-img: `; their words are ours. `cmake -DBYRE_QEMU_NAMES=ON`
makes `cmake --install` create the links `qemu-img`, `qemu-io` and `qemu-nbd` beside `byre`.

Through `qemu-io` it takes that tool's options and commands; `--object` is not there yet, and `-i native` needs no `-n`
(tests/cli/qemu_io_takes_its_options.sh compares both tools). Through
`qemu-nbd` it takes that tool's options; `-c`, `-d`, `-B`, `--tls-authz` and `--selinux-label` are refused by name,
qemu:allocation-depth is offered without `-A` too, `-k` may be a relative path, and a port above 65535 is an error
(tests/cli/qemu_nbd_takes_its_options.sh). Long options of these two are not shortened.

`tests/cli/drop_in.py` runs both tools on {count} command lines, wrong ones included, and compares exit code, standard
output (JSON as data), whether something is on standard error, and the files afterwards. This page is derived from it
(`tests/cli/drop_in.py --write-docs`):

* **same**: no difference in any of these command lines;
* **ours**: it works, with the difference that is told;
* **not yet**: it is refused by name, with exit code 1, before anything is touched.

Every command has `-h` and `--help`, which print the same as without a command.
"""


def long_names(names):
    return [f"--{name.rstrip('=')}" for name in names.split()]


def options_by_command():
    """{command: ["-f", "--format", ...]}"""
    return {command: [f"-{letter}" for letter in dict.fromkeys(letters.replace(":", ""))] + long_names(names)
            for command, (letters, names) in drop_in_cases.OPTIONS.items()}


def options_of(words):
    """The command of a line and its options, with their whole names. Nothing of a line that getopt refuses."""
    if not words or words[0] not in drop_in_cases.OPTIONS or words[0] == "":
        command, rest, parse = "", words, getopt.getopt
    else:
        command, rest, parse = words[0], words[1:], getopt.gnu_getopt
    letters, names = drop_in_cases.OPTIONS[command]
    try:
        return command, {name for name, _ in parse(rest, letters, names.split())[0]}
    except getopt.GetoptError:
        return command, set()


def options_used(lines):
    used = {}
    for words in lines:
        command, names = options_of(words)
        used.setdefault(command, set()).update(names)
    return used


def options_in_help(text):
    """What the reference's help has behind each command."""
    found = {}
    for line in text.split("Command syntax:")[1].split("Command parameters:")[0].splitlines():
        words = line.split()
        if words:
            found[words[0]] = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", line))
    return found


def gaps_in_help(text):
    """{command: options} of the lines like "    info: --object --image-opts"."""
    return {command: set(names.split()) if names != "the command" else {"the command"}
            for command, names in re.findall(r"^    (\w+): (.*)$", text, re.M)}


def gaps_declared():
    gaps = {}
    for each in drop_in_differences.DIFFERENCES:
        if each.state == NOT_YET and each.option:
            gaps.setdefault(each.command, set()).add(each.option)
    return gaps


def row(command, name):
    about = [each for each in drop_in_differences.DIFFERENCES if each.command == command and each.option == name]
    state = NOT_YET if any(each.state == NOT_YET for each in about) else OURS if about else "same"
    return f"| `{name}` | {state} | {'; '.join(dict.fromkeys(each.reason for each in about))} |\n"


def section(command):
    title = f"qemu-img {command}" if command else "qemu-img itself"
    about = [each for each in drop_in_differences.DIFFERENCES if each.command == command and not each.option]
    text = f"\n## {title}\n\n"
    whole = [each for each in drop_in_differences.DIFFERENCES
             if each.command == command and each.option == "the command"]
    if whole:
        return text + f"The command is **not yet** there: {whole[0].reason}.\n"
    text += "".join(f"* {each.state}: {each.reason}\n" for each in about)
    text += ("\n" if about else "") + "| option | | |\n|---|---|---|\n"
    names = [name for name in options_by_command()[command] if not command or name not in ("-h", "--help")]
    return text + "".join(row(command, name) for name in names)


def text(count):
    return INTRODUCTION.format(count=count) + "".join(section(command) for command in drop_in_cases.OPTIONS)
