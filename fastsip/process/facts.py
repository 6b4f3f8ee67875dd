"""The worker's end of the line to the state process: facts out, in order and again until acknowledged; results back.

Sequences are given here, one per fact. What was not acknowledged is kept, bounded, and sent again in order when no
acknowledgement comes for `RESEND` seconds or the state process says it is another one. The state process applies each
sequence once (and a fact applied by its predecessor changes nothing the second time).
"""

from __future__ import annotations

import time
from collections import deque

import msgpack
import zmq

RESEND = 0.25
HELLO = 1.0
UNACKNOWLEDGED_LIMIT = 200_000

Result = tuple[int, int, int]
"""Token of the REGISTER, status, seconds for Retry-After."""


class FactLine:
    """A DEALER socket with a memory. One thread; `socket` is for polling."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, worker: int, incarnation: int) -> None:
        self.worker = worker
        self.incarnation = incarnation
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, 100_000)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 100)
        self.socket.setsockopt(zmq.IDENTITY, b"w%d-%d" % (worker, incarnation))
        self.socket.connect(endpoint)
        self._sequence = 1
        self._unacknowledged: deque[tuple[int, int, bytes]] = deque()
        self._kept = 0
        self._applied = 0
        self._state_incarnation = -1
        self._last_sent = 0.0
        self._last_heard = time.monotonic()
        self._hello()

    def _hello(self) -> None:
        self._put([b"H", msgpack.packb([self.worker, self.incarnation, self._oldest()])])
        self._last_sent = time.monotonic()

    def _oldest(self) -> int:
        """The first sequence still kept: a state process that does not know this worker begins there and nowhere later,
        whatever of what was sent to its predecessor reaches it first."""
        return self._unacknowledged[0][0] if self._unacknowledged else self._sequence

    def _put(self, frames: list[bytes]) -> None:
        try:
            self.socket.send_multipart(frames, flags=zmq.NOBLOCK)
        except zmq.Again:
            return  # the state process is away and the queue is full: it is sent again later

    def _transmit(self, first: int, count: int, facts: bytes) -> None:
        head = msgpack.packb([self.worker, self.incarnation, first, count, self._oldest()])
        self._put([b"F", head, facts])

    def send(self, count: int, facts: bytes) -> None:
        """Send facts, msgpack arrays one after another. Beyond the limit of what is kept they are dropped: their
        REGISTERs get 503 from the hot thread, dialogs are only seen less well."""
        if self._kept + count > UNACKNOWLEDGED_LIMIT:
            return
        if not self._unacknowledged:
            self._last_heard = time.monotonic()
        self._unacknowledged.append((self._sequence, count, facts))
        self._kept += count
        self._transmit(self._sequence, count, facts)
        self._sequence += count
        self._last_sent = time.monotonic()

    def receive(self) -> list[Result]:
        """Whatever has come, without blocking: results of REGISTERs, in order."""
        results: list[Result] = []
        while int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            kind, frame = self.socket.recv_multipart(flags=zmq.NOBLOCK)
            self._last_heard = time.monotonic()
            number, second = msgpack.unpackb(frame, use_list=False)
            if kind == b"A":
                self._acknowledged(number)
                results += second
            elif kind == b"H":
                changed = self._state_incarnation not in (-1, number)
                self._state_incarnation = number
                self._acknowledged(second)
                if changed:
                    self._resend()
        return results

    def _acknowledged(self, sequence: int) -> None:
        while self._unacknowledged:
            first, count, _ = self._unacknowledged[0]
            if first + count - 1 > sequence:
                return
            self._unacknowledged.popleft()
            self._kept -= count
            self._applied += count

    def _resend(self) -> None:
        for first, count, facts in self._unacknowledged:
            self._transmit(first, count, facts)
        self._last_sent = time.monotonic()

    def tick(self) -> None:
        """Call it now and then: sends again what is overdue, and asks who is there."""
        now = time.monotonic()
        if not self._unacknowledged:
            return
        if now - self._last_heard > RESEND and now - self._last_sent > RESEND:
            self._resend()
        if now - self._last_sent > HELLO:
            self._hello()

    def take_acknowledged(self) -> int:
        """How many facts were acknowledged since this was last asked."""
        applied, self._applied = self._applied, 0
        return applied

    @property
    def patience(self) -> float:
        """Seconds after which `tick` may have something to do."""
        return RESEND / 4 if self._unacknowledged else HELLO

    def close(self) -> None:
        self.socket.close()
