"""The users: from the configuration (and its CSV) and from `ctl users add`, published as RECORD_USER records.

The records are the only copy in memory; a flag says where each comes from. What was added at run time is on the disk
before it is published or the command answered, so for users the store is what there is.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import Any

from fastsip import auth
from fastsip._location import RECORD_USER, decode_user, encode_user
from fastsip.location import LocationTable
from fastsip.state.store import Store

log = logging.getLogger(__name__)

ADDED = 1
"""Flag of a user added at run time."""
PAGE = 1000

Configured = Iterable[tuple[str, str, str, str]]
"""username, domain, HA1 by MD5, HA1 by SHA-256, "" for one that is not known."""
Answer = Callable[[bool, object], None]
"""Takes whether it went well, and the result or {"error": text}."""


class Conflict(ValueError):
    """Names both in the configuration and added at run time."""


class Users:
    """Who may authenticate. `store` is None when nothing is kept."""

    def __init__(self, table: LocationTable, store: Store | None, realm: str | None, default_domain: str) -> None:
        self._table = table
        self._store = store
        self.realm = realm
        self.default_domain = default_domain
        self.domains: list[str] = []
        """Of people who live here; none: not known."""
        self.count = 0

    def configure(self, configured: Configured, stored: set[bytes] | None = None) -> None:
        """Publish the configured users in place of those configured before. Raises Conflict, and changes nothing, if a
        name is in `stored` (default: among the published ones that were added)."""
        wanted = {
            user_key(name, domain): encode_user(md5.lower().encode(), sha256.lower().encode())
            for name, domain, md5, sha256 in configured
        }
        twice = sorted(key for key in wanted if (key in stored if stored is not None else self._source(key) == ADDED))
        if twice:
            names = ", ".join(key.decode() for key in twice[:10]) + (", ..." if len(twice) > 10 else "")
            raise Conflict(f"both in the configuration and added by `ctl users add`: {names}; remove them in one place")
        for key, value in self._published(added=False):
            if key not in wanted:
                self._table.delete(RECORD_USER, key)
            elif wanted[key] == value:
                del wanted[key]
        for key, value in wanted.items():
            self._table.put(RECORD_USER, key, value)
        self._recount()

    def read_store(self, connection: sqlite3.Connection) -> set[bytes]:
        """Publish the users of the store in place of those added before; their keys. A configured user of the same name
        stays. Raises sqlite3.Error."""
        keys = set()
        for name, domain, realm, md5, sha256 in connection.execute(
            "SELECT username, domain, realm, ha1_md5, ha1_sha256 FROM users"
        ):
            key = user_key(name, domain)
            keys.add(key)
            if realm != (self.realm or domain):
                log.warning(
                    "user %s was added for realm %r and cannot log in to %r: add it again",
                    key.decode(),
                    realm,
                    self.realm or domain,
                )
            if self._source(key) == 0:
                log.error("user %s is both in the configuration and added; the configuration counts", key.decode())
            else:
                self._table.put(RECORD_USER, key, encode_user(md5.encode(), sha256.encode(), ADDED))
        for key, _ in self._published(added=True):
            if key not in keys:
                self._table.delete(RECORD_USER, key)
        self._recount()
        return keys

    def add(self, arguments: dict[str, Any], answer: Answer) -> None:
        """Add a user, or give one that was added another password: username (with or without @domain), and password or
        ha1 (MD5) and ha1_sha256. Answers when it is on the disk."""
        try:
            name, domain = self._name(arguments)
            md5, sha256 = self._hashes(name, domain, arguments)
        except ValueError as error:
            return answer(False, {"error": str(error)})
        key = user_key(name, domain)
        source = self._source(key)
        if source == 0:
            return answer(False, {"error": f"user {key.decode()} is in the configuration and cannot be added too"})
        row = (name, domain, self.realm or domain, md5, sha256, time.time_ns() // 1_000_000)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO users VALUES (?,?,?,?,?,?)", row)

        def publish() -> None:
            self._table.put(RECORD_USER, key, encode_user(md5.encode(), sha256.encode(), ADDED))
            self.count += source is None
            answer(True, {"username": name, "domain": domain, "replaced": source == ADDED})

        self._change(write, publish, answer)

    def remove(self, arguments: dict[str, Any], answer: Answer) -> None:
        """Remove a user that was added: username, with or without @domain. Answers when that is on the disk."""
        try:
            name, domain = self._name(arguments)
        except ValueError as error:
            return answer(False, {"error": str(error)})
        key = user_key(name, domain)
        source = self._source(key)
        if source != ADDED:
            where = "is in the configuration: remove it there" if source == 0 else "is not known"
            return answer(False, {"error": f"user {key.decode()} {where}"})

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM users WHERE username = ? AND domain = ?", (name, domain))

        def publish() -> None:
            self.count -= self._table.delete(RECORD_USER, key)
            answer(True, {"username": name, "domain": domain})

        self._change(write, publish, answer)

    def list(self, cursor: int, limit: int) -> tuple[int | None, list[dict[str, str]]]:
        """A page of users: username, domain, from ("configuration" or "store")."""
        after, records = self._table.scan(cursor, limit, RECORD_USER)
        users = []
        for key, value in records:
            name, _, domain = key.decode().rpartition("@")
            source = "store" if decode_user(value)[2] & ADDED else "configuration"
            users.append({"username": name, "domain": domain, "from": source})
        return after, users

    def known(self, key: bytes) -> bool:
        return self._source(key) is not None

    def canonical(self, aor: str) -> bytes:
        """An address-of-record as a person may write it, as the key it is bound under."""
        text = aor.removeprefix("sips:").removeprefix("sip:")
        name, _, domain = text.rpartition("@")
        return user_key(name or text, domain if name else self.default_domain)

    def _change(self, write: Callable[[sqlite3.Connection], None], publish: Callable[[], None], answer: Answer) -> None:
        def done(error: Exception | None) -> None:
            if error is None:
                publish()
            else:
                answer(False, {"error": f"the store failed ({error}); nothing changed"})

        if self._store is None:
            publish()
        else:
            self._store.submit(write, done)

    def _name(self, arguments: dict[str, Any]) -> tuple[str, str]:
        name, domain = arguments.get("username"), arguments.get("domain")
        if not isinstance(name, str) or not (domain is None or isinstance(domain, str)):
            raise ValueError("username and domain are texts")
        if not domain and "@" in name:
            name, _, domain = name.rpartition("@")
        if not domain and self.default_domain in ("0.0.0.0", "[::]"):
            raise ValueError(f"the server has no domain of its own: say {name}@DOMAIN")
        domain = (domain or self.default_domain).lower()
        if not name or not domain or any(c in name + domain for c in '@ \t\r\n"<>;?'):
            raise ValueError(f"{name}@{domain} is not a user's name")
        return name, domain

    def _hashes(self, name: str, domain: str, arguments: dict[str, Any]) -> tuple[str, str]:
        password = arguments.get("password")
        if isinstance(password, str):
            realm = self.realm or domain
            return auth.ha1_md5(name, realm, password), auth.ha1_sha256(name, realm, password)
        md5, sha256 = arguments.get("ha1") or "", arguments.get("ha1_sha256") or ""
        for text, digits, key in ((md5, 32, "ha1"), (sha256, 64, "ha1_sha256")):
            if not isinstance(text, str) or (text and not auth.is_ha1(text, digits)):
                raise ValueError(f"{key} is {digits} hex digits")
        if not md5 and not sha256:
            raise ValueError("a user needs a password, or ha1, or ha1_sha256")
        return md5.lower(), sha256.lower()

    def _source(self, key: bytes) -> int | None:
        value = self._table.get(RECORD_USER, key)
        return decode_user(value)[2] & ADDED if value is not None else None

    def _published(self, added: bool) -> Iterable[tuple[bytes, bytes]]:
        found = []
        cursor: int | None = 0
        while cursor is not None:
            cursor, records = self._table.scan(cursor, PAGE, RECORD_USER)
            found += [(k, v) for k, v in records if bool(decode_user(v)[2] & ADDED) == added]
        return found

    def _recount(self) -> None:
        count = 0
        cursor: int | None = 0
        while cursor is not None:
            cursor, records = self._table.scan(cursor, PAGE, RECORD_USER)
            count += len(records)
        self.count = count


def user_key(name: str, domain: str) -> bytes:
    """The key of a user's record."""
    return f"{name}@{domain.lower()}".encode()
