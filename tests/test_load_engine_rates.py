"""When work begins: Poisson and equal gaps, plans, changes while it runs; and the histograms that come of it."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram
from load_engines import callee, caller, running

from fastsip._load import COUNTERS, DIGITS, HIGHEST, HISTOGRAMS, LOWEST
from fastsip.load.setup import Scenario, Step, User

OPTIONS = Scenario("options")


def begun(bob: tuple[str, int], **setup: Any) -> int:
    """How many arrivals came in the time given: that depends on the seed alone."""
    with caller(bob, OPTIONS, count=0, **setup) as alice:
        return int(alice.wait().counters["offered"])


def test_arrivals_are_poisson_and_repeat_with_the_seed() -> None:
    with callee() as bob:
        counts = [begun(bob.address, rate=2000, duration=0.05, seed=seed) for seed in range(40)]
        again = [begun(bob.address, rate=2000, duration=0.05, seed=seed) for seed in range(3)]
        even = {begun(bob.address, rate=2000, duration=0.05, seed=seed, poisson=False) for seed in range(3)}
    assert again == counts[:3]
    assert 95 <= statistics.mean(counts) <= 105  # 100, three deviations of the mean of 40
    assert 0.5 < statistics.variance(counts) / statistics.mean(counts) < 1.8  # a Poisson count has 1
    assert even == {99} or even == {100}


@pytest.mark.parametrize(
    "plan, expected",
    [
        ([Step(0, 0, 4000)], 180),  # 4000 * 0.3^2 / 2
        ([Step(0, 1000), Step(0.1, 3000), Step(0.2, 0)], 400),
        ([Step(0, 2000, -10_000)], 200),  # it falls to nothing at 0.2 s and stays there
        ([Step(0.1, 1000)], 200),
    ],
)
def test_plans(plan: list[Step], expected: int) -> None:
    with callee() as bob:
        assert abs(begun(bob.address, plan=plan, duration=0.3, poisson=False) - expected) <= 2


def test_the_rate_changes_while_it_runs() -> None:
    with callee() as bob, caller(bob.address, OPTIONS, rate=0, count=0) as alice:
        alice.engine.set_rate(1000)
        alice.until(lambda c: c["offered"] > 20)
        alice.engine.set_rate(0)
        turns = alice.counters()["turns"]
        alice.until(lambda c: c["turns"] >= turns + 2 and c["in_flight"] == 0)
        before = alice.counters()["offered"]
        turns = alice.counters()["turns"]
        alice.until(lambda c: c["turns"] >= turns + 2)
        assert alice.counters()["offered"] == before
        alice.engine.set_rate(0, 5000)
        alice.until(lambda c: c["offered"] > before + 20)
        with pytest.raises(ValueError):
            alice.engine.set_rate(-1)
        alice.engine.finish()


def test_what_is_late_is_not_left_out() -> None:
    """More than it can do in the time: all of it begins, late, and says so."""
    with callee() as bob, caller(bob.address, OPTIONS, rate=1_000_000, count=3000) as alice:
        shot = alice.wait()
        assert shot.counters["offered"] == shot.counters["done"] == 3000
        assert shot.histograms["lateness"].total == 3000 and shot.histograms["lateness"].maximum > 2000


def test_histograms_are_hdrhistograms() -> None:
    with callee(ring=30) as bob, caller(bob.address, rate=1000, count=300) as alice:
        recorded = alice.wait().histograms["invite_200"]
    theirs = HdrHistogram(LOWEST, HIGHEST, DIGITS)
    counts = memoryview(recorded.counts).cast("q")
    assert len(counts) <= theirs.counts_len and sum(counts) == recorded.total == 300
    for edge in (recorded.minimum, recorded.maximum):
        theirs.record_value(edge)
    filled = [index for index, count in enumerate(counts) if count]
    expected = [index for index, count in enumerate(theirs.counts) if count]
    assert [filled[0], filled[-1]] == [expected[0], expected[-1]]
    assert recorded.minimum + 1000 >= 30_000 and recorded.maximum < 2_000_000


def test_names_are_the_documented_ones() -> None:
    with running(callers=[User("sip:a@b")]) as idle:
        shot = idle.snapshot()
        assert tuple(shot.counters) == COUNTERS and tuple(shot.histograms) == HISTOGRAMS
        assert idle.engine.snapshot(False).histograms == {}
        idle.engine.finish()
