"""Which workers follow the newest configuration, and when those that could not are told once more.

An order to follow is never lost: it waits in the worker's channel, and a worker that dies has a successor that begins
with the newest. What may go wrong is a policy's module, whose `setup` finds no database, in a worker that is told and
in one that begins: it is tried again and again.
"""

from __future__ import annotations

FIRST = 5.0
"""Seconds until a worker that could not follow is told again; from then on twice as long each time."""
LONGEST = 300.0


class Following:
    """By index of the worker."""

    def __init__(self) -> None:
        self._owed: dict[int, int] = {}
        """Orders that were not answered: they are in turn, so the last answer is about the newest."""
        self._again: dict[int, tuple[float, float]] = {}
        """When those that could not follow are told again, and how long they will have waited."""

    def told(self, index: int, anew: bool = False) -> None:
        """The order is in its channel. `anew`: it is another one than before."""
        self._owed[index] = self._owed.get(index, 0) + 1
        if anew:
            self._again.pop(index, None)
        elif index in self._again:
            self._again[index] = float("inf"), self._again[index][1]

    def answered(self, index: int, error: str, now: float) -> bool:
        """Whether this answer is about the newest order."""
        self._owed[index] = max(0, self._owed.get(index, 0) - 1)
        if self._owed[index]:
            return False
        if error:
            pause = min(2 * self._again[index][1], LONGEST) if index in self._again else FIRST
            self._again[index] = now + pause, pause
        else:
            self._again.pop(index, None)
        return True

    def stumbled(self, index: int, now: float) -> bool:
        """It began, and could not follow; whether that is news. An order in its channel has an answer of its own."""
        if self.behind(index):
            return False
        self._again[index] = now + FIRST, FIRST
        return True

    def owes(self, index: int) -> bool:
        """Whether an order in its channel is not answered."""
        return bool(self._owed.get(index))

    def begins(self, index: int) -> None:
        """It is new, and follows unless it says otherwise."""
        self._owed.pop(index, None)
        self._again.pop(index, None)

    def behind(self, index: int) -> bool:
        """Whether it does not follow the newest order, or not yet."""
        return self.owes(index) or index in self._again

    def due(self, now: float) -> list[int]:
        """Who is to be told again."""
        return [index for index, (due, _) in self._again.items() if due <= now]
