"""User CPU of a worker per OPTIONS over WebSocket, next to the same over TCP.

    python bench/websocket.py [--quick]

One connection, opened here; all requests are laid out before, with their frames, and sent as fast as the worker takes
them while another thread reads the answers. One worker, so nothing is handed over. What is counted is the worker's time
in user space, in the kernel's ticks scaled by what the scheduler counted: system calls are the same for both.
"""

from __future__ import annotations

import base64
import os
import socket
import statistics
import struct
import threading
from collections.abc import Iterator

from measure import ticks
from rows import Bench, Row, alone
from servers import HOST, Job, make
from traffic import running

TITLE = "WebSocket"
ABOUT = "user CPU of a worker per OPTIONS over one connection, requests sent without waiting"
GATE = 1.5
BATCH = 10_000
MASK = b"\x5a\xc3\x17\x99"
KINDS = {"TCP": "tcp", "WebSocket": "ws"}
REQUEST = (
    "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/{transport} here.invalid;branch=z9hG4bK{number:08}\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:alice@{server}>;tag={number:08}\r\nTo: <sip:{server}>\r\n"
    "Call-ID: {number:08}@here.invalid\r\nCSeq: 1 OPTIONS\r\n"
    "Contact: <sip:alice@here.invalid;transport={transport}>\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"
)
ANSWER = b"SIP/2.0 200 "


def rows(bench: Bench) -> Iterator[Row]:
    count, number = bench.pick((200, 1), (BATCH * 5, 3), (BATCH * 20, 5))
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    for turn in range(number):
        for name, transport in KINDS.items():
            bench.say(f"{count:,} OPTIONS by {name}, round {turn + 1} of {number}")
            found[name].append(each(transport, count))
    middle = {name: statistics.median(mine) for name, mine in found.items()}
    for name, mine in found.items():
        yield Row(f"OPTIONS over {name}, one connection", middle[name], "µs", spread=(min(mine), max(mine)), raw=mine)
    share = middle["WebSocket"] / middle["TCP"] if middle["TCP"] else None
    note = f"user CPU, medians of {number} rounds of {count:,}" if share else "too few to measure"
    yield Row("WebSocket's multiple of TCP's CPU", share, "", GATE if bench.size != "tiny" else None, note=note)


def each(transport: str, count: int) -> float:
    """Microseconds of user CPU of the worker per request. Raises OSError where answers are missing."""
    server = make("fastsip", Job(1, transport=transport))
    with running(server):
        (worker,) = [pid for pid, kind in server.children().items() if kind == "worker"]
        with connected(server.address, transport) as connection:
            exchange(connection, requests(server.hostport, transport, 0, count // 10))
            before, _ = ticks([worker])
            exchange(connection, requests(server.hostport, transport, count, count))
            after, _ = ticks([worker])
    return (after - before) / count * 1e6


def connected(server: tuple[str, int], transport: str) -> socket.socket:
    """With the opening handshake done, if there is one."""
    connection = socket.create_connection(server, 20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if transport == "ws":
        key = base64.b64encode(os.urandom(16)).decode()
        words = (
            f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}"
        )
        connection.sendall(f"{words}\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        said = b""
        while not said.endswith(b"\r\n\r\n"):
            more = connection.recv(1)
            if not more:
                break
            said += more
        if not said.startswith(b"HTTP/1.1 101 "):
            raise OSError(f"no WebSocket: {said[:100]!r}")
    return connection


def requests(server: str, transport: str, first: int, count: int) -> list[bytes]:
    """Each with its frame, a masked text in one piece (RFC 6455 5.2)."""
    made = []
    for number in range(first, first + count):
        text = REQUEST.format(server=server, transport=transport.upper(), number=number).encode()
        made.append(text if transport == "tcp" else framed(text))
    return made


def framed(text: bytes) -> bytes:
    mask = (MASK * (len(text) // 4 + 1))[: len(text)]
    hidden = (int.from_bytes(text) ^ int.from_bytes(mask)).to_bytes(len(text))
    return struct.pack(">BBH", 0x81, 0x80 | 126, len(text)) + MASK + hidden


def exchange(connection: socket.socket, laid_out: list[bytes]) -> None:
    """Send them all, and wait for as many answers. Raises OSError."""
    whole = b"".join(laid_out)
    sending = threading.Thread(target=connection.sendall, args=(whole,), daemon=True)
    sending.start()
    answered, carried = 0, b""
    while answered < len(laid_out):
        more = connection.recv(1 << 20)
        if not more:
            raise OSError(f"{answered:,} of {len(laid_out):,} requests were answered with 200, and then it was closed")
        carried += more
        answered += carried.count(ANSWER)
        carried = carried[carried.rfind(ANSWER) + len(ANSWER) :] if ANSWER in carried else carried
        carried = carried[-len(ANSWER) :]
    sending.join()


if __name__ == "__main__":
    alone(__name__)
