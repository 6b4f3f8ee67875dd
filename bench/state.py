"""What the state process costs: CPU of one fact from frame to acknowledgement, published and noted for the store.

    python bench/state.py [--quick]

One process, no sockets: batches of 100 facts as they come from a worker. The real
segment; the store's thread writes to a file in a temporary directory, and its CPU is shown beside. Then the same store
is read by a fresh process' recovery. Single runs on a shared machine vary by a tenth.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
from rows import Bench, Row, alone

from fastsip._control import KEY_BYTES, control_format
from fastsip._facts import Dialogs
from fastsip._location import SegmentWriter, segment_format
from fastsip.state import recovery, schema
from fastsip.state.bindings import Bindings
from fastsip.state.intake import Intake
from fastsip.state.journal import Journal
from fastsip.state.store import Store

TITLE = "State process"
ABOUT = "CPU of one fact in the loop of the state process, in batches of 100 as workers send them"
BATCH = 100
ORIGIN = [4, bytes([192, 0, 2, 1]) + bytes(12), 5062, 0, 1, 0]


def rows(bench: Bench) -> Iterator[Row]:
    aors = bench.pick(200, 20_000, 100_000)
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "fastsip.db")
        table = segment()
        store = Store(path)
        journal = Journal(table, store, 0.05, lambda durable: None)
        journal.open = True
        bindings = Bindings(table, journal, 10, False)
        intake = Intake(bindings, Dialogs())
        facts: dict[str, Callable[[int], list[object]]] = {
            "REGISTER, new": lambda n: register(n, 1),
            "REGISTER, refresh": lambda n: register(n, 2),
            "REGISTER, repeated": lambda n: register(n, 2),
            "dialog confirmed": lambda n: [2, b"%d@host" % n, b"from", b"to", b"sip:a@b", b"sip:c@d", n],
            "dialog ended": lambda n: [3, b"%d@host" % n, b"from", b"to"],
        }
        for name, fact in facts.items():
            bench.say(f"facts: {name}")
            yield run(name, intake, journal, fact, aors)
        journal.flush(60)
        store.close(60)
        for name, fresh in (("restart of the process", table), ("restart of the machine", segment())):
            start = time.perf_counter()
            adopted = Bindings(fresh, journal, 10, False)
            connection = schema.connect(path)
            recovery.adopt_segment(fresh, adopted, journal, connection)
            recovery.read_store(connection, fresh, adopted, journal)
            taken = (time.perf_counter() - start) / adopted.aors * 1e6
            yield Row(f"{name}, an address-of-record", taken, "µs", note=f"{adopted.aors:,} of them")


def run(name: str, intake: Intake, journal: Journal, fact: Callable[[int], list[object]], count: int) -> Row:
    batches = list(frames(fact, count, intake.facts))
    before, process = time.thread_time(), time.process_time()
    for header, body in batches:
        intake.batch(header, body)
        journal.tick(time.monotonic())
        journal._store.collect()
    spent, total = time.thread_time() - before, time.process_time() - process
    journal.flush(60)
    store = max(0.0, total - spent)
    return Row(name, spent / count * 1e6, "µs", note=f"{store / count * 1e6:.2f} µs of the store's thread beside it")


def frames(fact: Callable[[int], list[object]], count: int, before: int) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, count, BATCH):
        numbers = range(start, min(count, start + BATCH))
        header = msgpack.packb([0, 1, before + start + 1, len(numbers)])
        yield header, b"".join(msgpack.packb(fact(number)) for number in numbers)


def register(number: int, cseq: int) -> list[object]:
    aor = b"user%d@example.com" % number
    contact = [b"sip:user%d@192.0.2.1:5062" % number, 1000, 3600, b""]
    return [1, number, aor, b"%032d@192.0.2.1" % number, cseq, 0, ORIGIN, b"", [contact]]


def segment() -> SegmentWriter:
    control, memory = os.memfd_create("control"), os.memfd_create("segment")
    control_format(control, 1, bytes(KEY_BYTES))
    segment_format(memory, control)
    return SegmentWriter(memory, control)


if __name__ == "__main__":
    alone(__name__)
