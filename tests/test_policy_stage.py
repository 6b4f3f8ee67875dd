"""The kit for those who write policies: virtual time, contacts and gateways as data, mistakes as exceptions."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fastsip.errors import UsageError
from fastsip.policy import Plan, Request, Response, Target, fork, lookup, next_gateway, now, reject
from fastsip.policy.module import ModuleProblem
from fastsip.testing import Gateway, PlanIsLate, Stage, call


def test_one_call_of_a_function() -> None:
    assert call(lambda request: reject(405), "MESSAGE", "sip:bob@example.com") == reject(405)
    assert call(lambda request: None, "MESSAGE", "sip:bob@example.com") is None


def test_what_the_policy_sees() -> None:
    seen: list[Request] = []
    with Stage(seen.append, contacts={"bob@example.com": "sip:bob@192.0.2.7"}, users=["carol@example.com"]) as stage:
        stage.call("INVITE", "sip:bob@example.com", from_="sip:eve@elsewhere.example", headers={"Subject": "tea"})
        stage.call("OPTIONS", "sip:carol@example.com", authenticated=True, source=("192.0.2.9", 5070))
        stage.call("INVITE", "sip:nobody@example.com", headers=[("X-A", "1"), ("X-A", "2")])
        stage.call("INVITE", "sip:+1972@gw.example.net", trusted=True)
    first, second, third, fourth = seen
    assert (first.method, first.user, first.aor, first.caller) == ("INVITE", "bob", "bob@example.com", None)
    assert first.headers["Subject"] == "tea" and first.own and first.known and not first.authenticated
    assert (second.caller, second.known, second.authenticated) == ("alice@example.com", True, True)
    assert second.source == ("192.0.2.9", 5070)
    assert third.own and not third.known and third.headers.lines_of("X-A") == ["1", "2"]
    assert (fourth.own, fourth.aor, fourth.trusted, fourth.user) == (False, None, True, "+1972")


def test_time_is_virtual() -> None:
    async def route(request: Request) -> Plan:
        await asyncio.sleep(4)
        return reject(480 if datetime.fromtimestamp(now(), UTC).hour < 9 else 486)

    begun = time.monotonic()
    with Stage(route, at=datetime(2026, 11, 29, 8, 59, 50, tzinfo=UTC)) as stage:
        assert stage.call("INVITE", "sip:bob@example.com") == reject(480)
        assert stage.elapsed == pytest.approx(4)
        stage.wait(6)
        assert stage.call("INVITE", "sip:bob@example.com") == reject(486)
        assert stage.now == datetime(2026, 11, 29, 9, 0, 4, tzinfo=UTC)
    assert time.monotonic() - begun < 1


def test_work_in_the_background_and_hooks() -> None:
    log: list[str] = []

    class Policy:
        async def setup(self) -> None:
            self.task = asyncio.get_running_loop().create_task(self.refresh())

        async def refresh(self) -> None:
            while True:
                log.append("refreshed")
                await asyncio.sleep(60)

        def route(self, request: Request) -> None: ...

        def teardown(self) -> None:
            log.append("over")

    with Stage(Policy()) as stage:
        stage.call("INVITE", "sip:bob@example.com")
        stage.wait(150)
    assert log == ["refreshed"] * 3 + ["over"]


def test_threads_of_the_policy_are_waited_for() -> None:
    async def route(request: Request) -> Plan:
        await asyncio.to_thread(time.sleep, 0.05)
        return fork(*await asyncio.to_thread(lookup, "bob@example.com"))

    with Stage(route, contacts={"bob@example.com": "sip:bob@192.0.2.7"}, real_time=True) as stage:
        assert stage.call("INVITE", "sip:bob@example.com") == fork("sip:bob@192.0.2.7")


def test_plan_that_comes_too_late() -> None:
    async def route(request: Request) -> None:
        await asyncio.sleep(6)

    with Stage(route) as stage, pytest.raises(PlanIsLate, match="no plan within 5 s"):
        stage.call("INVITE", "sip:bob@example.com")


def test_timeout_of_the_policys_own_is_its_own() -> None:
    async def route(request: Request) -> None:
        async with asyncio.timeout(1):
            await asyncio.sleep(6)

    with Stage(route) as stage, pytest.raises(TimeoutError):
        stage.call("INVITE", "sip:bob@example.com")


def test_mistakes_are_the_tests_exceptions() -> None:
    def route(request: Request) -> Any:
        if request.user == "plan":
            return fork(Target("sip:bob@192.0.2.1", headers=(("X-A", "a\r\nb"),)))
        return "sip:bob@192.0.2.1" if request.user == "text" else [][1]

    with Stage(route) as stage:
        with pytest.raises(IndexError):
            stage.call("INVITE", "sip:bob@example.com")
        with pytest.raises(TypeError, match="expected a Plan or None, found str"):
            stage.call("INVITE", "sip:text@example.com")
        with pytest.raises(ValueError, match="header"):
            stage.call("INVITE", "sip:plan@example.com")
    with pytest.raises(ModuleProblem, match=r"route\(\): expected route\(request\)"):
        Stage(types.SimpleNamespace(route=lambda: None))


def test_contacts_by_q_and_age() -> None:
    contacts = {"bob@example.com": ["sip:new@192.0.2.1", Target("sip:low@192.0.2.2", q=0.5), "sip:old@192.0.2.3"]}

    def route(request: Request) -> Plan | None:
        assert lookup("sip:Nobody@example.com") == []
        with pytest.raises(ValueError, match="expected an address-of-record"):
            lookup("")
        return fork(*lookup("sip:bob@EXAMPLE.com;transport=udp"))

    plan = call(route, "INVITE", "sip:bob@example.com", contacts=contacts)
    assert plan and [(one.uri, one.q) for one in plan.steps[0].targets] == [
        ("sip:new@192.0.2.1", 1.0), ("sip:old@192.0.2.3", 1.0), ("sip:low@192.0.2.2", 0.5),
    ]  # fmt: skip


def test_gateways() -> None:
    def route(request: Request) -> Plan | None:
        with pytest.raises(ValueError, match='no gateway is called "gw9"'):
            next_gateway("gw9")
        found = next_gateway("gw1", "gw2", number=request.user)
        return fork(found) if found else None

    with Stage(route, gateways={"gw1": "sip:gw1.example.net", "gw2": Gateway("sip:trunk@gw2.example.net")}) as stage:
        assert stage.call("INVITE", "sip:+1972@example.com") == fork(
            Target("sip:+1972@gw1.example.net", gateway=0, try_time=4)
        )
        stage.gateways["gw1"].up = False
        assert stage.call("INVITE", "sip:+1972@example.com") == fork(
            Target("sip:+1972@gw2.example.net", gateway=1, try_time=4)
        )
        stage.gateways["gw2"].up = False
        assert stage.call("INVITE", "sip:+1972@example.com") is None


@pytest.mark.parametrize("without", ["gw1", b"gw1", Target("sip:gw1.example.net"), None])
def test_one_gateway_in_place_of_a_collection_of_them(without: Any) -> None:
    """A text is a collection too: of letters, none of which is a gateway."""

    def route(request: Request) -> Plan | None:
        with pytest.raises(TypeError, match=r"^next_gateway: without = .*: expected a tuple of names or targets"):
            next_gateway("gw1", without=without)
        with pytest.raises(TypeError, match=r"^next_gateway: \['gw1'\]: expected the name of a gateway"):
            next_gateway(["gw1"])  # type: ignore[arg-type]
        for one in (("gw1",), ["gw1"], {"gw1"}, frozenset(["gw1"]), [Target("sip:gw1.example.net", gateway=0), None]):
            assert next_gateway("gw1", without=one) is None  # type: ignore[arg-type]
        return reject(410)

    assert call(route, "INVITE", "sip:1@example.com", gateways={"gw1": "sip:gw1.example.net"}) == reject(410)


@pytest.mark.parametrize("headers", ["X-A: 1", {"X-A": "1"}])
def test_headers_of_a_refusal_that_are_no_pairs(headers: Any) -> None:
    with pytest.raises(TypeError, match=r"^reject: headers = .*: expected a tuple of names and values"):
        reject(486, headers=headers)


def test_failure_and_responses() -> None:
    seen: list[Any] = []

    class Policy:
        METHODS = ("INVITE",)

        def route(self, request: Request) -> Plan | None:
            return reject(603)

        async def on_failure(self, request: Request, responses: Sequence[Response]) -> Plan | None:
            await asyncio.sleep(1)
            seen.extend((one.status, one.message and one.message.status) for one in responses)
            return reject(410) if request.user == "bob" else None

        def on_response(self, response: Response) -> None:
            assert response.message is not None
            seen.append(response.message.call_id)

    with Stage(Policy()) as stage:
        with pytest.raises(Exception, match="comes after call"):
            stage.fail(486)
        assert stage.call("OPTIONS", "sip:bob@example.com") is None, "not among its METHODS"
        stage.call("INVITE", "sip:bob@example.com")
        assert stage.fail(486, 503) == reject(410)
        stage.show(486)
    assert seen[:2] == [(486, 486), (503, 503)] and seen[2].startswith("stage-")


def test_module_by_path_and_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "my_staged.py").write_text("import my_rates\ndef route(request):\n    return my_rates.plan()\n")
    (tmp_path / "my_rates.py").write_text("from fastsip.policy import reject\ndef plan():\n    return reject(404)\n")
    assert call(tmp_path / "my_staged.py", "INVITE", "sip:bob@example.com") == reject(404)
    assert call(str(tmp_path / "my_staged.py"), "INVITE", "sip:bob@example.com") == reject(404)


def test_outside_of_a_policy_there_is_nothing_to_ask() -> None:
    with pytest.raises(UsageError, match="no policy runs here"):
        lookup("bob@example.com")
    with pytest.raises(UsageError):
        now()
