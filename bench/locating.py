"""Locating a server (RFC 3263): what a request pays for a hop whose records are known, and what a question costs.

    python bench/locating.py [--quick]

A known hop is what every request pays: one server, a choice among records by weight, or that with failures remembered.
The cold hop is a domain nobody has asked for, with NAPTR, SRV and two addresses each. Records come from a table, so it
is our own work and not that of dnspython. CPU time, least of the rounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import pinned
from rows import Bench, Row, alone

from fastsip.dns import DnsSetup, Hop, Resolver
from fastsip.dns.records import Naptr, Said, Srv

TITLE = "Locating servers"
ABOUT = "from Python, CPU time, least of the rounds"
PLOT = "A known hop, µs, by SRV records of one priority"


def least(rounds: int, times: int, work: Callable[[], object]) -> float:
    """Microseconds of one of the `times` things that `work` does."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.process_time_ns()
        work()
        best = min(best, (time.process_time_ns() - begun) / times / 1000)
    return best


async def ask(name: str, kind: str, patience: float) -> Said:
    """A domain "n8..." has eight SRV records."""
    if kind == "NAPTR":
        return Said((Naptr(1, 1, "s", "SIP+D2U", "", f"_sip._udp.{name}"),), 60, None)
    if kind == "SRV":
        count = int(name.split(".")[2][1:])
        return Said(tuple(Srv(1, 10, 5060, f"h{place}.example") for place in range(count)), 60, None)
    return Said(("192.0.2.1" if kind == "A" else "2001:db8::1",), 60, None)


def resolver() -> Resolver:
    return Resolver(DnsSetup(cache=1_000_000), frozenset({"udp", "tcp"}), ask=ask, hosts=Path("/nonexistent"))


def rows(bench: Bench) -> Iterator[Row]:
    rounds = bench.pick(1, 10, 20)
    times = bench.pick(200, 5_000, 10_000)
    with pinned():
        for count in (1, 2, 8, 32):
            known = resolver()
            hop = Hop.of(f"sip:n{count}.example")
            asyncio.run(known.locate(hop))
            cost = least(rounds, times, lambda known=known, hop=hop: [known.cached(hop) for _ in range(times)])
            gate = 10.0 if count <= 8 else None
            yield Row(f"a known hop, SRV records: {count}", cost, "µs", gate, plot=(PLOT, "fastsip", count))
            if count == 2:
                uri = "sip:bob@n2.example"
                cost = least(rounds, times, lambda known=known, uri=uri: [known.cached(uri) for _ in range(times)])
                yield Row("the same, from the text of a URI", cost, "µs")
                located = known.cached(hop)
                assert located is not None
                known.failed(located.servers[0], 3600)
                cost = least(rounds, times, lambda known=known, hop=hop: [known.cached(hop) for _ in range(times)])
                yield Row("the same, one server failed", cost, "µs")
        yield Row("a cold hop, two SRV records, six lookups", asyncio.run(_cold(bench.pick(20, 500, 1_000))), "µs")


async def _cold(times: int) -> float:
    cold = resolver()
    begun = time.process_time_ns()
    for place in range(times):
        await cold.locate(Hop(f"n2.d{place}.example"))
    return (time.process_time_ns() - begun) / times / 1000


if __name__ == "__main__":
    alone(__name__)
