"""The timer wheel: arming and cancelling, and how late timers fire when a million are armed.

    python bench/timers.py [--quick]

Arm, fire and cancel are CPU times in one compiled loop each. Lateness is in real time: a thread that sleeps as a worker
does, and fires what is due, each timer armed again when it fires; what other programs do to this machine is in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rows import Bench, Row, alone

from fastsip._testing import ManualWheel

TITLE = "Timers"
ABOUT = "armed over 32 s, as transactions have them; lateness of firing in real time"
SPREAD = 32_000


def percentile(found: list[tuple[int, int]], fired: int, share: float) -> float:
    """Milliseconds, from (lateness in µs, count) in rising order."""
    seen = 0
    for lateness, count in found:
        seen += count
        if seen >= share * fired:
            return lateness / 1000
    return 0.0


def rows(bench: Bench) -> Iterator[Row]:
    count = bench.pick(10_000, 1_000_000, 1_000_000)
    bench.say(f"{count:,} timers")
    found = ManualWheel(count).measure(SPREAD)
    for name, what in (("arm", "armed_ns"), ("cancel", "cancelled_ns"), ("fire", "fired_ns")):
        yield Row(f"{name} a timer, {count:,} armed", found[what], "ns")
    seconds = bench.pick(0.2, 3.0, 10.0)
    fired, late = ManualWheel(count).lateness(SPREAD, int(seconds * 1000))
    note = f"{fired / seconds:,.0f} fired a second, latest {late[-1][0] / 1000:.1f} ms"
    yield Row(f"lateness p50, {count:,} armed", percentile(late, fired, 0.5), "ms")
    yield Row(f"lateness p99, {count:,} armed", percentile(late, fired, 0.99), "ms", 20, 10, note=note)


if __name__ == "__main__":
    alone(__name__)
