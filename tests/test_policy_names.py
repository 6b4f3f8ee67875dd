"""Targets of plans that are names: what becomes of them before the hot thread sees the plan (RFC 3263)."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from policy_engine import FakeEngine, terms

from fastsip._plan import encode_plan
from fastsip.dns.errors import NoServer
from fastsip.dns.hop import Hop
from fastsip.dns.order import Server
from fastsip.policy import BUSY, NO_ANSWER, TIMEOUT, Plan, Step, Target, fork, hunt, target
from fastsip.policy.addresses import hops, spread
from fastsip.policy.threads import Policy

ONE = Server("udp", "192.0.2.1", 5060, "a.example.net", False)
TWO = Server("tcp", "2001:db8::2", 5070, "b.example.net", True)
AT_ONE, AT_TWO = "sip:192.0.2.1:5060;transport=udp", "sip:[2001:db8::2]:5070;transport=tcp"


class Where(NamedTuple):
    servers: tuple[Server, ...]


KNOWN = {"two.example.net": Where((ONE, TWO)), "one.example.net": Where((ONE,)), "none.example.net": NoServer("none")}


def spread_out(plan: Plan) -> Plan:
    named = hops(plan, frozenset({"udp", "tcp"}))
    made = spread(plan, named, {one.hop: KNOWN[one.hop.host] for one in named.values() if one.hop}, 4.0)
    encode_plan(made)
    return made


CAROL, DAVE, EVE = "sip:carol@two.example.net", "sip:dave@one.example.net", "sip:eve@192.0.2.9"
TWICE = [AT_ONE, AT_TWO]

PLANS: dict[str, tuple[Plan, list[list[list[str] | None]]]] = {
    # Of each step the hops of its targets, one after another.
    "addresses alone": (fork(EVE), [[None]]),
    "two servers": (fork(CAROL), [[TWICE]]),
    "one server": (fork(DAVE), [[[AT_ONE]]]),
    "no server": (fork("sip:x@none.example.net"), [[None]]),
    "at the same time": (fork(CAROL, DAVE, EVE), [[TWICE, [AT_ONE], None]]),
    "one after another": (hunt(CAROL, EVE, onward={BUSY, TIMEOUT}), [[TWICE], [None]]),
    "to a step by number": (
        Plan((
            Step((target(CAROL),), onward={BUSY: 2, NO_ANSWER: 1}),
            Step((target(CAROL),)),
            Step((target(EVE),)),
        )),
        [[TWICE], [TWICE], [None]],
    ),
    "a hop that is a name": (fork(target(EVE, hop="sip:two.example.net;lr")), [[TWICE]]),
    "a Route that is a name": (fork(target(EVE, routes=("<sip:one.example.net;lr>",))), [[[AT_ONE]]]),
    "several in one Route": (
        fork(target(EVE, routes=("<sip:two.example.net;lr>, <sip:one.example.net;lr>",))),
        [[TWICE]],
    ),
    "for on_failure": (msgspec.structs.replace(hunt(CAROL, EVE), on_failure=True), [[TWICE], [None]]),
    "spares of the plan's own": (fork(target(EVE, spares=("sip:192.0.2.8",))), [[["sip:192.0.2.8"]]]),
    "spares that are names": (
        fork(target(EVE, hop="sip:192.0.2.8", spares=("sip:two.example.net", "sip:none.example.net"))),
        [[["sip:192.0.2.8", *TWICE, "sip:none.example.net"]]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_servers_in_place_of_names(name: str) -> None:
    plan, steps = PLANS[name]
    made = spread_out(plan)

    def hops_of(one: Target) -> list[str] | None:
        return [*([one.hop] if one.hop else []), *one.spares] or None

    assert [[hops_of(one) for one in step.targets] for step in made.steps] == steps
    assert [one.uri for step in made.steps for one in step.targets] == [
        one.uri for step in plan.steps for one in step.targets
    ]
    assert [step.onward for step in made.steps] == [step.onward for step in plan.steps]


def test_what_else_a_target_says() -> None:
    header = (("X", "y"),)
    targets = target(CAROL, headers=header), target(CAROL, try_time=2), target(CAROL, patience=3), target(DAVE)
    (step,) = spread_out(Plan((Step(targets),))).steps
    assert [(one.try_time, one.patience) for one in step.targets] == [(None, 4.0), (2, None), (None, 3), (None, None)]
    assert step.targets[0].headers == header


def test_a_plan_does_not_grow_beyond_its_bounds() -> None:
    made = spread_out(Plan(tuple(Step((target(CAROL),) * 2) for _ in range(64))))
    assert all(one.hop == AT_ONE and not one.spares for step in made.steps for one in step.targets)
    made = spread_out(Plan(tuple(Step((target(CAROL),) * 2) for _ in range(63))))
    assert [len(one.spares) for step in made.steps for one in step.targets] == [1, 1] + [0] * 124


class Names:
    """A locator that takes its time."""

    transports = frozenset({"udp", "tcp"})
    try_time = 4.0

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.known = False

    def cached(self, hop: Hop) -> Where | None:
        found = KNOWN[hop.host]
        if self.known and isinstance(found, NoServer):
            raise found
        return found if self.known else None

    async def locate(self, hop: Hop) -> Where:
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        found = KNOWN[hop.host]
        if isinstance(found, NoServer):
            raise found
        return found


@contextmanager
def asked(folder: Path, code: str, names: Names, timeout: float = 5) -> Iterator[FakeEngine]:
    (folder / "my_names.py").write_text(code)
    engine = FakeEngine()
    made = Policy(engine, terms("my_names", folder, timeout, locator=names))
    made.start()
    try:
        yield engine
    finally:
        made.stop()
        os.close(engine.policy_fd)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_who_waits_for_a_name_holds_up_nobody(tmp_path: Path, kind: str) -> None:
    code = f"""from fastsip.policy import fork
{kind} route(request):
    return fork(f"sip:x@{{request.user}}.example.net" if request.user != "eve" else "{EVE}")
"""
    names = Names()
    with asked(tmp_path, code, names) as engine:
        waiting = engine.route("two"), engine.route("none")
        (plan,) = engine.wait(engine.route("eve"))
        assert plan is not None and not set(waiting) & set(engine.answers)
        engine.cancel(waiting[1])
        names.gate.set()
        (plan,) = engine.wait(waiting[0])
        assert plan is not None and plan.steps[0].targets[0].spares == (AT_TWO,)
        names.known = True
        (plan,) = engine.wait(engine.route("one"))
        assert plan is not None and [step.targets[0].hop for step in plan.steps] == [AT_ONE]
        (plan,) = engine.wait(engine.route("none"))
        assert plan is not None and [step.targets[0].hop for step in plan.steps] == [None]
        assert waiting[1] not in engine.answers


def test_the_deadline_stays(tmp_path: Path) -> None:
    code = 'from fastsip.policy import fork\nroute = lambda request: fork("sip:x@two.example.net")\n'
    names = Names()
    with asked(tmp_path, code, names, timeout=0.2) as engine:
        late = engine.route("bob")
        time.sleep(0.5)
        names.gate.set()
        time.sleep(0.2)
        assert late not in engine.answers, "the hot thread has answered it"
