"""What the store does not have yet, and whether it keeps up.

Only names are kept: what is written is what the table says when a batch is made. So a registration that was refreshed
ten times while the disk was away is written once, and the memory this takes is bounded by the registrations there are.
"""

from __future__ import annotations

import logging
import select
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable

from fastsip._location import RECORD_BINDINGS, summarize_bindings
from fastsip.location import LocationTable
from fastsip.state.store import Store

log = logging.getLogger(__name__)

BATCH = 1000
"""Addresses-of-record in one commit: reading them takes about a millisecond of the loop."""
ROWS = 200
"""Rows in one statement: the store's thread takes the interpreter lock once for each statement."""
RETRY = 0.25
"""Seconds between attempts while the store fails."""
LATE = 5.0
"""Seconds after which a store that says nothing has lost durability too."""
CAUGHT_UP = 1.0
"""Seconds of lag at most when it is regained."""

Rows = list[tuple[bytes, int, bytes]]
"""Address-of-record, version, record."""
Gone = list[tuple[bytes, int]]
"""Address-of-record without bindings, version of that."""


class Journal:
    """Names with changes the store does not have. Times are seconds of time.monotonic.

    `open` says that what the store had was read; nothing is written before. With every batch after which nothing waits
    the store is told up to which version it is complete: what a new state process finds beyond that in the segment is
    what it has to write (`recovery`)."""

    def __init__(self, table: LocationTable, store: Store, interval: float, tell: Callable[[bool], None]) -> None:
        self._table = table
        self._store = store
        self._interval = interval
        self._tell = tell
        self._waiting: OrderedDict[bytes, float] = OrderedDict()
        self._writing: dict[bytes, float] = {}
        self._busy = False
        self._failing = False
        self._next = 0.0
        self._version = 0
        self.open = False
        self.durable = True
        self.writes = 0

    def note(self, aor: bytes, version: int) -> None:
        """The record of `aor` is now that of `version`, the highest of all; the store shall have it."""
        self._version = version
        if aor not in self._waiting:
            self._waiting[aor] = time.monotonic()

    def lag(self, now: float) -> float:
        """Seconds since the oldest change that is not on the disk."""
        if self._writing:
            return now - next(iter(self._writing.values()))
        if self._waiting:
            return now - next(iter(self._waiting.values()))
        return 0.0

    def due(self) -> float | None:
        """When `tick` has something to do, None while it has not."""
        if self._busy or not self.open or not (self._waiting or self._failing):
            return None
        return self._next

    def tick(self, now: float) -> None:
        """Hand the store what waits, if it is time; notice a store that hangs."""
        if self.durable and self.lag(now) > LATE:
            self._lose(f"nothing was written for {LATE:.0f} seconds")
        due = self.due()
        if due is None or now < due:
            return
        self._busy = True
        self._next = now + self._interval
        rows: Rows = []
        gone: Gone = []
        while self._waiting and len(self._writing) < BATCH:
            aor, since = self._waiting.popitem(last=False)
            self._writing[aor] = since
            value = self._table.get(RECORD_BINDINGS, aor)
            version, count, _ = summarize_bindings(value) if value is not None else (0, 0, 0)
            if value is not None and count:
                rows.append((aor, version, value))
            else:
                gone.append((aor, version))
        rows.sort()
        complete = None if self._waiting or not self._version else self._version
        self._store.submit(
            lambda connection: _write(connection, rows, gone, complete), lambda error: self._done(gone, error)
        )

    def fail(self, error: Exception) -> None:
        """The store could not be opened, read or written."""
        self._failing = True
        self._next = time.monotonic() + RETRY
        self._lose(str(error))

    def flush(self, timeout: float) -> bool:
        """Write everything, waiting for it up to `timeout` seconds; whether it is on the disk."""
        deadline = time.monotonic() + timeout
        while self.open and (self._waiting or self._busy) and (left := deadline - time.monotonic()) > 0:
            if not self._failing:
                self._next = 0.0
            self.tick(time.monotonic())
            select.select([self._store], [], [], min(left, 0.05))
            self._store.collect()
        return not self._waiting and not self._busy

    def _done(self, gone: Gone, error: Exception | None) -> None:
        now = time.monotonic()
        self._busy = False
        writing, self._writing = self._writing, {}
        if error is not None:
            # Back to the front, oldest first, with the time of the first change that was not written.
            for aor in reversed(writing):
                self._waiting[aor] = writing[aor]
                self._waiting.move_to_end(aor, last=False)
            self.fail(error)
            return
        self.writes += 1
        self._failing = False
        for aor, version in gone:
            value = self._table.get(RECORD_BINDINGS, aor)
            if value is not None and summarize_bindings(value)[:2] == (version, 0):
                self._table.delete(RECORD_BINDINGS, aor)
        if not self.durable and self.lag(now) < CAUGHT_UP:
            self.durable = True
            self._tell(True)
            log.warning("the store works again and has everything it missed")

    def _lose(self, why: str) -> None:
        if self.durable:
            self.durable = False
            self._tell(False)
            log.error("the store fails (%s): registrations go on in memory and do not survive the machine", why)


def _write(connection: sqlite3.Connection, rows: Rows, gone: Gone, complete: int | None) -> None:
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        places = ",".join(["(?,?,?)"] * len(part))
        connection.execute(f"INSERT OR REPLACE INTO bindings VALUES {places}", [v for row in part for v in row])
    for start in range(0, len(gone), ROWS):
        names = [aor for aor, _ in gone[start : start + ROWS]]
        connection.execute(f"DELETE FROM bindings WHERE aor IN ({','.join('?' * len(names))})", names)
    if complete is not None:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('complete', ?)", (complete,))
