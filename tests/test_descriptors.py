"""Servers that have no descriptors left: who is served, who has to go, and that nothing ends."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from certificates import Authority
from descriptors_kit import Poor, none_left, seconds, threads, used, workers
from dns_kit import HOST, NameServer
from gateway_kit import Caller, Gateway, Routed, until
from harness import Server, requires_peer
from harness.ports import free_port
from harness.stream import DatagramPhone, WebPhone
from stream_kit import DOMAIN, StreamServer, options, secure

LOOPBACK = ["127.0.0.0/8"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("certificates")))


@contextlib.contextmanager
def waiting(where: tuple[str, int], count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    with contextlib.ExitStack() as closing:
        yield [closing.enter_context(socket.create_connection(where)) for _ in range(count)]


# --- one rule for all transports --------------------------------------------------------------------------------------

KINDS = ("tcp", "tls", "ws", "wss")


@pytest.mark.parametrize("kind", KINDS)
def test_connections_leave_some_to_the_process(authority: Authority, kind: str) -> None:
    """When all that is theirs is taken by people who speak, newcomers are refused, counted and told; nobody spins."""
    with Poor(authority) as server, contextlib.ExitStack() as closing:
        (worker,) = workers(server)
        held = server.fill(kind, closing)
        assert len(held) > 40
        assert used(worker) <= server.most - 32
        until(lambda: server.stats()["total"]["connections_refused"] == 1)
        assert not any(server.serves(newcomer) for newcomer in KINDS)
        assert used(worker) <= server.most - 32
        spent = seconds(worker)
        with DatagramPhone(server.address) as udp:
            for _ in range(5):
                assert server.answers(udp)
                time.sleep(0.1)
        assert seconds(worker) - spent < 0.15
        assert all(server.answers(one) for one in held)
        until(lambda: server.stats()["total"]["connections_refused"] == 1 + len(KINDS), 2)
        told = [line for line in server.log.splitlines() if "no descriptor is free" in line]
        assert len(told) == len(KINDS) + 1 and all(f"{one} from 127.0.0.1" in "".join(told) for one in KINDS), told
        closing.close()
        until(lambda: all(server.serves(newcomer) for newcomer in KINDS))


@pytest.mark.parametrize("kind", KINDS)
def test_the_silent_go_for_a_newcomer(authority: Authority, kind: str) -> None:
    """Whoever has said nothing goes, again and again, by whatever transport he and the newcomer have come."""
    with Poor(authority) as server, contextlib.ExitStack() as closing:
        (worker,) = workers(server)
        for _ in range(120):
            with contextlib.suppress(OSError, EOFError):
                closing.enter_context(server.phone(kind))
        speaking = []
        for newcomer in KINDS * 8:
            one = closing.enter_context(server.phone(newcomer))
            assert server.answers(one), newcomer
            speaking.append(one)
        assert used(worker) <= server.most - 32
        assert all(server.answers(one) for one in speaking)
        assert server.stats()["total"]["connections_refused"] > 30


@pytest.mark.parametrize("kind", ("tls", "ws", "wss"))
def test_nobody_is_kept_out_by_openings_that_do_not_go_on(authority: Authority, kind: str) -> None:
    """They take what is left for openings, and go for who comes from elsewhere."""
    with Poor(authority) as server, contextlib.ExitStack() as closing:
        (worker,) = workers(server)
        server.fill("tcp", closing)
        for one in closing.enter_context(waiting((server.host, server.ports["tcp"]), 3)):
            one.close()
        for n in range(60):
            where = server.host, server.ports[kind]
            closing.enter_context(socket.create_connection(where, source_address=(f"127.0.5.{1 + n % 3}", 0)))
        until(lambda: used(worker) >= server.most - 32 - 12)
        assert used(worker) <= server.most - 32 - 12 + 1  # one that is just looked at
        counter = "openings_refused" if kind == "ws" else "handshakes_refused"
        until(lambda: server.stats()["total"][counter] > 30)
        for newcomer in ("tls", "ws", "wss"):
            refused = server.stats()["total"]["connections_refused"]
            assert not server.serves(newcomer)  # it was opened, and there is nobody silent
            until(lambda: server.stats()["total"]["connections_refused"] > refused)  # noqa: B023


def test_silent_openings_have_their_budget(authority: Authority) -> None:
    """Of each source, and whoever waits longest goes for a newcomer when all places are taken."""
    port = free_port()
    where = ("127.0.0.1", port)
    with (
        Server(also=[f"ws:127.0.0.1:{port}"], domains=[DOMAIN], trusted=LOOPBACK) as server,
        contextlib.ExitStack() as closing,
    ):
        for _ in range(80):
            closing.enter_context(socket.create_connection(where, source_address=("127.0.4.1", 0)))
        until(lambda: "ws from 127.0.4.1:" in server.log)
        assert "too many openings from there are under way" in server.log
        for n in range(1200):
            closing.enter_context(socket.create_connection(where, source_address=(f"127.0.3.{1 + n % 20}", 0)))
        for _ in range(5):
            with WebPhone(where) as alice:
                alice.send(options(alice))
                alice.expect("200")
        until(lambda: server.stats()["total"]["openings_refused"] >= 1200 - 1024 + 80)
        said = [line for line in server.log.splitlines() if "had to go for another" in line]
        assert len(said) == 1 and "ws from 127.0." in said[0]


def test_stalled_handshakes_of_many_sources(authority: Authority) -> None:
    """The oldest goes for a newcomer when all places are taken."""
    with (
        StreamServer(authority, domains=[DOMAIN], trusted=LOOPBACK) as server,
        contextlib.ExitStack() as closing,
    ):
        where = server.host, server.secure_port
        for n in range(4300):
            closing.enter_context(socket.create_connection(where, source_address=(f"127.0.6.{1 + n % 100}", 0)))
        for _ in range(5):
            started = time.monotonic()
            with secure(server) as alice:
                alice.send(options(alice))
                alice.expect("200")
            assert time.monotonic() - started < 1
        until(lambda: "had to go for another" in server.log)
        until(lambda: server.stats()["total"]["handshakes_refused"] >= 4300 - 4096)


# --- nothing ends -----------------------------------------------------------------------------------------------------


def test_websocket_is_served_again(authority: Authority) -> None:
    """The reception outlives that it can accept nobody, and does not spin meanwhile."""
    ports = {name: free_port() for name in ("ws", "wss")}
    also = [f"{name}:127.0.0.1:{port}" for name, port in ports.items()]
    with StreamServer(authority, also=also, domains=[DOMAIN], trusted=LOOPBACK) as server:
        (worker,) = workers(server)
        with WebPhone(("127.0.0.1", ports["ws"])) as alice:
            alice.send(options(alice))
            alice.expect("200")
        before = threads(worker)
        with none_left(server), waiting(("127.0.0.1", ports["ws"]), 3), waiting(("127.0.0.1", ports["wss"]), 3):
            time.sleep(0.2)
            spent = seconds(worker)
            time.sleep(0.6)
            assert seconds(worker) - spent < 0.15
        assert threads(worker) == before
        with WebPhone(("127.0.0.1", ports["ws"])) as alice:
            alice.send(options(alice))
            alice.expect("200")
        assert "Traceback" not in server.log
        said = [line for line in server.log.splitlines() if "no descriptor is free: nobody is accepted" in line]
        assert sorted(line.split(": ")[1].split()[0] for line in said) == ["ws", "wss"]


@requires_peer("nsd")
def test_names_are_looked_for_again() -> None:
    """What is asked when the resolver cannot begin fails, as if no name server answered."""
    with NameServer({"example.net": "a A 127.0.0.1\nb A 127.0.0.1\nc A 127.0.0.1"}) as nsd:
        dns = {"dns": {"servers": [f"{HOST}:{nsd.port}"], "naptr": False, "timeout": 2}}
        with (
            Server(extra=dns, domains=[DOMAIN], trusted=LOOPBACK) as server,
            DatagramPhone(server.address) as alice,
            DatagramPhone(server.address, "bob") as bob,
        ):
            before = workers(server)
            for first in (True, False):  # before it has begun, and when it has
                with none_left(server):
                    started = time.monotonic()
                    alice.send(alice.request("OPTIONS", f"sip:x@{'a' if first else 'c'}.example.net:{bob.port}"))
                    alice.expect("500")
                    assert time.monotonic() - started < 1
                    alice.send(options(alice))
                    alice.expect("200")
                alice.send(alice.request("OPTIONS", f"sip:x@b.example.net:{bob.port}"))
                bob.respond(bob.expect("OPTIONS"), 200)
                alice.expect("200")
            assert workers(server) == before
            assert "Traceback" not in server.log and "no name can be looked for now" in server.log
            assert "does not answer" not in server.log


def test_a_reload_waits(tmp_path: Path) -> None:
    with Server(domains=[DOMAIN], trusted=LOOPBACK, extra={"gateways": {}}) as server:
        before = workers(server)
        with none_left(server):
            with pytest.raises(AssertionError, match="it has to wait"):
                server.ctl("reload")
            with DatagramPhone(server.address) as alice:
                alice.send(options(alice))
                alice.expect("200")
        server.ctl("reload")
        assert workers(server) == before and "Traceback" not in server.log


def test_a_policy_begins_when_it_can() -> None:
    """What is asked of it waits so long, within its time."""
    with Gateway() as gateway:
        plan = f"""
[gateways.gw]
uri = "{gateway.uri}"
probe = 1
[[routes]]
prefix = "+1"
gateways = ["gw"]
"""
        with Routed(domains=[DOMAIN], trusted=LOOPBACK, plan=plan) as server, Caller(server.address) as alice:
            before = workers(server)
            until(lambda: gateway.requests("OPTIONS"))
            with ThreadPoolExecutor(1) as beside:
                with none_left(server):
                    calling = beside.submit(alice.call, f"sip:+15551234@{DOMAIN}")
                    until(lambda: "the policy has to wait" in server.log)
                    assert not gateway.requests("INVITE")
                calling.result(5).hang_up()
            assert workers(server) == before and "Traceback" not in server.log
            assert server.gateways()["gw"]["state"] == "up"
