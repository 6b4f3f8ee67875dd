"""Open calls of gateways: facts in, counts in the target table out."""

from __future__ import annotations

import random
import time
from typing import Any

import msgpack
import pytest
from routes_kit import target_table

from fastsip._facts import Dialogs, apply
from fastsip._targets import TargetTable
from fastsip.state.opencalls import BATCHES, SILENCE, OpenCalls


def confirmed(number: int, slot: int | None = None) -> list[Any]:
    fact: list[Any] = [2, b"%d" % number, b"f", b"t", b"sip:a", b"sip:b", number]
    return fact if slot is None else [*fact, slot + 1]


def ended(number: int) -> list[Any]:
    return [3, b"%d" % number, b"t", b"f"]


def tell(dialogs: Dialogs, *facts: list[Any]) -> int:
    """How many were left out."""
    return apply(b"".join(map(msgpack.packb, facts)), len(facts), 0, dialogs)[1]


@pytest.fixture
def table() -> TargetTable:
    found = target_table()
    found.assign([("g0", 1, 0), ("g1", 1, 5)])
    return found


def test_facts_have_a_gateway_or_none() -> None:
    dialogs = Dialogs()
    assert tell(dialogs, confirmed(1), confirmed(2, 3), [*confirmed(3), 0], confirmed(4, 1023)) == 0
    assert sorted(dialogs.take_changes()) == [(3, 1, 1), (1023, 1, 1)]
    assert dialogs.take_changes() == []
    assert tell(dialogs, confirmed(5, 1024), [*confirmed(6), b"1"], [*confirmed(7, 1), 1]) == 3, "no slots, all of them"
    assert tell(dialogs, ended(1), ended(2), confirmed(4, 1023)) == 0
    assert sorted(dialogs.take_changes()) == [(3, 0, 0), (1023, 1, 1)], "one that is known was heard of once more"
    dialogs.expire(10_000 + 86_400_000, 100)
    assert sorted(dialogs.take_changes()) == [(1023, 0, 0)]


def test_counts_are_those_of_a_dictionary() -> None:
    chance, dialogs, model, counts = random.Random(5), Dialogs(limit=300), {}, {}
    for step in range(5000):
        number = chance.randrange(250)
        if chance.random() < 0.6:
            slot = chance.choice([None, 0, 1, 7])
            tell(dialogs, confirmed(number, slot))
            model.setdefault(number, slot)
        else:
            tell(dialogs, ended(number))
            model.pop(number, None)
        if step % 10 == 0:
            counts.update({slot: dialogs for slot, dialogs, _ in dialogs.take_changes()})
            assert counts.get(1, 0) == list(model.values()).count(1)
    counts.update({slot: dialogs for slot, dialogs, _ in dialogs.take_changes()})
    assert all(counts[slot] == list(model.values()).count(slot) for slot in (0, 1, 7))


def test_a_call_is_counted_from_ring_to_bye(table: TargetTable) -> None:
    dialogs = Dialogs()
    calls = OpenCalls(table, dialogs)
    assert all(table.admit(1, 0) for _ in range(5))
    for number in range(3):
        table.confirmed(1, 0)
        tell(dialogs, confirmed(number, 1))
    assert table.busy(1) == 5
    calls.publish(0)
    status = table.status(1)
    assert (status["ringing"], status["open"], status["busy"], table.on_the_way(1, 0)) == (2, 3, 5, 0)
    assert not table.admit(1, 1)
    tell(dialogs, ended(0))
    calls.publish(0)
    assert table.admit(1, 1)


def test_a_new_state_process_knows_what_it_is_told_of(table: TargetTable) -> None:
    table.set_open(1, 4)
    dialogs = Dialogs()
    calls = OpenCalls(table, dialogs)
    assert table.status(1)["open"] == 0
    table.begin(1, 0)
    table.confirmed(1, 0)
    tell(dialogs, confirmed(1, 1), ended(99))
    calls.publish(0)
    assert table.busy(1) == 1


def test_facts_that_were_lost_or_came_twice_are_settled(table: TargetTable) -> None:
    dialogs = Dialogs()
    calls = OpenCalls(table, dialogs)
    for _ in range(3):
        table.begin(1, 0)
        table.confirmed(1, 0)  # and the facts are lost
    table.heard(1, 1, 2)  # heard of by the one before, and again
    assert table.busy(1) == 1
    calls.settle(time.monotonic() + SILENCE - 1)
    assert table.on_the_way(1, 0) == 3, "they may still come"
    calls.settle(time.monotonic() + SILENCE + 1)
    assert (table.on_the_way(1, 0), table.on_the_way(1, 1)) == (0, 0)

    table.begin(1, 0)
    table.confirmed(1, 0)  # lost; and then the gateway is busy for a while
    for number in range(BATCHES):
        for worker in (0, 0):
            table.begin(1, worker)
            table.confirmed(1, worker)
        tell(dialogs, confirmed(2 * number, 1))
        calls.publish(0)
        tell(dialogs, confirmed(2 * number + 1, 1))
        calls.publish(0)
    assert table.on_the_way(1, 0) == 0
    assert table.status(1)["open"] == 2 * BATCHES
