"""RFC 5627: an instance has URIs of its own; they lead to it alone, wherever it is registered."""

from __future__ import annotations

import re
import time

import pytest
from engine import engine, header, headers, reply, request
from test_proxy_register import finish, register, the_fact

from fastsip._location import RECORD_BINDINGS, encode_bindings

UUID = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"


@pytest.fixture
def server():
    with engine() as made:
        yield made


def bind(server, *bindings, aor="alice@example.com"):
    """Bindings of (uri, instance, Call-ID, CSeq)."""
    now = int(time.time() * 1000)
    source = (4, bytes([127, 0, 0, 1]) + bytes(12), 5060)
    made = [
        (
            uri.encode(),
            call.encode(),
            f'+sip.instance="<{urn}>"'.encode() if urn else b"",
            b"",
            1000,
            1,
            source,
            cseq,
            0,
        )
        for uri, urn, call, cseq in bindings
    ]
    made = [(*one, now + 60_000, now, 0) for one in made]
    server.segment.put(RECORD_BINDINGS, aor.encode(), encode_bindings(1, made))


def gruus(server, phone) -> list[tuple[str, str]]:
    phone.send(register(phone, "Supported: gruu"))
    answer = phone.expect("SIP/2.0 200")
    found = []
    for contact in headers(answer, "Contact"):
        public, temporary = re.search('pub-gruu="([^"]*)"', contact), re.search('temp-gruu="([^"]*)"', contact)
        if public and temporary:
            found.append((public[1], temporary[1]))
    return found


def test_they_are_given_to_those_who_support_it(server):
    phone = server.phone()
    contact = f'Contact: <sip:a@192.0.2.4>;+sip.instance="<{UUID}>"'
    bind(server, ("sip:a@192.0.2.4", UUID, "reg", 1), ("sip:b@192.0.2.5", "", "reg", 1))
    for supported in ("path", "path, gruu"):
        phone.send(register(phone, contact, f"Supported: {supported}"))
        first, second = headers(finish(server, phone, the_fact(server)), "Contact")
        assert ("gruu" in first) == ("gruu" in supported) and "gruu" not in second
    assert f';pub-gruu="sip:alice@example.com;gr={UUID}";temp-gruu="sip:tgruu.' in first


def test_they_have_the_scheme_of_their_contact(server):
    """RFC 5630 5.2.1."""
    phone = server.phone()
    bind(server, ("sips:a@192.0.2.4", UUID, "reg", 1), ("sip:b@192.0.2.5", "urn:b", "reg", 1))
    (public, temporary), (other, another) = gruus(server, phone)
    assert public == f"sips:alice@example.com;gr={UUID}" and temporary.startswith("sips:tgruu.")
    assert other == "sip:alice@example.com;gr=urn:b" and another.startswith("sip:tgruu.")


@pytest.mark.parametrize("urn", [UUID, UUID.upper(), "urn:x-odd:a/b%c[d]", "urn:" + "x" * 200])
def test_they_lead_to_their_instance_alone(server, urn):
    one, other, caller = server.phone(), server.phone(), server.phone()
    bind(server, (f"sip:o@{other.name}", "urn:other", "x", 1), (f"sip:a@{one.name}", urn, "reg", 3))
    for uri in gruus(server, caller)[1]:
        assert len(uri) < 360
        caller.send(request("MESSAGE", uri, caller))
        one.send(reply(one.expect(f"MESSAGE sip:a@{one.name} SIP/2.0"), "200 OK"))
        caller.expect("SIP/2.0 200")
    assert other.silent()


def test_a_temporary_one_tells_nothing_and_is_another_each_time(server):
    caller = server.phone()
    seen = set()
    for cseq in range(1, 4):
        bind(server, ("sip:a@192.0.2.4", UUID, "reg", cseq))
        [(_, temporary)] = gruus(server, caller)
        assert "alice" not in temporary and "f81d" not in temporary
        seen.add(temporary)
    assert len(seen) == 3
    assert len({uri[10:24] for uri in seen}) == 3


def status_of(server, caller, uri: str) -> str:
    caller.send(request("OPTIONS", uri, caller))
    return caller.expect("SIP/2.0").split()[1]


def test_what_they_are_worth_later(server):
    phone, caller = server.phone(), server.phone()
    place = f"sip:a@{phone.name}"
    server.user("alice", "secret")
    bind(server, (place, UUID, "reg", 1))
    [(public, temporary)] = gruus(server, caller)
    # Those from before a refresh stay good.
    bind(server, (place, UUID, "reg", 2))
    caller.send(request("OPTIONS", temporary, caller))
    phone.send(reply(phone.expect("OPTIONS"), "200 OK"))
    caller.expect("SIP/2.0 200")
    # Another Call-ID, and they are not.
    bind(server, (place, UUID, "another", 3))
    assert status_of(server, caller, temporary) == "404"
    # Nobody is there.
    bind(server, (place, "urn:x", "reg", 1))
    assert status_of(server, caller, public) == "480"
    assert status_of(server, caller, temporary) == "480"
    # Not ours.
    wrong = temporary.replace("tgruu.", "tgruu.A")
    assert status_of(server, caller, wrong) == "404"
    assert status_of(server, caller, "sip:tgruu.@example.com;gr") == "404"
    assert status_of(server, caller, "sip:tgruu.QUJD@example.com;gr") == "404"
    assert status_of(server, caller, "sip:nobody@example.com;gr=urn:x") == "404"
    assert status_of(server, caller, f"sip:alice@example.com;gr={'%41' * 600}") == "404"


def test_a_dialog_with_one(server):
    """The Contact is a GRUU; requests in the dialog come with our Route and go to the instance."""
    phone, caller = server.phone(), server.phone()
    bind(server, (f"sip:a@{phone.name}", UUID, "reg", 1))
    [(_, temporary)] = gruus(server, caller)
    invite = request("INVITE", "sip:alice@example.com", caller, f"Contact: <sip:c@{caller.name}>")
    caller.send(invite)
    came = phone.expect("INVITE")
    phone.send(reply(came, "200 OK", f"Contact: <{temporary}>"))
    ok = caller.expect("SIP/2.0 200")
    route = f"Route: {header(ok, 'Record-Route')}"
    for method in ("ACK", "BYE"):
        caller.send(
            request(
                method,
                temporary,
                caller,
                route,
                call_id=header(invite, "Call-ID"),
                to_tag="b1",
                cseq=1 + (method == "BYE"),
            )
        )
        seen = phone.expect(f"{method} sip:a@{phone.name} SIP/2.0")
    phone.send(reply(seen, "200 OK"))
    caller.expect("SIP/2.0 200")
