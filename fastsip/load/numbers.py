"""What engines counted, as one: sums of their counters, failures and histograms, and how busy each one's thread was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from .histogram import Histogram

if TYPE_CHECKING:
    from fastsip._load import Snapshot

RESPONSE_TIMES = {
    "invite_100": "INVITE to 100",
    "invite_180": "INVITE to 180",
    "invite_200": "INVITE to 200",
    "bye_200": "BYE to 200",
    "register": "REGISTER to final",
    "options": "OPTIONS to final",
    "message": "MESSAGE to final",
}
"""Histogram of an engine, and how people call it."""

MAIN = {"call": "invite_200", "register": "register", "options": "options", "message": "message"}
"""Kind of work, and the response time bounds and live view mean."""

SENT_AGAIN = {
    "again_invite": "INVITE",
    "again_bye": "BYE",
    "again_register": "REGISTER",
    "again_other": "other requests",
    "again_answer": "responses",
    "again_ack": "ACK",
}


class Second(NamedTuple):
    """What happened since the look before, about a second ago."""

    at: float
    """Seconds since the start."""
    offered: int
    done: int
    failed: int
    answered: int
    ended: int
    in_flight: int
    """At its end."""
    p50: int
    """Of the main response time, microseconds; 0 where there was none."""
    p99: int
    busy: float
    """Share of a CPU the busiest thread used."""
    span: float
    """Seconds it was long."""


class Numbers:
    """The sum of the snapshots of some engines."""

    def __init__(self, snapshots: Iterable[Snapshot] = ()) -> None:
        self.counters: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.histograms: dict[str, Histogram] = {}
        self.at = 0.0
        """Seconds since the start, where somebody looked (`second`)."""
        self.busy: list[tuple[int, int]] = []
        """Of each engine: CPU time and time of its thread, microseconds."""
        self.begun = 0.0
        """Seconds from the start until the last work was begun."""
        snapshots = list(snapshots)
        for snapshot in snapshots:
            self.counters.update(snapshot.counters)
            self.failures.update(snapshot.failures)
            self.begun = max(self.begun, snapshot.counters["begun_us"] / 1e6)
            self.busy.append((snapshot.counters["cpu_us"], snapshot.counters["elapsed_us"]))
        for name in {name for snapshot in snapshots for name in snapshot.histograms}:
            self.histograms[name] = Histogram.of(snapshot.histograms[name] for snapshot in snapshots)

    def __getitem__(self, counter: str) -> int:
        return self.counters[counter]

    def histogram(self, name: str) -> Histogram:
        return self.histograms.get(name) or Histogram()

    @property
    def cpu_seconds(self) -> float:
        return self.counters["cpu_us"] / 1e6

    @property
    def ended(self) -> int:
        """Work that is over, as meant or not."""
        return self["done"] + self["failed"]

    def second(self, earlier: Numbers, at: float, main: str) -> Second:
        """What was added since `earlier`; `at` is the time now, `main` a response time."""
        added = {name: self[name] - earlier[name] for name in ("offered", "done", "failed", "answered", "ended")}
        p50, p99 = self.histogram(main).since(earlier.histogram(main)).percentiles(50, 99)
        span = at - earlier.at
        self.at = at
        return Second(at, **added, in_flight=self["in_flight"], p50=p50, p99=p99, busy=self.busiest(earlier), span=span)

    def busiest(self, earlier: Numbers | None = None) -> float:
        """The share of a CPU the busiest thread used, since `earlier` or from its start. 0..1."""
        before = earlier.busy if earlier is not None and earlier.busy else [(0, 0)] * len(self.busy)
        shares = [
            (cpu - cpu_before) / (elapsed - elapsed_before)
            for (cpu, elapsed), (cpu_before, elapsed_before) in zip(self.busy, before, strict=True)
            if elapsed > elapsed_before
        ]
        return min(1.0, max(shares, default=0.0))
