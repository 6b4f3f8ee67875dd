"""Memory of removed bindings, so that a late copy of an older REGISTER does not bring one back.

RFC 3261 10.3 compares CSeq with the bindings there are. Once a phone has unregistered there is nothing to compare
with, and a REGISTER it sent before, delayed or duplicated on the way, would bind a contact that nobody answers.
"""

from __future__ import annotations

from collections import OrderedDict

MEMORY = 64_000
"""Milliseconds: twice the life of a non-INVITE transaction (64*T1), after which no copy is on its way any more."""
LIMIT = 65_536


class Removals:
    """The highest CSeq by which a Call-ID removed bindings of an address-of-record, for a while."""

    def __init__(self, memory: int = MEMORY, limit: int = LIMIT) -> None:
        self._memory = memory
        self._limit = limit
        self._removed: OrderedDict[tuple[bytes, bytes], tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._removed)

    def remember(self, aor: bytes, call_id: bytes, cseq: int, now: int) -> None:
        """Note that a REGISTER removed a binding at `now` (milliseconds, any origin)."""
        key = (aor, call_id)
        self._removed[key] = (cseq, now)
        self._removed.move_to_end(key)
        self.forget(now)

    def forbids(self, aor: bytes, call_id: bytes, cseq: int, now: int) -> bool:
        """Whether a REGISTER that adds a binding is older than the one that removed it."""
        found = self._removed.get((aor, call_id))
        return found is not None and cseq <= found[0] and now - found[1] < self._memory

    def forget(self, now: int) -> None:
        """Drop what is too old or too much."""
        while self._removed:
            key, (_, when) = next(iter(self._removed.items()))
            if now - when < self._memory and len(self._removed) <= self._limit:
                return
            del self._removed[key]
