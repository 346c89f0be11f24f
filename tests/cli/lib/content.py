"""What a disk should hold: a list of runs, each of one byte value or of a repeated sequence of bytes.

A value is an int (0 to 255), or a tuple (sequence, origin): the byte at disk offset x is
sequence[(x - origin) % len(sequence)]. Copies are cheap, so snapshots are copies.
"""

import bisect
import hashlib
import os

CHUNK = 1 << 20
BLOCK = 64 << 10
ZEROS = bytes(BLOCK)


def render(value, begin, end):
    """The bytes of [begin, end)."""
    if isinstance(value, int):
        return bytes([value]) * (end - begin)
    sequence, origin = value
    skip = (begin - origin) % len(sequence)
    count = -(-(skip + end - begin) // len(sequence))
    return (sequence * count)[skip : skip + end - begin]


class Content:
    def __init__(self, size):
        self.size = size
        self.starts = [0] if size else []
        self.values = [0] if size else []

    def copy(self):
        other = Content(0)
        other.size, other.starts, other.values = self.size, self.starts[:], self.values[:]
        return other

    def write(self, begin, end, value):
        assert 0 <= begin < end <= self.size, (begin, end, self.size)
        first = bisect.bisect_left(self.starts, begin)
        last = bisect.bisect_right(self.starts, end) - 1
        starts, values = [begin], [value]
        if end < self.size:
            starts.append(end)
            values.append(self.values[last])
        stop = last + 1 if end < self.size else len(self.starts)
        self.starts[first:stop] = starts
        self.values[first:stop] = values

    def runs(self, begin=0, end=None):
        """Yields (begin, end, value); neighbours differ."""
        end = self.size if end is None else end
        if begin >= end:
            return
        at = bisect.bisect_right(self.starts, begin) - 1
        pending = None
        while at < len(self.starts) and self.starts[at] < end:
            stop = self.starts[at + 1] if at + 1 < len(self.starts) else self.size
            low, high, value = max(begin, self.starts[at]), min(end, stop), self.values[at]
            if pending and pending[2] == value:
                pending = (pending[0], high, value)
            else:
                if pending:
                    yield pending
                pending = (low, high, value)
            at += 1
        yield pending

    def resized(self, size):
        """A shorter or longer disk; what is new reads as zeros."""
        other = Content(size)
        for begin, end, value in self.runs(0, min(size, self.size)):
            if value != 0:
                other.write(begin, end, value)
        return other

    def store(self, path):
        """Writes a raw image, sparse where it is zero."""
        with open(path, "wb") as file:
            file.truncate(self.size)
            for begin, end, value in self.runs():
                if value == 0:
                    continue
                for at in range(begin, end, CHUNK):
                    os.pwrite(file.fileno(), render(value, at, min(end, at + CHUNK)), at)

    def difference(self, path):
        """Says how a raw image differs from this content; None if it does not."""
        actual = os.path.getsize(path)
        if actual != self.size:
            return f"{actual} bytes long, not {self.size}"
        with open(path, "rb") as file:
            for begin, end, value in self.runs():
                for at, stop in _data_extents(file.fileno(), begin, end) if value == 0 else [(begin, end)]:
                    found = _first_difference(file.fileno(), at, stop, value)
                    if found is not None:
                        return found
        return None


def digest_of_raw(path):
    """Of the length and of the blocks that are not zero, each with its place: holes need not be read."""
    size = os.path.getsize(path)
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        done = 0  # two extents may lie in one block
        for begin, end in _data_extents(file.fileno(), 0, size):
            for at in range(max(done, begin - begin % BLOCK), end, BLOCK):
                block = os.pread(file.fileno(), BLOCK, at)
                if block != ZEROS[: len(block)]:
                    digest.update(f" {at} ".encode() + block)
                done = at + BLOCK
    return digest.hexdigest()


def _data_extents(descriptor, begin, end):
    """The parts of [begin, end) that are no holes."""
    while begin < end:
        try:
            begin = os.lseek(descriptor, begin, os.SEEK_DATA)
        except OSError:  # nothing but a hole up to the end
            return
        if begin >= end:
            return
        stop = min(end, os.lseek(descriptor, begin, os.SEEK_HOLE))
        yield begin, stop
        begin = stop


def _first_difference(descriptor, begin, end, value):
    for at in range(begin, end, CHUNK):
        stop = min(end, at + CHUNK)
        actual, wanted = os.pread(descriptor, stop - at, at), render(value, at, stop)
        if actual != wanted:
            where = next(i for i in range(len(wanted)) if i >= len(actual) or actual[i] != wanted[i])
            got = f"{actual[where]:#04x}" if where < len(actual) else "nothing"
            return f"byte {at + where} ({at + where:#x}) is {got}, not {wanted[where]:#04x} (run {begin} to {end})"
    return None
