"""The location segment: memory a binding, a lookup, a write, an attach.

    python bench/location.py [--quick]

Typical phones: address-of-record of 27 bytes, contact of 40, Call-ID of 36. Lookups run in compiled code through a
mapping of their own, keys in random order so that each finds cold caches. "one by one" begins each when the one before
is complete, which is what a message that comes alone costs; "in a row" lets the processor overlap them; "a batch of 32"
knows the keys of a turn when it begins, as a worker with a batch of messages does; "hot" asks for 1,000 keys again and
again, "absent" for keys that are not there. Median of five rounds after one; all times are CPU times. The dependent
load says how dear memory is here and now: a lookup alone waits for two, and it doubles when others use the caches.
Inserts are compiled; updates go through Python, with reclamation.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator

from measure import available
from rows import Bench, Row, alone, missing

from fastsip._control import KEY_BYTES, control_format
from fastsip._location import RECORD_BINDINGS, SegmentWriter, encode_bindings, segment_format
from fastsip._testing import fill_segment, measure_load, measure_lookups

TITLE = "Location table"
ABOUT = "one binding an address-of-record; keys of 27 bytes, looked up in random order in compiled code"
PLOT = "A lookup in the location table, ns, by addresses-of-record"
TURN = 32
WORTH = 600
"""Bytes of memory an address-of-record may take here, tables of the bench included."""


def aor(number: int) -> bytes:
    return b"+4930%08d@sip.example.com" % number


def value_of(number: int, cseq: int) -> bytes:
    return value_with(b"%08d" % number, cseq)


def value_with(digits: bytes, cseq: int) -> bytes:
    contact = b"sip:+4930%s@198.51.100.7:5060" % digits
    source = (4, bytes([198, 51, 100, 7]) + bytes(12), 5060)
    call_id = digits + b"-3c4e-11ee-be56-0242ac120002"
    binding = (
        contact.ljust(40, b"0"),
        call_id.ljust(36, b"0"),
        b"",
        b"",
        1000,
        1,
        source,
        cseq,
        0,
        1 << 41,
        1 << 41,
        0,
    )
    return encode_bindings(cseq, [binding])


def lookups(fd: int, control_fd: int, keys: list[bytes], expected: int, how: str) -> float:
    rounds, found = measure_lookups(fd, control_fd, keys, TURN, 6, how)
    assert found == expected, (found, expected)
    return statistics.median(rounds[1:])


def rows(bench: Bench) -> Iterator[Row]:
    for aors in bench.pick([2_000], [100_000, 1_000_000], [100_000, 1_000_000, 10_000_000]):
        name = f"{aors:,} AoRs"
        if aors * WORTH > available():
            yield missing(name, f"needs {aors * WORTH >> 20:,} MB of memory, {available() >> 20:,} are free")
            continue
        yield from _table(bench, aors, name)


def _table(bench: Bench, aors: int, name: str) -> Iterator[Row]:
    dice = random.Random(1)
    fd, control_fd = os.memfd_create("segment"), os.memfd_create("control")
    try:
        control_format(control_fd, 1, os.urandom(KEY_BYTES))
        segment_format(fd, control_fd)
        bench.say(f"location table of {aors:,}")
        inserted, slowest = fill_segment(fd, control_fd, aors, value_with(b"########", 1))
        writer = SegmentWriter(fd, control_fd)
        writer.reclaim()
        memory = writer.memory()
        gates = (400.0, 290.0) if aors >= 100_000 else (None, None)
        note = f"{memory['index'] / aors:.1f} of it index, {100 * aors / memory['slots']:.0f} % filled"
        yield Row(f"{name}: memory a binding", memory["resident"] / aors, "B", *gates, note=note, raw=dict(memory))

        numbers = [dice.randrange(aors) for _ in range(min(aors, 400_000))]
        keys = [aor(number) for number in numbers]
        absent = [aor(number + aors) for number in numbers]
        bench.say(f"lookups in {name}")
        gates = (500.0, 220.0) if aors == 1_000_000 else (None, None)
        load = f"a dependent load from as much memory {measure_load(memory['blocks']):.0f} ns"
        alone_ns = lookups(fd, control_fd, keys, len(keys), "alone")
        yield Row(f"{name}: lookup, one by one, cold", alone_ns, "ns", *gates, note=load, plot=(PLOT, "cold", aors))
        ahead = lookups(fd, control_fd, keys, len(keys), "ahead")
        batch = f"batch of {TURN}"
        yield Row(f"{name}: lookup, a {batch}, cold", ahead, "ns", *gates, plot=(PLOT, batch, aors))
        yield Row(f"{name}: lookup, in a row, cold", lookups(fd, control_fd, keys, len(keys), "row"), "ns")
        hot = keys[:1000] * 200
        yield Row(f"{name}: lookup, hot", lookups(fd, control_fd, hot, len(hot), "row"), "ns", plot=(PLOT, "hot", aors))
        yield Row(f"{name}: lookup, absent", lookups(fd, control_fd, absent, 0, "row"), "ns")

        note = f"growth included, longest {slowest / 1e6:.1f} ms"
        yield Row(f"{name}: insert", inserted / 1e3, "µs", note=note)
        fresh = [(aor(number), value_of(number, 2)) for number in numbers]
        begin = time.thread_time()
        for key, value in fresh:
            writer.put(RECORD_BINDINGS, key, value)
        updated = time.thread_time() - begin
        writer.reclaim()
        yield Row(f"{name}: update", updated / len(fresh) * 1e6, "µs")
        yield Row(f"{name}: memory a binding after it", writer.memory()["resident"] / aors, "B")
        writer.close()
        begin = time.thread_time()
        writer = SegmentWriter(fd, control_fd)
        yield Row(f"{name}: attach", (time.thread_time() - begin) * 1e3, "ms")
        writer.close()
    finally:
        os.close(fd)
        os.close(control_fd)


if __name__ == "__main__":
    alone(__name__)
