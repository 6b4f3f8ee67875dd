"""What comes of a handshake, and the HTTP head it is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass

SUBPROTOCOL = "sip"
REASON = 100
"""Characters of a reason that quotes a peer."""
_BYTES = re.compile(r"(bytearray\()?\bb((['\"]).*\3)(?(1)\))$")


@dataclass(frozen=True)
class Answer:
    """The end of a handshake, seen from either side."""

    status: int
    """101: frames follow. Of a client: 0 if what came was no HTTP response."""
    reason: str
    """Why it was refused, for people; empty if it was accepted."""
    response: bytes = b""
    """Of a server: to be written. After a refusal the connection ends."""
    rest: bytes = b""
    """What came after the handshake: the beginning of the frames."""
    path: str = ""
    origin: str | None = None

    @property
    def accepted(self) -> bool:
        return self.status == 101


def explained(error: Exception) -> str:
    """What a library found wrong, for a reason. It may quote the whole of what came, as Python writes bytes."""
    text = _BYTES.sub(r"\2", str(error))
    return text if len(text) <= REASON else text[: REASON - 3] + "..."


class Head:
    """The bytes up to and with the empty line, which may come in any pieces."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._seen = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The head and what follows it; None if more is needed. Raises OverflowError when it is larger than it may be,
        ValueError when its lines do not end in CRLF: a reader that takes LF alone would see another end than this."""
        begun = max(0, len(self._seen) - 3)
        self._seen += data
        end = self._seen.find(b"\r\n\r\n", begun, self.most)
        if end < 0:
            if len(self._seen) >= self.most:
                raise OverflowError(f"a head of more than {self.most} bytes")
            return None
        head, rest = bytes(self._seen[: end + 4]), bytes(self._seen[end + 4 :])
        if head.count(b"\n") != head.count(b"\r\n"):
            raise ValueError("a line does not end in CRLF")
        return head, rest
