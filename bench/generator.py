"""The load generator against SIPp: calls per CPU second of both ends, generator to generator, no server between.

    python bench/generator.py [--quick]

The same call on both: INVITE 180 200 ACK BYE 200 with SDP in INVITE and 200, no hold time, one address on each side;
SIPp plays bench/sipp/caller.xml and callee.xml, the engine a `call` with a body of the same size. In turn, at the same
rate, CPU from the kernel's own count of each end's threads; a round in which a call failed does not count. Both look
for work every 10 ms, which is SIPp's default (`-timer_resol`); SIPp reads what comes at once, the engine only then.
Behind it what the engine needs when it looks more often, which is what one wants for latencies, and at rates SIPp does
not reach.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import ROOT, cpu
from rows import Bench, Row, alone, missing
from servers import CALLEE, CALLER, Sipp
from traffic import BODY, Phones

from fastsip.load.setup import Answer, Scenario

TITLE = "Load generator"
ABOUT = "CPU of caller and callee together per call, generator to generator"
GATE, AIM = 5.0, 10.0
RATE = 5_000
"""Calls per second that SIPp holds on a machine like this, and where it needs least for each."""
GATHER = 10_000
"""Microseconds the engine lets work and datagrams come together: as long as SIPp, which begins calls every 10 ms."""
OTHERS = ((5_000, 2_000), (5_000, 0), (20_000, 2_000), (40_000, 2_000))
"""Rates and microseconds of gathering that are shown beside it."""
PATIENCE = 10.0


@dataclass(frozen=True)
class Ends:
    """CPU of one round, microseconds per call; `done` calls of those begun."""

    caller: float
    callee: float
    done: int
    failed: int
    rate: float

    @property
    def both(self) -> float:
        return self.caller + self.callee


def engines(rate: float, seconds: float, gather: int = GATHER) -> Ends:
    """Two engines, each a thread of this process."""
    with Phones(100) as phones:
        target = (phones.callees[0].host, phones.callees[0].port)
        found = phones.play(target, rate, seconds, [Scenario("call", body=BODY)], Answer(body=BODY), gather=gather)
    done = max(1, found.done)
    caller, callee = (one["cpu_us"] / done for one in (found.counters, found.answering))
    return Ends(caller, callee, found.done, found.failed, found.rate)


def sipp(rate: float, seconds: float) -> Ends:
    """Two SIPp processes. Raises AssertionError with SIPp's own words if it makes no call."""
    calls = int(rate * seconds)
    folder = ROOT / "bench" / "sipp"
    with tempfile.TemporaryDirectory(prefix="generator-") as scratch:
        callee = Sipp(str(folder / "callee.xml"), None, CALLEE, None, rate, trace=False, timeout=seconds + 60)
        callee.start().listening()
        patience = seconds + 60
        caller = Sipp(str(folder / "caller.xml"), callee.address, CALLER, calls, rate, trace=False, timeout=patience)
        caller.keys = {"away": f"{CALLEE}:{callee.port}"}
        caller.rows = [(f"user{n}",) for n in range(100)]
        figures = Path(scratch) / "caller.csv"
        caller.options += ("-d", "0", "-trace_stat", "-stf", str(figures), "-fd", "1")
        used = [0.0, 0.0]
        begun = time.monotonic()
        caller.start()
        while caller.running() and time.monotonic() - begun < seconds + PATIENCE:
            used = [max(before, cpu([end.pid])) for before, end in zip(used, (caller, callee), strict=True)]
            time.sleep(0.02)
        elapsed = time.monotonic() - begun
        used[1] = cpu([callee.pid])
        outcome = caller.stop()
        callee.stop()
        names, *_others, last = (line.split(";") for line in figures.read_text().splitlines())
        done = int(dict(zip(names, last, strict=False))["SuccessfulCall(C)"])
    assert done, outcome.errors[-2000:]
    return Ends(used[0] / done * 1e6, used[1] / done * 1e6, done, calls - done, done / elapsed)


def rows(bench: Bench) -> Iterator[Row]:
    number, seconds = bench.pick((1, 0.5), (2, 3.0), (5, 5.0))
    rate = bench.pick(200, RATE, RATE)
    if not shutil.which("sipp"):
        yield missing("times SIPp's calls per CPU second", "SIPp is not installed: apt-get install sip-tester", "x")
        return
    ours_name = f"fastsip load, gathering {GATHER / 1000:g} ms"
    found: dict[str, list[Ends]] = {"SIPp": [], ours_name: []}
    for round in range(number):
        for name, play in (("SIPp", sipp), (ours_name, engines)):
            bench.say(f"{name} at {rate:,} calls/s, round {round + 1} of {number}")
            ends = play(rate, seconds)
            if ends.failed == 0:
                found[name].append(ends)
    for name, mine in found.items():
        if not mine:
            yield missing(f"{name}, {rate:,} calls/s", "calls failed in every round", "µs")
            return
        yield _row(name, rate, mine)
    ours, theirs = (statistics.median(ends.both for ends in found[name]) for name in (ours_name, "SIPp"))
    note = f"{1e6 / ours:,.0f} and {1e6 / theirs:,.0f} calls per CPU second"
    yield Row(f"times SIPp's calls per CPU second, {rate:,} calls/s", theirs / ours, "x", GATE, AIM, True, note)
    for fast, gather in bench.pick((), OTHERS[:1], OTHERS):
        name = f"fastsip load, gathering {gather / 1000:g} ms"
        bench.say(f"{name}, {fast:,} calls/s")
        yield _row(name, fast, [engines(fast, seconds, gather) for _ in range(bench.pick(1, 1, 3))])


def _row(name: str, rate: float, mine: list[Ends]) -> Row:
    both = [ends.both for ends in mine]
    caller, callee = (statistics.median(getattr(ends, end) for ends in mine) for end in ("caller", "callee"))
    failed = sum(ends.failed for ends in mine)
    note = f"caller {caller:.0f}, callee {callee:.0f}" + (f"; {failed} failed" if failed else "")
    value, spread = statistics.median(both), (min(both), max(both)) if len(both) > 1 else None
    plot = ("CPU per call of the generator, µs", name, rate)
    return Row(f"{name}, {rate:,.0f} calls/s", value, "µs", note=note, spread=spread, rival=name == "SIPp", plot=plot)


if __name__ == "__main__":
    alone(__name__)
