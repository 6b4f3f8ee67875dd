"""The opening handshake (RFC 6455 4, RFC 7118 4): each rule of it, any pieces, and a client of another library."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator

import pytest
from websocket_kit import Listener
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fastsip.websocket import Answer, Ask, Opening, Rules

ASKED = (
    "GET / HTTP/1.1\r\n"
    "Host: sip-ws.example.com\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Origin: http://www.example.com\r\n"
    "Sec-WebSocket-Protocol: sip\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)
"""RFC 7118 4.1."""


def without(name: str) -> str:
    return "".join(line for line in ASKED.splitlines(keepends=True) if not line.startswith(name + ":"))


def instead(name: str, value: str) -> str:
    return without(name).removesuffix("\r\n") + f"{name}: {value}\r\n\r\n"


def opened(request: str | bytes, rules: Rules | None = None) -> Answer:
    data = request.encode() if isinstance(request, str) else request
    answer = Opening(rules or Rules(), 0).feed(data)
    assert answer is not None, "more is waited for"
    return answer


def refused(request: str | bytes, rules: Rules | None = None) -> tuple[int, str]:
    answer = opened(request, rules)
    assert not answer.accepted and answer.rest == b""
    head, _, body = answer.response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % answer.status)
    assert b"content-length: %d" % len(body) in head.lower() and b"\r\nconnection: close" in head.lower()
    assert body.decode() == answer.reason + "\n"
    return answer.status, answer.reason


# --- the server ---


def test_the_example_of_the_rfc() -> None:
    answer = opened(ASKED)
    assert answer == Answer(101, "", answer.response, b"", "/", "http://www.example.com")
    head = answer.response.decode().lower().split("\r\n")
    assert head[0] == "http/1.1 101 switching protocols"
    assert {"upgrade: websocket", "connection: upgrade", "sec-websocket-protocol: sip"} < set(head)
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer.response


def test_what_follows_is_given_back_wherever_the_pieces_end() -> None:
    stream = ASKED.encode() + b"\x81\x85\r\n\r\nframes"
    for cut in range(1, len(stream)):
        opening = Opening(Rules(), 0)
        first = opening.feed(stream[:cut])
        if cut < len(ASKED):
            assert first is None
            first = opening.feed(stream[cut:])
            assert first and first.accepted and first.rest == b"\x81\x85\r\n\r\nframes"
        else:
            assert first and first.accepted and first.rest == stream[len(ASKED) : cut]
    opening = Opening(Rules(), 0)
    answers = [opening.feed(bytes([byte])) for byte in ASKED.encode()]
    assert answers[-1] and answers[-1].accepted and not any(answers[:-1])


def test_names_and_tokens_in_any_case_and_company() -> None:
    assert opened(instead("Connection", "keep-alive, upgrade")).accepted
    assert opened(instead("Upgrade", "WebSocket")).accepted
    assert opened(instead("Sec-WebSocket-Protocol", "xmpp, sip")).accepted
    assert opened(ASKED.replace("Sec-WebSocket", "SEC-websocket").replace("Host", "hOST")).accepted
    two = without("Sec-WebSocket-Protocol").removesuffix("\r\n")
    two += "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
    assert opened(two).accepted
    offered = opened(instead("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"))
    assert offered.accepted and b"xtensions" not in offered.response


@pytest.mark.parametrize(
    ("request_text", "status", "reason"),
    [
        (without("Upgrade"), 426, "this is a WebSocket server"),
        (instead("Upgrade", "h2c"), 400, "Upgrade"),
        (without("Connection"), 400, "Connection: Upgrade"),
        (instead("Connection", "close"), 400, "Connection: Upgrade"),
        (without("Host"), 400, "Host"),
        (without("Sec-WebSocket-Key"), 400, "Sec-WebSocket-Key"),
        (instead("Sec-WebSocket-Key", "c2hvcnQ="), 400, "16 bytes"),
        (instead("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ"), 400, "16 bytes"),
        (ASKED.replace("Key: dGhl", "Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhl"), 400, "more than once"),
        (without("Sec-WebSocket-Version"), 400, "Sec-WebSocket-Version"),
        (instead("Sec-WebSocket-Version", "8"), 426, "Sec-WebSocket-Version"),
        (without("Sec-WebSocket-Protocol"), 400, "has to offer sip"),
        (instead("Sec-WebSocket-Protocol", "xmpp, SIP"), 400, "has to offer sip"),
        (ASKED.replace("GET", "POST"), 405, "GET"),
        (ASKED.replace("GET", "HEAD"), 405, "GET"),
        (ASKED.replace("HTTP/1.1", "HTTP/1.0"), 505, "HTTP/1.1"),
        (instead("Content-Length", "5"), 400, "body"),
        (instead("Transfer-Encoding", "chunked"), 400, "body"),
        (ASKED.replace("Host", "Ho st"), 400, "not HTTP/1.1: illegal header line: 'Ho st: sip-ws.example.com'"),
        (instead("Host", "xn--\N{LATIN SMALL LETTER SHARP S}.example"), 400, "a header is not ASCII"),
        (instead("Host", "xn--0.example"), 400, "Host is no name"),
        (instead("Connection", "\N{LATIN SMALL LETTER SHARP S}, upgrade"), 400, "a header is not ASCII"),
        ("REGISTER sip:example.com SIP/2.0\r\nCall-ID: 1\r\n\r\n", 400, "not HTTP/1.1"),
        (ASKED.replace("\r\nHost", "\nHost"), 400, "CRLF"),
        ("\r\n\r\n", 400, ""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "not HTTP/1.1"),
    ],
)
def test_refusals_say_why(request_text: str | bytes, status: int, reason: str) -> None:
    found = refused(request_text)
    assert found[0] == status and reason in found[1]


@pytest.mark.parametrize("junk", ["G{}\r\n\r\n", "GET /{} HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n{}: x\r\n\r\n"])
def test_little_is_quoted(junk: str) -> None:
    """Every byte of it may be four characters in a log."""
    status, reason = refused(junk.encode().replace(b"{}", bytes(range(128, 256)) * 60))
    assert status == 400 and reason.startswith("not HTTP/1.1: illegal ") and reason.endswith("...")
    assert len(reason) <= 120 and "bytearray" not in reason


def test_what_426_and_405_have_to_say() -> None:
    assert b"Sec-WebSocket-Version: 13\r\n" in opened(instead("Sec-WebSocket-Version", "8")).response
    assert b"Upgrade: websocket\r\n" in opened(without("Upgrade")).response
    assert b"Allow: GET\r\n" in opened(ASKED.replace("GET", "PUT")).response


def test_origins() -> None:
    rules = Rules(origins=frozenset({"https://phone.example.com"}))
    assert refused(ASKED, rules) == (403, "pages of this origin may not connect")
    assert refused(instead("Origin", "null"), rules)[0] == 403
    assert opened(instead("Origin", "https://Phone.example.com"), rules).accepted
    assert opened(ASKED, Rules(origins=frozenset({"HTTP://www.Example.com"}))).accepted
    assert opened(without("Origin"), rules).accepted, "a program that is no browser"
    twice = instead("Origin", "https://phone.example.com\r\nOrigin: https://evil.example")
    assert refused(twice, rules) == (400, "origin more than once")


def test_paths() -> None:
    rules = Rules(paths=frozenset({"/", "/sip"}))
    answer = opened(ASKED.replace("GET / ", "GET /sip?x=1 "), rules)
    assert answer.accepted and answer.path == "/sip"
    assert refused(ASKED.replace("GET / ", "GET /admin "), rules)[0] == 404


def test_a_bound_on_size() -> None:
    assert refused(instead("X", "x" * 8192)) == (431, "a head of more than 8192 bytes")
    endless = Opening(Rules(size=1000), 0)
    answers = [endless.feed(b"GET " + b"x" * 96) for _ in range(10)]
    assert not any(answers[:-1]) and answers[-1] and answers[-1].status == 431
    assert opened(instead("X", "x" * 1000)).accepted
    assert opened(ASKED.encode() + bytes(10_000)).rest == bytes(10_000), "frames do not count"


def test_a_bound_on_time() -> None:
    opening = Opening(Rules(seconds=2), 100)
    assert opening.feed(b"GET /") is None and opening.expired(101.9) is None
    late = opening.expired(102)
    assert late and late.status == 408 and late.reason == "no handshake in 2 s"
    assert late.response.startswith(b"HTTP/1.1 408 ")


def test_mangled_requests_are_answered_or_waited_for() -> None:
    rng = random.Random(5)
    statuses = set()
    for _ in range(3000):
        data = bytearray(ASKED.encode())
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data) - 4)
            new = rng.choice([b"", b"\r\n", b"\xff", b":", rng.randbytes(1), b"xn--"])
            data[at : at + rng.choice([0, 1, 1, 5])] = new
        answer = Opening(Rules(), 0).feed(bytes(data))
        statuses.add(answer.status if answer else None)
    assert {101, 400, 426} <= statuses


# --- the client ---


def answered(response: bytes) -> Answer:
    answer = Ask("example.com:5066").feed(response)
    assert answer is not None
    return answer


def test_both_sides_meet() -> None:
    ask = Ask("example.com:5066", "/sip", origin="https://phone.example.com")
    assert ask.request.startswith(b"GET /sip HTTP/1.1\r\n") and b"Host: example.com:5066\r\n" in ask.request
    server = opened(ask.request)
    assert server.path == "/sip" and server.origin == "https://phone.example.com"
    assert [ask.feed(bytes([byte])) for byte in server.response[:-1]] == [None] * (len(server.response) - 1)
    client = ask.feed(server.response[-1:] + b"\x81\x00")
    assert client and client.accepted and client.rest == b"\x81\x00"


def test_a_client_insists_on_sip_and_the_right_key() -> None:
    for change, reason in (
        ((b"Sec-WebSocket-Protocol: sip\r\n", b""), "does not speak SIP"),
        ((b"Protocol: sip", b"Protocol: xmpp"), "xmpp"),
        ((b"Accept: ", b"Accept: x"), "accept token"),
        ((b"Upgrade: websocket", b"Upgrade: h2c"), "Upgrade"),
    ):
        ask = Ask("example.com")
        response = opened(ask.request).response
        assert change[0] in response
        answer = ask.feed(response.replace(*change))
        assert answer and not answer.accepted and reason in answer.reason


def test_little_is_quoted_to_a_client_too() -> None:
    for protocol, reason in ((b"x" * 5000, "x..."), (b"\xff", "a header is not ASCII")):
        ask = Ask("example.com")
        answer = ask.feed(opened(ask.request).response.replace(b"Protocol: sip", b"Protocol: " + protocol))
        assert answer and answer.status == 0 and answer.reason.endswith(reason) and len(answer.reason) <= 100


def test_a_client_is_told_what_the_server_answered() -> None:
    assert answered(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n").status == 403
    assert answered(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").status == 200
    assert answered(b"SIP/2.0 400 Bad Request\r\n\r\n").status == 0
    assert answered(b"\x00" * 9000).status == 0
    ask = Ask("[2001:db8::1]:80")
    assert b"Host: [2001:db8::1]:80\r\n" in ask.request
    answer = ask.feed(opened(instead("Sec-WebSocket-Version", "8")).response)
    assert answer and answer.status == 426


# --- a client of another library, over a socket ---

Serve = Callable[..., str]


def _echo(listener: Listener) -> None:
    """Serve one connection: every message comes back."""
    with contextlib.suppress(OSError, AssertionError):
        peer = listener.accept()
        with contextlib.suppress(OSError, AssertionError):
            while True:
                message = peer.receive()
                peer.send(message, peer.opcode)
        peer.end()


@pytest.fixture
def serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def listen(rules: Rules | None = None) -> str:
            listener = stack.enter_context(Listener(rules))
            thread = threading.Thread(target=_echo, args=(listener,))
            thread.start()
            stack.callback(thread.join)
            return listener.url

        yield listen


def client(url: str, **options: object) -> contextlib.AbstractContextManager[ClientConnection]:
    options = {"subprotocols": ["sip"], "open_timeout": 10, "proxy": None, **options}
    return connect(url, **options)  # type: ignore[arg-type]


def test_a_real_client_is_served(serve: Serve) -> None:
    with client(serve()) as phone:
        assert phone.subprotocol == "sip"
        for message in ("OPTIONS sip:é SIP/2.0\r\n\r\n", b"\xff binary", "", "x" * 65507):
            phone.send(message)
            assert phone.recv(10) == message
        phone.send(["in ", "three ", "frames"])
        assert phone.recv(10) == "in three frames"
        assert phone.ping(b"alive?").wait(10)
        phone.close(1000, "good bye")
    assert phone.close_code == 1000


def test_a_real_client_is_told_what_is_too_big(serve: Serve) -> None:
    with client(serve()) as phone:
        phone.send("x" * 65508)
        with pytest.raises(ConnectionClosed) as closed:
            phone.recv(10)
        assert closed.value.rcvd and closed.value.rcvd.code == 1009


def test_a_real_client_is_refused(serve: Serve) -> None:
    url = serve(Rules(origins=frozenset({"https://a.example"})))
    with pytest.raises(InvalidStatus) as error, client(url, origin="https://b.example"):
        pass
    assert error.value.response.status_code == 403
    assert error.value.response.body == b"pages of this origin may not connect\n"
    with pytest.raises(InvalidStatus), client(serve(), subprotocols=["xmpp"]):
        pass
