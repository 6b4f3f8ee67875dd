"""SIP messages as the demonstration's phones write them; reading is `fastsip.parse`."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

COOKIE = "z9hG4bK"

Headers = Iterable[tuple[str, str]]


def new_branch() -> str:
    return COOKIE + secrets.token_hex(8)


def new_tag() -> str:
    return secrets.token_hex(5)


def message(first_line: str, headers: Headers, body: str = "") -> bytes:
    """A whole message; Content-Length comes last and is right."""
    lines = [first_line, *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join([*lines, f"Content-Length: {len(body)}", "", body])).encode()


def session_description(user: str, host: str, port: int) -> str:
    """A body that offers or answers with one audio stream (RFC 3264); nothing is ever sent on it."""
    lines = ["v=0", f"o={user} 0 0 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0", f"m=audio {port} RTP/AVP 0"]
    return "\r\n".join([*lines, "a=rtpmap:0 PCMU/8000", ""])
