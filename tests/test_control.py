"""The shared block: what the master writes, what everybody reads."""

import errno
import os
from collections.abc import Iterator

import pytest

from fastsip import _control as control

KEYS = bytes(range(80))


@pytest.fixture
def block() -> Iterator[int]:
    fd = os.memfd_create("control")
    control.control_format(fd, 3, KEYS, 1_700_000_000_000)
    yield fd
    os.close(fd)


def test_a_fresh_block(block: int) -> None:
    view = control.ControlView(block)
    assert (view.workers, view.started, view.keys) == (3, 1_700_000_000_000, KEYS)
    assert (view.durable, view.draining, view.location_epoch) == (True, False, 1)
    assert view.services == 0
    assert view.buckets() == bytes(b % 3 for b in range(control.BUCKETS))
    for worker in range(control.MAX_WORKERS):
        assert view.epoch(worker) is None
        assert view.in_hand(worker) is None
        assert view.heartbeat(worker) == view.incarnation(worker) == 0
        assert set(view.counters(worker).values()) == {0}
    assert tuple(view.counters(0)) == control.COUNTERS
    assert control.COUNTERS[0] == "datagrams_in"
    assert len(control.COUNTERS) == len(set(control.COUNTERS))


def test_two_mappings_see_each_other(block: int) -> None:
    master, other = control.ControlView(block), control.ControlView(block)
    master.draining, master.durable = True, False
    master.services = 3
    master.set_incarnation(2, 7)
    master.beat(2)
    assert (other.draining, other.durable, other.incarnation(2)) == (True, False, 7)
    assert other.services == 3
    assert other.heartbeat(2) == master.heartbeat(2) > 0
    other.clear_worker(2)
    assert other.incarnation(2) == 7
    assert not other.sleeping(2)


def test_buckets_move_whole(block: int) -> None:
    view = control.ControlView(block)
    owner = view.owner_of(b"a84b4c76e66710@pc33.atlanta.example.com")
    assert owner == view.owner_of(b"a84b4c76e66710@pc33.atlanta.example.com")
    neighbour = (owner + 1) % 3
    assert view.move_buckets(owner, neighbour) in (341, 342)
    assert view.move_buckets(owner, neighbour) == 0
    assert view.owner_of(b"a84b4c76e66710@pc33.atlanta.example.com") == neighbour
    view.set_buckets(bytes(control.BUCKETS))
    assert {view.owner_of(str(i).encode()) for i in range(100)} == {0}
    with pytest.raises(ValueError, match="below 3"):
        view.set_buckets(bytes([3]) * control.BUCKETS)
    with pytest.raises(IndexError):
        view.move_buckets(0, 3)


def test_call_ids_spread_evenly(block: int) -> None:
    view = control.ControlView(block)
    share = [0, 0, 0]
    for i in range(3000):
        share[view.owner_of(b"%d@192.0.2.1" % i)] += 1
    assert min(share) > 850


def test_what_is_refused(block: int) -> None:
    with pytest.raises(ValueError, match="80 bytes"):
        control.control_format(block, 3, KEYS[:-1])
    for workers in (0, 65):
        with pytest.raises(ValueError, match="1 to 64"):
            control.control_format(block, workers, KEYS)
    view = control.ControlView(block)
    for worker in (-1, 64):
        with pytest.raises(IndexError):
            view.heartbeat(worker)
    for services in (-1, 1 << 32):
        with pytest.raises(ValueError, match="a number of records"):
            view.services = services
    view.close()
    view.close()
    with pytest.raises(ValueError, match="closed"):
        _ = view.workers
    empty = os.memfd_create("empty")
    for size in (0, control.control_size()):
        os.ftruncate(empty, size)
        with pytest.raises(OSError) as caught:
            control.ControlView(empty)
        assert caught.value.errno == errno.EPROTO
    os.close(empty)
