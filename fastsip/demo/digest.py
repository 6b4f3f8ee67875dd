"""A phone's side of Digest authentication (RFC 3261 22, RFC 7616, RFC 8760)."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any

HASHES: dict[str, Callable[[bytes], Any]] = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
_PARAMETER = re.compile(r'([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class Answerer:
    """Answers challenges for one user, and reuses a nonce with a higher count until the server wants another."""

    def __init__(self, username: str, password: str) -> None:
        self.username = username
        self._password = password
        self._realm = self._nonce = self._algorithm = ""
        self._count = 0

    def learn(self, challenges: Iterable[str]) -> bool:
        """Take the first challenge that can be answered (RFC 8760 2.4); False if there is none."""
        for challenge in challenges:
            scheme, _, rest = challenge.strip().partition(" ")
            fields = {name.lower(): quoted or token for name, quoted, token in _PARAMETER.findall(rest)}
            algorithm = fields.get("algorithm", "MD5").upper()
            offered = re.split(r"\s*,\s*", fields.get("qop", ""))
            if scheme.lower() == "digest" and algorithm in HASHES and "auth" in offered and "nonce" in fields:
                self._realm, self._nonce, self._algorithm = fields.get("realm", ""), fields["nonce"], algorithm
                self._count = 0
                return True
        return False

    def credentials(self, method: str, uri: str) -> str | None:
        """The value of Authorization or Proxy-Authorization for one request, None before the first challenge."""
        if not self._nonce:
            return None
        self._count += 1
        nc, cnonce = f"{self._count:08x}", secrets.token_hex(8)
        ha1 = self._hash(f"{self.username}:{self._realm}:{self._password}")
        ha2 = self._hash(f"{method}:{uri}")
        response = self._hash(f"{ha1}:{self._nonce}:{nc}:{cnonce}:auth:{ha2}")
        return (
            f'Digest username="{self.username}", realm="{self._realm}", nonce="{self._nonce}", uri="{uri}", '
            f'response="{response}", algorithm={self._algorithm}, cnonce="{cnonce}", qop=auth, nc={nc}'
        )

    def _hash(self, text: str) -> str:
        return str(HASHES[self._algorithm](text.encode()).hexdigest())
