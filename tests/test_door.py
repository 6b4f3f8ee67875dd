"""The door: a thread that accepts, connects and shakes hands, among peers that are slow, many, or talk nonsense."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from certificates import Authority
from tls_kit import Setup, client_context, server_context

from fastsip._tls import ACCEPTED, CONNECTED, NOT_CONNECTED, WANT_READ, Door, TlsContexts

NAME = "sip.example.com"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


class House:
    """A door in a thread, with one listening socket."""

    def __init__(self, contexts: TlsContexts, host: str = "127.0.0.1", **limits: int) -> None:
        self.contexts = contexts
        self.door = Door(contexts, **limits)
        self.socket = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setblocking(False)
        self.address: tuple[str, int] = self.socket.getsockname()[:2]
        self.door.listen(self.socket.fileno(), 7)
        self.thread = threading.Thread(target=self.door.run)
        self.thread.start()
        self.news: list[Any] = []

    def wait(self, count: int = 1, seconds: float = 5) -> list[Any]:
        """The next `count` news."""
        end = time.monotonic() + seconds
        while len(self.news) < count and (left := end - time.monotonic()) > 0:
            if select.select([self.door.fileno()], [], [], left)[0]:
                self.news += self.door.take()
        found, self.news = self.news[:count], self.news[count:]
        return found

    def close(self) -> None:
        self.door.stop()
        self.thread.join(5)
        assert not self.thread.is_alive()
        self.socket.close()


@pytest.fixture
def house(ca: Authority) -> Iterator[Callable[..., House]]:
    """Makes houses; at the end all connections are freed and no descriptor is left."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    made: list[House] = []

    def make(host: str = "127.0.0.1", **limits: int) -> House:
        made.append(House(TlsContexts(Setup([ca.sign(NAME)], ca_file=ca.file)), host, **limits))
        return made[-1]

    yield make
    contexts = [each.contexts for each in made]
    for each in made:
        each.close()
    del each
    made.clear()
    gc.collect()
    assert [one.live for one in contexts] == [0] * len(contexts)
    assert len(os.listdir("/proc/self/fd")) == before


def visit(ca: Authority, address: tuple[str, int], source: str = "") -> ssl.SSLSocket:
    raw = socket.create_connection(address, timeout=5, source_address=(source, 0) if source else None)
    return client_context(ca).wrap_socket(raw, server_hostname=NAME)


def taken(news: Any) -> Any:
    assert news["connection"] is not None
    return news["connection"]


def leave(news: Any) -> None:
    taken(news).free()
    os.close(news["fd"])


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.005)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_shook_hands_is_given_away(ca: Authority, house: Callable[..., House], host: str) -> None:
    here = house(host)
    with visit(ca, here.address) as client:
        (news,) = here.wait()
        assert news["kind"] == ACCEPTED and news["listener"] == 7 and news["reason"] == ""
        assert news["remote"] == client.getsockname()[:2] and news["local"] == here.address
        client.send(b"OPTIONS")
        connection = taken(news)
        until(lambda: connection.read(100) == b"OPTIONS")
        assert connection.write(b"200 OK") == 6 and client.recv(100) == b"200 OK"
        assert not os.get_inheritable(news["fd"])
        leave(news)
    counters = here.door.counters()
    assert (counters["accepted"], counters["done"], counters["unfinished"]) == (1, 1, 0)


def test_nonsense_is_closed_and_counted(house: Callable[..., House]) -> None:
    here = house()
    for garbage in (b"OPTIONS sip:a SIP/2.0\r\n\r\n", bytes(64), b""):
        with socket.create_connection(here.address, timeout=5) as client:
            if garbage:
                client.send(garbage)
            else:
                client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(100):
                    pass
    assert here.door.counters()["failed"] == 3
    assert here.wait(1, 0.1) == []


def test_half_a_hello_and_then_silence(house: Callable[..., House]) -> None:
    here = house(accept_ms=300)
    begun = time.monotonic()
    with socket.create_connection(here.address, timeout=5) as mute, socket.create_connection(here.address) as half:
        half.send(b"\x16\x03\x01\x00\xff\x01")
        assert mute.recv(10) == b""
        assert 0.25 < time.monotonic() - begun < 2
        until(lambda: here.door.counters()["timed_out"] == 2)
    assert here.door.counters()["unfinished"] == 0


def test_a_dribbling_hello_is_not_awaited_for_ever(house: Callable[..., House]) -> None:
    """The time is that of the whole handshake, not of its pauses."""
    here = house(accept_ms=300)
    with socket.create_connection(here.address, timeout=5) as client, contextlib.suppress(OSError):
        begun = time.monotonic()
        for byte in b"\x16\x03\x01\x01\xff\x01" + bytes(1000):
            client.send(bytes([byte]))
            time.sleep(0.02)
            assert time.monotonic() - begun < 3
    assert here.door.counters()["timed_out"] == 1


def test_five_hundred_stalled_handshakes_keep_nobody_else_out(ca: Authority, house: Callable[..., House]) -> None:
    here = house(accept_ms=3000)
    visit(ca, here.address, "127.0.0.2").close()
    leave(here.wait()[0])
    stalled = []
    for _ in range(500):
        client = socket.create_connection(here.address, source_address=("127.0.0.1", 0))
        client.send(b"\x16\x03\x01\x00\xff\x01")
        stalled.append(client)
    begun = time.monotonic()
    with visit(ca, here.address, "127.0.0.2"):
        (news,) = here.wait()
    taken_ms = (time.monotonic() - begun) * 1000
    assert taken_ms < 100, taken_ms
    leave(news)
    counters = here.door.counters()
    assert counters["refused_source"] == 436 and counters["unfinished"] == 64
    until(lambda: here.door.counters()["timed_out"] == 64)
    with visit(ca, here.address, "127.0.0.1"):                    # its budget is free again
        leave(here.wait()[0])
    for client in stalled:
        client.close()


def test_stalled_handshakes_of_its_own_address_keep_nobody_out(ca: Authority, house: Callable[..., House]) -> None:
    """The oldest of that address goes for a newcomer, and nobody of another address."""
    here = house()
    few = [socket.create_connection(here.address, source_address=(f"127.0.1.{i}", 0)) for i in range(1, 9)]
    stalled = [socket.create_connection(here.address, source_address=("127.0.0.1", 0)) for _ in range(500)]
    for n in range(1, 21):
        begun = time.monotonic()
        with visit(ca, here.address, "127.0.0.1"):
            (news,) = here.wait()
        taken_ms = (time.monotonic() - begun) * 1000
        assert taken_ms < 200, taken_ms
        leave(news)
        counters = here.door.counters()
        assert counters["done"] == n
    # The first of the visitors took a place away, and those after him had his.
    assert (counters["refused_source"], counters["refused_total"]) == (500 - 64 + 1, 0)
    assert counters["unfinished"] == 63 + len(few)
    for client in stalled[:437]:
        client.settimeout(2)
        assert client.recv(1) == b""
    for client in few + stalled[437:]:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
    for client in few + stalled:
        client.close()


def test_a_source_with_one_place_gives_it_to_the_newest(ca: Authority, house: Callable[..., House]) -> None:
    here = house(per_source=1)
    with socket.create_connection(here.address) as silent:
        for _ in range(3):
            visit(ca, here.address).close()
            leave(here.wait()[0])
        assert silent.recv(1) == b""
    assert here.door.counters()["refused_source"] == 1


def test_neighbours_in_one_ipv6_network_share_a_budget(house: Callable[..., House]) -> None:
    here = house("::1", per_source=3)
    clients = [socket.create_connection(here.address) for _ in range(5)]
    until(lambda: here.door.counters()["accepted"] == 5)
    assert here.door.counters()["refused_source"] == 2
    for client in clients:
        client.close()
    until(lambda: here.door.counters()["failed"] == 3)


def test_there_is_a_bound_for_all_sources_together(house: Callable[..., House]) -> None:
    here = house(unfinished=10)
    clients = [socket.create_connection(here.address, source_address=(f"127.0.1.{i}", 0)) for i in range(1, 21)]
    until(lambda: here.door.counters()["refused_total"] == 10)
    assert here.door.counters()["unfinished"] == 10
    for client in clients:
        client.close()
    until(lambda: here.door.counters()["unfinished"] == 0)


def test_who_has_most_makes_way(ca: Authority, house: Callable[..., House]) -> None:
    """His oldest handshake, if it waits for him, and not the oldest of all."""
    here = house(unfinished=12)
    few = [socket.create_connection(here.address, source_address=(f"127.0.1.{i}", 0)) for i in range(2, 8)]
    many = [socket.create_connection(here.address, source_address=("127.0.1.1", 0)) for _ in range(6)]
    until(lambda: here.door.counters()["accepted"] == 12)
    visits = []
    for done in range(1, 4):
        visits.append(visit(ca, here.address))
        until(lambda: here.door.counters()["done"] == done)       # noqa: B023
    assert here.door.counters()["refused_total"] == 1             # the places of those who are done are free again
    more = [socket.create_connection(here.address, source_address=("127.0.1.9", 0)) for _ in range(3)]
    until(lambda: here.door.counters()["refused_total"] == 3)
    for client in many[:3]:
        client.settimeout(2)
        assert client.recv(1) == b""
    for client in many[3:] + few + more:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
    for client in [*few, *many, *more, *visits]:
        client.close()
    until(lambda: here.door.counters()["unfinished"] == 0)


def test_what_nobody_takes_is_closed_with_the_door(ca: Authority, house: Callable[..., House]) -> None:
    here = house()
    clients = [visit(ca, here.address) for _ in range(5)]
    until(lambda: here.door.counters()["done"] == 5)
    clients.append(socket.create_connection(here.address))        # type: ignore[arg-type]
    until(lambda: here.door.counters()["unfinished"] >= 1)
    for client in clients:
        client.close()


def test_a_listener_that_is_forgotten_rings_no_more(ca: Authority, house: Callable[..., House]) -> None:
    here = house()
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        here.door.listen(other.fileno(), 9)
        visit(ca, other.getsockname()).close()
        (news,) = here.wait()
        assert news["listener"] == 9
        leave(news)
        here.door.forget(other.fileno())
        time.sleep(0.1)
        with socket.create_connection(other.getsockname()):
            time.sleep(0.1)
            assert here.door.counters()["accepted"] == 1
            assert other.accept()                                 # it waits for somebody else
    gc.collect()


def test_without_descriptors_the_door_waits_and_goes_on(ca: Authority, house: Callable[..., House]) -> None:
    here = house()
    client = socket.create_connection(here.address)
    until(lambda: here.door.counters()["accepted"] == 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    other = socket.socket()
    spare = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                spare.append(os.dup(0))
        other.connect(here.address)
        until(lambda: here.door.counters()["starved"] >= 2)
        assert here.door.counters()["starved"] < 100
    finally:
        for fd in spare:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: here.door.counters()["accepted"] == 2)
    client.close(), other.close()


# --- orders ---------------------------------------------------------------------------------------------------------


class Server:
    """A server of Python that says what it hears."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        self.context = context
        self.reused: list[bool | None] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while True:
            raw, _ = self.socket.accept()
            try:
                with self.context.wrap_socket(raw, server_side=True) as connection:
                    if (data := connection.recv(100)) == b"quit":
                        return
                    connection.send(data)
                    self.reused.append(connection.session_reused)
                    connection.recv(100)
            except OSError:
                raw.close()

    def close(self) -> None:
        with socket.create_connection(self.address) as raw:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(raw) as connection:
                connection.send(b"quit")
        self.thread.join(5)
        self.socket.close()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_an_order_to_connect(ca: Authority, house: Callable[..., House], version: str) -> None:
    here, server = house(), Server(server_context(ca.sign(NAME), version))
    for tag in range(1, 4):
        here.door.connect(server.address, NAME, tag, ("127.0.0.9", 0) if tag == 2 else None)
        (news,) = here.wait()
        assert (news["kind"], news["tag"], news["reason"]) == (CONNECTED, tag, ""), news
        assert news["remote"] == server.address
        assert news["local"] is not None and news["local"][0] == ("127.0.0.9" if tag == 2 else "127.0.0.1")
        connection = taken(news)
        assert connection.peer_is(NAME) and connection.write(b"OPTIONS") == 7
        until(lambda connection=connection: connection.read(100) == b"OPTIONS")
        connection.shutdown()
        leave(news)
    until(lambda: len(server.reused) == 3)
    assert server.reused == [False, True, True]
    server.close()
    assert here.door.counters()["connected"] == 3


def test_orders_that_fail_say_why(ca: Authority, house: Callable[..., House]) -> None:
    here, server = house(connect_ms=400), Server(server_context(ca.sign("other.example")))
    with socket.create_server(("127.0.0.1", 0)) as mute, socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()
        gone.close()
        orders = {
            1: (server.address, NAME, f"the certificate is not for {NAME}"),
            2: (closed, NAME, "Connection refused"),
            3: (mute.getsockname(), NAME, "no TLS within the time"),
            4: (("127.0.0.1", 1), "x" * 256, "no TLS for this name"),
        }
        for tag, (address, name, _) in orders.items():
            here.door.connect(address, name, tag)
        found = {news["tag"]: news for news in here.wait(4)}
        for tag, (_, _, reason) in orders.items():
            assert found[tag]["kind"] == NOT_CONNECTED and found[tag]["reason"] == reason, found[tag]
            assert found[tag]["connection"] is None and found[tag]["fd"] == -1
    counters = here.door.counters()
    assert (counters["ordered"], counters["connect_failed"], counters["connect_timed_out"]) == (4, 4, 1)
    server.close()


def test_two_doors_talk_to_each_other(ca: Authority, house: Callable[..., House]) -> None:
    here, there = house(), house()
    count = 50
    for tag in range(count):
        here.door.connect(there.address, NAME, tag)
    made, came = here.wait(count), there.wait(count)
    assert sorted(news["tag"] for news in made) == list(range(count))
    by_port = {news["remote"][1]: news for news in came}
    for news in made:
        connection, other = taken(news), taken(by_port[news["local"][1]])
        text = b"%d" % news["tag"]
        assert connection.write(text) == len(text)
        assert other.read(100) == text
        assert connection.read(100) == -WANT_READ                 # a ticket, perhaps
    for news in made + came:
        leave(news)


def test_a_door_closes_with_everything_under_way(ca: Authority, house: Callable[..., House]) -> None:
    """Handshakes half done, orders half done and not begun, news not taken: the fixture finds nothing left."""
    here, there = house(), house(per_source=500)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        clients = [socket.create_connection(there.address) for _ in range(100)]
        for tag in range(100):
            here.door.connect(mute.getsockname(), NAME, tag)
            here.door.connect(there.address, NAME, tag)
        until(lambda: there.door.counters()["done"] > 20)
        for tag in range(100):
            here.door.connect(there.address, NAME, tag)
        here.close()
        for client in clients:
            client.close()


def test_too_many_orders_are_refused_at_once(ca: Authority) -> None:
    """Nobody is in the door to take them."""
    door = Door(TlsContexts(Setup(ca_file=ca.file)))
    with pytest.raises(BlockingIOError):
        for tag in range(100_000):
            door.connect(("127.0.0.1", 1), NAME, tag)
    assert door.take() == []


def test_only_one_thread_is_in_a_door(ca: Authority, house: Callable[..., House]) -> None:
    here = house()
    with pytest.raises(RuntimeError):
        here.door.run()
