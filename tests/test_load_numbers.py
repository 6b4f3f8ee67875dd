"""Percentiles and sums of what engines record, and how it is told that the generator was the limit."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hdrh.histogram import HdrHistogram

from fastsip.load.addresses import Target
from fastsip.load.course import Outcome
from fastsip.load.histogram import DIGITS, HIGHEST, LOWEST, Histogram
from fastsip.load.limits import Limits, check, generator_limits
from fastsip.load.numbers import Numbers, Second
from fastsip.load.rates import constant
from fastsip.load.reading import Bound
from fastsip.load.setup import Scenario, User
from fastsip.load.work import Work, parts


def _recorded(values: list[int]) -> tuple[HdrHistogram, Any]:
    whole = HdrHistogram(LOWEST, HIGHEST, DIGITS)
    for value in values:
        whole.record_value(value)
    return whole, SimpleNamespace(
        counts=bytes(whole.counts), total=len(values), minimum=min(values, default=0), maximum=max(values, default=0)
    )


def test_percentiles_are_those_of_hdrhistogram() -> None:
    drawn = random.Random(1)
    values = [int(drawn.lognormvariate(7, 2)) + 1 for _ in range(5000)]
    theirs, recorded = _recorded(values)
    ours = Histogram.of([recorded])
    for percent in (1, 50, 90, 99, 99.9):
        assert ours.percentiles(percent) == [theirs.get_value_at_percentile(percent)]
    assert abs(ours.mean - sum(values) / len(values)) < 0.001 * ours.mean
    assert ours.hdr().get_total_count() == 5000


def test_several_engines_are_one_and_a_second_is_a_difference() -> None:
    first, second = [100] * 98 + [5000], [70_000] * 99
    whole = Histogram.of([_recorded(first)[1], _recorded(second)[1], _recorded([])[1]])
    assert (whole.total, whole.minimum, whole.maximum) == (198, 100, 70_000)
    recent = whole.since(Histogram.of([_recorded(first)[1]]))
    assert recent.total == 99 and recent.percentiles(50)[0] // 100 == 700
    assert whole.since(whole).total == 0 and Histogram().percentiles(50) == [0]


def test_the_file_is_what_the_plotter_reads(tmp_path: Path) -> None:
    Histogram.of([_recorded([1000, 1500, 2000])[1]]).write(tmp_path / "x.hgrm")
    lines = (tmp_path / "x.hgrm").read_text().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    assert "#[Max     =        2.000" in "\n".join(lines)


def _outcome(**counters: int) -> Outcome:
    target = Target("127.0.0.1", 5060, "127.0.0.1")
    work = Work("call", target, [Scenario("call")], constant(100), [User("sip:a@b")])
    outcome = Outcome(work)
    outcome.numbers.counters.update({"offered": 1000, "done": 1000, **counters})
    outcome.offering = 10
    return outcome


def _busy(outcome: Outcome, *shares: float) -> Outcome:
    outcome.timeline = [
        Second(at, 100, 100, 0, 0, 0, 0, 0, 0, share, 1.0) for at, share in enumerate(shares, 1)
    ]  # fmt: skip
    return outcome


def test_a_generator_with_room_is_not_the_limit() -> None:
    outcome = _busy(_outcome(), *[0.5] * 9, 0.97)
    outcome.numbers.histograms["lateness"] = Histogram.of([_recorded([50] * 999 + [30_000])[1]])
    assert generator_limits(outcome) == []


def test_a_generator_without_room_says_why() -> None:
    assert "no time left in 2 of 10 s" in generator_limits(_busy(_outcome(), *[0.5] * 8, 0.97, 0.99))[0]
    late = _outcome()
    late.numbers.histograms["lateness"] = Histogram.of([_recorded([15_000] * 100)[1]])
    assert generator_limits(late)[0].startswith("work began late: p99 15")
    told = generator_limits(_outcome(not_begun=7, datagrams_in=1))
    assert told == ["7 were due and not begun: every user's REGISTER was under way (more --users)"]
    assert generator_limits(_outcome(not_begun=7)) == [], "nobody answered: that is not the generator's fault"
    assert generator_limits(_outcome(dropped_socket=3)) == ["its own sockets dropped 3 datagrams"]
    dropped = _outcome()
    dropped.answering.counters["dropped_socket"] = 2
    assert generator_limits(dropped) == ["its own sockets dropped 2 datagrams"]


def test_bounds() -> None:
    outcome = _outcome(failed=11, done=989)
    outcome.numbers.histograms["invite_200"] = Histogram.of([_recorded([4000] * 980 + [9000] * 20)[1]])
    failures, p99 = check(Limits(Bound(0.01, True), 8), outcome)
    assert failures.broken and failures.value == 11 and p99.broken and p99.value == 9.0
    failures, p99 = check(Limits(Bound(11, False), 10), outcome)
    assert not failures.broken and not p99.broken
    assert check(Limits(None, 10), _outcome())[0].broken, "nothing was measured"


def test_work_is_dealt_out_whole() -> None:
    assert parts(10, 4) == [3, 3, 2, 2] and parts(0, 3) == [0, 0, 0]


def test_the_busiest_thread_counts() -> None:
    before, now = Numbers(), Numbers()
    before.busy, now.busy = [(0, 0), (500, 1000)], [(100, 1000), (1400, 2000)]
    assert now.busiest(before) == 0.9 and Numbers().busiest() == 0
