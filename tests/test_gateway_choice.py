"""Which gateway a call tries: groups, weights, limits, health."""

from __future__ import annotations

from collections import Counter
from random import Random

from routes_kit import CLOCK, gateway, target_table

from fastsip._targets import DOWN_FIRST, TargetTable
from fastsip.routes.choice import Choice, Gateway


def made(*weights: int, limit: int = 0) -> tuple[Choice, TargetTable, list[Gateway]]:
    """A choice among gateways g0, g1 ... of these weights."""
    table = target_table()
    table.assign([(f"g{slot}", weight, limit) for slot, weight in enumerate(weights)])
    gateways = [Gateway.of(gateway(slot, f"g{slot}")) for slot in range(len(weights))]
    return Choice(table, Random(42), lambda: CLOCK), table, gateways


def slots(order: list[Gateway]) -> list[int]:
    return [one.slot for one in order]


def test_weights_share_calls_out() -> None:
    choice, _, (a, b, c) = made(10, 30, 60)
    orders = [slots(choice.order([[a, b, c]])) for _ in range(20_000)]
    first = Counter(order[0] for order in orders)
    assert abs(first[0] - 2000) < 200
    assert abs(first[1] - 6000) < 300
    assert abs(first[2] - 12_000) < 300
    second = Counter(order[1] for order in orders if order[0] == 2)
    assert abs(second[1] / second.total() - 0.75) < 0.02, "the rest by their weights again"
    assert all(sorted(order) == [0, 1, 2] for order in orders)


def test_weight_zero_comes_after_all_others_of_its_group() -> None:
    choice, _, (a, b, c, d) = made(0, 1, 0, 1)
    for _ in range(100):
        order = slots(choice.order([[a, b], [c, d]]))
        assert order == [1, 0, 3, 2]


def test_weights_are_those_in_the_table() -> None:
    choice, table, (a, b) = made(10, 10)
    table.assign([("g0", 0, 0), ("g1", 10, 0)])
    assert {choice.order([[a, b]])[0].slot for _ in range(50)} == {1}


def test_groups_in_order_each_gateway_once() -> None:
    choice, _, (a, b, c) = made(1, 1, 1)
    assert slots(choice.order([[c], [a], [c, b]])) == [2, 0, 1]


def test_what_is_down_full_or_waits_is_skipped() -> None:
    choice, table, (a, b, c, d) = made(1, 1, 1, 1, limit=2)
    for _ in range(3):
        table.timeout(0, CLOCK)
    table.begin(1, 0)
    table.begin(1, 1)
    table.unavailable(2, 30, CLOCK)
    assert slots(choice.order([[a, b], [c], [d]])) == [3]
    table.end(1, 0)
    assert slots(choice.order([[a, b], [c], [d]])) == [1, 3]


def test_when_all_are_down_the_one_that_is_soonest_over_is_tried() -> None:
    choice, table, (a, b, c) = made(1, 1, 1)
    for slot, late in ((0, 20), (1, 10), (2, 30)):
        for _ in range(3):
            table.timeout(slot, CLOCK + late)
    assert slots(choice.order([[a, b], [c]])) == [1]
    table.unavailable(1, 30, CLOCK)
    table.assign([("g0", 1, 1), ("g1", 1, 0), ("g2", 1, 0)])
    assert slots(choice.order([[a, b]])) == [0]


def test_retry_after_and_limits_have_no_exception() -> None:
    choice, table, (a, b) = made(1, 1, limit=1)
    table.unavailable(0, 30, CLOCK)
    table.unavailable(1, 12, CLOCK)
    assert choice.order([[a, b]]) == []
    assert choice.wait([[a], [b]]) == 12
    table.assign([("g0", 1, 1), ("g1", 1, 1)])
    other, full, (c,) = made(1, limit=1)
    full.begin(0, 0)
    assert other.order([[c]]) == []
    assert other.wait([[c]]) is None


def test_one_call_tries_a_gateway_whose_pause_is_over() -> None:
    choice, table, (a, b) = made(1000, 1)
    for _ in range(3):
        table.timeout(0, CLOCK - DOWN_FIRST)
    orders = [slots(choice.order([[a], [b]])) for _ in range(3)]
    assert orders == [[0, 1], [1], [1]]
    table.answered(0, CLOCK)
    assert slots(choice.order([[a], [b]])) == [0, 1]


def test_one_on_trial_behind_another_is_not_used_up() -> None:
    choice, table, (a, b) = made(1, 1)
    for _ in range(3):
        table.timeout(1, CLOCK - DOWN_FIRST)
    assert [slots(choice.order([[a], [b]])) for _ in range(3)] == [[0, 1]] * 3
