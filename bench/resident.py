"""Memory of a server per 1,000 calls a second, after a minute of steady load.

    python bench/resident.py [--quick] [--workers 2]

A transaction stays for 32 s or so after its answer (timers L, M, J, K), which is what a minute is for. Counted is what
all processes have above what they had before the first call, shared pages once (PSS).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from measure import tree
from rounds import once
from rows import Bench, Row, alone
from servers import Job, Target, memory
from traffic import Phones

TITLE = "Memory"
ABOUT = "above what the idle server has, all processes, at the end of the load"
RATE = 2_000.0


def rows(bench: Bench) -> Iterator[Row]:
    rate = bench.pick(300.0, RATE, RATE)
    seconds = bench.pick(0.1, 5.0, 60.0)
    bench.say(f"{seconds:g} s at {rate:,.0f} calls a second")
    found = once("fastsip", rate, seconds, Job(bench.workers), watch=_watch)
    each = (found.extra["after"] - found.extra["before"]) / 2**20 / (rate / 1000)
    gates = (150.0, 80.0) if bench.size == "full" else (None, None)
    idle, live = found.extra["before"] / 2**20, found.extra["live"]
    note = f"{rate:,.0f} calls/s for {seconds:g} s, {live:,} transactions; idle {idle:.0f} MB"
    yield Row("memory per 1,000 calls/s", each, "MB", *gates, note=note)


def _watch(target: Target, phones: Phones) -> Callable[[], dict[str, Any]]:
    server: Any = target
    before = memory(tree(server.pid))

    def after() -> dict[str, Any]:
        return {
            "before": before,
            "after": memory(tree(server.pid)),
            "live": server.stats()["total"].get("transactions", 0),
        }

    return after


if __name__ == "__main__":
    alone(__name__)
