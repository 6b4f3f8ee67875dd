"""CPU per proxied call over TCP, and TLS once there is some: Kamailio and fastsip in turn, and fastsip over UDP.

    python bench/transports.py [--quick] [--workers 2]

The calls are those of the part Calls, at the highest rate Kamailio serves over TCP without a loss: a call that failed,
or a 200 that came again. Callers share a few connections, which stay; callees are registered with a Contact that says
transport=tcp, and each server opens its own connections to them and keeps those. Then the same with a connection for
each of a thousand callers.
"""

from __future__ import annotations

from collections.abc import Iterator

from rounds import alternate, highest, median, row, runnable
from rows import Bench, Row, alone, missing
from servers import Job

TITLE = "Transports"
ABOUT = "the same calls over TCP and TLS, connections that stay; CPU of all processes of a server per call"
PLOT = "CPU per call, µs, by transport"
CONNECTIONS, MANY = 8, 1000
TCP_GATE, TLS_GATE = 1 / 4, 1 / 2
LEAST, MOST = 1_000, 6_000
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
    rate = float(bench.pick(300, SUPPOSED, 0))
    if not rate:
        rate = float(SUPPOSED)
        if "kamailio" in names:
            rate, failing = highest(bench, "kamailio", LEAST, MOST, 3, tcp, connections=CONNECTIONS)
            why = f"at {failing.asked:,.0f}: {failing.note or 'calls failed or 200s came again'}" if failing else ""
            yield Row("Kamailio's highest rate over TCP without loss", rate, "calls/s", rival=True, note=why)
            rate = rate or SUPPOSED
    number, seconds = bench.pick((1, 0.1), (2, 3.0), (5, 6.0))
    jobs = {name: tcp for name in names} | {"fastsip udp": Job(bench.workers)}
    yield from _compared(bench, jobs, number, rate, seconds, CONNECTIONS, TCP_GATE)
    yield from _compared(bench, {name: tcp for name in names}, bench.pick(1, 1, 3), rate, seconds, MANY, None)
    name = "fastsip's share of Kamailio's CPU over TLS"
    yield Row(name, None, "", TLS_GATE, note=NO_TLS)


def _compared(
    bench: Bench, jobs: dict[str, Job], number: int, rate: float, seconds: float, connections: int, gate: float | None
) -> Iterator[Row]:
    found = alternate(bench, list(jobs), number, rate, seconds, jobs=jobs, connections=connections)
    over = f"TCP, {connections:,} connections"
    for name, mine in found.items():
        what = "UDP" if name.endswith("udp") else over
        yield row(f"{name.split()[0]}, {what}, {rate:,.0f} calls/s", mine, plot=(PLOT, name.split()[0], what))
    if "kamailio" in found:
        share = median(found["fastsip"]) / median(found["kamailio"])
        note = f"1/{1 / share:.1f}, medians of {number}"
        yield Row(f"fastsip's share of Kamailio's CPU over {over}, {rate:,.0f} calls/s", share, "", gate, note=note)


if __name__ == "__main__":
    alone(__name__)
