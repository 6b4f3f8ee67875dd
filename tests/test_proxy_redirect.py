"""The redirect server (RFC 3261 8.3), for a domain.

1. 302 with every binding, best q first; nobody there, nobody known; never the Request-URI itself.
2. Any method but ACK, CANCEL and REGISTER; Require, Proxy-Require, Max-Forwards and unknown methods mean nothing to it.
3. The ACK ends here, what comes again is answered again, a CANCEL is answered 200, and nothing is remembered.
4. Requests in a dialog, to the server itself, and to other domains are what they are to a proxy.
5. Challenged with 401. A policy comes first, and what it leaves alone is redirected.
6. Redirect, then proxy (draft 3.1.5, RFC 3665 3.6) in one server.
"""

from __future__ import annotations

import re

import pytest
from engine import ack, header, headers, reply, request
from test_proxy_rights import digest
from turns import got, phones, silent, turns

from fastsip.policy import Plan, reject

MOVED = {"domains": ["example.com", "example.net"], "roles": {"example.net": "redirect"}}
BOB = "sip:bob@example.net"


def test_every_binding_in_the_order_of_q() -> None:
    with turns(**MOVED) as engine:
        (alice,) = phones(engine, 1)
        contacts = [("sip:a@192.0.2.1", 0.05), ("sip:b@far.example;transport=tcp", 0.7), (BOB, 1.0),
                    ("sip:c@[2001:db8::1]:5070;x", 1.0), ("sips:d@192.0.2.4?Subject=x", 0.7), ("sip:e@192.0.2.5", 0.0)]
        engine.bind("bob@example.net", *contacts, lifetime=100)
        engine.advance(30.5)
        for _ in range(2):
            alice.send(request("INVITE", BOB, alice, branch="z9hG4bK-1", call_id="one"))
        answer = got(alice, "SIP/2.0 302 Moved Temporarily")
        assert headers(answer, "Contact") == [
            "<sip:c@[2001:db8::1]:5070;x>;q=1;expires=69",
            "<sips:d@192.0.2.4?Subject=x>;q=0.700;expires=69",
            "<sip:b@far.example;transport=tcp>;q=0.700;expires=69",
            "<sip:a@192.0.2.1>;q=0.050;expires=69",
            "<sip:e@192.0.2.5>;q=0.000;expires=69",
        ]
        assert not headers(answer, "Record-Route") and not headers(answer, "Route")
        assert got(alice, "SIP/2.0 302") == answer
        assert engine.counters()["transactions"] == 0 and engine.counters()["calls_failed_3xx"] == 2
        alice.send(ack(request("INVITE", BOB, alice, branch="z9hG4bK-1", call_id="one"), answer))
        assert silent(alice) and engine.counters()["requests_out"] == 0
        engine.advance(70)
        alice.send(request("INVITE", BOB, alice))
        got(alice, "SIP/2.0 480")


@pytest.mark.parametrize(("user", "status"), [("carol", 480), ("nobody", 404), ("self", 480)])
def test_nobody_there(user: str, status: int) -> None:
    with turns(**MOVED) as engine:
        (alice,) = phones(engine, 1)
        engine.user("carol@example.net", "secret")
        engine.bind("self@example.net", "sip:self@EXAMPLE.NET")
        alice.send(request("INVITE", f"sip:{user}@example.net", alice))
        assert not headers(got(alice, f"SIP/2.0 {status}"), "Contact")


@pytest.mark.parametrize(
    ("method", "extra", "options"),
    [
        ("OPTIONS", (), {}),
        ("MESSAGE", (), {}),
        ("SUBSCRIBE", ("Event: dialog",), {}),
        ("NEWMETHOD", (), {}),
        ("INVITE", ("Require: x, 100rel", "Proxy-Require: y"), {}),
        ("INVITE", (), {"max_forwards": 0}),
        ("MESSAGE", ("Route: <sip:{us};lr>",), {}),
    ],
)
def test_features_it_does_not_understand(method: str, extra: tuple[str, ...], options: dict[str, int]) -> None:
    with turns(**MOVED) as engine:
        (alice,) = phones(engine, 1)
        engine.bind("bob@example.net", "sip:bob@192.0.2.1")
        alice.send(request(method, BOB, alice, *(line.format(us=engine.address) for line in extra), **options))
        got(alice, "SIP/2.0 302")


def test_what_is_not_redirected() -> None:
    with turns(**MOVED) as engine:
        alice, bob = phones(engine, 2)
        engine.bind("bob@example.net", f"sip:bob@{bob.name}")
        engine.bind("bob@example.com", f"sip:bob@{bob.name}")
        alice.send(request("MESSAGE", "sip:bob@example.com", alice))
        bob.send(reply(got(bob, "MESSAGE"), "200 OK"))
        got(alice, "SIP/2.0 200")
        # Somebody whose Contact is his address-of-record: his dialog goes on.
        alice.send(request("BYE", BOB, alice, to_tag="b1"))
        bob.send(reply(got(bob, "BYE"), "200 OK"))
        got(alice, "SIP/2.0 200")
        alice.send(request("OPTIONS", "sip:example.net", alice))
        got(alice, "SIP/2.0 200")
        alice.send(request("REGISTER", "sip:example.net", alice, callee=BOB))
        assert header(got(alice, "SIP/2.0 200"), "Contact").startswith(f"<sip:bob@{bob.name}>")
        alice.send(request("CANCEL", BOB, alice))
        got(alice, "SIP/2.0 200")
        assert silent(alice, bob)


def test_a_listen_address_stands_for_the_first_domain() -> None:
    with turns(roles={"example.com": "redirect"}) as engine:
        (alice,) = phones(engine, 1)
        engine.bind("bob@example.com", "sip:bob@192.0.2.1")
        alice.send(request("INVITE", f"sip:bob@{engine.address}", alice))
        got(alice, "SIP/2.0 302")


def test_a_domain_that_is_an_ipv6_address() -> None:
    with turns(domains=["example.com", "[2001:db8::7]"], roles={"[2001:db8::7]": "redirect"}) as engine:
        (alice,) = phones(engine, 1)
        engine.bind("bob@[2001:db8::7]", "sip:bob@192.0.2.1")
        for host in ("[2001:db8::7]", "[2001:DB8:0:0::7]"):
            alice.send(request("INVITE", f"sip:bob@{host}", alice))
            got(alice, "SIP/2.0 302")


def test_it_asks_who_is_asking() -> None:
    with turns(**MOVED, required=["*"], open_relay=False) as engine:
        (alice,) = phones(engine, 1)
        engine.bind("bob@example.net", "sip:bob@192.0.2.1")
        engine.user("alice@example.com", "secret")
        alice.send(request("INVITE", BOB, alice))
        challenge = got(alice, "SIP/2.0 401")
        assert not headers(challenge, "Contact")
        line = digest(challenge, "WWW-Authenticate", "INVITE", BOB).replace("Proxy-Authorization", "Authorization")
        alice.send(request("INVITE", BOB, alice, line, cseq=2))
        got(alice, "SIP/2.0 302")
        alice.send(request("INVITE", BOB, alice, caller="sip:x@far.invalid"))
        got(alice, "SIP/2.0 302")
        alice.send(request("INVITE", BOB, alice, caller="sip:alice@example.com:99999"))
        got(alice, "SIP/2.0 400")


@pytest.mark.parametrize("decides", [True, False])
def test_a_policy_comes_first(decides: bool) -> None:
    def asked(_: object) -> Plan | None:
        return reject(403, "Not That One") if decides else None

    with turns(asked=asked, asks=["requests"], **MOVED) as engine:
        (alice,) = phones(engine, 1)
        engine.bind("bob@example.net", "sip:bob@192.0.2.1")
        text = request("INVITE", BOB, alice)
        alice.send(text)
        got(alice, "SIP/2.0 100")
        answer = got(alice, "SIP/2.0 403 Not That One" if decides else "SIP/2.0 302")
        alice.send(ack(text, answer))


def test_redirect_then_proxy() -> None:
    """Draft 3.1.5 and RFC 3665 3.6, whose two servers are two domains here."""
    with turns(**MOVED) as engine:
        alice, bob = phones(engine, 2)
        engine.bind("bob@example.net", "sip:bob@example.com")
        engine.bind("bob@example.com", f"sip:bob@{bob.name}")
        text = request("INVITE", BOB, alice, f"Contact: <sip:alice@{alice.name}>", call_id="moved@x")
        alice.send(text)
        moved = got(alice, "SIP/2.0 302")
        alice.send(ack(text, moved))
        target = re.match("<(.*)>;q=1;expires=", header(moved, "Contact"))
        assert target and target[1] == "sip:bob@example.com"
        alice.send(request("INVITE", target[1], alice, f"Contact: <sip:alice@{alice.name}>", call_id="moved@x", cseq=2))
        invite = got(bob, "INVITE")
        got(alice, "SIP/2.0 100")
        bob.send(reply(invite, "180 Ringing"))
        got(alice, "SIP/2.0 180")
        bob.send(reply(invite, "200 OK", f"Contact: <sip:bob@{bob.name}>"))
        ok = got(alice, "SIP/2.0 200")
        route = f"Route: {header(ok, 'Record-Route')}"
        body = "v=0\r\n"
        same = {"call_id": "moved@x", "to_tag": "b1", "cseq": 2, "body": body}
        alice.send(request("ACK", f"sip:bob@{bob.name}", alice, route, **same))
        assert got(bob, "ACK").endswith("\r\n\r\n" + body)
        back = {"call_id": "moved@x", "from_tag": "b1", "to_tag": "a1"}
        bob.send(request("BYE", f"sip:alice@{alice.name}", bob, route, **back))
        alice.send(reply(got(alice, "BYE"), "200 OK"))
        got(bob, "SIP/2.0 200")
