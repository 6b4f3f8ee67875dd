"""Five minutes at 80 % of the highest rate: nothing may be lost.

    python bench/endurance.py [--quick] [--workers 2]

The highest rate is that of the latency part, or is looked for first. `make bench ARGS=--long` ends with it.
"""

from __future__ import annotations

from collections.abc import Iterator

from latency import BEGIN, MOST
from rounds import highest, once
from rows import Bench, Row, alone
from servers import Job

TITLE = "Endurance"
ABOUT = "80 % of the highest rate at which fastsip loses nothing in a short run"
SHARE = 0.8


def rows(bench: Bench) -> Iterator[Row]:
    job = Job(bench.workers)
    rate: float = bench.facts.get("highest", 0.0) if bench.size != "tiny" else 300.0
    rate = rate or highest(bench, "fastsip", BEGIN, MOST, 4, job)[0]
    seconds = bench.pick(0.1, 30.0, 300.0)
    bench.say(f"{seconds:g} s at {rate * SHARE:,.0f} calls a second")
    found = once("fastsip", rate * SHARE, seconds, job)
    lost = found.failed + found.drops
    note = f"{found.done:,} calls at {found.rate:,.0f}/s, {found.retransmissions:,} retransmissions"
    if found.note:
        note += f", {found.note}"
    yield Row(f"lost in {seconds:g} s at {SHARE:.0%} of the highest rate", float(lost), "", 0, 0, note=note)
    yield Row("CPU per call in that time", found.cpu_us, "µs", raw=found)


if __name__ == "__main__":
    alone(__name__)
