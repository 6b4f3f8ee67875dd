"""The OPTIONS a prober sends, and what it takes from the answer."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from fastsip._message import Message
from fastsip.events import ResponseReceived
from fastsip.routes.prober import Heard

REQUEST = (
    "OPTIONS {uri} SIP/2.0\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sip:{host}>;tag={tag}\r\n"
    "To: <{uri}>\r\n"
    "Call-ID: {call_id}\r\n"
    "CSeq: {cseq} OPTIONS\r\n"
    "Accept: application/sdp\r\n"
    "Content-Length: 0\r\n\r\n"
)


def options(uri: str, host: str, cseq: int = 1) -> bytes:
    """Without a Via; `host` is ours, IPv6 in brackets."""
    tag, call_id = secrets.token_hex(4), secrets.token_hex(12)
    return REQUEST.format(uri=uri, host=host, tag=tag, call_id=call_id, cseq=cseq).encode()


def final(message: Message) -> Heard | None:
    """None if it is provisional."""
    status = message.status or 0
    return Heard(status, _retry_after(message.headers.get("Retry-After"))) if status >= 200 else None


def first_final(events: Sequence[object]) -> Heard | None:
    """The first final response among these."""
    heard = (final(event.message) for event in events if isinstance(event, ResponseReceived))
    return next((one for one in heard if one is not None), None)


def _retry_after(value: str | None) -> int:
    """Seconds, without the comment and parameters it may have (RFC 3261 20.33)."""
    digits = (value or "").split(";")[0].split("(")[0].strip()
    return int(digits) if digits.isascii() and digits.isdigit() else 0
