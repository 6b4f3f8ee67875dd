"""One server under one load, once: CPU of all its processes per call, and everything that says whether to trust it."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from measure import NotBuilt, busy, compiled, cpu, drops, ticks, tree
from rows import Bench, Row, missing
from servers import NOT_INSTALLED, Floor, Job, Target, certificates, make
from traffic import Outcome, Phones, running

from fastsip.load.setup import Answer, Scenario

SETTLE = 0.5
"""Seconds after the last call that still count: the server's timers of its last transactions."""
TIRED, LATE = 0.95, 20.0
"""A generator that used more than this share of a CPU, or began work this many ms late, was the limit."""
STRANGERS = 0.15
"""CPUs that other processes may use before a round counts as disturbed."""
DISTURBED = "others used the CPUs"
HELD = 0.97
"""Share of the rate below which it was not held."""
CALL = (Scenario("call", body=130),)
CALLERS_DATAGRAMS = 3
"""What a caller sends for a call: INVITE, ACK, BYE."""


@dataclass(frozen=True)
class Round:
    """What one run of one server came to. `cpu_us` is microseconds of CPU per piece of work of the server's processes,
    `system` the share of it in the kernel, `received` and `sent` its datagrams per piece of work (None where it does
    not tell), `others` the CPUs that strangers used, `note` why not to trust it."""

    target: str
    asked: float
    rate: float
    cpu_us: float
    system: float
    done: int
    failed: int
    failures: dict[str, int]
    retransmissions: int
    drops: int
    received: float | None
    sent: float | None
    others: float
    generator: float
    """CPUs of the busier engine."""
    late: float
    quantiles: dict[str, dict[float, float]]
    note: str
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def lost(self) -> bool:
        """Whether anything did not go through at once."""
        return bool(self.failed or self.retransmissions or self.drops)


def once(
    name: str,
    rate: float,
    seconds: float,
    job: Job | None = None,
    scenarios: Sequence[Scenario] = CALL,
    users: int = 1000,
    peers: int = 1,
    spread: bool = False,
    connections: int = 0,
    register: bool = True,
    extra: float = 1 / CALLERS_DATAGRAMS,
    seed: int = 1,
    watch: Callable[[Target, Phones], Callable[[], dict[str, Any]]] | None = None,
    prepare: Callable[[Any, Phones], None] | None = None,
) -> Round:
    """Start the server `name`, register the callees, work at `rate` for `seconds`, stop it. `prepare` is called before
    the start, `watch` before the work, and what that gives after it; this goes into `extra` of the round."""
    job = job or Job()
    users = min(users, max(20, int(rate * seconds)))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if job.store == "file":
            job = replace(job, store=str(Path(folder) / "store.db"))
        floor = Floor(job.workers, extra) if name == "floor" else None
        behind = floor.address if floor else None
        trust = certificates(Path(folder)) if job.transport == "tls" else None
        if trust:
            job = replace(job, tls=trust.server)
        phones_tls = trust.phones if trust else None
        with Phones(users, peers, spread, behind, job.transport, connections, phones_tls) as phones:
            if floor:
                floor.sides = phones.sides
            target: Any = floor or (make(name, job) if name != "none" else None)
            if target is None:
                host, port = phones.callees[0].host, phones.callees[0].port
                return _measured("none", None, (host, port), phones, rate, seconds, scenarios, seed, watch)
            if prepare:
                prepare(target, phones)
            with running(target):
                if register and not floor:
                    phones.register(target)
                return _measured(name, target, target.address, phones, rate, seconds, scenarios, seed, watch)


def _measured(
    name: str,
    target: Any,
    address: tuple[str, int],
    phones: Phones,
    rate: float,
    seconds: float,
    scenarios: Sequence[Scenario],
    seed: int,
    watch: Callable[[Target, Phones], Callable[[], dict[str, Any]]] | None,
) -> Round:
    processes = tree(target.pid) if target else []
    own = [os.getpid()]
    counted = _counted(name, target)
    after = watch(target, phones) if watch and target else dict
    lost = drops(target.port) if target else 0
    strangers = 0.0
    before, ours, machine, split = cpu(processes), cpu(own), busy(), ticks(processes)

    def tick(elapsed: float) -> None:
        nonlocal strangers
        if 0.5 < elapsed < seconds:
            used = cpu(processes) - before + cpu(own) - ours
            strangers = max(0.0, (busy() - machine - used) / elapsed)

    outcome = phones.play(address, rate, seconds, scenarios, Answer(body=130), seed, tick)
    time.sleep(min(SETTLE, seconds / 2))
    used, now = cpu(processes) - before, ticks(processes)
    found = after()
    counts = _counted(name, target)
    if isinstance(target, Floor):
        target.stop()
        counts = (target.received, target.sent)
    done = max(1, outcome.done)
    each = [(end - begin) / done for begin, end in zip(counted, counts, strict=True)] if counts else [None, None]
    user, system = (end - begin for begin, end in zip(split, now, strict=True))
    return Round(
        target=name,
        asked=rate,
        rate=outcome.rate,
        cpu_us=used / done * 1e6,
        system=system / max(user + system, 1e-9),
        done=outcome.done,
        failed=outcome.failed,
        failures=outcome.failures,
        retransmissions=outcome.retransmissions,
        drops=(drops(target.port) - lost if target and not isinstance(target, Floor) else 0) + outcome.dropped,
        received=each[0],
        sent=each[1],
        others=strangers,
        generator=outcome.busy,
        late=outcome.late,
        quantiles=outcome.quantiles,
        note=_note(outcome, strangers),
        extra={**found, "generator cpu": outcome.cpu, "wakeups": getattr(target, "wakeups", None)},
    )


def _counted(name: str, target: Any) -> tuple[int, int]:
    """Datagrams received and sent so far, by the server's own count; zeros where it keeps none."""
    if name != "fastsip":
        return 0, 0
    total = target.stats()["total"]
    return total["requests_in"] + total["responses_in"], total["requests_out"] + total["responses_out"]


def _note(outcome: Outcome, others: float) -> str:
    if others > STRANGERS:
        return DISTURBED
    if outcome.busy > TIRED or outcome.late > LATE:
        return "the generator was the limit"
    planned = outcome.begun + outcome.counters.get("not_begun", 0)
    return "rate not held" if outcome.done < HELD * planned else ""


def alternate(
    bench: Bench,
    names: Sequence[str],
    number: int,
    rate: float,
    seconds: float,
    until: Callable[[Round], bool] | None = None,
    **options: Any,
) -> dict[str, list[Round]]:
    """`number` rounds of each server in turn, or up to one that `until` is true of. What cannot be run is left out;
    Ctrl-C keeps the rounds there are."""
    found: dict[str, list[Round]] = {name: [] for name in names}
    jobs: dict[str, Job] = options.pop("jobs", {})
    for turn in range(number):
        for name in names:
            bench.say(f"{name}, {rate:,.0f} a second, round {turn + 1} of {number}")
            kind = name.split()[0]
            round = once(kind, rate, seconds, jobs.get(name) or Job(bench.workers), seed=turn + 1, **options)
            found[name].append(round)
            if until and until(round):
                return found
    return found


def good(rounds: Iterable[Round]) -> list[Round]:
    """Rounds without a note, or all if each has one."""
    rounds = list(rounds)
    return [round for round in rounds if not round.note] or rounds


def median(rounds: Iterable[Round]) -> float:
    """CPU per piece of work, µs."""
    return statistics.median(round.cpu_us for round in good(rounds))


def row(
    name: str, rounds: list[Round], unit: str = "µs", plot: tuple[str, str, str | float] | None = None, **more: Any
) -> Row:
    """The median of rounds as a row, with all that went wrong in its note."""
    mine = good(rounds)
    values = [round.cpu_us for round in mine]
    lost = {
        "failed": sum(round.failed for round in rounds),
        "retransmissions": sum(round.retransmissions for round in rounds),
        "drops": sum(round.drops for round in rounds),
    }
    notes = [f"{statistics.median(round.rate for round in mine):,.0f}/s, {mine[0].system:.0%} in the kernel"]
    notes += [f"{count:,} {kind}" for kind, count in lost.items() if count]
    notes += [f"{len([r for r in rounds if r.note == note])} of {len(rounds)} rounds: {note}"
              for note in dict.fromkeys(round.note for round in rounds) if note]  # fmt: skip
    return Row(
        name,
        statistics.median(values),
        unit,
        spread=(min(values), max(values)) if len(values) > 1 else None,
        rival=rounds[0].target != "fastsip",
        note=", ".join(notes),
        raw=rounds,
        plot=plot,
        **more,
    )


def highest(
    bench: Bench, name: str, begin: float, most: float, seconds: float, job: Job | None = None, **options: Any
) -> tuple[float, Round | None]:
    """The highest rate at which nothing was lost, within a tenth: 1.25 times as much until something is, then between.
    Also the round that failed, None if none did below `most`. What failed while others used the CPUs is repeated."""
    rate, below, above, failing = begin, 0.0, 0.0, None
    while rate <= most:
        for _ in range(3):
            bench.say(f"{name}: does it serve {rate:,.0f} a second?")
            round = once(name.split()[0], rate, seconds, job or Job(bench.workers), **options)
            if not (round.lost and round.note == DISTURBED):
                break
        if round.lost or round.note in ("rate not held", "the generator was the limit"):
            above, failing = rate, round
        else:
            below = rate
        if above and (above / max(below, 1) < 1.1 or above < begin / 4):
            break
        rate = rate * 1.25 if not above else (below + above) / 2 if below else rate / 1.5
    return below, failing


def runnable(names: Iterable[str]) -> tuple[list[str], list[Row]]:
    """Which of these servers can be run here, and rows that say why for those that cannot."""
    found, rows = [], []
    for name in names:
        try:
            if name == "floor":
                compiled("floor")
            elif name == "kamailio" and not shutil.which("kamailio"):
                raise NotBuilt(NOT_INSTALLED)
            found.append(name)
        except NotBuilt as error:
            rows.append(missing(name, str(error)))
    return found, rows
