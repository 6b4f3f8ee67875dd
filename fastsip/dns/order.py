"""In which order servers are tried: priority and weight of SRV records (RFC 2782), families of addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
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

    weight: int
    servers: tuple[Server, ...]


Tier = tuple[Choice, ...]
"""All of one priority, those of weight 0 first, as RFC 2782 wants them."""


def drawn(tiers: Sequence[Tier], random: Callable[[], float]) -> list[Server]:
    """The servers in the order to be tried: tiers as they stand, in each one by chance and weight, so that the first is
    each with the chance of its share, and so on among the rest. `random` gives numbers from 0 up to 1."""
    found: list[Server] = []
    for tier in tiers:
        if len(tier) == 1:
            found += tier[0].servers
            continue
        left = list(tier)
        while len(left) > 1:
            found += left.pop(_pick(left, random)).servers
        found += left[0].servers
    return found


def _pick(choices: Sequence[Choice], random: Callable[[], float]) -> int:
    total = sum(choice.weight for choice in choices)
    if not total:
        return int(random() * len(choices))  # weights say nothing: each as likely
    # A whole number from 0 to the sum, both included, so that one of weight 0 is first now and then.
    mark = int(random() * (total + 1))
    for index, choice in enumerate(choices):
        mark -= choice.weight
        if mark <= 0:
            return index
    raise AssertionError("weights have a sum")


def fixed(tiers: Sequence[Tier]) -> list[Server]:
    """The same order each time, as a stateless proxy needs it (RFC 3263 4.4): the heaviest first, then by name."""
    found: list[Server] = []
    for tier in tiers:
        for choice in sorted(tier, key=lambda choice: (-choice.weight, choice.servers[0].host)):
            found += choice.servers
    return found


def is_v6(address: str) -> bool:
    return ":" in address


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
