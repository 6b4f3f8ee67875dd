"""Instructions the hot thread needs per received message, by callgrind: the rows of `make perf` without a comparison.

    python bench/instructions.py

A fixed replay (see replay/): counts are the same on every machine with the same compiler and libraries.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from measure import ROOT
from replay.driver import ReplayError, clock_library, replay
from rows import Bench, Row, alone, missing

TITLE = "Instructions"
ABOUT = "user space of the hot thread per received message, counted by callgrind on a fixed replay"
GATES = {"call": (8_000.0, 6_000.0)}


def rows(bench: Bench) -> Iterator[Row]:
    paths = bench.pick((), ("call",), ("call", "register"))
    if not shutil.which("valgrind"):
        yield missing("instructions per message", "valgrind is not installed: apt-get install valgrind")
        return
    folder = ROOT / "build" / "bench"
    for path in paths:
        bench.say(f"counting instructions, {path}")
        gate, aim = GATES.get(path, (None, None))
        try:
            costs = replay(path, ROOT, folder / f"{path}.callgrind", clock_library(folder))
        except ReplayError as error:
            yield missing(f"instructions per message, {path}", str(error))
            continue
        layers = ", ".join(f"{layer} {count / costs.messages:,.0f}" for layer, count in costs.layers.most_common(4))
        yield Row(f"instructions per message, {path}", costs.per_message, "", gate, aim, note=layers)


if __name__ == "__main__":
    alone(__name__)
