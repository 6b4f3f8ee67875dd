"""Nanoseconds to parse one message, inside compiled code.

    python bench/parse.py [--quick]

What is timed is parse_message as a worker calls it: header table with ids, start line, topmost Via, Call-ID, tags,
CSeq, Max-Forwards and Content-Length. And find_call_id, which is all that is read before a message goes to its owner.
The loop runs without the GIL on one pinned CPU; the least of many rounds is the figure, since other work on the machine
only adds. The message is warm in the cache, which a real one is after the kernel has copied it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from measure import pinned
from rows import Bench, Row, alone

from fastsip import _message

TITLE = "Parse"
ABOUT = "compiled code: header table with ids and the eight values every hop needs; least of the rounds, cache warm"
CORPUS = Path(__file__).resolve().parent.parent / "tests" / "corpus" / "valid"
SAMPLES = ("invite_500", "invite_1400", "register", "ringing", "ok", "cancel")
PLOT = "Parsing one INVITE, ns"
GATES = {"invite_500": (200.0, 150.0), "invite_1400": (300.0, 240.0)}
CALLS = 400


def least(data: bytes, rounds: int, scan: bool) -> float:
    return min(_message._time(data, CALLS, scan) for _ in range(rounds)) / CALLS


def rows(bench: Bench) -> Iterator[Row]:
    rounds = bench.pick(3, 500, 4000)
    with pinned():
        for name in SAMPLES:
            data = (CORPUS / f"{name}.sip").read_bytes()
            bench.say(f"parsing {name}")
            gate, aim = GATES.get(name, (None, None))
            plot = (PLOT, name, "fastsip") if name in GATES else None
            headers = len(_message._examine(data)["headers"])
            note = f"{len(data)} bytes, {headers} headers"
            yield Row(f"parse {name}", least(data, rounds, False), "ns", gate, aim, note=note, plot=plot)
        data = (CORPUS / "invite_500.sip").read_bytes()
        yield Row("find the Call-ID of invite_500", least(data, rounds, True), "ns", note="before a hand-off")


if __name__ == "__main__":
    alone(__name__)
