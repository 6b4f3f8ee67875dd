"""CPU per proxied call over TCP, and TLS once there is some: Kamailio and fastsip in turn, and fastsip over UDP.

    python bench/transports.py [--quick] [--workers 2]

The calls are those of the part Calls, at the highest rate Kamailio serves over TCP without a loss: a call that failed,
or a 200 that came again. Callers share a few connections, which stay; callees are registered with a Contact that says
transport=tcp, and each server opens its own connections to them and keeps those.

Kamailio runs as the distribution starts it, and with `-x fm`: its usual memory manager, made for debugging, walks ever
longer lists under this load and takes more than half of its CPU. Both have the gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rounds import alternate, highest, median, row, runnable
from rows import Bench, Row, alone, missing
from servers import Job

TITLE = "Transports"
ABOUT = "the same calls over TCP and TLS, connections that stay; CPU of all processes of a server per call"
PLOT = "CPU per call, µs, by transport"
CONNECTIONS, MANY = 8, 1000
TCP_GATE, TLS_GATE = 1 / 4, 1 / 2
SHIPPED, TUNED = "kamailio", "kamailio -x fm"
LEAST, MOST = 800, 6_000
"""Calls per second between which Kamailio's highest rate is looked for."""
SUPPOSED = 1_500
"""Its rate where there is no time to look for it."""
NO_TLS = "fastsip has no TLS yet"
BOTH = ["kamailio", "fastsip"]


def rows(bench: Bench) -> Iterator[Row]:
    names, left_out = runnable(bench.pick(["fastsip"], BOTH, BOTH))
    yield from left_out
    if "kamailio" not in names:
        yield missing("fastsip's share of Kamailio's CPU over TCP", "there is no Kamailio here")
    tcp = Job(bench.workers, transport="tcp")
    jobs = {"fastsip": tcp, "fastsip udp": Job(bench.workers)}
    rivals = {SHIPPED: tcp, TUNED: replace(tcp, allocator="fm")} if "kamailio" in names else {}
    number, seconds = bench.pick((1, 0.1), (1, 3.0), (3, 5.0))
    rate = float(bench.pick(300, SUPPOSED, SUPPOSED))
    for rival, job in rivals.items():
        if bench.size == "full":
            rate, failing = highest(bench, rival, LEAST, MOST, 4, job, connections=CONNECTIONS)
            why = f"at {failing.asked:,.0f}: {failing.note or 'calls failed or 200s came again'}" if failing else ""
            yield Row(f"highest rate over TCP without loss, {rival}", rate, "calls/s", rival=True, note=why)
            rate = rate or LEAST
        yield from _compared(bench, {rival: job, **jobs}, number, rate, seconds, CONNECTIONS, TCP_GATE)
    if rivals:
        jobs = {TUNED: rivals[TUNED], "fastsip": tcp}
    yield from _compared(bench, jobs, bench.pick(1, 1, 2), rate, seconds, MANY, None)
    name = "fastsip's share of Kamailio's CPU over TLS"
    yield Row(name, None, "", TLS_GATE, note=NO_TLS)


def _compared(
    bench: Bench, jobs: dict[str, Job], number: int, rate: float, seconds: float, connections: int, gate: float | None
) -> Iterator[Row]:
    found = alternate(bench, list(jobs), number, rate, seconds, jobs=jobs, connections=connections)
    over = f"{connections:,} connections, {rate:,.0f} calls/s"
    for name, mine in found.items():
        what = f"fastsip, UDP, {rate:,.0f} calls/s" if name == "fastsip udp" else f"{name}, TCP, {over}"
        yield row(what, mine, plot=(PLOT, name, f"{connections:,} connections"))
    for name in (SHIPPED, TUNED):
        if name in found:
            share = median(found["fastsip"]) / median(found[name])
            lost = any(round.lost for round in found[name])
            note = f"1/{1 / share:.1f}, medians of {number}" + ("; Kamailio lost calls in them" if lost else "")
            yield Row(f"fastsip's share of the CPU of {name}, TCP, {over}", share, "", gate, note=note)


if __name__ == "__main__":
    alone(__name__)
