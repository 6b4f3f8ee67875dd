"""CPU per proxied call: the floor, Kamailio and fastsip in turn, at the same rates in the same run.

    python bench/calls.py [--quick] [--workers 2]

A call is INVITE 100 180 200 ACK BYE 200 through a stateful proxy with Record-Route and a lookup in the location table,
INVITE and 200 with SDP, one address on each side, Poisson arrivals. CPU is that of all the server's processes, from
schedstat, for the calls and half a second after them. First it finds the highest rate Kamailio serves without a loss;
there all three are compared. At 5,000 and 10,000 calls a second, where waking up is less of it, fastsip and the floor.
Last, Kamailio with `-x fm`, the memory manager it is not started with, again at its highest rate.
"""

from __future__ import annotations

from collections.abc import Iterator

from rounds import CALLERS_DATAGRAMS, Round, alternate, highest, median, once, row, runnable
from rows import Bench, Row, alone, missing
from servers import TUNED, Job

TITLE = "Calls"
ABOUT = "INVITE 100 180 200 ACK BYE 200, stateful, Record-Route, lookup; CPU of all processes of a server per call"
PLOT = "CPU per call, µs, by calls per second"
FLOOR_GATE, FLOOR_AIM = 1.8, 1.25
KAMAILIO_GATE, KAMAILIO_AIM = 1 / 4, 1 / 7
ALL = ["floor", "kamailio", "fastsip"]
LEAST, MOST, MOST_TUNED = 1_800, 6_000, 20_000
"""Calls per second between which Kamailio's highest rate is looked for."""
SUPPOSED = 2_000
"""Its rate where there is no time to look for it."""


def rows(bench: Bench) -> Iterator[Row]:
    names, left_out = runnable(bench.pick(["floor", "fastsip"], ALL, ALL))
    yield from left_out
    rivals = "kamailio" in names
    if not rivals:
        yield missing("fastsip's share of Kamailio's CPU", "there is no Kamailio here")
    rate = float(bench.pick(300, SUPPOSED, 0))
    if not rate:
        rate = float(SUPPOSED)
        if "kamailio" in names:
            rate, failing = highest(bench, "kamailio", LEAST, MOST, 3, Job(bench.workers))
            why = f"at {failing.asked:,.0f}: {_loss(failing)}" if failing else f"not looked for above {MOST:,}"
            yield Row("Kamailio's highest rate without loss", rate, "calls/s", rival=True, note=why)
            rate = rate or SUPPOSED
    bench.facts["rate"] = rate
    extra = yield from _datagrams(bench, rate)
    number, seconds = bench.pick((1, 0.1), (2, 3.0), (5, 6.0))
    yield from _compared(bench, names, rate, number, seconds, extra)
    for fast in bench.pick((), (5_000,), (5_000, 10_000)):
        names = [name for name in names if name != "kamailio"]
        yield from _compared(bench, names, fast, bench.pick(1, 1, 3), bench.pick(0.1, 3.0, 5.0), extra)
    if rivals and bench.size == "full":
        yield from _tuned(bench, number, seconds)


def _datagrams(bench: Bench, rate: float) -> Iterator[Row]:
    """What fastsip receives and sends for a call: what the floor has to do as well."""
    bench.say("datagrams of a call")
    found = once("fastsip", rate, bench.pick(0.1, 1.0, 2.0), Job(bench.workers))
    assert found.received and found.sent, found.failures
    note = f"{found.received:.2f} received, {found.sent:.2f} sent; the floor gets as many"
    yield Row("datagrams of a call through fastsip", found.received + found.sent, "", note=note)
    return max(0.0, (found.sent - found.received) / CALLERS_DATAGRAMS)


def _compared(
    bench: Bench, names: list[str], rate: float, number: int, seconds: float, extra: float
) -> Iterator[Row]:
    found = alternate(bench, names, number, rate, seconds, extra=extra)
    at = f"{rate:,.0f} calls/s"
    floor = median(found["floor"]) if "floor" in found else None
    for name, mine in found.items():
        times = median(mine) / floor if floor and name != "floor" else None
        yield row(f"{name}, {at}", mine, plot=(PLOT, name, rate), floor=times)
    if floor:
        cost = floor / sum(filter(None, (found["floor"][0].received, found["floor"][0].sent)))
        bench.facts.setdefault("floor", {})[rate] = cost
        fast = rate >= 5_000
        gates = (FLOOR_GATE, FLOOR_AIM) if fast else (None, None)
        note = "" if fast else "below 5,000 calls/s both measure waking up; the gate is above"
        times = median(found["fastsip"]) / floor
        yield Row(f"fastsip as a multiple of the floor, {at}", times, "x", *gates, note=note)
    if "kamailio" in found:
        share = median(found["fastsip"]) / median(found["kamailio"])
        note = f"1/{1 / share:.1f}, medians of {number}"
        yield Row(f"fastsip's share of Kamailio's CPU, {at}", share, "", KAMAILIO_GATE, KAMAILIO_AIM, note=note)


def _tuned(bench: Bench, number: int, seconds: float) -> Iterator[Row]:
    job = Job(bench.workers, allocator="fm")
    rate, failing = highest(bench, TUNED, LEAST, MOST_TUNED, 3, job)
    why = f"at {failing.asked:,.0f}: {_loss(failing)}" if failing else f"not looked for above {MOST_TUNED:,}"
    yield Row(f"highest rate without loss, {TUNED}", rate, "calls/s", rival=True, note=why)
    if not rate:
        return
    found = alternate(bench, [TUNED, "fastsip"], number, rate, seconds, jobs={TUNED: job})
    at = f"{rate:,.0f} calls/s"
    for name, mine in found.items():
        yield row(f"{name}, {at}", mine, plot=(PLOT, name, rate))
    share = median(found["fastsip"]) / median(found[TUNED])
    note = f"1/{1 / share:.1f}, medians of {number}"
    yield Row(f"fastsip's share of the CPU of {TUNED}, {at}", share, "", KAMAILIO_GATE, KAMAILIO_AIM, note=note)


def _loss(round: Round) -> str:
    """What went wrong in a few words."""
    said = {"failed": round.failed, "retransmissions": round.retransmissions, "drops": round.drops}
    return ", ".join([f"{count:,} {what}" for what, count in said.items() if count] + [round.note]).strip(", ")


if __name__ == "__main__":
    alone(__name__)
