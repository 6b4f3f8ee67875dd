"""The store: one SQLite file with bindings, users and services from run time, and the server's keys."""

from __future__ import annotations

import os
import secrets
import sqlite3

SCHEMA = 1
"""Raised when a table changes its meaning. `meta` holds the one a file was written with, the file's `identity`, and the
version of bindings up to which it is `complete`."""
MEMORY = ":memory:"
KEY_BYTES = 80

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bindings (
    aor BLOB PRIMARY KEY, version INTEGER NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS users (
    username TEXT NOT NULL, domain TEXT NOT NULL, realm TEXT NOT NULL,
    ha1_md5 TEXT NOT NULL, ha1_sha256 TEXT NOT NULL, added INTEGER NOT NULL,
    PRIMARY KEY (username, domain)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS services (
    aor TEXT PRIMARY KEY, record TEXT NOT NULL, changed INTEGER NOT NULL
) WITHOUT ROWID;
"""


TABLES = frozenset(("meta", "keys", "bindings", "users", "services"))
"""A file of this schema that lacks one was written before there was such a table."""


class WrongStore(sqlite3.DatabaseError):
    """The file is a store of another schema, or no store."""


def connect(path: str) -> sqlite3.Connection:
    """Open the store for one thread, made if it is not there (readable by its owner only: it holds HA1).

    Commits are on the disk when they return (WAL, synchronous=FULL). There are no implicit transactions. Raises
    sqlite3.Error or OSError; WrongStore for another schema."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=2.0, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def read_keys(path: str) -> bytes:
    """The server's keys (KEY_BYTES, see `_control.control_format`): from the store, made and stored the first time;
    random for ":memory:". Raises as `connect`."""
    if path == MEMORY:
        return secrets.token_bytes(KEY_BYTES)
    connection = connect(path)
    try:
        fresh = secrets.token_bytes(KEY_BYTES)
        connection.execute("INSERT OR IGNORE INTO keys VALUES ('server', ?)", (fresh,))
        (keys,) = connection.execute("SELECT value FROM keys WHERE name = 'server'").fetchone()
    finally:
        connection.close()
    if not isinstance(keys, bytes) or len(keys) != KEY_BYTES:
        raise WrongStore(f"{path}: the server's keys are damaged")
    return keys


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "meta" in known:
        row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if row is None or row[0] != SCHEMA:
            found = row[0] if row else None
            raise WrongStore(f"{path} is a store of schema {found}, this fastsip reads {SCHEMA}")
    if not known >= TABLES:
        # Master and state process may meet here; IF NOT EXISTS and IGNORE let both win.
        connection.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
        rows = [("schema", SCHEMA), ("identity", secrets.token_hex(8))]
        connection.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", rows)
        connection.execute("COMMIT")
