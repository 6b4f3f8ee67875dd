"""Where the targets of a plan are: at an address, at a name, or nowhere.

Names become servers before a plan is encoded (RFC 3263): the first one is where a target is sent to, and the others
are its spares. A target nobody can send to fails every call that comes to it, and the caller's 500 does not say why:
that is told here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from fastsip._message import Uri
from fastsip.dns.errors import NoServer
from fastsip.dns.hop import Hop, address_transport
from fastsip.dns.order import Server
from fastsip.errors import ParseError
from fastsip.policy.plan import SPARES_AT_MOST, TARGETS_AT_MOST, Plan, Step, Target

SLOWER = 2
"""How much longer than with an INVITE a server may be silent: nothing is said before the answer (RFC 4320 4.1)."""

KEPT = 10_000
_good: set[str] = set()
"""What stood behind the user of sip URIs with an address over UDP: nearly all there are."""


class Located(Protocol):
    @property
    def servers(self) -> tuple[Server, ...]: ...


class Locator(Protocol):
    """Finds servers; see fastsip/dns."""

    @property
    def transports(self) -> frozenset[str]: ...
    @property
    def try_time(self) -> float: ...
    def cached(self, hop: Hop) -> Located | None: ...
    async def locate(self, hop: Hop) -> Located: ...


Found = Mapping[Hop, Located | NoServer]


class Next(NamedTuple):
    """A next hop that is no address which can be sent to."""

    target: Target
    """The first that goes there."""
    hop: Hop | None
    why: str = ""
    """Why nothing can be sent there, where it is no name."""
    stream: Hop | None = None
    """The same for a request too large for a datagram, where the name says by what it is reached (RFC 3261 18.1.1)."""

    @property
    def hops(self) -> list[Hop]:
        """What is to be located, in this order."""
        return [hop for hop in (self.stream, self.hop) if hop is not None]

    def told(self, uri: str) -> str:
        """This URI of a next hop, and what of its target it is."""
        target = self.target
        if target.hop is not None or target.routes:
            if uri == _next(target):
                return f"{'routes' if target.hop is None else 'hop'} {uri!r} of {target.uri}"
        elif uri == target.uri:
            return uri
        return f"spares {uri!r} of {target.uri}"


Named = Mapping[str, Next]
"""By URI of the next hop."""


def hops(plan: Plan, transports: frozenset[str], large: bool = False) -> dict[str, Next]:
    """All there are. `large`: the request may be too large for a datagram."""
    found: dict[str, Next] = {}
    for step in plan.steps:
        for target in step.targets:
            for uri in (_next(target), *target.spares) if target.spares else (_next(target),):
                place = uri.rpartition("@")[2]
                if (place in _good and uri.startswith("sip:")) or uri in found:
                    continue
                where = _where(uri, transports)
                if where is not None:
                    found[uri] = _named(target, where, large) if isinstance(where, Hop) else Next(target, None, where)
                elif uri.startswith("sip:"):
                    if len(_good) >= KEPT:
                        _good.clear()
                    _good.add(place)
    return found


def _named(target: Target, hop: Hop, large: bool) -> Next:
    return Next(target, hop, stream=hop._replace(reliable=True) if large and hop.transport is None else None)


def spread(plan: Plan, named: Named, found: Found, try_time: float) -> Plan:
    """The plan with servers in place of names: the first is a target's hop, and the others are its spares, for where
    not a word comes within `try_time` seconds. A name without one stays, and is a branch that cannot be sent."""
    room = TARGETS_AT_MOST - sum(1 + len(target.spares) for step in plan.steps for target in step.targets)
    steps: list[Step] = []
    for step in plan.steps:
        targets: list[Target] = []
        for target in step.targets:
            located = _located(target, named, found, try_time, room)
            room -= len(located.spares) - len(target.spares)
            targets.append(located)
        steps.append(msgspec.structs.replace(step, targets=tuple(targets)))
    return msgspec.structs.replace(plan, steps=tuple(steps))


def _located(target: Target, named: Named, found: Found, try_time: float, room: int) -> Target:
    """With so many more spares at most."""
    uris = (_next(target), *target.spares)
    if named.keys().isdisjoint(uris):
        return target
    at: list[str] = []
    for uri in uris:
        at += _servers(uri, named, found) or [uri]
    hop, *spares = at[: len(uris) + max(room, 0)][: 1 + SPARES_AT_MOST]
    if hop == uris[0] and not spares:
        return target
    patience = try_time if target.patience is None and target.try_time is None else target.patience
    return msgspec.structs.replace(target, hop=hop, spares=tuple(spares), patience=patience if spares else None)


def _next(target: Target) -> str:
    if target.hop is not None:
        return target.hop
    if not target.routes:
        return target.uri
    before, bracket, rest = target.routes[0].partition("<")  # the first, where one value holds several
    return rest.partition(">")[0] if bracket else before


def _servers(uri: str, named: Named, found: Found) -> list[str]:
    """Hops for the servers of a name."""
    next_ = named.get(uri)
    servers: dict[str, None] = {}
    for hop in next_.hops if next_ is not None else ():
        located = found.get(hop)
        if located is not None and not isinstance(located, NoServer):
            servers |= dict.fromkeys(_hop(server, hop.host) for server in located.servers)
    return list(servers)


def _hop(server: Server, name: str) -> str:
    host = f"[{server.address}]" if server.v6 else server.address
    if server.transport == "tls":  # who is there has to be that (RFC 5922 4)
        return f"sip:{name}:{server.port};transport=tls;maddr={host}"
    return f"sip:{host}:{server.port};transport={server.transport}"


def _where(uri: str, transports: frozenset[str]) -> Hop | str | None:
    """None for an address that can be sent to, and for a flow, of which the engine knows more."""
    if uri.startswith("flow:"):
        return None
    try:
        hop = Hop.of(Uri(uri))
    except ParseError:
        return "it cannot be parsed as a URI"
    except NoServer:
        return "it says of no server: a sip URI is needed"
    try:
        ipaddress.ip_address(hop.host)
    except ValueError:
        return hop
    transport = address_transport(hop)
    if transport not in transports:
        return f"{transport} is not sent here"
    return None
