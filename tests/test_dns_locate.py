"""RFC 3263 by a table: what a domain's records are, what the URI is, where it leads. Against a real name server.

Every case has a domain of its own, `@` in its records and "DOMAIN" in its URI. What is common to all is in COMMON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from dns_kit import ALL, NameServer, outcome, resolver, shown
from harness import requires_peer

from fastsip.dns import Hop, NoServer

pytestmark = requires_peer("nsd")

COMMON = """
h1 A 192.0.2.1
h2 A 192.0.2.2
h3 A 192.0.2.3
h3 A 192.0.2.33
six AAAA 2001:db8::6
both A 192.0.2.4
both AAAA 2001:db8::4
empty TXT "no address"
"""
H1, H2 = "udp 192.0.2.1:5060", "udp 192.0.2.2:5060"
THREE = """
@ NAPTR 50 50 "s" "SIPS+D2T" "" _sips._tcp
@ NAPTR 90 50 "s" "SIP+D2T" "" _sip._tcp
@ NAPTR 100 50 "s" "SIP+D2U" "" _sip._udp
_sips._tcp SRV 0 1 5061 h1.example.com.
_sip._tcp SRV 0 1 5060 h2.example.com.
_sip._udp SRV 0 1 5060 h3.example.com.
"""
"""The example of RFC 3263 4.1."""
SRVS = """
_sips._tcp SRV 0 1 5071 h1.example.com.
_sip._tcp SRV 0 1 5072 h2.example.com.
_sip._udp SRV 0 1 5073 h1.example.com.
_sip._ws SRV 0 1 8080 h1.example.com.
@ A 192.0.2.99
"""
ADDRESS = "@ A 192.0.2.99"


class Case(NamedTuple):
    uri: str
    expected: list[str]
    """What is located, or one text that begins with "none" and is contained in the reason."""
    records: str = ""
    transports: str = "udp tcp tls ws wss"
    terms: dict[str, Any] = {}  # noqa: RUF012 - never changed


CASES = {
    # 4.1 and 4.2: addresses and ports in the URI
    "address": Case("sip:192.0.2.9", ["udp 192.0.2.9:5060"]),
    "address with a port": Case("sip:bob@192.0.2.9:5070", ["udp 192.0.2.9:5070"]),
    "address sips": Case("sips:192.0.2.9", ["tls 192.0.2.9:5061"]),
    "address over tcp": Case("sip:192.0.2.9;transport=tcp", ["tcp 192.0.2.9:5060"]),
    "address over tls": Case("sip:192.0.2.9;transport=TLS", ["tls 192.0.2.9:5061"]),
    "address sips over tcp": Case("sips:192.0.2.9:5099;transport=tcp", ["tls 192.0.2.9:5099"]),
    "address over ws": Case("sip:192.0.2.9;transport=ws", ["ws 192.0.2.9:80"]),
    "address sips over ws": Case("sips:192.0.2.9;transport=ws", ["wss 192.0.2.9:443"]),
    "ipv6 address": Case("sip:[2001:DB8::0:9]", ["udp [2001:db8::9]:5060"]),
    "maddr": Case("sip:DOMAIN;maddr=192.0.2.77", ["udp 192.0.2.77:5060"]),
    "maddr with the port of the URI": Case("sip:DOMAIN:5070;maddr=192.0.2.77", ["udp 192.0.2.77:5070"]),
    "maddr that is a name": Case("sip:h2.example.com;maddr=DOMAIN", [H1], "_sip._udp SRV 0 0 5060 h1.example.com."),
    "port": Case("sip:DOMAIN:5060", ["udp 192.0.2.99:5060"], SRVS),
    "port sips": Case("sips:DOMAIN:5063", ["tls 192.0.2.99:5063"], SRVS),
    "port and transport": Case("sip:DOMAIN:5063;transport=tcp", ["tcp 192.0.2.99:5063"], SRVS),
    "port, udp not sent": Case("sip:DOMAIN:5063", ["tcp 192.0.2.99:5063"], SRVS, "tcp"),
    "several addresses": Case("sip:h3.example.com:5060", ["udp 192.0.2.3:5060", "udp 192.0.2.33:5060"]),
    "both families": Case("sip:both.example.com:5060", ["udp 192.0.2.4:5060", "udp [2001:db8::4]:5060"]),
    "ipv6 preferred": Case(
        "sip:both.example.com:5060", ["udp [2001:db8::4]:5060", "udp 192.0.2.4:5060"], terms={"prefer": "ipv6"}
    ),
    "ipv6 cannot be sent": Case(
        "sip:both.example.com:5060", ["udp 192.0.2.4:5060"], terms={"families": frozenset({4})}
    ),
    "only ipv6": Case("sip:six.example.com", ["udp [2001:db8::6]:5060"]),
    "only ipv6, which cannot be sent": Case(
        "sip:six.example.com", ["none no address"], terms={"families": frozenset({4})}
    ),
    "ipv6 address that cannot be sent": Case("sip:[2001:db8::9]", ["none family"], terms={"families": frozenset({4})}),
    # 4.2: a transport in the URI, no port
    "udp": Case("sip:DOMAIN;transport=udp", ["udp 192.0.2.1:5073"], SRVS),
    "tcp": Case("sip:DOMAIN;transport=tcp", ["tcp 192.0.2.2:5072"], SRVS),
    "tls": Case("sip:DOMAIN;transport=tls", ["tls 192.0.2.1:5071"], SRVS),
    "sips over tcp": Case("sips:DOMAIN;transport=tcp", ["tls 192.0.2.1:5071"], SRVS),
    "ws": Case("sip:DOMAIN;transport=ws", ["ws 192.0.2.1:8080"], SRVS),
    "transport wins over NAPTR": Case("sip:DOMAIN;transport=tcp", ["tcp 192.0.2.2:5060"], THREE),
    "tcp without SRV": Case("sip:DOMAIN;transport=tcp", ["tcp 192.0.2.99:5060"], ADDRESS),
    "tls without SRV": Case("sip:DOMAIN;transport=tls", ["tls 192.0.2.99:5061"], ADDRESS),
    "sips over udp": Case("sips:DOMAIN;transport=udp", ["none cannot go over udp"], SRVS),
    "transport nobody knows": Case("sip:DOMAIN;transport=sctp", ["none transport sctp"], SRVS),
    "transport not sent": Case("sip:DOMAIN;transport=tcp", ["none tcp is not sent"], SRVS, "udp"),
    # 4.1: NAPTR
    "naptr": Case("sip:DOMAIN", ["tls 192.0.2.1:5061"], THREE),
    "naptr without tls": Case("sip:DOMAIN", ["tcp 192.0.2.2:5060"], THREE, "udp tcp"),
    "naptr with udp alone": Case("sip:DOMAIN", ["udp 192.0.2.3:5060", "udp 192.0.2.33:5060"], THREE, "udp"),
    "naptr sips": Case("sips:DOMAIN", ["tls 192.0.2.1:5061"], THREE),
    "naptr sips, tls not sent": Case("sips:DOMAIN", ["none tls"], THREE, "udp tcp"),
    "naptr not asked for": Case(
        "sip:DOMAIN", ["udp 192.0.2.3:5060", "udp 192.0.2.33:5060"], THREE, terms={"naptr": False}
    ),
    "naptr order": Case(
        "sip:DOMAIN",
        ["udp 192.0.2.1:5073"],
        '@ NAPTR 20 1 "s" "SIP+D2T" "" _sip._tcp\n@ NAPTR 10 9 "s" "SIP+D2U" "" _sip._udp\n' + SRVS,
    ),
    "naptr preference": Case(
        "sip:DOMAIN",
        ["tcp 192.0.2.2:5072"],
        '@ NAPTR 10 20 "s" "SIP+D2U" "" _sip._udp\n@ NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp\n' + SRVS,
    ),
    "naptr in other letters": Case(
        "sip:DOMAIN", ["tcp 192.0.2.2:5072"], '@ NAPTR 10 20 "S" "sip+d2t" "" _SIP._TCP\n' + SRVS
    ),
    "naptr to another domain": Case(
        "sip:DOMAIN", ["tcp 198.51.100.1:5080"], '@ NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp.example.net.\n' + SRVS
    ),
    "naptr with the flag a": Case(
        "sip:DOMAIN", ["tcp 192.0.2.2:5060"], '@ NAPTR 10 10 "a" "SIP+D2T" "" h2.example.com.\n' + SRVS
    ),
    "naptr with the flag u": Case(
        "sip:DOMAIN", ["udp 192.0.2.1:5073"], '@ NAPTR 10 10 "u" "SIP+D2T" "!^.*$!sip:a@b.example!" .\n' + SRVS
    ),
    "naptr with regexp and replacement": Case(
        "sip:DOMAIN",
        ["tcp 192.0.2.2:5072"],
        '@ NAPTR 10 10 "s" "SIP+D2U" "!^.*$!x!" _sip._udp\n@ NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp\n' + SRVS,
    ),
    "naptr with a regexp that is none": Case(
        "sip:DOMAIN", ["udp 192.0.2.1:5073"], '@ NAPTR 10 10 "s" "SIP+D2T" "!((!" _sip._tcp\n' + SRVS
    ),
    "naptr without replacement": Case(
        "sip:DOMAIN", ["udp 192.0.2.1:5073"], '@ NAPTR 10 10 "s" "SIP+D2T" "" .\n' + SRVS
    ),
    "naptr without flags": Case(
        "sip:DOMAIN", ["udp 192.0.2.1:5073"], '@ NAPTR 10 10 "" "SIP+D2T" "" _sip._tcp\n' + SRVS
    ),
    "naptr of other services": Case(
        "sip:DOMAIN",
        ["udp 192.0.2.1:5073"],
        '@ NAPTR 10 10 "s" "SIP+D2S" "" _sip._sctp\n@ NAPTR 10 10 "s" "SIPS+D2U" "" _sips._udp\n'
        '@ NAPTR 5 10 "u" "E2U+sip" "!^.*$!sip:a@b.example!" .\n' + SRVS,
    ),
    "naptr that leads nowhere, then one that does": Case(
        "sip:DOMAIN",
        ["udp 192.0.2.1:5073"],
        '@ NAPTR 10 10 "s" "SIP+D2T" "" _none._tcp\n@ NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp\n' + SRVS,
    ),
    "naptr whose SRV do not exist": Case(
        "sip:DOMAIN", ["tcp 192.0.2.99:5060"], '@ NAPTR 10 10 "s" "SIP+D2T" "" _none._tcp\n' + ADDRESS
    ),
    "naptr whose SRV say no": Case(
        "sip:DOMAIN",
        ["none no such service"],
        '@ NAPTR 10 10 "s" "SIP+D2T" "" _sip._tcp\n_sip._tcp SRV 0 0 0 .\n' + ADDRESS,
    ),
    "naptr of ws": Case("sip:DOMAIN", ["ws 192.0.2.1:8080"], '@ NAPTR 1 1 "s" "SIP+D2W" "" _sip._ws\n' + SRVS),
    "naptr of ws, which is not sent": Case(
        "sip:DOMAIN", ["udp 192.0.2.1:5073"], '@ NAPTR 1 1 "s" "SIP+D2W" "" _sip._ws\n' + SRVS, "udp tcp"
    ),
    "naptr of wss": Case(
        "sips:DOMAIN",
        ["wss 192.0.2.1:8443"],
        '@ NAPTR 1 1 "s" "SIPS+D2W" "" _sips._wss\n_sips._wss SRV 0 0 8443 h1.example.com.',
    ),
    # 4.1: no NAPTR
    "srv": Case("sip:DOMAIN", ["udp 192.0.2.1:5073"], SRVS),
    "srv of tcp alone": Case("sip:DOMAIN", [H2.replace("udp", "tcp")], "_sip._tcp SRV 0 0 5060 h2.example.com."),
    "srv of udp, which is not sent": Case(
        "sip:DOMAIN", ["tcp 192.0.2.99:5060"], "_sip._udp SRV 0 0 5060 h2.example.com.\n" + ADDRESS, "tcp"
    ),
    "srv sips": Case("sips:DOMAIN", ["tls 192.0.2.1:5071"], SRVS),
    "srv where tls alone is sent": Case("sip:DOMAIN", ["tls 192.0.2.1:5071"], SRVS, "tls"),
    "nothing but an address": Case("sip:DOMAIN", ["udp 192.0.2.99:5060"], ADDRESS),
    "nothing but an address, sips": Case("sips:DOMAIN", ["tls 192.0.2.99:5061"], ADDRESS),
    "in capitals": Case("sip:bob@DOMAIN", ["udp 192.0.2.1:5073"], SRVS.upper().replace("EXAMPLE", "example")),
    "no such name": Case("sip:nobody.example.com", ["none no address"]),
    "a name without addresses": Case("sip:empty.example.com:5060", ["none no address"]),
    "no host name": Case("sip:1.2.3", ["none is no host name"]),
    "invalid": Case("sip:df7jal23ls0d.invalid", ["none no address"]),
    "localhost": Case("sip:localhost", ["udp 127.0.0.1:5060", "udp [::1]:5060"]),
    "localhost below": Case("sip:sip.localhost;transport=tcp", ["tcp 127.0.0.1:5060", "tcp [::1]:5060"]),
    # 4.2: SRV records (RFC 2782)
    "srv priorities": Case(
        "sip:DOMAIN",
        ["udp 192.0.2.2:5060", "udp 192.0.2.1:5060", "udp 192.0.2.3:5060", "udp 192.0.2.33:5060"],
        "_sip._udp SRV 20 9 5060 h1.example.com.\n_sip._udp SRV 10 1 5060 h2.example.com.\n"
        "_sip._udp SRV 30 0 5060 h3.example.com.",
    ),
    "srv with both families": Case(
        "sip:DOMAIN",
        ["udp 192.0.2.4:5070", "udp [2001:db8::4]:5070", "udp 192.0.2.1:5060"],
        "_sip._udp SRV 1 0 5070 both.example.com.\n_sip._udp SRV 2 0 5060 h1.example.com.",
    ),
    "srv of one host with two ports": Case(
        "sip:DOMAIN",
        ["udp 192.0.2.1:5070", "udp 192.0.2.1:5060"],
        "_sip._udp SRV 1 0 5070 h1.example.com.\n_sip._udp SRV 2 0 5060 h1.example.com.",
    ),
    "srv that says no": Case("sip:DOMAIN;transport=udp", ["none no such service"], "_sip._udp SRV 0 0 0 .\n" + ADDRESS),
    "srv of udp says no, tcp": Case(
        "sip:DOMAIN", ["tcp 192.0.2.1:5060"], "_sip._udp SRV 0 0 0 .\n_sip._tcp SRV 0 0 5060 h1.example.com."
    ),
    "srv with port 0": Case(
        "sip:DOMAIN", [H2], "_sip._udp SRV 0 0 0 h1.example.com.\n_sip._udp SRV 1 0 5060 h2.example.com."
    ),
    "srv to a host without address": Case(
        "sip:DOMAIN", [H2], "_sip._udp SRV 0 0 5060 empty.example.com.\n_sip._udp SRV 1 0 5060 h2.example.com."
    ),
    "srv that all lead nowhere": Case(
        "sip:DOMAIN", ["none lead to no address"], "_sip._udp SRV 0 0 5060 empty.example.com.\n" + ADDRESS
    ),
    "srv to an alias": Case("sip:DOMAIN", [H1], "_sip._udp SRV 0 0 5060 alias\nalias CNAME h1.example.com."),
    # Aliases
    "alias": Case("sip:alias.DOMAIN:5060", [H1], "alias CNAME h1.example.com."),
    "alias of an alias": Case(
        "sip:one.DOMAIN:5060", [H1], "one CNAME two\ntwo CNAME three\nthree CNAME h1.example.com."
    ),
    "alias of SRV records": Case(
        "sip:DOMAIN", ["udp 192.0.2.1:5073"], "_sip._udp CNAME _udp\n_udp SRV 0 0 5073 h1.example.com."
    ),
    "alias in another zone": Case("sip:alias.DOMAIN:5060", ["udp 198.51.100.1:5060"], "alias CNAME a.example.net."),
    "alias of a whole domain": Case("sip:alias.DOMAIN", ["udp 198.51.100.1:5060"], "alias CNAME a.example.net."),
    "alias of nothing": Case("sip:alias.DOMAIN:5060", ["none no address"], "alias CNAME nobody.example.com."),
    "aliases in a circle": Case("sip:a.DOMAIN:5060", ["none no name server"], "a CNAME b\nb CNAME a"),
}


def domain(name: str) -> str:
    return f"c{list(CASES).index(name)}.example.com"


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServer]:
    parts = [COMMON]
    for name, case in CASES.items():
        parts.append(f"$ORIGIN {domain(name)}.\n{case.records}")
    net = "a A 198.51.100.1\n_sip._tcp SRV 0 0 5080 a"
    with NameServer({"example.com": "\n".join(parts), "example.net": net}) as nsd:
        yield nsd


@pytest.mark.parametrize("name", CASES)
def test_where_it_leads(name_server: NameServer, name: str) -> None:
    case = CASES[name]

    async def run() -> list[str]:
        asked = resolver([f"127.0.0.1:{name_server.port}"], frozenset(case.transports.split()), **case.terms)
        uri = case.uri.replace("DOMAIN", domain(name))
        return await outcome(asked, uri)

    found = asyncio.run(run())
    if case.expected[0].startswith("none "):
        assert found[0].startswith("none: ") and case.expected[0].removeprefix("none ") in found[0], found
    else:
        assert found == case.expected


RESPONSES = {
    "address": ("192.0.2.9", None, "UDP", ["udp 192.0.2.9:5060"]),
    "address with a port": ("192.0.2.9", 5070, "TCP", ["tcp 192.0.2.9:5070"]),
    "ipv6 address": ("[2001:db8::9]", None, "TLS", ["tls [2001:db8::9]:5061"]),
    "name with a port": ("both.example.com", 5070, "UDP", ["udp 192.0.2.4:5070", "udp [2001:db8::4]:5070"]),
    "name": ("srv", None, "UDP", ["udp 192.0.2.1:5073"]),
    "name over tls": ("srv", None, "TLS", ["tls 192.0.2.1:5071"]),
    "name without SRV": ("h1.example.com", None, "TCP", ["tcp 192.0.2.1:5060"]),
    "WebSocket": ("df7jal23ls0d.invalid", None, "WSS", ["none WebSocket connection"]),
    "no such name": ("nobody.example.com", None, "UDP", ["none no address"]),
}
"""Sent-by and transport of a Via (RFC 3263 5)."""


@pytest.mark.parametrize("name", RESPONSES)
def test_where_a_response_goes(name_server: NameServer, name: str) -> None:
    host, port, transport, expected = RESPONSES[name]

    async def run() -> None:
        asked = resolver([f"127.0.0.1:{name_server.port}"], ALL)
        located = asked.locate_response(domain("srv") if host == "srv" else host, port, transport)
        if expected[0].startswith("none "):
            with pytest.raises(NoServer, match=expected[0].removeprefix("none ")):
                await located
        else:
            assert shown(await located) == expected

    asyncio.run(run())


def test_large_requests_do_not_go_by_udp(name_server: NameServer) -> None:
    """RFC 3261 18.1.1, where nothing names a transport."""

    async def run() -> None:
        asked = resolver([f"127.0.0.1:{name_server.port}"], frozenset({"udp", "tcp"}))
        for uri, expected in {
            f"sip:{domain('srv')}": "tcp 192.0.2.2:5072",
            f"sip:{domain('naptr with udp alone')}": "tcp 192.0.2.2:5060",
            "sip:h1.example.com:5060": "tcp 192.0.2.1:5060",
            "sip:192.0.2.9": "tcp 192.0.2.9:5060",
            "sip:h1.example.com:5060;transport=udp": "udp 192.0.2.1:5060",
        }.items():
            located = await asked.locate(Hop.of(uri, reliable=True))
            assert shown(located) == [expected]

    asyncio.run(run())


def test_what_a_uri_names_is_what_a_certificate_has_to_prove(name_server: NameServer) -> None:
    async def run() -> None:
        asked = resolver([f"127.0.0.1:{name_server.port}"])
        located = await asked.locate(f"sips:bob@{domain('naptr sips')}")
        assert (located.domain, located.servers[0].host) == (domain("naptr sips"), "h1.example.com")

    asyncio.run(run())
