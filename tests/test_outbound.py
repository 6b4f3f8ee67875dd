"""RFC 5626 as registrar and as edge proxy, against the running server.

1. Instance and reg-id name a binding, and the 200 says so; who stands behind a proxy that knows nothing of it is told.
2. Of the flows of one instance one is tried at a time, the next when that fails.
3. A token of a flow that is gone is answered 430, a forged one 403.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from harness import Phone, Server
from harness.stream import SecurePhone, StreamPhone, call
from stream_kit import DOMAIN, StreamServer, trusting

INSTANCE = "<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(transports=("udp", "tcp"), workers=2, domains=[DOMAIN], trusted=["127.0.0.1/32"]) as running:
        yield running


class Outbound(StreamPhone):
    """A phone that registers by instance and reg-id."""

    reg_id = 1
    instance = INSTANCE
    supported = "path, outbound"
    lines = ""
    via = ""

    @property
    def contact(self) -> str:
        return f"sip:{self.user}@{self.host}:{self.port};transport=tcp;ob"

    def register_request(self, expires: int = 600) -> bytes:
        data = self.request(
            "REGISTER",
            f"sip:{self.domain}",
            to=f"<{self.uri}>",
            headers=f"Expires: {expires}\r\nSupported: {self.supported}\r\n{self.lines}",
        )
        parameters = f';reg-id={self.reg_id};+sip.instance="{self.instance}"'
        return re.sub(rb"(Contact: <[^>]*>)", rb"\1" + parameters.encode(), data)

    def register(self, expires: int = 600):
        self.send(self.register_request(expires))
        return self.expect("200")


def outbound(server: Server, user: str, reg_id: int = 1) -> Outbound:
    phone = Outbound(server.address, user)
    phone.reg_id = reg_id
    return phone


def test_the_200_says_that_it_was_applied(server: Server) -> None:
    with outbound(server, "ann") as ann:
        ok = ann.register()
        assert ok.get("Require") == "outbound"
        assert ok.get("Flow-Timer") == "120"
        assert f'reg-id=1;+sip.instance="{INSTANCE}"' in ok.get("Contact")
        ann.supported = "path"
        ok = ann.register()
        assert not ok.all("Require") and "reg-id=1" in ok.get("Contact")


def test_instance_and_reg_id_name_the_binding(server: Server) -> None:
    with outbound(server, "ben") as ben, outbound(server, "ben") as again, outbound(server, "ben", 2) as other:
        ben.register()
        [contact] = again.register().all("Contact")
        assert f":{again.port};" in contact
        assert len(other.register().all("Contact")) == 2
        other.instance = INSTANCE.replace("128", "129")
        assert len(other.register().all("Contact")) == 3
        other.reg_id = 1
        assert len(other.register().all("Contact")) == 4
        assert len(other.register(0).all("Contact")) == 3


def test_two_flows_may_have_one_contact(server: Server) -> None:
    with outbound(server, "cat") as cat:
        cat.register()
        cat.reg_id = 2
        assert len(cat.register().all("Contact")) == 2
        cat.reg_id = 1
        [left] = cat.register(0).all("Contact")
        assert "reg-id=2" in left


def test_more_than_one_contact_with_a_reg_id_is_refused(server: Server) -> None:
    with outbound(server, "dan") as dan:
        data = dan.register_request()
        dan.send(re.sub(rb"(Contact: [^\r]*)", rb"\1, <sip:x@192.0.2.1>", data, count=1))
        dan.expect("400")


def behind_a_proxy(data: bytes) -> bytes:
    return data.replace(b"Max-Forwards", b"Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKx\r\nMax-Forwards")


def test_a_first_hop_that_lacks_it(server: Server) -> None:
    with outbound(server, "eve") as eve:
        eve.send(behind_a_proxy(eve.register_request()))
        eve.expect("439")
        eve.lines = "Path: <sip:192.0.2.7;lr>\r\n"
        eve.send(behind_a_proxy(eve.register_request()))
        eve.expect("439")
        eve.supported = "path"
        eve.send(behind_a_proxy(eve.register_request()))
        assert "reg-id" not in eve.expect("200").get("Contact")
        eve.supported = "path, outbound"
        eve.lines = "Path: <sip:192.0.2.7;lr;ob>\r\n"
        eve.send(behind_a_proxy(eve.register_request()))
        ok = eve.expect("200")
        assert ok.get("Require") == "outbound" and not ok.all("Flow-Timer")
        assert ok.get("Path") == "<sip:192.0.2.7;lr;ob>"


def test_one_flow_of_an_instance_is_tried_at_a_time(server: Server) -> None:
    with outbound(server, "fay", 1) as first, outbound(server, "fay", 2) as second, outbound(server, "gus") as gus:
        first.register()
        time.sleep(0.01)
        second.register()
        gus.send(gus.request("INVITE", first.uri))
        second.respond(second.expect("INVITE"), 486)
        gus.expect("486")
        assert first.receive(0.2) is None


@pytest.mark.parametrize("failure", ["430", "closed"])
def test_the_next_flow_takes_over(server: Server, failure: str) -> None:
    user = f"hal{failure}"
    with outbound(server, user, 1) as first, outbound(server, user, 2) as second, outbound(server, "gus") as gus:
        first.register()
        time.sleep(0.01)
        second.register()
        if failure == "closed":
            second.socket.close()
            time.sleep(0.1)
        for _ in range(6):  # calls of either worker
            gus.send(gus.request("INVITE", first.uri))
            if failure == "430":
                second.respond(second.expect("INVITE"), 430)
                second.expect("ACK")
            first.respond(first.expect("INVITE"), 486)
            gus.expect("486")
            first.expect("ACK")


def test_a_flow_that_is_gone_is_forgotten(server: Server) -> None:
    with outbound(server, "flo", 1) as first, outbound(server, "gus") as gus:
        with outbound(server, "flo", 2) as second:
            first.register()
            time.sleep(0.01)
            second.register()
        time.sleep(0.1)
        gus.send(gus.request("MESSAGE", first.uri))
        first.respond(first.expect("MESSAGE"), 200)
        gus.expect("200")
        time.sleep(1)
        [left] = first.register().all("Contact")
        assert "reg-id=1" in left


def test_people_with_services_are_reached_by_their_flow() -> None:
    """Their plans are made in Python."""
    people = {f'users."pat@{DOMAIN}"': {"ring_time": 20, "password": "x"}}
    with (
        Server(transports=("udp", "tcp"), domains=[DOMAIN], trusted=["127.0.0.1/32"], extra=people) as server,
        outbound(server, "pat") as pat,
        outbound(server, "gus") as gus,
        Phone(server.address) as udp,
    ):
        pat.register()
        call(gus, pat)
        contact = "Contact: <sip:pat@192.168.9.9:5060>\r\n"
        data = udp.request("REGISTER", f"sip:{DOMAIN}", sender=pat.uri, to=pat.uri, headers=contact)
        answer = udp.ask(re.sub(rb"UDP [^;]*", b"UDP 192.168.9.9:5060", data, count=1))
        assert answer is not None and answer.status == 200
        pat.register(0)
        gus.send(gus.request("INVITE", pat.uri))
        invite = udp.receive()
        assert invite is not None and invite.uri == "sip:pat@192.168.9.9:5060"
        udp.respond(invite, 486)
        gus.expect("486")


def test_the_last_430_is_a_480(server: Server) -> None:
    with outbound(server, "ida") as ida, outbound(server, "gus") as gus:
        ida.register()
        gus.send(gus.request("INVITE", ida.uri))
        ida.respond(ida.expect("INVITE"), 430)
        gus.expect("480")


def test_calls_between_outbound_phones(server: Server) -> None:
    with outbound(server, "joy") as joy, outbound(server, "kim") as kim:
        joy.register()
        kim.register()
        for _ in range(4):
            call(joy, kim)
            call(kim, joy)


# As edge proxy: the registrar is a phone by UDP.


def edge(server: Server, registrar: Phone, client: Outbound) -> str:
    """Register through the server at somebody else's registrar; the Path that arrives there."""
    data = client.register_request()
    target = f"sip:{registrar.host}:{registrar.port}"
    client.send(data.replace(f"REGISTER sip:{DOMAIN}".encode(), f"REGISTER {target}".encode()))
    seen = registrar.receive()
    assert seen is not None and seen.method == "REGISTER"
    registrar.respond(seen, 200, f"Path: {seen.get('Path')}\r\n")
    client.expect("200")
    return seen.get("Path")


def test_edge_proxy(server: Server) -> None:
    with outbound(server, "lea") as lea, Phone(server.address) as registrar:
        path = edge(server, registrar, lea)
        assert re.fullmatch(rf"<sip:p[0-9a-f]+@{re.escape(server.hostport)};lr;ob>", path)
        for _ in range(4):
            invite = registrar.request(
                "INVITE",
                lea.contact,
                to=f"sip:lea@{registrar.host}",
                headers=f"Route: {path}\r\nContact: <sip:r@{registrar.host}:{registrar.port}>\r\n",
            )
            registrar.send(invite)
            came = lea.expect("INVITE")
            assert not came.all("Route") and came.uri == lea.contact
            assert len(came.all("Record-Route")) == 2
            lea.respond(came, 200)
            lea.send(lea.within("BYE", came, cseq=1, own=True))
            names = set()
            while "BYE" not in names:
                message = registrar.receive()
                assert message is not None, names
                names.add(message.name)
                if message.name == "BYE":
                    registrar.respond(message, 200)
            lea.expect("200")


def test_the_path_of_an_edge_is_sips_where_the_registration_is(tmp_path: Path) -> None:
    """RFC 5630 5.2: or the registrar has to refuse it. Through both of them, and back."""
    authority = Authority(tmp_path)
    near = StreamServer(
        authority, names=["127.0.0.2"], host="127.0.0.2", domains=["edge.example.net"], trusted=["127.0.0.0/8"]
    )
    far = StreamServer(authority, names=["127.0.0.3"], host="127.0.0.3", domains=[DOMAIN], trusted=["127.0.0.0/8"])
    with near, far:
        context = trusting(near)
        places = [(one.host, one.secure_port) for one in (near, far)]
        with (
            SecurePhone(places[0], "nora", context=context, name="127.0.0.2") as nora,
            SecurePhone(places[1], "olaf", context=context, name="127.0.0.3") as olaf,
        ):
            nora.scheme = olaf.scheme = "sips"
            headers = f"Route: <sips:127.0.0.3:{far.secure_port};lr>\r\nSupported: path\r\nExpires: 600\r\n"
            nora.send(nora.request("REGISTER", f"sips:{DOMAIN}", to=f"<{nora.uri}>", headers=headers))
            assert nora.expect("200").get("Path").startswith("<sips:p")
            olaf.send(olaf.request("OPTIONS", f"sips:nora@{DOMAIN}"))
            nora.respond(nora.expect("OPTIONS"), 200)
            olaf.expect("200")


def test_tokens_that_lead_nowhere(server: Server) -> None:
    with Phone(server.address) as registrar:
        with outbound(server, "mia") as mia:
            path = edge(server, registrar, mia)
            contact = mia.contact
        time.sleep(0.1)
        message = registrar.request("OPTIONS", contact, headers=f"Route: {path}\r\n")
        answer = registrar.ask(message)
        assert answer is not None and answer.status == 430
        digit = path[30]
        forged = path[:30] + ("0" if digit != "0" else "1") + path[31:]
        answer = registrar.ask(registrar.request("OPTIONS", contact, headers=f"Route: {forged}\r\n"))
        assert answer is not None and answer.status == 403
