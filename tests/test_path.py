"""RFC 3327 and RFC 3608: a REGISTER's Path is stored, told, and travelled; a Service-Route is told."""

from __future__ import annotations

import time

import pytest
from engine import engine, header, headers, request
from test_proxy_register import finish, register, the_fact

from fastsip._location import RECORD_BINDINGS, encode_bindings

CONTACT = "Contact: <sip:a@192.0.2.4>"


@pytest.fixture
def server():
    with engine() as made:
        yield made


def bind(server, *bindings, aor="alice@example.com"):
    """Bindings of (uri, path, parameters), best q first."""
    now = int(time.time() * 1000)
    source = (4, bytes([127, 0, 0, 1]) + bytes(12), 5060)
    made = [
        (uri.encode(), b"reg", parameters.encode(), path.encode(), 1000, 1, source, 1, 0, now + 60_000, now + n, 0)
        for n, (uri, path, parameters) in enumerate(bindings)
    ]
    server.segment.put(RECORD_BINDINGS, aor.encode(), encode_bindings(1, made))


def test_it_is_stored_in_order_and_told_in_the_200(server):
    phone = server.phone()
    lines = [
        "Path: <sip:p2.example.net;lr>, <sip:p1@192.0.2.9;lr;ob>",
        "Path: <sip:p0.example.net;lr>",
        "Supported: path",
    ]
    phone.send(register(phone, *lines, CONTACT))
    fact = the_fact(server)
    path = "<sip:p2.example.net;lr>, <sip:p1@192.0.2.9;lr;ob>, <sip:p0.example.net;lr>"
    assert fact[7] == path.encode()
    assert header(finish(server, phone, fact), "Path") == path


def test_it_is_told_in_a_200_alone(server):
    phone = server.phone()
    phone.send(register(phone, "Path: <sip:p2.example.net;lr>", "Supported: path", CONTACT))
    assert not headers(finish(server, phone, the_fact(server), 403), "Path")


@pytest.mark.parametrize("path", ["<sip:p2.example.net;lr", "<sip:p@192.0.2.1;lr>," * 300 + "<sip:p@192.0.2.1>"])
def test_a_malformed_one_is_refused(server, path):
    phone = server.phone()
    phone.send(register(phone, f"Path: {path}", "Supported: path", CONTACT))
    phone.expect("SIP/2.0 400")


def test_one_that_the_client_does_not_support_is_refused(server):
    """5.3: the recommended policy."""
    phone = server.phone()
    phone.send(register(phone, "Path: <sip:p2.example.net;lr>", "Supported: outbound", CONTACT))
    assert header(phone.expect("SIP/2.0 420"), "Unsupported") == "path"


def test_unless_the_operator_says_otherwise():
    with engine(path_supported=False) as server:
        phone = server.phone()
        phone.send(register(phone, "Path: <sip:p2.example.net;lr>", CONTACT))
        finish(server, phone, the_fact(server))


def test_a_required_path_is_no_bad_extension(server):
    phone = server.phone()
    phone.send(register(phone, "Require: path, gruu, outbound", CONTACT))
    finish(server, phone, the_fact(server))
    phone.send(register(phone, "Require: path, 100rel", "Require: foo", CONTACT))
    assert headers(phone.expect("SIP/2.0 420"), "Unsupported") == ["100rel", "foo"]


@pytest.mark.parametrize("others", [0, 1])
def test_requests_take_it(server, others):
    """The first of its values is the next hop, all are Route values."""
    edge, caller, desk = server.phone(), server.phone(), server.phone()
    path = f"<sip:edge@{edge.name};lr;ob>, <sip:p0.example.net;lr>"
    more = [(f"sip:d@{desk.name}", "", "")][:others]
    bind(server, ("sip:a@192.0.2.77:5099", path, ""), *more)
    caller.send(request("INVITE", "sip:alice@example.com", caller))
    invite = edge.expect("INVITE sip:a@192.0.2.77:5099 SIP/2.0")
    assert header(invite, "Route") == path
    if others:
        assert not headers(desk.expect("INVITE"), "Route")


def test_service_route_is_told():
    with engine(service_route=["<sip:orig@192.0.2.1;lr>", "<sip:192.0.2.2;lr>"]) as server:
        phone = server.phone()
        phone.send(register(phone, CONTACT))
        routes = ["<sip:orig@192.0.2.1;lr>", "<sip:192.0.2.2;lr>"]
        assert headers(finish(server, phone, the_fact(server)), "Service-Route") == routes
        phone.send(register(phone))
        assert headers(phone.expect("SIP/2.0 200"), "Service-Route") == routes
        phone.send(register(phone, CONTACT))
        assert not headers(finish(server, phone, the_fact(server), 500), "Service-Route")
