"""The location segment: memory a binding, a lookup, a write, an attach.

    python bench/location.py [--aors 1000000] [--seed 1]

Typical phones: address-of-record of 27 bytes, contact of 40, Call-ID of 36. Lookups run in compiled code through a
mapping of their own, keys in random order so that each finds cold caches. "alone" begins each when the one before is
complete, which is what a message on its way costs; "in a row" lets the processor overlap them; "hot" asks for 1,000
keys again and again, "absent" for keys that are not there. Median of five rounds after one; all times are CPU times.
The dependent load says how dear memory is here and now: it doubles when others use the caches. Writes go through
Python, with reclamation.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time

from fastsip._control import KEY_BYTES, control_format
from fastsip._location import RECORD_BINDINGS, SegmentWriter, encode_bindings, segment_format
from fastsip._testing import measure_load, measure_lookups

TURN = 32


def aor(number: int) -> bytes:
    return b"+4930%08d@sip.example.com" % number


def value_of(number: int, cseq: int) -> bytes:
    contact = b"sip:+4930%08d@198.51.100.7:5060" % number
    source = (4, bytes([198, 51, 100, 7]) + bytes(12), 5060)
    call_id = b"%08x-3c4e-11ee-be56-0242ac120002" % number
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


def lookups(fd: int, control_fd: int, keys: list[bytes], expected: int, alone: bool) -> float:
    rounds, found = measure_lookups(fd, control_fd, keys, TURN, 6, alone)
    assert found == expected, (found, expected)
    return statistics.median(rounds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--aors", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    aors: int = arguments.aors
    dice = random.Random(arguments.seed)
    fd, control_fd = os.memfd_create("segment"), os.memfd_create("control")
    control_format(control_fd, 1, os.urandom(KEY_BYTES))
    segment_format(fd, control_fd)
    writer = SegmentWriter(fd, control_fd)

    worst, begin = 0.0, time.thread_time()
    for number in range(aors):
        before = time.thread_time()
        writer.put(RECORD_BINDINGS, aor(number), value_of(number, 1))
        worst = max(worst, time.thread_time() - before)
    inserted = time.thread_time() - begin
    writer.reclaim()
    memory = writer.memory()
    slots = memory["slots"]
    print(f"{aors:,} addresses-of-record with one binding each, values of {len(value_of(0, 1))} bytes")
    print(f"memory   {memory['resident'] / aors:6.1f} B a binding, {memory['index'] / aors:.1f} of it index", end=", ")
    print(f"filled {100 * aors / slots:.0f} %")

    numbers = [dice.randrange(aors) for _ in range(min(aors, 400_000))]
    keys = [aor(number) for number in numbers]
    absent = [aor(number + aors) for number in numbers]
    print(f"lookup   {lookups(fd, control_fd, keys, len(keys), True):6.0f} ns alone", end=", ")
    print(f"{lookups(fd, control_fd, keys, len(keys), False):.0f} in a row", end=", ")
    print(f"{lookups(fd, control_fd, keys[:1000] * 200, 200_000, False):.0f} hot", end=", ")
    print(f"{lookups(fd, control_fd, absent, 0, False):.0f} absent")
    load = measure_load(memory["blocks"])
    print(f"         {load:6.0f} ns a dependent load from as much memory; a lookup waits for two")
    fresh = [(aor(number), value_of(number, 2)) for number in numbers]
    begin = time.thread_time()
    for key, value in fresh:
        writer.put(RECORD_BINDINGS, key, value)
    updated = time.thread_time() - begin
    writer.reclaim()
    print(f"write    {inserted / aors * 1e6:6.2f} us an insert, encoding and growth included,", end=" ")
    print(f"longest {worst * 1e3:.1f} ms; {updated / len(fresh) * 1e6:.2f} us an update")
    print(f"after it {writer.memory()['resident'] / aors:6.1f} B a binding")
    writer.close()
    begin = time.thread_time()
    writer = SegmentWriter(fd, control_fd)
    print(f"attach   {(time.thread_time() - begin) * 1e3:6.0f} ms")
    begin, cursor, seen = time.thread_time(), 0, 0
    following: int | None = 0
    while following is not None:
        following, some = writer.scan(cursor, 1000, RECORD_BINDINGS)
        seen += len(some)
        cursor = following or 0
    assert seen == aors
    print(f"scan     {(time.thread_time() - begin) / aors * 1e6:6.2f} us a binding, 1,000 a call")


if __name__ == "__main__":
    main()
