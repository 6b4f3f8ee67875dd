"""What a run is held against: the bounds a person gave, and whether the generator itself was the limit."""

from __future__ import annotations

from dataclasses import dataclass

from .course import Outcome
from .numbers import RESPONSE_TIMES
from .reading import Bound

BUSY = 0.95
"""Share of a CPU from which a thread has no room left."""
BUSY_SECONDS = 0.10
"""Share of the seconds in which it may have been so busy."""
ROOM = 0.5
"""Share below which a thread was not late for want of speed."""
LATE = 10_000
"""Microseconds the 99th percentile of work may begin late."""


@dataclass(frozen=True)
class Limits:
    """Bounds given on the command line; None where none was."""

    max_failures: Bound | None = None
    p99_ms: float | None = None


@dataclass(frozen=True)
class Checked:
    """One bound: as it was given, what came out, whether that breaks it."""

    bound: str
    value: float
    broken: bool
    words: str


def check(limits: Limits, outcome: Outcome) -> list[Checked]:
    """Every bound, in a fixed order."""
    numbers = outcome.numbers
    checked = []
    if limits.max_failures is not None:
        failed, offered = numbers["failed"] + numbers["in_flight"], numbers["offered"]
        broken = limits.max_failures.broken(failed, offered)
        words = f"{failed:,} of {offered:,} failed, at most {limits.max_failures} may"
        checked.append(Checked(f"max-failures {limits.max_failures}", failed, broken, words))
    if limits.p99_ms is not None:
        for name in dict.fromkeys(outcome.work.main):
            p99 = numbers.histogram(name).percentiles(99)[0] / 1000
            broken = p99 > limits.p99_ms or not numbers.histogram(name).total
            words = f"{RESPONSE_TIMES[name]}: p99 {p99:.2f} ms, at most {limits.p99_ms:g} ms"
            checked.append(Checked(f"p99-ms {limits.p99_ms:g} {name}", p99, broken, words))
    return checked


def generator_limits(outcome: Outcome) -> list[str]:
    """Why the generator, not the server, was the limit; nothing if it was not."""
    numbers, answering = outcome.numbers, outcome.answering
    why = []
    busy = [second.busy for second in outcome.timeline if second.at <= outcome.offering + 1]
    full = sum(share >= BUSY for share in busy)
    if full > BUSY_SECONDS * len(busy) or (not busy and numbers.busiest() >= BUSY):
        why.append(
            f"its busiest thread had no time left in {full} of {len(busy)} s" if busy else "its thread had no time left"
        )
    if outcome.answering_busy >= BUSY:
        why.append("the busiest thread of its answering side had no time left")
    late = numbers.histogram("lateness")
    p99 = late.percentiles(99)[0]
    if p99 > LATE:
        others = "" if max(busy, default=numbers.busiest()) > ROOM else "; something else had the CPUs"
        why.append(f"work began late: p99 {p99 / 1000:,.1f} ms, at most {late.maximum / 1000:,.0f} ms{others}")
    if numbers["not_begun"] and numbers["datagrams_in"]:
        full = max((second.in_flight for second in outcome.timeline), default=0) >= outcome.work.in_flight
        reason = f"--in-flight {outcome.work.in_flight:,} were open" if full else "every user's REGISTER was under way"
        why.append(f"{numbers['not_begun']:,} were due and not begun: {reason}{'' if full else ' (more --users)'}")
    for name, words in (
        ("dropped_socket", "its own sockets dropped {:,} datagrams"),
        ("dropped_send", "{:,} datagrams could not be sent"),
    ):
        if dropped := numbers[name] + answering[name]:
            why.append(words.format(dropped))
    return why
