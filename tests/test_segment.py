"""The location segment from Python: the model, growth under readers, scans, limits, values."""

from __future__ import annotations

import collections
import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsip import _control as control
from fastsip import _location as location
from fastsip._location import RECORD_BINDINGS, RECORD_USER, SegmentReader, SegmentWriter

if TYPE_CHECKING:
    from fastsip._location import BindingTuple

MIB = 1 << 20
FEWEST_SLOTS = 1024 + 512


class Memory(NamedTuple):
    fd: int
    control_fd: int


def make(size: int = 64 * MIB) -> Memory:
    memory = Memory(os.memfd_create("segment"), os.memfd_create("control"))
    control.control_format(memory.control_fd, 2, bytes(range(80)))
    os.ftruncate(memory.fd, size)
    location.segment_format(*memory)
    return memory


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = make()
    yield made
    os.close(made.fd)
    os.close(made.control_fd)


def everything(segment: SegmentReader | SegmentWriter, kind: int, limit: int = 100) -> list[tuple[bytes, bytes]]:
    found, cursor = [], 0
    while True:
        following, some = segment.scan(cursor, limit, kind)
        found += some
        if following is None:
            return found
        assert following > cursor
        cursor = following


# --------------------------------------------------------------------------------------------------------------- model

keys = st.integers(0, 30).map(lambda n: b"user%d@example.com" % n)
values = st.one_of(st.binary(max_size=40), st.integers(0, 3000).map(lambda n: b"\x5a" * n))
kinds = st.sampled_from([RECORD_BINDINGS, RECORD_USER])
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), kinds, keys, values),
        st.tuples(st.just("delete"), kinds, keys, st.just(b"")),
        st.tuples(st.sampled_from(["reclaim", "attach"]), kinds, keys, st.just(b"")),
    ),
    max_size=80,
)


@settings(max_examples=80, deadline=None)
@given(operations)
def test_it_behaves_like_a_dictionary(steps: list[tuple[str, int, bytes, bytes]]) -> None:
    memory, model = make(), dict[tuple[int, bytes], bytes]()
    writer, announced, silent = SegmentWriter(*memory), SegmentReader(*memory, 1), SegmentReader(*memory)
    for what, kind, key, value in steps:
        if what == "put":
            writer.put(kind, key, value)
            model[kind, key] = value
        elif what == "delete":
            assert writer.delete(kind, key) == (model.pop((kind, key), None) is not None)
        elif what == "reclaim":
            assert writer.reclaim() == 0
        else:
            writer.close()
            writer = SegmentWriter(*memory)
            assert writer.memory()["damaged"] == 0
        expected = model.get((kind, key))
        assert writer.get(kind, key) == announced.find(kind, key) == silent.find(kind, key) == expected
    assert len(writer) == len(silent) == len(model)
    for kind in (RECORD_BINDINGS, RECORD_USER):
        expected_all = {key: value for (of, key), value in model.items() if of == kind}
        for segment in (writer, announced, silent):
            found = everything(segment, kind, 7)
            assert len(found) == len(expected_all)
            assert dict(found) == expected_all
    writer.close()
    os.close(memory.fd)
    os.close(memory.control_fd)


def test_growth_to_100_000_while_readers_read(memory: Memory) -> None:
    """Readers find every key that was put before they looked, while the index grows eight times, and shrinks back."""
    writer, count, stop = SegmentWriter(*memory), 0, False
    failures: list[str] = []
    looked = [0, 0]

    def read(me: int) -> None:
        reader = SegmentReader(*memory, me if me else None)
        step = 0
        while not stop and not failures:
            there = count
            if there:
                step = (step * 7 + 3) % there
                if reader.find(RECORD_BINDINGS, b"%d" % step) != b"value %d" % step:
                    failures.append(f"{step} of {there}")
            looked[me] += 1
        reader.close()

    threads = [threading.Thread(target=read, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    levels = set()
    for key in range(100_000):
        writer.put(RECORD_BINDINGS, b"%d" % key, b"value %d" % key)
        count = key + 1
        if key % 500 == 0:
            levels.add(writer.memory()["slots"])
    stop = True
    for thread in threads:
        thread.join()
    assert not failures
    assert min(looked) > 10
    assert len(levels) == 9
    assert writer.memory()["records"] == 100_000
    assert {key for key, _ in everything(writer, RECORD_BINDINGS, 5000)} == {b"%d" % i for i in range(100_000)}
    for key in range(100_000):
        assert writer.delete(RECORD_BINDINGS, b"%d" % key)
    writer.reclaim()
    left = writer.memory()
    assert left["records"] == left["blocks"] == left["tombstones"] == 0
    assert left["slots"] == min(levels)
    assert left["resident"] < MIB


# --------------------------------------------------------------------------------------------------------------- scans


def test_a_scan_sees_what_stays_once_whatever_else_changes(memory: Memory) -> None:
    writer = SegmentWriter(*memory)
    stay = {b"stay%d" % i for i in range(500)}
    for key in stay:
        writer.put(RECORD_USER, key, key)
    seen: list[bytes] = []
    cursor: int | None = 0
    sizes, added = [], 0
    while cursor is not None:
        cursor, some = writer.scan(cursor, 10, RECORD_USER)
        seen += [key for key, _ in some]
        assert len(some) < 15
        sizes.append(writer.memory()["slots"])
        if len(sizes) < 15:  # the index grows again and again meanwhile
            for i in range(added, added + 300):
                writer.put(RECORD_USER, b"new%d" % i, b"")
            added += 300
        elif len(sizes) == 15:
            writer.close()
            writer = SegmentWriter(*memory)
        elif len(sizes) == 30:  # and shrinks
            for i in range(added):
                assert writer.delete(RECORD_USER, b"new%d" % i)
    assert len(set(sizes)) > 2
    assert sizes[-1] < max(sizes)
    assert len(seen) == len(set(seen))
    assert stay <= set(seen)


def test_a_scan_of_few_among_many_comes_back_soon(memory: Memory) -> None:
    writer = SegmentWriter(*memory)
    for i in range(60_000):
        writer.put(RECORD_BINDINGS, b"%d" % i, b"")
    writer.put(RECORD_USER, b"alice", b"1")
    following, some = writer.scan(0, 10, RECORD_USER)
    assert following is not None
    assert len(some) <= 1
    assert everything(writer, RECORD_USER) == [(b"alice", b"1")]


@pytest.mark.parametrize(("cursor", "limit", "kind"), [(-1, 1, 1), (1 << 30, 1, 1), (0, 0, 1), (0, 1, 0), (0, 1, 8)])
def test_a_wrong_scan_is_an_error(memory: Memory, cursor: int, limit: int, kind: int) -> None:
    with pytest.raises(ValueError, match=r"scan|kind"):
        SegmentReader(*memory).scan(cursor, limit, kind)


# ---------------------------------------------------------------------------------------------- readers and reclaiming


def test_nothing_is_freed_under_a_reader_until_it_leaves_or_is_cleared(memory: Memory) -> None:
    writer, view = SegmentWriter(*memory), control.ControlView(memory.control_fd)
    reader = SegmentReader(*memory, 1)
    writer.put(RECORD_USER, b"alice", b"old")
    reader.enter()
    assert view.epoch(1) == view.location_epoch
    for i in range(1000):
        writer.put(RECORD_USER, b"alice", b"%d" % i)
    assert writer.reclaim() == 1000
    reader.leave()
    assert writer.reclaim() == 0
    assert writer.memory()["blocks"] == 32
    reader.enter()  # and dies
    writer.delete(RECORD_USER, b"alice")
    assert writer.reclaim() == 1
    location.clear_reader(memory.control_fd, 1)
    assert view.epoch(1) is None
    assert writer.reclaim() == 0
    with pytest.raises(ValueError, match="without an index"):
        SegmentReader(*memory).enter()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_reader_that_stays_in_its_turn_costs_no_put(memory: Memory, replaced: bool) -> None:
    writer, reader, other = SegmentWriter(*memory), SegmentReader(*memory, 0), SegmentReader(*memory, 1)
    kept = {b"kept%d" % i: b"%d" % i for i in range(600)}
    for key, value in kept.items():
        writer.put(RECORD_BINDINGS, key, value)
    reader.enter()
    passing: collections.deque[bytes] = collections.deque()
    levels = []
    for i in range(30_000):
        if replaced and i % 2000 == 0:
            writer.close()
            writer = SegmentWriter(*memory)
            assert writer.memory()["damaged"] == 0
        before = writer.memory()
        writer.put(RECORD_BINDINGS, b"passing%d" % i, b"")
        if writer.memory()["tombstones"] < before["tombstones"] and writer.memory()["slots"] == before["slots"]:
            writer.delete(RECORD_BINDINGS, b"passing%d" % i)  # only those that use the index up
            continue
        passing.append(b"passing%d" % i)
        if len(passing) > 400:
            assert writer.delete(RECORD_BINDINGS, passing.popleft())
        if writer.memory()["slots"] != before["slots"]:
            levels.append(writer.memory()["slots"])
            assert {key: reader.find(RECORD_BINDINGS, key) for key in kept} == kept
            assert {key: other.find(RECORD_BINDINGS, key) for key in kept} == kept
    assert len(levels) > 1
    assert max(levels) < 300_000
    assert writer.reclaim() > 0
    reader.leave()
    assert writer.reclaim() == 0
    for key in [*kept, *passing]:
        assert writer.delete(RECORD_BINDINGS, key)
    writer.reclaim()
    assert writer.memory()["slots"] == FEWEST_SLOTS
    assert writer.memory()["resident"] < MIB


def test_one_writer_at_a_time(memory: Memory) -> None:
    first = SegmentWriter(*memory)
    with pytest.raises(BlockingIOError, match="another process writes"):
        SegmentWriter(*memory)
    first.close()
    first.close()
    second = SegmentWriter(*memory)
    assert second.memory()["attached"] == 2
    with pytest.raises(ValueError, match="closed"):
        first.put(RECORD_USER, b"alice", b"")


# -------------------------------------------------------------------------------------------------------------- limits


def test_full_is_said_and_changes_nothing() -> None:
    memory = make(4 * MIB)
    writer, reader = SegmentWriter(*memory), SegmentReader(*memory)
    written = 0
    with pytest.raises(MemoryError, match="address space is full"):
        for written in range(100_000):
            writer.put(RECORD_BINDINGS, b"%d" % written, b"x" * 500)
    assert len(writer) == written
    with pytest.raises(MemoryError):
        writer.put(RECORD_BINDINGS, b"0", b"y" * 500)
    assert reader.find(RECORD_BINDINGS, b"0") == b"x" * 500
    assert reader.find(RECORD_BINDINGS, b"%d" % written) is None
    assert writer.delete(RECORD_BINDINGS, b"1")
    writer.put(RECORD_BINDINGS, b"0", b"y" * 500)  # what was deleted is taken at once, nobody read it
    assert reader.find(RECORD_BINDINGS, b"0") == b"y" * 500


def test_a_small_index_is_full_with_a_clear_text() -> None:
    memory = make(2 * MIB)
    writer = SegmentWriter(*memory)
    with pytest.raises(MemoryError, match="address space"):
        for i in range(100_000):
            writer.put(RECORD_BINDINGS, b"%d" % i, b"")


@pytest.mark.parametrize(("key", "value"), [(b"", b""), (b"k" * 65536, b""), (b"k", b"v" * (256 * 1024))])
def test_what_no_record_holds_is_refused(memory: Memory, key: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match="a key has 1 to 65535 bytes"):
        SegmentWriter(*memory).put(RECORD_USER, key, value)


def test_records_of_every_size_come_back_whole(memory: Memory) -> None:
    writer, reader = SegmentWriter(*memory), SegmentReader(*memory)
    sizes = [*range(0, 1100, 7), *(2**n + d for n in range(10, 18) for d in (-1, 0, 1)), location.RECORD_LIMIT - 17]
    for size in sizes:
        writer.put(RECORD_USER, b"k", bytes([size % 251]) * size)
        assert reader.find(RECORD_USER, b"k") == bytes([size % 251]) * size
    long = b"k" * location.KEY_LIMIT
    writer.put(RECORD_USER, long, b"v")
    assert reader.find(RECORD_USER, long) == b"v"


def test_what_is_no_segment_is_refused(memory: Memory) -> None:
    empty, short = os.memfd_create("empty"), os.memfd_create("short")
    os.ftruncate(empty, 16 * MIB)
    os.ftruncate(short, 4096)
    stranger = os.memfd_create("control")
    control.control_format(stranger, 2, bytes(80))
    for fd, control_fd in ((empty, memory.control_fd), (short, memory.control_fd), (memory.fd, stranger)):
        for face in (SegmentReader, SegmentWriter):
            with pytest.raises(OSError, match="location segment") as caught:
                face(fd, control_fd)
            assert caught.value.errno == errno.EPROTO
    with pytest.raises(ValueError, match="at least"):
        location.segment_format(short, memory.control_fd)
    with pytest.raises(IndexError):
        SegmentReader(*memory, 64)
    for fd in (empty, short, stranger):
        os.close(fd)


def test_the_size_follows_what_the_process_may() -> None:
    assert location.segment_size() >= 64 * MIB
    program = (
        "import os, resource; from fastsip import _control, _location\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "fd, c = os.memfd_create('segment'), os.memfd_create('control')\n"
        "_control.control_format(c, 1, bytes(80)); _location.segment_format(fd, c)\n"
        "w = _location.SegmentWriter(fd, c); w.put(1, b'a', b'b'); print(os.fstat(fd).st_size, len(w))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(4 << 30), "1"]
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


# -------------------------------------------------------------------------------------------------------------- values

text = st.binary(max_size=80)
u16, u32, u64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
source = st.tuples(st.sampled_from([0, 4, 6]), st.binary(min_size=16, max_size=16), u16)
binding = st.tuples(text, text, text, text, u16, st.integers(0, 255), source, u32, u16, u64, u64, u32)


@given(u64, st.lists(binding, max_size=5))
def test_bindings_round_trip(version: int, bindings: list[BindingTuple]) -> None:
    value = location.encode_bindings(version, bindings)
    assert len(value) % 8 == 0
    assert location.decode_bindings(value) == (version, bindings)
    for cut in range(0, len(value), 5):
        with pytest.raises(ValueError, match="not a set"):
            location.decode_bindings(value[:cut])


GOOD: BindingTuple = (b"sip:a@192.0.2.1", b"id", b"", b"", 1000, 1, (4, bytes(16), 5060), 1, 0, 10**12, 10**12, 0)


@pytest.mark.parametrize(
    ("place", "wrong"),
    [(0, b"u" * 65536), (4, 65536), (5, 256), (6, (5, bytes(16), 0)), (6, (4, bytes(4), 0)), (7, -1), (9, 2**64)],
)
def test_a_field_that_does_not_fit_is_an_error(place: int, wrong: object) -> None:
    with pytest.raises(ValueError, match="binding: "):
        location.encode_bindings(1, [(*GOOD[:place], wrong, *GOOD[place + 1 :])])  # type: ignore[list-item]


def test_a_field_of_another_type_is_an_error() -> None:
    with pytest.raises(TypeError):
        location.encode_bindings(1, [("sip:a@192.0.2.1", *GOOD[1:])])  # type: ignore[list-item]


def test_users_round_trip() -> None:
    for user in ((b"", b"", 0), (b"0" * 32, b"", 1), (b"f" * 32, b"a" * 64, 255)):
        assert location.decode_user(location.encode_user(*user)) == user
    for wrong in ((b"0" * 31, b"", 0), (b"", b"0" * 65, 0), (b"", b"", 256)):
        with pytest.raises(ValueError, match="user: "):
            location.encode_user(*wrong)
    with pytest.raises(ValueError, match="not a user"):
        location.decode_user(b"")
