"""The load generator by TCP: engines against each other and a scripted server, commands against fastsip and SIPp."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from certificates import Authority
from harness import Kamailio, Server, free_port, requires_peer
from load_engines import callee, caller
from test_load_cli import AS_USERS, DOMAIN, USERS, Background, document, load

from fastsip.launch import TlsSetup
from fastsip.load.setup import Hold, Scenario, User

CONTACT = re.compile(r"Via: SIP/2.0/TCP (\S+);branch.*Contact: <sip:u(\d+)@(\S+);transport=tcp>", re.S)
PEOPLE = [User(f"sip:u{number}@example.com") for number in range(40)]


class StreamScript:
    """A server of one connection after the other, which answers what it is told to."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(3)
        self.address: tuple[str, int] = self.listening.getsockname()
        self.connections: list[socket.socket] = []
        self.left: dict[socket.socket, bytes] = {}

    @property
    def hostport(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"

    def __enter__(self) -> StreamScript:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self.listening, *self.connections):
            sock.close()

    def accept(self) -> socket.socket:
        made, _ = self.listening.accept()
        made.settimeout(3)
        self.connections.append(made)
        return made

    def receive(self, connection: socket.socket) -> str:
        """The next message, none of which have bodies; what came behind it waits."""
        data = self.left.get(connection, b"")
        while b"\r\n\r\n" not in data:
            more = connection.recv(65535)
            if not more:
                break
            data += more
        head, gap, self.left[connection] = data.partition(b"\r\n\r\n")
        return (head + gap).decode()

    @staticmethod
    def answer(connection: socket.socket, request: str, status: str, *extra: str) -> None:
        kept = ("Via:", "From:", "To:", "Call-ID:", "CSeq:")
        lines = [line for line in request.split("\r\n") if line.startswith(kept)]
        lines = [line + ";tag=there" if line.startswith("To:") else line for line in lines]
        connection.sendall("\r\n".join([f"SIP/2.0 {status}", *lines, *extra, "Content-Length: 0", "", ""]).encode())


def test_calls_of_all_kinds_between_two_engines() -> None:
    scenario = Scenario("call", hold=Hold("uniform", 20), cancel=0.2, cancel_after=5, reinvite=0.2, busy=True, body=900)
    with callee(transport="tcp", ring=20, busy=0.1, body=700) as bob:
        setup = {"transport": "tcp", "connections": 6, "callers": PEOPLE}
        with caller(bob.address, scenario, rate=2000, count=400, **setup) as alice:
            shot = alice.wait()
            counters = shot.counters
            assert counters["done"] == 400, (shot.failures, counters)
            assert counters["strays"] == counters["malformed"] == counters["again_in"] == 0
            found = bob.until(lambda c: c["dialogs"] == 0 and c["answered"] == c["ended"])
            assert found["refused_busy"] == counters["busy"] and found["again_answer"] == 0


def test_via_and_contact_say_tcp_and_callers_keep_to_a_connection() -> None:
    with StreamScript() as server:
        setup = {"transport": "tcp", "connections": 4, "callers": PEOPLE}
        with caller(server.address, Scenario("register"), rate=200, count=8, **setup):
            users = []
            for _ in range(4):
                connection = server.accept()
                for _ in range(2):
                    request = server.receive(connection)
                    found = CONTACT.search(request)
                    assert found and found[1] == found[3], request
                    users.append(int(found[2]))
                    server.answer(connection, request, "200 OK", "Expires: 60")
            assert len({user % 4 for user in users}) == 4 and sorted(users) == list(range(8))
            server.listening.settimeout(0.05)
            with pytest.raises(TimeoutError):
                server.accept()


def test_nothing_is_sent_again_by_a_stream() -> None:
    with StreamScript() as server:
        begun = time.monotonic()
        with caller(server.address, Scenario("call"), Scenario("options"), count=20, transport="tcp") as alice:
            shot = alice.wait()
        assert shot.failures == {"timeout": 20}
        assert not any(count for name, count in shot.counters.items() if name.startswith("again_"))
        assert 1.28 <= time.monotonic() - begun < 4  # 64*T1


def test_a_refused_connection_fails_at_once() -> None:
    with callee(transport="tcp") as bob:
        address = bob.address
    begun = time.monotonic()
    with caller(address, Scenario("call"), count=20, transport="tcp", connections=3) as alice:
        shot = alice.wait()
    assert shot.failures == {"transport": 20} and time.monotonic() - begun < 1


def test_a_call_whose_connection_is_gone_fails_and_the_next_opens_another() -> None:
    with StreamScript() as server:
        scenario = Scenario("call", hold=Hold("constant", 300))
        with caller(server.address, scenario, rate=10, count=2, transport="tcp", poisson=False) as alice:
            first = server.accept()
            server.answer(first, server.receive(first), "200 OK", f"Contact: <sip:{server.hostport};transport=tcp>")
            assert server.receive(first).startswith("ACK")
            first.close()  # its BYE is sent by nobody
            second = server.accept()
            server.answer(second, server.receive(second), "486 Busy Here")
            assert server.receive(second).startswith("ACK")
            shot = alice.wait()
            assert shot.failures == {"486": 1, "transport": 1}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(workers=2, domains=[DOMAIN], users=USERS, required=["*"], transports=("udp", "tcp")) as made:
        yield made


@requires_peer("kamailio")
def test_one_command_calls_through_kamailio() -> None:
    with Kamailio(domains=[DOMAIN], users=USERS, required=["*"], realm=DOMAIN, transports=("udp", "tcp")) as proxy:
        found = document("call", f"tcp:{proxy.hostport}", "--answer", *AS_USERS, "--rate", "100", "--duration", "1")
    assert found["failed"] == 0 and found["done"] == found["offered"] > 50, found


def test_one_command_calls_through_fastsip_with_digest(server: Server) -> None:
    shape = ("--reinvite", "10%", "--cancel", "5%", "--busy", "5%", "--ring", "20ms", "--hold", "50ms..150ms")
    found = document(
        "call", f"tcp:{server.hostport}", "--answer", *AS_USERS, "--rate", "200", "--duration", "1", *shape
    )
    assert found["exit"] == 0 and found["done"] == found["offered"] > 100 and found["failed"] == 0, found
    assert found["target"] == f"tcp:{server.hostport}"
    assert found["answering"]["answered"] and found["answering"]["registers_done"] == 20
    assert server.ctl("contacts", f"user0@{DOMAIN}") == []


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_mix_registers_where_it_calls(server: Server, threads: str) -> None:
    words = ("--transport", "tcp", "--answer", "--threads", threads, "--rate", "300", "--count", "300")
    found = document("mix", server.hostport, *words, *AS_USERS)
    assert found["done"] == 300, found


def test_registrations_by_connections_of_their_own(server: Server) -> None:
    target = f"sip:{server.hostport};transport=tcp"
    before = server.stats()["total"]["connections_in"]
    found = document("register", target, *AS_USERS, "--mode", "refresh", "--rate", "500", "--count", "100")
    assert found["done"] == 100, found
    assert server.stats()["total"]["connections_in"] - before == 60  # of 20 users: bind, refresh, remove


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[Server]:
    """UDP and TLS on one port."""
    chain, key = authority.sign("127.0.0.1", "localhost")
    tls = {"certificate": chain, "key": key, "ca_file": authority.file, "verify_client": "ask"}
    with Server(
        workers=2, domains=[DOMAIN], users=USERS, required=["*"], transports=("udp", "tls"), extra={"tls": tls}
    ) as made:
        yield made


def test_calls_of_all_kinds_between_two_engines_by_tls(authority: Authority) -> None:
    scenario = Scenario("call", hold=Hold("uniform", 20), cancel=0.2, cancel_after=5, reinvite=0.2, busy=True, body=900)
    own = TlsSetup(certificates=[authority.sign("bob.example.com")])
    with callee(transport="tls", tls=own, ring=20, busy=0.1, body=700) as bob:
        setup = {"transport": "tls", "connections": 6, "callers": PEOPLE, "peer": "bob.example.com"}
        setup["tls"] = TlsSetup(ca_file=authority.file)
        with caller(bob.address, scenario, rate=2000, count=400, **setup) as alice:
            shot = alice.wait()
            counters = shot.counters
            assert counters["done"] == 400, (shot.failures, counters)
            assert counters["strays"] == counters["malformed"] == counters["again_in"] == 0
            found = bob.until(lambda c: c["dialogs"] == 0 and c["answered"] == c["ended"])
            assert found["refused_busy"] == counters["busy"] and found["again_answer"] == 0


@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_calls_fail_at_once_where_the_peer_is_another(authority: Authority, tmp_path: Path, wrong: str) -> None:
    other = Authority(tmp_path) if wrong == "authority" else authority
    own = TlsSetup(certificates=[other.sign("bob.example.com" if wrong == "name" else "127.0.0.1")])
    with callee(transport="tls", tls=own) as bob:
        begun = time.monotonic()
        with caller(
            bob.address, count=20, transport="tls", connections=3, tls=TlsSetup(ca_file=authority.file)
        ) as alice:
            shot = alice.wait()
        assert shot.failures == {"transport": 20} and time.monotonic() - begun < 2
        assert bob.counters()["requests_in"] == 0


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_one_command_calls_through_fastsip_by_tls(authority: Authority, secure: Server, name: str) -> None:
    shape = ("--reinvite", "10%", "--cancel", "5%", "--busy", "5%", "--ring", "20ms", "--hold", "50ms..150ms")
    target = f"tls:{name}:{secure.port}"
    trust = ("--ca", authority.file)
    found = document("call", target, "--answer", *AS_USERS, "--rate", "200", "--duration", "1", *shape, *trust)
    assert found["exit"] == 0 and found["done"] == found["offered"] > 100 and found["failed"] == 0, found
    assert found["target"] == f"tls:127.0.0.1:{secure.port}"
    assert found["answering"]["answered"] and found["answering"]["registers_done"] == 20
    assert secure.ctl("contacts", f"user0@{DOMAIN}") == []


def test_callees_elsewhere_are_called_by_tls(authority: Authority, secure: Server) -> None:
    chain, key = authority.sign("127.0.0.1")
    port = free_port()
    callees = Background("answer", "--listen", f"tls:127.0.0.1:{port}", "--cert", chain, "--key", key, "--json")
    callees.until(f"answering at tls:127.0.0.1:{port}")
    words = ("--contact", f"127.0.0.1:{port};transport=tls", "--count", "20", "--rate", "500")
    found = document("register", secure.hostport, *AS_USERS, *words)  # by UDP: the server opens a connection to them
    assert found["done"] == 20, found
    words = ("--ca", authority.file, "--cert", chain, "--key", key, "--count", "50", "--rate", "200")
    found = document("call", f"tls:{secure.hostport}", *AS_USERS, *words)
    assert found["done"] == 50, found
    callees.signal()
    _, output = callees.wait()
    assert orjson.loads(output)["counters"]["ended"] == 50


@pytest.mark.parametrize(
    ("trust", "said"),
    [((), "(--ca FILE says whom to believe, --insecure everyone)"), (("--insecure",), "")],
)
def test_why_there_is_no_tls_is_told(secure: Server, trust: tuple[str, ...], said: str) -> None:
    result = load("options", f"tls:{secure.hostport}", "--count", "5", "--rate", "500", *AS_USERS, *trust)
    assert (result.exit_code, said in result.stderr) == (1 if said else 0, True), result.output


def test_no_tls_at_the_other_end_is_told(server: Server) -> None:
    result = load("options", f"tls:{server.hostport}", "--count", "5", "--insecure")
    assert result.exit_code == 1 and f"no TLS with tls:{server.hostport}" in result.stderr, result.output


@requires_peer("sipp")
@pytest.mark.parametrize("connections", ["1", "5"])
def test_sipp_answers(connections: str) -> None:
    port = free_port()
    with subprocess.Popen(["sipp", "-sn", "uas", "-t", "t1", "-i", "127.0.0.1", "-p", str(port), "-nostdin"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as uas:  # fmt: skip
        time.sleep(0.3)
        words = ("--rate", "100", "--count", "50", "--hold", "100ms", "--connections", connections)
        found = document("call", f"tcp:127.0.0.1:{port}", *words)
        uas.terminate()
    assert found["done"] == 50 and found["response_times"]["invite_180"]["count"] == 50


@requires_peer("sipp")
@pytest.mark.parametrize("mode", ["t1", "tn"])
def test_sipp_calls(mode: str) -> None:
    port = free_port()
    callees = Background("answer", "--listen", f"tcp:127.0.0.1:{port}", "--json", "--ring", "50ms", "--body", "200")
    callees.until(f"answering at tcp:127.0.0.1:{port}")
    words = ["-t", mode, "-i", "127.0.0.1", "-m", "50", "-r", "100", "-max_socket", "1000", "-nostdin"]
    uac = subprocess.run(["sipp", "-sn", "uac", f"127.0.0.1:{port}", *words], capture_output=True, timeout=15)
    callees.signal()
    _, output = callees.wait()
    assert uac.returncode == 0 and orjson.loads(output)["counters"]["ended"] == 50


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("options", "127.0.0.1", "--ca", "ca.pem"), "--ca is for TLS"),
        (("options", "tcp:127.0.0.1", "--insecure"), "--insecure is for TLS"),
        (("options", "tls:127.0.0.1", "--ca", "no.pem"), "no.pem"),
        (("options", "tls:127.0.0.1", "--ca", "ca.pem", "--insecure"), "goes without --ca"),
        (("options", "tls:127.0.0.1", "--key", "me.key"), "--key goes with --cert"),
        (("answer", "--listen", "tls:127.0.0.1:5061"), "by TLS it needs a certificate"),
        (("answer", "--listen", "127.0.0.1:5061", "--cert", "me.pem"), "--cert is for TLS"),
        (("call", "tls:127.0.0.1", "--answer", "--no-register"), "the callees need a certificate"),
        (("call", "tls:127.0.0.1", "--answer", "--search"), "the baseline needs a certificate"),
        (("options", "sip:127.0.0.1;transport=sctp"), "only udp, tcp and tls"),
        (("options", "ws:127.0.0.1"), "only udp, tcp and tls"),
        (("options", "tcp:127.0.0.1", "--transport", "udp"), "the target is tcp:127.0.0.1:5060"),
        (("options", "127.0.0.1", "--connections", "4"), "--connections is for TCP and TLS"),
        (("call", "tcp:127.0.0.1", "--answer", "--listen", "udp:127.0.0.1:5090"), "not the transport of the target"),
    ],
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...], said: str) -> None:
    result = load(*words)
    assert result.exit_code == 2 and said in result.stderr and not result.stdout, result.output


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = load("answer", "--listen", f"tcp:127.0.0.1:{taken.getsockname()[1]}")
    assert result.exit_code == 1 and "another program" in result.stderr, result.output
