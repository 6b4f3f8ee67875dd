"""What the state process costs: CPU of one fact from frame to acknowledgement, published and noted for the store.

`python bench/state.py [--aors N]`. One process, no sockets: batches of 100 facts as they come from a worker. The real
segment; the store's thread writes to a file in a temporary directory, and its CPU is shown beside. Then the same store
is read by a fresh process' recovery. Single runs on a shared machine vary by a tenth.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack

from fastsip._control import KEY_BYTES, control_format
from fastsip._facts import Dialogs
from fastsip._location import SegmentWriter, segment_format
from fastsip.state import recovery, schema
from fastsip.state.bindings import Bindings
from fastsip.state.intake import Intake
from fastsip.state.journal import Journal
from fastsip.state.store import Store

BATCH = 100
ORIGIN = [4, bytes([192, 0, 2, 1]) + bytes(12), 5062, 0, 1, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aors", type=int, default=50_000)
    aors = parser.parse_args().aors
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "fastsip.db")
        table = segment()
        store = Store(path)
        journal = Journal(table, store, 0.05, lambda durable: None)
        journal.open = True
        bindings = Bindings(table, journal, 10, False)
        intake = Intake(bindings, Dialogs())
        run("REGISTER, new", intake, journal, lambda n: register(n, 1), aors)
        run("REGISTER, refresh", intake, journal, lambda n: register(n, 2), aors)
        run("REGISTER, repeated", intake, journal, lambda n: register(n, 2), aors)
        run(
            "dialog confirmed",
            intake,
            journal,
            lambda n: [2, b"%d@host" % n, b"from", b"to", b"sip:a@b", b"sip:c@d", n],
            aors,
        )
        run("dialog ended", intake, journal, lambda n: [3, b"%d@host" % n, b"from", b"to"], aors)
        journal.flush(60)
        store.close(60)
        for name, fresh in (("restart of the process", table), ("restart of the machine", segment())):
            start = time.perf_counter()
            adopted = Bindings(fresh, journal, 10, False)
            connection = schema.connect(path)
            recovery.adopt_segment(fresh, adopted, journal, connection)
            recovery.read_store(connection, fresh, adopted, journal)
            elapsed = time.perf_counter() - start
            print(f"{name:28} {elapsed / adopted.aors * 1e6:7.2f} us per address-of-record, {adopted.aors} of them")
        memory = table.memory()["resident"] / aors
        process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{'segment':28} {memory:7.0f} bytes per binding; process {process} MB")


def run(name: str, intake: Intake, journal: Journal, fact: Callable[[int], list[object]], count: int) -> None:
    batches = list(frames(fact, count, intake.facts))
    before, process = time.thread_time(), time.process_time()
    for header, body in batches:
        intake.batch(header, body)
        journal.tick(time.monotonic())
        journal._store.collect()
    spent, total = time.thread_time() - before, time.process_time() - process
    journal.flush(60)
    store = total - spent
    print(f"{name:28} {spent / count * 1e6:7.2f} us of the loop, {store / count * 1e6:7.2f} us of the store's thread")


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
    main()
