"""How often work begins: a constant rate, a ramp, or steps, as the plan of an engine."""

from __future__ import annotations

import math
from typing import NamedTuple

from . import reading
from .setup import Step

ALLOWED = 'a rate per second such as "500", a ramp such as "100..5000", or steps such as "100,200,400"'
DURATION = 30.0
"""Seconds, where nothing else says when to end."""


class Plan(NamedTuple):
    """Steps in order of time, and how long they last: seconds, 0 without an end."""

    steps: list[Step]
    duration: float
    words: str

    def divided(self, parts: int) -> list[Step]:
        """What each of so many engines has to do."""
        return [Step(at=step.at, rate=step.rate / parts, slope=step.slope / parts) for step in self.steps]

    @property
    def total(self) -> float:
        """Arrivals over the duration; infinite where it has no end."""
        if not self.duration:
            return math.inf
        ends = [*(step.at for step in self.steps[1:]), self.duration]
        spans = [
            (step, max(0.0, min(end, self.duration) - step.at)) for step, end in zip(self.steps, ends, strict=True)
        ]
        return sum(step.rate * span + step.slope * span * span / 2 for step, span in spans)

    def rate_at(self, seconds: float) -> float:
        """Arrivals per second that are planned for a moment."""
        now = self.steps[0]
        for step in self.steps:
            if step.at <= seconds:
                now = step
        return max(0.0, now.rate + now.slope * (seconds - now.at))


def constant(rate: float) -> Plan:
    """Without an end."""
    return Plan([Step(at=0.0, rate=rate)], 0.0, f"{rate:,g}/s")


def plan(rate: str, duration: float | None, step: float | None, count: int = 0) -> Plan:
    """What `--rate`, `--duration`, `--step` and `--count` say together. Raises ValueError.

    A ramp goes from its first rate to its second over the duration; steps share the duration out among them unless a
    `step` says how long each is.
    """
    if duration is not None and duration <= 0:
        raise ValueError("--duration has to be more than 0")
    if step is not None and ("," not in rate or step <= 0):
        raise ValueError("--step is the time of each of several rates, as in --rate 100,200,400 --step 10s")
    if "," in rate:
        return _steps([_rate(part) for part in rate.split(",")], duration, step)
    if between := reading.ends(rate):
        first, last = _rate(between[0], 0.0), _rate(between[1], 0.0)
        seconds = duration or DURATION
        ramp = Step(at=0.0, rate=first, slope=(last - first) / seconds)
        return Plan([ramp], seconds, f"{first:g} to {last:g}/s")
    return constant(_rate(rate))._replace(duration=duration or (0.0 if count else DURATION))


def _steps(rates: list[float], duration: float | None, step: float | None) -> Plan:
    if step is None:
        step = (duration or DURATION) / len(rates)
    seconds = duration or step * len(rates)
    steps = [Step(at=index * step, rate=rate) for index, rate in enumerate(rates)]
    return Plan(steps, seconds, f"{', '.join(f'{rate:g}' for rate in rates)}/s, {step:g} s each")


def _rate(text: str, least: float = 1e-3) -> float:
    try:
        rate = reading.number(text)
    except ValueError:
        raise ValueError(f"{text!r}: expected {ALLOWED}") from None
    if not least <= rate <= 1e7:
        raise ValueError(f"{text!r}: expected a rate of {least:g} to 10,000,000 per second")
    return rate
