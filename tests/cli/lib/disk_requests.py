"""Random requests to a disk, as commands of an image exerciser (format.md C-29 to C-33), and what they must lead to.

Session draws the commands of one process and applies each to a model: the content of the disk, and whether a cluster's
mapping is free to take compressed data. Requests are in flight together only where the outcome does not depend on
their order.
"""

from content import Content

# What a compressed write into a cluster meets (docs/format.md section 8.4).
FREE = "free"  # unallocated or plain zero: it succeeds
KEPT = "kept"  # a host cluster is allocated: it fails
PACKED = "packed"  # written by a compressed write: it fails; zeroing sets it free, or not if it did not compress
UNKNOWN = "unknown"  # the rules leave it open

# Command and how often, out of the sum.
WEIGHTS = {
    "write": 20,
    "write_file": 8,
    "writev": 4,
    "zero": 6,
    "unmap": 6,
    "discard": 8,
    "compressed": 10,
    "read": 8,
    "readv": 2,
    "flush": 3,
    "aio_write": 20,
    "aio_zero": 4,
    "aio_unmap": 4,
    "aio_read": 5,
    "aio_flush": 3,
}


class Disk:
    """A disk under test: its model, and the rules that its format sets."""

    def __init__(self, content, cluster, version, has_backing, state=FREE, ignores_discards=False):
        self.content = content
        self.cluster = cluster
        self.version = version
        self.has_backing = has_backing
        self.ignores_discards = ignores_discards  # by the exerciser's option -d
        self.states = {}  # by cluster index; the rest is in default_state
        self.default_state = state

    def copy_model(self):
        return self.content.copy(), dict(self.states)

    def restore_model(self, model):
        self.content, self.states = model[0].copy(), dict(model[1])

    def state(self, index):
        return self.states.get(index, self.default_state)

    def clusters(self, begin, end):
        return range(begin // self.cluster, -(-end // self.cluster))

    def whole_clusters(self, begin, end):
        """Those inside the range; the short one at the end of the disk counts as whole."""
        first = -(-begin // self.cluster)
        last = -(-end // self.cluster) if end == self.content.size else end // self.cluster
        return range(first, max(first, last))

    def can_be_freed(self):
        """Version 2 has no zero flag: giving a cluster up would bring the backing file's data back (section 10)."""
        return self.version == 3 or not self.has_backing

    def wrote(self, begin, end, value):
        self.content.write(begin, end, value)
        for index in self.clusters(begin, end):
            self.states[index] = KEPT

    def wrote_compressed(self, begin, end, value):
        self.content.write(begin, end, value)
        for index in self.clusters(begin, end):
            self.states[index] = PACKED

    def zeroed(self, begin, end, unmap):
        self.content.write(begin, end, 0)
        whole = self.whole_clusters(begin, end)
        for index in self.clusters(begin, end):
            self.states[index] = self._state_after_zero(self.state(index), unmap, index in whole)

    def _state_after_zero(self, state, unmap, whole):
        # A partial one is a write, or a whole one if the rest of the cluster reads as zeros already.
        if not self.can_be_freed():
            return KEPT if state == KEPT else UNKNOWN
        if unmap and self.ignores_discards:
            return FREE if state == FREE and whole else UNKNOWN
        frees = unmap or self.version == 2
        if whole and (frees or state == FREE):
            return FREE
        if state == KEPT and not frees:
            return KEPT
        return UNKNOWN

    def discarded(self, begin, end):
        if not self.can_be_freed() or self.ignores_discards:
            return
        whole = self.whole_clusters(begin, end)
        if not whole:
            return
        self.content.write(whole[0] * self.cluster, min(self.content.size, (whole[-1] + 1) * self.cluster), 0)
        for index in whole:
            self.states[index] = FREE


class Limits:
    """What a program must leave alone."""

    def __init__(self, files, windows, compressed_clusters):
        self.files = files  # name -> bytes, sources of content
        self.windows = windows  # (begin, end): where requests go
        self.compressed_clusters = compressed_clusters  # how many more may be written


class Session:
    def __init__(self, random, disk, limits, avoids_reuse):
        self.random = random
        self.disk = disk
        self.limits = limits
        # The reference hands out space of a compressed cluster that was freed in the same session while it goes on
        # packing there (docs/format.md 27.1): what such a session compressed, it does not touch again. It also frees a
        # cluster while a write to another part of it is in flight: where something may be freed, such a session waits.
        self.avoids_reuse = avoids_reuse
        self.packed_here = set()
        self.in_flight = []  # (begin, end)
        self.commands = []
        self.expected = []  # lines on standard output
        self.hot = [self._anywhere() for _ in range(3)]
        self.requests = 0

    # Where

    def _anywhere(self):
        begin, end = self.random.choice(self.limits.windows)
        return self.random.randrange(begin, end)

    def _range(self):
        """(begin, end): whole clusters, whole sectors or any bytes, often near where something happened before."""
        cluster, size = self.disk.cluster, self.disk.content.size
        at = self.random.choice(self.hot) if self.random.random() < 0.4 else self._anywhere()
        unit = self.random.choice([cluster, cluster, 512, 512, 1])
        if unit == cluster:
            length = cluster * self.random.choice([1, 1, 1, 2, 3, 5])
        else:
            length = self.random.randint(1, self.random.choice([600, cluster, 3 * cluster]))
        length = min(length, 4 << 20)
        begin = at // unit * unit
        end = begin + -(-length // unit) * unit
        if self.random.random() < 0.05:
            end = size
            begin = max(0, size - length) // unit * unit
        return begin, min(end, size)

    def _untouchable(self, begin, end):
        return any(index in self.packed_here for index in self.disk.clusters(begin, end))

    def _target(self):
        for _ in range(20):
            begin, end = self._range()
            if not self._untouchable(begin, end):
                return begin, end
        return None

    # What

    def _pattern(self):
        return self.random.choice([0, 0xFF] + [self.random.randrange(1, 255)] * 8)

    def _file_value(self, begin):
        name = self.random.choice(sorted(self.limits.files))
        return name, (self.limits.files[name], begin)

    # In flight together

    def _settle(self, begin, end):
        """Waits if something in flight touches the range."""
        if any(low < end and begin < high for low, high in self.in_flight):
            self._wait()

    def _freeing(self, begin, end):
        """What a request that may free clusters must not share with others in flight."""
        if not self.avoids_reuse:
            return begin, end
        clusters = self.disk.clusters(begin, end)
        return clusters.start * self.disk.cluster, clusters.stop * self.disk.cluster

    def _wait(self):
        self.commands.append("aio_flush")
        self.in_flight = []

    def _launch(self, begin, end):
        self.in_flight.append((begin, end))

    def _neighbours_in_flight(self, begin, end):
        """Clusters of the range to which other requests are in flight: the order decides on their state."""
        busy = set()
        for low, high in self.in_flight:
            busy.update(self.disk.clusters(low, high))
        return [index for index in self.disk.clusters(begin, end) if index in busy]

    def _apply(self, change, begin, end, *rest):
        shared = self._neighbours_in_flight(begin, end)
        change(begin, end, *rest)
        for index in shared:
            self.disk.states[index] = UNKNOWN

    # Commands

    def step(self):
        self.requests += 1
        kind = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        getattr(self, "_" + kind)()

    def finish(self):
        self._wait()

    def _say(self, text):
        self.commands.append(text)

    def _prepared(self):
        target = self._target()
        if target:
            self._settle(*target)
            self.hot[self.random.randrange(3)] = target[0]
        return target

    def _write(self):
        if target := self._prepared():
            begin, end = target
            value = self._pattern()
            flags = self.random.choice(["", "", "", " -f"])
            self._say(f"write -q{flags} -P {value} {begin} {end - begin}")
            self._apply(self.disk.wrote, begin, end, value)

    def _write_file(self):
        if target := self._prepared():
            begin, end = target
            name, value = self._file_value(begin)
            self._say(f"write -q -s {name} {begin} {end - begin}")
            self._apply(self.disk.wrote, begin, end, value)

    def _parts(self, begin, end):
        """Lengths of a vectored request."""
        cuts = sorted({self.random.randint(begin + 1, end) for _ in range(self.random.randrange(4))} | {end})
        return " ".join(str(high - low) for low, high in zip([begin] + cuts, cuts))

    def _writev(self):
        if target := self._prepared():
            begin, end = target
            value = self._pattern()
            self._say(f"writev -q -P {value} {begin} {self._parts(begin, end)}")
            self._apply(self.disk.wrote, begin, end, value)

    def _zero_with(self, command, flags):
        if target := self._prepared():
            begin, end = target
            freeing = self._freeing(begin, end)
            self._settle(*freeing)
            self._say(f"{command} -q {flags} {begin} {end - begin}")
            self._apply(self.disk.zeroed, begin, end, "-u" in flags)
            return freeing
        return None

    def _zero(self):
        self._zero_with("write", "-z")

    def _unmap(self):
        self._zero_with("write", "-z -u")

    def _discard(self):
        if target := self._prepared():
            begin, end = target
            self._settle(*self._freeing(begin, end))
            self._say(f"discard -q {begin} {end - begin}")
            self._apply(self.disk.discarded, begin, end)

    def _compressed(self):
        cluster, size = self.disk.cluster, self.disk.content.size
        begin = self._anywhere() // cluster * cluster
        end = min(size, begin + cluster * self.random.choice([1, 1, 2]))
        states = {self.disk.state(index) for index in self.disk.clusters(begin, end)}
        count = len(self.disk.clusters(begin, end))
        succeeds = states == {FREE}
        fails = count == 1 and states <= {KEPT, PACKED}
        if self._untouchable(begin, end) or not (succeeds or fails) or count > self.limits.compressed_clusters:
            self._write()
            return
        self._settle(begin, end)
        # What does not compress is written as it is, and the reference then does not mind that there is something.
        if succeeds and self.random.random() < 0.5:
            name, value = self._file_value(begin)
            self._say(f"write -q -c -s {name} {begin} {end - begin}")
        else:
            value = self._pattern()
            self._say(f"write -q -c -P {value} {begin} {end - begin}")
        if fails:
            self.expected.append("write failed: Input/output error")
            return
        self.limits.compressed_clusters -= count
        self.disk.wrote_compressed(begin, end, value)
        if self.avoids_reuse:
            self.packed_here.update(self.disk.clusters(begin, end))

    def _uniform(self):
        """A range of one byte value, not being written right now."""
        begin, end = self._range()
        self._settle(begin, end)
        runs = [run for run in self.disk.content.runs(begin, end) if isinstance(run[2], int)]
        return self.random.choice(runs) if runs else None

    def _read(self):
        if run := self._uniform():
            begin, end, value = run
            self._say(f"read -q -P {value} {begin} {end - begin}")

    def _readv(self):
        if run := self._uniform():
            begin, end, value = run
            self._say(f"readv -q -P {value} {begin} {self._parts(begin, end)}")

    def _flush(self):
        self._say("flush")

    def _aio_write(self):
        if target := self._prepared():
            begin, end = target
            value = self._pattern()
            self._say(f"aio_write -q -P {value} {begin} {self._parts(begin, end)}")
            self._apply(self.disk.wrote, begin, end, value)
            self._launch(begin, end)

    def _aio_zero(self):
        if target := self._zero_with("aio_write", "-z"):
            self._launch(*target)

    def _aio_unmap(self):
        if target := self._zero_with("aio_write", "-z -u"):
            self._launch(*target)

    def _aio_read(self):
        if run := self._uniform():
            begin, end, value = run
            self._say(f"aio_read -q -P {value} {begin} {end - begin}")
            self._launch(begin, end)

    def _aio_flush(self):
        self._wait()

    def rewrite(self):
        """Writes what is there already: the content is the same however far it gets. Where that would free a cluster,
        which the tool might use again before the flush that makes it free, it does nothing."""
        run = self._uniform()
        if not run or any(self.disk.state(index) not in (FREE, KEPT) for index in self.disk.clusters(*run[:2])):
            return
        begin, end, value = run
        self._say(f"aio_write -q -P {value} {begin} {end - begin}")
        for index in self.disk.clusters(begin, end):
            self.disk.states[index] = UNKNOWN
        self._launch(begin, end)


def reads_of(content, most_bytes):
    """Commands that read everything back, as far as it is made of single byte values and no longer than that."""
    commands = ["flush"]  # the tools ask for input if there is nothing to do
    for begin, end, value in content.runs():
        if isinstance(value, int):
            commands.append(f"read -q -P {value} {begin} {min(end - begin, most_bytes)}")
    return commands


def overlay_content(backing, size):
    """What an empty overlay shows: the backing file, cut off or followed by zeros."""
    return backing.resized(size) if backing else Content(size)
