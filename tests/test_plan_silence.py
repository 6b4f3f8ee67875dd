"""Targets that say nothing within their try_time, and what they may still say after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from plans import Phone, Scene, scene, tag_of

from fastsip.policy.plan import ANY, NO_ANSWER, TIMEOUT, UNAVAILABLE, Plan, Target, step
from fastsip.policy.request import FAILURE, Question

BOB = "sip:bob@example.com"
House = tuple[Scene, Phone, Phone, Phone]


def two_gateways(one: Phone, two: Phone) -> Plan:
    return Plan((step(Target(one.contact, try_time=2), onward={TIMEOUT}), step(Target(two.contact, try_time=2))))


@pytest.fixture
def house() -> Iterator[House]:
    with scene(lambda _: two_gateways(one, two), asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        yield s, alice, one, two


def test_silence_is_a_timeout_and_nothing_is_sent_after_it(house: House) -> None:
    s, alice, one, two = house
    two.does((0.1, "180 Ringing"), (1, "200 OK"))
    alice.calls(BOB)
    s.engine.advance(40)
    assert one.at("INVITE") == [0, 0.5, 1.5] and one.seen == ["INVITE"] * 3
    assert two.at("INVITE") == [2] and alice.seen == ["100", "180", "200"]


def test_any_word_is_enough(house: House) -> None:
    """A 100 within try_time, then Timer C."""
    s, alice, one, two = house
    one.does((1.9, "100 Trying"), (100, "486 Busy Here"))
    alice.calls(BOB)
    s.engine.advance(120)
    assert not two.invites and alice.seen == ["100", "486"]


def test_all_silent(house: House) -> None:
    s, alice, _, _ = house
    alice.calls(BOB)
    s.engine.advance(10)
    assert alice.seen == ["100", "408"] and alice.at("408") == [4]


def test_a_late_provisional_is_answered_with_cancel(house: House) -> None:
    """While the next one is tried, and when another one has answered: else a phone would ring for nobody."""
    s, alice, one, two = house
    one.does((3, "180 Ringing"))
    two.does((0.5, "180 Ringing"), (5, "200 OK"))
    alice.calls(BOB)
    s.engine.advance(10)
    assert one.seen == ["INVITE"] * 3 + ["CANCEL", "ACK"] and one.at("CANCEL") == [3]
    assert alice.seen == ["100", "180", "200"]


@pytest.mark.parametrize("answer", ["200 OK", "486 Busy Here"])
def test_a_late_provisional_after_the_call_was_decided(house: House, answer: str) -> None:
    s, alice, one, two = house
    one.does((5, "180 Ringing"))
    two.does((0.5, answer))
    alice.calls(BOB)
    s.engine.advance(10)
    assert one.seen == ["INVITE"] * 3 + ["CANCEL", "ACK"] and one.at("CANCEL") == [5]
    assert alice.seen == ["100", answer[:3]]


def test_a_late_provisional_and_no_more(house: House) -> None:
    """9.1: 64*T1 after the CANCEL the transaction is over though it had no final answer; the scene looks after that."""
    s, alice, one, two = house
    one.obeys = False
    one.does((3, "180 Ringing"))
    two.does((0.5, "200 OK"))
    alice.calls(BOB)
    s.engine.advance(30)
    assert one.got("CANCEL") and alice.seen == ["100", "200"]


def test_a_late_answer_goes_up(house: House) -> None:
    s, alice, one, two = house
    one.does((3, "200 OK"))
    two.does((0.5, "180 Ringing"))
    alice.calls(BOB)
    s.engine.advance(10)
    assert alice.seen == ["100", "180", "200"] and tag_of(alice.got("200")[0]) == "one"
    assert two.seen == ["INVITE", "CANCEL", "ACK"]


def test_a_late_answer_after_another_one(house: House) -> None:
    """16.7 step 5: any 2xx to an INVITE, after a final response too."""
    s, alice, one, two = house
    one.does((5, "200 OK"))
    two.does((0.5, "200 OK"))
    alice.calls(BOB)
    s.engine.advance(10)
    assert [tag_of(text) for text in alice.got("200")] == ["two", "one"]
    one.answers("200 OK")
    two.answers("200 OK")
    s.engine.advance(1)
    assert [tag_of(text) for text in alice.got("200")] == ["two", "one", "one", "two"]


def test_a_late_refusal_is_acknowledged(house: House) -> None:
    s, alice, one, two = house
    one.does((3, "503 Service Unavailable"))
    two.does((3, "404 Nobody"))
    two.does((1, "100 Trying"), (3, "404 Nobody"))
    alice.calls(BOB)
    s.engine.advance(20)
    assert one.seen[-1] == "ACK" and alice.seen == ["100", "404"]


def test_cancel_before_the_first_word(house: House) -> None:
    """The caller gives up before anybody spoke. 487 when the time to speak is over; should he speak then, CANCEL."""
    s, alice, one, two = house
    one.does((5, "180 Ringing"))
    alice.calls(BOB)
    s.engine.advance(1)
    alice.cancels()
    s.engine.advance(3)
    assert alice.seen == ["100", "200 CANCEL", "487"] and not two.invites
    s.engine.advance(3)
    assert one.at("CANCEL") == [5]


@pytest.mark.parametrize("method", ["MESSAGE", "NEWMETHOD"])
def test_another_method(house: House, method: str) -> None:
    s, alice, one, two = house
    two.does((0.1, "200 OK"))
    alice.calls(BOB, method=method)
    s.engine.advance(40)
    assert one.seen == [method] * 3 and two.seen == [method] and alice.seen == [f"200 {method}"]


def test_another_method_with_everybody_silent(house: House) -> None:
    """A 408 is not allowed (RFC 4320 4.2), another answer is, while the client waits for one."""
    s, alice, one, two = house
    alice.calls(BOB, method="MESSAGE")
    for _ in range(4):
        s.engine.advance(4.1)
        alice.again()
    s.engine.advance(20)
    assert len(one.invites) == len(two.invites) == 1, "it was taken for a new one when it came again"
    assert set(alice.seen) == {"504 MESSAGE"} and alice.at("504 MESSAGE")[0] == 4


def test_a_target_without_a_way() -> None:
    """16.9: as if a 503 had come from there, and at once."""
    plan = Plan(
        (
            step("sip:bob@0.0.0.0:5060", "sip:bob@nowhere.invalid", onward={UNAVAILABLE}),
            step("sips:bob@127.0.0.1", onward={UNAVAILABLE}),
        )
    )
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice = s.phone("alice")
        alice.calls(BOB)
        s.engine.advance(1)
        assert alice.seen in (["500"], ["100", "500"])


def test_a_fork_with_one_target_without_a_way() -> None:
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one = s.phones("alice", "one")
        plan = Plan((step("sip:bob@nowhere.invalid", one.contact, "sip:bob@0.0.0.0", onward=ANY),))
        one.does((0.1, "180 Ringing"), (1, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert alice.seen == ["100", "180", "486"]


def test_silence_in_a_step_that_rings() -> None:
    """A silent branch of a fork does not end the step; its ring time does."""
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two, three = s.phones("alice", "one", "two", "three")
        two.does((0.1, "180 Ringing"))
        three.does((0.1, "200 OK"))
        plan = Plan(
            (
                step(Target(one.contact, try_time=1), two.contact, ring_time=6, onward={NO_ANSWER}),
                step(three.contact),
            )
        )
        alice.calls(BOB)
        s.engine.advance(20)
        assert three.at("INVITE") == [6] and one.at("INVITE") == [0, 0.5] and two.at("CANCEL") == [6]
        assert alice.seen == ["100", "180", "200"]


def test_what_rings_when_a_drain_ends_is_not_kept_for_ever(house: House) -> None:
    """It is cancelled with the caller's 503; that nobody heeds the CANCEL leaves nothing behind."""
    s, alice, one, _ = house
    one.obeys = False
    one.does((0.1, "180 Ringing"))
    alice.calls(BOB)
    s.engine.advance(1)
    s.engine.worker.drain()
    s.engine.worker.finish()
    s.engine.advance(1)
    assert alice.seen[-1] == "503" and "CANCEL" in one.seen


# --- ring time, and a second plan ---


def test_who_has_said_nothing_when_the_ring_time_is_over_is_not_waited_for() -> None:
    with scene(lambda _: Plan((step(one.contact, two.contact, ring_time=2),)), asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        two.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(3)
        assert two.seen == ["INVITE", "CANCEL", "ACK"] and alice.seen == ["100", "180", "408"]
        assert alice.at("408") == [2] and one.at("INVITE") == [0, 0.5, 1.5]


@pytest.mark.parametrize("late", ["180 Ringing", "200 OK"])
def test_a_word_after_the_ring_time(late: str) -> None:
    with scene(
        lambda _: Plan((step(one.contact, ring_time=2, onward=ANY), step(two.contact))), asks=["requests"]
    ) as s:
        alice, one, two = s.phones("alice", "one", "two")
        one.does((3, late))
        two.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(5)
        if late[0] == "2":
            assert tag_of(alice.got("200")[0]) == "one" and two.seen == ["INVITE", "CANCEL", "ACK"]
        else:
            assert one.seen[-2:] == ["CANCEL", "ACK"] and alice.seen == ["100", "180"]
            two.answers("200 OK")
            s.engine.advance(1)


@pytest.mark.parametrize("when", [0.5, 1.5, 2.5])
def test_a_late_answer_when_on_failure_has_another_plan(when: float) -> None:
    """16.7 step 5: any 2xx, and that of a branch of the plan before."""

    def asked(question: Question) -> Plan | None:
        if question.kind == FAILURE:
            return Plan((step(two.contact),))
        return Plan((step(Target(one.contact, try_time=1)),), on_failure=True)

    with scene(asked, asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        one.does((when, "200 OK"))
        two.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert tag_of(alice.got("200")[0]) == "one"
        assert two.seen == ([] if when < 1 else ["INVITE", "CANCEL", "ACK"])
        one.answers("200 OK")
        s.engine.advance(1)
        assert len(alice.got("200")) == 2


def test_late_words_after_two_plans_of_on_failure() -> None:
    def asked(_: Question) -> Plan | None:
        which = {1: one, 2: two}.get(len(s.questions))
        if which is None:
            return Plan((step(three.contact),))
        return Plan((step(Target(which.contact, try_time=1)),), on_failure=True)

    with scene(asked, asks=["requests"]) as s:
        alice, one, two, three = s.phones("alice", "one", "two", "three")
        one.does((3, "180 Ringing"))
        two.does((3, "200 OK"))
        three.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(10)
        assert one.seen[-2:] == ["CANCEL", "ACK"] and tag_of(alice.got("200")[0]) == "two"
        assert three.seen == ["INVITE", "CANCEL", "ACK"]


@pytest.mark.parametrize("method", ["MESSAGE", "OPTIONS"])
def test_a_late_answer_to_another_method_goes_up(method: str) -> None:
    """Whoever accepted it while the next one is asked: it is not told the caller that nobody did."""
    with scene(lambda _: two_gateways(one, two), asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        one.does((3, "200 OK"))
        two.does((2, "403 Forbidden"))
        alice.calls(BOB, method=method)
        s.engine.advance(10)
        assert [what.split()[0] for what in alice.seen] == ["200"] and tag_of(alice.received[0][1]) == "one"
        assert len(one.at(method)) == 3, "and is not sent again"
