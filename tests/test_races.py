"""Interleavings of one call to several phones at random, from seeds (races.py); what must hold is in race_rules.py.

Below them, the races that have names; more of those are in test_plan_fork.py (CANCEL and 200 that cross, two 2xx, 2xx
after Timer C), test_plan_steps.py (200 of a step that was given up) and test_plan_ask.py (CANCEL and plan that cross).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from harness.report import measured
from plans import scene, tag_of
from race_rules import Broken, Witness
from races import races

BOB = "sip:bob@example.com"

CHUNK = 10_000


def test_a_thousand_calls() -> None:
    races(0, 1000)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(100))
def test_a_million_calls(chunk: int) -> None:
    rate = races(1_000_000 + chunk * CHUNK, CHUNK)
    if chunk % 10 == 0:
        measured(f"races: {rate:.0f} calls/s, from seed {1_000_000 + chunk * CHUNK}")


def test_the_witness_sees_what_is_wrong() -> None:
    """A branch that rings when the call is decided, and a refusal after a 2xx."""
    top = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: <sip:b@c>;tag=t\r\nCSeq: 1 INVITE\r\nMax-Breadth: 60\r\n\r\n"
    for second, what in (("180 Ringing", "not cancelled"), ("200 OK", "did not go up")):
        witness = Witness(60, 30)
        witness.request_out(0, "INVITE sip:one SIP/2.0\r\n" + top)
        witness.request_out(0, "INVITE sip:two SIP/2.0\r\n" + top.replace("bK1", "bK2").replace("60", "0"))
        witness.response_in(1, f"SIP/2.0 {second}\r\n" + top.replace("bK1", "bK2").replace("=t", "=u"))
        witness.response_in(1, "SIP/2.0 200 OK\r\n" + top)
        witness.response_out(1, "SIP/2.0 200 OK\r\n" + top)
        with pytest.raises(Broken, match=what):
            witness.settled(1)
        with pytest.raises(Broken, match="after the final response"):
            witness.response_out(2, "SIP/2.0 486 Busy\r\n" + top)


@pytest.mark.parametrize("after", [0.1, 40])
def test_cancel_after_the_final_response(after: float) -> None:
    """9.2: no effect, and 200 while the INVITE's transaction is there. After that it is passed on (16.10), to a 481."""
    for final in ("486 Busy Here", "200 OK"):
        with scene() as s:
            alice, (one, two) = s.fork("one", "two")
            one.does((0.1, "180 Ringing"), (1, final))
            two.does((0.1, "404 Nobody"))
            alice.calls(BOB)
            s.engine.advance(1 + after)
            alice.cancels()
            s.engine.advance(1)
            assert alice.seen[-1] == ("200 CANCEL" if after < 1 else "481 CANCEL")
            assert len(one.got("CANCEL") + two.got("CANCEL")) == (after > 1) and len(alice.seen) == 4


@pytest.mark.parametrize("status", ["481 What", "200 OK"])
def test_our_cancel_finds_a_final_answer_on_its_way(status: str) -> None:
    """The callee has answered when the CANCEL comes, and says 481, or 200 and no 487."""
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.1, "180 Ringing"))
        two.does((0.1, "180 Ringing"))
        one.obeys = False
        alice.calls(BOB)
        s.engine.advance(1)
        alice.cancels()
        s.engine.advance(0.1)
        one.answers("486 Busy Here")
        s.engine.advance(1)
        assert one.seen == ["INVITE", "CANCEL", "ACK"] and alice.seen[-1] in ("486", "487")


def test_everybody_at_one_moment() -> None:
    """200, 603, 200, CANCEL and the ring time in one turn, whoever is first: two answers and no refusal."""
    for turn in range(4):
        with scene(ring_time=1000) as s:
            alice, *phones = s.phones("alice", "one", "two", "three", "last")
            s.engine.bind("bob@example.com", *((p.contact, 0.9) for p in phones[:3]), (phones[3].contact, 0.1))
            for phone in phones:
                phone.obeys = False
                phone.does((0.1, "180 Ringing"))
            alice.calls(BOB)
            s.engine.advance(0.999)
            events: list[Callable[[], object]] = [
                partial(phones[0].answers, "200 OK"),
                partial(phones[1].answers, "603 Decline"),
                partial(phones[2].answers, "200 OK"),
                alice.cancels,
            ]
            for event in events[turn:] + events[:turn]:
                event()
            s.engine.advance(5)
            assert sorted(alice.seen[4:]) == ["200", "200", "200 CANCEL"]
            assert {tag_of(text) for text in alice.got("200")} == {"one", "three"}
            assert phones[3].seen == [] and phones[1].seen[-1] == "ACK"
