"""What a plan's targets get on the wire, redirections that are followed, questions after a failure."""

from __future__ import annotations

import pytest
from engine import header, headers
from plans import Phone, scene

from fastsip.policy.plan import ANY, REDIRECTED, Plan, Target, fork, hunt, reject, step
from fastsip.policy.request import FAILURE, Question, responses_of
from fastsip.testing import Engine

BOB = "sip:bob@example.com"
REQUESTS = ["requests"]


def test_headers_are_added_and_left_out() -> None:
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, one, two = s.phones("alice", "one", "two")
        new = (("X-New", "1"), ("X-New", "2"))
        plan = fork(Target(one.contact, headers=new, remove=("subject", "X-Odd", "Supported")), two.contact)
        alice.calls(BOB, "s: short", "Subject: long", "x-odd: 3", "k: timer", "X-Oddity: stays")
        s.engine.advance(0)
        (got,), (other,) = one.invites, two.invites
        assert headers(got, "X-New") == ["1", "2"] and not headers(other, "X-New")
        for name in ("s", "Subject", "x-odd", "k"):
            assert not headers(got, name) and headers(other, name)
        assert headers(got, "X-Oddity") == ["stays"]
        assert len(headers(got, "Via")) == 2 and header(got, "Call-ID") == header(alice.text, "Call-ID")
        for phone in (one, two):
            phone.answers("486 Busy Here")


def test_hop_and_routes() -> None:
    """16.6 steps 6 and 7: to the hop, else to the first Route; the Request-URI stays what the plan says."""
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, one, two, three = s.phones("alice", "one", "two", "three")
        route = f"<sip:{two.address};lr>"
        plan = fork(
            Target("sip:x@far.invalid", hop=f"sip:{one.address}"),
            Target("sip:y@far.invalid", routes=(route, "<sip:192.0.2.1;lr>")),
            Target("sip:z@far.invalid", routes=("<sip:192.0.2.1;lr>",), hop=f"sip:{three.address}"),
        )
        alice.calls(BOB)
        s.engine.advance(0)
        assert one.invites[0].startswith("INVITE sip:x@far.invalid SIP/2.0") and not headers(one.invites[0], "Route")
        assert two.invites[0].startswith("INVITE sip:y@far.invalid SIP/2.0")
        assert headers(two.invites[0], "Route") == [route, "<sip:192.0.2.1;lr>"]
        assert headers(three.invites[0], "Route") == ["<sip:192.0.2.1;lr>"]
        for phone in (one, two, three):
            phone.answers("180 Ringing")
        s.engine.advance(0)
        alice.cancels()
        s.engine.advance(1)
        assert headers(two.got("CANCEL")[0], "Route") == [route, "<sip:192.0.2.1;lr>"], "9.1: the Route of the INVITE"
        assert alice.seen[-1] == "487"


def moved(*contacts: str) -> tuple[float, str, str]:
    return (0.1, "302 Moved Temporarily", "Contact: " + ", ".join(contacts))


def test_contacts_of_a_3xx_by_q() -> None:
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, first, one, two, three = s.phones("alice", "first", "one", "two", "three")
        plan = fork(first.contact, recurse=True)
        first.does(moved(f"<{three.contact}>;q=0.2", f"<{one.contact}>;q=0.9", f"<{two.contact}>;q=0.9"))
        for phone in (one, two, three):
            phone.does((1, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert one.at("INVITE")[0] == two.at("INVITE")[0] == 0.1 and three.at("INVITE")[0] == 1.1
        assert alice.seen == ["100", "486"]


def test_no_contact_twice() -> None:
    """16.5: nor one of the plan."""
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, one, two = s.phones("alice", "one", "two")
        plan = fork(one.contact, recurse=True)
        one.does(moved(f"<{two.contact}>", f"<{one.contact}>", f"<{two.contact}>;q=0.1"))
        two.does(moved(f"<{one.contact}>", f"<{two.contact}>"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert len(one.invites) == len(two.invites) == 1 and alice.seen == ["100", "408"]


@pytest.mark.parametrize("first", [0.1, 2])
def test_a_3xx_whose_contacts_were_all_tried_is_not_told(first: float) -> None:
    """16.7 step 4: what is left without contacts is no response to choose."""
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, one, two, three = s.phones("alice", "one", "two", "three")
        plan = fork(one.contact, two.contact, recurse=True)
        one.does((first, "302 Moved Temporarily", f"Contact: <{three.contact}>"))
        two.does((1, "302 Moved Temporarily", f"Contact: <{three.contact}>"))
        three.does((0.5, "503 Service Unavailable"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert len(three.invites) == 1 and alice.seen == ["100", "500"]


def test_a_3xx_that_leads_nowhere_new_is_redirected_to_the_plan() -> None:
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, one, two = s.phones("alice", "one", "two")
        plan = Plan((step(one.contact, onward={REDIRECTED}), step(two.contact)), recurse=True)
        one.does(moved(f"<{one.contact}>"))
        two.does((0.1, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert alice.seen == ["100", "200"]


def test_at_most_eight() -> None:
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, one = s.phones("alice", "one")
        plan = fork(one.contact, recurse=True)
        more = [f"<sip:{number}@{one.address}>" for number in range(12)]
        one.does(moved(*more))
        alice.calls(BOB)
        s.engine.advance(5)
        assert len(one.invites) == 9 and alice.seen == ["100", "302"]


@pytest.mark.parametrize("asked", [True, False])
def test_not_followed_where_nobody_asks_for_it(asked: bool) -> None:
    with scene(lambda _: fork(one.contact) if asked else None, asks=REQUESTS) as s:
        alice, one, two = s.phones("alice", "one", "two")
        s.engine.bind("bob@example.com", one.contact)
        one.does(moved(f"<{two.contact}>"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert not two.seen and headers(alice.got("302")[0], "Contact") == [f"<{two.contact}>"]


def test_registered_contacts_are_followed_by_a_setting() -> None:
    with scene(recurse=True) as s:
        alice, (one, two) = s.fork("one", "two")
        three = s.phone("three")
        one.does(moved(f"<{three.contact}?Subject=x>"))
        two.does((0.1, "486 Busy Here"))
        three.does((0.1, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert alice.seen == ["100", "200"] and three.invites[0].startswith(f"INVITE {three.contact} SIP/2.0")


def test_contacts_nobody_can_be_reached_at() -> None:
    """16.7 step 4: what is not followed here is for the caller."""
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, one = s.phones("alice", "one")
        plan = fork(one.contact, recurse=True)
        one.does(moved("<tel:+4930>", "<sip:bob@far.invalid>", "<sips:bob@127.0.0.1>", "<mailto:bob@example.com>"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert alice.seen == ["100", "302"] and "far.invalid" in alice.got("302")[0]


@pytest.mark.parametrize("by_setting", [False, True])
def test_contacts_of_ours_are_for_the_caller(by_setting: bool) -> None:
    """Who calls an address of this server's has services and rights decide anew: he does so himself."""
    with scene(None if by_setting else lambda _: plan, asks=[] if by_setting else REQUESTS, recurse=by_setting) as s:
        alice, one, carol = s.phones("alice", "one", "carol")
        s.engine.bind("carol@example.com", carol.contact)
        s.engine.bind("bob@example.com", one.contact)
        plan = fork(one.contact, recurse=True)
        ours = ["<sip:carol@example.com>", f"<sip:carol@{s.engine.address}>", "<sip:+1972@example.com;user=phone>"]
        one.does(moved(*ours))
        alice.calls(BOB)
        s.engine.advance(5)
        assert alice.seen == ["100", "302"] and len(one.invites) == 1 and not carol.seen
        assert headers(alice.got("302")[0], "Contact") == [", ".join(ours)]


def test_contacts_of_ours_beside_others() -> None:
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, one, two = s.phones("alice", "one", "two")
        plan = fork(one.contact, recurse=True)
        one.does(moved("<sip:carol@example.com>", f"<{two.contact}>"))
        two.does((0.1, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert alice.seen == ["100", "200"]


def test_redirected_goes_on() -> None:
    with scene(lambda _: plan, asks=REQUESTS) as s:
        alice, one, two = s.phones("alice", "one", "two")
        plan = hunt(one.contact, two.contact, onward={REDIRECTED})
        one.does(moved("<sip:x@192.0.2.1>"))
        two.does((0.1, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert alice.seen == ["100", "200"]


def failing(*phones: Phone) -> Plan:
    return Plan((step(*(phone.contact for phone in phones), ring_time=5, onward=ANY),), on_failure=True)


def test_the_policy_has_a_word_after_a_failure() -> None:
    def asked(question: Question) -> object:
        return failing(one, two, silent) if question.kind != FAILURE else fork(three.contact)

    with scene(asked, asks=REQUESTS) as s:
        alice, one, two, silent, three = s.phones("alice", "one", "two", "silent", "three")
        one.does((0.1, "486 Busy Here", "X-Why: busy"))
        two.does((0.1, "180 Ringing"))
        three.does((0.1, "180 Ringing"), (1, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(60)
        assert alice.seen == ["100", "180", "180", "200"]
        question = s.questions[1]
        assert question.kind == FAILURE and question.data.decode() == alice.text and question.aor == b"bob@example.com"
        found = {response.target: response for response in responses_of(question)}
        assert {number: one.status for number, one in found.items()} == {0: 486, 1: 408, 2: 408}
        message = found[0].message
        assert message is not None and message.headers["X-Why"] == "busy" and found[2].message is None


@pytest.mark.parametrize("answer", ["none", "reject", "late", "same"])
def test_other_words_after_a_failure(answer: str) -> None:
    def asked(question: Question) -> object:
        if question.kind != FAILURE or answer == "same":
            return failing(one)
        return {"none": None, "reject": reject(480), "late": Engine.later}[answer]

    with scene(asked, asks=REQUESTS) as s:
        alice, one = s.phones("alice", "one")
        one.does((0.1, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(10)
        assert alice.seen == ["100", "480" if answer == "reject" else "486"]
        assert len(one.invites) == (9 if answer == "same" else 1), "it may go on, but not for ever"


@pytest.mark.parametrize("what", ["603 Decline", "200 OK", "cancel"])
def test_not_asked_where_nothing_can_follow(what: str) -> None:
    with scene(lambda _: failing(one), asks=REQUESTS) as s:
        alice, one = s.phones("alice", "one")
        one.does((0.1, "180 Ringing") if what == "cancel" else (0.1, what))
        alice.calls(BOB)
        s.engine.advance(1)
        if what == "cancel":
            alice.cancels()
        s.engine.advance(1)
        assert len(s.questions) == 1 and alice.seen[-1] == {"cancel": "487"}.get(what, what[:3])


def test_cancel_while_the_policy_thinks_about_a_failure() -> None:
    def asked(question: Question) -> object:
        return failing(one) if question.kind != FAILURE else Engine.later

    with scene(asked, asks=REQUESTS) as s:
        alice, one = s.phones("alice", "one")
        one.does((0.1, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(1)
        alice.cancels()
        s.engine.advance(0)
        assert alice.seen == ["100", "200 CANCEL", "487"]
        s.engine.answer(s.questions[1].token, fork(one.contact))
        s.engine.advance(1)
        assert len(one.invites) == 1
