"""Who routes before and after this server, and how: RFC 3261 16.4, 16.12.1, and peers of RFC 2543.

1. A maddr in a foreign Request-URI that names this server (16.4).
2. A whole call between strict routers (16.12.1.2), and through one whose Record-Route has no lr.
3. RFC 2543: no cookie, no From tag, no rport; a call, its retransmissions, its CANCEL and the ACK of its refusal.
"""

from __future__ import annotations

import re
import socket

import pytest
from engine import ack, header, headers, reply, request
from turns import got, phones, silent, turns

FAR = "127.0.0.97"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sip:bob@far.invalid:{port};maddr={us}", "sip:bob@far.invalid"),
        ("sip:bob@far.invalid;maddr=example.com;user=phone", "sip:bob@far.invalid;user=phone"),
        ("sip:b:pw@far.invalid:{port};x;transport=udp;maddr={us};y=%41", "sip:b:pw@far.invalid;x;transport=udp;y=%41"),
        ("sip:far.invalid:5060;lr;MADDR=example.com", "sip:far.invalid:5060;lr"),
        ("sip:bob@far.invalid:{port};maddr=192.0.2.1", None),
        ("sip:bob@far.invalid;maddr={us}", None),
        ("sip:bob@far.invalid:{port};maddr={us};transport=tcp", None),
        ("sip:bob@far.invalid:{port};maddr", None),
        ("sip:bob@far.invalid;maddr=[", None),
        ("sip:bob@far.invalid;maddr=[]", None),
        ("sip:bob@far.invalid;maddr=[::1", None),
    ],
)
def test_maddr_that_names_us(before: str, after: str | None) -> None:
    """It has done its work and goes, with a port that belonged to it; one of somebody else's stays."""
    with turns() as engine:
        alice, far = phones(engine, 2)
        us, port = engine.listening
        before = before.format(us=us, port=port)
        alice.send(request("MESSAGE", before, alice, f"Route: <sip:{far.name};lr>"))
        text = got(far, "MESSAGE")
        assert text.split()[1] == (after or before)
        far.send(reply(text, "200 OK"))
        got(alice, "SIP/2.0 200")


def test_the_rest_of_the_uri_says_where() -> None:
    with turns() as engine, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind((FAR, 5060))
        far.settimeout(2)
        (alice,) = phones(engine, 1)
        us, port = engine.listening
        alice.send(request("INVITE", f"sip:bob@{FAR}:{port};maddr={us}", alice))
        engine.settle()
        text = far.recv(65535).decode()
        assert text.startswith(f"INVITE sip:bob@{FAR} SIP/2.0\r\n")
        far.sendto(reply(text, "480 Gone").encode(), (us, port))
        got(alice, "SIP/2.0 100")
        engine.advance(0.1)
        assert far.recv(65535).startswith(f"ACK sip:bob@{FAR} ".encode())
        got(alice, "SIP/2.0 480")


def test_maddr_in_front_of_one_of_our_users() -> None:
    """Without the port it belonged to, the Request-URI is an address-of-record of ours."""
    with turns(listen=[("192.0.2.7", 5060), ("192.0.2.8", 5062)], domains=[]) as engine:
        alice, bob = phones(engine, 2)
        engine.bind("bob@192.0.2.7", f"sip:bob@{bob.name}")
        alice.send(request("MESSAGE", "sip:bob@192.0.2.7:5062;maddr=192.0.2.8", alice))
        text = got(bob, f"MESSAGE sip:bob@{bob.name} ")
        bob.send(reply(text, "200 OK"))
        got(alice, "SIP/2.0 200")


@pytest.mark.parametrize("parameters", ["", ";transport=udp"])
def test_call_between_strict_routers(parameters: str) -> None:
    """16.12.1.2: routers before and after us know nothing of lr; every request finds its way, in both directions."""
    with turns() as engine:
        alice, before, after, bob = phones(engine, 4)
        engine.bind("bob@example.com", f"sip:bob@{after.name}")
        text = request("INVITE", "sip:bob@example.com", before, f"Record-Route: <sip:{before.name}>")
        before.send(text)
        invite = got(after, "INVITE")
        own = header(invite, "Record-Route")
        routes = [f"<sip:{after.name}{parameters}>", *headers(invite, "Record-Route")]
        assert len(routes) == 3 and routes[2] == f"<sip:{before.name}>"
        contact = f"sip:bob@{bob.name}"
        answer = reply(invite, "200 OK", f"Contact: <{contact}>")
        after.send(answer.replace("Record-Route", f"Record-Route: {routes[0]}\r\nRecord-Route", 1))
        got(before, "SIP/2.0 100")
        ok = got(before, "SIP/2.0 200")
        call = {"call_id": header(text, "Call-ID"), "to_tag": "b1"}
        recorded = headers(ok, "Record-Route")
        assert recorded == routes
        # Alice's through `before`, which makes our URI the Request-URI and the remote target the last Route value.
        for method, cseq in (("ACK", 1), ("INFO", 2)):
            us = own.strip("<>")
            before.send(request(method, us, before, f"Route: {routes[0]}, <{contact}>", cseq=cseq, **call))
            down = got(after, method)
            assert down.split()[1] == routes[0].strip("<>"), "a strict router takes the Request-URI's place"
            assert headers(down, "Route") == [f"<{contact}>"]
        after.send(reply(down, "200 OK"))
        got(before, "SIP/2.0 200")
        # Bob's BYE comes by `after`, which puts our URI on top, and goes on to `before`.
        back = {"call_id": call["call_id"], "from_tag": "b1", "to_tag": "a1"}
        route = f"Route: {routes[2]}, <sip:alice@{alice.name}>"
        after.send(request("BYE", own.strip("<>"), after, route, cseq=1, **back))
        up = got(before, "BYE")
        assert up.split()[1] == routes[2].strip("<>") and headers(up, "Route") == [f"<sip:alice@{alice.name}>"]
        before.send(reply(up, "200 OK"))
        got(after, "SIP/2.0 200")
        assert silent(alice, bob, before, after)


def old(text: str) -> str:
    """A request as a peer of RFC 2543 writes it: no branch, no tag in From; `hidden` was a Via parameter then."""
    return re.sub(r";branch=\S+", ";hidden", text, count=1).replace(";tag=a1", "")


def test_old_peer_is_refused() -> None:
    """What comes again is known by the rules of 17.2.3 for such peers, and so are CANCEL and the ACK of the refusal."""
    with turns() as engine:
        alice, bob = phones(engine, 2)
        engine.bind("bob@example.com", f"sip:bob@{bob.name}")
        text = old(request("INVITE", "sip:bob@example.com", alice))
        for _ in range(3):
            alice.send(text)
        invite = got(bob, "INVITE")
        assert header(invite, "From") == "<sip:alice@example.com>" and headers(invite, "Via")[1].endswith(";hidden")
        bob.send(reply(invite, "180 Ringing"))
        while (ringing := got(alice, "SIP/2.0 1")).startswith("SIP/2.0 100"):
            pass
        assert header(ringing, "Via") == header(text, "Via"), "a Via parameter is nobody's to change"
        cancel = re.sub("INVITE", "CANCEL", text)
        alice.send(cancel)
        assert header(got(alice, "SIP/2.0 200"), "CSeq") == "1 CANCEL"
        down = got(bob, "CANCEL")
        assert headers(down, "Via") == headers(invite, "Via")[:1]
        bob.send(reply(down, "200 OK"))
        bob.send(reply(invite, "487 Request Terminated"))
        got(bob, "ACK")
        alice.send(ack(text, got(alice, "SIP/2.0 487")))
        engine.advance(2)
        assert silent(alice, bob), "its ACK was not known"


def test_old_peer_is_answered() -> None:
    """A call with Record-Route through to the BYE; the 2xx is acknowledged from end to end."""
    with turns() as engine:
        alice, bob = phones(engine, 2)
        engine.bind("bob@example.com", f"sip:bob@{bob.name}")
        text = old(request("INVITE", "sip:bob@example.com", alice, f"Contact: sip:alice@{alice.name}"))
        alice.send(text)
        invite = got(bob, "INVITE")
        got(alice, "SIP/2.0 100")
        bob.send(reply(invite, "200 OK", f"Contact: sip:bob@{bob.name}"))
        ok = got(alice, "SIP/2.0 200")
        for method, cseq in (("ACK", 1), ("BYE", 2)):
            route = f"Route: {header(ok, 'Record-Route')}"
            call = {"call_id": header(text, "Call-ID"), "to_tag": "b1", "cseq": cseq}
            alice.send(old(request(method, f"sip:bob@{bob.name}", alice, route, **call)))
            down = got(bob, f"{method} sip:bob@{bob.name} ")
            assert not headers(down, "Route")
        bob.send(reply(down, "200 OK"))
        got(alice, "SIP/2.0 200")
