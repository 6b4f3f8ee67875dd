"""A bad network between a phone and the server: a UDP relay that drops, duplicates and reorders by seed.

What happens to a datagram is a function of the seed, its direction, its Call-ID, its start line and how many like it
came before, so that a run can be repeated whatever the timing. The relay keeps what it saw, in the order in which it
saw it, before anything was done to it: `left` is the server's egress.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import select
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType

from harness import Message

HOLD = 0.05
"""Seconds a reordered datagram waits, so that what follows at once overtakes it."""


@dataclass(frozen=True)
class Weather:
    """How bad the network is: shares of datagrams, from 0 to 1."""

    seed: int
    drop: float = 0.05
    duplicate: float = 0.05
    reorder: float = 0.05

    def fate(self, *what: object) -> float:
        """A number from 0 to 1 that depends on the seed and `what` alone."""
        digest = hashlib.blake2b(repr((self.seed, *what)).encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64


class Relay:
    """Between one phone and the server. The phone's side is `front`, the server's side `back`.

    With `phone` given, datagrams from the server go there from the first; else to whoever wrote to `front` last.
    """

    def __init__(
        self, weather: Weather, server: tuple[str, int], host: str, phone: tuple[str, int] | None = None
    ) -> None:
        self.weather = weather
        self.server = server
        self.phone = phone
        self.left: list[Message] = []
        """What the server sent to this phone, in the order it left the server."""
        self.done: Counter[str] = Counter()
        self._front, self._back = _socket(host), _socket(host)
        self.front: tuple[str, int] = self._front.getsockname()
        self.back: tuple[str, int] = self._back.getsockname()
        self._seen: Counter[tuple[str, str, str, str]] = Counter()
        self._held: list[tuple[float, int, socket.socket, bytes, tuple[str, int]]] = []
        self._order = itertools.count()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join(5)
        self._front.close()
        self._back.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            wait = max(0.0, self._held[0][0] - time.monotonic()) if self._held else 0.1
            readable, _, _ = select.select([self._front, self._back], [], [], min(wait, 0.1))
            for sock in readable:
                while (datagram := _receive(sock)) is not None:
                    self._take(sock, *datagram)
            while self._held and self._held[0][0] <= time.monotonic():
                _, _, sock, data, target = heapq.heappop(self._held)
                _send(sock, data, target)

    def _take(self, sock: socket.socket, data: bytes, source: tuple[str, int]) -> None:
        message = Message(data, time=time.monotonic(), source=source)
        if sock is self._back:
            self.left.append(message)
            outgoing, target, direction = self._front, self.phone, "to phone"
        else:
            self.phone = self.phone or source
            outgoing, target, direction = self._back, self.server, "to server"
        if target is None:
            return
        what = (direction, message.call_id, message.name, message.get("CSeq"))
        self._seen[what] += 1
        nth = self._seen[what]
        weather = self.weather
        if weather.fate("drop", nth, *what) < weather.drop:
            self.done["dropped"] += 1
            return
        copies = 1
        if weather.fate("duplicate", nth, *what) < weather.duplicate:
            self.done["duplicated"] += 1
            copies = 2
        for copy in range(copies):
            if weather.fate("reorder", copy, nth, *what) < weather.reorder:
                self.done["reordered"] += 1
                heapq.heappush(self._held, (time.monotonic() + HOLD, next(self._order), outgoing, data, target))
            else:
                _send(outgoing, data, target)


def _socket(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    made.setblocking(False)
    made.bind((host, 0))
    return made


def _receive(sock: socket.socket) -> tuple[bytes, tuple[str, int]] | None:
    try:
        return sock.recvfrom(65535)
    except OSError:
        return None


def _send(sock: socket.socket, data: bytes, target: tuple[str, int]) -> None:
    try:
        sock.sendto(data, target)
    except OSError:
        return  # the phone is gone; that is no matter of the network
