"""What whoever writes a plan sees of a request and of the responses its branches brought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastsip._message import Headers, Message, NameAddr, Uri, parse

ROUTE = 1
"""Question kinds: where does this request go?"""
FAILURE = 2
"""A plan that asked for it has failed; what came back is beside it."""
CANCELLED = 3
"""Nobody waits for this answer any more."""
RESPONSE = 4
"""A response went upstream: to look at, nothing more."""

OWN = 1
"""Flags of a question: the Request-URI's host is one this server is responsible for."""
TRUSTED = 2
"""The sender is a trusted neighbour (or everybody is)."""
AUTHENTICATED = 4
"""The sender proved by Digest to be `caller`."""
KNOWN = 8
"""`aor` is somebody: it has bindings, or is a user."""


class Question(NamedTuple):
    """What the hot thread asks."""

    kind: int
    token: int
    flags: int
    aor: bytes
    """Canonical address-of-record of the Request-URI where it is one of ours, else empty (RFC 3261 10.3 step 5)."""
    caller: bytes
    """That of who the sender proved to be, or else of the From header where that lives here; empty for none."""
    source: tuple[str, int]
    data: bytes
    """The request (of RESPONSE: the response) as received."""
    responses: tuple[tuple[int, int, bytes | None], ...] = ()
    """Of FAILURE: status, number of the target in the plan, and the response, None where none came."""


class Request:
    """A request, parsed when it is first looked at. Everything is read-only."""

    __slots__ = ("_message", "_question")

    def __init__(self, question: Question) -> None:
        self._question = question
        self._message: Message | None = None

    @property
    def message(self) -> Message:
        """All of it; see `fastsip.Message`."""
        message = self._message
        if message is None:
            message = self._message = parse(self._question[6])
        return message

    @property
    def method(self) -> str:
        return self.message.method

    @property
    def uri(self) -> Uri:
        """The Request-URI."""
        uri = self.message.uri
        assert uri is not None
        return uri

    @property
    def user(self) -> str | None:
        """The Request-URI's user: a name, or a number."""
        message = self._message
        uri = (self.message if message is None else message).uri
        return None if uri is None else uri.user

    @property
    def from_(self) -> NameAddr:
        return self.message.from_

    @property
    def to(self) -> NameAddr:
        return self.message.to

    @property
    def headers(self) -> Headers:
        return self.message.headers

    @property
    def call_id(self) -> str:
        return self.message.call_id

    @property
    def aor(self) -> str | None:
        """The address-of-record it is for, "bob@example.com", if that is one of this server's domains."""
        return self._question[3].decode("utf-8", "surrogateescape") or None

    @property
    def caller(self) -> str | None:
        """The address-of-record of its sender, if he lives here."""
        return self._question[4].decode("utf-8", "surrogateescape") or None

    @property
    def source(self) -> tuple[str, int]:
        """Address and port it came from."""
        return self._question[5]

    @property
    def own(self) -> bool:
        """Whether the Request-URI's host is one this server is responsible for."""
        return bool(self._question[2] & OWN)

    @property
    def trusted(self) -> bool:
        return bool(self._question[2] & TRUSTED)

    @property
    def authenticated(self) -> bool:
        return bool(self._question[2] & AUTHENTICATED)

    @property
    def known(self) -> bool:
        """Whether `aor` is somebody: has bindings, or is a user."""
        return bool(self._question[2] & KNOWN)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Response:
    """What one target of a plan brought."""

    __slots__ = ("_data", "status", "target")

    def __init__(self, status: int, target: int, data: bytes | None) -> None:
        self.status = status
        """408 or 503 where nothing came or nothing could be sent."""
        self.target = target
        """The number of the target in its plan."""
        self._data = data

    @property
    def message(self) -> Message | None:
        """The response itself; None where none came."""
        return parse(self._data) if self._data is not None else None

    def __repr__(self) -> str:
        return f"<Response {self.status} of target {self.target}>"


def responses_of(question: Question) -> Sequence[Response]:
    return [Response(*one) for one in question.responses]
