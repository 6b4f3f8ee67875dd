"""Bindings and services as the state process publishes them, for a planner in another process or thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fastsip._location import RECORD_BINDINGS, RECORD_SERVICES
from fastsip.location import Binding, BindingSet
from fastsip.services.record import Record, decode

KEPT = 10_000


class Finds(Protocol):
    """Of `SegmentReader`, what is needed."""

    @property
    def find(self) -> Callable[[int, bytes], bytes | None]: ...


class Published:
    """What the segment has. `lookup` and `services` are what `Services` takes."""

    def __init__(self, reader: Finds) -> None:
        self._reader = reader
        self._decoded: dict[str, tuple[bytes, Record | None]] = {}
        self._bindings: dict[str, tuple[bytes, Sequence[Binding]]] = {}

    def lookup(self, aor: str) -> Sequence[Binding]:
        """The bindings of an address-of-record, expired ones too: the same object as long as nothing changes."""
        value = self._reader.find(RECORD_BINDINGS, aor.encode("utf-8", "surrogateescape"))
        if value is None:
            return ()
        kept = self._bindings.get(aor)
        if kept is not None and kept[0] == value:
            return kept[1]
        if len(self._bindings) >= KEPT:
            self._bindings.clear()
        bindings = BindingSet.decode(value).bindings
        self._bindings[aor] = value, bindings
        return bindings

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
