"""Several servers of one target (RFC 3263 4.3): the next one where the one before is silent, refuses with 503 or cannot
be sent to, whatever else rings, and nobody above hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from engine import header
from plans import Phone, Scene, scene, tag_of

from fastsip.policy.plan import ANY, BUSY, NO_ANSWER, TIMEOUT, UNAVAILABLE, Plan, Target, fork, hunt, reject, step
from fastsip.policy.request import FAILURE, Question

BOB = "sip:bob@example.com"
UNREACHABLE = "sip:192.0.2.1:5060;transport=tcp"
"""Nothing is sent by TCP in a scene."""


def at(one: Phone) -> str:
    return f"sip:{one.address}"


def served(*servers: Phone, patience: float = 2, uri: str = BOB) -> Target:
    """Somebody who is at the first of these, or else at the next."""
    return Target(uri, hop=at(servers[0]), spares=tuple(map(at, servers[1:])), patience=patience)


@contextmanager
def house(make: Callable[..., Plan], *names: str) -> Iterator[tuple[Scene, Phone, list[Phone]]]:
    """A caller, and phones by these names of which such a plan is made."""
    phones: list[Phone] = []

    def asked(question: Question) -> Plan | None:
        return make(*phones) if question.kind != FAILURE else None

    with scene(asked, asks=["requests"]) as s:
        alice = s.phone("alice")
        phones += s.phones(*names)
        yield s, alice, phones


def test_silence() -> None:
    with house(lambda one, two: fork(served(one, two)), "one", "two") as (s, alice, (one, two)):
        two.does((0.1, "180 Ringing"), (1, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(40)
        assert one.at("INVITE") == [0, 0.5, 1.5] and two.at("INVITE") == [2]
        assert two.invites[0].startswith(f"INVITE {BOB} ")
        assert alice.seen == ["100", "180", "200"]


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_503(method: str) -> None:
    with house(lambda one, two: fork(served(one, two)), "one", "two") as (s, alice, (one, two)):
        one.does((0.1, "503 Service Unavailable", "Retry-After: 60"))
        two.does((0.1, "200 OK"))
        alice.calls(BOB, method=method)
        s.engine.advance(5)
        assert two.at(method) == [0.1] and [what.split()[0] for what in alice.seen if what != "100"] == ["200"]


def test_what_cannot_be_sent() -> None:
    def make(one: Phone, two: Phone) -> Plan:
        return fork(Target(BOB, hop=UNREACHABLE, spares=(UNREACHABLE, at(one), at(two)), patience=2))

    with house(make, "one", "two") as (s, alice, (one, two)):
        one.does((0, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(1)
        assert one.at("INVITE") == [0] and not two.invites and alice.seen[-1] == "200"


@pytest.mark.parametrize("answer", ["486 Busy Here", "404 Not Found", "500 Server Internal Error", "603 Decline"])
def test_an_answer_is_an_answer(answer: str) -> None:
    with house(lambda one, two: fork(served(one, two)), "one", "two") as (s, alice, (one, two)):
        one.does((0.1, answer))
        alice.calls(BOB)
        s.engine.advance(5)
        assert not two.invites and alice.seen == ["100", answer[:3]]


def test_a_word_is_enough() -> None:
    with house(lambda one, two: fork(served(one, two)), "one", "two") as (s, alice, (one, two)):
        one.does((1.9, "100 Trying"), (50, "486 Busy Here"))
        alice.calls(BOB)
        s.engine.advance(60)
        assert not two.invites and alice.seen == ["100", "486"]


def test_the_last_one_has_all_the_time_there_is() -> None:
    with house(lambda one, two: fork(served(one, two)), "one", "two") as (s, alice, (_one, two)):
        two.does((20, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(40)
        assert alice.seen == ["100", "200"] and alice.at("200") == [22]


def test_try_time_is_for_all_of_them() -> None:
    def make(one: Phone, two: Phone) -> Plan:
        return fork(Target(BOB, hop=at(one), spares=(at(two),), try_time=3))

    with house(make, "one", "two") as (s, alice, (_one, two)):
        alice.calls(BOB)
        s.engine.advance(20)
        assert two.at("INVITE")[0] == 3 and alice.seen == ["100", "408"] and alice.at("408") == [6]


@pytest.mark.parametrize(
    ("habits", "told"),
    [
        ([[(0, "503 No")], [(0, "503 No")], [(0, "503 No")]], "500"),
        ([[(0, "503 No")], [], [(0, "488 Not Acceptable")]], "488"),
        ([[], [(0, "503 No")], []], "408"),
    ],
)
def test_all_fail(habits: list[list[tuple[float | str, ...]]], told: str) -> None:
    """The caller hears what the last one said."""
    with house(lambda *all: fork(served(*all)), "one", "two", "three") as (s, alice, phones):
        for phone, habit in zip(phones, habits, strict=True):
            phone.does(*habit)
        alice.calls(BOB)
        s.engine.advance(40)
        assert all(phone.invites for phone in phones) and alice.seen == ["100", told]


def test_beside_others() -> None:
    """A fork goes on meanwhile, and who answers ends what rings in place of another."""

    def make(one: Phone, two: Phone, other: Phone) -> Plan:
        return fork(served(one, two), Target(other.contact))

    with house(make, "one", "two", "other") as (s, alice, (_one, two, other)):
        other.does((0.1, "180 Ringing"), (4, "200 OK"))
        two.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(10)
        assert two.at("INVITE") == [2] and two.seen == ["INVITE", "CANCEL", "ACK"]
        assert alice.seen == ["100", "180", "180", "200"] and tag_of(alice.got("200")[0]) == "other"


def test_the_other_way_round() -> None:
    def make(one: Phone, two: Phone, other: Phone) -> Plan:
        return fork(served(one, two), Target(other.contact))

    with house(make, "one", "two", "other") as (s, alice, (one, two, other)):
        one.does((0.1, "503 No"))
        two.does((1, "200 OK"))
        other.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(10)
        assert other.seen == ["INVITE", "CANCEL", "ACK"] and tag_of(alice.got("200")[0]) == "two"


def test_none_is_tried_when_the_call_is_decided() -> None:
    def make(one: Phone, two: Phone, other: Phone) -> Plan:
        return fork(served(one, two), Target(other.contact))

    for answer in ("200 OK", "600 Busy Everywhere"):
        with house(make, "one", "two", "other") as (s, alice, (_one, two, other)):
            other.does((1, answer))
            alice.calls(BOB)
            s.engine.advance(40)
            assert not two.invites and alice.seen == ["100", answer[:3]]


def test_none_is_tried_when_the_caller_gives_up() -> None:
    with house(lambda one, two: fork(served(one, two)), "one", "two") as (s, alice, (_one, two)):
        alice.calls(BOB)
        s.engine.advance(1)
        alice.cancels()
        s.engine.advance(40)
        assert not two.invites and alice.seen == ["100", "200 CANCEL", "487"]


def test_a_late_word_of_the_silent_one() -> None:
    with house(lambda one, two: fork(served(one, two)), "one", "two") as (s, alice, (one, two)):
        one.does((3, "180 Ringing"))
        two.does((0.5, "180 Ringing"), (5, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(10)
        assert one.seen == ["INVITE"] * 3 + ["CANCEL", "ACK"] and alice.seen == ["100", "180", "200"]


def test_a_late_answer_of_the_silent_one() -> None:
    with house(lambda one, two: fork(served(one, two)), "one", "two") as (s, alice, (one, two)):
        one.does((3, "200 OK"))
        two.does((0.5, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(10)
        assert tag_of(alice.got("200")[0]) == "one" and two.seen == ["INVITE", "CANCEL", "ACK"]


def test_who_is_alone_rings_as_long_as_ever() -> None:
    def make(one: Phone, two: Phone) -> Plan:
        return Plan((step(served(one, two), ring_time=5),))

    with house(make, "one", "two") as (s, alice, (_one, two)):
        two.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(20)
        assert two.at("CANCEL") == [7] and alice.seen == ["100", "180", "408"]


def test_among_others_the_ring_time_is_that_of_all() -> None:
    def make(one: Phone, two: Phone, other: Phone) -> Plan:
        return Plan((step(served(one, two), other.contact, ring_time=5),))

    with house(make, "one", "two", "other") as (s, alice, (_one, two, other)):
        two.does((0.1, "180 Ringing"))
        other.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(20)
        assert two.at("CANCEL") == other.at("CANCEL") == [5]


@pytest.mark.parametrize(
    ("answer", "follows"), [("486 Busy Here", BUSY), ("503 No", UNAVAILABLE), (None, TIMEOUT), ("480 Away", NO_ANSWER)]
)
def test_the_steps_outcome_is_that_of_the_last(answer: str | None, follows: object) -> None:
    for onward, tried in (({follows}, True), (set(ANY) - {follows}, False)):

        def make(one: Phone, two: Phone, mail: Phone, onward: set[object] = onward) -> Plan:
            return Plan((step(served(one, two), onward=onward), step(mail.contact)))

        with house(make, "one", "two", "mail") as (s, alice, (one, two, mail)):
            one.does((0, "503 No"))
            if answer:
                two.does((0, answer))
            alice.calls(BOB)
            s.engine.advance(40)
            assert bool(mail.invites) is tried and len(two.invites) == 1


def test_on_failure_is_told_of_the_last_one_under_the_targets_number() -> None:
    seen: list[list[tuple[int, int]]] = []

    def asked(question: Question) -> object:
        if question.kind == FAILURE:
            seen.append([(status, target) for status, target, _ in question.responses])
            return reject(603)
        return Plan((step(other.contact, served(one, two)),), on_failure=True)

    with scene(asked, asks=["requests"]) as s:
        alice, one, two, other = s.phones("alice", "one", "two", "other")
        one.does((0, "503 No"))
        two.does((0, "488 No"))
        other.does((0, "486 Busy"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert seen == [[(486, 0), (488, 1)]] and alice.seen == ["100", "603"]


def test_max_breadth_is_handed_on() -> None:
    """RFC 5393 5.3.3.1: one is in flight at a time."""

    def make(one: Phone, two: Phone, other: Phone) -> Plan:
        return fork(served(one, two), Target(other.contact))

    with house(make, "one", "two", "other") as (s, alice, (one, two, other)):
        alice.calls(BOB, "Max-Breadth: 2")
        s.engine.advance(40)
        assert [header(phone.invites[0], "Max-Breadth") for phone in (one, two, other)] == ["1", "1", "1"]


def test_a_redirect_of_a_spare_is_followed() -> None:
    with scene(lambda _: fork(served(one, two), recurse=True), asks=["requests"]) as s:
        alice, one, two, mail = s.phones("alice", "one", "two", "mail")
        one.does((0, "503 No"))
        two.does((0, "302 There", f"Contact: <{mail.contact}>"))
        mail.does((0, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert tag_of(alice.got("200")[0]) == "mail"


def test_one_after_another_each_with_spares() -> None:
    with house(lambda a, b, c, d: hunt(served(a, b), served(c, d)), "a", "b", "c", "d") as (s, alice, phones):
        phones[3].does((0, "200 OK"))
        phones[1].does((0, "503 No"))
        alice.calls(BOB)
        s.engine.advance(40)
        assert [phone.at("INVITE")[0] for phone in phones] == [0, 2, 2, 4] and alice.seen == ["100", "200"]


def test_what_else_a_target_says_is_said_to_all() -> None:
    def make(one: Phone, two: Phone) -> Plan:
        more = {"headers": (("X-A", "1"),), "remove": ("Subject",), "patience": 1}
        return fork(Target(BOB, hop=at(one), spares=(at(two),), **more))  # type: ignore[arg-type]

    with house(make, "one", "two") as (s, alice, phones):
        alice.calls(BOB, "Subject: lunch")
        s.engine.advance(5)
        for phone in phones:
            assert header(phone.invites[0], "X-A") == "1" and "lunch" not in phone.invites[0]
