"""Name servers that are dead, silent, slow, refuse or lie; what is used then, and that nobody waits too long.

Times here are real, and bounds are wide.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import dns.message
import dns.rrset
import pytest
from dns_kit import HOST, Clock, NameServer, Relay, outcome, resolver, shown
from harness import free_port, requires_peer

from fastsip.dns import DnsSetup, NoServer, Resolver
from fastsip.dns.asking import IN_FLIGHT, ONE_DOMAIN, WAITING
from fastsip.dns.errors import NoAnswer
from fastsip.dns.lookup import STALE_TTL
from fastsip.dns.records import Said

pytestmark = requires_peer("nsd")

EXAMPLE = """
a A 192.0.2.1
b A 192.0.2.2
both A 192.0.2.4
both AAAA 2001:db8::4
srv NAPTR 1 1 "s" "SIP+D2U" "" _sip._udp.srv
_sip._udp.srv SRV 0 0 5070 a
_sip._udp.plain SRV 0 0 5073 a
quick 5 A 192.0.2.5
many TXT "x"
"""
UDP = frozenset({"udp"})
FOUR = frozenset({4})


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServer]:
    with NameServer({"example.com": EXAMPLE, "example.net": "a A 192.0.2.9"}) as nsd:
        yield nsd


def with_relay(name_server: NameServer, test: Callable[[Relay, Clock], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Relay(name_server.port) as relay:
            await test(relay, Clock())

    asyncio.run(run())


async def took(awaited: Awaitable[list[str]]) -> tuple[list[str], float]:
    begun = time.monotonic()
    found = await awaited
    return found, time.monotonic() - begun


def test_nobody_waits_longer_than_the_deadline(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: False
        asked = relay.resolver(UDP, timeout=1.0)
        found, seconds = await took(outcome(asked, "sip:a.example.com"))
        assert found == ["none: a.example.com: no name server could say"]
        assert 0.9 < seconds < 1.4
        with pytest.raises(NoServer) as raised:
            asked.cached("sip:a.example.com")
        assert raised.value.temporary
        assert raised.value.why[0].type == "NAPTR"

    with_relay(name_server, test)


def test_a_dead_domain_holds_up_no_other(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: False if name == "a.example.com" else None
        asked = relay.resolver(UDP, timeout=1.0)
        dead = [asyncio.create_task(took(outcome(asked, f"sip:a.example.com:{port}"))) for port in range(5000, 5100)]
        await asyncio.sleep(0.05)
        for port in range(5060, 5070):
            found, seconds = await took(outcome(asked, f"sip:b.example.com:{port}"))
            assert found == [f"udp 192.0.2.2:{port}"] and seconds < 0.3
        for found, seconds in await asyncio.gather(*dead):
            assert found[0].startswith("none") and seconds < 1.5
        assert relay.asked["a.example.com", "A"] <= 3, "all of them waited for one"

    with_relay(name_server, test)


def test_what_failed_is_not_asked_for_by_every_call(name_server: NameServer) -> None:
    """RFC 9520."""

    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: "SERVFAIL"
        asked = relay.resolver(UDP, clock)
        for _ in range(5):
            found, seconds = await took(outcome(asked, "sip:a.example.com"))
            assert found[0].startswith("none") and seconds < 0.5, "SERVFAIL is no reason to wait"
        assert relay.total == 4
        relay.handling = lambda name, kind: None
        clock.forward(2.1)
        assert await outcome(asked, "sip:a.example.com") == ["udp 192.0.2.1:5060"]

    with_relay(name_server, test)


def test_the_second_name_server_answers_for_a_silent_first(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        async with Relay(name_server.port, lambda name, kind: False) as silent:
            asked = resolver([silent.address, relay.address], UDP)
            found, seconds = await took(outcome(asked, "sip:a.example.com:5060"))
            assert found == ["udp 192.0.2.1:5060"] and 0.4 < seconds < 0.9
            found, seconds = await took(outcome(asked, "sip:b.example.com:5060"))
            assert found == ["udp 192.0.2.2:5060"] and seconds < 0.3, "the first one rests"
            before = silent.total
            await asyncio.sleep(1.1)
            silent.handling = lambda name, kind: None
            await outcome(asked, "sip:c.example.com:5060")
            await outcome(asked, "sip:d.example.com:5060")
            assert silent.total > before, "and is asked again after a second"

    with_relay(name_server, test)


@pytest.mark.parametrize("first", ["nobody listens", "SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
def test_the_second_name_server_answers_at_once_for_a_first_that_cannot(name_server: NameServer, first: str) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        async with Relay(name_server.port, lambda name, kind: first) as other:
            address = f"{HOST}:{free_port(HOST)}" if first == "nobody listens" else other.address
            asked = resolver([address, relay.address], UDP)
            found, seconds = await took(outcome(asked, "sip:srv.example.com"))
            assert found == ["udp 192.0.2.1:5070"] and seconds < 0.4

    with_relay(name_server, test)


def test_a_name_server_older_than_edns(name_server: NameServer) -> None:
    """FORMERR for what it does not know (RFC 6891 7): the question is put again without."""

    async def test(relay: Relay, clock: Clock) -> None:
        times: list[str] = []

        def once(name: str, kind: str) -> str | None:
            times.append(kind)
            return "FORMERR" if times.count(kind) == 1 else None

        relay.handling = once
        assert await outcome(relay.resolver(UDP), "sip:a.example.com:5060") == ["udp 192.0.2.1:5060"]
        assert times.count("A") == 2

    with_relay(name_server, test)


def test_a_lost_datagram_is_sent_again(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: False if relay.asked[name, kind] == 1 else None
        found, seconds = await took(outcome(relay.resolver(UDP, families=FOUR), "sip:a.example.com:5060"))
        assert found == ["udp 192.0.2.1:5060"] and 0.4 < seconds < 1.0

    with_relay(name_server, test)


def test_domains_whose_name_servers_do_not_know_naptr(name_server: NameServer) -> None:
    """They drop the question, or answer with an error: half of the time is for that."""

    async def test(relay: Relay, clock: Clock) -> None:
        for drop in (False, "SERVFAIL", "NOTIMP"):
            relay.handling = lambda name, kind, drop=drop: drop if kind == "NAPTR" else None
            asked = relay.resolver(UDP, timeout=1.0)
            located = await asked.locate("sip:plain.example.com")
            assert shown(located) == ["udp 192.0.2.1:5073"]
            assert located.expires - time.monotonic() <= 5, "not for long: there may be some"

    with_relay(name_server, test)


def test_one_family_does_not_wait_for_the_other(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: False if kind == "AAAA" else None
        asked = relay.resolver(UDP)
        found, seconds = await took(outcome(asked, "sip:both.example.com:5060"))
        assert found == ["udp 192.0.2.4:5060"] and seconds < 1.2

    with_relay(name_server, test)


def test_old_answers_are_used_while_nobody_answers(name_server: NameServer) -> None:
    """RFC 8767."""

    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock, timeout=1.0, stale=600)
        uri = "sip:srv.example.com"
        assert not (await asked.locate(uri)).stale
        clock.forward(90)
        relay.handling = lambda name, kind: False
        begun = time.monotonic()
        located = await asked.locate(uri)
        assert located.stale and shown(located) == ["udp 192.0.2.1:5070"]
        assert time.monotonic() - begun < 1.4
        asks = relay.total
        again = asked.cached(uri)
        assert again is not None and again.stale
        clock.forward(4)
        await asked.locate(uri)
        assert relay.total == asks, f"nobody is asked again for {STALE_TTL} s"
        relay.handling = lambda name, kind: None
        await asyncio.sleep(1.0)  # what was in flight has ended
        clock.forward(STALE_TTL)
        located = await asked.locate(uri)
        assert not located.stale and relay.total > asks

    with_relay(name_server, test)


def test_in_an_outage_old_answers_come_at_once(name_server: NameServer) -> None:
    """Once it is known that nobody answers, domains are not waited for one by one."""

    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock)
        for uri in ("sip:srv.example.com", "sip:plain.example.com"):
            await asked.locate(uri)
        clock.forward(90)
        relay.handling = lambda name, kind: False
        await asked.locate("sip:srv.example.com")
        found, seconds = await took(outcome(asked, "sip:plain.example.com"))
        assert found == ["udp 192.0.2.1:5073"] and seconds < 0.6

    with_relay(name_server, test)


def test_that_there_was_none_is_not_for_sure_when_nobody_answers(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock, timeout=0.5)
        assert await outcome(asked, "sip:nobody.example.com:5060") == ["none: nobody.example.com: it has no address"]
        clock.forward(90)
        relay.handling = lambda name, kind: "SERVFAIL"
        with pytest.raises(NoServer) as raised:
            await asked.locate("sip:nobody.example.com:5060")
        assert raised.value.temporary

    with_relay(name_server, test)


def test_answers_that_are_too_old_are_not_used(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock, timeout=0.5, stale=600)
        await asked.locate("sip:a.example.com:5060")
        clock.forward(700)
        relay.handling = lambda name, kind: "SERVFAIL"
        assert await outcome(asked, "sip:a.example.com:5060") == ["none: a.example.com: no name server could say"]
        never = relay.resolver(UDP, clock, stale=0)
        relay.handling = lambda name, kind: None
        await never.locate("sip:a.example.com:5060")
        relay.handling = lambda name, kind: "SERVFAIL"
        clock.forward(61)
        assert (await outcome(never, "sip:a.example.com:5060"))[0].startswith("none")

    with_relay(name_server, test)


def test_that_it_is_gone_is_not_passed_over_for_an_old_answer(name_server: NameServer) -> None:
    """NXDOMAIN is an answer."""

    async def test(relay: Relay, clock: Clock) -> None:
        asked = relay.resolver(UDP, clock, families=FOUR)
        await asked.locate("sip:quick.example.com:5060")
        await asyncio.to_thread(name_server.change, "example.com", EXAMPLE.replace("quick", "slow"))
        clock.forward(6)
        assert await outcome(asked, "sip:quick.example.com:5060") == ["none: quick.example.com: it has no address"]

    with_relay(name_server, test)


def test_answers_nobody_asked_for_are_passed_over(name_server: NameServer) -> None:
    query = dns.message.make_query("a.example.com", "A", id=1)
    forged = dns.message.make_response(query)
    forged.answer.append(dns.rrset.from_text("a.example.com.", 60, "IN", "A", "203.0.113.66"))

    async def test(relay: Relay, clock: Clock) -> None:
        for sent in (b"", b"nonsense", b"\0" * 12, forged.to_wire()):
            relay.handling = lambda name, kind, sent=sent: sent
            found = await outcome(relay.resolver(UDP, families=FOUR), "sip:a.example.com:5060")
            assert found == ["udp 192.0.2.1:5060"]

    with_relay(name_server, test)


def test_the_name_servers_of_the_system(name_server: NameServer, tmp_path: Path) -> None:
    """None is there: the answer is quick, whatever resolv.conf says; localhost and addresses need none."""
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\n")

    async def run() -> None:
        asked = resolver([], UDP, resolv_conf=path, timeout=0.5)
        assert (await outcome(asked, "sip:a.example.com"))[0].startswith("none: a.example.com: no name server")
        assert await outcome(asked, "sip:192.0.2.1") == ["udp 192.0.2.1:5060"]
        assert await outcome(asked, "sip:localhost") == ["udp 127.0.0.1:5060", "udp [::1]:5060"]

    asyncio.run(run())


def test_closing_ends_what_is_in_flight(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: False
        asked = relay.resolver(UDP)
        waiting = asyncio.create_task(outcome(asked, "sip:a.example.com"))
        await asyncio.sleep(0.1)
        await asked.close()
        assert await asyncio.wait_for(waiting, 1) == ["none: the resolver is closed"]
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) <= 1 + len(relay._tasks)

    with_relay(name_server, test)


# Without a name server


class Script:
    """Answers questions from a table."""

    def __init__(self, **answers: Said) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, name: str, kind: str, patience: float) -> Said:
        self.asked.append(f"{name} {kind}")
        found = self.answers.get(name)
        if found is None:
            raise NoAnswer("SERVFAIL")
        return found


def scripted(script: Script) -> Resolver:
    return Resolver(DnsSetup(), UDP, families=FOUR, ask=script, hosts=Path("/nonexistent"))


def test_aliases_that_a_response_does_not_follow_are_followed() -> None:
    script = Script(a=Said((), 60, "b"), b=Said((), 20, "c"), c=Said(("192.0.2.1",), 30, None))
    located = asyncio.run(scripted(script).locate("sip:a:5060"))
    assert shown(located) == ["udp 192.0.2.1:5060"]
    assert located.expires - time.monotonic() <= 20
    assert script.asked == ["a A", "b A", "c A"]


def test_aliases_in_a_circle_end() -> None:
    script = Script(a=Said((), 60, "b"), b=Said((), 60, "a"))
    with pytest.raises(NoServer) as raised:
        asyncio.run(scripted(script).locate("sip:a:5060"))
    assert "more than 8 CNAMEs" in raised.value.why[0].text
    assert len(script.asked) == 8


def test_a_flood_for_one_dead_domain_leaves_others_their_share(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: False if name.endswith("example.com") else None
        asked = relay.resolver(UDP, families=FOUR)
        flood = [asyncio.create_task(outcome(asked, f"sip:n{number}.example.com:5060")) for number in range(600)]
        await asyncio.sleep(0.2)
        found, seconds = await took(outcome(asked, "sip:a.example.net:5060"))
        assert found == ["udp 192.0.2.9:5060"] and seconds < 1
        assert len({name for name, _ in relay.asked if name.endswith("example.com")}) <= ONE_DOMAIN
        await asked.close()
        await asyncio.gather(*flood)
        assert asked.statistics()["open"] == 0 and not asked._asking._domains

    with_relay(name_server, test)


def test_too_many_questions_are_refused_and_not_queued_for_ever(name_server: NameServer) -> None:
    async def test(relay: Relay, clock: Clock) -> None:
        relay.handling = lambda name, kind: False
        asked = relay.resolver(UDP, timeout=1.0, families=FOUR, cache=100_000)
        names = [f"n{number}.example.com" for number in range(IN_FLIGHT + WAITING + 50)]
        hops = [outcome(asked, f"sip:{name}:5060") for name in names]
        found, seconds = await took(asyncio.gather(*hops))  # type: ignore[arg-type]
        assert seconds < 10
        assert all(one[0].startswith("none") for one in found)
        assert relay.total <= 3 * IN_FLIGHT

    with_relay(name_server, test)
