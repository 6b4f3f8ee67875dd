"""The result of a run: a table for people, and the document `--json` prints.

Keys of the document (times in milliseconds unless they say otherwise; counts are whole numbers):

    fastsip      version that made it            command      "call", "register", "options", "message", "mix"
    target       "udp:127.0.0.1:5060"            began        start of the work, ISO 8601, UTC
    seconds      from the start until nothing was in flight; `offering` of them new work began
    plan         {words, steps: [{at, rate, slope}]}: seconds, per second, per second and second
    arrivals     "poisson" or "uniform"          seed, threads, users: numbers
    scenarios    what each kind of work was: {kind, weight, hold, ...} as in fastsip.load.setup.Scenario
    ended        "duration", "count" or "interrupted"
    offered, done, failed, busy, cancelled, in_flight, not_begun      work; busy and cancelled are in done
    offered_per_second, done_per_second          while work was offered
    failures     {cause: count}: a status, "timeout", "transport", "unexpected", "credentials", "challenged"
    response_times   {name: {count, min, mean, p50, p90, p99, p999, max}}; names: invite_100, invite_180, invite_200,
                 bye_200, register, options, message
    retransmissions  {sent: {name: count}, received: count}
    counters     every counter of the generating engines, added up (fastsip._load.COUNTERS)
    answering    the same of the answering side of this command, or null
    timeline     one entry a second: {at, offered, done, failed, in_flight, p50, p99, busiest}; at in seconds, the
                 others of that second (in_flight: at its end); p50 and p99 of the first kind's main response time
    generator    {limit: whether it was the limit, why: [text], busiest: share of a CPU, cpu_seconds, lateness}
    bounds       [{bound, value, broken}]        exit     the exit code
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastsip.version import __version__

from .course import CAUSES, Outcome
from .histogram import Histogram
from .limits import Checked, Limits, check, generator_limits
from .live import ms
from .numbers import RESPONSE_TIMES, SENT_AGAIN, Numbers

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}


class Report:
    """An outcome with what it means."""

    def __init__(self, outcome: Outcome, limits: Limits) -> None:
        self.outcome = outcome
        self.bounds: list[Checked] = check(limits, outcome)
        self.generator = generator_limits(outcome)

    @property
    def nothing(self) -> bool:
        """Whether work was offered and none of it was done."""
        return self.outcome.numbers["offered"] > 0 and not self.outcome.numbers["done"]

    @property
    def exit_code(self) -> int:
        return 1 if self.nothing or any(bound.broken for bound in self.bounds) else 0

    def document(self) -> dict[str, Any]:
        """What `--json` prints; the keys are in this module's docstring."""
        outcome, numbers, work = self.outcome, self.outcome.numbers, self.outcome.work
        offering = max(outcome.offering, 1e-9)
        return {
            "fastsip": __version__,
            "command": work.name,
            "target": str(work.target),
            "began": datetime.fromtimestamp(outcome.began, UTC).isoformat(timespec="milliseconds"),
            "seconds": round(outcome.seconds, 3),
            "offering": round(outcome.offering, 3),
            "plan": {"words": work.plan.words, "steps": msgspec.to_builtins(work.plan.steps)},
            "arrivals": "poisson" if work.poisson else "uniform",
            "seed": work.seed,
            "threads": work.threads,
            "users": len(work.users),
            "scenarios": msgspec.to_builtins(work.scenarios),
            "ended": "interrupted" if outcome.interrupted else "count" if work.count else "duration",
            **{name: numbers[name] for name in WORK},
            "offered_per_second": round(numbers["offered"] / offering, 3),
            "done_per_second": round(numbers["done"] / offering, 3),
            "failures": dict(numbers.failures.most_common()),
            "response_times": {name: _times(numbers.histogram(name)) for name in RESPONSE_TIMES},
            "retransmissions": {
                "sent": {name: numbers[name] + outcome.answering[name] for name in SENT_AGAIN},
                "received": numbers["again_in"] + outcome.answering["again_in"],
            },
            "counters": dict(numbers.counters),
            "answering": dict(outcome.answering.counters) if work.answering else None,
            "timeline": _timeline(outcome),
            "generator": {
                "limit": bool(self.generator),
                "why": self.generator,
                "busiest": round(_busiest(outcome), 4),
                "cpu_seconds": round(numbers.cpu_seconds + outcome.answering.cpu_seconds, 6),
                "lateness": _times(numbers.histogram("lateness")),
            },
            "bounds": [{"bound": each.bound, "value": each.value, "broken": each.broken} for each in self.bounds],
            "exit": self.exit_code,
        }

    def show(self, console: Console) -> None:
        """The final table, what the generator has to say about itself, and the bounds."""
        outcome, numbers = self.outcome, self.outcome.numbers
        offering = max(outcome.offering, 1e-9)
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            outcome.work.name, f"{outcome.work.plan.words} for {outcome.offering:.1f} s, to {outcome.work.target}"
        )
        grid.add_row("offered", f"{numbers['offered']:,}  ({numbers['offered'] / offering:,.1f}/s)")
        grid.add_row("done", f"{numbers['done']:,}  ({numbers['done'] / offering:,.1f}/s){_of_them(numbers)}")
        grid.add_row("failed", Text(f"{numbers['failed']:,}", style="bold red" if numbers["failed"] else "green"))
        for name, count in numbers.failures.most_common(8):
            grid.add_row("", f"{count:,} x {CAUSES.get(name, name)}")
        if numbers["in_flight"]:
            grid.add_row("left open", Text(f"{numbers['in_flight']:,}", style="bold red"))
        grid.add_row("sent again", _again(numbers, outcome.answering))
        grid.add_row(
            "generator",
            f"{_busiest(outcome) * 100:.0f} % of a CPU in its busiest thread, work began "
            f"{ms(numbers.histogram('lateness').percentiles(99)[0])} ms late (p99)",
        )
        console.print(grid, highlight=False)
        if any(numbers.histogram(name).total for name in RESPONSE_TIMES):
            console.print(times_table(numbers))
        if outcome.removed is False:
            console.print("not all bindings made for this run could be removed", style="yellow")
        self.verdict(console)

    def verdict(self, console: Console) -> None:
        """What is wrong: with the generator, with the bounds, with everything."""
        for why in self.generator:
            console.print(
                f"the generator, not the server, was the limit: {why}",
                style="bold yellow",
                highlight=False,
                soft_wrap=True,
            )
        for bound in self.bounds:
            mark, style = ("BROKEN", "bold red") if bound.broken else ("kept", "green")
            console.print(f"{mark}  {bound.words}", style=style, highlight=False, soft_wrap=True)
        if self.nothing:
            heard = self.outcome.numbers["datagrams_in"]
            text = (
                "nothing was done"
                if heard
                else f"no answer from {self.outcome.work.target}: is anything listening there?"
            )
            console.print(text, style="bold red", highlight=False, soft_wrap=True)


WORK = ("offered", "done", "failed", "busy", "cancelled", "in_flight", "not_begun")


def times_table(numbers: Numbers) -> Table:
    """Percentiles of every response time there is."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("response time, ms")
    for heading in ("count", "min", "mean", *PERCENTILES, "max"):
        table.add_column("p99.9" if heading == "p999" else heading, justify="right", no_wrap=True)
    for name, words in RESPONSE_TIMES.items():
        times = numbers.histogram(name)
        if times.total:
            values = (times.minimum, times.mean, *times.percentiles(*PERCENTILES.values()), times.maximum)
            table.add_row(words, f"{times.total:,}", *(ms(value) for value in values))
    return table


def _times(times: Histogram) -> dict[str, float]:
    values = dict(zip(PERCENTILES, times.percentiles(*PERCENTILES.values()), strict=True))
    whole = {"min": times.minimum, "mean": times.mean, **values, "max": times.maximum}
    return {"count": times.total, **{name: round(value / 1000, 4) for name, value in whole.items()}}


def _timeline(outcome: Outcome) -> list[dict[str, float]]:
    return [
        {
            "at": round(second.at, 3),
            "offered": second.offered,
            "done": second.done,
            "failed": second.failed,
            "in_flight": second.in_flight,
            "p50": second.p50 / 1000,
            "p99": second.p99 / 1000,
            "busiest": round(second.busy, 4),
        }
        for second in outcome.timeline
    ]


def _busiest(outcome: Outcome) -> float:
    """Share of a CPU the busiest thread used while work was offered."""
    during = [second.busy for second in outcome.timeline if second.at <= outcome.offering + 1]
    return sum(during) / len(during) if during else outcome.numbers.busiest()


def _of_them(numbers: Numbers) -> str:
    told = [
        f"{numbers[name]:,} {word}" for name, word in (("busy", "busy"), ("cancelled", "cancelled")) if numbers[name]
    ]
    return f", {' and '.join(told)} as meant" if told else ""


def _again(numbers: Numbers, answering: Numbers) -> str:
    told = [
        f"{word} {numbers[name] + answering[name]:,}"
        for name, word in SENT_AGAIN.items()
        if numbers[name] + answering[name]
    ]
    received = numbers["again_in"] + answering["again_in"]
    return f"{', '.join(told) or '0'}; received again {received:,}"
