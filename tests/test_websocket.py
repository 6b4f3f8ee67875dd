"""SIP over WebSocket against the running server (RFC 7118): opening, frames, calls between all transports."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from frames import OPENING
from harness import Server
from harness.ports import free_port
from harness.stream import SecurePhone, StreamPhone, WebPhone, call
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from fastsip.process.remarks import A_SECOND, Remarks

DOMAIN = "example.com"
ORIGIN = "https://phone.example.com"


class WebServer(Server):
    """A server on UDP, TCP, TLS, WS and WSS."""

    def __init__(self, authority: Authority, **more: Any) -> None:
        super().__init__(**more)
        self.ports = {name: free_port(self.host) for name in ("tls", "ws", "wss")}
        chain, key = authority.sign("sip:example.com", "example.com")
        tls = {"certificate": chain, "key": key, "ca_file": authority.file}
        self.extra = {**self.extra, "tls": tls, "websocket": {"origins": [ORIGIN]}}

    def configuration(self) -> str:
        listen = [f"udp:{self.hostport}", f"tcp:{self.hostport}"]
        listen += [f"{name}:{self.host}:{port}" for name, port in self.ports.items()]
        return super().configuration().replace(f'["udp:{self.hostport}"]', str(listen).replace("'", '"'))

    def phone(self, kind: str, user: str) -> StreamPhone:
        """One that is connected by that transport."""
        context = ssl.create_default_context(cafile=self.extra["tls"]["ca_file"])
        if kind == "tcp":
            return StreamPhone(self.address, user)
        if kind == "tls":
            return SecurePhone((self.host, self.ports["tls"]), user, context=context)
        if kind == "ws":
            return WebPhone((self.host, self.ports["ws"]), user)
        return WebPhone((self.host, self.ports["wss"]), user, context=context, name=DOMAIN)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    authority = Authority(Path(tmp_path_factory.mktemp("certificates")))
    with WebServer(authority, workers=2, domains=[DOMAIN], trusted=["127.0.0.1/32"]) as running:
        yield running


@pytest.mark.parametrize(("one", "other"), list(itertools.product(["tcp", "tls", "ws", "wss"], repeat=2)))
def test_calls_between_transports(server: WebServer, one: str, other: str) -> None:
    """Whoever has registered is reached through his connection, before and inside dialogs, by any transport."""
    with server.phone(one, f"{one}-a") as alice, server.phone(other, f"{other}-b") as bob:
        alice.register()
        bob.register()
        for _ in range(3):
            invite = call(alice, bob)
        routes = invite.all("Record-Route")
        assert len(routes) == 2
        for route, kind in zip(routes, (other, one), strict=True):
            assert f"transport={kind.replace('wss', 'ws')};lr" in route


def asked(server: WebServer, **more: Any) -> Any:
    return connect(f"ws://{server.host}:{server.ports['ws']}/", proxy=None, compression=None, **more)


def test_who_may_open(server: WebServer) -> None:
    with asked(server, subprotocols=["sip"], origin=ORIGIN) as web:
        assert web.subprotocol == "sip"
    with pytest.raises(InvalidStatus) as refused:
        asked(server, subprotocols=["sip"], origin="https://elsewhere.example.com")
    assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as refused:
        asked(server, subprotocols=["mqtt"])
    assert refused.value.response.status_code == 400


def test_bad_openings_do_not_flood_the_log(server: WebServer) -> None:
    junk = b"G" + bytes(range(128, 256)) * 60 + b"\r\n\r\n"
    written, began = len(server.log), time.monotonic()
    for _ in range(300):
        with socket.create_connection((server.host, server.ports["ws"]), 5) as one:
            one.sendall(junk)
            assert b" 400 " in one.recv(1000)
    lines = [line for line in server.log[written:].splitlines() if "no WebSocket for" in line]
    seconds = math.ceil(time.monotonic() - began) + 1
    assert 0 < len(lines) <= 2 * seconds * A_SECOND and all(len(line) < 300 for line in lines)


def test_remarks_are_said_or_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    remarks = Remarks(logging.getLogger("remarks"), lambda: now)
    caplog.set_level(logging.INFO)
    for text in "abcdefgh":
        remarks.say(text)
    now += 1
    remarks.say("i")
    remarks.say("j")
    assert caplog.messages == ["a", "b", "c", "d", "e", "i (3 more before)", "j"]


def test_pings_and_keep_alives(server: WebServer) -> None:
    with server.phone("ws", "alice") as alice:
        assert alice.web.ping(b"are you there").wait(2)
        alice.send(b"\r\n\r\n")
        assert alice.web.recv(2) == "\r\n"


def test_fragments(server: WebServer) -> None:
    with server.phone("ws", "alice") as alice:
        text = alice.request("OPTIONS", f"sip:{DOMAIN}", body=b"x" * 3000).decode()
        for size in (1, 100, 1500):
            alice.web.send(text[at : at + size] for at in range(0, len(text), size))
            alice.expect("200")
            text = alice.request("OPTIONS", f"sip:{DOMAIN}", body=b"x" * 3000).decode()


def test_several_frames_in_one_segment(server: WebServer) -> None:
    with server.phone("ws", "alice") as alice:
        alice.web.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        for n in range(30):
            alice.send(alice.request("OPTIONS", f"sip:{DOMAIN}", body=b"x" * (100 * n)))
        alice.web.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        assert sorted(alice.expect("200").cseq for _ in range(30)) == list(range(1, 31))


def test_a_message_too_large_ends_with_1009(server: WebServer) -> None:
    with server.phone("ws", "alice") as alice:
        alice.send(alice.request("OPTIONS", f"sip:{DOMAIN}", body=b"x" * 70000))
        with pytest.raises(ConnectionClosed) as closed:
            alice.web.recv(3)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_a_handshake_that_never_ends_is_ended(server: WebServer) -> None:
    started = time.monotonic()
    slow = [socket.create_connection((server.host, server.ports["ws"])) for _ in range(80)]
    for one in slow:
        one.send(b"GET / HTTP/1.1\r\n")
    gone = 0
    for one in slow:
        one.settimeout(8)
        try:
            gone += b"408" in one.recv(1000)
        except OSError:
            gone += 1
        one.close()
    assert gone and time.monotonic() - started < 9
    with server.phone("ws", "alice") as alice:
        alice.send(alice.request("OPTIONS", f"sip:{DOMAIN}"))
        alice.expect("200")


def fragment(length: int) -> bytes:
    """The first of a message."""
    return b"\x01\xfe" + length.to_bytes(2, "big") + bytes(4) + b"a" * length


PINGING = b"\x89\x80" + bytes(4)


def opened(server: WebServer) -> socket.socket:
    one = socket.create_connection((server.host, server.ports["ws"]), timeout=5)
    one.sendall(OPENING)
    assert one.recv(4096).startswith(b"HTTP/1.1 101 ")
    return one


def test_unfinished_messages_have_their_share_of_memory(server: WebServer) -> None:
    """As half messages of TCP: whoever waits longest goes."""
    before = server.stats()["total"]["connections_refused"]
    halves = []
    for _ in range(2200):  # of 64 KiB each, in two workers
        halves.append(opened(server))
        halves[-1].sendall(fragment(65000) + PINGING)
    deadline = time.monotonic() + 5
    while (gone := server.stats()["total"]["connections_refused"] - before) < 50:
        assert time.monotonic() < deadline, gone
        time.sleep(0.05)
    assert server.stats()["total"]["connections"] <= 2 * (64 << 20) // 65000 + 50
    with server.phone("ws", "alice") as alice:
        text = alice.request("OPTIONS", f"sip:{DOMAIN}", body=b"x" * 3000).decode()
        alice.web.send(text[at : at + 1500] for at in range(0, len(text), 1500))
        alice.expect("200")
    for half in halves:
        half.close()


def test_an_unfinished_message_has_its_time(server: WebServer) -> None:
    """Pings do not keep it; whoever is between two messages is kept."""
    idle = server.stats()["total"]["stream_errors"]
    with opened(server) as half, opened(server) as between:
        half.sendall(fragment(200))
        between.sendall(b"\x8a\x80" + bytes(2))  # half a pong is no message
        for turn in range(22):
            time.sleep(0.5)
            for one in (half, between):
                with contextlib.suppress(OSError):
                    one.sendall(bytes(2) + PINGING if one is between and turn == 0 else PINGING)
        half.settimeout(1)
        with contextlib.suppress(ConnectionError):
            while half.recv(4096):
                pass
        between.settimeout(1)
        assert between.recv(4096)
        between.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                assert between.recv(4096)
    assert server.stats()["total"]["stream_errors"] == idle + 1
    deadline = time.monotonic() + 2
    while "half a message, and nothing more" not in server.log:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.05)


def test_a_page_that_goes_without_a_word_is_registered_no_longer(server: WebServer) -> None:
    """No close frame, and it has asked before: nothing it is owed keeps it."""
    with server.phone("ws", "leaver") as leaver:
        leaver.register()
        leaver.send(leaver.request("OPTIONS", f"sip:{DOMAIN}"))
        leaver.expect("200")
        leaver.web.socket.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 3
        while server.contacts(f"leaver@{DOMAIN}"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
