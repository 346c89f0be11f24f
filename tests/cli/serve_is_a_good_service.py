#!/usr/bin/env python3
"""byre serve as a service: how it starts, what it shows, how many it serves, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
import nbd_client as nbd  # noqa: E402
from nbd_client import Client  # noqa: E402
from nbd_server import BYRE, Server  # noqa: E402


def expect(truth, what):
    if not truth:
        raise SystemExit(what)


def run(*arguments, code=0):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    expect(done.returncode == code, f"{arguments}: exit {done.returncode}, not {code}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def make_image(name, *commands):
    run(BYRE, "create", "-q", "-f", "qcow2", name, "4M")
    run(BYRE, "io", *(word for command in commands for word in ("-c", command)), name)


def ends_with_the_last_client():
    with Server("--shared", "2", "one.qcow2") as server:
        Client(server.socket).close()  # it has got nothing, and does not count
        first, second = Client(server.socket).go(), Client(server.socket).go()
        first.close()
        time.sleep(0.2)
        expect(server.process.poll() is None, "it ended while a client was there")
        expect(second.read(0, 512) == b"\1" * 512, "the second client reads")
        second.request(nbd.DISCONNECT)
        expect(server.wait() == 0, "it ends when the last client leaves")
    expect(not os.path.exists("socket"), "the socket is left behind")


def serves_as_many_as_it_should():
    with Server("--shared", "1", "--persistent", "one.qcow2") as server:
        first = Client(server.socket).go()
        waiting = Client(server.socket, greet=False, timeout=1)
        try:
            waiting.receive(18)
            raise SystemExit("a second client is greeted")
        except TimeoutError:
            pass
        first.close()
        waiting.socket.settimeout(20)
        expect(len(waiting.receive(18)) == 18, "it is greeted when the first one has left")
        waiting.close()
        Client(server.socket).go().close()


def serves_several_images_by_name():
    with Server("--export", "a=one.qcow2", "--export", "b=two.qcow2", "--persistent", "--shared", "0", "-D", "text",
                "--read-only") as server:
        ours, theirs = run(BYRE, "serve", "--list", "-k", "socket"), run("qemu-nbd", "-L", "-k", server.socket)
        expect(ours.split("\n")[:5] == theirs.split("\n")[:5] and "'b'" in ours, f"{ours}\n{theirs}")
        listed = json.loads(run(BYRE, "serve", "--list", "-k", "socket", "--output=json"))["exports"]
        expect([(one["name"], one["size"], one["description"]) for one in listed] ==
               [("a", 4 << 20, "text"), ("b", 4 << 20, "text")], listed)
        expect("readonly" in listed[0]["flags"] and "base:allocation" in listed[1]["contexts"], listed)
        client = Client(server.socket)
        replies = client.option(nbd.LIST)
        expect([data for kind, data in replies if kind == nbd.SERVER] == [b"\0\0\0\1atext", b"\0\0\0\1btext"], replies)
        expect(client.info(nbd.GO)[-1][0] == nbd.UNKNOWN, "there is no default export")
        expect(client.go("b").read(0, 512) == b"\2" * 512, "export b")
        client.close()
        expect(Client(server.socket).go("a").read(0, 512) == b"\1" * 512, "export a")
    out = run(BYRE, "serve", "--socket", "s", "--export", "x=one.qcow2", "--export", "x=two.qcow2", "-r", code=1)
    expect("cannot connect" in run(BYRE, "serve", "--list", "-k", "socket", code=1), "--list without a server")
    expect("two exports have the name 'x'" in out, out)
    out = run(BYRE, "serve", "--socket", "s", "--export", "one.qcow2", code=1)
    expect("NAME=IMAGE" in out, out)


def serves_parts_and_snapshots():
    make_image("parts.qcow2", "write -q -P 1 0 4M", "write -q -P 2 1M 1M")
    run(BYRE, "snapshot", "-c", "old", "parts.qcow2")
    run(BYRE, "io", "-c", "write -q -P 3 0 4M", "parts.qcow2")
    with Server("--snapshot", "old", "--persistent", "parts.qcow2") as server:
        client = Client(server.socket).go()
        expect(client.flags & 2 and client.read(1 << 20, 512) == b"\2" * 512, "the snapshot, read-only")
    with Server("--offset", "1M", "--size", "512k", "--persistent", "parts.qcow2") as server:
        client = Client(server.socket).go()
        expect(client.size == 512 << 10, client.size)
        expect(client.ask(nbd.WRITE, 0, 512, data=b"\4" * 512)[0] == 0, "write")
        expect(client.ask(nbd.WRITE, 512 << 10, 512, data=b"\4" * 512)[0] == nbd.ENOSPC, "behind the part")
    run(BYRE, "io", "-c", "read -q -P 4 1M 512", "-c", "read -q -P 3 1049088 512", "-c", "read -q -P 3 0 1M",
        "parts.qcow2")
    out = run(BYRE, "serve", "--socket", "s", "--offset", "5M", "one.qcow2", code=1)
    expect("4194304 bytes" in out, out)


def goes_to_the_background():
    run(BYRE, "serve", "--socket", "socket", "--fork", "--pid-file", "pid", "--persistent", "one.qcow2")
    with open("pid", encoding="ascii") as file:
        process = int(file.read())
    expect(Client("socket").go().read(0, 512) == b"\1" * 512, "a client right after the command returned")
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{process}") and time.monotonic() < deadline:
        time.sleep(0.01)
    expect(not os.path.exists("pid") and not os.path.exists("socket"), "files are left behind")
    out = run(BYRE, "serve", "--socket", "socket", "--fork", "missing.qcow2", code=1)
    expect("missing.qcow2" in out and not os.path.exists("socket"), f"a failure before it is ready: {out}")


def takes_sockets_from_a_service_manager():
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("activated")
        listening.listen()

        def become_the_service():
            os.dup2(listening.fileno(), 3)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")

        command = [BYRE, "serve", "one.qcow2"]
        # The environment of a process that subprocess starts is fixed before its number is known: a shell tells it.
        command = ["bash", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "bash", *command]
        process = subprocess.Popen(command, preexec_fn=become_the_service, pass_fds=(3,))
        client = Client("activated").go()
        expect(client.read(0, 512) == b"\1" * 512, "a client of an inherited socket")
        client.close()
        expect(process.wait(20) == 0, "it ends when the client has left")
    expect(os.path.exists("activated"), "the path is the service manager's")
    os.unlink("activated")


def ends_in_good_order():
    """What is under way is answered, and the image is closed; a client that does not take its replies gets 10 s."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with Server("--persistent", "--shared", "0", "two.qcow2", ends=number) as server:
            client = Client(server.socket).go(style="structured")
            for cookie in range(20):
                client.request(nbd.WRITE, cookie * 65536, 65536, data=bytes([cookie + 1]) * 65536, cookie=cookie)
            cookie, error, _ = client.reply()
            expect((cookie < 20, error) == (True, 0), "the first reply")
            os.kill(server.process.pid, number)
            answered = {cookie}
            try:
                while True:
                    cookie, error, _ = client.reply()
                    expect(error == 0, f"request {cookie}: error {error}")
                    answered.add(cookie)
            except nbd.Closed:
                pass
            expect(server.wait() == 0, "exit status")
        run(BYRE, "check", "-q", "two.qcow2")
        run("qemu-img", "check", "-q", "two.qcow2")
        reads = [f"read -q -P {cookie + 1} {cookie * 65536} 65536" for cookie in answered]
        run(BYRE, "io", *(word for read in reads for word in ("-c", read)), "two.qcow2")


def keeps_others_out():
    with Server("--persistent", "one.qcow2") as server:
        out = run(BYRE, "io", "-c", "write 0 512", "one.qcow2", code=1)
        expect("one.qcow2" in out, out)
        out = run(BYRE, "serve", "--socket", server.socket, "-r", "two.qcow2", code=1)
        expect("Address already in use" in out, out)
        expect(Client(server.socket).go().read(0, 512) == b"\1" * 512, "the first server goes on")
    out = run(BYRE, "serve", "--socket", "s", code=1)
    expect("give an image" in out, out)
    expect("65536" in run(BYRE, "serve", "--port", "65536", "one.qcow2", code=1), "a port that is too high")


def survives_being_killed():
    """A write that was flushed is there, and nothing is corrupt."""
    for lazy in ("off", "on"):
        run(BYRE, "create", "-q", "-f", "qcow2", "-o", f"lazy_refcounts={lazy}", "killed.qcow2", "16M")
        with Server("--persistent", "--shared", "0", "killed.qcow2") as server:
            client = Client(server.socket).go()
            for at in range(0, 8 << 20, 1 << 20):
                expect(client.ask(nbd.WRITE, at, 65536, data=bytes([at >> 20 | 0x40]) * 65536)[0] == 0, "write")
            expect(client.ask(nbd.FLUSH)[0] == 0, "flush")
            for cookie in range(100):
                client.request(nbd.WRITE, (8 << 20) + cookie * 65536, 65536, data=b"x" * 65536, cookie=cookie)
            client.reply()
            server.process.kill()
            server.process.wait()
            server.process.returncode = 0
        time.sleep(0.05)  # a ring outlives its process for a moment, and so does the lock
        run(BYRE, "io", "-r", *(word for at in range(8) for word in ("-c", f"read -q -P {at | 0x40} {at}M 64k")),
            "killed.qcow2")
        run(BYRE, "check", "-q", "-r", "all" if lazy == "on" else "leaks", "killed.qcow2")
        run("qemu-img", "check", "-q", "killed.qcow2")


def main():
    make_image("one.qcow2", "write -q -P 1 0 4M")
    make_image("two.qcow2", "write -q -P 2 0 4M")
    for step in (ends_with_the_last_client, serves_as_many_as_it_should, serves_several_images_by_name,
                 serves_parts_and_snapshots, goes_to_the_background, takes_sockets_from_a_service_manager,
                 ends_in_good_order, keeps_others_out, survives_being_killed):
        step()


main()
