"""Next hops that are names, in the engine: who waits for them, for how long, who is tried next (RFC 3263 4)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from engine import header
from plans import Phone, scene

PEER = "sip:carol@peer.example.net"


def at(phone: Phone, tier: int = 0, choice: int = 0, weight: float = 1.0) -> tuple[str, str, int, int, int, float]:
    return "udp", phone.host, phone.port, tier, choice, weight


def test_a_name_is_asked_for_once_and_known_afterwards() -> None:
    with scene(names={}) as s:
        alice, carol = s.phones("alice", "carol")
        carol.does((0.1, "200 OK"))
        alice.calls(PEER)
        s.engine.advance(0.3)
        assert alice.seen == ["100"] and carol.seen == [] and s.engine.sought == ["peer.example.net"]
        s.engine.say("peer.example.net", at(carol))
        s.engine.advance(0.2)
        assert alice.seen == ["100", "200"]
        assert carol.invites[0].startswith(f"INVITE {PEER} SIP/2.0"), "the Request-URI stays"
        alice.calls("sip:carol@PEER.example.net.")
        s.engine.advance(0.2)
        assert len(carol.invites) == 2 and s.engine.sought == ["peer.example.net"]
        s.engine.advance(60)
        alice.calls(PEER)
        s.engine.advance(0.2)
        assert s.engine.sought == ["peer.example.net"] * 2, "its time was over"
        assert len(carol.invites) == 3


@pytest.mark.parametrize(("method", "seen"), [("INVITE", ["100", "500"]), ("MESSAGE", ["500 MESSAGE"])])
def test_no_answer_within_the_time(method: str, seen: list[str]) -> None:
    with scene(names={}, dns_timeout=3000) as s:
        alice = s.phone("alice")
        alice.calls(PEER, method=method)
        s.engine.advance(2.9)
        assert alice.seen == seen[:-1]
        s.engine.advance(0.2)
        assert alice.seen == seen and s.engine.counters()["names_late"] == 1
        s.engine.say("peer.example.net")  # too late


@pytest.mark.parametrize("uri", [PEER, "sip:carol@192.0.2.300", "sip:carol@peer.example.net;maddr=other.example.net"])
def test_no_server(uri: str) -> None:
    with scene(names={"peer.example.net": (), "other.example.net": (), "192.0.2.300": ()}) as s:
        alice = s.phone("alice")
        for _ in range(2):
            alice.calls(uri)
            s.engine.advance(0.1)
        assert alice.seen == ["100", "500", "500"] and len(s.engine.sought) == 1
        assert ("other" in s.engine.sought[0]) == ("maddr" in uri)


def test_nobody_is_asked_for_strangers() -> None:
    """16.3: rights first. An ACK of nobody's, and the token of no dialog, are no reason either."""
    token = "rt=" + "0" * 24
    with scene(names={}, open_relay=False) as s:
        alice = s.phone("alice")
        for method in ("INVITE", "BYE", "MESSAGE", "ACK"):
            for extra in ((), ("Route: <sip:peer.example.net;lr>",), (f"Route: <sip:{s.engine.address};lr;{token}>",)):
                alice.calls(PEER, *extra, method=method, to="<sip:carol@example.net>;tag=1")
        s.engine.advance(1)
        assert s.engine.sought == [] and {one.split()[0] for one in alice.seen} == {"403"}


def test_retransmissions_and_cancel_while_it_waits() -> None:
    with scene(names={}) as s:
        alice, carol = s.phones("alice", "carol")
        alice.calls(PEER)
        s.engine.advance(0.5)
        alice.again()
        s.engine.advance(0.5)
        alice.cancels()
        s.engine.advance(0.1)
        assert alice.seen == ["100", "100", "200 CANCEL", "487"]
        s.engine.say("peer.example.net", at(carol))
        s.engine.advance(1)
        assert carol.seen == [] and s.engine.sought == ["peer.example.net"]


ROUTES = {
    "Route": ("Route: <sip:peer.example.net;lr>",),
    "Request-URI": (),
    "strict": ("Route: <sip:peer.example.net>",),
}


@pytest.mark.parametrize("kind", ROUTES)
@pytest.mark.parametrize("failure", ["silence", "503"])
def test_the_next_server_after_a_failure(kind: str, failure: str) -> None:
    """4.3: with what it would have been sent, at the same place."""
    with scene(names={}) as s:
        alice, first, second = s.phones("alice", "first", "second")
        s.engine.names["peer.example.net"] = (at(first), at(second, 1, 1))
        if failure == "503":
            first.does((0, "503 Service Unavailable"))
        second.does((0, "200 OK"))
        uri = PEER if kind == "Request-URI" else "sip:carol@192.0.2.9"
        alice.calls(uri, *ROUTES[kind])
        s.engine.advance(0.1 if failure == "503" else 4.1)
        assert alice.seen == ["100", "200"]
        there = "sip:peer.example.net" if kind == "strict" else uri
        assert [one.split()[1] for one in first.invites + second.invites] == [there, there]
        assert s.engine.failed == [(first.host, first.port)]
        # It comes last for a while, and is not forgotten.
        alice.calls(uri, *ROUTES[kind])
        s.engine.advance(0.1)
        assert len(first.invites) == 1 and len(second.invites) == 2
        s.engine.advance(31)
        alice.calls(uri, *ROUTES[kind])
        s.engine.advance(0.1)
        assert len(first.invites) == 2


@pytest.mark.parametrize(
    ("answer", "seen"),
    [("404 Not Found", "404"), ("486 Busy Here", "486"), ("500 Error", "500"), ("603 Decline", "603")],
)
def test_other_answers_are_answers(answer: str, seen: str) -> None:
    with scene(names={}) as s:
        alice, first, second = s.phones("alice", "first", "second")
        s.engine.names["peer.example.net"] = (at(first), at(second, 1, 1))
        first.does((0.1, "180 Ringing"), (20, answer))
        alice.calls(PEER)
        s.engine.advance(21)
        assert alice.seen == ["100", "180", seen] and second.seen == [] and s.engine.failed == []


def test_all_fail() -> None:
    """16.7 step 6: no 503 from below goes up."""
    with scene(names={}) as s:
        alice, first, second = s.phones("alice", "first", "second")
        s.engine.names["peer.example.net"] = (at(first), at(second, 1, 1))
        first.does((0, "503 Service Unavailable"))
        second.does((0, "503 Service Unavailable"))
        alice.calls(PEER)
        s.engine.advance(1)
        assert alice.seen == ["100", "500"] and len(s.engine.failed) == 2


def test_weights_and_priorities() -> None:
    """RFC 2782: each request is a draw; no request goes to a lower priority while a higher one works."""
    with scene(names={}) as s:
        alice, one, three, last = s.phones("alice", "one", "three", "last")
        for phone in (one, three, last):
            phone.does((0, "200 OK"))
        s.engine.names["peer.example.net"] = (at(three, 0, 0, 3.0), at(one, 0, 1, 1.0), at(last, 1, 2))
        for _ in range(400):
            alice.calls(PEER, method="MESSAGE")
            s.engine.advance(0.01)
        got = Counter({phone.name: len(phone.invites) for phone in (one, three, last)})
        assert got["last"] == 0 and got["one"] + got["three"] == 400
        assert 65 <= got["one"] <= 140, got


def binding(phone: Phone, host: str) -> str:
    return f"sip:{phone.name}@{host}:{phone.port}"


def test_contacts_that_are_names() -> None:
    """Somebody who registered by name is found, beside one who did so by address; what is not found is passed over."""
    with scene(names={}) as s:
        alice, one, two = s.phones("alice", "one", "two")
        for phone in (one, two):
            phone.does((0.1, "180 Ringing"))
        s.engine.names["gone.example.com"] = ()
        s.engine.bind("bob@example.com", binding(one, "one.example.com"), two.contact, "sip:x@gone.example.com")
        alice.calls("sip:bob@example.com")
        s.engine.advance(0.5)
        assert one.seen == two.seen == []
        s.engine.say("one.example.com", at(one))
        s.engine.advance(0.5)
        assert one.seen == two.seen == ["INVITE"] and alice.seen == ["100", "180", "180"]
        assert one.invites[0].split()[1] == binding(one, "one.example.com")
        alice.cancels()


@pytest.mark.parametrize(("contacts", "seen"), [(["named"], ["100", "480"]), (["named", "numeric"], ["100", "180"])])
def test_contacts_nobody_says_anything_about(contacts: list[str], seen: list[str]) -> None:
    with scene(names={}, dns_timeout=3000) as s:
        alice, two = s.phones("alice", "two")
        two.does((0.1, "180 Ringing"))
        known = {"named": "sip:x@slow.example.com", "numeric": two.contact}
        s.engine.bind("bob@example.com", *(known[one] for one in contacts))
        alice.calls("sip:bob@example.com")
        s.engine.advance(3.3)
        assert alice.seen == seen
        if len(contacts) > 1:
            alice.cancels()


def in_dialog(s: Any, alice: Phone, carol: Phone, method: str, contact: str) -> str:
    ok = alice.got("200")[-1]
    route = header(ok, "Record-Route")
    return alice.calls(
        contact,
        f"Route: {route}",
        method=method,
        call=header(ok, "Call-ID"),
        to=header(ok, "To"),
        cseq=1 if method == "ACK" else 2,
    )


def test_requests_of_a_dialog_whose_target_is_a_name() -> None:
    """ACK has no transaction to wait in, and arrives all the same."""
    with scene(names={}) as s:
        alice, carol = s.phones("alice", "carol")
        carol.does((0.1, "200 OK", f"Contact: <{binding(carol, 'carol.example.net')}>"))
        alice.calls(f"sip:carol@{carol.address}")
        s.engine.advance(0.3)
        in_dialog(s, alice, carol, "ACK", binding(carol, "carol.example.net"))
        s.engine.advance(0.2)
        assert carol.seen == ["INVITE"] and s.engine.sought == ["carol.example.net"]
        s.engine.say("carol.example.net", at(carol))
        s.engine.advance(0)
        assert carol.seen == ["INVITE", "ACK"]
        in_dialog(s, alice, carol, "BYE", binding(carol, "carol.example.net"))
        s.engine.advance(0.2)
        assert carol.seen == ["INVITE", "ACK", "BYE"] and alice.seen[-1] == "200 BYE"


def test_a_stranger_in_his_dialog_with_a_contact_that_is_a_name() -> None:
    """His right is the token in his Route. It is for any server the name has, and, while that is looked for again, for
    those it had."""
    name = "bob.example.com"
    with scene(names={}, open_relay=False) as s:
        alice, one, two = s.phones("alice", "one", "two")
        for phone in (one, two):
            phone.does((0.1, "200 OK", f"Contact: <sip:bob@{name}>"))
        s.engine.names[name] = (at(one), at(two, 0, 1))
        s.engine.bind("bob@example.com", f"sip:bob@{name}")
        for _ in range(8):
            alice.calls("sip:bob@example.com")
            s.engine.advance(0.3)
            in_dialog(s, alice, one, "ACK", f"sip:bob@{name}")
            in_dialog(s, alice, one, "INFO", f"sip:bob@{name}")
            s.engine.advance(0.1)
            assert alice.seen[-1] == "200 INFO"
        alice.calls("sip:bob@example.com")
        s.engine.advance(0.3)
        in_dialog(s, alice, one, "ACK", f"sip:bob@{name}")
        del s.engine.names[name]
        s.engine.advance(120)  # what was known of it has had its time
        before = len(s.engine.sought)
        in_dialog(s, alice, one, "BYE", f"sip:bob@{name}")
        s.engine.advance(0.1)
        assert s.engine.sought[before:] == [name]
        s.engine.say(name, at(one), at(two, 0, 1))
        s.engine.advance(0.1)
        assert alice.seen[-1] == "200 BYE"
        in_dialog(s, alice, one, "INFO", "sip:bob@other.example.net")
        s.engine.advance(0.1)
        assert alice.seen[-1] == "403 INFO" and s.engine.sought[before:] == [name]


def test_stateless() -> None:
    """4.4: always the same server, also for CANCEL and ACK; while it is not known the request waits as a datagram."""
    with scene(names={}, roles={"example.com": "stateless"}, stateless=[0]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        one.does((0.1, "180 Ringing"))
        alice.calls(PEER)
        s.engine.advance(0.2)
        assert alice.seen == []
        s.engine.say("peer.example.net", at(one, 0, 0, 1.0), at(two, 0, 1, 1.0))
        s.engine.advance(0.2)
        assert alice.seen == ["180"]
        alice.cancels()
        for _ in range(20):
            alice.again()
            alice.calls(PEER, method="MESSAGE")
        s.engine.advance(0.2)
        assert two.seen == [] and "CANCEL" in one.seen


def test_those_that_wait_are_bounded() -> None:
    with scene(names={}, dns_timeout=3000) as s:
        alice = s.phone("alice")
        for number in range(4100):
            alice.calls(f"sip:x@n{number}.example.net", method="MESSAGE")
            if number % 50 == 0:
                s.engine.advance(0)
        s.engine.advance(0)
        assert alice.seen == ["503 MESSAGE"] * 4 and s.engine.counters()["names_refused"] == 4
        s.engine.advance(3.1)
        assert Counter(alice.seen) == {"503 MESSAGE": 4, "500 MESSAGE": 4096}


@pytest.mark.parametrize(("known", "seen"), [(True, "200"), (False, "500"), (None, "500")])
def test_contacts_of_a_redirection(known: bool | None, seen: str) -> None:
    """16.5: a 3xx that is followed here leads to names too; None: nobody says anything of them."""
    with scene(names={}, recurse=True, dns_timeout=3000) as s:
        alice, bob, carol = s.phones("alice", "bob", "carol")
        bob.does((0.1, "302 Moved", f"Contact: <{binding(carol, 'carol.example.net')}>"))
        carol.does((0.1, "180 Ringing"), (0.2, "200 OK"))
        s.engine.bind("bob@example.com", bob.contact)
        alice.calls("sip:bob@example.com")
        s.engine.advance(0.3)
        assert s.engine.sought == ["carol.example.net"] and alice.seen == ["100"]
        if known is not None:
            s.engine.say("carol.example.net", *([at(carol)] if known else []))
        s.engine.advance(0.5 if known is not None else 3)
        assert alice.seen == (["100", "180", seen] if known else ["100", seen])
        alice.calls("sip:bob@example.com")
        s.engine.advance(0.2)
        alice.cancels()
        s.engine.advance(0.5)
