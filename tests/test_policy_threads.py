"""Policies that block, that change, and that cannot be loaded: nobody else's request is the worse for it."""

from __future__ import annotations

import gc
import logging
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from policy_engine import FakeEngine, policy, terms

from fastsip.policy import Plan, Request, Target, fork, reject
from fastsip.policy.complaints import TEXTS_AT_MOST
from fastsip.policy.desk import Deciders
from fastsip.policy.here import Surroundings
from fastsip.policy.threads import LEFT_BEHIND_AT_MOST, Policy

HEAD = "import asyncio, time\nfrom fastsip.policy import *\n"
BLOCKING = f"""{HEAD}
def route(request):
    if request.user.startswith("block"):
        time.sleep(float(request.user[5:]))
        return reject(486)
    return reject(404)
"""
SLOW = """
async def route(request):
    if request.user.startswith("block"):
        await asyncio.sleep(0)
        time.sleep(float(request.user[5:]))
        return reject(486)
    if request.user.startswith("slow"):
        await asyncio.sleep(float(request.user[4:]))
        return reject(480)
    return reject(404)
"""
HELD_UP = 1.0
"""Seconds others may wait for a successor: the limit, the watch, loading the module, and a busy machine."""


def test_sleep_in_a_plain_function_holds_nobody_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with policy(tmp_path, BLOCKING) as (engine, _):
        engine.wait(engine.route())
        blocked = engine.route("block60")
        begun = time.monotonic()
        assert engine.wait(*[engine.route() for _ in range(100)]) == [reject(404)] * 100
        assert time.monotonic() - begun < HELD_UP
        assert engine.wait(engine.route()) == [reject(404)]
        assert blocked not in engine.answers
    assert re.search(rf"route in {tmp_path}/\S+\.py:6 has not come back for 100 ms: 1 of at most 8", caplog.text)


def test_late_answer_of_a_blocked_thread_and_its_end(tmp_path: Path) -> None:
    with policy(tmp_path, BLOCKING) as (engine, made):
        engine.wait(engine.route())
        token = engine.route("block0.5")
        engine.wait(engine.route())
        assert engine.wait(token) == [reject(486)]
        until = time.monotonic() + 2
        while len(made._threads) > 1:
            assert time.monotonic() < until, "the thread that was left behind does not end"
            time.sleep(0.02)


def test_sleep_in_a_coroutine_holds_no_other_task_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with policy(tmp_path, HEAD + SLOW) as (engine, _):
        engine.wait(engine.route())
        slow = [engine.route("slow0.2") for _ in range(10)]
        time.sleep(0.05)
        begun = time.monotonic()
        blocked = engine.route("block60")
        assert engine.wait(*slow) == [reject(480)] * 10, "they are asked again"
        assert time.monotonic() - begun < HELD_UP + 0.2
        assert blocked not in engine.answers
    assert "route in " in caplog.text and ".py:7 has not come back" in caplog.text


def test_many_blocks_are_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with policy(tmp_path, BLOCKING) as (engine, made):
        engine.wait(engine.route())
        for _ in range(LEFT_BEHIND_AT_MOST):
            engine.route("block3")
        assert engine.wait(engine.route(), timeout=8) == [reject(404)]
        last = engine.route("block0.8")
        waiting = engine.route()
        time.sleep(0.5)
        assert waiting not in engine.answers
        assert len(made._threads) == LEFT_BEHIND_AT_MOST + 1
        assert engine.wait(last, waiting) == [reject(486), reject(404)]
    assert "requests that ask it get 500" in caplog.text


def test_busy_thread_is_not_blocked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = f"{HEAD}def route(request):\n    time.sleep(0.02)\n    return reject(404)\n"
    with policy(tmp_path, code) as (engine, _):
        engine.wait(*[engine.route() for _ in range(30)])
    assert "has not come back" not in caplog.text


def follow(made: Policy, name: str, folder: Path, **more: Any) -> str | None:
    said: list[str | None] = []
    done = threading.Event()
    made.reload(terms(name, folder, **more), lambda problem: (said.append(problem), done.set()))  # type: ignore[func-returns-value]
    assert done.wait(5)
    return said[0]


def test_reload_decides_anew_and_finishes_what_it_began(tmp_path: Path) -> None:
    code = f"{HEAD}import beside\nasync def route(r):\n    await asyncio.sleep(0.3)\n    return reject(beside.STATUS)\n"
    (tmp_path / "beside.py").write_text("STATUS = 480\n")
    with policy(tmp_path, code) as (engine, made):
        name = made._terms.module
        assert name
        old = engine.route()
        time.sleep(0.1)
        (tmp_path / "beside.py").write_text("STATUS = 4801 - 4200\n")
        assert follow(made, name, tmp_path) is None
        new = engine.route()
        assert engine.wait(old, new) == [reject(480), reject(601)]


def test_who_blocks_what_a_reload_has_left_behind_holds_nobody_up(tmp_path: Path) -> None:
    """It is found as the active thread's is; what waits beside it is asked again, by the new module."""
    code = HEAD + """
async def route(request):
    if request.user == "block":
        await asyncio.sleep(0.05)
        time.sleep(20)
    await asyncio.sleep(0.4)
    return reject(480)
"""
    with policy(tmp_path, code) as (engine, made):
        name = made._terms.module
        assert name
        engine.wait(engine.route())
        waiting = [engine.route() for _ in range(5)]
        engine.route("block")  # sleeps when the other thread has begun
        time.sleep(0.02)
        assert follow(made, name, tmp_path) is None
        assert engine.wait(*waiting, timeout=3) == [reject(480)] * 5


def test_coroutines_that_never_begin_are_closed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    code = f"""{HEAD}
async def later(status):
    return reject(status)
def route(request):
    if request.user == "block":
        time.sleep(0.5)
    return later(404)
"""
    with policy(tmp_path, code) as (engine, _):
        engine.wait(engine.route())
        engine.route("block")
        for token in [engine.route() for _ in range(20)]:
            engine.cancel(token)  # before its task had its first turn
        engine.wait(engine.route())
        engine.route("block")
        time.sleep(0.05)
    time.sleep(0.6)
    gc.collect()
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


def test_cancel_reaches_what_an_old_module_still_does(tmp_path: Path) -> None:
    with policy(tmp_path, HEAD + SLOW) as (engine, made):
        name = made._terms.module
        assert name
        engine.wait(engine.route())
        token = engine.route("slow0.4")
        time.sleep(0.1)
        old = made.active
        assert old and follow(made, name, tmp_path) is None
        engine.cancel(token)
        until = time.monotonic() + 0.25
        while token in old.desk.pending:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_reload_that_fails_keeps_the_old_module(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with policy(tmp_path, f"{HEAD}def route(request):\n    return reject(404)\n") as (engine, made):
        name = made._terms.module
        assert name
        engine.wait(engine.route())
        path = tmp_path / f"{name}.py"
        good = path.read_text()
        for bad, why in (
            ("def route(request):\n    retrun 1\n", f"{path}:2: SyntaxError: invalid syntax"),
            ("import nowhere_to_be_found\n", f"{path}:1: ModuleNotFoundError: No module named"),
            ("def route():\n    pass\n", f"{path}:1: route(): expected route(request)"),
            ("raise SystemExit(1)\n", f"{path}:1: SystemExit: 1"),
        ):
            path.write_text(bad)
            problem = follow(made, name, tmp_path)
            assert problem is not None and why in problem
            assert engine.wait(engine.route()) == [reject(404)]
        path.write_text(good.replace("404", "410"))
        assert follow(made, name, tmp_path) is None
        assert engine.wait(engine.route()) == [reject(410)]


def test_reload_whose_setup_fails_keeps_the_old_module_and_follows_all_else(tmp_path: Path) -> None:
    """Users and trust are new at once, so dial plan, services and gateways are too."""
    code = f"""{HEAD}
async def route(request):
    if request.user == "bob":
        return None
    if request.user == "slow":
        await asyncio.sleep(0.3)
    return fork(next_gateway())
"""

    class Fixed:
        def __init__(self, status: int) -> None:
            self.status = status

        def route(self, request: Request) -> Plan:
            return reject(self.status)

    def by(status: int) -> Callable[[], Deciders]:
        gateway = Surroundings(choose=lambda *_: Target(f"sip:192.0.2.{status - 400}"))
        return lambda: Deciders((Fixed(status),), surroundings=gateway)

    with policy(tmp_path, code) as (engine, made):
        name = made._terms.module
        assert name
        assert follow(made, name, tmp_path, deciders=by(404)) is None
        assert engine.wait(engine.route(), engine.route("gw")) == [reject(404), fork("sip:192.0.2.4")]
        slow = engine.route("slow")
        bad = tmp_path / "bad_one.py"
        bad.write_text("def route(request): return None\ndef setup(): raise OSError('no database')\n")
        for status in (410, 413):
            problem = follow(made, "bad_one", tmp_path, deciders=by(status), timeout=status)
            assert problem is not None and "no database" in problem
            assert engine.wait(engine.route()) == [reject(status)]
            assert engine.wait(engine.route("gw")) == [fork(f"sip:192.0.2.{status - 400}")]
        assert made._terms.module == name and made._terms.timeout == 413
        assert engine.wait(slow) == [fork("sip:192.0.2.13")]
        bad.write_text("from fastsip.policy import reject\ndef route(request): return reject(486)\n")
        assert follow(made, "bad_one", tmp_path, deciders=by(410)) is None
        assert engine.wait(engine.route()) == [reject(486)]


def test_setup_and_teardown(tmp_path: Path) -> None:
    code = f"""{HEAD}
from pathlib import Path
from typing import Any
log = Path(__file__).with_suffix(".log").open("a", buffering=1)
async def background():
    await asyncio.sleep(60)
async def setup():
    await asyncio.sleep(0.01)
    asyncio.create_task(background())
    log.write("setup\\n")
def route(request):
    log.write("route\\n")
    return reject(404)
async def teardown():
    log.write("teardown\\n")
"""
    with policy(tmp_path, code) as (engine, made):
        name = made._terms.module
        assert name
        engine.wait(engine.route())
        assert follow(made, name, tmp_path) is None
        engine.wait(engine.route())
        time.sleep(0.1)
    words = (tmp_path / f"{name}.log").read_text().split()
    assert sorted(words) == ["route", "route", "setup", "setup", "teardown", "teardown"]


def test_module_that_is_broken_when_a_worker_starts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with policy(tmp_path, f"{HEAD}raise RuntimeError('no rates')\n") as (engine, _), caplog.at_level(logging.ERROR):
        (plan,) = engine.wait(engine.route())
        assert plan is not None and plan.answer is not None and plan.answer.status == 500
    assert "no rates" in caplog.text


def test_different_mistakes_in_the_plans_of_one_line_are_all_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """But not as many as callers can think of: a plan may hold what they wrote."""
    code = f"""{HEAD}
def plans(user):
    return {{
        "header": Plan((Step((Target("sip:b@192.0.2.1", headers=(("Bad Name", "x"),)),)),)),
        "time": Plan((Step((Target("sip:b@192.0.2.1", try_time=-1),)),)),
        "raise": None,
    }}.get(user, Plan((Step((Target(f"{{user}} is no URI"),)),)))
def route(request):
    if request.user == "raise":
        raise ValueError(request.user)
    return plans(request.user)
"""
    with policy(tmp_path, code) as (engine, _), caplog.at_level(logging.ERROR):
        for user in ("header", "time", "header", "time", "raise", "raise"):
            engine.wait(engine.route(user))
        said = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
        assert len(said) == 3, said
        assert "'Bad Name' is no header's name" in said[0] and "try_time = -1" in said[1] and said[2] == "raise"
        engine.wait(*[engine.route(f"u{number}") for number in range(3 * TEXTS_AT_MOST)])
    assert TEXTS_AT_MOST < len(caplog.records) <= TEXTS_AT_MOST + 3


def test_nothing_reaches_an_engine_that_ends(tmp_path: Path) -> None:
    engine = FakeEngine()
    (tmp_path / "my_end.py").write_text(BLOCKING)
    made = Policy(engine, terms("my_end", tmp_path))
    made.start()
    engine.wait(engine.route())
    token = engine.route("block0.6")
    time.sleep(0.3)
    begun = time.monotonic()
    made.stop()
    assert time.monotonic() - begun < 2
    time.sleep(0.5)
    assert token not in engine.answers
