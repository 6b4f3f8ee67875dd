"""In which order servers are tried: priority and weight of SRV records (RFC 2782), families of addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from math import log
from typing import NamedTuple


class Server(NamedTuple):
    """Where a request can be sent."""

    transport: str
    """"udp", "tcp", "tls", "ws" or "wss"."""
    address: str
    """As text, an IPv6 one without brackets."""
    port: int
    host: str
    """The name the address belongs to: an SRV record's target, or the host itself."""
    v6: bool


class Choice(NamedTuple):
    """One SRV record with its servers; where there is none, all servers of a host."""

    weight: float
    servers: tuple[Server, ...]


Tier = tuple[Choice, ...]
"""All of one priority, no weight 0."""


def weighed(choices: Sequence[Choice]) -> Tier:
    """A tier of records as they are. Those of weight 0 get a weight of 1 together: a very small chance beside others,
    as RFC 2782 wants it, and the same for all where there are no others."""
    idle = sum(not choice.weight for choice in choices)
    return tuple(choice if choice.weight else Choice(1 / idle, choice.servers) for choice in choices)


def drawn(tiers: Sequence[Tier], random: Callable[[], float]) -> list[Server]:
    """The servers in the order to be tried: tiers as they stand, in each one by chance and weight, so that the first is
    each with the chance of its share, and so on among the rest (RFC 2782). `random` gives numbers from 0 up to 1."""
    found: list[Server] = []
    for tier in tiers:
        order: Sequence[Choice] = tier
        if len(tier) > 1:
            # An exponential variable of rate `weight`: the smallest of several is each one's with the chance of its
            # share. RFC 2782's running sums come to the same, and take longer the more records there are.
            order = sorted(tier, key=lambda choice: -log(1.0 - random()) / choice.weight)
        for choice in order:
            found += choice.servers
    return found


def fixed(tiers: Sequence[Tier]) -> list[Server]:
    """The same order each time, as a stateless proxy needs it (RFC 3263 4.4): the heaviest first, then by name."""
    found: list[Server] = []
    for tier in tiers:
        for choice in sorted(tier, key=lambda choice: (-choice.weight, choice.servers[0].host)):
            found += choice.servers
    return found


def numeric(host: str) -> str | None:
    """The address a host is as text, brackets or not; None if it is a name."""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif not host[-1:].isdigit() and ":" not in host:
        return None
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def servers_at(addresses: Iterable[str], port: int, transport: str, host: str) -> tuple[Server, ...]:
    return tuple(Server(transport, address, port, host, ":" in address) for address in addresses)


def of_families(addresses: Iterable[str], families: Iterable[int]) -> list[str]:
    """The same addresses in the order of these families, without others."""
    listed = list(addresses)
    return [one for family in families for one in listed if ipaddress.ip_address(one).version == family]
