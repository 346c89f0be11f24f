"""The differences between the two tools that are known and meant. One that does not show any more is an error, too."""

import dataclasses
import re
import shlex


@dataclasses.dataclass
class Difference:
    """`lines` matches the command lines that show it, as shlex.join() writes them. `option` is the one of `command` that
    it is about, or "" if it is about none; `aspects` are what differs: exit, stdout, stderr, result."""

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

DIFFERENCES = [
]


def declared(words):
    """The aspects that are to differ."""
    return {aspect for each in DIFFERENCES if each.covers(words) for aspect in each.aspects.split()}
