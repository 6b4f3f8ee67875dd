"""Services of users: from the configuration and from `ctl services`, published as RECORD_SERVICES records.

As with users the records are the only copy in memory, a flag says where each comes from, and what was set at run time
is on the disk before it is published or the command answered. How many there are is told to `tell`, never too few: who
sees 0 need not look.
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
from fastsip.services.record import KEYS, Record, decode, encode, from_plain, plain
from fastsip.state.store import Store
from fastsip.state.users import Answer, Conflict

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

    def conflicts(self, configured: Configured, stored: set[bytes] | None = None) -> None:
        """Raises Conflict if a name of `configured` is in `stored` (default: published, and set at run time)."""
        keys = [aor.encode() for aor, _ in configured]
        twice = sorted(key for key in keys if (key in stored if stored is not None else self._added(key)))
        if twice:
            names = ", ".join(key.decode() for key in twice[:10]) + (", ..." if len(twice) > 10 else "")
            raise Conflict(f"services both in the configuration and by `ctl services`: {names}; keep them in one place")

    def configure(self, configured: Configured) -> None:
        """Publish the configured records in place of those configured before."""
        wanted = {aor.encode(): from_plain(services) for aor, services in configured}
        for key, record in list(self._records()):
            if not record.added and key not in wanted:
                self._remove(key)
        for key, record in wanted.items():
            self._publish(key, record)

    def recover(self) -> None:
        """Count what the segment has from a state process before, and tell."""
        self.count = sum(1 for _ in self._records())
        self._tell(self.count)

    def read_store(self, connection: sqlite3.Connection) -> set[bytes]:
        """Publish the records of the store in place of those set before; their keys. Raises sqlite3.Error."""
        keys = set()
        for aor, text in connection.execute("SELECT aor, record FROM services"):
            key = aor.encode()
            try:
                record = from_plain(msgspec.json.decode(text), added=True)
            except (ValueError, msgspec.MsgspecError) as error:
                log.error("the store's services of %s are damaged and left out: %s", aor, error)
                continue
            keys.add(key)
            if self._added(key) is False:
                log.error("services of %s are both in the configuration and in the store; the former count", aor)
            else:
                self._publish(key, record)
        for key, record in list(self._records()):
            if record.added and key not in keys:
                self._remove(key)
        return keys

    def change(self, aor: str, changes: dict[str, Any], domain: str, answer: Answer) -> None:
        """Change some services of one address-of-record, None for the default again. Answers when it is on the disk."""
        key = aor.encode()
        try:
            # Only what changes is checked: what is there was, perhaps by another version.
            checked = _read(aor, changes, domain)
        except ValueError as error:
            return answer(False, {"error": str(error)})
        record = msgspec.structs.replace(self._current(key) or Record(), **_some(checked, changes))
        self._keep([(key, record)], domain, answer, lambda: {"aor": aor, "services": plain(record)})

    def replace(self, records: list[tuple[str, dict[str, Any]]], domain: str, answer: Answer) -> None:
        """Give addresses-of-record these services and no others, all or nobody. Answers when it is on the disk."""
        wrong = []
        kept = []
        for aor, services in records:
            try:
                kept.append((aor.encode(), _read(aor, services, domain)))
            except ValueError as error:
                wrong += [f"{aor}: {line}" for line in str(error).splitlines()]
        if wrong:
            return answer(False, {"error": "\n".join(wrong[:20])})
        self._keep(kept, domain, answer, lambda: {"count": len(kept)})

    def unset(self, aor: str, names: list[str], domain: str, answer: Answer) -> None:
        """Take services away, all without names. Answers when that is on the disk."""
        key = aor.encode()
        before = self._current(key)
        if before is None or not before.added:
            where = "are in the configuration: change them there" if before is not None else "are not set"
            return answer(False, {"error": f"services of {aor} {where}"})
        if unknown := [name for name in names if name not in KEYS]:
            return answer(False, {"error": f"{unknown[0]} is no service (known: {', '.join(KEYS)})"})
        record = msgspec.structs.replace(before if names else Record(), **_some(Record(), names))
        self._keep([(key, record)], domain, answer, lambda: {"aor": aor, "services": plain(record)})

    def page(self, cursor: int, limit: int) -> tuple[int | None, list[dict[str, Any]]]:
        """A page of records: aor, from ("configuration" or "store"), and the services that are set, by name."""
        after, records = self._table.scan(cursor, limit, RECORD_SERVICES)
        return after, [_item(key, decode(value)) for key, value in records]

    def get(self, aor: str) -> list[dict[str, Any]]:
        """The same of one address-of-record: one, or none."""
        value = self._table.get(RECORD_SERVICES, aor.encode())
        return [_item(aor.encode(), decode(value))] if value is not None else []

    def _keep(
        self, records: list[tuple[bytes, Record]], domain: str, answer: Answer, result: Callable[[], object]
    ) -> None:
        """On the disk, then for everybody to see. A record in which nothing is set is removed."""
        for key, _ in records:
            if self._added(key) is False:
                where = f"services of {key.decode()} are in the configuration and cannot be set too: change them there"
                return answer(False, {"error": where})
        now = time.time_ns() // 1_000_000
        records = [(key, msgspec.structs.replace(record, added=True)) for key, record in records]
        gone = [key for key, record in records if record == EMPTY]
        kept = [(key, record) for key, record in records if record != EMPTY]
        self._writing.update(records)
        rows = [(key.decode(), msgspec.json.encode(plain(record)).decode(), now) for key, record in kept]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO services VALUES (?,?,?)", rows)
            connection.executemany("DELETE FROM services WHERE aor = ?", [(key.decode(),) for key in gone])

        def done(error: Exception | None) -> None:
            for key, record in records:
                if self._writing.get(key) is record:
                    del self._writing[key]
            if error is not None:
                return answer(False, {"error": f"the store failed ({error}); nothing changed"})
            try:
                for key, record in kept:
                    self._publish(key, record)
                for key in gone:
                    self._remove(key)
            except (MemoryError, ValueError) as failure:
                return answer(False, {"error": f"kept, but not all of it in use before a restart: {failure}"})
            answer(True, result())

        if self._store is None:
            done(None)
        else:
            self._store.submit(write, done)

    def _publish(self, key: bytes, record: Record) -> None:
        value = encode(record)
        before = self._table.get(RECORD_SERVICES, key)
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

    def _remove(self, key: bytes) -> None:
        self.count -= self._table.delete(RECORD_SERVICES, key)
        self._tell(self.count)

    def _added(self, key: bytes) -> bool | None:
        """Whether it was set at run time; None if there is none."""
        value = self._table.get(RECORD_SERVICES, key)
        return decode(value).added if value is not None else None

    def _current(self, key: bytes) -> Record | None:
        value = self._table.get(RECORD_SERVICES, key)
        return self._writing.get(key) or (decode(value) if value is not None else None)

    def _records(self) -> Iterator[tuple[bytes, Record]]:
        cursor: int | None = 0
        while cursor is not None:
            cursor, records = self._table.scan(cursor, PAGE, RECORD_SERVICES)
            for key, value in records:
                yield key, decode(value)


def _some(record: Record, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _read(aor: str, services: dict[str, Any], domain: str) -> Record:
    # Here, since a state process that takes over need not wait for what only a change needs.
    from fastsip.config.services import read_services

    return read_services(aor, services, domain)


EMPTY = Record(added=True)


def _item(key: bytes, record: Record) -> dict[str, Any]:
    return {"aor": key.decode(), "from": "store" if record.added else "configuration", **plain(record)}
