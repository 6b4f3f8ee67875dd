"""Who the sender is known to be (RFC 3325, RFC 3323): P-Asserted-Identity among trusted servers, and nowhere else."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from engine import header, headers
from plans import Phone, Scene, scene

BOB = "sip:bob@example.com"
CLAIM = "P-Asserted-Identity: <sip:boss@example.com>"
TRUSTED = ["127.0.0.2/32", "127.0.0.3/32"]
CLOSED: dict[str, Any] = {"required": ["*"], "open_relay": False, "trusted": TRUSTED, "algorithms": ["MD5"]}


def calls_with_password(s: Scene, alice: Phone, *extra: str) -> None:
    """A call as alice, who answers the 407."""
    s.engine.user("alice@example.com", "secret")
    alice.calls(BOB, *extra)
    s.engine.advance(0)
    challenge = header(alice.got("407")[-1], "Proxy-Authenticate")
    found = re.search(r'nonce="([^"]+)"', challenge)
    assert found
    one = hashlib.md5(b"alice:example.com:secret").hexdigest()
    two = hashlib.md5(f"INVITE:{BOB}".encode()).hexdigest()
    response = hashlib.md5(f"{one}:{found[1]}:00000001:c:auth:{two}".encode()).hexdigest()
    alice.calls(
        BOB,
        f'Proxy-Authorization: Digest username="alice", realm="example.com", nonce="{found[1]}", uri="{BOB}", '
        f'response="{response}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c"',
        *extra,
        cseq=2,
    )
    s.engine.advance(0)


def sent_to(s: Scene, host: str) -> Phone:
    bob = s.phone("bob", host)
    s.engine.bind("bob@example.com", bob.contact)
    bob.does((0, "486 Busy Here"))
    return bob


@pytest.mark.parametrize("callee", ["127.0.0.1", "127.0.0.3"])
def test_a_strangers_claim_is_worth_nothing(callee: str) -> None:
    """RFC 3325 5: a proxy may not pass on what somebody it does not trust asserted."""
    with scene(**CLOSED) as s:
        bob = sent_to(s, callee)
        stranger = s.phone("stranger")
        stranger.calls(
            BOB, CLAIM, "p-asserted-identity: tel:+1", "P-Preferred-Identity: <sip:x@y>", from_="<sip:x@else.invalid>"
        )
        s.engine.advance(1)
        assert stranger.seen[-1] == "486"
        for name in ("P-Asserted-Identity", "P-Preferred-Identity"):
            assert not headers(bob.invites[0], name)


@pytest.mark.parametrize("callee", ["127.0.0.1", "127.0.0.3"])
def test_who_said_his_password_is_asserted(callee: str) -> None:
    with scene(**CLOSED) as s:
        bob, alice = sent_to(s, callee), s.phone("alice")
        calls_with_password(s, alice, CLAIM, "P-Preferred-Identity: <sip:alice@example.com>")
        s.engine.advance(1)
        (got,) = bob.invites
        assert headers(got, "P-Asserted-Identity") == ["<sip:alice@example.com>"]
        assert not headers(got, "P-Preferred-Identity") and not headers(got, "Proxy-Authorization")


def test_every_branch_of_a_fork() -> None:
    with scene(**CLOSED) as s:
        alice, phones = s.fork("one", "two")
        for phone in phones:
            phone.does((0, "486 Busy Here"))
        calls_with_password(s, alice)
        s.engine.advance(1)
        for phone in phones:
            assert headers(phone.invites[0], "P-Asserted-Identity") == ["<sip:alice@example.com>"]


@pytest.mark.parametrize("callee", ["127.0.0.1", "127.0.0.3"])
def test_what_a_trusted_server_says_is_kept(callee: str) -> None:
    """RFC 3325 6: without a Privacy of "id" also towards users."""
    with scene(**CLOSED) as s:
        bob, gateway = sent_to(s, callee), s.phone("gateway", "127.0.0.2")
        gateway.calls(BOB, CLAIM, "P-Asserted-Identity: <tel:+4930>", from_="<sip:anonymous@anonymous.invalid>")
        s.engine.advance(1)
        assert headers(bob.invites[0], "P-Asserted-Identity") == ["<sip:boss@example.com>", "<tel:+4930>"]


@pytest.mark.parametrize("privacy", ["id", "id;critical", "header; ID ;user", "user,id"])
def test_privacy_hides_it_from_whom_nobody_trusts(privacy: str) -> None:
    with scene(**CLOSED) as s:
        for callee, shown in (("127.0.0.1", False), ("127.0.0.3", True)):
            bob = sent_to(s, callee)
            gateway = s.phone("gateway", "127.0.0.2")
            gateway.calls(BOB, CLAIM, f"Privacy: {privacy}", call=f"gateway-{callee}", branch=f"z9hG4bK-{callee}")
            s.engine.advance(1)
            assert bool(headers(bob.invites[0], "P-Asserted-Identity")) == shown
            assert headers(bob.invites[0], "Privacy") == [privacy]


@pytest.mark.parametrize("privacy", ["none", "user", "idea", "header;session"])
def test_other_privacy_hides_nothing(privacy: str) -> None:
    with scene(**CLOSED) as s:
        bob, gateway = sent_to(s, "127.0.0.1"), s.phone("gateway", "127.0.0.2")
        gateway.calls(BOB, CLAIM, f"Privacy: {privacy}")
        s.engine.advance(1)
        assert headers(bob.invites[0], "P-Asserted-Identity") == ["<sip:boss@example.com>"]


@pytest.mark.parametrize(("callee", "shown"), [("127.0.0.1", []), ("127.0.0.3", ["<sip:alice@example.com>"])])
def test_privacy_of_who_said_his_password(callee: str, shown: list[str]) -> None:
    with scene(**CLOSED) as s:
        bob, alice = sent_to(s, callee), s.phone("alice")
        calls_with_password(s, alice, "Privacy: id", CLAIM)
        s.engine.advance(1)
        assert headers(bob.invites[0], "P-Asserted-Identity") == shown


@pytest.mark.parametrize(("caller", "callee", "privacy", "kept"), [
    ("127.0.0.2", "127.0.0.3", "", True),
    ("127.0.0.2", "127.0.0.3", "Privacy: id", True),
    ("127.0.0.1", "127.0.0.3", "", True),
    ("127.0.0.1", "127.0.0.3", "Privacy: id", False),
    ("127.0.0.2", "127.0.0.1", "", False),
])  # fmt: skip
@pytest.mark.parametrize("status", ["183 Session Progress", "200 OK", "486 Busy Here"])
def test_responses_too(caller: str, callee: str, privacy: str, kept: bool, status: str) -> None:
    """RFC 3325 5: what a callee says of himself is believed of the trusted, and told to whom may know."""
    lines = [CLAIM, "Subject: untouched"] + ([privacy] if privacy else [])
    with scene(**CLOSED) as s:
        bob = s.phone("bob", callee)
        s.engine.bind("bob@example.com", bob.contact)
        bob.does((0, status, *lines), *([(0.1, "486 Busy Here")] if status.startswith("183") else []))
        alice = s.phone("alice", caller)
        alice.calls(BOB, from_="<sip:x@else.invalid>")
        s.engine.advance(2)
        (got,) = alice.got(status[:3])[:1]
        assert headers(got, "P-Asserted-Identity") == (["<sip:boss@example.com>"] if kept else [])
        assert headers(got, "Subject") == ["untouched"]
