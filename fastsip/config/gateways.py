"""What is wrong with `gateways` and `routes` beyond one key, and what processes are handed of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastsip._message import Uri
from fastsip._targets import SLOTS
from fastsip.dns.hop import Hop, address_port, address_transport
from fastsip.errors import ParseError
from fastsip.launch import GatewayAddress, GatewaySetup, RouteSetup
from fastsip.routes.numbers import context_of
from fastsip.routes.patterns import ALLOWED as SLOW
from fastsip.routes.patterns import is_slow

from .reading import Reader
from .schema import Gateway, Tables
from .values import bracketed, is_address

SENT = ("udp", "tcp", "tls")
"""Transports by which a gateway can be reached: nobody connects to the other end of a WebSocket."""


def check(reader: Reader, raw: dict[str, Any], tables: Tables) -> None:
    """Report gateways that cannot be reached, and routes that contradict each other."""
    if len(tables.gateways) > SLOTS:
        reader.problem("gateways", f"expected at most {SLOTS} gateways, found {len(tables.gateways)}")
    for name, gateway in tables.gateways.items():
        if wrong := _unreachable(gateway, tables) or _here(gateway, tables):
            reader.problem(f"gateways.{name}.uri", wrong, value=str(gateway.uri))
    given = raw.get("gateways", {})
    seen: dict[tuple[str, str, str | None], str] = {}
    for index, route in enumerate(tables.routes):
        key = f"routes[{index}]"
        means = [(name, value) for name in ("prefix", "regex", "domain") if (value := getattr(route, name)) is not None]
        if len(means) != 1:
            reader.problem(key, f"expected exactly one of prefix, regex and domain, found {len(means)}")
            continue
        kind, value = means[0]
        meaning = kind, str(value), context_of(route.context) if route.context is not None else None
        if meaning in seen and kind != "regex":
            reader.problem(f"{key}.{kind}", f"the same as {seen[meaning]}", value=str(value))
        seen.setdefault(meaning, key)
        if kind == "regex" and is_slow(str(value)):
            reader.problem(f"{key}.regex", SLOW, value=str(value))
        if kind == "domain" and value in tables.server.domains:
            reader.problem(f"{key}.domain", "expected somebody else's: this is one of server.domains", str(value))
        for unfit in ("context", "shortest") if kind == "domain" else ():
            if getattr(route, unfit):
                reader.problem(f"{key}.{unfit}", "is about numbers: it does not go together with domain")
        for group in route.gateways:
            twice: set[str] = set()
            if not group:
                reader.problem(f"{key}.gateways", "a group names no gateway")
            for name in group:
                if group.count(name) > 1 and name not in twice:
                    twice.add(name)
                    reader.problem(f"{key}.gateways", f'"{name}" is in a group twice: its weight says how much it gets')
                if name not in given:
                    known = ", ".join(given) or "none"
                    reader.problem(f"{key}.gateways", f'no gateway is called "{name}" (there are: {known})')


def addresses(tables: Tables, slots: Sequence[int]) -> list[GatewayAddress]:
    """Where those are that are no names. `slots` are those of `in_table`."""
    found = []
    for slot, gateway in zip(slots, tables.gateways.values(), strict=True):
        hop = Hop.of(Uri(gateway.uri))
        if is_address(hop.host):
            found.append(GatewayAddress(slot, hop.host, address_port(hop), gateway.trusted, address_transport(hop)))
    return found


def in_table(tables: Tables) -> list[tuple[str, int, int]]:
    """Name, weight and limit of each, as the target table is told of them."""
    return [(name, gateway.weight, gateway.calls) for name, gateway in tables.gateways.items()]


def gateway_setups(tables: Tables, slots: Sequence[int]) -> list[GatewaySetup]:
    """`slots` are those of `in_table`."""
    return [
        GatewaySetup(
            slot=slot,
            name=name,
            uri=str(gateway.uri),
            weight=gateway.weight,
            trusted=gateway.trusted,
            probe=gateway.probe,
            try_time=gateway.try_time,
            calls=gateway.calls,
        )
        for slot, (name, gateway) in zip(slots, tables.gateways.items(), strict=True)
    ]


def route_setups(tables: Tables) -> list[RouteSetup]:
    return [
        RouteSetup(
            gateways=[list(group) for group in route.gateways],
            prefix=route.prefix,
            regex=None if route.regex is None else str(route.regex),
            domain=None if route.domain is None else str(route.domain),
            strip=route.strip,
            add=route.add,
            shortest=route.shortest,
            context=context_of(route.context) if route.context is not None else None,
        )
        for route in tables.routes
    ]


def _here(gateway: Gateway, tables: Tables) -> str | None:
    """Why what is sent there would come back."""
    uri = Uri(gateway.uri)
    host = bracketed(uri.host or "")
    if host in tables.server.domains:
        return "expected another host: this is one of server.domains, and its requests would be taken for our own"
    hop = Hop.of(uri)
    if any((hop.host, address_port(hop)) in ((one.host, one.port), one.public) for one in tables.server.listen):
        return "expected another address: this server listens there"
    return None


def _unreachable(gateway: Gateway, tables: Tables) -> str | None:
    """Why nothing could be sent there, None if it can."""
    try:
        uri = Uri(gateway.uri)
    except ParseError:
        return 'expected a SIP URI such as "sip:192.0.2.7:5060"'
    if uri.scheme == "tel":
        return 'expected a SIP URI such as "sip:192.0.2.7:5060": a number is what a gateway is asked for'
    hop = Hop.of(uri)
    if wrong := _not_sent(hop, tables):
        return wrong
    if gateway.trusted and not is_address(hop.host):
        return (
            f'expected an address in place of "{hop.host}", such as "sip:192.0.2.7:5060", with trusted = true: whom to '
            "trust has to be known by address (auth.trusted names networks)"
        )
    return None


def _not_sent(hop: Hop, tables: Tables) -> str | None:
    """Why no transport leads there, None if one does; which one that is, of a name only DNS may know."""
    if hop.transport not in (None, *SENT):
        why = ": nobody connects to the other end of a WebSocket" if hop.transport in ("ws", "wss") else ""
        return f"expected transport=udp, tcp or tls{why}"
    if hop.sips and hop.transport == "udp":
        return "expected transport=tls, or none: what is asked for by sips does not go by udp"
    wanted: tuple[str, ...] = (address_transport(hop),)
    if hop.transport is None and not hop.sips and not is_address(hop.host):
        wanted = SENT
    listening = {one.transport for one in tables.server.listen}
    if listening.intersection(wanted):
        return None
    sent = [f"transport={one}" for one in SENT if one in listening and not hop.sips]
    port = 5061 if wanted == ("tls",) else 5060
    listen = f'"{wanted[0]}:{bracketed(tables.server.listen[0].host)}:{port}" in server.listen'
    return f"nothing is sent by {' or '.join(wanted)} here: expected {' or '.join([*sent, listen])}"
