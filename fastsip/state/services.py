"""Services of users: from the configuration and from `ctl services`, published as RECORD_SERVICES records.

What is set at run time wins over what the configuration says of the same service, until it is taken back: a record is
both, and says which is which. As with users the records are the only copy in memory, and what was set is on the disk
before it is published or the command answered. How many there are is told to `tell`, never too few: who sees 0 need not
look.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from fastsip._location import RECORD_SERVICES
from fastsip.location import LocationTable
from fastsip.services.record import (
    KEYS,
    NOTHING,
    Record,
    changes,
    configured,
    decode,
    encode,
    from_plain,
    overlaid,
    plain,
    some,
)
from fastsip.state.store import Store
from fastsip.state.users import Answer

log = logging.getLogger(__name__)

PAGE = 1000

Configured = Iterable[tuple[str, dict[str, Any]]]
"""An address-of-record and its services by name."""


class ServiceRecords:
    """Who has which services. `store` is None when nothing is kept."""

    def __init__(self, table: LocationTable, store: Store | None, tell: Callable[[int], None]) -> None:
        self._table = table
        self._store = store
        self._tell = tell
        self.count = 0
        self._writing: dict[bytes, Record] = {}
        """What is on its way to the disk: what comes next builds on it."""

    def configure(self, wanted: Configured) -> None:
        """Have the configuration say this, whatever it said before."""
        below = {aor.encode(): from_plain(services) for aor, services in wanted}
        for key, record in list(self._records()):
            if key not in below:
                self._publish(key, overlaid(NOTHING, changes(record)))
        for key, record in below.items():
            self._publish(key, overlaid(record, changes(self._published(key))))

    def recover(self) -> None:
        """Count what the segment has from a state process before, and tell."""
        self.count = sum(1 for _ in self._records())
        self._tell(self.count)

    def read_store(self, connection: sqlite3.Connection) -> None:
        """Have what was set at run time be what the store has. Raises sqlite3.Error."""
        keys = set()
        for aor, text in connection.execute("SELECT aor, record FROM services"):
            key = aor.encode()
            try:
                data = msgspec.json.decode(text, type=dict[str, Any])
                over = some(from_plain(data), (name for name in KEYS if name in data))
            except (ValueError, msgspec.MsgspecError) as error:
                log.error("the store's services of %s are damaged and left out: %s", aor, error)
                continue
            keys.add(key)
            self._publish(key, overlaid(configured(self._published(key)), over))
        for key, record in list(self._records()):
            if record.added and key not in keys:
                self._publish(key, configured(record))

    def change(self, aor: str, wanted: dict[str, Any], domain: str, answer: Answer) -> None:
        """Set some services of one address-of-record: None takes back what was set, "" means none whatever the
        configuration says. Answers when it is on the disk."""
        key = aor.encode()
        try:
            # Only what changes is checked: what is there was, perhaps by another version.
            checked = _read(aor, {name: value for name, value in wanted.items() if value != ""}, domain)
            _known(name for name, value in wanted.items() if value in (None, ""))
        except ValueError as error:
            return answer(False, {"error": str(error)})
        over = {**changes(self._current(key)), **some(checked, wanted)}
        over = {name: value for name, value in over.items() if wanted.get(name, "") is not None}
        self._keep({key: over}, answer, self._told(aor))

    def replace(self, records: list[tuple[str, dict[str, Any]]], domain: str, answer: Answer) -> None:
        """Give addresses-of-record these services and no others, all or nobody. Answers when it is on the disk."""
        wrong = []
        kept = {}
        for aor, services in records:
            key = aor.encode()
            try:
                record = _read(aor, services, domain)
            except ValueError as error:
                wrong += [f"{aor}: {line}" for line in str(error).splitlines()]
            else:
                kept[key] = some(record, {**plain(record), **plain(configured(self._published(key)))})
        if wrong:
            return answer(False, {"error": "\n".join(wrong[:20])})
        self._keep(kept, answer, lambda: {"count": len(kept)})

    def unset(self, aor: str, names: list[str], answer: Answer) -> None:
        """Take back what was set, all without names. Answers when that is on the disk."""
        try:
            _known(names)
        except ValueError as error:
            return answer(False, {"error": str(error)})
        key = aor.encode()
        over, below = changes(self._current(key)), plain(configured(self._published(key)))
        if missing := [name for name in names if name not in over]:
            where = ": it is in the configuration" if missing[0] in below else ""
            return answer(False, {"error": f"{missing[0]} of {aor} is not set by `ctl services`{where}"})
        if not over:
            where = "are in the configuration alone: change them there, or set others" if below else "are not set"
            return answer(False, {"error": f"services of {aor} {where}"})
        left = {name: value for name, value in over.items() if names and name not in names}
        self._keep({key: left}, answer, self._told(aor))

    def page(self, cursor: int, limit: int) -> tuple[int | None, list[dict[str, Any]]]:
        """A page of records: aor, from (each service to "configuration" or "store"), and the services by name."""
        after, records = self._table.scan(cursor, limit, RECORD_SERVICES)
        return after, [_item(key.decode(), decode(value)) for key, value in records]

    def get(self, aor: str) -> list[dict[str, Any]]:
        """The same of one address-of-record: one, or none."""
        record = self._published(aor.encode())
        return [_item(aor, record)] if record is not None else []

    def _told(self, aor: str) -> Callable[[], object]:
        """What a command answers: the same."""
        return lambda: _item(aor, self._published(aor.encode()) or NOTHING)

    def _keep(self, kept: dict[bytes, dict[str, Any]], answer: Answer, result: Callable[[], object]) -> None:
        """What is set from now on of each: on the disk, then for everybody to see."""
        now = time.time_ns() // 1_000_000
        records = [(key, overlaid(configured(self._published(key)), over)) for key, over in kept.items()]
        self._writing.update(records)
        rows = [(key.decode(), msgspec.json.encode(over).decode(), now) for key, over in kept.items() if over]
        gone = [(key.decode(),) for key, over in kept.items() if not over]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO services VALUES (?,?,?)", rows)
            connection.executemany("DELETE FROM services WHERE aor = ?", gone)

        def done(error: Exception | None) -> None:
            for key, record in records:
                if self._writing.get(key) is record:
                    del self._writing[key]
            if error is not None:
                return answer(False, {"error": f"the store failed ({error}); nothing changed"})
            try:
                for key, over in kept.items():
                    # The configuration may say something else by now.
                    self._publish(key, overlaid(configured(self._published(key)), over))
            except (MemoryError, ValueError) as failure:
                return answer(False, {"error": f"kept, but not all of it in use before a restart: {failure}"})
            answer(True, result())

        if self._store is None:
            done(None)
        else:
            self._store.submit(write, done)

    def _publish(self, key: bytes, record: Record) -> None:
        """For everybody to see; removed if nothing is set in it."""
        before = self._table.get(RECORD_SERVICES, key)
        if record == NOTHING:
            if before is not None:
                self.count -= self._table.delete(RECORD_SERVICES, key)
                self._tell(self.count)
            return
        value = encode(record)
        if before == value:
            return
        if before is None:
            self._tell(self.count + 1)
        try:
            self._table.put(RECORD_SERVICES, key, value)
        except BaseException:
            self._tell(self.count)
            raise
        self.count += before is None

    def _published(self, key: bytes) -> Record | None:
        value = self._table.get(RECORD_SERVICES, key)
        return decode(value) if value is not None else None

    def _current(self, key: bytes) -> Record | None:
        """What is published, or on its way to that."""
        return self._writing.get(key) or self._published(key)

    def _records(self) -> Iterator[tuple[bytes, Record]]:
        cursor: int | None = 0
        while cursor is not None:
            cursor, records = self._table.scan(cursor, PAGE, RECORD_SERVICES)
            for key, value in records:
                yield key, decode(value)


def _read(aor: str, services: dict[str, Any], domain: str) -> Record:
    # Here, since a state process that takes over need not wait for what only a change needs.
    from fastsip.config.services import read_services

    return read_services(aor, services, domain)


def _known(names: Iterable[str]) -> None:
    for name in names:
        if name not in KEYS:
            raise ValueError(f"{name} is no service (known: {', '.join(KEYS)})")


def _item(aor: str, record: Record) -> dict[str, Any]:
    services = {**plain(record), **msgspec.to_builtins(changes(record))}
    origins = {name: "store" if name in record.added else "configuration" for name in KEYS if name in services}
    return {"aor": aor, "from": origins, **services}
