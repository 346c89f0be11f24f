"""Images that consist of metadata alone, every guest cluster allocated, and how long it takes to read that metadata."""
import array
import os
import random
import struct
import time

CLUSTER = 65536
COPIED = 1 << 63
PER_TABLE = CLUSTER // 8  # entries of an L2 table or of a cluster of the refcount table
PER_BLOCK = CLUSTER // 2  # 16-bit counts of a refcount block
HEADER_BYTES = 104


def pack(kind, values):
    words = array.array(kind, values)
    words.byteswap()
    return words.tobytes()


class Image:
    """A version 3 image whose guest clusters are all allocated. Tables lie before what they describe, as a writer that
    fills the disk from its start leaves them."""

    def __init__(self, path, size, shuffled, snapshots):
        self.file = open(path, 'w+b')
        self.size = size
        self.snapshots = snapshots
        self.end = 1  # host clusters in use
        self.blocks = []
        self.shared = []  # runs (first, count) that the active disk and all snapshots refer to
        tables = -(-size // (PER_TABLE * CLUSTER))
        self.table_clusters = -(-(size // CLUSTER * 11 // 10) // PER_BLOCK // PER_TABLE) + 1
        self.table = self.take(self.table_clusters)[0][0]
        self.l1 = self.take(-(-tables // PER_TABLE))[0][0]
        self.map(tables, shuffled)
        self.take_snapshots(tables)
        self.write_counts()
        self.write_header(tables)
        self.file.truncate(self.end * CLUSTER)
        self.file.close()

    def take(self, count):
        """Runs (first, count); a refcount block stands at the start of the range it counts."""
        runs = []
        while count > 0:
            if self.end // PER_BLOCK >= len(self.blocks):
                self.blocks.append(self.end)
                self.end += 1
            room = min(count, PER_BLOCK - self.end % PER_BLOCK)
            runs.append((self.end, room))
            self.end += room
            count -= room
        return runs

    def put(self, cluster, content):
        self.file.seek(cluster * CLUSTER)
        self.file.write(content)

    def map(self, tables, shuffled):
        left = -(-self.size // CLUSTER)
        flag = 0 if self.snapshots else COPIED
        order = None
        if shuffled:
            order = [c for first, count in self.take(left) for c in range(first, first + count)]
            random.Random(1).shuffle(order)
        entries = []
        for _ in range(tables):
            table = self.take(1)
            count = min(left, PER_TABLE)
            data = [] if order else self.take(count)
            hosts = [order.pop() for _ in range(count)] if order else []
            for first, length in data:
                hosts.extend(range(first, first + length))
            self.put(table[0][0], pack('Q', [host * CLUSTER | flag for host in hosts]))
            self.shared += table + data
            entries.append(table[0][0] * CLUSTER | flag)
            left -= count
        self.l1_bytes = pack('Q', entries)
        self.put(self.l1, self.l1_bytes)

    def take_snapshots(self, tables):
        records = b''
        for number in range(1, self.snapshots + 1):
            l1 = self.take(-(-tables // PER_TABLE))[0][0]
            self.put(l1, self.l1_bytes)
            name = f's{number}'.encode()
            identity = str(number).encode()
            record = struct.pack('>QIHHIIQII', l1 * CLUSTER, tables, len(identity), len(name), 0, 0, 0, 0, 16)
            record += struct.pack('>QQ', 0, self.size) + identity + name
            records += record + bytes(-len(record) % 8)
        self.snapshot_table = self.take(1)[0][0] if self.snapshots else 0
        if records:
            self.put(self.snapshot_table, records)

    def write_counts(self):
        counts = array.array('H', [1]) * self.end
        if self.snapshots:
            for first, length in self.shared:
                counts[first:first + length] = array.array('H', [1 + self.snapshots]) * length
        for index, block in enumerate(self.blocks):
            self.put(block, pack('H', counts[index * PER_BLOCK:(index + 1) * PER_BLOCK]))
        self.put(self.table, pack('Q', [block * CLUSTER for block in self.blocks]))

    def write_header(self, tables):
        self.put(0, b'QFI\xfb' + struct.pack('>IQIIQIIQQIIQQQQII', 3, 0, 0, 16, self.size, 0, tables,
                                             self.l1 * CLUSTER, self.table * CLUSTER, self.table_clusters,
                                             self.snapshots, self.snapshot_table * CLUSTER, 0, 0, 0, 4, HEADER_BYTES))


def places(path):
    """(offset, length) of all metadata, in the order in which the tables name it."""
    def words(offset, count):
        found = array.array('Q', os.pread(file, count * 8, offset))
        found.byteswap()
        return [word & ~COPIED for word in found if word]

    file = os.open(path, os.O_RDONLY)
    header = os.pread(file, HEADER_BYTES, 0)
    l1_size, l1, table, table_clusters, count, at = struct.unpack_from('>IQQIIQ', header, 36)
    found = [(0, HEADER_BYTES), (l1, l1_size * 8), (table, table_clusters * CLUSTER)]
    found += [(offset, CLUSTER) for offset in words(table, table_clusters * PER_TABLE) + words(l1, l1_size)]
    if count:
        found.append((at, CLUSTER))
    for _ in range(count):
        place, size, identity, name = struct.unpack('>QIHH', os.pread(file, 16, at))
        found.append((place, size * 8))
        length = 40 + 16 + identity + name
        at += length + -length % 8
    os.close(file)
    return found


def read_all(path):
    parts = places(path)
    buffer = [bytearray(CLUSTER)]
    file = os.open(path, os.O_RDONLY)
    begin = time.monotonic()
    for offset, length in parts:
        for done in range(0, length, CLUSTER):
            os.preadv(file, buffer if length - done >= CLUSTER else [memoryview(buffer[0])[:length - done]],
                      offset + done)
    wall = time.monotonic() - begin
    os.close(file)
    return wall
