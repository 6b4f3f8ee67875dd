"""TLS by the layer a server uses: CPU of one end of a handshake, full and resumed, and of a small record.

    python bench/tls.py [--quick]

Both ends are ours, on one pair of TCP sockets over loopback and in one thread, with P-256 certificates signed by one
authority; the client verifies. CPU is what the thread spent in the calls of that end, system calls with it. A record is
written at one end and read at the other; the same bytes over the bare sockets are the floor.
"""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from certificates import Authority
from rows import Bench, Row, alone
from tls_kit import Setup

from fastsip._tls import DONE, Connection, TlsContexts

TITLE = "TLS"
ABOUT = "one end of a handshake, P-256, and a record of 500 bytes from one end to the other"
NAME = "sip.example.com"


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    for end in (one, other):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


def shake(client: Connection, server: Connection) -> tuple[int, int]:
    """Nanoseconds of CPU of either end."""
    ends, spent, done = (client, server), [0, 0], [False, False]
    while not all(done):
        for index, end in enumerate(ends):
            if not done[index]:
                begun = time.thread_time_ns()
                done[index] = end.handshake() == DONE
                spent[index] += time.thread_time_ns() - begun
    return spent[0], spent[1]


def handshakes(server: TlsContexts, client: TlsContexts, count: int, resumed: bool) -> tuple[float, float]:
    """Microseconds of client and server, the median of `count`."""
    spent = []
    for index in range(count + 1):
        sockets = tcp()
        ends = client.connect(sockets[0].fileno(), NAME), server.accept(sockets[1].fileno())
        taken = shake(*ends)
        ends[1].write(b"x")
        ends[0].read(100)                    # and the ticket
        assert ends[1].resumed == (resumed and index > 0)
        if index:
            spent.append(taken)
        for end, sock in zip(ends, sockets, strict=True):
            end.free()
            sock.close()
    return tuple(sorted(column)[count // 2] / 1000 for column in zip(*spent, strict=True))  # type: ignore[return-value]


def rows(bench: Bench) -> Iterator[Row]:
    count, rounds, records = bench.pick((3, 1, 50), (100, 3, 5_000), (500, 10, 20_000))
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        certificate = authority.sign(NAME)
        client = TlsContexts(Setup(ca_file=authority.file))
        for tickets in (False, True):
            what = "resumed" if tickets else "full"
            bench.say(f"shaking hands, {what}")
            server = TlsContexts(Setup([certificate], tickets=tickets, minimum="1.3"))
            for end, taken in zip(("client", "server"), handshakes(server, client, count, tickets), strict=True):
                yield Row(f"{what} handshake, {end}", taken, "us", note=f"{1e6 / taken:,.0f} a CPU second")
        bench.say("exchanging records")
        sockets = tcp()
        ends = client.connect(sockets[0].fileno(), NAME), server.accept(sockets[1].fileno())
        bare = min(ends[0].time_echo(ends[1], 500, records, True) for _ in range(rounds))
        shake(*ends)
        taken = min(ends[0].time_echo(ends[1], 500, records) for _ in range(rounds))
        yield Row("500 bytes, written and read, plain TCP", bare, "ns")
        yield Row("500 bytes, written and read, TLS 1.3", taken, "ns", floor=taken / bare)
        for sock in sockets:
            sock.close()


if __name__ == "__main__":
    alone(__name__)
