"""The wheel (`_timer`).

1. never early, never late: a timer fires in the first sweep at or after its time (RFC 3261 17 gives each a value)
2. in order of due time, however far `now` jumps
3. arm again moves, cancel takes away, both at any time and from within a sweep
4. a delay of 0 is due at once; rearmed with 0 within a sweep it waits for the next one
5. wheel_wait is never late
6. all of it against a sorted list (hypothesis)
7. a million timers
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastsip._testing import ManualWheel as Wheel

BORDERS = [0, 1, 2, 255, 256, 257, 511, 512, 65535, 65536, 65537, 2**24 - 1, 2**24, 2**24 + 1, 2**32 - 1]
STARTS = [0, 1, 255, 256, 65535, 2**24 - 1, 2**32 - 2, 2**32, 2**40 + 12345]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("delay", BORDERS)
def test_fires_at_its_time_and_not_before(start: int, delay: int) -> None:
    wheel = Wheel(1, start)
    wheel.arm(0, start, delay)
    if delay:
        assert wheel.sweep(start + delay - 1) == []
    assert wheel.is_armed(0)
    assert wheel.sweep(start + delay) == [0]
    assert wheel.armed == 0


@pytest.mark.parametrize("start", STARTS)
def test_one_far_jump_fires_all_in_order(start: int) -> None:
    wheel = Wheel(len(BORDERS), start)
    for number in reversed(range(len(BORDERS))):
        wheel.arm(number, start, BORDERS[number])
    assert wheel.sweep(start + 2**40) == list(range(len(BORDERS)))


def test_same_tick_fires_in_order_of_arming() -> None:
    wheel = Wheel(3)
    for number in (2, 0, 1):
        wheel.arm(number, 0, 500)
    assert wheel.sweep(500) == [2, 0, 1]


def test_arm_again_moves_the_timer() -> None:
    wheel = Wheel(1)
    wheel.arm(0, 0, 500)
    wheel.arm(0, 100, 1000)
    assert wheel.armed == 1
    assert wheel.sweep(1099) == []
    assert wheel.sweep(1100) == [0]


def test_cancel_takes_away_and_may_come_twice() -> None:
    wheel = Wheel(2)
    wheel.arm(0, 0, 500)
    wheel.cancel(0)
    wheel.cancel(0)
    wheel.cancel(1)
    assert wheel.armed == 0
    assert wheel.sweep(10_000) == []


def test_cancelled_in_the_sweep_that_would_return_it() -> None:
    wheel = Wheel(3)
    for number in range(3):
        wheel.arm(number, 0, 500)
    assert wheel.expire(500) == 0
    wheel.cancel(1)
    assert wheel.expire(500) == 2
    assert wheel.expire(500) is None
    assert wheel.armed == 0


def test_slot_is_used_again_while_its_last_timers_wait_to_be_returned() -> None:
    wheel = Wheel(3)
    wheel.arm(0, 0, 10)
    wheel.arm(1, 0, 10)
    assert wheel.expire(10) == 0
    wheel.arm(2, 10, 256)  # a rotation later: the same slot
    wheel.cancel(1)
    assert wheel.wait(10, 1000) <= 256
    assert wheel.sweep(265) == []
    assert wheel.sweep(266) == [2]


def test_delay_0_is_due_at_once() -> None:
    wheel = Wheel(1, 7)
    wheel.arm(0, 7, 0)
    assert wheel.wait(7, 1000) == 0
    assert wheel.sweep(7) == [0]


def test_rearmed_with_0_in_a_sweep_waits_for_the_next() -> None:
    wheel = Wheel(1)
    wheel.arm(0, 0, 5)
    for _ in range(3):
        assert wheel.expire(5) == 0
        wheel.arm(0, 5, 0)
        assert wheel.expire(5) is None
        assert wheel.wait(5, 1000) == 0


def test_armed_in_a_sweep_that_lags_fires_in_the_same_sweep_in_order() -> None:
    wheel = Wheel(3)
    wheel.arm(0, 0, 10)
    wheel.arm(1, 0, 900)
    assert wheel.expire(1000) == 0
    wheel.arm(2, 1000, 0)
    assert [wheel.expire(1000), wheel.expire(1000)] == [1, 2]


def test_armed_with_a_clock_behind_the_wheel_is_not_late() -> None:
    wheel = Wheel(1)
    assert wheel.sweep(5000) == []
    wheel.arm(0, 4000, 500)
    assert wheel.wait(5000, 1000) == 0
    assert wheel.sweep(5000) == [0]


def test_long_delay_while_the_wheel_was_not_turned() -> None:
    wheel = Wheel(1)
    wheel.arm(0, 2**33, 2**32 - 1)
    assert wheel.sweep(2**33 + 2**32 - 2) == []
    assert wheel.sweep(2**33 + 2**32 - 1) == [0]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**36), st.lists(st.integers(0, 2**32 - 1), max_size=20), st.integers(0, 2**32 - 1))
def test_wait_is_never_late_and_gets_there(start: int, delays: list[int], limit: int) -> None:
    wheel = Wheel(max(len(delays), 1), start)
    for number, delay in enumerate(delays):
        wheel.arm(number, start, delay)
    if not delays:
        assert wheel.wait(start, limit) == limit
        return
    now, steps = start, 0
    while not (fired := wheel.sweep(now)):
        wait = wheel.wait(now, 2**32 - 1)
        assert 0 < wait <= start + min(delays) - now
        assert wheel.wait(now, limit) == min(wait, limit)
        now, steps = now + wait, steps + 1
    assert now == start + min(delays) and delays[fired[0]] == min(delays)
    assert steps <= 5  # once a level, not once a tick


class WheelModel(RuleBasedStateMachine):
    """The wheel beside a dict of due times."""

    COUNT = 12

    def __init__(self) -> None:
        super().__init__()
        self.now = 2**24 - 300
        self.wheel = Wheel(self.COUNT, self.now)
        self.due: dict[int, int] = {}

    @rule(number=st.integers(0, COUNT - 1), delay=st.one_of(st.sampled_from(BORDERS), st.integers(0, 70_000)))
    def arm(self, number: int, delay: int) -> None:
        self.wheel.arm(number, self.now, delay)
        self.due[number] = self.now + delay

    @rule(number=st.integers(0, COUNT - 1))
    def cancel(self, number: int) -> None:
        self.wheel.cancel(number)
        self.due.pop(number, None)

    @rule(step=st.one_of(st.sampled_from(BORDERS), st.integers(0, 70_000)), rearm=st.integers(0, 300))
    def sweep(self, step: int, rearm: int) -> None:
        self.now += step
        last = 0
        while (number := self.wheel.expire(self.now)) is not None:
            due = self.due.pop(number)
            assert last <= due <= self.now
            last = due
            if number == 0 and rearm:
                self.arm(1, rearm)
        assert all(due > self.now for due in self.due.values())

    @precondition(lambda self: self.due)
    @rule()
    def wait(self) -> None:
        assert self.wheel.wait(self.now, 2**32 - 1) <= max(0, min(self.due.values()) - self.now)

    @invariant()
    def knows_what_is_armed(self) -> None:
        assert self.wheel.armed == len(self.due)
        assert all(self.wheel.is_armed(number) == (number in self.due) for number in range(self.COUNT))


WheelModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWheelModel = WheelModel.TestCase


def test_a_million_timers_fire_to_the_millisecond() -> None:
    figures = Wheel(1_000_000).measure(32_000)
    assert (figures["fired"], figures["late"]) == (1_000_000, 0)
    assert figures["armed_ns"] < 500 and figures["fired_ns"] < 2000  # ten times what is usual: no search anywhere
