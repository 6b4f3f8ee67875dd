"""A connection that ends with a request nobody has answered: what waits for the answer is told at once (RFC 3261 18.4,
RFC 3263 4.3, RFC 5626 5.3)."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from certificates import Authority
from gateway_kit import Caller, Gateway, until
from harness import Phone
from stream_kit import DOMAIN, StreamServer, plain, secure
from test_gateways_streams import RoutedStreams, number, route, table


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=[1, 3], ids=["1w", "3w"])
def server(authority: Authority, request: pytest.FixtureRequest) -> Iterator[StreamServer]:
    with StreamServer(authority, workers=request.param, domains=[DOMAIN], trusted=["127.0.0.0/8"]) as made:
        yield made


class Rude:
    """A server by TCP that reads a request, says what it is told to, and leaves."""

    def __init__(self, words: tuple[str, ...] = (), reset: bool = False) -> None:
        self.words, self.reset = words, reset
        self.asked: list[str] = []
        self._door = socket.create_server(("127.0.0.5", 0))
        self.port = self._door.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"sip:127.0.0.5:{self.port};transport=tcp"

    def __enter__(self) -> Rude:
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()

    def _run(self) -> None:
        while True:
            try:
                one, _ = self._door.accept()
            except OSError:
                return
            text = ""
            while "\r\n\r\n" not in text:
                text += one.recv(65536).decode()
            self.asked.append(text.split(" ", 1)[0])
            names = ("Via:", "From:", "To:", "Call-ID:", "CSeq:")
            kept = [line for line in text.split("\r\n") if line.startswith(names)]
            for word in self.words:
                one.sendall("\r\n".join([f"SIP/2.0 {word}", *kept, "Content-Length: 0", "", ""]).encode())
            time.sleep(0.05)
            if self.reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_the_caller_hears_of_it_at_once(server: StreamServer, method: str, reset: bool) -> None:
    with Rude(reset=reset) as rude:
        for _ in range(4):  # whatever worker has the call, and whatever one the connection
            with Phone(server.address) as alice:
                begun = time.monotonic()
                answer = alice.ask(alice.request(method, f"sip:q@{rude.uri.removeprefix('sip:')}"), timeout=5)
                assert answer is not None and answer.status == 500 and time.monotonic() - begun < 2
        assert rude.asked == [method] * 4


def test_who_has_said_something_may_go_on_by_another_connection(server: StreamServer) -> None:
    with Rude(("180 Ringing",)) as rude, plain(server) as alice:
        invite = alice.request("INVITE", f"sip:q@{rude.uri.removeprefix('sip:')}")
        alice.send(invite)
        alice.expect("180")
        assert alice.receive(1.5) is None, "it is not over"
        head = invite.split(b"Contact:")[0].replace(b"INVITE", b"CANCEL")
        alice.send(head + b"Content-Length: 0\r\n\r\n")
        alice.expect("200")


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_a_phone_that_leaves_with_a_call_is_away(server: StreamServer, kind: str) -> None:
    for number_ in range(3):
        user = f"bob{number_}"
        bob = (secure if kind == "tls" else plain)(server, user)
        bob.register()
        with plain(server) as alice:
            begun = time.monotonic()
            alice.send(alice.request("INVITE", f"sip:{user}@{DOMAIN}"))
            bob.expect("INVITE")
            bob.socket.close()
            answer = alice.receive(4)
            while answer is not None and answer.status < 200:
                answer = alice.receive(4)
            assert answer is not None and answer.status == 480 and time.monotonic() - begun < 2


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_the_next_gateway_at_once(authority: Authority, reset: bool) -> None:
    with Rude(reset=reset) as rude, Gateway() as good:
        plan = table("rude", rude.uri) + table("good", good.uri) + route("+1", "rude", "good")
        with RoutedStreams(authority, plan, workers=2) as server, Caller(server.address) as alice:
            for count in (1, 2):
                begun = time.monotonic()
                call = alice.call(number("+1918"))
                assert call.status == 200 and time.monotonic() - begun < 2
                call.hang_up()
                assert len(good.requests("INVITE")) == count
            until(lambda: server.about("rude")["timeouts"] >= 1)


def test_the_other_flow_of_an_instance(server: StreamServer) -> None:
    """RFC 5626 5.3: a flow that fails with the INVITE on it, and the other one gets it."""
    instance = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"'
    flows = [plain(server, "dora") for _ in range(2)]
    for number_, flow in enumerate(flows, 1):
        headers = "Supported: path, outbound\r\n"
        register = flow.request("REGISTER", f"sip:{DOMAIN}", to=f"<{flow.uri}>", headers=headers).decode()
        contact = f"Contact: <{flow.contact}>"
        flow.send(register.replace(contact, f"{contact};{instance};reg-id={number_}").encode())
        flow.expect("200")
    with plain(server) as alice:
        begun = time.monotonic()
        alice.send(alice.request("INVITE", f"sip:dora@{DOMAIN}"))
        flows[1].expect("INVITE")
        flows[1].socket.close()
        flows[0].expect("INVITE")
        assert time.monotonic() - begun < 2
    flows[0].socket.close()
