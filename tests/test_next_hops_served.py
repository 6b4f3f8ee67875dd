"""Next hops that are names, on the wire: fastsip between phones, gateways and a real name server (RFC 3263).

1. A call to another domain follows its SRV records; what Python plans does too: policies, forwards, gateways.
2. A proxy that is killed (draft-ietf-sip-call-flows-00 3.1.3, RFC 3665 3.4): calls go on to the other one, and only the
   first of them waits.
3. A name server that is silent stops who needs it, for [dns] timeout, and nobody else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from disturbance import alone_and_beside
from dns_kit import HOST, NameServer
from gateway_kit import Caller, Gateway, Routed, until
from harness import Message, Phone, Server, free_port, requires_peer

import fastsip

pytestmark = requires_peer("nsd")

QUICK = {"timeout": 2, "naptr": False, "try_time": 0.3}


def dns(port: int, **more: Any) -> dict[str, dict[str, Any]]:
    return {"dns": {"servers": [f"{HOST}:{port}"], **QUICK, **more}}


@pytest.fixture(scope="module")
def peers() -> Iterator[tuple[Gateway, Gateway]]:
    with Gateway(host="127.0.0.31") as one, Gateway(host="127.0.0.32") as two:
        yield one, two


@pytest.fixture(autouse=True)
def fresh(peers: tuple[Gateway, Gateway]) -> None:
    for peer in peers:
        peer.dead, peer.answers = False, ["180 Ringing", "200 OK"]
        peer.received.clear()


@pytest.fixture(scope="module")
def zones(peers: tuple[Gateway, Gateway]) -> Iterator[NameServer]:
    one, two = peers
    example = (
        f"_sip._udp SRV 1 1 {one.port} one\n_sip._udp SRV 2 1 {two.port} two\n"
        f"one A {one.host}\ntwo A {two.host}\ngw A {two.host}\n"
    )
    with NameServer({"example.net": example}) as nsd:
        yield nsd


def invites(peer: Gateway) -> list[str]:
    return [one.uri or "" for one in peer.requests("INVITE")]


def test_another_domain(peers: tuple[Gateway, Gateway], zones: NameServer) -> None:
    one, two = peers
    with Server(extra=dns(zones.port)) as server, Caller(server.address) as alice:
        for _ in range(3):
            alice.call("sip:carol@example.net").hang_up()
        assert invites(one) == ["sip:carol@example.net"] * 3 and not invites(two)
        until(lambda: len(one.requests("ACK")) == 3 and len(one.requests("BYE")) == 3)
        assert server.stats()["total"]["names_asked"] == 1
        assert alice.call("sip:carol@nobody.example.net").status == 500
        until(lambda: "sip:nobody.example.net cannot be reached: " in server.log)  # told behind the answer
        # Of two servers the second, when the first is dead; from then on without waiting.
        one.dead = True
        begun = time.monotonic()
        alice.call("sip:carol@example.net").hang_up()
        assert 0.2 < time.monotonic() - begun < 3
        begun = time.monotonic()
        alice.call("sip:carol@example.net").hang_up()
        assert time.monotonic() - begun < 0.2
        assert len(invites(two)) == 2
        until(lambda: f"udp:{one.host}:{one.port} failed" in server.log)


def test_large_requests_go_where_dns_has_tcp(peers: tuple[Gateway, Gateway]) -> None:
    """RFC 3261 18.1.1, RFC 3263 4.1: where a domain has it, at its place; where it has none, by UDP."""
    one, two = peers
    with socket.create_server((HOST, 0)) as door:
        stream = door.getsockname()[1]
        zones = {
            "both.example.net": f"_sip._udp SRV 1 1 {one.port} a\n_sip._tcp SRV 1 1 {stream} b\n"
            f"a A {one.host}\nb A {HOST}\n",
            "datagrams.example.net": f"_sip._udp SRV 1 1 {two.port} a\na A {two.host}\n",
        }
        large = "X-Padding: " + 1300 * "x" + "\r\n"
        door.settimeout(5)
        with (
            NameServer(zones) as nsd,
            Server(extra=dns(nsd.port), transports=("udp", "tcp")) as server,
            Phone(server.address) as alice,
        ):

            def ask(domain: str, headers: str = "") -> None:
                alice.send(alice.request("MESSAGE", f"sip:carol@{domain}", headers=headers))

            for count in (1, 2):  # asked for whether it has TCP, and known
                ask("datagrams.example.net", large)
                until(lambda count=count: len(two.requests("MESSAGE")) == count)
            ask("both.example.net", large)
            connection, _ = door.accept()
            with connection:
                connection.settimeout(3)
                assert connection.recv(7) == b"MESSAGE"
            until(lambda: len(one.requests("MESSAGE")) == 1)  # as a datagram, for nobody answered
            ask("both.example.net")
            until(lambda: len(one.requests("MESSAGE")) == 2)
            assert server.stats()["total"]["names_asked"] == 4


LARGE_PLANS = """
from fastsip.policy import fork, target
def route(request):
    if request.user == "hop":
        return fork(target("sip:c@192.0.2.1", hop="sip:ADDRESS"))
    return fork("sip:c@both.example.net", "sip:d@gw.example.net:PORT")
"""


def test_large_requests_of_plans_go_where_there_is_tcp(peers: tuple[Gateway, Gateway]) -> None:
    """To a name in a fork, and to an address that leaves the transport open; a refusal leads back to UDP."""
    one, two = peers
    two.dead = True  # or it would have answered before
    large = "X-Padding: " + 1300 * "x" + "\r\n"
    with socket.create_server((one.host, one.port)) as door:
        door.settimeout(5)
        srv = f"_sip._udp SRV 1 1 {one.port} a\n_sip._tcp SRV 1 1 {one.port} a\na A {one.host}\n"
        with NameServer({"both.example.net": srv, "example.net": f"gw A {two.host}\n"}) as nsd:
            server = Server(
                extra={**dns(nsd.port), "policy": {"module": "my_large"}}, transports=("udp", "tcp")
            )
            code = LARGE_PLANS.replace("PORT", str(two.port)).replace("ADDRESS", f"{one.host}:{one.port}")
            (server.folder / "my_large.py").write_text(code)
            with server, Phone(server.address) as alice:

                def ask(user: str, headers: str = large) -> None:
                    alice.send(alice.request("MESSAGE", f"sip:{user}@{server.host}", headers=headers))

                ask("name", "")
                until(lambda: len(one.requests("MESSAGE")) == 1)
                ask("name")
                connection, _ = door.accept()
                with connection:
                    connection.settimeout(3)
                    ask("hop")
                    seen = b""
                    while b"MESSAGE sip:c@both" not in seen or b"MESSAGE sip:c@192.0.2.1" not in seen:
                        seen += connection.recv(65536)
                    door.close()  # from now on it refuses, and what is open ends without an answer
                until(lambda: len(one.requests("MESSAGE")) == 3)
                ask("name")
                until(lambda: len(one.requests("MESSAGE")) == 4)
                ask("hop")
                until(lambda: len(one.requests("MESSAGE")) == 5)


def test_large_requests_go_all_the_same_while_nobody_says_whether_there_is_tcp(peers: tuple[Gateway, Gateway]) -> None:
    """The name server is gone when the first large one comes: after the deadline it is a datagram."""
    one, _ = peers
    zone = f"_sip._udp SRV 1 1 {one.port} a\na A {one.host}\n"
    large = "X-Padding: " + 1300 * "x" + "\r\n"
    with (
        NameServer({"example.net": zone}) as nsd,
        Server(extra=dns(nsd.port, timeout=0.5), transports=("udp", "tcp")) as server,
        Phone(server.address) as alice,
    ):
        alice.send(alice.request("MESSAGE", "sip:carol@example.net"))
        until(lambda: len(one.requests("MESSAGE")) == 1)
        with nsd.silent():
            begun = time.monotonic()
            alice.send(alice.request("MESSAGE", "sip:carol@example.net", headers=large))
            until(lambda: len(one.requests("MESSAGE")) == 2)
            assert 0.3 < time.monotonic() - begun < 2


POLICY = """
from fastsip.policy import fork, hunt, target

def route(request):
    if request.user == "fork":
        return fork("sip:a@example.net", "sip:b@gw.example.net:PORT")
    if request.user == "hunt":
        return hunt("sip:a@nobody.example.net", "sip:b@example.net")
    if request.user == "route":
        return fork(target("sip:c@192.0.2.1", routes=("<sip:example.net;lr>",)))
    return None
"""


@pytest.mark.parametrize("user", ["fork", "hunt", "route"])
@pytest.mark.parametrize("dead", [False, True])
def test_policies(peers: tuple[Gateway, Gateway], zones: NameServer, user: str, dead: bool) -> None:
    one, two = peers
    one.dead = dead
    server = Server(extra={**dns(zones.port), "policy": {"module": "my_names"}})
    (server.folder / "my_names.py").write_text(POLICY.replace("PORT", str(two.port)))
    with server, Caller(server.address) as alice:
        for _ in range(2):
            call = alice.call(f"sip:{user}@{server.host}")
            assert call.status == 200
            call.hang_up()
        uri = {"fork": "sip:a@example.net", "hunt": "sip:b@example.net", "route": "sip:c@192.0.2.1"}[user]
        if user == "fork":
            time.sleep(0.2)  # the other one has answered, and nobody waited for this one
            assert invites(two) == [f"sip:b@gw.example.net:{two.port}"] * 2
        else:
            assert invites(two if dead else one) == [uri] * 2
            assert len(invites(one)) == (0 if dead else 2)
        assert ("cannot be reached" in server.log) == (user == "hunt")


BESIDE = """
from fastsip.policy import Plan, step, reject
def route(request):
    return Plan((step("sip:a@example.net", "sip:b@OTHER"),), on_failure=request.user == "told")
def on_failure(request, responses):
    return reject(486, ",".join(f"{one.target}={one.status}" for one in responses))
"""


@pytest.mark.parametrize("trouble", ["silent", "503"])
def test_a_name_beside_others(peers: tuple[Gateway, Gateway], zones: NameServer, trouble: str) -> None:
    """RFC 3263 4.3 in a fork: the second server is tried while another phone rings; on_failure hears of one target."""
    one, two = peers
    one.dead, one.answers = trouble == "silent", ["503 Off"]
    server = Server(extra={**dns(zones.port), "policy": {"module": "my_beside"}})
    with Gateway(["180 Ringing"], host="127.0.0.33") as other:
        (server.folder / "my_beside.py").write_text(BESIDE.replace("OTHER", f"{other.host}:{other.port}"))
        with server, Caller(server.address) as alice:
            call = alice.call(f"sip:any@{server.host}")
            assert call.status == 200 and invites(two) == ["sip:a@example.net"]
            until(lambda: bool(other.requests("CANCEL")))
            call.hang_up()
            other.answers = two.answers = ["404 Nobody"]
            refused = alice.call(f"sip:told@{server.host}")
            assert refused.answer.start_line == "SIP/2.0 486 0=404,1=404"


def test_forwards(peers: tuple[Gateway, Gateway], zones: NameServer) -> None:
    one, _ = peers
    server = Routed(extra=dns(zones.port), plan='[users."bob@127.0.0.1"]\nforward_always = "sip:desk@example.net"\n')
    with server, Caller(server.address) as alice:
        assert alice.call("sip:bob@127.0.0.1").status == 200
        assert invites(one) == ["sip:desk@example.net;cause=302"]


GATEWAYS = """
[gateways.gw1]
uri = "sip:example.net"
probe = 0.3
try_time = 0.3
[gateways.gw2]
uri = "sip:gw.example.net:{port}"
probe = 0
[[routes]]
prefix = "+1"
gateways = [["gw1"], ["gw2"]]
"""


def test_gateways(peers: tuple[Gateway, Gateway], zones: NameServer) -> None:
    """A gateway lives while one of its servers does."""
    one, two = peers
    number = "sip:+19185553333@127.0.0.1"
    with (
        Routed(extra=dns(zones.port), plan=GATEWAYS.format(port=two.port)) as server,
        Caller(server.address) as alice,
    ):
        until(lambda: len(one.requests("OPTIONS")) > 1 and len(two.requests("OPTIONS")) > 1)
        assert one.requests("OPTIONS")[0].uri == "sip:example.net"
        alice.call(number).hang_up()
        assert invites(one) == ["sip:+19185553333@example.net;user=phone"]
        one.dead = True
        assert alice.call(number).status == 200
        assert invites(two) == ["sip:+19185553333@example.net;user=phone"]
        assert server.gateways()["gw1"]["state"] == "up"
        one.dead = False
        one.answers = two.answers = ["503 Service Unavailable"]
        assert alice.call(number).status == 500
        tried = {name: about["unavailable"] for name, about in server.gateways().items()}
        assert tried == {"gw1": 1, "gw2": 1}, "once for both of its servers"


def test_a_reload_asks_others(zones: NameServer, peers: tuple[Gateway, Gateway]) -> None:
    empty = free_port(HOST)
    server = Server(extra=dns(empty, timeout=0.5))
    with server, Caller(server.address) as alice:
        assert alice.call("sip:carol@example.net").status == 500
        server.extra = dns(zones.port)
        (server.folder / "fastsip.toml").write_text(server.configuration())
        server.ctl("reload")
        assert alice.call("sip:carol@example.net").status == 200


# C4


def test_a_proxy_is_killed() -> None:
    """Two proxies of one domain, one of them preferred, killed with kill -9; calls from elsewhere go on."""
    first = Server(host="127.0.0.33", domains=["biloxi.example"])
    second = Server(host="127.0.0.34", domains=["biloxi.example"])
    zone = (
        f"_sip._udp SRV 1 1 {first.port} p1\n_sip._udp SRV 2 1 {second.port} p2\np1 A {first.host}\np2 A {second.host}"
    )
    with (
        NameServer({"biloxi.example": zone}) as nsd,
        first,
        second,
        Server(extra=dns(nsd.port)) as atlanta,
        Gateway(host="127.0.0.35") as bob,
        Caller(atlanta.address) as alice,
    ):
        for proxy in (first, second):
            with Phone(proxy.address) as phone:
                answer = phone.register("bob@biloxi.example", f"sip:bob@{bob.host}:{bob.port}")
                assert answer and answer.status == 200
        alice.call("sip:bob@biloxi.example").hang_up()
        children = list(first.children())
        first.kill()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        waited = []
        for _ in range(4):
            begun = time.monotonic()
            call = alice.call("sip:bob@biloxi.example")
            waited.append(time.monotonic() - begun)
            assert call.status == 200
            call.hang_up()
        assert 0.2 < waited[0] < 3 and max(waited[1:]) < 0.2, waited
        assert len(bob.requests("INVITE")) == 5
        vias = [len(one.all("Via")) for one in bob.requests("INVITE")]
        assert vias == [3] * 5, "through both proxies"
        assert second.stats()["total"]["calls_set_up"] == 4
        assert atlanta.stats()["total"]["names_failed"] == 1


# A name server that is silent


@pytest.fixture
def hole() -> Iterator[int]:
    """A UDP port where nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        yield sock.getsockname()[1]


def test_a_silent_name_server_stops_only_those_who_need_it(hole: int) -> None:
    with (
        Server(extra=dns(hole, timeout=1.5)) as server,
        Gateway(host="127.0.0.36") as bob,
        Caller(server.address) as alice,
        Phone(server.address) as crowd,
    ):
        answer = alice.register(f"bob@{server.host}", bob.uri.replace("sip:", "sip:bob@"))
        assert answer and answer.status == 200
        begun = time.monotonic()
        for number in range(100):
            crowd.send(crowd.request("MESSAGE", f"sip:x@host{number}.example.net"))
        slowest = 0.0
        while time.monotonic() - begun < 1.0:
            for uri in (f"sip:bob@{server.host}", f"sip:bob@{bob.host}:{bob.port}"):
                since = time.monotonic()
                alice.call(uri).hang_up()
                slowest = max(slowest, time.monotonic() - since)
        assert slowest < 0.25
        answers = []
        while len(answers) < 100 and time.monotonic() - begun < 4:
            got = crowd.receive(0.5)
            if got is not None and isinstance(got, Message) and got.status:
                answers.append((got.status, got.call_id, time.monotonic() - begun))
        assert {status for status, _, _ in answers} == {500} and len({call_id for _, call_id, _ in answers}) == 100
        assert answers[0][2] > 1.4 and answers[-1][2] < 2.5


@pytest.mark.long
def test_calls_at_full_speed_beside_a_silent_name_server(hole: int) -> None:
    """Median of five, in turn: within 1.2 x or 2 ms of what it is without."""
    with Server(domains=["example.com"], extra=dns(hole, timeout=2)) as server, Phone(server.address) as crowd:
        before, after = alone_and_beside(server, lambda: asking_for_names(crowd))
        assert server.stats()["total"]["names_asked"] > 1000
    assert after <= max(1.2 * before, before + 2)


@contextlib.contextmanager
def asking_for_names(crowd: Phone) -> Iterator[None]:
    over = threading.Event()
    flood = threading.Thread(target=_ask_for_names, args=(crowd, over))
    flood.start()
    try:
        yield
    finally:
        over.set()
        flood.join()


def _ask_for_names(crowd: Phone, over: threading.Event) -> None:
    """Some 100 requests a second to names nobody knows."""
    number = 0
    while not over.wait(0.01):
        number += 1
        crowd.send(crowd.request("MESSAGE", f"sip:x@host{number}-{time.monotonic_ns()}.example.net"))


def test_inside_another_program(peers: tuple[Gateway, Gateway], zones: NameServer) -> None:
    one, _ = peers
    listen = {"listen": [f"udp:{HOST}:0"], "domains": ["example.com"]}
    with (
        fastsip.Proxy(server=listen, dns={"servers": [f"{HOST}:{zones.port}"], **QUICK}) as proxy,
        Caller(proxy.addresses[0]) as alice,
    ):
        assert alice.call("sip:carol@example.net").status == 200
        assert invites(one) == ["sip:carol@example.net"]
