"""What a policy thread does with questions: a plan, nothing, a mistake, a wait, a cancel."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from policy_engine import FakeEngine, policy

from fastsip.policy import Plan, Request, fork, reject
from fastsip.policy.desk import Deciders
from fastsip.policy.loop import NAP

HEAD = "import asyncio, time\nfrom fastsip.policy import *\n"


def test_plans_of_plain_functions_come_at_once(tmp_path: Path) -> None:
    code = f"{HEAD}def route(request):\n    return fork(f'sip:{{request.user}}@192.0.2.9')\n"
    with policy(tmp_path, code) as (engine, _):
        first = engine.route("bob")
        second = engine.route("carol")
        assert engine.wait(first, second) == [fork("sip:bob@192.0.2.9"), fork("sip:carol@192.0.2.9")]


def test_none_is_the_default(tmp_path: Path) -> None:
    with policy(tmp_path, "def route(request):\n    return None\n") as (engine, _):
        assert engine.wait(engine.route()) == [None]


def test_nobody_is_a_480(tmp_path: Path) -> None:
    """`lookup` finds nobody, `next_gateway` none that may be called."""
    plans = "[fork(), fork(None, *()), hunt(None), fork(None, 'sip:a@192.0.2.9')]"
    code = f"{HEAD}def route(request):\n    return {plans}[int(request.user)]\n"
    with policy(tmp_path, code) as (engine, _):
        tokens = [engine.route(str(number)) for number in range(4)]
        assert engine.wait(*tokens) == [reject(480)] * 3 + [fork("sip:a@192.0.2.9")]


def test_coroutines_wait_beside_each_other(tmp_path: Path) -> None:
    code = f"{HEAD}async def route(request):\n    await asyncio.sleep(0.2)\n    return reject(486)\n"
    with policy(tmp_path, code) as (engine, _):
        engine.wait(engine.route())  # loaded
        begun = time.monotonic()
        assert engine.wait(*[engine.route() for _ in range(50)]) == [reject(486)] * 50
        assert time.monotonic() - begun < 0.5


def test_coroutine_that_awaits_nothing(tmp_path: Path) -> None:
    with policy(tmp_path, f"{HEAD}async def route(request):\n    return reject(603)\n") as (engine, _):
        assert engine.wait(engine.route()) == [reject(603)]


def test_exception_is_500_at_once_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = f"{HEAD}def route(request):\n    if request.user == 'bad':\n        1 / 0\n    return reject(404)\n"
    with policy(tmp_path, code) as (engine, _), caplog.at_level(logging.WARNING):
        bad = [engine.route("bad") for _ in range(20)]
        good = engine.route("good")
        plans = engine.wait(*bad, good)
    assert all(plan is not None and plan.answer is not None and plan.answer.status == 500 for plan in plans[:-1])
    assert plans[-1] == reject(404)
    records = [record for record in caplog.records if record.exc_info]
    assert len(records) == 1
    assert "ZeroDivisionError" in caplog.text and f"{tmp_path}/" in caplog.text and "line 5" in caplog.text
    assert "policy/desk.py" not in caplog.text, "the traceback begins in the user's code"


def test_exit_and_exception_in_coroutines(tmp_path: Path) -> None:
    code = f"""{HEAD}
async def route(request):
    await asyncio.sleep(0)
    if request.user == "exit":
        raise SystemExit(3)
    if request.user == "cancelled":
        raise asyncio.CancelledError
    if request.user == "bad":
        raise RuntimeError
    return reject(404)
"""
    with policy(tmp_path, code) as (engine, _):
        for _ in range(2):
            plans = engine.wait(*[engine.route(user) for user in ("exit", "cancelled", "bad", "good")])
            assert [plan.answer.status for plan in plans if plan and plan.answer] == [500, 500, 500, 404]


def test_a_target_that_cannot_be_reached_is_told_once_for_each_host(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = f"""{HEAD}
HOPS = {{
    "name": target("sip:gw.example.org"),
    "hop": target("sip:bob@192.0.2.7", hop="sip:edge.example.org;lr"),
    "route": target("sip:bob@192.0.2.7", routes=("<sip:other.example.org;lr>",)),
    "tel": target("tel:+19725551212"),
    "tcp": target("sip:192.0.2.8;transport=TCP"),
    "good": target("sip:bob@[2001:db8::7]:5070;ob"),
    "routed": target("sip:bob@example.org", routes=("<sip:192.0.2.7;lr>",)),
    "maddr": target("sip:bob@example.org;maddr=192.0.2.7;transport=udp"),
    "flow": target("sip:bob@a1.invalid;transport=ws", hop="flow:0000000100413c47f000001"),
}}
def route(request):
    return fork(HOPS[request.user])
"""
    users = ["name", "name", "hop", "route", "tel", "tcp", "good", "routed", "maddr", "flow"]
    with policy(tmp_path, code) as (engine, made), caplog.at_level(logging.WARNING):
        assert None not in engine.wait(*[engine.route(user) for user in users])
        name = made.active and made.active.desk.module and made.active.desk.module.name
    told = [record.message for record in caplog.records]
    assert [text.partition(" cannot be reached: ")[0] for text in told] == [
        f"a plan of {name}: {what}"
        for what in (
            "sip:gw.example.org",
            "hop 'sip:edge.example.org;lr' of sip:bob@192.0.2.7",
            "routes 'sip:other.example.org;lr' of sip:bob@192.0.2.7",
            "tel:+19725551212",
            "sip:192.0.2.8;transport=TCP",
        )
    ]
    assert told[0].endswith(" cannot be reached: names are not looked up here")


GOOD = "sip:bob@192.0.2.7"
NO_URI = "it cannot be parsed as a URI"
NO_SERVER = "it says of no server: a sip URI is needed"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"hop": "127.0.0.9"}, f"hop '127.0.0.9' of {GOOD} cannot be reached: {NO_URI}"),
        ({"hop": "tel:+1972"}, f"hop 'tel:+1972' of {GOOD} cannot be reached: {NO_SERVER}"),
        ({"routes": ("junk",)}, f"routes 'junk' of {GOOD} cannot be reached: {NO_URI}"),
        ({"routes": ("<sip:a@b:0;lr>",)}, f"routes 'sip:a@b:0;lr' of {GOOD} cannot be reached: {NO_URI}"),
        ({"spares": ("junk",)}, f"spares 'junk' of {GOOD} cannot be reached: {NO_URI}"),
        ({"hop": GOOD, "spares": ("sip:a;transport=tcp", "x")}, f"spares 'x' of {GOOD} cannot be reached: {NO_URI}"),
        ({"uri": "sip:bob@192.0.2.7:99999"}, f"sip:bob@192.0.2.7:99999 cannot be reached: {NO_URI}"),
        ({"uri": "junk", "spares": ("junk",)}, f"junk cannot be reached: {NO_URI}"),
        ({"uri": "junk", "hop": GOOD, "spares": ("junk",)}, f"spares 'junk' of junk cannot be reached: {NO_URI}"),
    ],
)
def test_what_cannot_be_reached_is_named_with_its_field(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: dict[str, object], told: str
) -> None:
    target = {"uri": GOOD, **fields}
    code = f"{HEAD}def route(request):\n    return fork('sip:alice@192.0.2.8', Target(**{target!r}))\n"
    with policy(tmp_path, code) as (engine, made), caplog.at_level(logging.WARNING):
        assert None not in engine.wait(engine.route())
        name = made.active and made.active.desk.module and made.active.desk.module.name
    assert f"a plan of {name}: {told}" in [record.message for record in caplog.records]


def test_a_slot_that_is_no_gateways_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = f"""{HEAD}
def route(request):
    return fork(Target("sip:1@192.0.2.7", gateway=4), Target("sip:2@192.0.2.7", gateway=int(request.user)))
"""
    deciders = Deciders(gateways=frozenset({0, 4}))
    with policy(tmp_path, code, deciders=deciders) as (engine, made), caplog.at_level(logging.WARNING):
        plans = engine.wait(*[engine.route(user) for user in ("0", "7", "7", "4")])
        name = made.active and made.active.desk.module and made.active.desk.module.name
    assert all(plan is not None and plan.steps for plan in plans), "it is followed"
    (told,) = [record.message for record in caplog.records]
    assert told == f"a plan of {name}: gateway = 7 of sip:2@192.0.2.7 is no gateway's slot"


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        ("Plan(steps=5)", "plan.steps = 5: expected a tuple of Steps"),
        ("Plan((Step('sip:b@c'),))", "plan.steps[0]: targets = 'sip:b@c': expected a tuple of Targets"),
        ("Plan((step('sip:bob@192.0.2.1', onward={'busy'}),))", "plan.steps[0]: onward: 'busy' is no Outcome"),
    ],
)
def test_a_plan_that_cannot_be_sent_is_500_and_its_field_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, plan: str, named: str
) -> None:
    with policy(tmp_path, f"from fastsip.policy import *\ndef route(request):\n    return {plan}\n") as (engine, _):
        (found,) = engine.wait(engine.route())
    assert found is not None and found.answer is not None and found.answer.status == 500
    assert named in caplog.text


@pytest.mark.parametrize("what", ["def", "async def"])
def test_what_is_no_plan_is_500_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str) -> None:
    with policy(tmp_path, f"{what} route(request):\n    return 'sip:bob@192.0.2.1'\n") as (engine, _):
        (plan,) = engine.wait(engine.route())
    assert plan is not None and plan.answer is not None and plan.answer.status == 500
    assert "expected a Plan or None, found str" in caplog.text


def test_cancelled_question_cancels_the_coroutine(tmp_path: Path) -> None:
    code = f"""{HEAD}
from pathlib import Path
async def route(request):
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        Path(__file__).with_suffix(".cancelled").touch()
        raise
    return reject(404)
"""
    with policy(tmp_path, code) as (engine, made):
        token = engine.route()
        until = time.monotonic() + 2
        while not (made.active and made.active.desk.pending):
            assert time.monotonic() < until
            time.sleep(0.01)
        engine.cancel(token)
        while not list(tmp_path.glob("*.cancelled")):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert made.active and not made.active.desk.pending
        assert token not in engine.answers


def test_coroutine_that_will_not_be_cancelled_is_not_answered(tmp_path: Path) -> None:
    code = f"""{HEAD}
async def route(request):
    if request.user == "stubborn":
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            pass
    return reject(404)
"""
    with policy(tmp_path, code) as (engine, _):
        engine.wait(engine.route("good"))
        token = engine.route("stubborn")
        time.sleep(0.05)
        engine.cancel(token)
        engine.wait(engine.route("good"))
        assert token not in engine.answers


def test_task_past_the_deadline_is_cancelled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = f"{HEAD}async def route(request):\n    await asyncio.sleep(60)\n"
    with policy(tmp_path, code, timeout=0.1) as (engine, made):
        engine.route()
        time.sleep(0.4)
        assert made.active and not made.active.desk.pending
        assert not engine.answers, "the hot thread has said 500"
    assert "no plan within 0.1 s" in caplog.text


def test_methods_that_are_not_wanted_are_not_asked(tmp_path: Path) -> None:
    with policy(tmp_path, f"{HEAD}METHODS = ['MESSAGE']\ndef route(request):\n    return reject(405)\n") as (engine, _):
        assert engine.wait(engine.route(method="MESSAGE"), engine.route()) == [reject(405), None]


def test_on_failure_may_have_another_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = f"""{HEAD}
def route(request):
    return None
async def on_failure(request, responses):
    if responses[0].status == 503:
        await asyncio.sleep(0.01)
        return fork("sip:other@192.0.2.1")
    if responses[0].status == 500:
        raise ValueError("no idea")
"""
    with policy(tmp_path, code) as (engine, _):
        tokens = [engine.failed(status, 486) for status in (503, 404, 500)]
        assert engine.wait(*tokens) == [fork("sip:other@192.0.2.1"), None, None]
    assert "no idea" in caplog.text


def test_on_response_looks_and_may_fail(tmp_path: Path) -> None:
    code = f"""{HEAD}
seen = []
def route(request):
    return reject(seen[-1])
def on_response(response):
    assert response.message.status == response.status
    seen.append(response.status)
    1 / 0
"""
    with policy(tmp_path, code) as (engine, _):
        engine.responded(180)
        engine.responded(487)
        assert engine.wait(engine.route()) == [reject(487)]


class Fixed:
    def __init__(self, plan: Plan | None) -> None:
        self.plan = plan
        self.seen: list[str] = []

    def route(self, request: Request) -> Plan | None:
        self.seen.append(request.method)
        return self.plan


class Expanding:
    def expand(self, plan: Plan, request: Request) -> Plan:
        return fork("sip:expanded@192.0.2.1")


@pytest.mark.parametrize("what", ["def", "async def"])
def test_module_then_deciders_then_expansion(tmp_path: Path, what: str) -> None:
    code = f"""{HEAD}
{what} route(request):
    if request.user == "mine":
        return reject(480)
    if request.user == "own":
        return fork("sip:bob@example.com")
"""
    first, second = Fixed(None), Fixed(reject(603))
    with policy(tmp_path, code, deciders=Deciders((first, second), Expanding())) as (engine, _):
        tokens = [engine.route(user) for user in ("mine", "own", "other")]
        assert engine.wait(*tokens) == [reject(480), fork("sip:expanded@192.0.2.1"), reject(603)]
    assert (len(first.seen), len(second.seen)) == (1, 1)


def test_no_module_at_all(tmp_path: Path) -> None:
    from policy_engine import terms

    from fastsip.policy.threads import Policy

    engine = FakeEngine()
    made = Policy(engine, terms(None, tmp_path, deciders=lambda: Deciders((Fixed(reject(604)),))))
    made.start()
    assert engine.wait(engine.route()) == [reject(604)]
    assert engine.wait(engine.failed(486)) == [None]
    made.stop()


def test_few_wake_ups_under_load_and_none_when_idle(tmp_path: Path) -> None:
    with policy(tmp_path, f"{HEAD}def route(request):\n    return reject(404)\n") as (engine, _):
        engine.wait(engine.route())
        tokens, gaps, last = [], 0, time.monotonic()
        for _ in range(400):
            tokens.append(engine.route())
            time.sleep(0.0001)
            now = time.monotonic()
            gaps += now - last > NAP  # a busy machine is slow to ask
            last = now
        engine.wait(*tokens)
        assert engine.wakes < 20 + gaps, (engine.wakes, gaps)
        time.sleep(0.05)
        looks = engine.looks
        time.sleep(0.2)
        assert engine.looks == looks
