"""The server's side of the opening handshake (RFC 6455 4.2, RFC 7118 4).

The HTTP grammar is h11's, the rules of the upgrade are wsproto's. Ours: a bound on size and time, the subprotocol, who
may ask, and where the head ends, so that neither sees a byte of what follows.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from http import HTTPStatus

import h11
from wsproto import ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from fastsip.websocket.answer import SUBPROTOCOL, Answer, Head

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Rules:
    """Who may open a connection, and how long and how large the request may be."""

    origins: frozenset[str] | None = None
    """Web origins such as "https://example.com" whose pages may connect; None for any. Programs that are no browsers
    send none and are not kept out by this (RFC 6455 10.2): it guards people, whose browsers tell the truth."""
    paths: frozenset[str] | None = None
    """Paths without query that may be asked for; None for any."""
    size: int = 8192
    seconds: float = 5.0


class _Refused(Exception):
    def __init__(self, status: int, reason: str, headers: Headers | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers or []


def _request(head: bytes) -> h11.Request:
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head) + 1)
    reader.receive_data(head)
    try:
        event = reader.next_event()
    except h11.RemoteProtocolError as error:
        raise _Refused(400, f"not HTTP/1.1: {error}") from None
    if not isinstance(event, h11.Request):
        raise _Refused(400, "not an HTTP request")
    return event


def _one(request: h11.Request, name: bytes) -> bytes | None:
    """The value of a header that may be there once."""
    found = [value for each, value in request.headers if each == name]
    if len(found) > 1:
        raise _Refused(400, f"{name.decode()} more than once")
    return found[0] if found else None


def _check_http(request: h11.Request) -> None:
    if request.http_version != b"1.1":
        raise _Refused(505, "HTTP/1.1 is needed")
    if request.method != b"GET":
        raise _Refused(405, "the method of a WebSocket handshake is GET", [(b"Allow", b"GET")])
    if _one(request, b"upgrade") is None:
        raise _Refused(426, "this is a WebSocket server", [(b"Upgrade", b"websocket"), (b"Connection", b"upgrade")])
    if _one(request, b"transfer-encoding") is not None or _one(request, b"content-length") not in (None, b"0"):
        raise _Refused(400, "a body is not allowed")


def _check_key(request: h11.Request) -> None:
    key = _one(request, b"sec-websocket-key")
    try:
        if key is not None and len(base64.b64decode(key, validate=True)) != 16:
            raise ValueError
    except (binascii.Error, ValueError):
        raise _Refused(400, "Sec-WebSocket-Key is not 16 bytes in base64") from None


class Opening:
    """One connection from its first byte to the answer. `now` is any clock in seconds, the same in `expired`."""

    def __init__(self, rules: Rules, now: float) -> None:
        self.rules = rules
        self.deadline = now + rules.seconds
        self._head = Head(rules.size)

    def feed(self, data: bytes) -> Answer | None:
        """Take what was received. None if more is needed, else the end of it: nothing may be fed after that."""
        try:
            found = self._head.feed(data)
            return self._decide(*found) if found else None
        except OverflowError as error:
            return self._refuse(_Refused(431, str(error)))
        except _Refused as refused:
            return self._refuse(refused)
        except ValueError as error:  # a Host that is no IDNA name, too
            return self._refuse(_Refused(400, str(error)))

    def expired(self, now: float) -> Answer | None:
        """The refusal, once it took too long."""
        if now < self.deadline:
            return None
        return self._refuse(_Refused(408, f"no handshake in {self.rules.seconds:g} s"))

    def _decide(self, head: bytes, rest: bytes) -> Answer:
        request = _request(head)
        _check_http(request)
        _check_key(request)
        _one(request, b"sec-websocket-version")
        origin_header = _one(request, b"origin")
        handshake = H11Handshake(ConnectionType.SERVER)
        try:
            handshake.initiate_upgrade_connection(list(request.headers), request.target)
        except RemoteProtocolError as error:
            hint = error.event_hint
            if isinstance(hint, RejectConnection):
                raise _Refused(hint.status_code, str(error), list(hint.headers)) from None
            raise _Refused(400, str(error)) from None
        except h11.LocalProtocolError as error:
            raise _Refused(400, str(error)) from None
        asked = next(handshake.events())
        assert isinstance(asked, Request)
        path = asked.target.partition("?")[0]
        origin = origin_header.decode("latin-1") if origin_header is not None else None
        if self.rules.paths is not None and path not in self.rules.paths:
            raise _Refused(404, "there is no WebSocket at this path")
        if self.rules.origins is not None and origin is not None and origin.lower() not in self.rules.origins:
            raise _Refused(403, "pages of this origin may not connect")
        if SUBPROTOCOL not in asked.subprotocols:
            raise _Refused(400, "Sec-WebSocket-Protocol has to offer sip (RFC 7118 4.1)")
        try:
            response = handshake.send(AcceptConnection(subprotocol=SUBPROTOCOL))
        except (LocalProtocolError, h11.LocalProtocolError) as error:
            raise _Refused(400, str(error)) from None
        return Answer(101, "", response, rest, path, origin)

    @staticmethod
    def _refuse(refused: _Refused) -> Answer:
        body = f"{refused.reason}\n".encode("ascii", "backslashreplace")
        headers = [*refused.headers, (b"Connection", b"close")]
        headers += [(b"Content-Type", b"text/plain"), (b"Content-Length", str(len(body)).encode())]
        phrase = HTTPStatus(refused.status).phrase.encode()
        writer = h11.Connection(h11.SERVER)  # one that read nothing may say anything
        events = (
            h11.Response(status_code=refused.status, headers=headers, reason=phrase),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        return Answer(refused.status, refused.reason, b"".join(writer.send(event) or b"" for event in events))
