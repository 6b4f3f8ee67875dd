"""Who serves a worker that keeps dying: its neighbour reads its sockets and owns its buckets until it is well again.

A bucket's home is worker `bucket % workers`. Moving buckets costs the transactions that are open in them (their next
message meets a worker that does not know them), so they move only away from a worker that serves nobody anyway, and
once more when it comes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

from fastsip._control import BUCKETS

DEATHS = 3
WINDOW = 10.0
"""This many deaths in so many seconds, and a worker is taken out."""
RETRY = 30.0
"""Seconds until a worker that was taken out is tried again."""
TRIAL = 10.0
"""Seconds a worker that was tried again must live; one death before that takes it out again."""


class Deaths:
    """When a worker died lately. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=DEATHS)
        self._trial_until = 0.0

    def add(self, now: float) -> bool:
        """Note a death; True if the worker dies too often to be replaced at once."""
        self._times.append(now)
        return now < self._trial_until or (len(self._times) == DEATHS and now - self._times[0] <= WINDOW)

    def on_trial(self, until: float) -> None:
        self._times.clear()
        self._trial_until = until


def neighbour(worker: int, workers: int, well: Collection[int]) -> int | None:
    """The next worker, in a circle, that is well."""
    for step in range(1, workers):
        candidate = (worker + step) % workers
        if candidate in well:
            return candidate
    return None


def owners(workers: int, adopted_by: Mapping[int, int]) -> bytes:
    """The owner of every bucket, given who took over whom."""
    return bytes(adopted_by.get(bucket % workers, bucket % workers) for bucket in range(BUCKETS))
