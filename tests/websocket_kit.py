"""A WebSocket server for SIP that tests hold in their hands: whoever connects is taken, message by message.

Made of fastsip's own handshake and frames, so that what is tested against it tests these too.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from types import TracebackType

from frames import PONG, TEXT
from harness import Message

from fastsip._testing import ManualFrames, frame_close_written, frame_written
from fastsip.websocket import Answer, Opening, Rules


class Peer:
    """One connection, after its handshake."""

    def __init__(self, sock: socket.socket, rules: Rules, timeout: float) -> None:
        self.socket = sock
        self.closed: int | None = None
        """The code the other side closed with, 0 without one."""
        self._frames = ManualFrames()
        self.opcode = TEXT
        """Of the last message received."""
        self._messages: deque[tuple[bytes, int]] = deque()
        self.answer = self._open(Opening(rules, time.monotonic()), timeout)
        if self.answer.accepted:
            self._take(self.answer.rest)

    @property
    def pending(self) -> bool:
        """Whether a message has been read already, so that `receive` gives it without a look at the socket."""
        return bool(self._messages)

    def receive(self, timeout: float = 10) -> bytes:
        """The next message; pings are answered, pongs passed over."""
        self.socket.settimeout(timeout)
        while not self._messages:
            assert self.closed is None, f"closed with {self.closed}"
            data = self.socket.recv(65536)
            assert data, "the connection ended"
            self._take(data)
        message, self.opcode = self._messages.popleft()
        return message

    def receive_sip(self, timeout: float = 10) -> Message:
        return Message(self.receive(timeout))

    def send(self, message: bytes | str, opcode: int = TEXT) -> None:
        self.socket.sendall(frame_written(opcode, message.encode() if isinstance(message, str) else message))

    def end(self, timeout: float = 10) -> None:
        """Close, unless that is said, and wait for the other side to go: what it still sends would else be answered
        with a reset, which may overtake what was written."""
        if self.answer.accepted and self.closed is None:
            self.socket.sendall(frame_close_written(1000))
        with contextlib.suppress(OSError):
            self.socket.settimeout(timeout)
            self.socket.shutdown(socket.SHUT_WR)
            while self.socket.recv(65536):
                pass
        self.socket.close()

    def _open(self, opening: Opening, timeout: float) -> Answer:
        self.socket.settimeout(timeout)
        while True:
            data = self.socket.recv(65536)
            assert data, "the connection ended in its handshake"
            if answer := opening.feed(data):
                self.socket.sendall(answer.response)
                return answer

    def _take(self, data: bytes) -> None:
        for what, found, number, _ in self._frames.feed(data):
            if what == "message":
                self._messages.append((found, number))
            elif what == "ping":
                self.send(found, PONG)
            elif what in ("close", "failed"):
                self.closed = number
                self.socket.sendall(frame_close_written(number))


class Listener:
    """A listening socket on loopback."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"

    def accept(self, timeout: float = 10) -> Peer:
        """Take the next connection and its handshake, which may end with a refusal: see `Peer.answer`."""
        self.socket.settimeout(timeout)
        sock, _ = self.socket.accept()
        return Peer(sock, self.rules, timeout)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.socket.close()
