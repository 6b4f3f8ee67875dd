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
from fastsip.policy import ANY, BUSY, NO_ANSWER, TIMEOUT, UNAVAILABLE, Plan, Step, fork, hunt, target
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


FAILED = {UNAVAILABLE, TIMEOUT}
CAROL, DAVE, EVE = "sip:carol@two.example.net", "sip:dave@one.example.net", "sip:eve@192.0.2.9"

PLANS: dict[str, tuple[Plan, list[tuple[list[str | None], dict[int, int]]]]] = {
    # Of each step the hops of its targets, and which steps follow it.
    "addresses alone": (fork(EVE), [([None], {})]),
    "two servers": (fork(CAROL), [([AT_ONE], {UNAVAILABLE: 1, TIMEOUT: 1}), ([AT_TWO], {})]),
    "one server": (fork(DAVE), [([AT_ONE], {})]),
    "no server": (fork("sip:x@none.example.net"), [([None], {})]),
    "at the same time": (fork(CAROL, DAVE, EVE), [([AT_ONE, AT_ONE, None], {})]),
    "one after another": (
        hunt(CAROL, EVE, onward={BUSY, TIMEOUT}),
        [
            ([AT_ONE], {BUSY: 2, UNAVAILABLE: 1, TIMEOUT: 1}),
            ([AT_TWO], {BUSY: 2, TIMEOUT: 2}),
            ([None], {}),
        ],
    ),
    "to a step by number": (
        Plan((
            Step((target(CAROL),), onward={BUSY: 2, NO_ANSWER: 1}),
            Step((target(CAROL),)),
            Step((target(EVE),)),
        )),
        [
            ([AT_ONE], {BUSY: 4, NO_ANSWER: 2, UNAVAILABLE: 1, TIMEOUT: 1}),
            ([AT_TWO], {BUSY: 4, NO_ANSWER: 2}),
            ([AT_ONE], {UNAVAILABLE: 3, TIMEOUT: 3}),
            ([AT_TWO], {}),
            ([None], {}),
        ],
    ),
    "a hop that is a name": (
        fork(target(EVE, hop="sip:two.example.net;lr")),
        [([AT_ONE], {UNAVAILABLE: 1, TIMEOUT: 1}), ([AT_TWO], {})],
    ),
    "a Route that is a name": (fork(target(EVE, routes=("<sip:one.example.net;lr>",))), [([AT_ONE], {})]),
    "numbers stay for on_failure": (
        msgspec.structs.replace(hunt(CAROL, EVE), on_failure=True),
        [([AT_ONE], dict.fromkeys(ANY, 1)), ([None], {})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_servers_in_place_of_names(name: str) -> None:
    plan, steps = PLANS[name]
    made = spread_out(plan)
    assert [([one.hop for one in step.targets], dict(step.onward)) for step in made.steps] == steps
    assert [one.uri for one in made.steps[0].targets] == [one.uri for one in plan.steps[0].targets]


def test_what_else_a_step_says() -> None:
    plan = Plan((Step((target(CAROL, headers=(("X", "y"),)),), ring_time=9, notify=181), Step((target(DAVE),))))
    first, second, third = spread_out(plan).steps
    assert (first.ring_time, second.ring_time, third.ring_time) == (9, 9, None)
    assert (first.notify, second.notify) == (181, None), "the caller is told once"
    assert (first.targets[0].try_time, second.targets[0].try_time) == (4.0, None), "the last one has all the time"
    assert second.targets[0].headers == (("X", "y"),)


def test_a_plan_does_not_grow_beyond_its_bounds() -> None:
    made = spread_out(hunt(*[CAROL] * 64))
    assert len(made.steps) == 64 and all(one.targets[0].hop == AT_ONE for one in made.steps)
    assert len(spread_out(hunt(*[CAROL] * 60)).steps) == 64


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
        assert plan is not None and [step.targets[0].hop for step in plan.steps] == [AT_ONE, AT_TWO]
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
