"""Bindings and services as the state process publishes them, for a planner in another process or thread."""

from __future__ import annotations

from collections.abc import Sequence

from fastsip._location import RECORD_BINDINGS, RECORD_SERVICES, SegmentReader
from fastsip.location import Binding, BindingSet
from fastsip.services.record import Record, decode

KEPT = 10_000


class Published:
    """What the segment has. `lookup` and `services` are what `Services` takes."""

    def __init__(self, reader: SegmentReader) -> None:
        self._reader = reader
        self._decoded: dict[str, tuple[bytes, Record | None]] = {}

    def lookup(self, aor: str) -> Sequence[Binding]:
        """The bindings of an address-of-record, expired ones too."""
        value = self._reader.find(RECORD_BINDINGS, aor.encode("utf-8", "surrogateescape"))
        return BindingSet.decode(value).bindings if value is not None else ()

    def services(self, aor: str) -> Record | None:
        """Its services: the same object as long as nothing changes."""
        value = self._reader.find(RECORD_SERVICES, aor.encode("utf-8", "surrogateescape"))
        if value is None:
            return None
        kept = self._decoded.get(aor)
        if kept is not None and kept[0] == value:
            return kept[1]
        if len(self._decoded) >= KEPT:
            self._decoded.clear()
        record = decode(value)
        self._decoded[aor] = value, record
        return record
