"""The resolver's thread, asked by others."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from dns_kit import ALL, HOST, NameServer, shown
from harness import requires_peer

from fastsip.dns import Hop, NoServer
from fastsip.launch import DnsSetup
from fastsip.process.resolving import ResolverThread

pytestmark = requires_peer("nsd")

EXAMPLE = "_sip._udp SRV 1 0 5070 a\n_sip._udp SRV 2 0 5071 a\na A 192.0.2.1"
FAMILIES = frozenset({4, 6})


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServer]:
    with NameServer({"example.com": EXAMPLE}) as nsd:
        yield nsd


@pytest.fixture
def resolving(name_server: NameServer) -> Iterator[ResolverThread]:
    thread = ResolverThread(DnsSetup(servers=[f"{HOST}:{name_server.port}"]), ALL, FAMILIES)
    yield thread
    thread.end()
    assert not [one for one in threading.enumerate() if one.name == "fastsip resolver"]


def test_asked_once_known_afterwards(resolving: ResolverThread) -> None:
    hop = Hop.of("sip:example.com")
    assert resolving.cached(hop) is None
    located = resolving.locate(hop).result(3)
    assert shown(located) == ["udp 192.0.2.1:5070", "udp 192.0.2.1:5071"]
    assert resolving.cached(hop) == located
    resolving.failed(located.servers[0], 30)
    again = resolving.cached(hop)
    assert again is not None and again.servers == located.servers[::-1]
    resolving.answered(located.servers[0])
    assert resolving.cached(hop) == located


def test_awaited_in_another_loop(resolving: ResolverThread) -> None:
    async def wait() -> list[list[str]]:
        hops = [Hop.of(f"sip:a.example.com:{port}") for port in range(5060, 5080)]
        return [shown(one) for one in await asyncio.gather(*(asyncio.wrap_future(resolving.locate(h)) for h in hops))]

    assert asyncio.run(wait()) == [[f"udp 192.0.2.1:{port}"] for port in range(5060, 5080)]


def test_no_server(resolving: ResolverThread) -> None:
    with pytest.raises(NoServer, match="no address"):
        resolving.locate(Hop.of("sip:nobody.example.com")).result(3)


def test_a_reload(resolving: ResolverThread, name_server: NameServer) -> None:
    hop = Hop.of("sip:example.com")
    first = resolving.locate(hop).result(3).servers[0]
    resolving.failed(first, 30)
    servers = [f"{HOST}:{name_server.port}"]
    resolving.follow(DnsSetup(servers=servers, naptr=False), frozenset({"udp"}), FAMILIES)
    located = resolving.locate(hop).result(3)
    assert located.servers[-1] == first, "which servers failed stays known"
    assert not any(one.type == "NAPTR" for one in located.why)


def test_who_waits_at_the_end_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((HOST, 0))
        servers = [f"{HOST}:{silent.getsockname()[1]}"]
        thread = ResolverThread(DnsSetup(servers=servers), ALL, FAMILIES)
        before = thread.locate(Hop.of("sip:example.net"))
        time.sleep(0.1)
        thread.follow(DnsSetup(servers=servers), ALL, FAMILIES)
        after = thread.locate(Hop.of("sip:example.com"))
        time.sleep(0.1)
        begun = time.monotonic()
        thread.end()
        for waiting in (before, after, thread.locate(Hop.of("sip:example.com"))):
            with pytest.raises(NoServer, match="closed"):
                waiting.result(1)
        assert time.monotonic() - begun < 1
