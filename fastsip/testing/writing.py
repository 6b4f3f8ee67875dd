"""Requests and responses as phones write them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

Fields = Mapping[str, str] | Iterable[tuple[str, str]]

_numbers = itertools.count(1)


def fields(headers: Fields) -> list[tuple[str, str]]:
    return [*headers.items()] if isinstance(headers, Mapping) else [*headers]


def request(
    method: str,
    uri: str,
    *,
    from_: str = "sip:alice@example.com",
    to: str | None = None,
    call_id: str | None = None,
    via: str = "192.0.2.1:5060",
    headers: Fields = (),
    body: str = "",
) -> bytes:
    """A request outside a dialog."""
    number = next(_numbers)
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {via};branch=z9hG4bK-stage-{number}",
        "Max-Forwards: 70",
        f"From: {address(from_)};tag=a{number}",
        f"To: {address(to or uri)}",
        f"Call-ID: stage-{number}@{via}" if call_id is None else f"Call-ID: {call_id}",
        f"CSeq: 1 {method}",
        *(f"{name}: {value}" for name, value in fields(headers)),
        f"Content-Length: {len(body.encode())}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("utf-8", "surrogateescape")


def address(uri: str) -> str:
    return uri if "<" in uri else f"<{uri}>"


def response(to: bytes, status: int, reason: str = "", headers: Fields = (), tag: str = "b1") -> bytes:
    """The response to a request."""
    head = to.partition(b"\r\n\r\n")[0].decode("utf-8", "surrogateescape").split("\r\n")[1:]
    lines = [f"SIP/2.0 {status} {reason or 'Said'}"]
    for line in head:
        name = line.partition(":")[0].strip().lower()
        if name in ("via", "v", "from", "f", "call-id", "i", "cseq", "record-route"):
            lines.append(line)
        elif name in ("to", "t"):
            lines.append(line if ";tag=" in line or status == 100 else f"{line};tag={tag}")
    lines += [f"{name}: {value}" for name, value in fields(headers)]
    return ("\r\n".join([*lines, "Content-Length: 0"]) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def cancel(invite: bytes) -> bytes:
    """The CANCEL of an INVITE (RFC 3261 9.1)."""
    return _beside(invite, "CANCEL", invite)


def ack(invite: bytes, answer: bytes) -> bytes:
    """The ACK of a final response that is no 2xx (RFC 3261 17.1.1.3)."""
    return _beside(invite, "ACK", answer)


def _beside(invite: bytes, method: str, to_of: bytes) -> bytes:
    names = ("via:", "from:", "call-id:", "max-forwards:", "route:")
    lines = _lines(invite)
    kept = [line for line in lines[1:] if line.lower().startswith(names)]
    to = next(line for line in _lines(to_of) if line.lower().startswith("to:"))
    number = next(line for line in lines if line.lower().startswith("cseq:")).split()[1]
    start = lines[0].replace("INVITE", method, 1)
    text = "\r\n".join([start, *kept, to, f"CSeq: {number} {method}", "Content-Length: 0"])
    return (text + "\r\n\r\n").encode("utf-8", "surrogateescape")


def _lines(message: bytes) -> list[str]:
    return message.partition(b"\r\n\r\n")[0].decode("utf-8", "surrogateescape").split("\r\n")
