"""A policy among phones, in virtual time: what was sent, to whom, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from fastsip.policy import (
    BUSY,
    FAILURE,
    NO_ANSWER,
    TIMEOUT,
    UNAVAILABLE,
    Plan,
    Request,
    Response,
    fork,
    lookup,
    next_gateway,
    now,
    redirect,
    reject,
    step,
    target,
)
from fastsip.testing import Scene


def heard(party: object, *whats: str) -> list[float]:
    return [at for at, what in party.log if what in whats]  # type: ignore[attr-defined]


def test_no_answer_goes_on_to_voicemail() -> None:
    def route(request: Request) -> Plan:
        first = step(*lookup("bob@example.com"), ring_time=20, onward={NO_ANSWER, BUSY})
        return Plan((first, step(*lookup("mail@example.com"))))

    begun = time.monotonic()
    with Scene(route) as scene:
        bob = scene.phone("bob@example.com", answer=None)
        mail = scene.phone("mail@example.com", after=0)
        call = scene.call("sip:bob@example.com")
        assert [what for _, what in call.log] == ["100", "180"]
        scene.wait(60)
        assert heard(bob, "INVITE") == [0] and heard(bob, "CANCEL") == [pytest.approx(20, abs=0.05)]
        assert heard(mail, "INVITE") == [pytest.approx(20, abs=0.05)]
        assert call.status == 200 and call.answered_at == pytest.approx(20, abs=0.05)
    assert time.monotonic() - begun < 5


def test_slow_policy_and_the_100() -> None:
    async def route(request: Request) -> Plan:
        await asyncio.sleep(3)
        return reject(480)

    with Scene(route) as scene:
        call = scene.call("sip:bob@example.com")
        scene.wait(10)
        assert call.log[0] == (0, "100") and call.status == 480
        assert call.answered_at == pytest.approx(3, abs=0.05)


def test_deadline_is_the_servers() -> None:
    async def route(request: Request) -> Plan:
        await asyncio.sleep(8)
        raise AssertionError("it was cancelled long ago")

    with Scene(route) as scene:
        call = scene.call("sip:bob@example.com")
        scene.wait(20)
        assert call.status == 500 and call.answered_at == pytest.approx(5, abs=0.1)


def test_caller_hangs_up_while_it_decides() -> None:
    cancelled: list[float] = []

    async def route(request: Request) -> Plan | None:
        try:
            await asyncio.sleep(4)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise
        return None

    with Scene(route, at=datetime(2026, 11, 29, 12, 0, 20, tzinfo=UTC)) as scene:
        call = scene.call("sip:bob@example.com")
        scene.wait(1)
        call.cancel()
        scene.wait(10)
        assert [what for at, what in call.log if at == 1] == ["200", "487"]
        assert len(cancelled) == 1 and datetime.fromtimestamp(cancelled[0], UTC).second == 21


class Gateways:
    async def route(self, request: Request) -> Plan | None:
        first = next_gateway(number=request.user)
        if first is None:
            return reject(503)
        second = next_gateway(number=request.user, without=[first])
        steps = [step(one, onward={UNAVAILABLE, FAILURE, TIMEOUT}) for one in (first, second) if one]
        return Plan(tuple(steps), on_failure=True)

    async def on_failure(self, request: Request, responses: Sequence[Response]) -> Plan | None:
        await asyncio.sleep(1)
        return redirect("sip:sorry@example.com") if responses[-1].status in (408, 500) else None


def test_gateways_in_turn_and_on_failure() -> None:
    with Scene(Gateways()) as scene:
        one = scene.gateway("one", answer=503, after=0, ring=False)
        two = scene.gateway("two", after=2)
        call = scene.call("sip:+1972@example.com")
        scene.wait(5)
        assert (call.status, len(heard(one, "INVITE")), call.answered_at) == (200, 1, pytest.approx(2, abs=0.05))
        two.answer = 500
        call = scene.call("sip:+1972@example.com")
        scene.wait(5)
        assert call.status == 302 and "sip:sorry@example.com" in call.answer
        two.answer = 486
        call = scene.call("sip:+1972@example.com")
        scene.wait(5)
        assert call.status == 486
        scene.gateways["one"].up = False
        two.silent = True
        call = scene.call("sip:+1972@example.com")
        scene.wait(3.9)
        assert call.status is None
        scene.wait(3)
        assert call.status == 302, "its try_time was over"


def test_own_addresses_are_expanded() -> None:
    with Scene(lambda request: fork("sip:bob@example.com")) as scene:
        phones = [scene.phone("bob@example.com", after=seconds) for seconds in (3, 1)]
        call = scene.call("sip:anyone@example.com")
        scene.wait(5)
        assert call.status == 200 and heard(phones[0], "CANCEL")


def test_mistakes_end_the_test_at_its_end() -> None:
    with pytest.raises(ZeroDivisionError), Scene(lambda request: 1 / 0) as scene:
        assert scene.call("sip:bob@example.com").status == 500
    with Scene(lambda request: 1 / 0) as scene:
        scene.call("sip:bob@example.com")
        scene.problems.clear()


def test_responses_are_shown_and_methods_kept() -> None:
    class Policy:
        METHODS = ("MESSAGE",)
        seen: list[int]

        def route(self, request: Request) -> Plan:
            return fork(target(lookup("bob@example.com")[0]))

        def on_response(self, response: Response) -> None:
            self.seen.append(response.status)

    policy = Policy()
    policy.seen = []
    with Scene(policy) as scene:
        scene.phone("bob@example.com", answer=486)
        invite = scene.call("sip:bob@example.com")
        message = scene.call("sip:alice@example.com", method="MESSAGE")
        scene.wait(3)
        assert (invite.status, message.status) == (486, 486)
    assert sorted(policy.seen) == [180, 486, 486]
