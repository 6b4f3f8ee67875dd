"""What locating a server can fail with."""

from __future__ import annotations

from typing import NamedTuple

from fastsip.errors import SipError


class Used(NamedTuple):
    """One record or outcome that led to a list of servers, or to none."""

    name: str
    type: str
    """Of the question: "NAPTR", "SRV", "A", "AAAA"; "" where nothing was asked."""
    text: str


class NoServer(SipError):
    """No server is known for a next hop.

    Attributes:
        reason: why, in words.
        temporary: whether it may be otherwise in a few seconds: name servers did not answer.
        why: what was asked and found, in that order.
    """

    def __init__(self, reason: str, *, temporary: bool = False, why: tuple[Used, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.temporary = temporary
        self.why = why


class NoAnswer(SipError):
    """No name server gave a usable answer to a question in time. Stays inside this package."""
