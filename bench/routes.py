"""The dial plan: the longest of ten thousand prefixes, and a plan for a call.

    python bench/routes.py [--quick]

Prefixes of 3 to 10 characters, drawn at random, and numbers of 12, in random order, so that each finds cold caches. A
plan is what a call to a number costs the policy thread besides reading the request: number, route, choice among three
gateways by weight and health. CPU time, least of the rounds.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import pinned
from rows import Bench, Row, alone

from fastsip.routes.prefixes import Prefixes

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from routes_kit import dial_plan, request

TITLE = "Dial plan"
ABOUT = "from Python, CPU time, least of the rounds"
PLOT = "Longest prefix, ns, by prefixes"


def drawn(chance: random.Random, count: int, low: int, high: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found["+" + "".join(chance.choices("0123456789", k=chance.randint(low, high)))] = None
    return list(found)


def least(rounds: int, times: int, work: Callable[[], object]) -> float:
    """Nanoseconds of one of the `times` things that `work` does."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.process_time_ns()
        work()
        best = min(best, (time.process_time_ns() - begun) / times)
    return best


def rows(bench: Bench) -> Iterator[Row]:
    rounds = bench.pick(1, 10, 40)
    chance = random.Random(1)
    numbers = drawn(chance, bench.pick(1_000, 10_000, 10_000), 11, 11)
    with pinned():
        for count in (100, 10_000, 100_000):
            bench.say(f"{count:,} prefixes")
            longest = Prefixes({prefix: prefix for prefix in drawn(chance, count, 2, 9)}).longest
            found = least(rounds, len(numbers), lambda longest=longest: [longest(number) for number in numbers])
            gate = 1_000.0 if count == 10_000 else None
            yield Row(f"longest prefix, {count:,} of them", found, "ns", gate, plot=(PLOT, "fastsip", count))
        yield from _plans(bench, rounds)


def _plans(bench: Bench, rounds: int) -> Iterator[Row]:
    plan, _ = dial_plan({"prefix": "+1", "gateways": [["a", "b"], ["c"]], "shortest": 5})
    asked = request("sip:+1-972-555-2222@example.com;user=phone")
    assert plan.route(asked) is not None
    number = bench.pick(100, 2_000, 5_000)
    cost = least(rounds, number, lambda: [plan.route(asked) for _ in range(number)])
    yield Row("a plan for a call, three gateways", cost / 1000, "µs")


if __name__ == "__main__":
    alone(__name__)
