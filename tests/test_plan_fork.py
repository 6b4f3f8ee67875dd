"""Forking to several phones at once (RFC 3261 16.7, 16.8, 16.10; RFC 6026), in virtual time.

Best answers, challenges and other methods than INVITE are in test_plan_best.py, steps in test_plan_steps.py.
"""

from __future__ import annotations

import pytest
from engine import header, headers
from plans import scene, tag_of

BOB = "sip:bob@example.com"


def test_all_ring_and_the_first_to_answer_wins() -> None:
    """16.7 step 5: provisionals and the 2xx go up at once. Step 10: whoever still rings gets CANCEL."""
    with scene() as s:
        alice, (one, two, three) = s.fork("one", "two", "three")
        one.does((0.1, "180 Ringing"), (3, "486 Busy Here"))
        two.does((0.2, "180 Ringing"), (2, "200 OK"))
        three.does((0.3, "183 Session Progress"))
        alice.calls(BOB)
        s.engine.advance(1.5)
        assert alice.seen == ["100", "180", "180", "183"]
        assert [tag_of(text) for _, text in alice.received] == ["", "one", "two", "three"]
        s.engine.advance(0.5)
        assert alice.seen[4:] == ["200"] and alice.at("200") == [2.0]
        assert one.at("CANCEL") == three.at("CANCEL") == [2.0] and not two.got("CANCEL")
        s.engine.advance(10)
        assert one.seen == three.seen == ["INVITE", "CANCEL", "ACK"], "487 ends here, acknowledged (17.1.1.3)"
        assert two.seen == ["INVITE"]
        assert alice.seen[5:] == [], "nothing else goes up"
        assert len({header(p.invites[0], "Via").split("branch=")[1].split(",")[0] for p in (one, two, three)}) == 3


def test_request_uris_and_one_copy_each() -> None:
    with scene() as s:
        alice, phones = s.fork("one", "two")
        alice.calls(BOB, "Subject: what is there goes everywhere")
        s.engine.advance(0.1)
        for phone in phones:
            assert phone.invites[0].startswith(f"INVITE {phone.contact} SIP/2.0")
            assert header(phone.invites[0], "Subject") == "what is there goes everywhere"
            assert header(phone.invites[0], "Max-Forwards") == "69"
            phone.answers("486 Busy Here")


def test_who_has_not_spoken_is_cancelled_when_he_does() -> None:
    """9.1: no CANCEL before a provisional response; it waits for one."""
    with scene() as s:
        alice, (quick, slow) = s.fork("quick", "slow")
        quick.does((0.1, "200 OK"))
        slow.does((1.2, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(1)
        assert slow.seen == ["INVITE", "INVITE"], "sent again by Timer A, as nothing is heard"
        s.engine.advance(5)
        assert slow.seen == ["INVITE", "INVITE", "CANCEL", "ACK"] and slow.at("CANCEL") == [1.2]
        assert alice.seen == ["100", "200"], "the late 180 went up after the 200"


def test_two_answers_both_go_up() -> None:
    """16.7 step 5: any 2xx to an INVITE, even after a final response was sent; RFC 6026 7.1: and copies of both."""
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        alice.calls(BOB)
        s.engine.advance(0)
        for phone in (one, two):
            phone.answers("180 Ringing")
        s.engine.advance(1)
        first, second = one.answers("200 OK"), two.answers("200 OK")
        s.engine.advance(0.1)
        assert alice.seen == ["100", "180", "180", "200", "200"]
        assert [tag_of(text) for text in alice.got("200")] == ["one", "two"]
        one.send(first)
        two.send(second)
        two.send(second)
        s.engine.advance(1)
        assert [tag_of(text) for text in alice.got("200")] == ["one", "two", "one", "two", "two"]
        assert [headers(text, "Via") for text in alice.got("200")] == [[header(alice.text, "Via")]] * 5
        s.engine.advance(40)
        one.send(first)
        s.engine.advance(1)
        assert len(alice.got("200")) == 5, "after Timer L and M nobody knows it any more"


def test_one_answers_downstream_twice() -> None:
    """Copies and further 2xx of one branch (a fork behind it) go up too."""
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        alice.calls(BOB)
        s.engine.advance(0)
        two.answers("180 Ringing")
        one.answers("200 OK", tag="x")
        one.answers("200 OK", tag="y")
        s.engine.advance(2)
        one.answers("200 OK", tag="y")
        s.engine.advance(1)
        assert [tag_of(text) for text in alice.got("200")] == ["x", "y", "y"]
        assert two.seen == ["INVITE", "CANCEL", "ACK"]


def test_a_6xx_waits_for_the_others() -> None:
    """16.7 step 5: it cancels the rest and goes up when all have ended."""
    with scene() as s:
        alice, (one, two, three) = s.fork("one", "two", "three")
        one.does((0.1, "180 Ringing"), (1, "603 Decline"))
        two.does((0.1, "180 Ringing"))
        three.does((0.1, "180 Ringing"))
        two.obeys = False
        alice.calls(BOB)
        s.engine.advance(3)
        assert two.got("CANCEL") and three.got("CANCEL")
        assert alice.seen == ["100", "180", "180", "180"], "the 603 went up while a branch was running"
        two.answers("487 Request Terminated")
        s.engine.advance(1)
        assert alice.seen[4:] == ["603"]


def test_a_2xx_after_a_6xx_goes_up_in_its_place() -> None:
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.1, "180 Ringing"), (1, "600 Busy Everywhere"))
        two.does((0.1, "180 Ringing"), (1.1, "200 OK"))
        two.obeys = False
        alice.calls(BOB)
        s.engine.advance(5)
        assert alice.seen == ["100", "180", "180", "200"]
        assert two.seen == ["INVITE", "CANCEL"]


def test_no_new_branch_after_a_6xx() -> None:
    with scene() as s:
        alice, last, first = s.phones("alice", "last", "first")
        s.engine.bind("bob@example.com", (first.contact, 0.9), (last.contact, 0.1))
        first.does((0.1, "603 Decline"))
        alice.calls(BOB)
        s.engine.advance(60)
        assert alice.seen == ["100", "603"] and last.seen == []


def test_cancel_while_forked() -> None:
    """16.10: 200 to the CANCEL, CANCEL to all, 487 when they have ended."""
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.1, "180 Ringing"))
        two.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(1)
        alice.cancels()
        s.engine.advance(1)
        assert alice.seen == ["100", "180", "180", "200 CANCEL", "487"]
        assert one.seen == two.seen == ["INVITE", "CANCEL", "ACK"]
        assert s.engine.counters()["calls_cancelled"] == 1


def test_cancel_before_any_provisional() -> None:
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.8, "180 Ringing"))
        two.does((0.9, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(0.3)
        alice.cancels()
        s.engine.advance(0.3)
        assert alice.seen == ["100", "200 CANCEL"] and not one.got("CANCEL")
        s.engine.advance(10)
        assert one.at("CANCEL") == [0.8] and two.seen == ["INVITE", "INVITE", "ACK"]
        assert alice.seen[-1] in ("486", "487") and alice.seen[2:-1] == ["180"]


@pytest.mark.parametrize("first", ["cancel", "answer"])
def test_cancel_crosses_200(first: str) -> None:
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.1, "180 Ringing"))
        two.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(1)
        if first == "answer":
            one.answers("200 OK")
        alice.cancels()
        if first == "cancel":
            one.answers("200 OK")
        s.engine.advance(5)
        assert sorted(alice.seen[3:]) == ["200", "200 CANCEL"], "the call is up; no 487 after it"
        assert two.seen == ["INVITE", "CANCEL", "ACK"]
        assert one.got("CANCEL") == [] if first == "answer" else one.seen == ["INVITE", "CANCEL"]


def test_cancel_comes_again() -> None:
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.1, "180 Ringing"))
        two.does((0.1, "180 Ringing"))
        one.obeys = False
        alice.calls(BOB)
        s.engine.advance(1)
        for _ in range(3):
            alice.cancels()
        s.engine.advance(1)
        assert alice.seen[3:] == ["200 CANCEL"] * 3 and len(one.got("CANCEL")) == 1
        one.answers("487 Request Terminated")
        s.engine.advance(1)
        assert alice.seen[6:] == ["487"]


def test_a_retransmitted_invite_is_absorbed() -> None:
    with scene() as s:
        alice, phones = s.fork("one", "two")
        for phone in phones:
            phone.does((0.1, "180 Ringing"), (5, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(0.05)
        alice.again()
        s.engine.advance(1)
        alice.again()
        s.engine.advance(0)
        assert [phone.seen for phone in phones] == [["INVITE"], ["INVITE"]]
        assert alice.seen == ["100", "100", "180", "180", "180"], "the last response, once more (17.2.1)"


def test_timer_c_of_each_branch() -> None:
    """16.8, with 16.7 step 2: a provisional resets the timer of its own branch; 100 does not."""
    with scene() as s:
        alice, (steady, once, trying) = s.fork("steady", "once", "trying")
        steady.does(*((t, "180 Ringing") for t in range(1, 361, 60)))
        once.does((1, "180 Ringing"))
        trying.does((1, "100 Trying"), (100, "100 Trying"))
        alice.calls(BOB)
        s.engine.advance(181)
        assert trying.at("CANCEL") == [181.0] and not once.got("CANCEL")
        s.engine.advance(1)
        assert once.at("CANCEL") == [182.0] and not steady.got("CANCEL")
        s.engine.advance(350)
        assert steady.at("CANCEL") == [482.0]
        assert alice.seen[-1] == "408" and alice.got("487") == [], "who gave up was not the caller"


def test_2xx_after_timer_c() -> None:
    """The CANCEL of Timer C crosses an answer: it goes up, and the other branch is cancelled."""
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((1, "180 Ringing"), (182.1, "200 OK"))
        one.obeys = False
        two.does((1, "180 Ringing"), (150, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(200)
        assert one.seen[-1:] == ["CANCEL"] and two.seen[-2:] == ["CANCEL", "ACK"]
        assert alice.seen[-1] == "200" and alice.at("200") == [182.1]


def test_a_branch_that_ignores_cancel_is_given_up() -> None:
    """9.1: 64*T1 after a CANCEL without a final response the transaction is over."""
    with scene() as s:
        alice, (deaf, winner) = s.fork("deaf", "winner")
        deaf.does((0.1, "180 Ringing"))
        deaf.obeys = False
        winner.does((1, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(2)
        alice.cancels()
        s.engine.advance(31)
        assert alice.seen[-1] == "200 CANCEL"
        s.engine.advance(2)
        assert alice.seen[-1] in ("486", "487")


def test_nobody_answers_at_all() -> None:
    """Timer B on every branch: 408, sent once."""
    with scene() as s:
        alice, phones = s.fork("one", "two")
        alice.calls(BOB)
        s.engine.advance(40)
        assert alice.seen == ["100", "408"] and alice.at("408") == [32.0]
        assert [phone.seen for phone in phones] == [["INVITE"] * 7] * 2
