"""Whatever the method and whatever the answer: it passes, and what fastsip does not understand leaves as it came.

1. Every method of RFC 3261 and its successors, and one nobody has heard of, outside a dialog and inside one.
2. An unknown method has a non-INVITE transaction (17.1.2, RFC 4320).
3. Every status code with its reason phrase, and unknown ones of every class, to INVITE and to other requests.
4. Header lines in long and compact form, folded, comma-joined, repeated, in any order (7.3.1), both ways.
5. Reliable provisional responses from end to end (RFC 3262, draft 4.1.2).
"""

from __future__ import annotations

import random

import pytest
from engine import ack, header, headers, reply, request
from turns import got, phones, silent, turns

from fastsip.names import METHODS, REASONS
from fastsip.testing.engine import Device, Engine

UNKNOWN = "NEWMETHOD"
OUTSIDE = [method for method in METHODS if method not in ("ACK", "CANCEL")] + [UNKNOWN]
INSIDE = [method for method in OUTSIDE if method not in ("REGISTER", "PUBLISH", "INVITE", "BYE")]
CODES = [code for code in REASONS if code != 100] + [172, 299, 399, 499, 599, 699]


def pair(engine: Engine) -> list[Device]:
    alice, bob = phones(engine, 2)
    engine.bind("bob@example.com", f"sip:bob@{bob.name}")
    return [alice, bob]


def tail(text: str) -> str:
    """A request from its From on: what nobody may touch."""
    return text[text.index("From:") :]


def test_the_list_of_methods_is_whole() -> None:
    known = "INVITE ACK CANCEL BYE OPTIONS REGISTER UPDATE PRACK INFO MESSAGE REFER SUBSCRIBE NOTIFY PUBLISH"
    assert set(known.split()) == set(METHODS)


@pytest.mark.parametrize("method", OUTSIDE)
def test_method_outside_a_dialog(method: str) -> None:
    with turns() as engine:
        alice, bob = pair(engine)
        # A REGISTER for somebody else's registrar is a request like any other.
        uri = f"sip:{bob.name}" if method == "REGISTER" else "sip:bob@example.com"
        text = request(method, uri, alice, "X-Odd:  a\r\n b", body="\0 any\r\n\r\nbody")
        alice.send(text)
        down = got(bob, f"{method} ")
        assert tail(down) == tail(text)
        recorded = method in ("INVITE", "SUBSCRIBE", "REFER")
        assert len(headers(down, "Record-Route")) == recorded
        if method == "INVITE":
            got(alice, "SIP/2.0 100")
        bob.send(reply(down, "299 Why Not"))
        assert header(got(alice, "SIP/2.0 299 Why Not"), "CSeq") == f"1 {method}"
        assert silent(alice, bob)


def test_methods_inside_a_dialog() -> None:
    with turns() as engine:
        alice, bob = pair(engine)
        contact = f"Contact: <sip:alice@{alice.name}>"
        alice.send(request("INVITE", "sip:bob@example.com", alice, contact, call_id="in@x"))
        got(alice, "SIP/2.0 100")
        bob.send(reply(got(bob, "INVITE"), "200 OK", f"Contact: <sip:bob@{bob.name}>"))
        route = f"Route: {header(got(alice, 'SIP/2.0 200'), 'Record-Route')}"
        there = {"call_id": "in@x", "to_tag": "b1"}
        back = {"call_id": "in@x", "from_tag": "b1", "to_tag": "a1"}
        alice.send(request("ACK", f"sip:bob@{bob.name}", alice, route, **there))
        got(bob, "ACK")
        for cseq, method in enumerate([*INSIDE, "INVITE", "BYE"], 2):
            for sender, receiver, tags in ((alice, bob, there), (bob, alice, back)):
                uri = f"sip:x@{receiver.name};y"
                text = request(method, uri, sender, route, "Event: dialog", cseq=cseq, body="any", **tags)
                sender.send(text)
                down = got(receiver, f"{method} {uri} SIP/2.0")
                assert tail(down).replace(f"{route}\r\n", "") == tail(text).replace(f"{route}\r\n", "")
                assert not headers(down, "Route") and not headers(down, "Record-Route")
                if method == "INVITE":
                    got(sender, "SIP/2.0 100")
                receiver.send(reply(down, "488 Not Here"))
                answer = got(sender, "SIP/2.0 488")
                if method == "INVITE":
                    sender.send(ack(text, answer))
                    got(receiver, "ACK")
        assert silent(alice, bob)


def test_an_unknown_method_has_a_non_invite_transaction() -> None:
    with turns() as engine:
        alice, bob = pair(engine)
        text = request(UNKNOWN, "sip:bob@example.com", alice)
        alice.send(text)
        engine.advance(64)
        assert not alice.received, "neither a 100 nor a 408 (RFC 4320)"
        # Timer E: 500 ms, doubled up to T2, until Timer F after 64 * T1.
        assert [when for when, _ in bob.received] == pytest.approx([0, 0.5, 1.5, 3.5, *range(7, 32, 4)][:11], abs=0.6)
        assert len({down for _, down in bob.received}) == 1
        bob.received.clear()
        again = request(UNKNOWN, "sip:bob@example.com", alice)
        alice.send(again)
        down = got(bob, UNKNOWN)
        bob.send(reply(down, "180 Not For This"))
        alice.send(again)
        bob.send(reply(down, "200 OK"))
        got(alice, "SIP/2.0 200")
        alice.send(again)
        got(alice, "SIP/2.0 200")
        assert silent(alice, bob)


def answered(code: int, phrase: str, via: str, text: str) -> str:
    """A response with all its lines but Via in an order and form of its own."""
    lines = [
        f"SIP/2.0 {code} {phrase}",
        "X-Unknown:\t1 , \"2\"",
        f"t: {header(text, 'To')};tag=b1",
        *(f"v: {value}" for value in headers(text, "Via")),
        "wArNiNg: 399 x \"folded\r\n  twice\"\r\nWarning: 300 y \"\"",
        f"CSeq:{header(text, 'CSeq')}",
        f"f: {header(text, 'From')}",
        f"i:  {header(text, 'Call-ID')}  ",
        "Retry-After: 5 (soon)",
        "l: 4",
        "",
        "b\0dy",
    ]
    return "\r\n".join(lines).replace(f"v: {headers(text, 'Via')[0]}\r\n", via, 1)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_every_status_code(method: str) -> None:
    with turns() as engine:
        alice, bob = pair(engine)
        for code in CODES:
            phrase = REASONS.get(code, "Ünheard of")
            text = request(method, "sip:bob@example.com", alice)
            alice.send(text)
            down = got(bob, method)
            if method == "INVITE":
                got(alice, "SIP/2.0 100")
            bob.send(answered(code, phrase, f"v: {headers(down, 'Via')[0]}\r\n", down))
            if method != "INVITE" and code < 200:
                assert silent(alice), f"{code} to {method} (RFC 4320 4.1)"
                bob.send(reply(down, "200 OK"))
                got(alice, "SIP/2.0 200")
                continue
            if code == 503:
                final = got(alice, "SIP/2.0 500 Server Internal Error")  # 16.7 step 6
            elif code == 408 and method != "INVITE":
                final = got(alice, "SIP/2.0 504 Server Time-out")  # RFC 4320 4.2
            else:
                final = got(alice, f"SIP/2.0 {code} {phrase}\r\n")
                assert final == answered(code, phrase, "", down)
            if method == "INVITE" and code < 200:
                bob.send(reply(down, "486 Busy"))
                final = got(alice, "SIP/2.0 486")
            if method == "INVITE" and not 200 <= code < 300:
                got(bob, "ACK")
                alice.send(ack(text, final.replace("\r\nt: ", "\r\nTo: ")))
        engine.advance(1)
        assert silent(alice, bob)


LINES = [
    "s: the compact one", "SUBJECT:the long one", "k: a, b", "Supported: c\r\n\t,d", "Require: x , 100rel",
    'm: "A, B" <sip:a@192.0.2.1;x="1">;q=0.5 ,\r\n <sip:b@192.0.2.2>', "Contact: <sip:c@192.0.2.3>", "e: identity",
    'Content-Type: text/plain;charset="utf-8"', 'X-Nobody-Knows: "quoted \\" string', "x-nobody-knows:",
    "Organization: Ünïcode", "Priority : urgent", "Date: Sat, 13 Nov 2010 23:29:00 GMT", "Timestamp: 54", "u: presence",
    "Record-Route: <sip:192.0.2.9;lr>,<sip:192.0.2.10>", "Record-Route: <sip:192.0.2.11;lr>", "b: <sip:z@y>", "j:   ",
    'Proxy-Authorization: Digest realm="elsewhere.example", nonce="a,b"', "Authorization: Basic abc==", "Accept:",
    "Expires: Thu, 01 Dec 1994 16:00:00 GMT", "Accept: a/b;q=0.1, c/d", "Allow: INVITE,NEWMETHOD", "Require: y",
    "o: dialog;id=1",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_header_lines_in_any_form_and_order(seed: int) -> None:
    chance = random.Random(seed)
    with turns() as engine:
        alice, bob = pair(engine)
        own = [
            f"v: SIP/2.0/UDP {alice.name};branch=z9hG4bK-{seed} , SIP/2.0/UDP 192.0.2.77 (a comment)",
            "Via:\r\n SIP/2.0/UDP 192.0.2.78;branch=z9hG4bK-x",
            f"i: {seed}@form",
            'f: "A" <sip:alice@example.com>\r\n ;tag=a1',
            "To: sip:bob@example.com",
            "CSeq: 7 MESSAGE",
            "Max-Forwards: 50",
        ]
        lines = own + [line for line in LINES if chance.random() < 0.8]
        chance.shuffle(lines)
        lines.sort(key=lambda line: line.startswith("Via:"))  # the second Via is behind the first
        alice.send("\r\n".join(["MESSAGE sip:bob@example.com SIP/2.0", *lines, "", "a body"]))
        down = got(bob, f"MESSAGE sip:bob@{bob.name} SIP/2.0\r\nVia: SIP/2.0/UDP {engine.address};branch=")
        added = down.split("\r\n")[1:3]
        assert added[1] == "Max-Breadth: 60"
        kept = down.split("\r\n", 3)[3]
        assert kept == "\r\n".join([*lines, "", "a body"]).replace("Max-Forwards: 50", "Max-Forwards: 49")
        answer = [line for line in lines if not line.startswith(("Max-F", "To", "Prox", "Auth"))]
        answer.append("t: sip:bob@example.com;tag=b1")
        chance.shuffle(answer)
        answer.sort(key=lambda line: line.startswith("Via:"))
        rest = "\r\n".join([*answer, "", "another"])
        for first in (f"{added[0]}\r\n", f"v:{added[0][4:]}\r\n"):
            bob.send("SIP/2.0 234 Odd  Phrase \r\n" + first + rest)
            if first.startswith("Via"):
                assert got(alice, "SIP/2.0 234 Odd  Phrase \r\n") == "SIP/2.0 234 Odd  Phrase \r\n" + rest


def test_reliable_provisional_responses() -> None:
    """RFC 3262, draft 4.1.2: option tags, RSeq and RAck are the ends' own; PRACK goes by the Route set of its 18x."""
    with turns() as engine:
        alice, bob = pair(engine)
        lines = ("Supported: 100rel", "Require: 100rel, x-y", f"Contact: <sip:alice@{alice.name}>")
        text = request("INVITE", "sip:bob@example.com", alice, *lines, call_id="rel@x")
        alice.send(text)
        invite = got(bob, "INVITE")
        assert [headers(invite, name) for name in ("Supported", "Require")] == [["100rel"], ["100rel, x-y"]]
        got(alice, "SIP/2.0 100")
        for rseq, status in ((1, "183 Session Progress"), (2, "180 Ringing")):
            early = reply(invite, status, "Require: 100rel", f"RSeq: {rseq}", f"Contact: <sip:bob@{bob.name}>")
            for _ in range(3):  # until it is acknowledged, every copy goes up
                bob.send(early)
                up = got(alice, f"SIP/2.0 {status}")
            assert header(up, "RSeq") == str(rseq) and header(up, "Require") == "100rel"
            route, rack = f"Route: {header(up, 'Record-Route')}", f"RAck: {rseq} 1 INVITE"
            same = {"call_id": "rel@x", "to_tag": "b1", "cseq": 1 + rseq}
            alice.send(request("PRACK", f"sip:bob@{bob.name}", alice, route, rack, **same))
            prack = got(bob, f"PRACK sip:bob@{bob.name} ")
            assert header(prack, "RAck") == f"{rseq} 1 INVITE" and not headers(prack, "Route")
            bob.send(reply(prack, "200 OK"))
            assert header(got(alice, "SIP/2.0 200"), "CSeq") == f"{1 + rseq} PRACK"
        bob.send(reply(invite, "200 OK", f"Contact: <sip:bob@{bob.name}>"))
        assert header(got(alice, "SIP/2.0 200"), "CSeq") == "1 INVITE"
        alice.send(request("ACK", f"sip:bob@{bob.name}", alice, route, call_id="rel@x", to_tag="b1"))
        got(bob, "ACK")
        assert silent(alice, bob)


@pytest.mark.parametrize("status", ["420 Bad Extension", "421 Extension Required"])
def test_extensions_are_the_ends_business(status: str) -> None:
    with turns() as engine:
        alice, bob = pair(engine)
        text = request("INVITE", "sip:bob@example.com", alice, "Require: 100rel", "k: timer")
        alice.send(text)
        down = got(bob, "INVITE")
        got(alice, "SIP/2.0 100")
        bob.send(reply(down, status, "Unsupported: 100rel", "Require: 100rel"))
        answer = got(alice, f"SIP/2.0 {status}")
        assert header(answer, "Unsupported") == "100rel" == header(answer, "Require")
        got(bob, "ACK")
        alice.send(ack(text, answer))
