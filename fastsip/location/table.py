"""Where the state process publishes: one record per kind and key. `_location.SegmentWriter` is such a table."""

from __future__ import annotations

from typing import Protocol


class LocationTable(Protocol):
    """The writer's face of the location segment. One writer, one thread."""

    def get(self, kind: int, key: bytes) -> bytes | None:
        """The value, or None."""

    def put(self, kind: int, key: bytes, value: bytes) -> None:
        """Publish a record: readers see the old or the new one whole. Raises MemoryError if the table is full and
        ValueError if key or value is too long; nothing has changed then."""

    def delete(self, kind: int, key: bytes) -> bool:
        """Take a record out; whether it was there."""

    def scan(self, cursor: int, limit: int, kind: int) -> tuple[int | None, list[tuple[bytes, bytes]]]:
        """Some (key, value) from `cursor` (0 to begin) and the cursor that goes on, None at the end. What is there
        during the whole walk is seen once; what comes or goes meanwhile at most once. An empty list with a cursor
        means go on."""

    def reclaim(self) -> int:
        """Free what no reader can see any more; how many blocks still wait."""


class MemoryTable:
    """A table in this process alone, for tests and for what needs no readers elsewhere."""

    def __init__(self) -> None:
        self._slots: list[tuple[int, bytes, bytes] | None] = []
        self._free: list[int] = []
        self._index: dict[tuple[int, bytes], int] = {}

    def __len__(self) -> int:
        return len(self._index)

    def get(self, kind: int, key: bytes) -> bytes | None:
        slot = self._index.get((kind, key))
        record = self._slots[slot] if slot is not None else None
        return record[2] if record else None

    def put(self, kind: int, key: bytes, value: bytes) -> None:
        slot = self._index.get((kind, key))
        if slot is None:
            if self._free:
                slot = self._free.pop()
            else:
                slot = len(self._slots)
                self._slots.append(None)
            self._index[kind, key] = slot
        self._slots[slot] = (kind, key, value)

    def delete(self, kind: int, key: bytes) -> bool:
        slot = self._index.pop((kind, key), None)
        if slot is None:
            return False
        self._slots[slot] = None
        self._free.append(slot)
        return True

    def scan(self, cursor: int, limit: int, kind: int) -> tuple[int | None, list[tuple[bytes, bytes]]]:
        end = cursor + limit
        found = [(r[1], r[2]) for r in self._slots[cursor:end] if r is not None and r[0] == kind]
        return (end if end < len(self._slots) else None), found

    def reclaim(self) -> int:
        return 0
