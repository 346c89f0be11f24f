"""The differences between the two tools that are known and meant. One that does not show any more is an error, too."""

import dataclasses
import re
import shlex

import drop_in_cases


@dataclasses.dataclass
class Difference:
    """`lines` matches the command lines that show it, as shlex.join() writes them. `option` is the one of `command`
    that it is about, or "" for none; `aspects` are what differs: exit, stdout, stderr, result, layout."""

    command: str
    option: str
    lines: str
    aspects: str
    state: str  # "ours" or "not yet"
    reason: str

    def covers(self, words):
        text = shlex.join(words)
        return (not self.command or words[:1] == [self.command]) and re.search(self.lines, text) is not None


NOT_YET = "not yet"
OURS = "ours"

KEYS = "extended_l2, data_file, data_file_raw, encryption and encrypt.* are not there yet"
BITMAPS = "persistent bitmaps are later work"
BITMAPS_LOST = "an image that is written loses its persistent bitmaps"

DIFFERENCES = [
    # The frame.
    Difference("", "-h", r"(^| )(-h|--help|--hel|-hV)( plain.qcow2 1M)?$", "stdout", OURS,
               "the help is ours; it lists what is there, one line a command, and \"Supported formats:\""),
    Difference("", "--help", r"(^| )(--help|--hel)( plain.qcow2 1M)?$", "stdout", OURS, "as -h"),
    Difference("", "-V", r"^(-V|--version|-Vh)$", "stdout", OURS, "\"qemu-img version 7.2.22 (Byre ...)\""),
    Difference("", "--version", r"^--version$", "stdout", OURS, "as -V"),
    Difference("", "-T", r"^-T help$", "stdout", OURS, "there are no trace events: patterns are warned of"),
    Difference("", "--trace", r"^-T help$", "stdout", OURS, "as -T"),
    Difference("measure", "", r"^measure (--zork|-Z|-f)$", "exit stdout", OURS, "unknown options are errors, as in the "
               "other commands; qemu-img prints its help and exits 0"),

    # check
    Difference("check", "-r", r"-r (all|leaks).* (broken|dirty)\.qcow2$", "stdout result layout", OURS,
               "repairs other things in another order, so that counts of what was repaired differ; what cannot be "
               "repaired is told with the findings that are left"),
    Difference("check", "", r"^check lost\.qcow2$", "exit stdout stderr", OURS,
               "opens no backing file, so that it works where one is missing"),
    Difference("check", "", r"^check beyond\.qcow2$", "exit stdout stderr", OURS,
               "counts of clusters behind the end of the file are leaks; qemu-img does not look at them"),

    # create, convert, amend: options of later work
    Difference("create", "-o", r"extended_l2=on|data_file=d", "exit stdout stderr result", OURS, KEYS),
    Difference("create", "-o", r"encrypt|-f qcow2 -o ('\?'|help)", "stdout", OURS, KEYS),
    Difference("convert", "-o", r"-o help", "stdout", OURS, KEYS),
    Difference("amend", "-o", r"(\.qcow2|-f qcow2) -o help|-o help \S+\.qcow2", "stdout", OURS, KEYS),
    Difference("create", "-o", r"-o (compat=(1\.1|v2|2)|cluster_size=500|refcount_bits=3|compression_type=x|"
               r"preallocation=x|preallocation=metadata|compat=0\.10,lazy_refcounts=on) new", "stdout", OURS,
               "\"Formatting\" comes when the options are known to be good, and shows compat only where it is 0.10"),
    Difference("amend", "-o", r"^amend -o help$", "exit stdout stderr", OURS, "help needs no image"),
    Difference("amend", "-o", r"compat=0\.10 zstd", "exit stderr result", OURS,
               "compat=0.10 is refused where the image uses zstd, which version 2 cannot say"),
    Difference("measure", "-o", r"-o help", "exit stdout stderr", OURS, "-o help lists the options"),
    Difference("convert", "-o", r"-o backing_file=", "layout", OURS,
               "with backing_file, zeros that the backing file has too are not stored"),
    Difference("convert", "-l", r"snapshot\.id=1,snapshot", "exit stderr result", OURS,
               "an id and a name together are refused"),

    # Where bytes are stored.
    Difference("dd", "-O", r"-O qcow2", "layout", OURS, "zeros are not stored"),
    Difference("rebase", "-b", r"-b disk\.raw -F raw top", "layout", OURS, "zeros become zero clusters"),
    Difference("bench", "-w", r" -w( |$)", "layout", OURS,
               "the rest of a new cluster is left as a hole of the file"),

    # snapshot, bench
    Difference("snapshot", "", r"^snapshot disk\.raw$", "stderr", OURS,
               "without -l, -a, -c or -d no warning of raw images"),
    Difference("bench", "-n", r"-c 20 -n plain", "exit stdout stderr", OURS, "needs no -t none"),
    Difference("bench", "-i", r"-i native plain", "exit stdout stderr", OURS, "native needs no -t none"),
    Difference("bench", "-o", r"-o 2M", "stdout", OURS, "what does not fit is told before \"Sending\""),
    Difference("bench", "-s", r"-s 2M", "stdout", OURS, "what does not fit is told before \"Sending\""),
    Difference("bench", "-c", r"-c 1k", "exit stdout stderr", OURS, "takes suffixes"),
    Difference("bench", "", r"none\.qcow2$", "exit stderr", OURS, "an empty disk is an error; qemu-img crashes"),

    # Persistent bitmaps.
    Difference("bitmap", "the command", r"", "exit stderr result", NOT_YET, BITMAPS),
    Difference("convert", "--bitmaps", r"--bitmaps", "exit stderr result", NOT_YET, BITMAPS),
    Difference("convert", "--skip-broken-bitmaps", r"--skip-broken-bitmaps", "exit stderr result", NOT_YET,
               BITMAPS),
    Difference("snapshot", "", r"-c a marks\.qcow2", "result", NOT_YET, BITMAPS_LOST),
    Difference("resize", "", r"marks\.qcow2", "result", NOT_YET, BITMAPS_LOST),
    Difference("convert", "--salvage", r"--salvage", "exit stderr result", NOT_YET, "a read that fails is an error"),
]

for _command, (_letters, _names) in drop_in_cases.OPTIONS.items():
    ASPECTS = "exit stdout stderr result layout"
    if _command == "bitmap":
        continue  # nothing of it is there
    if "object=" in _names.split():
        DIFFERENCES.append(Difference(_command, "--object", r"--object ", ASPECTS, NOT_YET,
                                      "secrets come with encryption"))


def declared(words):
    """The aspects that may differ."""
    return {aspect for each in DIFFERENCES if each.covers(words) for aspect in each.aspects.split()}


def unseen(lines, results):
    """Those that no line shows."""
    return [each for each in DIFFERENCES if not any(
        each.covers(words) and set(each.aspects.split()) & set(found) for words, found in zip(lines, results))]
