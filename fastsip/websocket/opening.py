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

from fastsip.websocket.answer import SUBPROTOCOL, Answer, Head, explained

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

    def admits(self, origin: str | None) -> bool:
        return self.origins is None or origin is None or origin.lower() in {each.lower() for each in self.origins}


class _Refused(Exception):
    def __init__(self, status: int, reason: str, headers: Headers | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers or []


def _one(headers: Headers, name: bytes) -> bytes | None:
    """The value of a header that may be there once."""
    found = [value for each, value in headers if each == name]
    if len(found) > 1:
        raise _Refused(400, f"{name.decode()} more than once")
    return found[0] if found else None


def _check_key(headers: Headers) -> None:
    key = _one(headers, b"sec-websocket-key") or b""
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise ValueError
    except (binascii.Error, ValueError):
        raise _Refused(400, "Sec-WebSocket-Key is not 16 bytes in base64") from None


def _why(head: bytes, error: Exception) -> _Refused:
    """What to answer to a head that wsproto did not like: it does not tell one reason from another."""
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(head)
    try:
        request = reader.next_event()
    except h11.RemoteProtocolError as wrong:
        return _Refused(400, f"not HTTP/1.1: {explained(wrong)}")
    if not isinstance(request, h11.Request):
        return _Refused(400, "not an HTTP request")
    if request.method != b"GET":
        return _Refused(405, "the method of a WebSocket handshake is GET", [(b"Allow", b"GET")])
    if not any(name == b"upgrade" for name, _ in request.headers):
        return _Refused(426, "this is a WebSocket server", [(b"Upgrade", b"websocket"), (b"Connection", b"upgrade")])
    hint = getattr(error, "event_hint", None)
    if isinstance(hint, RejectConnection):
        return _Refused(hint.status_code, explained(error), list(hint.headers))
    return _Refused(400, explained(error))


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
        except ValueError as error:
            return self._refuse(_Refused(400, str(error)))
        except _Refused as refused:
            return self._refuse(refused)

    def expired(self, now: float) -> Answer | None:
        """The refusal, once it took too long."""
        if now < self.deadline:
            return None
        return self._refuse(_Refused(408, f"no handshake in {self.rules.seconds:g} s"))

    def _decide(self, head: bytes, rest: bytes) -> Answer:
        handshake = H11Handshake(ConnectionType.SERVER)
        try:
            handshake.receive_data(head)
            asked = next(handshake.events(), None)
            if not isinstance(asked, Request):
                raise _Refused(400, "not an HTTP request")
            if not head.partition(b"\r\n")[0].endswith(b" HTTP/1.1"):
                raise _Refused(505, "HTTP/1.1 is needed")
            path, origin = self._check(asked)
            response = handshake.send(AcceptConnection(subprotocol=SUBPROTOCOL))
        except (RemoteProtocolError, LocalProtocolError, h11.LocalProtocolError) as error:
            raise _why(head, error) from None
        except ValueError:
            raise _Refused(400, "Host is no name" if head.isascii() else "a header is not ASCII") from None
        return Answer(101, "", response, rest, path, origin)

    def _check(self, asked: Request) -> tuple[str, str | None]:
        """Path and origin of a request that is in order."""
        headers = list(asked.extra_headers)
        for name in (b"upgrade", b"sec-websocket-version"):
            _one(headers, name)
        _check_key(headers)
        if _one(headers, b"transfer-encoding") is not None or _one(headers, b"content-length") not in (None, b"0"):
            raise _Refused(400, "a body is not allowed")
        path = asked.target.partition("?")[0]
        if self.rules.paths is not None and path not in self.rules.paths:
            raise _Refused(404, "there is no WebSocket at this path")
        value = _one(headers, b"origin")
        origin = value.decode("latin-1") if value is not None else None
        if not self.rules.admits(origin):
            raise _Refused(403, "pages of this origin may not connect")
        if SUBPROTOCOL not in asked.subprotocols:
            raise _Refused(400, "Sec-WebSocket-Protocol has to offer sip (RFC 7118 4.1)")
        return path, origin

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
