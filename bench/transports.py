"""CPU per proxied call over TCP and TLS: Kamailio and fastsip in turn, and fastsip over UDP; and of WebSocket.

    python bench/transports.py [--quick] [--workers 2]

The calls are those of the part Calls, at the highest rate Kamailio serves over that transport without a loss: a call
that failed, or a 200 that came again. Callers share a few connections, which stay; callees are registered with a
Contact that says transport=tcp or tls, and each server opens its own connections to them and keeps those. With TLS both
verify each other's certificate where they connect; handshakes are done before most of the calls.

The rate is looked for in trials of some seconds. What holds for these need not hold for longer: a comparison in which a
round of anybody loses a call is thrown away and made again at a lower rate.

Kamailio runs as the distribution starts it, and with `-x fm`: its usual memory manager, made for debugging, walks ever
longer lists under this load and takes more than half of its CPU. Both have the gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import websocket
from rounds import DISTURBED, Round, alternate, highest, median, row, runnable
from rows import Bench, Row, alone, missing
from servers import NO_TLS_MODULE, TUNED, Job, kamailio_has_tls

TITLE = "Transports"
ABOUT = "the same calls over TCP and TLS, connections that stay; CPU of all processes of a server per call"
PLOT = "CPU per call, µs, by transport"
CONNECTIONS, MANY = 8, 1000
GATES = {"tcp": 1 / 4, "tls": 1 / 2}
SHIPPED = "kamailio"
LEAST, MOST = 800, 6_000
"""Calls per second between which Kamailio's highest rate is looked for."""
SUPPOSED = {"tcp": 1_500, "tls": 1_000}
"""Its rate where there is no time to look for it."""
TRIES, LOWER = 5, 0.85
"""How often a comparison in which calls were lost is made, and at how much of the rate it is made again: the same where
others used the CPUs."""
BOTH = ["kamailio", "fastsip"]


def rows(bench: Bench) -> Iterator[Row]:
    names, left_out = runnable(bench.pick(["fastsip"], BOTH, BOTH))
    yield from left_out
    for transport in GATES:
        yield from _by(bench, transport, "kamailio" in names)
    yield from websocket.rows(bench)


def _by(bench: Bench, transport: str, kamailio: bool) -> Iterator[Row]:
    by, gate = transport.upper(), GATES[transport]
    if not kamailio or (transport == "tls" and not kamailio_has_tls()):
        why = NO_TLS_MODULE if kamailio else "there is no Kamailio here"
        yield missing(f"fastsip's share of Kamailio's CPU over {by}", why)
        kamailio = False
    job = Job(bench.workers, transport=transport)
    jobs = {"fastsip": job, "fastsip udp": Job(bench.workers)}
    rivals = {SHIPPED: job, TUNED: replace(job, allocator="fm")} if kamailio else {}
    number, seconds = bench.pick((1, 0.1), (1, 3.0), (3, 5.0))
    rate = float(bench.pick(300, SUPPOSED[transport], SUPPOSED[transport]))
    for rival, rivals_job in rivals.items():
        if bench.size == "full":
            rate, failing = highest(bench, rival, LEAST, MOST, 4, rivals_job, connections=CONNECTIONS)
            why = f"at {failing.asked:,.0f}: {failing.note or 'calls failed or 200s came again'}" if failing else ""
            yield Row(f"highest rate over {by} without loss in 4 s, {rival}", rate, "calls/s", rival=True, note=why)
            rate = rate or LEAST
        rate = yield from _compared(bench, by, {rival: rivals_job, **jobs}, number, rate, seconds, CONNECTIONS, gate)
    if not rivals:
        yield from _compared(bench, by, jobs, number, rate, seconds, CONNECTIONS, None)
    if transport == "tcp":  # by TLS so many connections would be a bench of handshakes
        jobs = {TUNED: rivals[TUNED], "fastsip": job} if rivals else {"fastsip": job}
        yield from _compared(bench, by, jobs, bench.pick(1, 1, 2), rate, seconds, MANY, None)


def _compared(
    bench: Bench,
    by: str,
    jobs: dict[str, Job],
    number: int,
    rate: float,
    seconds: float,
    connections: int,
    gate: float | None,
) -> Iterator[Row]:
    """Gives back the rate at which nobody lost a call."""
    asked = rate
    for _ in range(TRIES):
        found = alternate(bench, list(jobs), number, rate, seconds, _lost, jobs=jobs, connections=connections)
        losses = [(name, round) for name, rounds in found.items() for round in rounds if round.lost]
        if not losses:
            break
        (loser, lost), tried = losses[0], rate
        if lost.note != DISTURBED:
            rate *= LOWER
    else:
        what = f"{', '.join(jobs)}, {by}, {connections:,} connections"
        why = f", while {DISTURBED}" if lost.note == DISTURBED else ""
        yield missing(what, f"{loser} loses calls down to {tried:,.0f} calls/s{why}")
        return rate
    over = f"{connections:,} connections, {rate:,.0f} calls/s"
    lowered = f"; calls were lost at {asked:,.0f} calls/s" if rate < asked else ""
    for name, mine in found.items():
        what = f"fastsip, UDP, {rate:,.0f} calls/s" if name == "fastsip udp" else f"{name}, {by}, {over}"
        yield row(what, mine, plot=(PLOT, name, f"{by}, {connections:,} connections"))
    for name in (SHIPPED, TUNED):
        if name in found:
            share = median(found["fastsip"]) / median(found[name])
            note = f"1/{1 / share:.1f}, medians of {number}{lowered}"
            yield Row(f"fastsip's share of the CPU of {name}, {by}, {over}", share, "", gate, note=note)
    return rate


def _lost(round: Round) -> bool:
    return round.lost


if __name__ == "__main__":
    alone(__name__)
