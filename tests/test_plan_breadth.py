"""Loops, spirals and Max-Breadth (RFC 5393)."""

from __future__ import annotations

import pytest
from engine import header, headers
from plans import Phone, breadths, scene

from fastsip.policy.plan import ANY, Plan, hunt, step

BOB = "sip:bob@example.com"


@pytest.mark.parametrize(
    ("came", "shares"),
    [
        ((), [20, 20, 20]),
        (("Max-Breadth: 60",), [20, 20, 20]),
        (("Max-Breadth: 1000",), [20, 20, 20]),
        (("Max-Breadth: 99999999999999999999",), [20, 20, 20]),
        (("max-breadth: 5",), [2, 2, 1]),
        (("Max-Breadth: 3",), [1, 1, 1]),
        (("Max-Breadth: 7", "Max-Breadth: 60"), [3, 2, 2]),
    ],
)
def test_shared_among_branches(came: tuple[str, ...], shares: list[int]) -> None:
    """5.3.3: together never more than came, never less where it need not be; one value in each request."""
    with scene() as s:
        alice, phones = s.fork("one", "two", "three")
        for phone in phones:
            phone.does((0.1, "486 Busy Here"))
        alice.calls(BOB, *came)
        s.engine.advance(1)
        assert sorted(breadths(phones), reverse=True) == shares
        assert alice.seen == ["100", "486"]


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_440_where_it_does_not_suffice(method: str) -> None:
    with scene() as s:
        alice, phones = s.fork("one", "two", "three")
        alice.calls(BOB, "Max-Breadth: 2", method=method)
        s.engine.advance(1)
        assert alice.seen[-1].startswith("440") and not any(phone.seen for phone in phones)


@pytest.mark.parametrize("value", ["0", "x", "", "-1", "1.5", "5;x", "60, 60", "0x10"])
def test_malformed(value: str) -> None:
    """5.3.1: a positive integer without parameters."""
    with scene() as s:
        alice, phones = s.fork("one", "two")
        alice.calls(BOB, f"Max-Breadth: {value}")
        s.engine.advance(1)
        assert alice.seen == ["400"] and not any(phone.seen for phone in phones)


def test_one_branch_has_all_of_it() -> None:
    with scene() as s:
        alice, (one,) = s.fork("one")
        for came, given in (("Max-Breadth: 1", 1), ("Max-Breadth: 61", 60), ("Subject: none", 60)):
            alice.calls(BOB, came)
            s.engine.advance(0)
            assert int(header(one.invites[-1], "Max-Breadth")) == given
            one.answers("486 Busy Here")
            s.engine.advance(1)


def test_used_again_after_a_final_answer() -> None:
    """5.3.3.1: what a branch had that got a final response is there for the next."""
    with scene() as s:
        alice, *phones = s.phones("alice", "a", "b", "c", "d", "e", "f")
        s.engine.bind(
            "bob@example.com", *((phone.contact, q) for phone, q in zip(phones, (1, 1, 1, 0.5, 0.5, 0.1), strict=True))
        )
        for phone in phones:
            phone.does((0.1, "486 Busy Here"))
        alice.calls(BOB, "Max-Breadth: 3")
        s.engine.advance(5)
        assert breadths(phones) == [1, 1, 1, 2, 1, 3] and alice.seen == ["100", "486"]


def test_late_branches_hold_theirs() -> None:
    """The ring time of two is over, but they have not ended: who comes next waits for one of them."""
    with scene(ring_time=5_000) as s:
        alice, one, two, next = s.phones("alice", "one", "two", "next")
        s.engine.bind("bob@example.com", (one.contact, 1), (two.contact, 1), (next.contact, 0.5))
        for phone in (one, two):
            phone.does((0.1, "180 Ringing"))
            phone.obeys = False
        alice.calls(BOB, "Max-Breadth: 2")
        s.engine.advance(8)
        assert one.got("CANCEL") and two.got("CANCEL") and not next.seen
        one.answers("487 Request Terminated")
        s.engine.advance(0.1)
        assert breadths([next]) == [1]
        next.answers("200 OK")
        s.engine.advance(1)
        assert alice.seen[-1] == "200"


def test_a_branch_that_cannot_start_holds_none() -> None:
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, one, two = s.phones("alice", "one", "two")
        nowhere = step("sip:x@0.0.0.0", "sip:y@nowhere.invalid", onward=ANY)
        plan = Plan((nowhere, nowhere, step(one.contact, two.contact)))
        alice.calls(BOB, "Max-Breadth: 2")
        s.engine.advance(0)
        assert breadths([one, two]) == [1, 1]


def test_a_hunt_with_what_is_there() -> None:
    """Who may become late leaves something to who comes next, for as long as there is something to leave."""
    with scene(lambda _: plan, asks=["requests"]) as s:
        alice, *phones = s.phones("alice", "a", "b", "c", "d")
        plan = hunt(*(phone.contact for phone in phones), ring_time=1)
        for phone in phones:
            phone.does((0.1, "180 Ringing"))
            phone.obeys = False
        alice.calls(BOB, "Max-Breadth: 4")
        s.engine.advance(10)
        given = breadths(phones)
        assert sum(given) <= 4 and len(given) >= 2
        for phone in phones[: len(given)]:
            phone.answers("487 Request Terminated")
            s.engine.advance(0.1)
        s.engine.advance(10)
        assert len(breadths(phones)) == 4


def here(address: str, name: str) -> str:
    return f"sip:{name}@{address}"


def test_a_loop_is_refused() -> None:
    """4.2.2: nothing that decides where it goes has changed."""
    with scene() as s:
        alice = s.phone("alice")
        s.engine.bind("bob@example.com", here(s.engine.address, "bob"))
        alice.calls(BOB)
        s.engine.advance(1)
        assert alice.seen == ["100", "482"] and s.engine.counters()["loops"] == 1


def test_a_spiral_passes() -> None:
    """Bob to carol to dave, all of them here: another Request-URI each time."""
    with scene() as s:
        alice, dave = s.phones("alice", "dave")
        s.engine.bind("bob@example.com", here(s.engine.address, "carol"))
        s.engine.bind("carol@example.com", here(s.engine.address, "dave"))
        s.engine.bind("dave@example.com", dave.contact)
        dave.does((0.1, "180 Ringing"), (1, "200 OK"))
        alice.calls(BOB)
        s.engine.advance(3)
        assert alice.seen == ["100", "180", "200"]
        assert len(headers(dave.invites[0], "Via")) == 4 and header(dave.invites[0], "Max-Forwards") == "67"
        assert breadths([dave]) == [60], "depth costs no breadth"


def test_cancel_through_a_spiral() -> None:
    with scene() as s:
        alice, dave = s.phones("alice", "dave")
        s.engine.bind("bob@example.com", here(s.engine.address, "carol"))
        s.engine.bind("carol@example.com", dave.contact)
        dave.does((0.1, "180 Ringing"))
        alice.calls(BOB)
        s.engine.advance(1)
        alice.cancels()
        s.engine.advance(1)
        assert dave.seen == ["INVITE", "CANCEL", "ACK"] and alice.seen[-1] == "487"


class Bomb:
    """The attack of RFC 5393 3: everybody's contacts are everybody, at this server itself. Counts what is in flight
    from what a witness sees, who is a contact of everybody too."""

    def __init__(self, phone: Phone) -> None:
        self.running: set[str] = set()
        self.most = self.all = 0
        self.phone = phone
        phone.on_message = self.hear

    def hear(self, text: str) -> None:
        via = header(text, "Via")
        if text.startswith("INVITE") and via not in self.running:
            self.running.add(via)
            self.most, self.all = max(self.most, len(self.running)), self.all + 1
            self.phone.invites.append(text)
            self.phone.engine.after(1, lambda: self.end(text))

    def end(self, text: str) -> None:
        self.phone.invites.append(text)
        self.phone.answers("404 Nobody")
        self.running.discard(header(text, "Via"))


@pytest.mark.parametrize("people", [2, 4])
def test_fork_bomb(people: int) -> None:
    """It ends by itself, at no time with more than 60 branches."""
    with scene() as s:
        alice, witness = s.phones("alice", "witness")
        bomb = Bomb(witness)
        names = [f"user{number}" for number in range(people)]
        for name in names:
            s.engine.bind(f"{name}@example.com", witness.contact, *(here(s.engine.address, one) for one in names))
        alice.calls("sip:user0@example.com")
        s.engine.advance(120)
        assert alice.seen[-1] in ("404", "440", "482")
        assert 1 < bomb.most <= 60 and s.engine.counters()["loops"] > 0
