"""Other jobs of a proxy and registrar, fastsip and Kamailio in turn: calls with Digest, registrations, a mix.

    python bench/jobs.py [--quick] [--workers 2]

Calls with Digest: every INVITE is asked for credentials (407) and comes again with them, MD5, no nonce used twice.
Registrations: REGISTER 401 REGISTER 200, 10,000 users in turn, in memory on both sides; beside it fastsip with its
store in a file, where what got a 200 survives a power cut once the next interval has passed. The mix by weight: 60
calls, 20 registrations, 10 OPTIONS, 10 MESSAGE, nobody challenged. Multiples of the floor are by datagrams: what one
costs the forwarder in the calls part at the nearest rate, times what the server receives and sends here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rounds import Round, alternate, highest, median, row, runnable
from rows import Bench, Row, alone
from servers import Job

from fastsip.load.setup import Scenario

TITLE = "Other jobs"
ABOUT = "CPU of all processes of a server per piece of work, at a rate Kamailio serves without loss"
PLOT = "CPU per piece of work, µs"
BODY = 130
CHALLENGED = (Scenario("call", body=BODY, fresh=True),)
REGISTRATION = (Scenario("register", fresh=True),)
MIXED = (
    Scenario("call", 0.6, body=BODY),
    Scenario("register", 0.2),
    Scenario("options", 0.1),
    Scenario("message", 0.1, body=100),
)
REGISTER_GATE, REGISTER_AIM = 1 / 2, 1 / 3
BOTH = ["kamailio", "fastsip"]
SUPPOSED = 2_000.0
MOST = 40_000
"""Registrations a second, beyond which nobody looks for what Kamailio can do."""


@dataclass(frozen=True)
class Work:
    """One job: what is asked for, of how many users, and what a server must be told."""

    name: str
    scenarios: tuple[Scenario, ...]
    users: int
    challenged: tuple[str, ...] = ()
    register: bool = True
    durable: bool = False
    gates: tuple[float | None, float | None] = (None, None)
    least: float = 0.0
    """Where the search for Kamailio's highest rate begins; 0: none, the rate of plain calls will do."""


WORK = (
    Work("calls with Digest", CHALLENGED, 1_000, ("INVITE",)),
    Work("registrations", REGISTRATION, 10_000, ("REGISTER",), False, True, (REGISTER_GATE, REGISTER_AIM), 4_000),
    Work("mixed", MIXED, 1_000),
)


def rows(bench: Bench) -> Iterator[Row]:
    names, left_out = runnable(bench.pick(["fastsip"], BOTH, BOTH))
    yield from left_out
    number, seconds = bench.pick((1, 0.1), (1, 3.0), (3, 5.0))
    for work in bench.pick(WORK[1:2], WORK, WORK):
        users = bench.pick(20, work.users, work.users)
        people = tuple(f"user{n}" for n in range(users)) if work.challenged else ()
        job = Job(bench.workers, work.challenged, people)
        options = {"scenarios": work.scenarios, "users": users, "register": work.register}
        rate = bench.pick(300.0, SUPPOSED, bench.facts.get("rate", SUPPOSED))
        if work.name == "calls with Digest":
            rate *= 0.8
        if work.least and bench.size == "full" and "kamailio" in names:
            rate, failing = highest(bench, "kamailio", work.least, MOST, 2, job, **options)
            why = f"lost at {failing.asked:,.0f}" if failing else ""
            yield Row(f"Kamailio's highest rate of {work.name}", rate, "/s", rival=True, note=why)
            rate = rate or SUPPOSED
        jobs = {name: job for name in names}
        if work.durable:
            jobs["fastsip durable"] = Job(bench.workers, work.challenged, people, "file")
        found = alternate(bench, list(jobs), number, rate, seconds, jobs=jobs, **options)
        for name, mine in found.items():
            times = _floor(bench, mine, rate)
            yield row(f"{name}, {work.name}, {rate:,.0f}/s", mine, plot=(PLOT, name, work.name), floor=times)
        if "kamailio" in found:
            share = median(found["fastsip"]) / median(found["kamailio"])
            note = f"1/{1 / share:.1f}, medians of {number}"
            yield Row(f"fastsip's share of Kamailio's CPU, {work.name}", share, "", *work.gates, note=note)


def _floor(bench: Bench, mine: list[Round], rate: float) -> float | None:
    """CPU as a multiple of what the forwarder needs for as many datagrams; None without its figure."""
    costs: dict[float, float] = bench.facts.get("floor", {})
    counted = [round.received + round.sent for round in mine if round.received and round.sent]
    if not costs or not counted:
        return None
    cost = costs[min(costs, key=lambda at: abs(at - rate))]
    return median(mine) / (cost * counted[0])


if __name__ == "__main__":
    alone(__name__)
