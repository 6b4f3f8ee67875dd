"""Clients by UDP that are not where they say: reached by the flow of their REGISTER, in dialogs too."""

from __future__ import annotations

import re

import pytest
from engine import ack, engine, header, headers, reply, request
from test_proxy_register import finish, register, the_fact

from fastsip._location import RECORD_BINDINGS, encode_bindings

PRIVATE = "192.168.1.17:5060"


@pytest.fixture
def server():
    with engine() as made:
        yield made


def behind(text: str, phone, place: str = PRIVATE) -> str:
    """As a phone writes it that knows nothing of the NAT it is behind."""
    return text.replace(f"SIP/2.0/UDP {phone.name};", f"SIP/2.0/UDP {place};rport;")


def flow_of(server, phone, *lines, **options):
    phone.send(behind(register(phone, *lines, **options), phone))
    fact = the_fact(server)
    finish(server, phone, fact)
    return fact[6]


@pytest.mark.parametrize(
    ("mode", "contact", "found"),
    [
        ("auto", f"sip:a@{PRIVATE}", 1),
        ("auto", "sip:a@192.168.1.17", 1),
        ("auto", "sip:a@192.168.1.18", 0),
        ("auto", "sip:a@192.168.1.17:5062", 0),
        ("auto", "sip:a@phone.example.net", 0),
        ("off", f"sip:a@{PRIVATE}", 0),
        ("always", "sip:a@192.0.2.8", 1),
    ],
)
def test_whom_it_is_kept_for(mode, contact, found):
    with engine(nat_contact=mode) as server:
        phone = server.phone()
        flow = flow_of(server, phone, f"Contact: <{contact}>")
        assert flow[5] == found
        assert flow[:3] == [4, b"\x7f\0\0\1" + bytes(12), phone.port]


def test_another_port_alone_counts_for_those_who_send_rport(server):
    phone = server.phone()
    lines = "Contact: <sip:a@127.0.0.1:5999>"
    phone.send(register(phone, lines, via="Via: SIP/2.0/UDP 127.0.0.1:5999;rport;branch=z9hG4bKa"))
    fact = the_fact(server)
    finish(server, phone, fact)
    assert fact[6][5] == 1


def test_nobody_is_reached_by_the_flow_of_a_proxy(server):
    phone = server.phone()
    phone.send(
        behind(register(phone, "Via: SIP/2.0/UDP 10.1.1.1;branch=z9hG4bKb", f"Contact: <sip:a@{PRIVATE}>"), phone)
    )
    fact = the_fact(server)
    finish(server, phone, fact)
    assert fact[6][5] == 0


def bind(server, phone, aor="bob@example.com", uri=f"sip:bob@{PRIVATE}"):
    source = (4, bytes([127, 0, 0, 1]) + bytes(12), phone.port)
    expires = 4_000_000_000_000
    one = (uri.encode(), b"reg", b"", b"", 1000, 1, source, 1, 0, expires, 1, 1)
    server.segment.put(RECORD_BINDINGS, aor.encode(), encode_bindings(1, [one]))


def routes(message: str) -> list[str]:
    return [f"Route: {value}" for value in headers(message, "Record-Route")]


def target(message: str) -> str:
    return re.search("<([^>]+)>", header(message, "Contact")).group(1)


@pytest.mark.parametrize("caller_behind", [False, True])
def test_a_call(server, caller_behind):
    """Both ends write to the other's Contact, and only the Route set leads there."""
    alice, bob = server.phone(), server.phone()
    bind(server, bob)
    contact = "sip:alice@10.0.0.9:5070" if caller_behind else f"sip:alice@{alice.name}"
    invite = request("INVITE", "sip:bob@example.com", alice, f"Contact: <{contact}>")
    alice.send(behind(invite, alice, "10.0.0.9:5070") if caller_behind else invite)
    came = bob.expect(f"INVITE sip:bob@{PRIVATE} SIP/2.0")
    assert len(headers(came, "Record-Route")) == 2
    assert ["@" in route for route in headers(came, "Record-Route")] == [True, caller_behind]
    bob.send(reply(came, "200 OK", f"Contact: <sip:bob@{PRIVATE}>"))
    ok = alice.expect("SIP/2.0 200")
    options = {"call_id": header(invite, "Call-ID"), "to_tag": "b1"}
    back = routes(ok)[::-1]
    alice.send(request("ACK", target(ok), alice, *back, **options))
    bob.expect(f"ACK sip:bob@{PRIVATE} SIP/2.0")
    alice.send(request("INFO", target(ok), alice, *back, cseq=2, **options))
    bob.send(reply(bob.expect("INFO"), "200 OK"))
    alice.expect("SIP/2.0 200")
    bye = request(
        "BYE",
        contact,
        bob,
        *routes(came),
        caller="sip:bob@example.com",
        callee="sip:alice@example.com",
        from_tag="b1",
        to_tag="a1",
        call_id=options["call_id"],
    )
    bob.send(behind(bye, bob))
    alice.send(reply(alice.expect(f"BYE {contact} SIP/2.0"), "200 OK"))
    bob.expect("SIP/2.0 200")


def test_ob_asks_for_the_flow(server):
    alice, bob = server.phone(), server.phone()
    server.register("bob@example.com", f"sip:bob@{bob.name}")
    for contact, count in (("sip:alice@192.0.2.3;ob", 2), ("sip:alice@192.0.2.3;obs", 1)):
        invite = request("INVITE", "sip:bob@example.com", alice, f"Contact: <{contact}>")
        alice.send(invite)
        came = bob.expect("INVITE")
        assert len(headers(came, "Record-Route")) == count
        bob.send(reply(came, "486 Busy Here"))
        alice.send(ack(invite, alice.expect("SIP/2.0 486")))
        bob.expect("ACK")


@pytest.mark.parametrize(
    ("said", "told"),
    [(";keep;x=1", ";keep=25;x=1"), (";keep", ";keep=25"), (";keep=3", ";keep=3"), (";keeper", ";keeper"), ("", "")],
)
def test_keep_is_answered(server, said, told):
    """RFC 6223 4.3."""
    phone = server.phone()
    text = register(phone, f"Contact: <sip:a@{phone.name}>")
    phone.send(re.sub(r"(Via: [^\r]*)", r"\1" + said, text, count=1))
    assert header(finish(server, phone, the_fact(server)), "Via").endswith(told)
