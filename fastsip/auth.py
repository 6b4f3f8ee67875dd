"""HA1: what a Digest server keeps in place of a password (RFC 7616 3.4.2, RFC 8760)."""

from __future__ import annotations

import hashlib
import string

_HEX = frozenset(string.hexdigits)


def ha1_md5(username: str, realm: str, password: str) -> str:
    """MD5 of `username:realm:password` in 32 lower-case hex digits."""
    return hashlib.md5(f"{username}:{realm}:{password}".encode(), usedforsecurity=False).hexdigest()


def ha1_sha256(username: str, realm: str, password: str) -> str:
    """SHA-256 of `username:realm:password` in 64 lower-case hex digits."""
    return hashlib.sha256(f"{username}:{realm}:{password}".encode(), usedforsecurity=False).hexdigest()


def is_ha1(text: str, digits: int) -> bool:
    """Whether `text` can be an HA1 of so many hex digits: 32 for MD5, 64 for SHA-256."""
    return len(text) == digits and _HEX.issuperset(text)
