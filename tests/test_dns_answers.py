"""What is kept of answers and for how long, counted by the questions that reach a name server; time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from dns_kit import NEGATIVE_TTL, Clock, NameServer, Relay, outcome, shown
from harness import requires_peer

from fastsip.dns import Hop, NoServer

pytestmark = requires_peer("nsd")

LONG = "\n".join(f"_sip._udp.long SRV {place} 0 {5060 + place} a" for place in range(60))
EXAMPLE = f"""
a A 192.0.2.1
b A 192.0.2.2
quick 5 A 192.0.2.5
none 5 TXT "no address"
eternal 1000000 A 192.0.2.6
moment 0 A 192.0.2.7
naptr NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.naptr
_sip._udp.naptr SRV 1 0 5060 a
_sip._udp.naptr SRV 2 0 5060 b
mixed 500 NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.mixed
_sip._udp.mixed 500 SRV 1 0 5060 quick
_sip._udp.half SRV 1 10 5060 a
_sip._udp.half SRV 1 10 5070 b
chain 500 CNAME link
link 20 CNAME quick
{LONG}
"""
UDP = frozenset({"udp"})


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServer]:
    with NameServer({"example.com": EXAMPLE, "example.net": "x 5 A 192.0.2.1"}) as nsd:
        yield nsd


def with_relay(name_server: NameServer, test: Callable[[Relay, Clock], Awaitable[None]]) -> None:
    """Run `test` with a relay and a clock."""

    async def run() -> None:
        async with Relay(name_server.port) as relay:
            await test(relay, Clock())

    asyncio.run(run())


def test_nothing_is_asked_twice_within_its_time(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock)
        expected = ["udp 192.0.2.1:5060", "udp 192.0.2.2:5060"]
        assert await outcome(asked, "sip:naptr.example.com") == expected
        first = relay.total
        assert first == 6, "NAPTR, SRV, and A and AAAA of each"
        for _ in range(5):
            clock.forward(5)
            assert await outcome(asked, "sip:someone@naptr.example.com") == expected
        assert relay.total == first
        statistics = asked.statistics()
        assert (statistics["asked"], statistics["unanswered"], statistics["open"]) == (first, 0, 0)
        assert (statistics["answers"], statistics["hops"], statistics["stale"]) == (first, 1, 0)
        assert statistics["name_servers"] == [{"address": relay.address, "silent": False}]

    with_relay(name_server, test)


def test_only_what_is_past_its_time_is_asked_again(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock)
        located = await asked.locate("sip:mixed.example.com")
        assert located.expires == clock() + 5, "the shortest of all"
        clock.forward(5.1)
        relay.asked.clear()
        assert asked.cached("sip:mixed.example.com") is None
        await asked.locate("sip:mixed.example.com")
        assert set(relay.asked) == {("quick.example.com", "A")}, "not AAAA: there was none for the SOA's 30 s"

    with_relay(name_server, test)


def test_the_shortest_time_along_aliases_counts(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        located = await relay.resolver(UDP, clock).locate("sip:chain.example.com:5060")
        assert (located.expires, shown(located)) == (clock() + 5, ["udp 192.0.2.5:5060"])

    with_relay(name_server, test)


@pytest.mark.parametrize(
    ("name", "terms", "expected"),
    [
        ("quick", {}, 5),
        ("quick", {"min_ttl": 20}, 20),
        ("eternal", {"max_ttl": 3600}, 3600),
        ("moment", {}, 1),
        ("eternal", {"max_ttl": 500_000, "families": frozenset({4})}, 500_000),
    ],
)
def test_times_have_bounds(name_server: NameServer, name: str, terms: dict[str, float], expected: float) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        given = {"families": frozenset({4}), **terms}
        located = await relay.resolver(UDP, clock, **given).locate(f"sip:{name}.example.com:5060")
        assert located.expires == clock() + expected

    with_relay(name_server, test)


@pytest.mark.parametrize(
    ("name", "terms", "expected"),
    [
        ("nobody", {}, NEGATIVE_TTL),
        ("none", {}, NEGATIVE_TTL),
        ("nobody", {"negative_ttl": 10}, 10),
        ("nobody", {"negative_ttl": 1000}, NEGATIVE_TTL),
    ],
)
def test_that_there_is_none_is_kept_too(
    name_server: NameServer, name: str, terms: dict[str, float], expected: float
) -> None:
    """RFC 2308: NXDOMAIN and NODATA, as long as the SOA says and we allow."""

    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock, **terms)
        uri = f"sip:{name}.example.com"
        assert asked.cached(uri) is None
        for _ in range(3):
            assert "no address" in (await outcome(asked, uri))[0]
            with pytest.raises(NoServer) as raised:
                asked.cached(uri)
            assert not raised.value.temporary and raised.value.why
        assert relay.total == 4, "NAPTR, SRV, A, AAAA"
        clock.forward(expected - 0.1)
        await outcome(asked, uri)
        assert relay.total == 4
        clock.forward(0.2)
        await outcome(asked, uri)
        assert relay.total == 8

    with_relay(name_server, test)


def test_a_change_is_seen_when_the_time_is_over(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock)
        assert await outcome(asked, "sip:x.example.net:5060") == ["udp 192.0.2.1:5060"]
        await asyncio.to_thread(name_server.change, "example.net", "x 5 A 192.0.2.77")
        clock.forward(4)
        assert await outcome(asked, "sip:x.example.net:5060") == ["udp 192.0.2.1:5060"]
        clock.forward(1.1)
        assert await outcome(asked, "sip:x.example.net:5060") == ["udp 192.0.2.77:5060"]
        asked.forget()
        await outcome(asked, "sip:x.example.net:5060")
        assert relay.asked["x.example.net", "A"] == 3

    with_relay(name_server, test)


def test_a_hundred_at_once_ask_once(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: 0.05
        asked = relay.resolver(UDP, clock)
        found = await asyncio.gather(*(outcome(asked, f"sip:{n}@naptr.example.com") for n in range(100)))
        assert set(map(tuple, found)) == {("udp 192.0.2.1:5060", "udp 192.0.2.2:5060")}
        assert set(relay.asked.values()) == {1}

    with_relay(name_server, test)


def test_hops_that_share_records_share_questions(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: 0.05
        asked = relay.resolver(UDP, clock)
        ports = range(5060, 5160)
        found = await asyncio.gather(*(outcome(asked, f"sip:a.example.com:{port}") for port in ports))
        assert [one[0] for one in found] == [f"udp 192.0.2.1:{port}" for port in ports]
        assert relay.total == 2

    with_relay(name_server, test)


def test_one_who_stops_waiting_leaves_the_others_their_answer(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: 0.1
        asked = relay.resolver(UDP, clock)
        first, second = (asyncio.create_task(outcome(asked, "sip:naptr.example.com")) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        assert len(await second) == 2
        assert first.cancelled()

    with_relay(name_server, test)


def test_a_truncated_answer_is_asked_for_by_tcp(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        located = await relay.resolver(UDP, clock).locate("sip:long.example.com")
        assert relay.connections == 1
        assert [one.port for one in located.servers] == list(range(5060, 5092)), "32 of 60 are followed"
        assert relay.asked["a.example.com", "A"] == 1, "one host is asked for once"

    with_relay(name_server, test)


def test_no_more_is_kept_than_was_allowed(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock, cache=100, families=frozenset({4}), naptr=False)
        await asked.locate("sip:a.example.com:5060")
        for number in range(120):
            assert asked.cached("sip:a.example.com:5060") is not None, "what is used stays"
            await outcome(asked, f"sip:n{number}.example.com:5060")
        assert len(asked._lookup) <= 100 and len(asked._kept) <= 100
        before = relay.total
        await outcome(asked, "sip:n119.example.com:5060")
        assert relay.total == before
        await outcome(asked, "sip:n1.example.com:5060")
        assert relay.total == before + 1

    with_relay(name_server, test)


def test_a_hop_is_shared_out_anew_each_time(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock)
        firsts = [(await asked.locate("sip:half.example.com")).servers[0].host for _ in range(400)]
        assert 120 < firsts.count("a.example.com") < 280
        fixed = {(await asked.locate("sip:half.example.com", stable=True)).servers for _ in range(50)}
        assert len(fixed) == 1
        assert relay.total == 6

    with_relay(name_server, test)


def test_failures_are_remembered_across_requests(name_server: NameServer) -> None:
    """RFC 3263 4.3."""

    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock)
        hop = Hop.of("sip:naptr.example.com")
        first = (await asked.locate(hop)).servers[0]
        assert first.host == "a.example.com"
        asked.failed(first, 30)
        assert [one.host for one in (await asked.locate(hop)).servers] == ["b.example.com", "a.example.com"]
        other = await asked.locate("sip:a.example.com:5060")
        assert shown(other) == ["udp 192.0.2.1:5060"], "the only one there is"
        clock.forward(29)
        assert (await asked.locate(hop)).servers[0].host == "b.example.com"
        clock.forward(1.1)
        assert (await asked.locate(hop)).servers[0].host == "a.example.com"
        asked.failed(first, 30)
        asked.answered(first)
        assert (await asked.locate(hop)).servers[0].host == "a.example.com"

    with_relay(name_server, test)


def test_names_of_this_machine_are_asked_of_nobody(name_server: NameServer, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.200 naptr.example.com\n2001:db8::200 naptr.example.com\n")

    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock, hosts=hosts)
        assert await outcome(asked, "sip:naptr.example.com") == ["udp 192.0.2.200:5060", "udp [2001:db8::200]:5060"]
        assert await outcome(asked, "sip:localhost") == ["udp 127.0.0.1:5060", "udp [::1]:5060"]
        assert relay.total == 0
        hosts.write_text("192.0.2.201 naptr.example.com\n")
        clock.forward(6)
        assert await outcome(asked, "sip:naptr.example.com") == ["udp 192.0.2.201:5060"]

    with_relay(name_server, test)
