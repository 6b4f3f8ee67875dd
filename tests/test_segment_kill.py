"""kill -9 of the segment's writer at any moment of its work, with readers reading.

A writer process puts and deletes by a seed. Before each step it notes what it is about to do, after it what is done
(acknowledged); the notes lie in memory that survives it. Versions of a key only grow; every fourth means "deleted".
After each kill, and while the next writer works:

1. every value a reader finds is whole,
2. a reader finds nothing older than what was acknowledged before it looked (and misses nothing that was),
3. readers go on at every moment: between the death of one writer and the attach of the next, too,
4. a new writer attaches, finds no damage, and counts what the readers find.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator

import pytest

from fastsip import _control as control
from fastsip import _location as location
from fastsip._location import RECORD_BINDINGS, SegmentReader, SegmentWriter

KEYS = 4000
READERS = 2
KILLS = 40
WORD = struct.Struct("=Q")


class Words:
    """An array of 64-bit words that several processes see; each is written by one store."""

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, 8 * count)
        self._words = memoryview(self._memory).cast("Q")

    def __getitem__(self, index: int) -> int:
        return self._words[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._words[index] = value


def value_of(key: int, version: int) -> bytes:
    body = WORD.pack(key) + WORD.pack(version) + bytes([version % 251]) * (version * 37 % 700)
    return body + struct.pack("=I", zlib.crc32(body))


def version_in(value: bytes, key: int) -> int:
    assert struct.pack("=I", zlib.crc32(value[:-4])) == value[-4:], "torn"
    assert WORD.unpack_from(value)[0] == key, "another key's value"
    return int(WORD.unpack_from(value, 8)[0])


def deleted_between(low: int, high: int) -> bool:
    """Whether one of the versions low..high means "deleted" (0, before anything was put, does too)."""
    return high - high % 4 >= low


class House:
    def __init__(self) -> None:
        self.fd, self.control_fd = os.memfd_create("segment"), os.memfd_create("control")
        control.control_format(self.control_fd, READERS, os.urandom(80))
        os.ftruncate(self.fd, 256 << 20)
        location.segment_format(self.fd, self.control_fd)
        self.intended, self.acknowledged = Words(KEYS), Words(KEYS)
        self.looks, self.stop = Words(READERS), Words(1)

    def check(self, reader: SegmentReader, key: int) -> None:
        low = self.acknowledged[key]
        value = reader.find(RECORD_BINDINGS, b"user%d@example.com" % key)
        high = self.intended[key]
        if value is None:
            assert deleted_between(low, high), f"key {key} is gone, acknowledged {low}, intended {high}"
        else:
            assert low <= version_in(value, key) <= high, f"key {key}: {version_in(value, key)} of {low}..{high}"

    def write(self, seed: int) -> None:
        writer, dice = SegmentWriter(self.fd, self.control_fd), random.Random(seed)
        while True:
            # Mostly few keys, so that there are updates; now and then all, so that the index grows and shrinks.
            key = dice.randrange(KEYS if seed % 3 else 300)
            version = max(self.acknowledged[key], self.intended[key]) + 1
            self.intended[key] = version
            if version % 4:
                writer.put(RECORD_BINDINGS, b"user%d@example.com" % key, value_of(key, version))
            else:
                writer.delete(RECORD_BINDINGS, b"user%d@example.com" % key)
            self.acknowledged[key] = version

    def read(self, me: int) -> None:
        reader, dice = SegmentReader(self.fd, self.control_fd, me), random.Random(me)
        while not self.stop[0]:
            self.check(reader, dice.randrange(KEYS))
            self.looks[me] += 1


@pytest.fixture
def spawn() -> Iterator[Callable[..., int]]:
    children: list[int] = []

    def start(work: Callable[..., None], *arguments: int) -> int:
        pid = os.fork()
        if pid:
            children.append(pid)
            return pid
        try:
            work(*arguments)
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{work.__name__}: {error!r}\n".encode())
            os._exit(1)

    yield start
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def progress(house: House, readers: list[int]) -> None:
    """Wait until every reader has looked some more."""
    before, deadline = [house.looks[i] for i in range(READERS)], time.monotonic() + 10
    while any(house.looks[i] < before[i] + 3 for i in range(READERS)):
        assert time.monotonic() < deadline, "a reader stands still"
        assert [os.waitpid(pid, os.WNOHANG)[0] for pid in readers] == [0] * READERS, "a reader found something wrong"
        time.sleep(0.0005)


def test_killed_at_any_moment(spawn: Callable[..., int]) -> None:
    house = House()
    readers = [spawn(house.read, i) for i in range(READERS)]
    dice = random.Random(7)
    for kill in range(KILLS):
        pid = spawn(house.write, kill)
        time.sleep(dice.uniform(0.001, 0.05))
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "the writer had ended by itself"
        progress(house, readers)
        if kill % 4:
            continue
        with_all = SegmentReader(house.fd, house.control_fd)
        for key in range(KEYS):
            house.check(with_all, key)
        writer = SegmentWriter(house.fd, house.control_fd)
        there = sum(writer.get(RECORD_BINDINGS, b"user%d@example.com" % key) is not None for key in range(KEYS))
        assert writer.memory()["damaged"] == 0
        assert len(writer) == len(with_all) == there
        writer.close()
    house.stop[0] = 1
    assert [os.waitpid(pid, 0)[1] for pid in readers] == [0] * READERS
    assert sum(house.acknowledged[key] for key in range(KEYS)) > 1000
    writer = SegmentWriter(house.fd, house.control_fd)
    assert writer.reclaim() == 0
    assert writer.memory()["resident"] < 24 << 20


def test_a_reader_that_dies_reading_is_cleared(spawn: Callable[..., int]) -> None:
    house = House()
    writer = SegmentWriter(house.fd, house.control_fd)

    def read_and_hang() -> None:
        reader = SegmentReader(house.fd, house.control_fd, 1)
        reader.enter()
        house.looks[1] = 1
        time.sleep(60)

    pid = spawn(read_and_hang)
    deadline = time.monotonic() + 10
    while not house.looks[1] and time.monotonic() < deadline:
        time.sleep(0.001)
    for i in range(300):
        writer.put(RECORD_BINDINGS, b"alice", b"%d" % i)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert writer.reclaim() == 299
    control.ControlView(house.control_fd).clear_worker(1)
    assert writer.reclaim() == 0
