"""Whatever strangers have in their zones: servers that can be sent to, or NoServer, in time. No name server.

Zones are made up at random from names that point at each other, with records nobody should have among them.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random

import dns.message
import dns.rcode
import dns.rrset
import pytest

from fastsip.dns import DnsSetup, Hop, NoServer, Resolver
from fastsip.dns.errors import NoAnswer
from fastsip.dns.records import Naptr, Record, Said, Srv, read

ROUNDS = 1500
NAMES = [
    "a",
    "b",
    "c",
    "_sip._udp.a",
    "_sip._tcp.a",
    "_sips._tcp.a",
    "_sip._ws.b",
    "_sip._udp.b",
    "x\\032y",
    "",
    "-",
    "9",
]
SERVICES = ["SIP+D2U", "SIP+D2T", "SIPS+D2T", "SIP+D2W", "SIPS+D2W", "SIPS+D2U", "E2U+sip", "", "\x1b[2J", "sip+d2u"]
TRANSPORTS = ["udp", "tcp", "tls", "ws", "wss", "sctp", None, None, None]


def record(kind: str, random: Random) -> Record:
    if kind == "NAPTR":
        regexp = random.choice(["", "", "", "!^.*$!sip:a@b!", "!(("])
        flags = random.choice(["s", "S", "a", "u", "", "p", "\0"])
        order, preference = random.randrange(3), random.randrange(65536)
        return Naptr(order, preference, flags, random.choice(SERVICES), regexp, random.choice(NAMES))
    if kind == "SRV":
        port = random.choice([0, 5060, 5061, 65535])
        return Srv(random.randrange(3), random.choice([0, 0, 1, 65535]), port, random.choice(NAMES))
    return "192.0.2.1" if kind == "A" else "2001:db8::1"


@pytest.mark.parametrize("seed", range(4))
def test_any_zone(seed: int) -> None:
    random = Random(seed)

    async def ask(name: str, kind: str, patience: float) -> Said:
        assert kind in ("NAPTR", "SRV", "A", "AAAA") and patience <= 3
        fate = random.random()
        if fate < 0.1:
            raise NoAnswer("SERVFAIL")
        if fate < 0.2:
            return Said((), 30, random.choice(NAMES[:3]))
        if fate < 0.45:
            return Said((), random.choice([None, 0, 30]), None)
        count = random.choice([1, 1, 2, 5, 64])
        return Said(tuple(record(kind, random) for _ in range(count)), random.choice([0, 60, 2**31]), None)

    async def run() -> None:
        found = 0
        for _ in range(ROUNDS):
            sent = frozenset(one for one in ("udp", "tcp", "tls", "ws", "wss") if random.random() < 0.6)
            families = random.choice([frozenset({4}), frozenset({6}), frozenset({4, 6})])
            resolver = Resolver(
                DnsSetup(naptr=random.random() < 0.9), sent, families=families, ask=ask, hosts=Path("/nonexistent")
            )
            host = random.choice(["a", "b", "c", "192.0.2.1", "2001:db8::1", "localhost", "", "1.2", "A."])
            port = random.choice([None, None, 0, 5070])
            hop = Hop(host, port, random.choice(TRANSPORTS), random.random() < 0.3, random.random() < 0.2)
            try:
                located = await resolver.locate(hop)
            except NoServer as error:
                assert error.reason
                continue
            found += 1
            assert located.servers and located.expires > time.monotonic() - 1
            for server in located.servers:
                assert server.transport in sent and 0 < server.port < 65536
                assert server.v6 == (":" in server.address) and (6 if server.v6 else 4) in families
                assert not hop.sips or server.transport in ("tls", "wss")
                assert not hop.transport or hop.sips or server.transport == hop.transport
            again = resolver.cached(hop)
            assert again is not None and sorted(again.servers) == sorted(located.servers)
        assert found > ROUNDS / 10

    asyncio.run(run())


def test_records_of_strangers_do_not_command_terminals() -> None:
    assert "\x1b" not in str(Naptr(1, 1, "s", "\x1b[2J\x9b", '"\\', "a"))


def response(*answers: str, rcode: str = "NOERROR", authority: tuple[str, ...] = ()) -> dns.message.Message:
    found = dns.message.make_response(dns.message.make_query("a.example.", "A"))
    found.set_rcode(dns.rcode.from_text(rcode))
    found.answer = [dns.rrset.from_text(*one.split(None, 4)) for one in answers]
    found.authority = [dns.rrset.from_text(*one.split(None, 4)) for one in authority]
    return dns.message.from_wire(found.to_wire())


SOA = "example. 600 IN SOA ns.example. h.example. 1 2 3 4 25"


def test_what_responses_say() -> None:
    assert read(response("a.example. 60 IN A 192.0.2.1")) == Said(("192.0.2.1",), 60, None)
    assert read(response("a.example. 60 IN CNAME b.Example.", "b.example. 5 IN A 192.0.2.1")).ttl == 5
    assert read(response("a.example. 60 IN CNAME b.Example.")) == Said((), 60, "b.example")
    assert read(response("a.example. 60 IN CNAME b.example.", authority=(SOA,))) == Said((), 25, None)
    assert read(response("a.example. 60 IN CNAME b.example.", rcode="NXDOMAIN")).alias is None
    assert read(response(authority=(SOA,))) == Said((), 25, None)
    assert read(response(rcode="NXDOMAIN", authority=(SOA,))) == Said((), 25, None)
    assert read(response()) == Said((), None, None)
    assert read(response("other.example. 60 IN A 192.0.2.66")) == Said((), None, None), "not what was asked for"


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
def test_what_is_no_answer(rcode: str) -> None:
    with pytest.raises(NoAnswer, match=rcode):
        read(response(rcode=rcode))
