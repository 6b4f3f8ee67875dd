"""What peers do to connections, and what it costs others: SIP over TCP and TLS."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority
from harness import Phone
from harness.stream import StreamPhone
from stream_kit import DOMAIN, StreamServer, options, plain, secure

Maker = Callable[..., StreamPhone]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("certificates")))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[StreamServer]:
    with StreamServer(authority, workers=2, domains=[DOMAIN], trusted=["127.0.0.0/8"]) as running:
        yield running


@pytest.fixture(params=[plain, secure], ids=["tcp", "tls"])
def phone(request: pytest.FixtureRequest) -> Maker:
    """Makes phones of a transport."""
    maker: Maker = request.param
    return maker


# --- peers that close one side -------------------------------------------------------------------------------------------


def test_who_closes_his_side_still_gets_his_answers(server: StreamServer) -> None:
    with plain(server, "alice") as alice, plain(server, "bob") as bob:
        bob.register()
        for n in range(6):  # calls and connections of either worker
            with plain(server, "carol") as carol:
                name = f"closing-{n}"  # of one call, so that they keep their order
                carol.send(carol.request("OPTIONS", bob.uri, call_id=name))
                carol.send(carol.request("MESSAGE", bob.uri, call_id=name))
                carol.socket.shutdown(socket.SHUT_WR)
                first = bob.expect("OPTIONS")
                second = bob.expect("MESSAGE")
                alice.send(options(alice))
                alice.expect("200")
                time.sleep(0.05)
                bob.respond(first, 200)
                carol.expect("200")
                bob.respond(second, 486)
                carol.expect("486")
                assert carol.closed(2), "the connection stays though nothing is owed"


def test_answers_on_their_way_are_sent_to_who_closed_his_side(server: StreamServer, phone: Maker) -> None:
    with phone(server) as alice:
        alice.send(b"".join(options(alice) for _ in range(30)))
        if phone is plain:
            alice.socket.shutdown(socket.SHUT_WR)
        for _ in range(30):
            alice.expect("200")


def test_whoever_is_owed_nothing_is_closed_at_once(server: StreamServer, phone: Maker) -> None:
    with phone(server) as alice:
        alice.send(options(alice))
        alice.expect("200")
        alice.send(options(alice)[:100])
        started = time.monotonic()
        alice.socket.shutdown(socket.SHUT_WR)
        assert alice.closed() and time.monotonic() - started < 0.4


def test_requests_are_not_sent_to_who_closed_his_side(server: StreamServer) -> None:
    """He could not answer them."""
    with plain(server, "alice") as alice, plain(server, "dora") as dora, plain(server, "emil") as emil:
        dora.register()
        emil.register()
        dora.send(dora.request("OPTIONS", emil.uri))
        dora.socket.shutdown(socket.SHUT_WR)
        asked = emil.expect("OPTIONS")
        started = time.monotonic()
        alice.send(alice.request("OPTIONS", dora.uri))
        alice.expect("480")
        assert time.monotonic() - started < 1
        emil.respond(asked, 200)
        dora.expect("200")


@pytest.mark.long
def test_who_closed_his_side_is_not_kept_for_ever(server: StreamServer) -> None:
    with plain(server, "bob") as bob, plain(server, "carol") as carol:
        bob.register()
        carol.send(carol.request("INVITE", bob.uri))
        carol.socket.shutdown(socket.SHUT_WR)
        bob.respond(bob.expect("INVITE"), 180)
        carol.expect("180")
        started = time.monotonic()
        assert carol.closed(40) and 30 < time.monotonic() - started
