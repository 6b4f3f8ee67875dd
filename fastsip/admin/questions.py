"""Asking the state process over its ZeroMQ socket, as a worker would, with an identity that begins with "m"."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import zmq

PATIENCE = 10.0
"""Seconds to wait for one answer."""
PAGE = 200


class Refused(Exception):
    """The state process says no, or says nothing; the text is for a person."""


class Questions:
    """A connection to the state process for one thread."""

    def __init__(self, endpoint: str, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._number = 0
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, b"m" + secrets.token_hex(8).encode())
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(endpoint)

    def ask(self, command: str, arguments: dict[str, Any]) -> Any:
        """One question, one answer. Raises Refused."""
        self._number += 1
        self._socket.send_multipart([b"Q", msgspec.msgpack.encode([self._number, command, arguments])])
        deadline = time.monotonic() + self._patience
        while (left := deadline - time.monotonic()) > 0:
            if not self._socket.poll(int(left * 1000) + 1):
                continue
            kind, *frames = self._socket.recv_multipart()
            if kind != b"R" or not frames:
                continue
            number, ok, result = msgspec.msgpack.decode(frames[0])
            if number != self._number:
                continue
            if not ok:
                raise Refused(str(result.get("error", result)))
            return result
        raise Refused(f"the state process did not answer in {self._patience:g} s")

    def pages(self, command: str, arguments: dict[str, Any], items: str) -> Iterator[list[dict[str, Any]]]:
        """A listing page by page, never more than one page in memory. Raises Refused."""
        cursor: Any = 0
        while cursor is not None:
            result = self.ask(command, {**arguments, "cursor": cursor, "limit": PAGE})
            yield result[items]
            cursor = result["next"]

    def close(self) -> None:
        self._socket.close()
