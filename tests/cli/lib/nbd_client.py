"""A client of the NBD protocol that says what it is told to, also what it should not."""

import socket
import struct
import time

REQUEST, EXTENDED_REQUEST = 0x25609513, 0x21E41C71
SIMPLE_REPLY, STRUCTURED_REPLY, EXTENDED_REPLY = 0x67446698, 0x668E33EF, 0x6E8A278C
OPTION_MAGIC, OPTION_REPLY = 0x49484156454F5054, 0x3E889045565A9
EXPORT_NAME, ABORT, LIST, _, START_TLS, INFO, GO, STRUCTURED, LIST_CONTEXTS, SET_CONTEXTS, EXTENDED = range(1, 12)
ACK, SERVER, INFO_REPLY, CONTEXT_REPLY = 1, 2, 3, 4
UNSUPPORTED, POLICY, INVALID, NEEDS_TLS, UNKNOWN, SHUTDOWN, TOO_BIG, NEEDS_EXTENDED = (
    (1 << 31) + number for number in (1, 2, 3, 5, 6, 7, 9, 10))
READ, WRITE, DISCONNECT, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
FUA, NO_HOLE, DO_NOT_FRAGMENT, ONE_EXTENT, FAST_ZERO, PAYLOAD = (1 << bit for bit in range(6))
EPERM, EIO, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 22, 28, 75, 95, 108
NONE_CHUNK, DATA_CHUNK, STATUS_CHUNK, EXTENDED_STATUS_CHUNK, ERROR_CHUNK = 0, 1, 5, 6, (1 << 15) + 1


class Closed(Exception):
    """The server ended the connection."""


class Client:
    def __init__(self, path, greet=True, timeout=20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.connect(path, time.monotonic() + timeout)
        self.style = "simple"
        self.size = None
        self.flags = None
        if greet:
            magic, options, self.handshake_flags = struct.unpack(">QQH", self.receive(18))
            assert (magic, options) == (0x4E42444D41474943, OPTION_MAGIC), (magic, options)
            self.send(struct.pack(">I", 3))

    def connect(self, path, deadline):
        """Where too many wait already it has to come again."""
        while True:
            try:
                return self.socket.connect(path)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionError:
                part = b""
            if not part:
                raise Closed(f"after {len(data)} of {count} bytes")
            data += part
        return data

    def is_closed(self):
        try:
            self.receive(1)
        except Closed:
            return True
        return False

    # Negotiation

    def send_option(self, option, data=b"", length=None):
        self.send(struct.pack(">QII", OPTION_MAGIC, option, len(data) if length is None else length) + data)

    def replies(self, option):
        """All replies to it: (type, data), the last one final."""
        found = []
        while not found or found[-1][0] in (SERVER, INFO_REPLY, CONTEXT_REPLY):
            magic, echoed, kind, length = struct.unpack(">QIII", self.receive(20))
            assert (magic, echoed) == (OPTION_REPLY, option), (hex(magic), echoed)
            found.append((kind, self.receive(length)))
        return found

    def option(self, option, data=b"", length=None):
        self.send_option(option, data, length)
        return self.replies(option)

    def info(self, option, name="", wanted=()):
        encoded = name.encode()
        return self.option(option, struct.pack(">I", len(encoded)) + encoded +
                           struct.pack(f">H{len(wanted)}H", len(wanted), *wanted))

    def contexts(self, option, queries, name=""):
        encoded = name.encode()
        data = struct.pack(">I", len(encoded)) + encoded + struct.pack(">I", len(queries))
        for query in queries:
            data += struct.pack(">I", len(query)) + query.encode()
        return self.option(option, data)

    def go(self, name="", style="simple", contexts=()):
        """Into the transmission phase."""
        if style != "simple":
            assert self.option(STRUCTURED if style == "structured" else EXTENDED)[-1][0] == ACK
        self.style = style
        if contexts:
            assert self.contexts(SET_CONTEXTS, contexts, name)[-1][0] == ACK
        replies = self.info(GO, name)
        assert replies[-1][0] == ACK, replies
        for kind, data in replies:
            if kind == INFO_REPLY and data[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", data[2:])
        return self

    # Transmission

    def request(self, command, offset=0, length=0, flags=0, data=b"", cookie=1):
        if self.style == "extended":
            if data:
                flags |= PAYLOAD
            header = struct.pack(">IHHQQQ", EXTENDED_REQUEST, flags, command, cookie, offset, length)
        else:
            header = struct.pack(">IHHQQI", REQUEST, flags, command, cookie, offset, length)
        self.send(header + data)

    def reply(self, read_length=0):
        """(cookie, error, chunks): the whole reply to one request, which must not be mixed with another one's."""
        chunks = []
        while True:
            magic = struct.unpack(">I", self.receive(4))[0]
            if magic == SIMPLE_REPLY:
                error, cookie = struct.unpack(">IQ", self.receive(12))
                data = self.receive(read_length) if self.style == "simple" and not error else b""
                return cookie, error, [(DATA_CHUNK, data)] if data else []
            if magic == STRUCTURED_REPLY:
                flags, kind, cookie, length = struct.unpack(">HHQI", self.receive(16))
            else:
                assert magic == EXTENDED_REPLY, hex(magic)
                flags, kind, cookie, _, length = struct.unpack(">HHQQQ", self.receive(28))
            chunks.append((kind, self.receive(length)))
            if flags & 1:
                errors = [data for kind, data in chunks if kind == ERROR_CHUNK]
                return cookie, struct.unpack(">I", errors[0][:4])[0] if errors else 0, chunks

    def ask(self, command, offset=0, length=0, flags=0, data=b"", cookie=1):
        """Its error number, and its chunks."""
        self.request(command, offset, length, flags, data, cookie)
        echoed, error, chunks = self.reply(length if command == READ else 0)
        assert echoed == cookie, (echoed, cookie)
        return error, chunks

    def read(self, offset, length):
        error, chunks = self.ask(READ, offset, length)
        assert error == 0, error
        parts = [data if self.style == "simple" else data[8:] for kind, data in chunks if kind == DATA_CHUNK]
        assert len(parts) == 1
        return parts[0]

    def extents(self, offset, length, flags=0):
        """By context: [(length, flags)]."""
        error, chunks = self.ask(BLOCK_STATUS, offset, length, flags)
        assert error == 0, error
        found = {}
        for kind, data in chunks:
            if kind == STATUS_CHUNK:
                found[struct.unpack(">I", data[:4])[0]] = list(struct.iter_unpack(">II", data[4:]))
            elif kind == EXTENDED_STATUS_CHUNK:
                context, count = struct.unpack(">II", data[:8])
                found[context] = list(struct.iter_unpack(">QQ", data[8:]))
                assert len(found[context]) == count
        return found
