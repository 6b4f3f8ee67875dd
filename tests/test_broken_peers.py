"""What peers do to connections, and what it costs others: SIP over TCP and TLS."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from harness import Message, Phone, Server
from harness.ports import free_port
from harness.stream import SecurePhone, StreamPhone, call
from stream_kit import DOMAIN, Maker, StreamServer, options, plain, secure, trusting


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


def settled(server: StreamServer, of_all: bool = True) -> None:
    """Wait until no connection is left, and (with `of_all`) no buffer, timer or transaction."""
    if of_all:
        server.quiet()
    deadline = time.monotonic() + 3
    while (left := server.stats()["total"]["connections"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == 0, server.stats()["total"]


def said(server: Server, *words: str) -> None:
    """Wait for a line of its log with all of these."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        if any(all(word in line for word in words) for line in server.log.splitlines()):
            return
        time.sleep(0.05)
    raise AssertionError(f"no line with {words} in\n{server.log}")


# --- peers that close one side ----------------------------------------------------------------------------------------


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


def test_requests_are_not_sent_to_who_closed_his_side(authority: Authority) -> None:
    """He could not answer them. He has an account, so he is away, whether his registration has ended by now or not."""
    users = [("dora", "secret", DOMAIN)]
    with (
        StreamServer(authority, workers=2, domains=[DOMAIN], trusted=["127.0.0.0/8"], users=users) as server,
        plain(server, "alice") as alice,
        plain(server, "dora") as dora,
        plain(server, "emil") as emil,
    ):
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
        assert carol.closed(40) and time.monotonic() - started > 30


# --- half messages, silence, floods -----------------------------------------------------------------------------------


def test_half_messages_cost_others_nothing(server: StreamServer, phone: Maker) -> None:
    """More of them than may be held in memory: whoever waits longest goes, and not who comes."""
    with phone(server, "alice") as alice, plain(server, "bob") as bob:
        halves = []
        for _ in range(2200):  # of 64 KiB each, in two workers
            half = socket.create_connection(server.address)
            half.sendall(options(bob, length="Content-Length: 60000\r\n") + b"x")
            halves.append(half)
        head, tail = options(alice, body=b"0123456789"), options(alice)
        alice.send(head[:-5])
        time.sleep(0.1)
        alice.send(head[-5:] + tail)
        alice.expect("200")
        alice.expect("200")
        for half in halves:
            half.close()
    settled(server)
    time.sleep(1.1)  # the next test may say something in the log


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00\x00", b"\x80\x2e\x01"])
def test_what_cannot_be_sip_is_closed_at_its_first_byte(server: StreamServer, phone: Maker, first: bytes) -> None:
    with phone(server) as alice:
        started = time.monotonic()
        alice.send(first)
        assert alice.closed() and time.monotonic() - started < 1


def test_a_client_of_the_wrong_port_is_told_at_once_and_logged(server: StreamServer) -> None:
    started = time.monotonic()
    with StreamPhone((server.host, server.secure_port)) as alice:  # SIP where TLS is spoken
        alice.send(options(alice))
        assert alice.closed()
    with pytest.raises(OSError), StreamPhone(server.address) as alice:  # and the other way
        trusting(server).wrap_socket(alice.socket, server_hostname="example.com")
    assert time.monotonic() - started < 1
    said(server, "tls from 127.0.0.1:", "wrong version number")
    said(server, "tcp from 127.0.0.1:", "this is not SIP")


def test_a_flood_on_one_connection_leaves_others_fast(server: StreamServer, phone: Maker) -> None:
    with phone(server, "alice") as alice, plain(server, "mallory") as mallory, Phone(server.address) as udp:
        stop = threading.Event()

        def flood() -> None:
            data = b"".join(options(mallory) for _ in range(200))
            with contextlib.suppress(OSError):
                while not stop.is_set():
                    mallory.socket.sendall(data)

        def read() -> None:
            with contextlib.suppress(OSError):
                while mallory.socket.recv(1 << 20):
                    pass

        before = server.stats()["total"]["messages_in"]
        threads = [threading.Thread(target=flood), threading.Thread(target=read)]
        for thread in threads:
            thread.start()
        waits = []
        try:
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                started = time.monotonic()
                alice.send(options(alice))
                alice.expect("200")
                assert udp.options(timeout=1)
                waits.append(time.monotonic() - started)
                time.sleep(0.005)
        finally:
            stop.set()
            mallory.socket.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
        flooded = server.stats()["total"]["messages_in"] - before
        waits.sort()
        assert flooded > 1000, flooded
        assert waits[len(waits) // 2] < 0.1, waits


# --- many connections -------------------------------------------------------------------------------------------------


def knock(server: StreamServer, count: int, port: int, source: int = 1) -> list[socket.socket]:
    """So many connections that say nothing, from addresses 127.0.1.x."""
    made = []
    for n in range(count):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # no TIME_WAIT
        one.bind((f"127.0.1.{source + n % 200}", 0))
        one.connect((server.host, port))
        made.append(one)
    return made


def memory(server: Server) -> int:
    """Resident KiB of the workers."""
    return sum(
        int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index]
        for pid, kind in server.children().items()
        if kind == "worker"
    )


def descriptors(server: Server) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid, kind in server.children().items() if kind == "worker")


def silence(server: StreamServer, count: int) -> None:
    settled(server)  # whatever was there before
    with plain(server) as alice, secure(server) as bob, Phone(server.address) as udp:
        for one in (alice, bob):  # they are there
            one.send(options(one))
            one.expect("200")
        before, ours = server.stats()["total"]["connections_in"], descriptors(server)
        silent = knock(server, count, server.port)
        deadline = time.monotonic() + 10
        while server.stats()["total"]["connections_in"] - before < count and time.monotonic() < deadline:
            time.sleep(0.05)
        total = server.stats()["total"]
        assert total["connections_in"] - before == count and total["connections"] <= count + 2
        assert descriptors(server) - ours <= count
        started = time.monotonic()
        alice.send(options(alice))
        alice.expect("200")
        bob.send(options(bob))
        bob.expect("200")
        assert udp.options(timeout=1)
        with plain(server, "carol") as carol, secure(server, "dora") as dora:
            carol.send(options(carol))
            carol.expect("200")
            dora.send(options(dora))
            dora.expect("200")
        assert time.monotonic() - started < 1
        for one in silent:
            one.close()
    settled(server)


def test_connections_that_say_nothing(server: StreamServer) -> None:
    silence(server, 2000)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_waves_of_connections_that_say_nothing(authority: Authority) -> None:
    """A hundred thousand, as many at a time as one process may have descriptors for."""
    wave = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200, 10_000)
    with StreamServer(authority, workers=2, domains=[DOMAIN], trusted=["127.0.0.0/8"]) as server:
        silence(server, wave)
        base = memory(server)
        for _ in range(100_000 // wave):
            silence(server, wave)
        grown = memory(server) - base
        assert grown < 8192, f"{grown} KiB more than after the first wave"


def test_silence_has_an_end(server: StreamServer) -> None:
    before = server.stats()["total"]["connections_idle"]
    silent = knock(server, 20, server.port)
    half = StreamPhone(server.address)
    half.send(options(half)[:50])
    time.sleep(9.5)
    for one in silent:
        one.settimeout(3)
        assert one.recv(1) == b""
        one.close()
    assert half.closed(3)
    half.socket.close()
    assert server.stats()["total"]["connections_idle"] - before >= 20
    said(server, "half a message, and nothing more")
    settled(server)


def test_stalled_handshakes_cost_others_nothing(server: StreamServer) -> None:
    stalled = []
    for n in range(500):
        one = socket.socket()
        one.bind(("127.0.1.9", 0))
        one.connect((server.host, server.secure_port))
        if n % 2:
            with contextlib.suppress(OSError):
                one.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        stalled.append(one)
    with Phone(server.address) as udp:
        for _ in range(20):
            started = time.monotonic()
            assert udp.options(timeout=1)
            with secure(server) as alice:
                alice.send(options(alice))
                alice.expect("200")
            assert time.monotonic() - started < 0.5
    total = server.stats()["total"]
    assert total["handshakes_refused"] >= 500 - 2 * 64
    said(server, "tls from 127.0.1.9:", "too many handshakes from there")
    for one in stalled:
        one.close()
    settled(server)
    nobody = free_port("127.0.0.1")  # no scanner hides that a neighbour is not there
    with secure(server) as alice:
        alice.send(alice.request("OPTIONS", f"sip:x@127.0.0.1:{nobody};transport=tls"))
        alice.expect("500")
    said(server, f"tls to 127.0.0.1:{nobody}:", "Connection refused")


def test_stalled_handshakes_of_the_same_address_cost_it_nothing(server: StreamServer) -> None:
    """Many are behind one NAT, and one of them, or somebody who broke in there, says nothing."""
    before = server.stats()["total"]["handshakes_refused"]
    stalled = [socket.create_connection((server.host, server.secure_port)) for _ in range(300)]
    for _ in range(20):
        started = time.monotonic()
        with secure(server) as alice:
            alice.send(options(alice))
            alice.expect("200")
        assert time.monotonic() - started < 0.5
    total = server.stats()["total"]
    assert total["handshakes_refused"] - before >= 300 - 2 * 64
    for one in stalled:
        one.close()
    settled(server)


def test_resets_in_the_midst_of_handshakes(server: StreamServer) -> None:
    before = server.stats()["total"]["handshakes_failed"]
    for cut in range(0, 240, 4):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting(server).wrap_bio(incoming, outgoing, server_hostname="example.com")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        one = socket.create_connection((server.host, server.secure_port))
        one.sendall(outgoing.read()[: cut + 1] if cut < 120 else outgoing.read())
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()
    with secure(server) as alice:
        alice.send(options(alice))
        alice.expect("200")
    settled(server)
    deadline = time.monotonic() + 2  # an idle worker tells its counters five times a second
    while server.stats()["total"]["handshakes_failed"] - before < 50:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- descriptors ------------------------------------------------------------------------------------------------------


def test_without_descriptors_the_silent_ones_go(authority: Authority) -> None:
    """Connections in use stay, new ones that speak are served, TCP and TLS are heard again when there is room."""

    class Poor(StreamServer):
        def command(self) -> list[str]:
            return ["prlimit", "--nofile=200:200", *super().command()]

    with Poor(authority, domains=[DOMAIN], trusted=["127.0.0.0/8"]) as server, plain(server) as alice:
        alice.register()
        silent = knock(server, 400, server.port)
        for _ in range(3):
            alice.send(options(alice))
            alice.expect("200")
            with plain(server, "bob") as bob, Phone(server.address) as udp:
                bob.send(options(bob))
                bob.expect("200")
                assert udp.options(timeout=1)
        assert server.stats()["total"]["connections_refused"] >= 200
        for one in silent:
            one.close()
        time.sleep(0.3)
        talking = [plain(server, f"t{n}") for n in range(250)]
        answered = 0
        for one in talking:
            with contextlib.suppress(OSError):
                one.send(options(one))
                answered += one.receive(0.5) is not None if answered < 100 else 0
        assert answered >= 100
        alice.send(options(alice))
        alice.expect("200")
        for one in talking:
            one.socket.close()
        time.sleep(0.3)
        with secure(server, "dora") as dora, plain(server, "erin") as erin:
            dora.send(options(dora))
            dora.expect("200")
            erin.send(options(erin))
            erin.expect("200")
        assert "started again" not in server.log
        server.quiet()


def test_a_server_may_have_as_many_descriptors_as_there_are(authority: Authority) -> None:
    class Modest(StreamServer):
        def command(self) -> list[str]:
            return ["prlimit", "--nofile=200:3000", *super().command()]

    with Modest(authority, domains=[DOMAIN], trusted=["127.0.0.0/8"]) as server:
        pid = next(pid for pid, kind in server.children().items() if kind == "worker")
        assert re.search(r"Max open files +3000 +3000", Path(f"/proc/{pid}/limits").read_text())


# --- what operators see -----------------------------------------------------------------------------------------------


class Elsewhere:
    """A TLS server that somebody calls. `file` and `key` are its certificate."""

    def __init__(self, pair: tuple[str, str], host: str = "127.0.0.1") -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*pair)
        self.door = socket.create_server((host, 0))
        self.port = self.door.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = self.door.accept()
                threading.Thread(target=self._answer, args=(one,), daemon=True).start()

    def _answer(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError), self.context.wrap_socket(one, server_side=True) as peer:
            while data := peer.recv(65536):
                phone = StreamPhone.__new__(StreamPhone)
                phone.pending, phone.socket, phone.tag, phone.user = data, peer, "x", "x"
                phone.host, phone.port = self.door.getsockname()[:2]
                while found := phone.take():
                    phone.respond(Message(found), 200)

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()
        self.thread.join(3)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("none", ""),
        ("expired", "certificate has expired"),
        ("name", "the certificate is not for 127.0.0.1"),
        ("authority", "unable to get local issuer certificate"),
        ("client", "unsuitable certificate purpose"),
    ],
)
def test_a_server_that_is_not_who_it_should_be(
    server: StreamServer, authority: Authority, tmp_path: Path, trouble: str, reason: str
) -> None:
    signer = Authority(tmp_path, "Another Authority") if trouble == "authority" else authority
    name = "192.0.2.1" if trouble == "name" else "127.0.0.1"
    usages = ("client",) if trouble == "client" else ("server",)
    pair = signer.sign(name, expired=trouble == "expired", usages=usages)
    with Elsewhere(pair) as there, plain(server) as alice:
        before = server.stats()["total"]["connections_failed"]
        for uri in (f"sip:x@127.0.0.1:{there.port};transport=tls", f"sips:x@127.0.0.1:{there.port}"):
            one = secure(server) if uri.startswith("sips") else alice
            started = time.monotonic()
            one.send(one.request("OPTIONS", uri))
            one.expect("500" if reason else "200")
            assert time.monotonic() - started < 1
        after = server.stats()["total"]["connections_failed"]
        if reason:
            assert after > before
            said(server, f"tls to 127.0.0.1:{there.port}:", reason)
        else:
            assert after == before


def test_a_refused_connection_is_logged(server: StreamServer) -> None:
    with plain(server) as alice:
        nobody = free_port("127.0.0.1")
        alice.send(alice.request("OPTIONS", f"sip:x@127.0.0.1:{nobody};transport=tcp"))
        alice.expect("500")
        said(server, f"tcp to 127.0.0.1:{nobody}:", "Connection refused")


def test_the_log_is_not_flooded(server: StreamServer) -> None:
    lines = server.log.count("this is not SIP")
    for _ in range(300):
        with socket.create_connection(server.address) as one:
            one.sendall(b"\x16\x03\x01")
            one.recv(1)
    time.sleep(1.1)
    with socket.create_connection(server.address) as one:
        one.sendall(b"\x16\x03\x01")
        one.recv(1)
    time.sleep(0.4)
    assert server.log.count("this is not SIP") - lines <= 60
    assert "more before)" in server.log


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_killed_worker_takes_only_its_own_connections(authority: Authority) -> None:
    with StreamServer(authority, workers=2, domains=[DOMAIN], trusted=["127.0.0.0/8"]) as server:
        phones = [(secure if n % 3 == 0 else plain)(server, f"u{n}") for n in range(24)]
        for one in phones:
            one.register()
        victim = next(pid for pid, kind in server.children().items() if kind == "worker")
        os.kill(victim, signal.SIGKILL)
        gone = [one for one in phones if one.closed(0.05)]
        stayed = [one for one in phones if one not in gone]
        assert gone and stayed
        deadline = time.monotonic() + 5
        while len([kind for kind in server.children().values() if kind == "worker"]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.wait_ready(5)
        time.sleep(0.5)
        for one in stayed:
            for _ in range(3):
                one.send(options(one))
                one.expect("200")
        for n in range(12):
            with (secure if n % 2 else plain)(server, f"n{n}") as new:
                new.register()
                call(new, stayed[n % len(stayed)])
        for one in phones:
            one.socket.close()
        with plain(server, "late") as late:  # whose connection died with the worker
            late.send(late.request("OPTIONS", gone[0].uri))
            late.expect("480")
        settled(server, of_all=False)


def test_a_server_that_drains_ends_its_calls_and_connections(authority: Authority) -> None:
    with (
        StreamServer(authority, workers=2, domains=[DOMAIN], trusted=["127.0.0.0/8"], drain_timeout=6) as server,
        plain(server, "alice") as alice,
        secure(server, "bob") as bob,
    ):
        bob.register()
        alice.send(alice.request("INVITE", bob.uri))
        invite = bob.expect("INVITE")
        while not (server.folder / "ctl.sock").exists():
            time.sleep(0.01)  # a server that is still starting its last worker would end at once
        assert server._process is not None
        server._process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with secure(server, "carol") as carol:
            carol.send(carol.request("INVITE", bob.uri))
            carol.expect("503")
        bob.respond(invite, 200)
        alice.expect("200")
        assert server._process.wait(15) == 0
        assert alice.closed() and bob.closed()
        server._process = None


# --- client certificates ----------------------------------------------------------------------------------------------


def test_a_client_without_the_certificate_it_needs_is_not_let_in(authority: Authority, tmp_path: Path) -> None:
    tls = {"verify_client": "require"}
    with StreamServer(authority, tls, domains=[DOMAIN], trusted=["127.0.0.0/8"]) as server:
        stranger = Authority(tmp_path, "Strangers").sign("client.example.com")
        for pair, reason in (
            (None, "peer did not return a certificate"),
            (stranger, "unable to get local issuer certificate"),
            (authority.sign("client.example.com", expired=True), "certificate has expired"),
        ):
            context = trusting(server)
            if pair:
                context.load_cert_chain(*pair)
            with (
                contextlib.suppress(OSError),
                SecurePhone((server.host, server.secure_port), context=context) as one,
            ):
                one.send(options(one))
                assert one.closed()
            said(server, "tls from 127.0.0.1:", reason)
        context = trusting(server)
        context.load_cert_chain(*authority.sign("client.example.com"))
        with SecurePhone((server.host, server.secure_port), context=context) as one:
            one.send(options(one))
            one.expect("200")
        assert server.stats()["total"]["handshakes_failed"] == 3
