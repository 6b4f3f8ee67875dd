"""Which answer goes up when a fork has failed (RFC 3261 16.7 steps 6 and 7), and other methods (RFC 4320)."""

from __future__ import annotations

import itertools

import pytest
from engine import header, headers
from plans import scene, tag_of

BOB = "sip:bob@example.com"

# What three branches answered, and what may go up: 6xx if there is one, else something of the lowest class, in 4xx what
# tells how to go on before the rest; never 503. 0: silence, a 408 of Timer B.
BEST = {
    (404, 486, 480): {404, 486, 480},
    (486, 600, 404): {600},
    (603, 606, 486): {603, 606},
    (503, 407, 501): {407},
    (404, 407, 486): {407},
    (404, 401, 302): {302},
    (404, 415, 486): {415},
    (404, 420, 500): {420},
    (484, 404, 480): {484},
    (500, 503, 504): {500, 504},
    (503, 503, 503): {500},
    (503, 513, 503): {513},
    (302, 301, 404): {301, 302},
    (302, 603, 407): {603},
    (408, 486, 503): {486},
    (0, 486, 503): {486},
    (0, 503, 500): {408},
    (0, 0, 603): {603},
    (0, 0, 0): {408},
    (487, 404, 408): {404, 487},
    (481, 503, 500): {481},
    (503, 500, 0): {408},
}


@pytest.mark.parametrize(
    ("statuses", "allowed"), [pytest.param(*item, id="-".join(map(str, item[0]))) for item in BEST.items()]
)
def test_best_response(statuses: tuple[int, ...], allowed: set[int]) -> None:
    """In whatever order they come."""
    for order in itertools.permutations(statuses):
        with scene() as s:
            alice, phones = s.fork("one", "two", "three")
            for number, (phone, status) in enumerate(zip(phones, order, strict=True)):
                if status:
                    phone.does((0.1 + number, f"{status} As It Is"))
            alice.calls(BOB)
            s.engine.advance(33)
            assert len(alice.seen) == 2 and alice.seen[0] == "100", alice.seen
            assert int(alice.seen[1]) in allowed, (order, alice.seen)
            told = alice.received[-1][1]
            if int(alice.seen[1]) in order:
                assert tag_of(told) in ("one", "two", "three") and "As It Is" in told
                assert headers(told, "Via") == [header(alice.text, "Via")]


def test_the_caller_gave_up() -> None:
    """Branches that were cancelled say 487; a better one that had come before may be told in its place."""
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.1, "180 Ringing"))
        two.does((0.1, "503 Service Unavailable"))
        alice.calls(BOB)
        s.engine.advance(1)
        alice.cancels()
        s.engine.advance(1)
        assert alice.seen[-1] == "487"


def test_every_challenge_goes_up() -> None:
    """16.7 step 7: the caller has to answer all of them at once."""
    with scene() as s:
        alice, (one, two, three, four) = s.fork("one", "two", "three", "four")
        one.does((0.1, "407 Who", 'Proxy-Authenticate: Digest realm="one", nonce="1"'))
        two.does((0.2, "401 Who", 'WWW-Authenticate: Digest realm="two", nonce="2"', "www-authenticate:Basic realm=2"))
        three.does((0.3, "404 Nobody"))
        four.does((0.4, "407 Who", 'Proxy-Authenticate: Digest realm="four", nonce="4"', 'WWW-Authenticate: X y="4"'))
        alice.calls(BOB)
        s.engine.advance(5)
        (told,) = alice.got("407") or alice.got("401")
        assert sorted(headers(told, "Proxy-Authenticate")) == [
            'Digest realm="four", nonce="4"',
            'Digest realm="one", nonce="1"',
        ]
        assert sorted(headers(told, "WWW-Authenticate")) == [
            "Basic realm=2",
            'Digest realm="two", nonce="2"',
            'X y="4"',
        ]
        assert told.count("\r\n\r\n") == 1 and told.endswith("\r\n\r\n")


def test_challenges_stay_out_of_other_answers() -> None:
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.1, "407 Who", 'Proxy-Authenticate: Digest realm="one", nonce="1"'))
        two.does((0.2, "603 Decline"))
        alice.calls(BOB)
        s.engine.advance(5)
        (told,) = alice.got("603")
        assert not headers(told, "Proxy-Authenticate")


def test_500_for_503_says_nothing_about_us() -> None:
    """A 503, and its Retry-After, is about the server below (16.7 step 6)."""
    with scene() as s:
        alice, phones = s.fork("one", "two")
        for phone in phones:
            phone.does((0.1, "503 Service Unavailable", "Retry-After: 3600"))
        alice.calls(BOB)
        s.engine.advance(5)
        assert alice.seen == ["100", "500"]
        assert not headers(alice.got("500")[0], "Retry-After")


METHODS = ["MESSAGE", "OPTIONS", "NEWMETHOD", "SUBSCRIBE"]


@pytest.mark.parametrize("method", METHODS)
def test_one_2xx_of_another_method(method: str) -> None:
    """16.7: exactly one final response to a request that is no INVITE."""
    with scene() as s:
        alice, (one, two, three) = s.fork("one", "two", "three")
        one.does((0.1, "404 Nobody"))
        two.does((0.2, "202 Accepted"))
        three.does((0.3, "200 OK"))
        alice.calls(BOB, method=method)
        s.engine.advance(5)
        assert alice.seen == [f"202 {method}"]
        assert three.seen == [method], "no CANCEL to it (9.1)"


@pytest.mark.parametrize("method", METHODS)
def test_no_provisional_but_100_to_another_method(method: str) -> None:
    """RFC 4320 4.1."""
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((0.1, "183 Session Progress"), (1, "486 Busy Here"))
        two.does((0.1, "180 Ringing"), (2, "404 Nobody"))
        alice.calls(BOB, method=method)
        s.engine.advance(5)
        assert alice.seen == [f"486 {method}"] or alice.seen == [f"404 {method}"]


@pytest.mark.parametrize("method", METHODS)
def test_no_408_to_another_method(method: str) -> None:
    """RFC 4320 4.2, made here or received; 16.7 step 6 otherwise."""
    with scene() as s:
        alice, (one, _) = s.fork("one", "two")
        one.does((0.1, "408 Request Timeout"))
        alice.calls(BOB, method=method)
        s.engine.advance(60)
        assert alice.seen == []
        assert one.seen == [method]


@pytest.mark.parametrize("method", METHODS)
def test_no_late_answer_to_another_method(method: str) -> None:
    """RFC 4320 4.2: nothing goes up when the server transaction is gone."""
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        alice.calls(BOB, method=method)
        s.engine.advance(33)
        one.answers("200 OK")
        two.answers("486 Busy Here")
        s.engine.advance(5)
        assert alice.seen == []


def test_a_message_that_comes_again() -> None:
    """Absorbed while branches run, answered again after that (17.2.2)."""
    with scene() as s:
        alice, (one, two) = s.fork("one", "two")
        one.does((1, "200 OK"))
        alice.calls(BOB, method="MESSAGE")
        s.engine.advance(0.7)
        alice.again()
        s.engine.advance(1)
        alice.again()
        s.engine.advance(1)
        assert alice.seen == ["200 MESSAGE"] * 2
        assert one.seen == ["MESSAGE"] * 2, "what was sent again by Timer E alone"
        assert len(two.invites) == 1


def test_100_to_another_method() -> None:
    """RFC 4320 4.1: not before Timer E has reached T2, and from then on."""
    with scene() as s:
        alice, (one, _) = s.fork("one", "two")
        one.does((9, "200 OK"))
        alice.calls(BOB, method="MESSAGE")
        for after in (0.5, 1.0, 2.0, 4.0):
            s.engine.advance(after)
            alice.again()
            s.engine.advance(0)
        assert alice.at("100 MESSAGE") == [3.5, 7.5]
        s.engine.advance(5)
        assert alice.seen[2:] == ["200 MESSAGE"]


def test_408_of_another_method_that_came_early() -> None:
    """What comes again is not forwarded once more."""
    with scene() as s:
        alice, phones = s.fork("one", "two")
        for phone in phones:
            phone.does((0.1, "408 Request Timeout"))
        alice.calls(BOB, method="MESSAGE")
        s.engine.advance(1)
        alice.again()
        s.engine.advance(1)
        assert [len(phone.invites) for phone in phones] == [1, 1] and "408 MESSAGE" not in alice.seen


def test_503_of_another_method() -> None:
    with scene() as s:
        alice, phones = s.fork("one", "two")
        for phone in phones:
            phone.does((0.1, "503 Service Unavailable"))
        alice.calls(BOB, method="MESSAGE")
        s.engine.advance(5)
        assert alice.seen == ["500 MESSAGE"]
