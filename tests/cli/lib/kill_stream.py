"""A stream of commands for `byre io`, and what its disk may hold when the process is killed in the middle.

The disk is seen in sectors of 512 bytes. Each has a list of values that it may hold, the last one being what it holds
if everything sent has been done. A flush that was answered leaves of each sector only the last value, but for sectors
to which a request was still in flight when it began. Requests in flight at once never touch the same sector.
"""

import random
import re

SECTOR = 512
NOISES = 6
ANSWER = re.compile(r"[\d.]+ (bytes|KiB|MiB|GiB)")
REFUSED = "only unallocated clusters can be written compressed"
IN_FLIGHT = 5  # so many requests wait for one another at most


def noise(number):
    return random.Random(f"noise {number}").randbytes(SECTOR)


def sector_of(value):
    """A value is a byte, or the number of a noise above 255."""
    return bytes([value]) * SECTOR if value < 256 else noise(value - 256)


VALUES = {sector_of(value): value for value in range(256 + NOISES)}


class Command:
    """`answers`: how many lines it prints when it succeeds. A change is of whole sectors."""

    def __init__(self, text, first=0, end=0, value=None, answers=0, waits=False):
        self.text, self.first, self.end, self.value, self.answers, self.waits = text, first, end, value, answers, waits

    @property
    def is_marker(self):
        return self.text == "length"


class Stream:
    """Draws commands. Each flush is followed by one that prints something: the answer that it is over."""

    def __init__(self, draw, disk):
        self.draw, self.disk = draw, disk
        self.in_flight = []
        self.commands = []
        kinds = ["write", "write", "aio", "aio", "aio", "zero", "unmap", "discard", "compressed", "flush"]
        self.weights = {kind: draw.choice([0, 1, 3]) for kind in kinds}  # each run has its own mix
        self.weights["write"] += 1
        self.weights["flush"] += 1
        self.hot = draw.randrange(disk.sectors)

    def make(self, count):
        while len(self.commands) < count:
            kind = self.draw.choices(list(self.weights), list(self.weights.values()))[0]
            getattr(self, "_" + kind)()
        self._flush()
        return self.commands

    def _range(self, whole_clusters=False):
        sectors, per_cluster = self.disk.sectors, self.disk.cluster // SECTOR
        near = self.draw.random() < 0.5
        first = (self.hot + self.draw.randrange(4 * per_cluster)) % sectors if near else self.draw.randrange(sectors)
        count = self.draw.choice([1, self.draw.randint(1, per_cluster), self.draw.randint(1, 3 * per_cluster)])
        if whole_clusters or self.draw.random() < 0.3:
            first = first // per_cluster * per_cluster
            count = -(-count // per_cluster) * per_cluster
        return first, min(sectors, first + min(count, max(per_cluster, 256)))

    def _say(self, *arguments, **more):
        self.commands.append(Command(*arguments, **more))

    def _wait(self):
        if self.in_flight:
            self._say("aio_flush", waits=True)
        self.in_flight = []

    def _settle(self, first, end, whole_clusters=False):
        grain = self.disk.cluster // SECTOR if whole_clusters else 1
        low, high = first // grain * grain, -(-end // grain) * grain
        if len(self.in_flight) >= IN_FLIGHT or any(low < stop and begin < high for begin, stop in self.in_flight):
            self._wait()

    def _change(self, text, first, end, value, answers=0):
        self._say(f"{text} {first * SECTOR} {(end - first) * SECTOR}", first, end, value, answers)

    def _write(self):
        first, end = self._range()
        self._settle(first, end)
        value = self.draw.randint(1, 255 + NOISES)
        how = f"-P {value}" if value < 256 else f"-s noise{value - 256}"
        self._change(f"write -q {how}", first, end, value)

    def _aio(self):
        first, end = self._range()
        self._settle(first, end)
        value = self.draw.randint(1, 255)
        self._change(f"aio_write -q -P {value}", first, end, value)
        self.in_flight.append((first, end))

    def _zero(self):
        first, end = self._range()
        self._settle(first, end)
        self._change("write -q -z", first, end, 0)

    def _unmap(self):
        first, end = self._range()
        self._settle(first, end)
        self._change("write -q -z -u", first, end, 0)

    def _discard(self):
        first, end = self._range(whole_clusters=True)
        self._settle(first, end, whole_clusters=True)
        # Version 2 cannot say "zero" where there is a backing file, and then leaves things as they are.
        value = 0 if self.disk.can_clear else None
        self._change("discard -q", first, end, value)

    def _compressed(self):
        first, _ = self._range(whole_clusters=True)
        end = min(self.disk.sectors, first + self.disk.cluster // SECTOR)
        self._settle(first, end, whole_clusters=True)
        value = self.draw.choice([self.draw.randint(1, 255), self.draw.randint(256, 255 + NOISES)])
        how = f"-P {value}" if value < 256 else f"-s noise{value - 256}"
        self._change(f"write -c {how}", first, end, value, answers=2)

    def _flush(self):
        if self.draw.random() < 0.5:
            self._wait()
        self._say("flush")
        self._say("length", answers=1)


class Disk:
    """What each sector may hold."""

    def __init__(self, cluster, sectors, can_clear, values):
        self.cluster, self.sectors, self.can_clear = cluster, sectors, can_clear
        self.possible = [[value] for value in values]

    def apply(self, commands, lines):
        """Follows a run whose process printed `lines` and was then gone. Returns how many flushes were answered."""
        lines = list(lines)
        in_flight, flushed, answered = [], 0, True
        unsettled = []
        for command in commands:
            succeeded = True
            if command.answers:
                answered = answered and bool(lines)
                if answered:
                    line = lines.pop(0)
                    succeeded = self._is_success(command, line)
                    if succeeded and command.answers == 2 and lines:
                        lines.pop(0)  # the rate of the write
            if command.text == "flush":
                unsettled = list(in_flight)
            if command.waits:
                in_flight = []
            if command.is_marker and answered:
                flushed += 1
                self._settle(unsettled)
            if command.value is not None and succeeded:
                for sector in range(command.first, command.end):
                    self.possible[sector].append(command.value)
                if command.text.startswith("aio_"):
                    in_flight.append((command.first, command.end))
        if lines:
            raise AssertionError(f"more was printed than was asked for: {lines[:3]}")
        return flushed

    def _is_success(self, command, line):
        if command.answers == 1 and ANSWER.fullmatch(line):
            return True
        if command.answers == 2 and line.startswith("wrote "):
            return True
        if command.answers == 2 and line == "write failed: Input/output error":
            return False
        raise AssertionError(f"'{command.text}' printed '{line}'")

    def _settle(self, unsettled):
        kept = {sector for first, end in unsettled for sector in range(first, end)}
        for sector, values in enumerate(self.possible):
            if len(values) > 1 and sector not in kept:
                self.possible[sector] = values[-1:]

    def compare(self, path):
        """Holds a raw image against what is possible, and takes what is there for certain from then on. Returns how
        many sectors had to hold one certain value."""
        certain = 0
        with open(path, "rb") as file:
            data = file.read()
        if len(data) != self.sectors * SECTOR:
            raise AssertionError(f"{len(data)} bytes long, not {self.sectors * SECTOR}")
        for sector, values in enumerate(self.possible):
            found = VALUES.get(data[sector * SECTOR : (sector + 1) * SECTOR])
            if found not in values:
                raise AssertionError(f"sector {sector} (offset {sector * SECTOR:#x}) holds {found}, which is none of "
                                     f"{values[-8:]}")
            certain += len(set(values)) == 1
            self.possible[sector] = [found]
        return certain
