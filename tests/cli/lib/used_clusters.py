"""Which host clusters an image refers to, from its tables alone (docs/format.md sections 3 to 8, 14)."""

import struct


class Image:
    def __init__(self, path):
        self.file = open(path, "rb")
        head = self.file.read(112)
        (_, self.version, _, _, bits, _, _, l1_entries, l1, table, table_clusters, snapshots, snapshot_table) = (
            struct.unpack(">IIQIIQIIQQIIQ", head[:72]))
        self.bits = bits
        self.used = {0}
        self.plain = {0}  # without those that hold compressed data
        self.payloads = 0
        self.seen = set()
        self.region(table, table_clusters << bits)
        for (block,) in struct.iter_unpack(">Q", self.read(table, table_clusters << bits)):
            self.region(block, 1 if block else 0)
        self.tree(l1, l1_entries)
        self.walk_snapshots(snapshot_table, snapshots)

    def read(self, at, length):
        self.file.seek(at)
        return self.file.read(length).ljust(length, b"\0")

    def region(self, at, length):
        if length:
            clusters = self.clusters(at, length)
            self.used.update(clusters)
            self.plain.update(clusters)

    def clusters(self, at, length):
        return range(at >> self.bits, ((at + length - 1) >> self.bits) + 1)

    def tree(self, at, entries):
        self.region(at, entries * 8)
        for (entry,) in struct.iter_unpack(">Q", self.read(at, entries * 8)):
            table = entry & 0x00FFFFFFFFFFFE00
            if table and table not in self.seen:
                self.seen.add(table)
                self.region(table, 1)
                self.walk_table(table)

    def walk_table(self, table):
        offset_bits = 70 - self.bits
        for (entry,) in struct.iter_unpack(">Q", self.read(table, 1 << self.bits)):
            if entry >> 62 & 1:
                at = entry & ((1 << offset_bits) - 1)
                sectors = (entry & ((1 << 62) - 1)) >> offset_bits
                self.used.update(self.clusters(at, (sectors + 1) * 512 - (at & 511)))
                self.payloads += 1
            elif entry & 0x00FFFFFFFFFFFE00:
                self.region(entry & 0x00FFFFFFFFFFFE00, 1)

    def walk_snapshots(self, at, count):
        begin = at
        for _ in range(count):
            l1, l1_entries, id_length, name_length = struct.unpack(">QIHH", self.read(at, 16))
            (extra,) = struct.unpack(">I", self.read(at + 36, 4))
            self.tree(l1, l1_entries)
            end = at + 40 + extra + id_length + name_length
            at = (end + 7) & ~7
        if count:
            self.region(begin, end - begin)
