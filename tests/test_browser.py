"""Telephones in a browser against a server of the test's own: the page, JsSIP, the microphone and our frames fit."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest
from browser import NEEDS, Browser
from frames import OPENING, TEXT, frame
from harness import Message, digest
from websocket_kit import Listener, Peer

from fastsip.websocket import Rules

pytestmark = NEEDS


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as made:
        yield made


@pytest.fixture
def listener(browser: Browser) -> Iterator[Listener]:
    with Listener(Rules(origins=frozenset({browser.origin}))) as made:
        yield made


def response(request: Message, status: int, *more: str) -> str:
    """A response, with what RFC 3261 8.2.6 wants taken over."""
    lines = [f"SIP/2.0 {status} Whatever"]
    lines += [f"{name}: {value}" for name in ("Via", "From", "Call-ID", "CSeq") for value in request.all(name)]
    to = request.one("To")
    lines += [f"To: {to}" if ";tag=" in to else f"To: {to};tag=here", *more, "Content-Length: 0"]
    return "\r\n".join(lines) + "\r\n\r\n"


def registered(peer: Peer) -> Message:
    """Answer a REGISTER with 200, and give it back."""
    request = peer.receive_sip()
    assert request.method == "REGISTER"
    peer.send(response(request, 200, f"Contact: {request.one('Contact')}", "Expires: 600"))
    return request


def test_a_page_registers(browser: Browser, listener: Listener) -> None:
    phone = browser.phone(listener.url, "sip:alice@example.com", password="secret")
    peer = listener.accept()
    assert peer.answer.accepted and peer.answer.origin == browser.origin
    phone.until("connected")
    phone.register()
    first = peer.receive_sip()
    assert first.start_line == "REGISTER sip:example.com SIP/2.0" and peer.opcode == TEXT
    assert first.one("Via").startswith("SIP/2.0/WS ") and ".invalid" in first.one("Via")
    assert "transport=ws" in first.one("Contact")
    challenge = 'Digest realm="example.com", nonce="abc", algorithm=MD5, qop="auth"'
    peer.send(response(first, 401, f"WWW-Authenticate: {challenge}"))
    second = peer.receive_sip()
    given = second.one("Authorization")
    assert 'username="alice"' in given and second.cseq == first.cseq + 1
    assert digest(challenge, "alice", "secret", "REGISTER", "sip:example.com").split()[1] in given
    peer.send(response(second, 200, f"Contact: {second.one('Contact')}", "Expires: 600"))
    assert phone.until("registered", "registrationFailed") == ("registered", 200)
    phone.close()


def test_a_page_is_told_no_and_sees_the_connection_go(browser: Browser, listener: Listener) -> None:
    phone = browser.phone(listener.url, "sip:alice@example.com")
    peer = listener.accept()
    phone.until("connected")
    phone.register()
    peer.send(response(peer.receive_sip(), 403))
    assert phone.until("registered", "registrationFailed") == ("registrationFailed", 403)
    phone.call("sip:bob@example.com")
    invite = peer.receive_sip()
    assert invite.method == "INVITE" and "m=audio" in invite.raw.decode()
    peer.send(response(invite, 486))
    assert phone.until("failed", "confirmed") == ("failed", 486)
    assert peer.receive_sip().method == "ACK"
    peer.send(b"\xff")  # no UTF-8: the browser closes
    phone.until("disconnected")
    with pytest.raises(AssertionError, match="closed with 100"):
        peer.receive()
    phone.close()


def test_a_page_of_another_origin_does_not_get_in(browser: Browser) -> None:
    with Listener(Rules(origins=frozenset({"https://example.com"}))) as listener:
        phone = browser.phone(listener.url, "sip:alice@example.com")
        peer = listener.accept()
        assert peer.answer.status == 403
        peer.end()
        phone.until("disconnected")
        phone.close()


def relay(alice: Peer, bob: Peer, target: str, seconds: float, until: str) -> list[str]:
    """Carry messages from one to the other as they are, but for the INVITE's Request-URI, until one has gone by."""
    seen: list[str] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        read = alice.pending or bob.pending  # several messages may have come in one segment: no socket tells of those
        ready, _, _ = select.select([alice.socket, bob.socket], [], [], 0 if read else 0.1)
        for one, other in ((alice, bob), (bob, alice)):
            if not one.pending and one.socket not in ready:
                continue
            message = one.receive_sip()
            raw = message.raw
            if one is alice and message.method in ("INVITE", "ACK") and not message.is_response:
                raw = raw.replace(message.uri.encode(), target.encode(), 1)
            other.send(raw)
            seen.append(message.name)
            if message.name == until:
                return seen
    raise AssertionError(f"no {until} in {seconds} s, but {seen}")


def test_messages_that_come_in_one_segment_are_all_carried() -> None:
    one, two, three = (
        frame(TEXT, f"{name} SIP/2.0\r\nContent-Length: 0\r\n\r\n".encode())
        for name in ("INFO sip:one", "INFO sip:two", "BYE sip:three")
    )
    with Listener() as listener, socket.create_connection(("127.0.0.1", listener.port)) as page:
        page.sendall(OPENING + one + two + three)
        at_page = listener.accept()
        with socket.create_connection(("127.0.0.1", listener.port)) as other:
            other.sendall(OPENING)
            at_other = listener.accept()
            assert relay(at_page, at_other, "sip:nobody", 5, "BYE") == ["INFO", "INFO", "BYE"]


def test_two_pages_talk_and_hear_each_other(browser: Browser, listener: Listener) -> None:
    alice = browser.phone(listener.url, "sip:alice@example.com")
    at_alice = listener.accept()
    bob = browser.phone(listener.url, "sip:bob@example.com")
    at_bob = listener.accept()
    bob.register()
    contact = registered(at_bob).one("Contact").split("<")[1].split(">")[0]
    bob.until("registered")
    alice.call("sip:bob@example.com")
    assert relay(at_alice, at_bob, contact, 15, "180")[0] == "INVITE"
    assert bob.until("ringing") == ("ringing", "sip:alice@example.com")
    alice.until("progress")
    bob.answer()
    assert relay(at_alice, at_bob, contact, 15, "ACK")[-2:] == ["200", "ACK"]
    alice.until("confirmed")
    bob.until("confirmed")
    deadline = time.monotonic() + 20
    while not (alice.heard() > 10 and bob.heard() > 10):
        assert time.monotonic() < deadline, f"heard {alice.heard()} and {bob.heard()} packets"
        time.sleep(0.2)
    bob.hang_up()
    assert relay(at_alice, at_bob, contact, 15, "200") == ["BYE", "200"]
    assert alice.until("ended")[1][0] == "remote" and bob.until("ended")[1][0] == "local"
    alice.close()
    bob.close()
