"""Questions to a policy thread: who is asked about, what the caller hears meanwhile, what comes of late answers."""

from __future__ import annotations

import pytest
from engine import header, headers
from plans import planned, scene, tag_of

from fastsip._location import RECORD_SERVICES
from fastsip.policy.plan import Answer, Plan, Target, fork, redirect, reject
from fastsip.policy.request import AUTHENTICATED, CANCELLED, KNOWN, OWN, RESPONSE, ROUTE, TRUSTED, Question
from fastsip.testing import Engine

BOB = "sip:bob@example.com"
REQUESTS = ["requests"]


def later(_: Question) -> object:
    return Engine.later


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "OPTIONS", "NEWMETHOD"])
def test_100_within_200_ms_to_an_invite_alone(method: str) -> None:
    """17.2.1, and RFC 4320 4.1."""
    with scene(later, asks=REQUESTS) as s:
        alice, bob = s.phones("alice", "bob")
        alice.calls(BOB, method=method)
        s.engine.advance(0.2)
        assert alice.seen == (["100"] if method == "INVITE" else [])
        (question,) = s.questions
        s.engine.answer(question.token, fork(bob.contact))
        s.engine.advance(0.1)
        assert [text.split()[0] for text in bob.invites] == [method]
        bob.answers("200 OK")
        s.engine.advance(0.1)
        assert alice.seen[-1].startswith("200")


def test_what_the_policy_sees() -> None:
    with scene(asks=REQUESTS) as s:
        alice = s.phone("alice")
        text = alice.calls("sip:Bob@EXAMPLE.com;x=y")
        s.engine.advance(0)
        (question,) = s.questions
        assert question.kind == ROUTE and question.aor == b"Bob@example.com" and question.caller == b"alice@example.com"
        assert question.flags & (OWN | TRUSTED | AUTHENTICATED | KNOWN) == OWN | TRUSTED
        assert question.source == (alice.host, alice.port) and question.data.decode() == text
        assert not question.responses


def test_retransmissions_while_it_thinks() -> None:
    with scene(later, asks=REQUESTS) as s:
        alice = s.phone("alice")
        for method in ("INVITE", "MESSAGE"):
            alice.calls(BOB, method=method)
            for _ in range(3):
                s.engine.advance(0.5)
                alice.again()
            s.engine.advance(0)
        assert len(s.questions) == 2
        assert alice.seen == ["100"] * 4
        for question in s.questions:
            s.engine.answer(question.token, reject(404))
        s.engine.advance(0)
        assert sorted(alice.seen[4:]) == ["404", "404 MESSAGE"]


def test_cancel_while_it_thinks() -> None:
    with scene(later, asks=REQUESTS) as s:
        alice, bob = s.phones("alice", "bob")
        alice.calls(BOB)
        s.engine.advance(1)
        alice.cancels()
        s.engine.advance(0)
        assert alice.seen == ["100", "200 CANCEL", "487"]
        asked, cancelled = s.questions
        assert cancelled.kind == CANCELLED and cancelled.token == asked.token
        s.engine.answer(asked.token, fork(bob.contact))
        alice.calls(BOB)
        s.engine.answer(asked.token, fork(bob.contact))
        s.engine.advance(1)
        assert bob.seen == [], "a plan nobody waits for"
        assert s.engine.counters()["calls_cancelled"] == 1


def test_cancel_and_plan_at_one_moment() -> None:
    for plan_first in (True, False):
        with scene(later, asks=REQUESTS) as s:
            alice, bob = s.phones("alice", "bob")
            bob.does((0.1, "180 Ringing"))
            alice.calls(BOB)
            s.engine.advance(1)
            if plan_first:
                s.engine.answer(s.questions[0].token, fork(bob.contact))
                s.engine.advance(0)
            alice.cancels()
            s.engine.answer(s.questions[0].token, fork(bob.contact))
            s.engine.advance(1)
            assert alice.seen[-1] == "487"
            assert bob.seen in ([], ["INVITE", "CANCEL", "ACK"])


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_deadline(method: str) -> None:
    with scene(later, asks=REQUESTS, policy_timeout=3000) as s:
        alice, bob = s.phones("alice", "bob")
        alice.calls(BOB, method=method)
        s.engine.advance(2.9)
        assert len(s.questions) == 1
        s.engine.advance(0.2)
        assert alice.seen[-1].split()[0] == "500" and alice.received[-1][0] == 3
        assert [question.kind for question in s.questions] == [ROUTE, CANCELLED]
        s.engine.answer(s.questions[0].token, fork(bob.contact))
        s.engine.advance(1)
        assert bob.seen == [] and s.engine.counters()["policy_late"] == 1


def test_no_more_may_wait() -> None:
    with scene(later, asks=REQUESTS, policy_waiting=2) as s:
        alice = s.phone("alice")
        for _ in range(3):
            alice.calls(BOB)
            s.engine.advance(0)
        assert alice.seen == ["100", "100", "503"] and headers(alice.got("503")[0], "Retry-After")
        s.engine.answer(s.questions[0].token, reject(486))
        s.engine.advance(0)
        alice.calls(BOB)
        s.engine.advance(0)
        assert alice.seen[3:] == ["486", "100"] and s.engine.counters()["policy_refused"] == 1


def test_none_is_the_way_without_a_policy() -> None:
    with scene(asks=REQUESTS) as s:
        alice, bob = s.phones("alice", "bob")
        s.engine.bind("bob@example.com", bob.contact)
        s.engine.user("carol@example.com", "secret")
        for uri, status in ((BOB, "200"), ("sip:carol@example.com", "480"), ("sip:nobody@example.com", "404")):
            bob.does((0, "200 OK"))
            alice.calls(uri)
            s.engine.advance(1)
            assert alice.seen[-2:] == ["100", status]
        assert [bool(question.flags & KNOWN) for question in s.questions] == [True, True, False]


def test_never_asked_about() -> None:
    """ACK, CANCEL, REGISTER, and what is in a dialog."""
    with scene(asks=REQUESTS) as s:
        alice, bob = s.phones("alice", "bob")
        s.engine.bind("bob@example.com", bob.contact)
        bob.does((0.1, "180 Ringing"), (0.2, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(1)
        alice.cancels()
        alice.calls(BOB, method="MESSAGE", to=f"<{BOB}>;tag=b")
        alice.calls(BOB, method="INVITE", to=f"<{BOB}>;tag=b")
        alice.calls("sip:example.com", method="REGISTER", to="<sip:alice@example.com>")
        alice.send(alice.request("ACK", BOB, to=f"<{BOB}>;tag=b"))
        s.engine.advance(1)
        assert [question.data.split()[0] for question in s.questions] == [b"INVITE"]


def test_which_methods() -> None:
    with scene(asks=REQUESTS, ask_methods=["INVITE"]) as s:
        alice = s.phone("alice")
        for method in ("MESSAGE", "INVITE", "OPTIONS"):
            alice.calls(BOB, method=method)
        s.engine.advance(1)
        assert len(s.questions) == 1


@pytest.mark.parametrize("somebody", ["bob@example.com", "alice@example.com"])
def test_whoever_has_services(somebody: str) -> None:
    """Callee or caller, and only while the control word says that there are services at all."""
    with scene() as s:
        alice = s.phone("alice")
        s.engine.segment.put(RECORD_SERVICES, somebody.encode(), b"x")
        alice.calls(BOB)
        s.engine.advance(0)
        assert not s.questions
        s.engine.control.services = 1
        alice.calls(BOB)
        alice.calls("sip:carol@example.com", from_="<sip:dave@example.com>")
        s.engine.advance(0)
        assert len(s.questions) == 1


def test_numbers_and_domains() -> None:
    with scene(asks=["numbers"]) as s:
        alice, bob = s.phones("alice", "bob")
        s.engine.bind("bob@example.com", bob.contact)
        for uri in (BOB, "sip:+4930@example.com", "tel:+4930", "sip:x@192.0.2.1"):
            alice.calls(uri)
        s.engine.advance(0)
        assert [question.data.split()[1] for question in s.questions] == [b"sip:+4930@example.com", b"tel:+4930"]
        bob.answers("486 Busy Here")
    with scene(lambda _: reject(403), asks=["domains"]) as s:
        alice = s.phone("alice")
        for uri in (BOB, "sip:x@192.0.2.1"):
            alice.calls(uri)
        s.engine.advance(0)
        assert [question.data.split()[1] for question in s.questions] == [b"sip:x@192.0.2.1"]


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_reject(method: str) -> None:
    with planned(reject(488, "Not Like That", headers=[("Warning", '399 x "y"'), ("X-Why", "because")])) as s:
        alice = s.phone("alice")
        alice.calls(BOB, method=method)
        s.engine.advance(1)
        told = alice.received[-1][1]
        assert told.startswith("SIP/2.0 488 Not Like That\r\n") and header(told, "X-Why") == "because"
        assert header(told, "Warning") == '399 x "y"' and tag_of(told) and header(told, "Content-Length") == "0"


@pytest.mark.parametrize(("method", "status"), [("INVITE", "408"), ("MESSAGE", "504 MESSAGE")])
def test_no_408_to_another_method(method: str, status: str) -> None:
    """RFC 4320 4.2."""
    with planned(reject(408)) as s:
        alice = s.phone("alice")
        alice.calls(BOB, method=method)
        s.engine.advance(1)
        assert alice.seen[-1] == status


def test_redirect() -> None:
    with planned(redirect("sip:one@192.0.2.1", "sip:two@192.0.2.2;x=1", status=301)) as s:
        alice = s.phone("alice")
        alice.calls(BOB)
        s.engine.advance(1)
        (told,) = alice.got("301")
        assert headers(told, "Contact") == ["<sip:one@192.0.2.1>", "<sip:two@192.0.2.2;x=1>"]
        assert told.startswith("SIP/2.0 301 Moved Permanently")


def test_a_redirect_to_what_is_no_sip_uri() -> None:
    plan = redirect(Target("tel:+1972", q=0.25), Target("mailto:bob@example.com", q=0, expires=60), "sip:a@b;x=1?y=,z")
    assert plan.answer is not None and [value for _, value in plan.answer.headers] == [
        "<tel:+1972>;q=0.25", "<mailto:bob@example.com>;q=0;expires=60", "<sip:a@b;x=1?y=,z>",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("contact", "message"),
    [
        ("junk", "'junk' is no URI: expected a scheme"),
        ("", "'' is no URI"),
        ("sip:", "'sip:' is no URI"),
        ("1sip:x@y", "'1sip:x@y' is no URI"),
        ("sip:x@y>;q=1,<sip:z@z", "'sip:x@y>;q=1,<sip:z@z' is no URI"),
        ("sip:x@y z", "'sip:x@y z' is no URI"),
        ("sip:x@y\r\nX: y", r"'sip:x@y\\r\\nX: y' is no URI"),
        ("sip:x@y\n", r"'sip:x@y\\n' is no URI"),
        ('sip:"x"@y', """'sip:"x"@y' is no URI"""),
        ("sip:x\x7f@y", r"'sip:x\\x7f@y' is no URI"),
        (None, "None: expected a URI"),
        (Target("sip:x@y", q=5.0), r"q = 5\.0 of sip:x@y: expected a number from 0 to 1"),
        (Target("sip:x@y", q=-0.1), r"q = -0\.1 of sip:x@y: expected a number"),
        (Target("sip:x@y", q=float("nan")), "q = nan of sip:x@y: expected a number"),
        (Target("sip:x@y", expires=-1), "expires = -1 of sip:x@y: expected whole seconds, not below 0"),
        (Target("sip:x@y", expires=1.5), r"expires = 1\.5 of sip:x@y: expected whole seconds"),  # type: ignore[arg-type]
    ],
)
def test_a_contact_that_cannot_be_written(contact: str | Target, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^redirect: {message}"):
        redirect("sip:good@example.com", contact)


def test_an_answer_of_6xx_and_its_phrase() -> None:
    with planned(Plan(answer=Answer(607, "Unwanted"))) as s:
        alice = s.phone("alice")
        alice.calls(BOB)
        s.engine.advance(1)
        assert alice.got("607")[0].startswith("SIP/2.0 607 Unwanted\r\n")


def test_responses_are_shown() -> None:
    with scene(asks=["responses"]) as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.1, "180 Ringing"), (1, "486 Busy Here"))
        two.does((0.1, "183 Session Progress"), (2, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(3)
        assert [q.data.split()[1] for q in s.questions if q.kind == RESPONSE] == [b"180", b"183", b"200"]
