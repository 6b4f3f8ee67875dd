"""What a new state process does before it serves: make segment and store say the same.

    segment                              store     then
    a version the store is complete to   the same  nothing
    a later version                      older     the store gets it
    no bindings                          any       the store removes its row, then the segment its record
    no record                            a row     the segment gets it, without what expired

The segment is what was applied, so it wins. It is empty after the machine or the master started anew, and then the
store is what there is; a mark in the segment says that all of a store was read into it once and need not be again.
"""

from __future__ import annotations

import logging
import sqlite3
import time

from fastsip._location import RECORD_BINDINGS, RECORD_MARK
from fastsip.location import LocationTable
from fastsip.state.bindings import Bindings
from fastsip.state.journal import Journal

log = logging.getLogger(__name__)

PAGE = 500
STORE_READ = b"store read"
"""Key of the mark, a RECORD_MARK; its value is the store's identity."""


def adopt_segment(
    table: LocationTable, bindings: Bindings, journal: Journal | None, connection: sqlite3.Connection | None
) -> None:
    """Count what the segment has, and note for the store what that has not. A store that cannot be read (None) may have
    nothing of it. Without a journal there is no store, and removals need not be remembered for one."""
    complete = _meta(connection, "complete") if connection is not None else None
    boundary = complete if isinstance(complete, int) else 0
    bindings.version = max(bindings.version, boundary)
    cursor: int | None = 0
    while cursor is not None:
        cursor, records = table.scan(cursor, PAGE, RECORD_BINDINGS)
        for aor, value in records:
            try:
                version, count = bindings.adopt(aor, value)
            except ValueError as error:
                log.error("the segment's record of %r is damaged and left as it is: %s", aor, error)
                continue
            if journal is None:
                if not count:
                    table.delete(RECORD_BINDINGS, aor)
            elif version > boundary or not count:
                journal.note(aor, bindings.version)


def read_store(connection: sqlite3.Connection, table: LocationTable, bindings: Bindings, journal: Journal) -> None:
    """Publish what the store has and the segment has not, unless the segment had all of it once. Raises sqlite3.Error,
    and MemoryError if it does not fit."""
    identity = str(_meta(connection, "identity")).encode()
    if table.get(RECORD_MARK, STORE_READ) == identity:
        return
    rows = connection.execute("SELECT aor, record FROM bindings")
    while page := rows.fetchmany(PAGE):
        now = time.time_ns() // 1_000_000
        for aor, record in page:
            if table.get(RECORD_BINDINGS, aor) is not None:
                continue
            try:
                bindings.load(aor, record, now)
            except ValueError as error:
                log.error("the store's record of %r is damaged and left out: %s", aor, error)
    table.put(RECORD_MARK, STORE_READ, identity)


def _meta(connection: sqlite3.Connection, name: str) -> object:
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None
