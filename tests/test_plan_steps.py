"""Steps of a plan, one after another: ring times, outcomes, late answers, silence, q of registered contacts."""

from __future__ import annotations

import pytest
from plans import Phone, Scene, scene, tag_of

from fastsip.policy.plan import (
    ANY,
    BUSY,
    DECLINED,
    FAILURE,
    NO_ANSWER,
    REDIRECTED,
    REJECTED,
    UNAVAILABLE,
    Outcome,
    Plan,
    hunt,
    step,
)

BOB = "sip:bob@example.com"


def contacts_of_three_q(s: Scene) -> list[Phone]:
    alice, one, two, half, last = s.phones("alice", "one", "two", "half", "last")
    s.engine.bind("bob@example.com", (last.contact, 0.1), (one.contact, 1.0), (half.contact, 0.5), (two.contact, 1.0))
    return [alice, one, two, half, last]


def test_contacts_of_equal_q_ring_together_and_the_rest_later() -> None:
    with scene(ring_time=10_000) as s:
        alice, one, two, half, last = contacts_of_three_q(s)
        for phone in (one, two, half):
            phone.does((0.1, "180 Ringing"))
        last.does((0.1, "180 Ringing"), (2, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(30)
        assert one.at("INVITE") == two.at("INVITE") == [0] and one.at("CANCEL") == two.at("CANCEL") == [10]
        assert half.at("INVITE") == [10] and half.at("CANCEL") == [20]
        assert last.at("INVITE") == [20] and alice.at("200") == [22]
        assert alice.seen == ["100", "180", "180", "180", "180", "200"]


def test_the_next_q_follows_at_once_when_all_of_one_refuse() -> None:
    with scene(ring_time=10_000) as s:
        alice, one, two, half, last = contacts_of_three_q(s)
        one.does((1, "486 Busy Here"))
        two.does((2, "480 Gone"))
        half.does((1, "404 Nobody"))
        last.does((1, "500 Broken"))
        alice.calls(BOB)
        s.engine.advance(10)
        assert half.at("INVITE")[:1] == [2] and last.at("INVITE")[:1] == [3]
        assert alice.seen[0] == "100" and alice.seen[1] in ("486", "480", "404") and alice.at(alice.seen[1]) == [4]


def test_the_last_q_rings_until_timer_c() -> None:
    with scene(ring_time=10_000) as s:
        alice, first, last = s.phones("alice", "first", "last")
        s.engine.bind("bob@example.com", (last.contact, 0.2), (first.contact, 0.3))
        for phone in (first, last):
            phone.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(200)
        assert first.at("CANCEL") == [10] and last.at("CANCEL") == [191.1]
        assert alice.seen[-1] == "408"


ENDS = {
    302: REDIRECTED, 404: REJECTED, 401: REJECTED, 486: BUSY, 600: BUSY, 408: NO_ANSWER, 480: NO_ANSWER, 487: NO_ANSWER,
    500: FAILURE, 513: FAILURE, 503: UNAVAILABLE, 603: DECLINED, 606: DECLINED,
}  # fmt: skip


@pytest.mark.parametrize(("status", "outcome"), ENDS.items())
def test_outcomes(status: int, outcome: Outcome) -> None:
    """A step goes on after its outcome and after no other; after a 6xx there is no new branch (16.7 step 5)."""
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        one.does((0.1, f"{status} It Is"))
        two.does((0.1, "200 OK"))
        for onward, goes_on in (({outcome}, status < 600), (set(Outcome) - {outcome}, False)):
            plan = Plan((step(one.contact, onward=onward), step(two.contact)))
            alice.calls(BOB)
            s.engine.advance(5)
            assert bool(two.invites) == goes_on
            assert alice.seen[-1] == ("200" if goes_on else "500" if status == 503 else str(status))
            two.invites.clear()


def test_onward_to_a_named_step() -> None:
    """Busy goes to the third, no answer to the second."""
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, *phones = s.phones("alice", "one", "two", "three")
        first, second, third = phones
        plan = Plan(
            (
                step(first.contact, onward={BUSY: 2, NO_ANSWER: 1}),
                step(second.contact, onward=ANY),
                step(third.contact),
            )
        )
        for number, (status, taker) in enumerate((("486 Busy Here", third), ("480 Gone", second)), 1):
            first.does((0.1, status))
            alice.calls(BOB)
            s.engine.advance(1)
            assert len(taker.invites) == 1 and len(first.invites) == number
            taker.answers("200 OK")
            s.engine.advance(1)
        assert alice.seen == ["100", "200"] * 2


def test_ring_time_ends_with_cancel_and_the_next_step() -> None:
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two, mail = s.phones("alice", "one", "two", "mail")
        one.does((0.1, "180 Ringing"))
        two.does((0.2, "180 Ringing"), (4, "486 Busy Here"))
        mail.does((0.1, "200 OK"))
        plan = Plan(
            (
                step(one.contact, two.contact, ring_time=15, onward={NO_ANSWER, BUSY}, notify=None),
                step(mail.contact, notify=181),
            )
        )
        alice.calls(BOB)
        s.engine.advance(30)
        assert one.at("CANCEL") == [15] == mail.at("INVITE") and two.seen == ["INVITE", "ACK"]
        assert alice.seen == ["100", "180", "180", "181", "200"]
        assert alice.at("181") == [15] and tag_of(alice.got("181")[0])
        assert one.seen == ["INVITE", "CANCEL", "ACK"]


def test_the_first_step_tells_too() -> None:
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        plan = Plan((step(one.contact, notify=182, onward=ANY), step(two.contact, notify=181)))
        for phone in (one, two):
            phone.does((0.1, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(1)
        assert alice.seen == ["100", "182", "181", "486"]
        alice.calls(BOB, method="MESSAGE")
        s.engine.advance(1)
        assert alice.seen[4:] == ["486 MESSAGE"]


def test_a_late_answer_goes_up_and_the_running_step_is_cancelled() -> None:
    """The CANCEL of a ring time crosses the 200."""
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        one.does((0.1, "180 Ringing"), (10.05, "200 OK"))
        one.obeys = False
        two.does((0.02, "180 Ringing"))
        plan = hunt(one.contact, two.contact, ring_time=10)
        alice.calls(BOB)
        s.engine.advance(20)
        assert one.seen == ["INVITE", "CANCEL"] and two.seen == ["INVITE", "CANCEL", "ACK"]
        assert alice.seen == ["100", "180", "180", "200"] and tag_of(alice.got("200")[0]) == "one"


def test_who_was_given_up_rings_no_more() -> None:
    """His provisionals are not sent up while the next one is tried."""
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        one.does((0.1, "180 Ringing"), (10.5, "183 Session Progress"), (11, "487 Request Terminated"))
        one.obeys = False
        two.does((0.1, "180 Ringing"), (5, "486 Busy Here"))
        plan = hunt(one.contact, two.contact, ring_time=10)
        alice.calls(BOB)
        s.engine.advance(20)
        assert alice.seen == ["100", "180", "180", "486"]


def test_no_final_answer_before_who_is_late_has_ended() -> None:
    """16.7 step 6: all client transactions have terminated."""
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        one.does((0.1, "180 Ringing"))
        one.obeys = False
        two.does((0.1, "486 Busy Here"))
        plan = hunt(one.contact, two.contact, ring_time=5)
        alice.calls(BOB)
        s.engine.advance(20)
        assert alice.seen == ["100", "180"]
        one.answers("200 OK")
        s.engine.advance(1)
        assert alice.seen == ["100", "180", "200"]


def test_cancel_between_steps() -> None:
    """Neither the step that runs nor who is late is forgotten, and no step follows."""
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two, three = s.phones("alice", "one", "two", "three")
        for phone in (one, two, three):
            phone.does((0.1, "180 Ringing"))
        one.obeys = False
        plan = hunt(one.contact, two.contact, three.contact, ring_time=5)
        alice.calls(BOB)
        s.engine.advance(6)
        alice.cancels()
        s.engine.advance(3)
        assert two.seen == ["INVITE", "CANCEL", "ACK"] and alice.seen[-1] == "200 CANCEL"
        one.answers("487 Request Terminated")
        s.engine.advance(3)
        assert alice.seen[-1] == "487" and three.seen == []


def test_6xx_of_a_late_branch_stops_the_hunt() -> None:
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two, three = s.phones("alice", "one", "two", "three")
        one.does((0.1, "180 Ringing"), (6, "603 Decline"))
        one.obeys = False
        two.does((0.1, "180 Ringing"))
        plan = hunt(one.contact, two.contact, three.contact, ring_time=5)
        alice.calls(BOB)
        s.engine.advance(20)
        assert two.seen == ["INVITE", "CANCEL", "ACK"] and three.seen == []
        assert alice.seen == ["100", "180", "180", "603"]
