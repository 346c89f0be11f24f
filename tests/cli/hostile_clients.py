#!/usr/bin/env python3
"""byre serve and clients that break the rules: each gets the right error or the door, and others are undisturbed."""

import os
import ssl
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
import nbd_client as nbd  # noqa: E402
from nbd_client import Client, Closed  # noqa: E402
from nbd_server import BYRE, Server  # noqa: E402

SIZE = 1 << 20
PATTERN = bytes(range(256)) * 16
MOST_DATA = 32 << 20


def expect(truth, what):
    if not truth:
        raise SystemExit(what)


def run(*arguments):
    subprocess.run(arguments, check=True, timeout=120, stdout=subprocess.DEVNULL)


class Witness:
    """A well-behaved client beside the others: it reads and writes, and is never disturbed."""

    def __init__(self, path):
        self.client = Client(path).go(style="structured")
        self.asked = 0

    def check(self, after):
        self.asked += 1
        data = bytes([self.asked & 0xFF]) * 4096
        error, _ = self.client.ask(nbd.WRITE, 8192, len(data), data=data)
        expect(error == 0 and self.client.read(8192, 4096) == data, f"the witness is disturbed after: {after}")


def dropped(client, what):
    expect(client.is_closed(), f"{what}: the connection stays")
    client.close()


def client_flags(path):
    for flags in (0, 2, 4, 1 << 31, 7):
        client = Client(path, greet=False)
        client.receive(18)
        client.send(struct.pack(">I", flags))
        dropped(client, f"client flags {flags:#x}")


def oldstyle(path):
    """A client that waits for more than the greeting, or speaks as an old one would, gets no export."""
    client = Client(path, greet=False)
    client.receive(18)
    client.send(struct.pack(">IHHQQI", nbd.REQUEST, 0, nbd.READ, 1, 0, 512))
    dropped(client, "oldstyle")


def options(path):
    client = Client(path)
    for number in (0, 4, 12, 99, (1 << 32) - 1):
        expect(client.option(number, b"data")[-1][0] == nbd.UNSUPPORTED, f"option {number}")
    expect(client.option(nbd.LIST, b"x")[-1][0] == nbd.INVALID, "LIST with data")
    expect(client.option(nbd.STRUCTURED, b"x")[-1][0] == nbd.INVALID, "STRUCTURED_REPLY with data")
    expect(client.option(nbd.START_TLS)[-1][0] == nbd.POLICY, "STARTTLS")
    expect(client.option(nbd.START_TLS)[-1][0] == nbd.POLICY, "STARTTLS twice")
    expect(client.info(nbd.GO, "no such export")[-1][0] == nbd.UNKNOWN, "unknown export")
    for data in (b"", b"\0\0\0", struct.pack(">I", 5) + b"abc", struct.pack(">IH", 0, 3) + b"\0\0",
                 struct.pack(">IH", 0, 0) + b"x", struct.pack(">I", 0xFFFFFFFF) + b"\0\0",
                 struct.pack(">I", 5000) + b"a" * 5000 + b"\0\0", struct.pack(">I", 3) + b"a\0b" + b"\0\0"):
        expect(client.option(nbd.GO, data)[-1][0] == nbd.INVALID, f"GO with {data[:16]!r}")
    expect(client.contexts(nbd.SET_CONTEXTS, ["base:allocation"])[-1][0] == nbd.INVALID, "contexts before styles")
    expect(client.option(nbd.STRUCTURED)[-1][0] == nbd.ACK, "STRUCTURED_REPLY")
    for data in (b"", struct.pack(">II", 0, 1000), struct.pack(">II", 0, 0xFFFFFFFF),
                 struct.pack(">III", 0, 1, 0xFFFFFFFF), struct.pack(">II", 0, 0) + b"x"):
        expect(client.option(nbd.SET_CONTEXTS, data)[-1][0] == nbd.INVALID, f"SET_META_CONTEXT with {data[:16]!r}")
    expect(client.option(nbd.LIST, b"z" * (70 << 10))[-1][0] == nbd.TOO_BIG, "an option that can be skipped")
    expect(client.go(style="structured").read(0, 4096) == PATTERN, "after all that it is a client like any other")
    client.close()


def options_that_cannot_be_skipped(path):
    for option, length in ((nbd.LIST, (2 << 30)), (nbd.GO, 0xFFFFFFFF), (nbd.EXPORT_NAME, 70000)):
        client = Client(path)
        client.send_option(option, b"", length)
        dropped(client, f"option {option} of {length} bytes")
    client = Client(path)
    client.send(struct.pack(">QII", 0x1234, nbd.LIST, 0))
    dropped(client, "a wrong option magic")
    client = Client(path)
    client.send_option(nbd.EXPORT_NAME, b"nobody")
    dropped(client, "EXPORT_NAME of an export that is not there")
    client = Client(path)
    expect(client.option(nbd.EXTENDED)[-1][0] == nbd.ACK, "EXTENDED_HEADERS")
    expect(client.option(nbd.STRUCTURED)[-1][0] == nbd.NEEDS_EXTENDED, "back to structured replies")
    client.send_option(nbd.EXPORT_NAME)
    dropped(client, "EXPORT_NAME after extended headers")


def many_options(path):
    """Options that add up must not: the server keeps nothing of them."""
    client = Client(path)
    for _ in range(500):
        client.option(nbd.LIST, b"z" * (64 << 10))
    client.close()


def requests(path, style):
    client = Client(path).go(style=style, contexts=("base:allocation",) if style != "simple" else ())
    huge = (1 << 64) - 1
    cases = [
        ("read past the end", nbd.EINVAL, (nbd.READ, SIZE - 511, 512)),
        ("read at the end", nbd.EINVAL, (nbd.READ, SIZE, 1)),
        ("read with an offset that wraps", nbd.EINVAL, (nbd.READ, huge - 4, 512)),
        ("write past the end", nbd.ENOSPC, (nbd.WRITE, SIZE - 511, 512, 0, b"x" * 512)),
        ("write with an offset that wraps", nbd.ENOSPC, (nbd.WRITE, huge, 512, 0, b"x" * 512)),
        ("trim past the end", nbd.EINVAL, (nbd.TRIM, SIZE - 4096, 8192)),
        ("trim of 2^32-1 bytes", nbd.EINVAL, (nbd.TRIM, 0, (1 << 32) - 1)),
        ("zeroes of 2^32-1 bytes", nbd.ENOSPC, (nbd.WRITE_ZEROES, 0, (1 << 32) - 1)),
        ("cache past the end", nbd.EINVAL, (nbd.CACHE, SIZE, 4096)),
        ("read of 2^32-1 bytes", nbd.EINVAL, (nbd.READ, 0, (1 << 32) - 1)),
        ("unknown flags of a read", nbd.EINVAL, (nbd.READ, 0, 512, 1 << 15)),
        ("unknown flags of a write", nbd.EINVAL, (nbd.WRITE, 0, 512, nbd.NO_HOLE, b"x" * 512)),
        ("unknown flags of a flush", nbd.EINVAL, (nbd.FLUSH, 0, 0, nbd.FAST_ZERO)),
        ("unknown command", nbd.EINVAL, (8, 0, 0)),
        ("unknown command", nbd.EINVAL, (0xFFFF, 0, 512)),
    ]
    if style == "simple":
        cases += [("status without contexts", nbd.EINVAL, (nbd.BLOCK_STATUS, 0, 512)),
                  ("do not fragment", nbd.EINVAL, (nbd.READ, 0, 512, nbd.DO_NOT_FRAGMENT))]
    else:
        cases += [("status past the end", nbd.EINVAL, (nbd.BLOCK_STATUS, SIZE - 512, 4096)),
                  ("status of nothing", nbd.EINVAL, (nbd.BLOCK_STATUS, 0, 0))]
    if style == "extended":
        cases += [("trim of 2^64-1 bytes", nbd.EINVAL, (nbd.TRIM, 0, huge)),
                  ("a payload where none belongs", nbd.EINVAL, (nbd.READ, 0, 512, 0, b"x" * 512)),
                  ("a payload of an unknown command", nbd.EINVAL, (77, 0, 512, 0, b"x" * 512)),
                  ("a write without a payload", nbd.EINVAL, (nbd.WRITE, 0, 512))]
    for what, wanted, words in cases:
        error, _ = client.ask(*words)
        expect(error == wanted, f"{style}: {what}: error {error}, not {wanted}")
    expect(client.read(0, 4096) == PATTERN, f"{style}: what is refused changes nothing")
    client.close()


def requests_that_end_it(path):
    for style in ("simple", "structured", "extended"):
        client = Client(path).go(style=style)
        client.request(nbd.WRITE, 0, MOST_DATA + 1, data=b"x")
        dropped(client, f"{style}: a write of more than is allowed")
        client = Client(path).go(style=style)
        client.send(b"\x12\x34\x56\x78" + b"\0" * 28)
        dropped(client, f"{style}: a wrong request magic")


def read_only(path):
    client = Client(path).go(style="structured")
    expect(client.flags & 2, "it says that it is read-only")
    for what, words in (("write", (nbd.WRITE, 0, 512, 0, b"x" * 512)), ("trim", (nbd.TRIM, 0, 512)),
                        ("zeroes", (nbd.WRITE_ZEROES, 0, 512))):
        expect(client.ask(*words)[0] == nbd.EPERM, f"{what} on a read-only export")
    expect(client.ask(nbd.FLUSH)[0] == 0, "flush on a read-only export")
    client.close()


def leave_with_requests_in_flight(path):
    for round_ in range(100):
        client = Client(path).go(style="structured")
        for cookie in range(64):
            kind = (cookie + round_) % 4
            if kind == 0:
                client.request(nbd.READ, 0, 256 << 10, cookie=cookie)
            elif kind == 1:
                client.request(nbd.WRITE, 65536, 65536, data=b"y" * 65536, cookie=cookie)
            elif kind == 2:
                client.request(nbd.FLUSH, cookie=cookie)
            else:
                client.request(nbd.TRIM, 65536, 65536, cookie=cookie)
        if round_ % 2:
            client.send(struct.pack(">IHHQQI", nbd.REQUEST, 0, nbd.WRITE, 1, 65536, 65536) + b"half of it")
        client.close()


def take_no_replies(path, witness):
    """What is asked and not taken is bounded, and stops this client alone."""
    client = Client(path, timeout=5).go(style="structured")
    try:
        for cookie in range(100000):
            client.request(nbd.READ, 0, SIZE, cookie=cookie)
        raise SystemExit("the server takes any number of requests from a client that takes no replies")
    except TimeoutError:
        pass
    witness.check("a client that takes no replies")
    client.close()


def half_open(path, witness):
    """Thousands of connections that never say a word, and a client among them that does."""
    clients = []
    for count in range(10000):
        clients.append(Client(path, greet=False))
        if count % 500 == 499:
            witness.check(f"{count + 1} half-open connections")
            Client(path).go().close()
            clients = clients[-300:]  # a process has so many descriptors; the server must not need them to be closed
    for client in clients:
        client.close()


def over_tls(client):
    """The same client behind the handshake. Who the server is does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client.socket = context.wrap_socket(client.socket)
    return client


def start_tls(path):
    client = Client(path)
    expect(client.option(nbd.START_TLS, b"x")[-1][0] == nbd.INVALID, "STARTTLS with data")
    expect(client.option(nbd.STRUCTURED)[-1][0] == nbd.ACK, "STRUCTURED_REPLY before it")
    expect(client.option(nbd.START_TLS)[-1][0] == nbd.ACK, "STARTTLS")
    over_tls(client)
    expect(client.option(nbd.START_TLS)[-1][0] == nbd.INVALID, "STARTTLS twice")
    expect(client.contexts(nbd.SET_CONTEXTS, ["base:allocation"])[-1][0] == nbd.INVALID,
           "what was agreed on before STARTTLS counts after it")
    expect(client.go(style="structured").read(0, 4096) == PATTERN, "it reads through TLS")
    client.close()
    client = Client(path)
    message = struct.pack(">QII", nbd.OPTION_MAGIC, nbd.START_TLS, 0)
    client.send(message + struct.pack(">QII", nbd.OPTION_MAGIC, nbd.LIST, 0))
    expect(client.replies(nbd.START_TLS)[-1][0] == nbd.ACK, "STARTTLS with more behind it")
    dropped(client, "an option that somebody put behind STARTTLS")
    for noise in (b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 70000):
        client = Client(path)
        expect(client.option(nbd.START_TLS)[-1][0] == nbd.ACK, "STARTTLS")
        client.send(noise)
        try:
            while client.socket.recv(4096):  # an alert first
                pass
        except ConnectionError:
            pass
        client.close()


def require_tls(path):
    client = Client(path)
    for option in (nbd.LIST, nbd.STRUCTURED, nbd.EXTENDED, 99):
        expect(client.option(option)[-1][0] == nbd.NEEDS_TLS, f"option {option} without TLS")
    expect(client.info(nbd.GO)[-1][0] == nbd.NEEDS_TLS, "GO without TLS")
    client.send_option(nbd.EXPORT_NAME)
    dropped(client, "EXPORT_NAME without TLS")
    client = Client(path)
    expect(client.option(nbd.ABORT)[-1][0] == nbd.ACK, "ABORT without TLS")
    client.close()


def silence(path):
    """Clients that stop in the middle of the negotiation are dropped after 10 seconds, wherever they stopped."""
    begin = time.monotonic()
    clients = [Client(path, greet=False), Client(path), Client(path), Client(path)]
    clients[2].send(struct.pack(">QII", nbd.OPTION_MAGIC, nbd.GO, 100) + b"x" * 50)
    expect(clients[3].option(nbd.START_TLS)[-1][0] == nbd.ACK, "STARTTLS")
    clients[0].receive(18)
    for client in clients:
        dropped(client, "a client that says nothing")
    took = time.monotonic() - begin
    expect(8 < took, f"dropped after {took:.1f} s")


def bytes_in_use(server):
    with open(f"/proc/{server.process.pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


def main():
    run(BYRE, "create", "-q", "-f", "qcow2", "disk.qcow2", str(SIZE))
    with open("pattern", "wb") as file:
        file.write(PATTERN)
    run(BYRE, "io", "-c", "write -q -s pattern 0 4096", "disk.qcow2")
    with Server("--persistent", "--shared", "0", "-q", "disk.qcow2") as server:
        path = server.socket
        witness = Witness(path)
        steps = [client_flags, oldstyle, options, options_that_cannot_be_skipped, many_options,
                 *(lambda path, style=style: requests(path, style) for style in ("simple", "structured", "extended")),
                 requests_that_end_it, leave_with_requests_in_flight]
        for number, step in enumerate(steps):
            step(path)
            witness.check(getattr(step, "__name__", str(number)))
        take_no_replies(path, witness)
        half_open(path, witness)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(leave_with_requests_in_flight, [path] * 4))
        witness.check("four threads of them")
        if not os.environ.get("BYRE_SANITIZE"):  # whose memory it would count
            expect(bytes_in_use(server) < 512 << 20, f"{bytes_in_use(server)} bytes in use after all that")
    run(BYRE, "check", "-q", "disk.qcow2")
    with Server("--read-only", "--persistent", "-q", "disk.qcow2") as server:
        read_only(server.socket)
    library = os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib", "certificates.sh")
    run("bash", "-c", f". '{library}'; make_certificates pki")
    with Server("--persistent", "-q", "--tls", "on", "--tls-certificates", "pki", "disk.qcow2") as server:
        start_tls(server.socket)
        silence(server.socket)
    with Server("--persistent", "-q", "--tls-certificates", "pki", "disk.qcow2") as server:
        require_tls(server.socket)


if __name__ == "__main__":
    try:
        main()
    except Closed as closed:
        raise SystemExit(f"the server ended a connection that it should not: {closed}") from closed
