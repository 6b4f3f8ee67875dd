"""SIP over TLS as carriers use it: certificates, resumption, sips, trunks, mixed transports and families."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from harness import Phone, Server
from harness.ports import free_port
from harness.stream import DatagramPhone, SecurePhone, StreamPhone, call
from stream_kit import DOMAIN, StreamServer, options, plain, secure, trusting

LOOPBACK = ["127.0.0.0/8", "::1/128"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("certificates")))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[StreamServer]:
    six, secure_six = free_port("127.0.0.1"), free_port("127.0.0.1")
    also = [f"udp:[::1]:{six}", f"tcp:[::1]:{six}", f"tls:[::1]:{secure_six}"]
    with StreamServer(authority, also=also, workers=2, domains=[DOMAIN], trusted=LOOPBACK) as running:
        running.six, running.secure_six = six, secure_six  # type: ignore[attr-defined]
        yield running


def datagram(server: StreamServer, user: str = "alice") -> DatagramPhone:
    return DatagramPhone(server.address, user)


def plain6(server: StreamServer, user: str = "alice") -> StreamPhone:
    return StreamPhone(("::1", server.six), user, host="::1")  # type: ignore[attr-defined]


def secure6(server: StreamServer, user: str = "alice") -> StreamPhone:
    return SecurePhone(("::1", server.secure_six), user, context=trusting(server), host="::1")  # type: ignore[attr-defined]


def names(one: StreamPhone) -> set[str]:
    """Whom the server's certificate is for."""
    assert isinstance(one.socket, ssl.SSLSocket)
    found = one.socket.getpeercert()
    assert found
    return {str(value) for _kind, value in found["subjectAltName"]}


def test_a_client_gets_the_certificate_of_the_domain_it_asks_for(authority: Authority) -> None:
    pairs = [authority.sign("atlanta.example.com"), authority.sign("biloxi.example.com")]
    tables = "".join(f'[[tls.certificates]]\ncertificate = "{chain}"\nkey = "{key}"\n' for chain, key in pairs)

    class Two(StreamServer):
        def configuration(self) -> str:
            return super().configuration() + tables

    with Two(authority, domains=[DOMAIN], trusted=LOOPBACK) as server:
        for name in ("atlanta.example.com", "biloxi.example.com", "example.com"):
            where = (server.host, server.secure_port)
            with SecurePhone(where, context=trusting(server), name=name) as one:
                assert name in names(one)
                one.send(options(one))
                one.expect("200")


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_session_is_resumed_by_any_worker(authority: Authority, version: str) -> None:
    with StreamServer(authority, workers=4, domains=[DOMAIN], trusted=LOOPBACK) as server:
        context = trusting(server)
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        session = None
        resumed = []
        for _ in range(24):
            raw = socket.create_connection((server.host, server.secure_port), timeout=3)
            with context.wrap_socket(raw, server_hostname="example.com", session=session) as one:
                one.sendall(b"\r\n\r\n")
                assert one.recv(10) == b"\r\n"
                resumed.append(one.session_reused)
                session = one.session
        assert resumed == [False] + [True] * 23
        accepted = [worker["counters"]["handshakes"] for worker in server.stats()["workers"]]
        assert sum(1 for count in accepted if count) > 1, accepted


def test_certificates_are_renewed_while_connections_stay(authority: Authority, tmp_path: Path) -> None:
    files = [tmp_path / "chain.pem", tmp_path / "key.pem"]

    def install(*of: str) -> None:
        for source, target in zip(authority.sign(*of), files, strict=True):
            shutil.copy(source, target)

    install("example.com", "one.example.com")
    tls: dict[str, object] = {"certificate": str(files[0]), "key": str(files[1])}
    with (
        StreamServer(authority, tls, workers=2, domains=[DOMAIN], trusted=LOOPBACK) as server,
        secure(server) as alice,
        secure(server, "bob") as bob,
    ):
        assert "one.example.com" in names(bob)
        alice.register()
        bob.register()
        call(alice, bob)
        install("example.com", "two.example.com")
        assert server._process
        server._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 5
        fresh = 0
        while fresh < 8:  # of either worker
            assert time.monotonic() < deadline, server.log
            with secure(server, "carol") as carol:
                fresh = fresh + 1 if "two.example.com" in names(carol) else 0
            time.sleep(0.02)
        call(bob, alice)
        files[0].write_text("no certificate")
        server._process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        with secure(server, "carol") as carol:
            assert "two.example.com" in names(carol)
        call(alice, bob)


def test_sips_leads_over_tls_alone(server: StreamServer) -> None:
    """RFC 5630: whoever cannot be reached safely is not reached."""
    with (
        secure(server, "alice") as alice,
        secure(server, "bob") as bob,
        plain(server, "carol") as carol,
        datagram(server, "dave") as dave,
    ):
        bob.scheme = "sips"
        for one in (alice, bob, carol, dave):
            one.register()
        invite = call(alice, bob, "sips")
        routes = invite.all("Record-Route")
        assert routes and all(route.startswith("<sips:") and "transport" not in route for route in routes)
        for user in ("alice", "carol", "dave"):  # alice has TLS, and a Contact that says she wants none of it
            bob.send(bob.request("OPTIONS", f"sips:{user}@{DOMAIN}"))
            assert bob.expect("480").get("Warning") == '380 fastsip "SIPS Not Allowed"'
        # who has both is reached by the safe one
        with secure(server, "carol") as too:
            too.scheme = "sips"
            too.register()
            call(alice, too, "sips")
        # who asks for less gets that, and TLS all the same
        carol.send(carol.request("OPTIONS", f"sip:bob@{DOMAIN}"))
        found = bob.expect("OPTIONS")
        assert found.start_line == f"OPTIONS {bob.contact.replace('sips:', 'sip:')} SIP/2.0"
        bob.respond(found, 200)
        carol.expect("200")
        assert carol.receive(0.1) is None and dave.receive(0.1) is None and alice.receive(0.1) is None


@pytest.mark.parametrize("route", ["<sip:{};lr>", "<sip:{};transport=udp;lr>", "<sip:{};transport=tcp;lr>"])
def test_a_route_leads_a_sips_request_over_tls_too(server: StreamServer, route: str) -> None:
    """RFC 3261 16.6 step 7: as if it were sips."""
    near = ("127.0.0.1", free_port("127.0.0.1"))
    with (
        secure(server) as alice,
        socket.create_server(near) as door,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        other.bind(near)
        line = f"Route: {route.format('{}:{}'.format(*near))}\r\n"
        alice.send(alice.request("OPTIONS", "sips:bob@far.example.net", headers=line))
        door.settimeout(3)
        connection, _ = door.accept()
        with connection:
            assert connection.recv(1) == b"\x16"  # a handshake
        alice.expect("500")
        other.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.recv(9)


def test_services_do_not_lead_sips_astray(authority: Authority) -> None:
    """Who has his calls sent on to a sip URI, or to somebody who is not safe to reach, gets none by sips."""
    people = {"bob": {"forward_always": "sip:far@127.0.0.1:{port}"}, "carol": {"forward_always": "dave"}}
    with Phone(("127.0.0.1", 9)) as far:
        tables = "".join(
            f'[users.{name}]\npassword = "x"\nforward_always = "{keys["forward_always"].format(port=far.port)}"\n'
            for name, keys in people.items()
        )

        class Forwarding(StreamServer):
            def configuration(self) -> str:
                return super().configuration() + tables + '[users.dave]\npassword = "x"\n'

        with (
            Forwarding(authority, domains=[DOMAIN], trusted=LOOPBACK) as server,
            secure(server) as alice,
            plain(server, "dave") as dave,
        ):
            dave.register()
            for user in people:
                alice.send(alice.request("INVITE", f"sips:{user}@{DOMAIN}", cseq=1))
                alice.expect("181")
                assert "SIPS Not Allowed" in alice.expect("480").get("Warning")
            assert dave.receive(0.1) is None and far.receive(0.1) is None
            alice.send(alice.request("INVITE", f"sip:carol@{DOMAIN}", cseq=1))
            dave.respond(dave.expect("INVITE"), 486)
            alice.expect("181")
            alice.expect("486")


def test_a_sips_contact_is_for_those_who_register_by_sips(server: StreamServer) -> None:
    """RFC 5630 5.2: request and Path too."""
    with secure(server, "erin") as erin:
        erin.scheme = "sips"
        headers = "Expires: 600\r\n"
        path = "Supported: path\r\nPath: <sip:edge.example.net;lr>\r\n"
        for uri, more in ((f"sip:{DOMAIN}", ""), (f"sips:{DOMAIN}", path)):
            erin.send(erin.request("REGISTER", uri, to=f"<{erin.uri}>", headers=headers + more))
            erin.expect("400")
        erin.register()


def test_other_schemes_are_none_of_sips(server: StreamServer) -> None:
    """Though their fourth letter is an s: such a Contact may be registered (RFC 3261 10.2.1)."""
    with plain(server, "finn") as finn:
        data = finn.request("REGISTER", f"sip:{DOMAIN}", to=f"<{finn.uri}>", headers="Expires: 600\r\n")
        finn.send(data.replace(finn.contact.encode(), b"pres:finn@far.example.net"))
        assert "pres:finn@far.example.net" in finn.expect("200").get("Contact")


def test_without_tls_there_is_no_sips() -> None:
    with Server(domains=[DOMAIN], trusted=LOOPBACK) as server, DatagramPhone(server.address, "alice") as alice:
        alice.send(alice.request("OPTIONS", f"sips:bob@{DOMAIN}"))
        alice.expect("416")


def test_a_trunk_of_two_servers(authority: Authority) -> None:
    """Each proves who it is to the other."""
    tls: dict[str, object] = {"verify_client": "require"}
    more = {"workers": 2, "trusted": LOOPBACK}
    atlanta = StreamServer(
        authority, tls, names=["127.0.0.2"], host="127.0.0.2", domains=["atlanta.example.com"], **more
    )
    biloxi = StreamServer(authority, tls, names=["127.0.0.3"], host="127.0.0.3", domains=["biloxi.example.com"], **more)
    context = ssl.create_default_context(cafile=authority.file)
    context.load_cert_chain(*authority.sign("phones.example.com"))
    with atlanta, biloxi:
        near, far = ((one.host, one.secure_port) for one in (atlanta, biloxi))
        with (
            SecurePhone(near, "alice", context=context, name="127.0.0.2") as alice,
            SecurePhone(far, "bob", context=context, name="127.0.0.3") as bob,
        ):
            alice.domain, bob.domain = "atlanta.example.com", "biloxi.example.com"
            alice.register()
            bob.register()
            for _ in range(6):
                target = f"sip:bob@127.0.0.3:{biloxi.secure_port};transport=tls"
                invite = call(alice, bob, target=target, hops=2)
                vias = [via.partition(";")[0] for via in invite.all("Via")]
                assert vias[:2] == [
                    f"SIP/2.0/TLS 127.0.0.3:{biloxi.secure_port}",
                    f"SIP/2.0/TLS 127.0.0.2:{atlanta.secure_port}",
                ]
                routes = invite.all("Record-Route")
                assert [re.sub(r"<sip:(\w+@)?|;lr;rt=.*", "", route) for route in routes] == [
                    *[f"127.0.0.3:{biloxi.secure_port};transport=tls"] * 2,
                    *[f"127.0.0.2:{atlanta.secure_port};transport=tls"] * 2,
                ]
        total = biloxi.stats()["total"]
        assert total["handshakes_failed"] == 0 and total["stream_errors"] == 0
        assert atlanta.stats()["total"]["connections_out"] <= 2


def test_a_call_from_tls_to_udp_and_back(server: StreamServer) -> None:
    """RFC 5658: a Record-Route of either side."""
    with secure(server, "alice") as alice, datagram(server, "bob") as bob:
        alice.register()
        bob.register()
        for _ in range(6):
            invite = call(alice, bob)
            first, second = invite.all("Record-Route")
            assert f"{server.hostport};lr" in first and "transport" not in first
            assert f"@127.0.0.1:{server.secure_port};transport=tls;lr" in second
            call(bob, alice)


@pytest.mark.parametrize("make_alice", [plain, secure, plain6, secure6])
@pytest.mark.parametrize("make_bob", [plain6, secure6])
def test_calls_between_families(server: StreamServer, make_alice, make_bob) -> None:  # type: ignore[no-untyped-def]
    with make_alice(server, "alice") as alice, make_bob(server, "bob") as bob:
        alice.register()
        bob.register()
        for _ in range(4):
            invite = call(alice, bob)
            assert invite.all("Via")[0].split()[1].startswith("[::1]:")
            call(bob, alice)


def test_a_contact_of_the_other_family_is_connected_to(server: StreamServer) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as door, plain(server) as alice:
        alice.send(alice.request("OPTIONS", f"sip:x@[::1]:{door.getsockname()[1]};transport=tcp"))
        door.settimeout(3)
        peer, address = door.accept()
        with peer:
            assert address[0] == "::1"
            assert peer.recv(65536).split(b"\r\n")[1].startswith(f"Via: SIP/2.0/TCP [::1]:{server.six};".encode())  # type: ignore[attr-defined]


def say_alias(one: StreamPhone, port: int) -> None:
    """Offer its connection for requests to where it listens (RFC 5923)."""
    asked = one.request("OPTIONS", f"sip:{DOMAIN}")
    one.send(re.sub(rb"Via: SIP/2.0/TLS [^;]+;", f"Via: SIP/2.0/TLS {one.host}:{port};alias;".encode(), asked, count=1))
    one.expect("200")


def is_asked(caller: StreamPhone, one: StreamPhone, port: int) -> bool:
    """Whether a request to who listens there comes by that connection."""
    caller.send(caller.request("OPTIONS", f"sip:x@{one.host}:{port};transport=tls"))
    if (came := one.receive(0.5)) is not None:
        one.respond(came, 200)
    answer = caller.receive(5)
    assert answer and answer.name == ("200" if came else "500")
    return came is not None


def client(server: StreamServer, authority: Authority, *usages: str) -> StreamPhone:
    """Whose certificate is for its address."""
    context = trusting(server)
    context.load_cert_chain(*authority.sign("127.0.0.1", usages=usages))
    return SecurePhone((server.host, server.secure_port), "x", context=context)


def test_aliases(authority: Authority) -> None:
    """They are worth what a connection to the same certificate would be, and the last one of a connection counts."""
    first, second = free_port("127.0.0.1"), free_port("127.0.0.1")
    with (
        StreamServer(authority, {"verify_client": "ask"}, domains=[DOMAIN], trusted=LOOPBACK) as server,
        plain(server, "carol") as carol,
    ):
        with client(server, authority, "client") as one:
            say_alias(one, first)
            assert not is_asked(carol, one, first)
        with client(server, authority, "client", "server") as one:
            say_alias(one, first)
            assert is_asked(carol, one, first) and not is_asked(carol, one, second)
            say_alias(one, second)
            assert is_asked(carol, one, second) and not is_asked(carol, one, first)
            say_alias(one, second)
            assert is_asked(carol, one, second)
        for port in (first, second):
            carol.send(carol.request("OPTIONS", f"sip:x@127.0.0.1:{port};transport=tls"))
            carol.expect("500")


def test_gruus_of_a_sips_contact(server: StreamServer) -> None:
    """RFC 5630 5.2.1: they are sips, and lead there as sips does. By sip they do too: TLS alone leads there."""
    with secure(server, "gus") as gus, secure(server) as alice, plain(server, "eve") as eve:
        gus.scheme = "sips"
        lines = "Expires: 600\r\nSupported: gruu\r\n"
        asked = gus.request("REGISTER", f"sips:{DOMAIN}", to=f"<{gus.uri}>", headers=lines)
        gus.send(re.sub(rb"(Contact: <[^>]*>)", rb'\1;+sip.instance="<urn:x:1>"', asked))
        gruus = re.findall('(?:pub|temp)-gruu="(sips:[^"]*)"', gus.expect("200").get("Contact"))
        assert len(gruus) == 2
        for gruu in gruus:
            for caller, scheme in ((alice, "sips"), (alice, "sip"), (eve, "sip")):
                caller.send(caller.request("OPTIONS", gruu.replace("sips", scheme, 1)))
                found = gus.expect("OPTIONS")
                assert found.start_line == f"OPTIONS {gus.contact.replace('sips', scheme, 1)} SIP/2.0"
                gus.respond(found, 200)
                caller.expect("200")
