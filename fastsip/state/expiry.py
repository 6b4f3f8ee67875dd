"""When to look at which address-of-record, because a binding's time may have passed."""

from __future__ import annotations

import heapq


class Expiry:
    """A calendar of seconds. One entry an address-of-record at most is there early enough; where an expiry moved later
    the entry stays, and looking finds that it is not yet time and enters it again. So a refresh costs nothing here."""

    def __init__(self) -> None:
        self._seconds: dict[int, set[bytes]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self._seconds.values()))

    def enter(self, aor: bytes, when: int) -> None:
        """Look at `aor` in the second after `when` (Unix milliseconds)."""
        second = when // 1000 + 1
        entries = self._seconds.get(second)
        if entries is None:
            self._seconds[second] = {aor}
            heapq.heappush(self._order, second)
        else:
            entries.add(aor)

    def due(self, now: int, limit: int) -> list[bytes]:
        """Take out up to `limit` entries whose second has come at `now` (Unix milliseconds)."""
        found: list[bytes] = []
        while self._order and self._order[0] * 1000 <= now and len(found) < limit:
            entries = self._seconds[self._order[0]]
            while entries and len(found) < limit:
                found.append(entries.pop())
            if not entries:
                del self._seconds[heapq.heappop(self._order)]
        return found

    def next(self) -> int | None:
        """The Unix millisecond at which something is due, None if nothing ever is."""
        return self._order[0] * 1000 if self._order else None
