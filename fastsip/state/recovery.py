"""What a new state process does before it serves: make segment and store say the same.

    segment           store             then
    version v         no row            the store gets it
    version v         another version   the store gets it (a removal is a version too: a set without bindings)
    version v         version v         nothing
    no record         a row             the segment gets it, without what expired

The segment is what was applied, so it wins; it is empty after the machine or the master started anew, and then the
store is what there is.
"""

from __future__ import annotations

import logging
import sqlite3
import time

from fastsip._location import RECORD_BINDINGS
from fastsip.location import LocationTable, is_tombstone, record_version
from fastsip.state.bindings import Bindings
from fastsip.state.journal import Journal

log = logging.getLogger(__name__)

PAGE = 500


def adopt_segment(
    table: LocationTable, bindings: Bindings, journal: Journal | None, connection: sqlite3.Connection | None
) -> None:
    """Count what the segment has, and note for the store what that has not. A store that cannot be read (None) may have
    nothing of it. Without a journal there is no store, and removals need not be remembered for one."""
    now = time.monotonic()
    cursor: int | None = 0
    while cursor is not None:
        cursor, records = table.scan(cursor, PAGE, RECORD_BINDINGS)
        stored = _stored_versions(connection, [aor for aor, _ in records]) if connection else {}
        for aor, value in records:
            try:
                bindings.adopt(aor, value)
            except ValueError as error:
                log.error("the segment's record of %r is damaged and left as it is: %s", aor, error)
                continue
            if journal is not None:
                if stored.get(aor) != record_version(value):
                    journal.note(aor, now)
            elif is_tombstone(value):
                table.delete(RECORD_BINDINGS, aor)


def read_store(connection: sqlite3.Connection, table: LocationTable, bindings: Bindings, journal: Journal) -> int:
    """Publish what the store has and the segment has not; how many addresses-of-record. Raises sqlite3.Error."""
    loaded = 0
    now = time.monotonic()
    rows = connection.execute("SELECT aor, record FROM bindings")
    while page := rows.fetchmany(PAGE):
        for aor, record in page:
            if table.get(RECORD_BINDINGS, aor) is not None:
                continue
            try:
                if not bindings.load(aor, record, time.time_ns() // 1_000_000):
                    journal.note(aor, now)
                loaded += 1
            except ValueError as error:
                log.error("the store's record of %r is damaged and left out: %s", aor, error)
    return loaded


def _stored_versions(connection: sqlite3.Connection, aors: list[bytes]) -> dict[bytes, int]:
    places = ",".join("?" * len(aors))
    return dict(connection.execute(f"SELECT aor, version FROM bindings WHERE aor IN ({places})", aors))
