"""How long a proxy makes people wait: INVITE to 200 and BYE to 200 through it, less the same without it.

    python bench/latency.py [--quick] [--workers 2]

First the highest rate at which fastsip loses nothing here, generator and server on the same CPUs; then half of it, in
turn directly and through fastsip. What is added is the difference of the percentiles, median of the rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from rounds import Round, good, highest, once
from rows import Bench, Row, alone
from servers import Job

TITLE = "Latency"
ABOUT = "at half of the highest rate at which nothing is lost; through fastsip less directly, callee answers at once"
GATES = {50: (0.3, 0.15), 99: (2.0, 1.0)}
PLOT = "INVITE to 200, ms, by percentile"
BEGIN, MOST = 10_000, 40_000


def rows(bench: Bench) -> Iterator[Row]:
    job = Job(bench.workers)
    rate = bench.pick(300.0, 4_000.0, 0.0)
    if not rate:
        rate, failing = highest(bench, "fastsip", BEGIN, MOST, 4, job)
        why = ""
        if failing:
            why = f"at {failing.asked:,.0f}: {failing.note or f'{failing.failed} failed, {failing.drops} drops'}"
        yield Row("fastsip's highest rate without loss, generator beside it", rate, "calls/s", note=why)
    bench.facts["highest"] = rate
    number, seconds = bench.pick((1, 0.1), (2, 3.0), (3, 6.0))
    found: dict[str, list[Round]] = {"none": [], "fastsip": []}
    for turn in range(number):
        for name in found:
            bench.say(f"latency {'through fastsip' if name == 'fastsip' else 'directly'}, round {turn + 1} of {number}")
            found[name].append(once(name, rate / 2, seconds, job, seed=turn + 1))
    for what, text in (("invite_100", "INVITE to 100"), ("invite_200", "INVITE to 200"), ("bye_200", "BYE to 200")):
        for quantile in (50, 90, 99, 99.9):
            direct, through = (_middle(found[name], what, quantile) for name in ("none", "fastsip"))
            if through is None:
                continue
            note = f"{rate / 2:,.0f} calls/s; {through:.2f} through, {direct or 0:.2f} directly"
            if what == "invite_200":
                gate, aim = GATES.get(quantile, (None, None))
                plot = (PLOT, "through fastsip, added", f"p{quantile:g}")
                yield Row(f"added latency p{quantile:g}, {text}", through - (direct or 0), "ms", gate, aim, note=note,
                          plot=plot)  # fmt: skip
            elif what == "bye_200" or quantile in (50, 99):
                yield Row(f"p{quantile:g}, {text}", through, "ms", note=note)
    notes = [round.note for rounds in found.values() for round in rounds if round.note]
    yield Row("lost at half load", float(sum(round.failed + round.drops for round in found["fastsip"])), "", 0,
              note=", ".join(dict.fromkeys(notes)))  # fmt: skip


def _middle(rounds: list[Round], what: str, quantile: float) -> float | None:
    values = [round.quantiles[what][quantile] for round in good(rounds) if what in round.quantiles]
    return statistics.median(values) if values else None


if __name__ == "__main__":
    alone(__name__)
