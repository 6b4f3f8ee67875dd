"""Gateways by TCP and TLS: calls through them and from them, whom to trust, what is wrong with one, OPTIONS."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from dns_kit import HOST, NameServer
from gateway_kit import Caller, Gateway, Routed, StreamGateway, until
from harness import Message, requires_peer
from harness.stream import SecurePhone, StreamPhone
from routes_kit import gateway as setup_of
from routes_kit import target_table
from stream_kit import StreamServer, trusting

from fastsip._targets import DOWN, UP, TargetTable
from fastsip.launch import TlsSetup
from fastsip.routes.prober import Heard, Probing
from fastsip.routes.sender import OptionsSender

AT, ELSEWHERE, OUTSIDE = "127.0.0.5", "127.0.0.6", "127.0.0.9"
TRANSPORTS = ["tcp", "tls"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("certificates")))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Nobody believes it."""
    return Authority(Path(tmp_path_factory.mktemp("strangers")), "Other Authority")


def context(authority: Authority, *names: str) -> ssl.SSLContext:
    """Of a gateway whose certificate is for these."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*authority.sign(*names))
    return made


def made(transport: str, authority: Authority, *names: str, **more: Any) -> StreamGateway:
    """A gateway; its certificate is for its address, unless for `names`."""
    return StreamGateway(context(authority, *(names or (AT,))) if transport == "tls" else None, **more)


def refused(authority: Authority, stranger: Authority) -> StreamGateway:
    gateway = made("tcp", authority)
    gateway.leave()
    return gateway


def refused_tls(authority: Authority, stranger: Authority) -> StreamGateway:
    gateway = made("tls", authority)
    gateway.leave()
    return gateway


def of_another(authority: Authority, stranger: Authority) -> StreamGateway:
    return made("tls", authority, "gw.example.net")


def of_nobody(authority: Authority, stranger: Authority) -> StreamGateway:
    return made("tls", stranger)


WRONG = [refused, refused_tls, of_another, of_nobody]


class RoutedStreams(StreamServer, Routed):
    """On UDP, TCP and TLS, with gateways."""

    def __init__(self, authority: Authority, plan: str, **more: Any) -> None:
        super().__init__(authority, {"verify_client": "ask"}, names=("127.0.0.1", "example.com"), plan=plan, **more)

    def about(self, name: str) -> dict[str, Any]:
        return self.gateways()[name]


def table(name: str, uri: str, **more: object) -> str:
    """Of one gateway."""
    keys = {"uri": uri, "probe": 0, "try_time": 9, **more}
    return f"[gateways.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def route(prefix: str, *gateways: str) -> str:
    """To one after another."""
    return f'[[routes]]\nprefix = "{prefix}"\ngateways = {json.dumps([[one] for one in gateways])}\n'


def number(prefix: str) -> str:
    return f"sip:{prefix}5553333@127.0.0.1;user=phone"


class Country:
    """A server with gateways of all kinds, each with a prefix of its own, behind each of them `good`."""

    def __init__(self, stack: ExitStack, authority: Authority, stranger: Authority) -> None:
        self.gateways: dict[str, StreamGateway] = {}
        self._stack = stack
        self.good = stack.enter_context(Gateway())
        self.plan = table("good", self.good.uri)
        self.add("tcp", made("tcp", authority), calls=1)
        self.add("tls", made("tls", authority), calls=1)
        for wrong in WRONG:
            self.add(wrong.__name__, wrong(authority, stranger), calls=1)
        self.add("silent", made("tcp", authority, answers=[]), try_time=0.4)
        self.add("probed", made("tls", stranger), probe=0.3)
        domain = made("tls", authority, "gw.example.net")
        self.add("sips", domain, f"sips:{AT}:{domain.port}", probe=30)
        self.add("maddr", domain, f"sip:gw.example.net:{domain.port};transport=tls;maddr={AT}", probe=30)
        self.server = stack.enter_context(RoutedStreams(authority, self.plan, workers=2))

    def add(self, name: str, gateway: StreamGateway, uri: str = "", **more: object) -> None:
        self.gateways[name] = self._stack.enter_context(gateway)
        prefix = f"+191{len(self.gateways):02}"
        self.plan = table(name, uri or gateway.uri, **more) + self.plan + route(prefix, name, "good")

    def number(self, name: str) -> str:
        return number(f"+191{[*self.gateways].index(name) + 1:02}")

    def invites(self, name: str) -> list[Message]:
        return self.gateways[name].requests("INVITE")


@pytest.fixture(scope="module")
def country(authority: Authority, stranger: Authority) -> Iterator[Country]:
    with ExitStack() as stack:
        yield Country(stack, authority, stranger)


@pytest.fixture
def alice(country: Country) -> Iterator[Caller]:
    with Caller(country.server.address, host=OUTSIDE) as made:
        yield made


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_calls_through_a_gateway(country: Country, alice: Caller, transport: str) -> None:
    """From INVITE to BYE of either side; of a worker all on one connection."""
    gateway, server = country.gateways[transport], country.server
    call = alice.call(country.number(transport))
    (invite,) = gateway.requests("INVITE")
    user = country.number(transport).partition("@")[0]
    assert invite.uri == f"{user}@{AT}:{gateway.port};transport={transport};user=phone"
    assert invite.all("Via")[0].startswith(f"SIP/2.0/{transport.upper()} 127.0.0.1:")
    until(lambda: gateway.requests("ACK") and server.about(transport)["open"] == 1)
    alice.call(country.number(transport)).hang_up()
    assert len(gateway.requests("INVITE")) == 1, "it has as many as it may"
    call.hang_up()
    assert gateway.requests("BYE")
    until(lambda: server.about(transport)["open"] == 0)

    alice.call(country.number(transport))
    until(lambda: server.about(transport)["open"] == 1)
    gateway.hang_up(gateway.requests("INVITE")[1])
    until(lambda: (bye := alice.receive()) is not None and bye.method == "BYE" and not alice.respond(bye, 200))
    until(lambda: server.about(transport)["state"] == "up")
    assert gateway.accepted <= server.workers
    listed = next(one for one in server.ctl("gateways") if one["name"] == transport)
    assert (listed["uri"], listed["transport"], listed["calls"]) == (gateway.uri, transport, 2)
    assert (listed["ringing"], listed["open"], listed["timeouts"]) == (0, 0, 0)

    before = server.stats()["total"]["connections"]
    gateway.leave()
    until(lambda: server.stats()["total"]["connections"] <= before - gateway.accepted)
    gateway.come_back()
    alice.call(country.number(transport)).hang_up()
    assert len(gateway.requests("INVITE")) == 3, "the next call opens another connection"


def test_sips_and_the_address_of_a_domain(country: Country, alice: Caller) -> None:
    """`sips:` is TLS; with `maddr` the certificate is for the domain that stands before it."""
    alice.call(country.number("sips")).hang_up()
    assert not country.invites("sips"), "its certificate is not for its address"
    for _ in range(3):
        alice.call(country.number("maddr")).hang_up()
    invite = country.invites("maddr")[0]
    called = country.gateways["maddr"]
    # Its Contact says its address, and who is there is who was called.
    until(lambda: len(called.requests("ACK")) == len(called.requests("BYE")) == 3)
    user, port = country.number("maddr").partition("@")[0], country.gateways["maddr"].port
    assert invite.uri == f"{user}@gw.example.net:{port};transport=tls;maddr={AT};user=phone"
    until(lambda: all(country.server.about(name)["probe"] for name in ("sips", "maddr")))
    assert [country.server.about(name)["probe"]["status"] for name in ("sips", "maddr")] == [None, 200]
    assert [country.server.about(name)["transport"] for name in ("sips", "maddr")] == ["tls", "tls"]


@pytest.mark.parametrize("wrong", [one.__name__ for one in WRONG])
def test_the_next_gateway_at_once(country: Country, alice: Caller, wrong: str) -> None:
    """Where nobody accepts, or not who it should be: not after try_time. It counts as silence does."""
    for times in range(1, 5):
        begun = time.monotonic()
        alice.call(country.number(wrong)).hang_up()
        assert time.monotonic() - begun < 2
        found = country.server.about(wrong)
        assert (found["timeouts"], found["failures"], found["calls"]) == (min(times, 3),) * 3
        assert (found["ringing"], found["open"]) == (0, 0)
        assert found["state"] == ("down" if times >= 3 else "up")
    assert not country.gateways[wrong].received


def test_a_connection_that_breaks_before_an_answer(country: Country, alice: Caller) -> None:
    silent, server = country.gateways["silent"], country.server
    alice.call(country.number("silent")).hang_up()
    assert (len(country.invites("silent")), server.about("silent")["timeouts"]) == (1, 1)
    silent.leave()
    begun = time.monotonic()
    alice.call(country.number("silent")).hang_up()
    assert time.monotonic() - begun < 0.4
    assert (server.about("silent")["timeouts"], server.about("silent")["ringing"]) == (2, 0)


def test_what_the_prober_finds_dead_is_skipped_until_it_is_back(
    country: Country, alice: Caller, authority: Authority
) -> None:
    probed, server = country.gateways["probed"], country.server
    until(lambda: server.about("probed")["state"] == "down")
    alice.call(country.number("probed")).hang_up()
    assert server.about("probed")["calls"] == 0
    assert server.log.count("gateway probed cannot be asked: ") == 1, "once, and not each time"
    probed.context = context(authority, AT)
    until(lambda: server.about("probed")["state"] == "up")
    assert server.about("probed")["probe"]["status"] == 200
    alice.call(country.number("probed")).hang_up()
    assert (server.about("probed")["calls"], len(country.invites("probed"))) == (1, 1)


def test_who_is_trusted(authority: Authority) -> None:
    """A gateway that calls: by its address and any port, and by no transport that is less safe than its own."""
    with ExitStack() as stack:
        other = stack.enter_context(Gateway())
        plan = table("other", other.uri) + route("+1918", "other")
        plan += table("plain", f"sip:{AT};transport=tcp", trusted=True)
        plan += table("secure", f"sips:{ELSEWHERE}", trusted=True)
        users = [("alice", "x", "127.0.0.1")]
        server = stack.enter_context(RoutedStreams(authority, plan, users=users, required=["*"]))
        trust = trusting(server)

        def status(transport: str, host: str) -> int:
            with ExitStack() as own:
                if transport == "udp":
                    return own.enter_context(Caller(server.address, host=host)).call(number("+1918")).status
                there = (server.host, server.secure_port) if transport == "tls" else server.address
                secure = transport == "tls"
                phone = SecurePhone(there, context=trust, host=host) if secure else StreamPhone(there, host=host)
                own.enter_context(phone)
                phone.send(phone.request("INVITE", number("+1918")))
                while (answer := phone.receive()) is not None and answer.status < 200:
                    pass
                assert answer is not None
                return answer.status

        assert [status(one, AT) for one in ("udp", "tcp", "tls")] == [407, 200, 200]
        assert [status(one, ELSEWHERE) for one in ("udp", "tcp", "tls")] == [407, 407, 200]
        assert [status(one, OUTSIDE) for one in ("udp", "tcp", "tls")] == [407, 407, 407]


def asking(listening: tuple[str, str], tls: TlsSetup | None, uri: str) -> Heard | None:
    async def ask() -> Heard | None:
        sender = OptionsSender([listening], tls=tls)
        return await asyncio.wait_for(sender.send(0, uri), 3)

    return asyncio.run(ask())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_options(authority: Authority, transport: str) -> None:
    """A connection each, from our address."""
    tls = TlsSetup(ca_file=authority.file)
    with made(transport, authority, answers=[]) as gateway:
        for _ in range(2):
            assert asking((transport, "127.0.0.3"), tls, gateway.uri) == Heard(200)
        request = gateway.received[0]
        assert (request.method, request.uri, request.source[0]) == ("OPTIONS", gateway.uri, "127.0.0.3")
        assert request.one("Via").startswith(f"SIP/2.0/{transport.upper()} 127.0.0.3:")
        assert gateway.accepted == 2
        gateway.dead = True
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(OptionsSender([], tls=tls).send(0, gateway.uri), 0.2))


@pytest.mark.parametrize("wrong", WRONG)
def test_options_to_the_wrong_one(
    authority: Authority, stranger: Authority, wrong: Callable[..., StreamGateway]
) -> None:
    with wrong(authority, stranger) as gateway:
        begun = time.monotonic()
        with pytest.raises(OSError, match=r"not for 127\.0\.0\.5|unable to get|Connect call failed"):
            asking((gateway.transport, "127.0.0.3"), TlsSetup(ca_file=authority.file), gateway.uri)
        assert time.monotonic() - begun < 1


def test_options_show_our_certificate_and_may_believe_everyone(authority: Authority, stranger: Authority) -> None:
    strict = context(stranger, "gw.example.net")
    strict.load_verify_locations(authority.file)
    strict.verify_mode = ssl.CERT_REQUIRED
    with StreamGateway(strict) as gateway:
        ours = [authority.sign("127.0.0.1")]
        assert asking(("tls", "127.0.0.3"), TlsSetup(certificates=ours, verify_server=False), gateway.uri) == Heard(200)
        with pytest.raises(OSError):  # the alert, or the end, whatever is read first
            asking(("tls", "127.0.0.3"), TlsSetup(verify_server=False), gateway.uri)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_prober_finds_it_dead_and_alive_again(authority: Authority, transport: str) -> None:
    table = target_table()
    table.assign([("g0", 1, 0)])

    async def until_it_is(state: int, status: int) -> None:
        while table.state(0) != state or table.status(0)["probe_status"] != status:
            await asyncio.sleep(0.01)

    async def play(gateway: StreamGateway, table: TargetTable) -> None:
        sender = OptionsSender([(transport, "127.0.0.3")], tls=TlsSetup(ca_file=authority.file))
        setup = setup_of(0, "g0", uri=gateway.uri, probe=0.05, try_time=5)
        running = asyncio.create_task(Probing(table, [setup], sender.send).run())
        await asyncio.wait_for(until_it_is(UP, 200), 2)
        gateway.leave()
        await asyncio.wait_for(until_it_is(DOWN, 0), 2)
        gateway.come_back()
        await asyncio.wait_for(until_it_is(UP, 200), 2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        sender.close()

    with made(transport, authority) as gateway:
        asyncio.run(play(gateway, table))


@requires_peer("nsd")
def test_a_gateway_that_is_a_name(authority: Authority) -> None:
    """DNS says where and by what; the certificate is the domain's, not the host's that DNS names."""
    with ExitStack() as stack:
        first = stack.enter_context(made("tls", authority, "one.example.org"))
        second = stack.enter_context(made("tls", authority, "two.example.net", name="two.example.net"))
        third = stack.enter_context(made("tcp", authority))
        zones = {
            "example.net": "two A 127.0.0.5\n",
            "example.org": (
                '@ NAPTR 1 1 "s" "SIPS+D2T" "" _sips._tcp\n'
                f"_sips._tcp SRV 1 1 {first.port} one\none A {AT}\n_sip._tcp.three SRV 1 1 {third.port} one\n"
            ),
        }
        name_server = stack.enter_context(NameServer(zones))
        plan = table("one", "sip:example.org", probe=30)
        plan += table("two", f"sip:two.example.net:{second.port};transport=tls", probe=30)
        plan += table("three", "sip:three.example.org;transport=tcp", probe=30)
        plan += route("+1918", "one", "two") + route("+33", "three")
        extra = {"dns": {"servers": [f"{HOST}:{name_server.port}"], "timeout": 2}}
        server = stack.enter_context(RoutedStreams(authority, plan, extra=extra))
        alice = stack.enter_context(Caller(server.address, host=OUTSIDE))
        names = ("one", "two", "three")
        until(lambda: all(server.about(name)["probe"] for name in names))
        assert [server.about(name)["probe"]["status"] for name in names] == [None, 200, 200]
        assert [server.about(name)["transport"] for name in names] == [None, "tls", "tcp"]
        assert "the certificate is not for example.org" in server.log
        call = alice.call(number("+1918"))
        assert not first.requests("INVITE"), "its certificate is for the host"
        assert second.requests("INVITE")[0].uri.startswith("sip:+19185553333@two.example.net:")
        call.hang_up()
        until(lambda: second.requests("ACK") and second.requests("BYE"))  # its Contact says its address
        alice.call(number("+33")).hang_up()
        assert len(third.requests("INVITE")) == 1
