"""The client's side of the opening handshake (RFC 6455 4.1, RFC 7118 4)."""

from __future__ import annotations

from wsproto import ConnectionType
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from fastsip.websocket.answer import SUBPROTOCOL, Answer, Head, explained


class Ask:
    """One connection to a server: write `request`, feed what comes until there is an answer.

    `host` is what stands in Host, with its port unless that is the default one, an IPv6 address in brackets.
    """

    def __init__(self, host: str, path: str = "/", origin: str | None = None, size: int = 8192) -> None:
        self._handshake = H11Handshake(ConnectionType.CLIENT)
        self._head = Head(size)
        extra = [(b"Origin", origin.encode("ascii"))] if origin else []
        self.request: bytes = self._handshake.send(
            Request(host=host, target=path, subprotocols=[SUBPROTOCOL], extra_headers=extra)
        )

    def feed(self, data: bytes) -> Answer | None:
        """None if more is needed. Without the subprotocol "sip" in the answer it counts as refused."""
        try:
            found = self._head.feed(data)
            if not found:
                return None
        except (OverflowError, ValueError) as error:
            return Answer(0, str(error))
        try:
            self._handshake.receive_data(found[0])
        except RemoteProtocolError as error:
            return Answer(0, explained(error))
        except ValueError:
            return Answer(0, "a header is not ASCII")
        event = next(self._handshake.events(), None)
        if isinstance(event, AcceptConnection):
            if event.subprotocol != SUBPROTOCOL:
                return Answer(0, "the server does not speak SIP: no subprotocol sip in its answer")
            return Answer(101, "", rest=found[1])
        if isinstance(event, RejectConnection):
            return Answer(event.status_code, f"the server answered {event.status_code}")
        return Answer(0, "not an HTTP response")
