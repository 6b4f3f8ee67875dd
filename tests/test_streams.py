"""SIP over TCP and TLS against the running server: framing, keep-alives, connections of others, registered flows."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from harness import Message, Phone
from harness.ports import free_port
from harness.stream import DatagramPhone, StreamPhone, call
from stream_kit import DOMAIN, Maker, StreamServer, options, plain, secure


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("certificates")))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[StreamServer]:
    with StreamServer(authority, workers=2, domains=[DOMAIN], trusted=["127.0.0.1/32"]) as running:
        yield running


@pytest.fixture(params=[plain, secure], ids=["tcp", "tls"])
def phone(request: pytest.FixtureRequest) -> Maker:
    """Makes phones of a transport."""
    maker: Maker = request.param
    return maker


def test_answers_come_on_the_connection_of_their_request(server: StreamServer, phone: Maker) -> None:
    with phone(server) as alice:
        for _ in range(20):  # some are another worker's
            alice.send(options(alice))
            alice.expect("200")


def test_several_messages_in_one_segment(server: StreamServer, phone: Maker) -> None:
    with phone(server) as alice:
        alice.send(b"".join(options(alice, body=b"x" * n) for n in range(40)))
        cseqs = sorted(alice.expect("200").cseq for _ in range(40))
        assert cseqs == list(range(1, 41))


def test_one_byte_at_a_time(server: StreamServer, phone: Maker) -> None:
    with phone(server) as alice:
        alice.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in options(alice, body=b"0123456789"):
            alice.send(bytes([byte]))
        alice.expect("200")


@pytest.mark.parametrize("cut", [1, 7, 100, 250, -1, -4, -12])
def test_a_message_in_two_pieces(server: StreamServer, phone: Maker, cut: int) -> None:
    with phone(server) as alice:
        data = options(alice, body=b"0123456789") + options(alice)
        alice.send(data[:cut])
        time.sleep(0.05)
        alice.send(data[cut:])
        alice.expect("200")
        alice.expect("200")


def test_a_burst_behind_half_a_message_takes_few_reads(server: StreamServer, phone: Maker) -> None:
    with phone(server) as alice:
        alice.socket.settimeout(5)
        data = b"".join(options(alice) for _ in range(500))
        alice.send(data[:100])
        time.sleep(0.05)
        before = server.stats()["total"]["waits"]
        alice.send(data[100:])
        for _ in range(500):
            alice.expect("200")
        # Two workers, the hand-overs between them, and what the question itself costs.
        assert server.stats()["total"]["waits"] - before < 150


def test_a_large_message(server: StreamServer, phone: Maker) -> None:
    with phone(server) as alice:
        alice.send(options(alice, body=b"y" * 60000))
        alice.expect("200")


def test_a_double_crlf_is_answered_with_a_single_one(server: StreamServer, phone: Maker) -> None:
    with phone(server) as alice:
        alice.send(b"\r\n\r\n")
        assert alice.socket.recv(100) == b"\r\n"
        alice.send(b"\r\n")
        time.sleep(0.05)
        alice.send(b"\r\n")
        assert alice.socket.recv(100) == b"\r\n"
        alice.send(b"\r\n" + options(alice) + b"\r\n\r\n")
        alice.expect("200")


@pytest.mark.parametrize(
    "length",
    ["", "Content-Length: x\r\n", "Content-Length: -5\r\n", "Content-Length: 0\r\nl: 3\r\n", "Content-Length: 5 5\r\n"],
    ids=["none", "no number", "negative", "two", "two numbers"],
)
def test_a_wrong_content_length_is_answered_with_400_and_the_end(
    server: StreamServer, phone: Maker, length: str
) -> None:
    with phone(server) as alice:
        alice.send(options(alice) + options(alice, length=length) + options(alice))
        answers = [alice.receive(), alice.receive()]
        assert sorted(answer.name for answer in answers if answer) == ["200", "400"]
        assert alice.closed()


def test_a_message_too_large_is_answered_with_513_and_the_end(server: StreamServer, phone: Maker) -> None:
    with phone(server) as alice:
        alice.send(options(alice, length="Content-Length: 70000\r\n"))
        alice.expect("513")
        assert alice.closed()


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00" * 4000, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["TLS", "HTTP"]
)
def test_what_is_no_sip_ends_its_connection(server: StreamServer, phone: Maker, garbage: bytes) -> None:
    with phone(server) as alice, phone(server) as other:
        alice.send(garbage)
        assert alice.closed()
        other.send(options(other))
        other.expect("200")


def test_a_reset_in_the_middle_of_a_message_hurts_nobody(server: StreamServer, phone: Maker) -> None:
    with phone(server) as other:
        for _ in range(20):
            alice = phone(server)
            alice.send(options(alice)[:100])
            alice.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            alice.socket.close()
        other.send(options(other))
        other.expect("200")


def test_calls_between_connections(server: StreamServer, phone: Maker) -> None:
    """Both have registered, nobody listens anywhere: every request reaches them through their own connection."""
    with phone(server, "alice") as alice, phone(server, "bob") as bob:
        alice.register()
        bob.register()
        for _ in range(12):  # calls and connections of either worker
            call(alice, bob)
            call(bob, alice)


def test_a_binding_whose_connection_is_gone_is_answered_at_once(server: StreamServer, phone: Maker) -> None:
    with phone(server, "alice") as alice:
        with phone(server, "carol") as carol:
            carol.register()
        deadline = time.monotonic() + 3
        while server.contacts(f"carol@{DOMAIN}"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        started = time.monotonic()
        for _ in range(6):
            alice.send(alice.request("INVITE", f"sip:carol@{DOMAIN}"))
            answer = alice.expect("404")  # nobody here has an account
            alice.send(
                alice.request(
                    "ACK", f"sip:carol@{DOMAIN}", to=answer.get("To"), call_id=answer.call_id, cseq=answer.cseq
                )
            )
        assert time.monotonic() - started < 3


class Listening(StreamPhone):
    """A phone that others connect to: its Contact is where it listens."""

    def connect(self, server: tuple[str, int], host: str) -> socket.socket:
        self.door = socket.create_server((host, free_port(host)))
        self.place = self.door.getsockname()
        return super().connect(server, host)

    @property
    def contact(self) -> str:
        return f"sip:{self.user}@{self.place[0]}:{self.place[1]};transport=tcp"

    def accept(self) -> None:
        self.socket.close()
        self.door.settimeout(self.timeout)
        self.socket = self.door.accept()[0]
        self.pending = b""


def test_a_contact_is_connected_to(server: StreamServer, phone: Maker) -> None:
    """Registered by UDP, reached by TCP because its Contact says so; the call itself comes by UDP."""
    with Listening(server.address, "dave") as dave, Phone(server.address) as udp:
        data = udp.request(
            "REGISTER", f"sip:{DOMAIN}", sender=dave.uri, to=dave.uri, headers=f"Contact: <{dave.contact}>\r\n"
        )
        answer = udp.ask(data)
        assert answer and answer.status == 200
        udp.send(udp.request("INVITE", dave.uri, headers=f"Contact: <sip:u@{udp.host}:{udp.port}>\r\n"))
        dave.accept()
        invite = dave.expect("INVITE")
        assert invite.all("Via")[0].startswith("SIP/2.0/TCP ")
        routes = invite.all("Record-Route")
        assert len(routes) == 2 and "transport=tcp" in routes[0] and "transport" not in routes[1]
        dave.respond(invite, 200)
        answers = [udp.receive(), udp.receive()]
        ok = next(answer for answer in answers if answer and answer.status == 200)
        dave.send(dave.within("BYE", invite, cseq=1, own=True))
        bye = udp.receive()
        assert bye is not None and bye.method == "BYE" and bye.all("Via")[0].startswith("SIP/2.0/UDP ")
        assert ok.all("Record-Route") == routes


class Terse(DatagramPhone):
    """Leaves it to the datagram how long a message is, as linphone does in every ACK."""

    def send(self, data: bytes) -> None:
        super().send(re.sub(rb"Content-Length: \d+\r\n", b"", data, count=1))


def test_who_comes_by_udp_without_content_length_has_one_on_a_stream(server: StreamServer, phone: Maker) -> None:
    """RFC 3261 20.14: there it is what ends a message, and whoever misses it closes the connection."""
    with Terse(server.address, "alice") as alice, phone(server, "bob") as bob:
        alice.register()
        bob.register()
        for _ in range(4):  # some are another worker's
            call(alice, bob)
            call(bob, alice)
            for one, other in ((alice, bob), (bob, alice)):
                one.send(one.request("MESSAGE", other.uri, body=b"hello"))
                message = other.expect("MESSAGE")
                assert message.body == b"hello" and len(message.all("Content-Length")) == 1
                other.respond(message, 200, body=b"well")
                answer = one.expect("200")
                assert answer.body == b"well" and len(answer.all("Content-Length")) == 1


def test_a_refused_connection_fails_at_once(server: StreamServer, phone: Maker) -> None:
    with phone(server, "alice") as alice:
        nobody = free_port("127.0.0.1")
        started = time.monotonic()
        alice.send(alice.request("OPTIONS", f"sip:x@127.0.0.1:{nobody};transport=tcp"))
        alice.expect("500")
        assert time.monotonic() - started < 1


def test_a_response_whose_connection_is_gone_goes_to_where_its_via_says(server: StreamServer, phone: Maker) -> None:
    """RFC 3261 18.2.2."""
    with Listening(server.address, "erin") as erin, phone(server, "frank") as frank:
        frank.register()
        for _ in range(4):
            request = erin.request("OPTIONS", f"sip:frank@{DOMAIN}")
            request = request.replace(
                f"{erin.host}:{erin.port};branch".encode(), f"{erin.host}:{erin.place[1]};branch".encode()
            )
            erin.send(request)
            asked = frank.expect("OPTIONS")
            erin.socket.close()
            time.sleep(0.05)
            frank.respond(asked, 200)
            erin.accept()
            erin.expect("200")
            erin.socket.close()
            erin.socket = StreamPhone.connect(erin, server.address, erin.host)
            erin.pending = b""


def test_a_peer_that_does_not_read_is_cut_off(server: StreamServer, phone: Maker) -> None:
    with phone(server, "alice") as alice, phone(server, "greta") as greta:
        greta.register()
        greta.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        alice.timeout = 0.01
        for _ in range(400):
            alice.send(alice.request("MESSAGE", greta.uri, body=b"z" * 50000))
        print(server.stats())
        with phone(server, "heidi") as heidi:
            heidi.send(options(heidi))
            heidi.expect("200")
        assert greta.closed(10)


def large(one: Phone, target: str, call_id: str | None = None) -> bytes:
    headers = f"Contact: <sip:u@{one.host}:{one.port}>\r\n"
    return one.request("MESSAGE", target, headers=headers, body=b"z" * 2000, call_id=call_id)


def accepted(one: Phone, request: Message) -> None:
    names = ("Via", "From", "To", "Call-ID", "CSeq")
    copied = "".join(f"{name}: {value}\r\n" for name in names for value in request.all(name))
    one.send(f"SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n".encode())


def test_a_large_request_goes_by_tcp_where_the_contact_leaves_that_open(server: StreamServer) -> None:
    """RFC 3261 18.1.1."""
    with Listening(server.address, "ivan") as ivan, Phone(server.address) as udp:
        contact = f"sip:ivan@{ivan.place[0]}:{ivan.place[1]}"
        data = udp.request(
            "REGISTER", f"sip:{DOMAIN}", sender=ivan.uri, to=ivan.uri, headers=f"Contact: <{contact}>\r\n"
        )
        answer = udp.ask(data)
        assert answer and answer.status == 200
        udp.send(large(udp, ivan.uri))
        ivan.accept()
        message = ivan.expect("MESSAGE")
        assert message.all("Via")[0].startswith("SIP/2.0/TCP ")
        ivan.respond(message, 200)
        answer = udp.receive()
        assert answer and answer.status == 200


@pytest.mark.parametrize("way", ["refused", "silent"])
def test_a_large_request_goes_by_udp_after_all(server: StreamServer, way: str) -> None:
    """A phone on UDP alone: nobody at its TCP port, or somebody who says nothing. The next one goes by UDP at once."""
    with Phone(server.address) as judy, Phone(server.address) as udp, contextlib.ExitStack() as stack:
        if way == "silent":
            stack.enter_context(socket.create_server((judy.host, judy.port)))
        headers = f"Contact: <sip:judy@{judy.host}:{judy.port}>\r\n"
        uri = f"sip:judy-{way}@{DOMAIN}"
        answer = judy.ask(judy.request("REGISTER", f"sip:{DOMAIN}", sender=uri, to=uri, headers=headers))
        assert answer and answer.status == 200
        for limit in (3.0, 0.5):
            started = time.monotonic()
            udp.send(large(udp, uri, f"{way}@large"))
            message = judy.receive(4)
            assert message is not None and message.all("Via")[0].startswith("SIP/2.0/UDP ")
            assert time.monotonic() - started < limit
            accepted(judy, message)
            answer = udp.receive()
            assert answer and answer.status == 200


def test_a_contact_that_names_udp_gets_a_datagram(server: StreamServer) -> None:
    with Phone(server.address) as kim, Phone(server.address) as udp:
        headers = f"Contact: <sip:kim@{kim.host}:{kim.port};transport=udp>\r\n"
        uri = f"sip:kim@{DOMAIN}"
        answer = kim.ask(kim.request("REGISTER", f"sip:{DOMAIN}", sender=uri, to=uri, headers=headers))
        assert answer and answer.status == 200
        udp.send(large(udp, uri))
        message = kim.receive(1)
        assert message is not None and message.method == "MESSAGE"


class Stateless(StreamServer):
    def configuration(self) -> str:
        return super().configuration() + '\n[domains."plain.example.net"]\nrole = "stateless"\n'


@pytest.mark.parametrize("make", [plain, secure])
def test_answers_to_what_is_forwarded_statelessly(authority: Authority, make: Maker) -> None:
    """By the connection of the request, though nobody remembers it; not to its port by UDP."""
    domain = "plain.example.net"
    with (
        Stateless(authority, workers=2, domains=[DOMAIN, domain], trusted=["127.0.0.0/8"]) as server,
        DatagramPhone(server.address, "bob", domain) as bob,
        make(server) as alice,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        other.bind((alice.host, alice.port))
        other.settimeout(0.1)
        bob.register()
        for _ in range(6):  # by either worker
            alice.send(alice.request("MESSAGE", f"sip:bob@{domain}"))
            message = bob.expect("MESSAGE")
            assert ";flow=v" in message.all("Via")[0]
            bob.respond(message, 200)
            alice.expect("200")
        with pytest.raises(TimeoutError):
            other.recv(9)
        # Nobody else's connection, whatever a Via says.
        alice.send(alice.request("MESSAGE", f"sip:bob@{domain}"))
        message = bob.expect("MESSAGE")
        via = message.all("Via")[0]
        other_flow = via[:-1] + ("0" if via[-1] != "0" else "1")
        bob.respond(Message(message.raw.replace(via.encode(), other_flow.encode())), 200)
        assert alice.receive(0.3) is None


def test_a_flow_in_a_record_route_is_for_its_dialog(authority: Authority) -> None:
    """Whoever has seen it cannot go around somebody's block list by it."""
    blocked = f'[users."bob@{DOMAIN}"]\npassword = "x"\nblock_incoming = ["sip:mallory@*"]\n'

    class Blocking(StreamServer):
        def configuration(self) -> str:
            return super().configuration() + blocked

    with (
        Blocking(authority, workers=2, domains=[DOMAIN], trusted=["127.0.0.9"], required=["*"]) as server,
        StreamPhone(server.address, "bob", host="127.0.0.9") as bob,
        StreamPhone(server.address, "eve", domain="example.org", host="127.0.0.2") as eve,
        StreamPhone(server.address, "mallory", domain="example.org", host="127.0.0.3") as mallory,
    ):
        bob.register()
        eve.send(eve.request("INVITE", f"sip:bob@{DOMAIN}", cseq=1))
        invite = bob.expect("INVITE")
        bob.respond(invite, 200)
        answer = eve.expect("200")
        routes = [route for route in answer.all("Record-Route") if "@" in route]
        assert routes
        for user in ("bob", "nobody"):
            lines = f"Route: {routes[0]}\r\n"
            mallory.send(mallory.request("INVITE", f"sip:{user}@{DOMAIN}", cseq=1, headers=lines))
            mallory.expect("403" if user == "bob" else "404")
        eve.send(eve.within("ACK", answer, cseq=1))
        bob.expect("ACK")
        eve.send(eve.within("BYE", answer, cseq=2))
        bob.respond(bob.expect("BYE"), 200)
        eve.expect("200")


def test_a_binding_ends_with_its_connection(server: StreamServer, phone: Maker) -> None:
    """RFC 5626 7: so whoever comes again and again, each time from another port, is never one Contact too many. Of two
    that were registered through one connection both end."""
    for _ in range(12):  # 10 are the most one may have
        with phone(server, "roamer") as roamer:
            roamer.register()
            roamer.user = "sister"
            roamer.register()
            roamer.user = "roamer"
        deadline = time.monotonic() + 3
        while any(server.contacts(f"{user}@{DOMAIN}") for user in ("roamer", "sister")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with phone(server, "roamer") as roamer:
        roamer.register()
        # What has been registered anew, by another connection, stays.
        with phone(server, "roamer") as again:
            again.register()
        time.sleep(0.2)
        with phone(server) as alice:
            alice.register()
            call(alice, roamer)
