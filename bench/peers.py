"""The same calls from and to one address, four and a thousand: how much a server depends on who sends.

    python bench/peers.py [--quick] [--workers 2]

One and four are sockets on consecutive ports, as trunks are; a thousand are addresses of their own. The kernel shares
datagrams out among a server's sockets by source and destination, so that one peer's may all meet one worker.
"""

from __future__ import annotations

from collections.abc import Iterator

from rounds import alternate, row, runnable
from rows import Bench, Row, alone

TITLE = "Peers"
ABOUT = "calls as above between as many addresses on either side"
PLOT = "CPU per call, µs, by addresses on either side"
BOTH = ["kamailio", "fastsip"]
PEERS = {"one address": (1, False), "four addresses": (4, False), "a thousand addresses": (1000, True)}


def rows(bench: Bench) -> Iterator[Row]:
    names, left_out = runnable(bench.pick(["fastsip"], BOTH, BOTH))
    yield from left_out
    rate = bench.pick(300.0, 2_000.0, bench.facts.get("rate", 2_000.0))
    number, seconds = bench.pick((1, 0.1), (1, 2.0), (2, 4.0))
    for text in bench.pick(list(PEERS)[2:], list(PEERS), list(PEERS)):
        peers, spread = PEERS[text]
        found = alternate(bench, names, number, rate, seconds, peers=peers, spread=spread)
        for name, mine in found.items():
            yield row(f"{name}, {text}, {rate:,.0f} calls/s", mine, plot=(PLOT, name, text))


if __name__ == "__main__":
    alone(__name__)
