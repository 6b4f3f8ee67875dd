"""Where the targets of a plan are: at an address, at a name, or nowhere.

Names become servers before a plan is encoded (RFC 3263): one that stands alone in its step becomes a step for each of
its servers in turn, one among others its first server. A target nobody can send to fails every call that comes to it,
and the caller's 500 does not say why: that is told here.
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
from fastsip.policy.plan import STEPS_AT_MOST, TARGETS_AT_MOST, TIMEOUT, UNAVAILABLE, Plan, Step, Target

SERVERS_AT_MOST = 8
"""Of one name, that a plan tries."""
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


Named = Mapping[str, Next]
"""By URI of the next hop."""


def hops(plan: Plan, transports: frozenset[str]) -> dict[str, Next]:
    """All there are."""
    found: dict[str, Next] = {}
    for step in plan.steps:
        for target in step.targets:
            uri = _next(target)
            place = uri.rpartition("@")[2]
            if (place in _good and uri.startswith("sip:")) or uri in found:
                continue
            where = _where(uri, transports)
            if where is not None:
                found[uri] = Next(target, where) if isinstance(where, Hop) else Next(target, None, where)
            elif uri.startswith("sip:"):
                if len(_good) >= KEPT:
                    _good.clear()
                _good.add(place)
    return found


def spread(plan: Plan, named: Named, found: Found, try_time: float) -> Plan:
    """The plan with servers in place of names. A name without one stays, and is a branch that cannot be sent."""
    first: list[int] = []
    """Where each step begins now."""
    groups: list[list[Target]] = []
    count = len(plan.steps)
    targets = sum(len(step.targets) for step in plan.steps)
    for step in plan.steps:
        if len(step.targets) == 1 and not plan.on_failure:
            servers = _servers(step.targets[0], named, found)
            room = min(STEPS_AT_MOST - count, TARGETS_AT_MOST - targets)
            group = [_at(step.targets[0], server, named) for server in servers[: min(SERVERS_AT_MOST, room + 1)]]
            group = group or [step.targets[0]]
            count, targets = count + len(group) - 1, targets + len(group) - 1
            # Not a word within this time, and the next server is tried.
            group = [_patient(one, try_time) for one in group[:-1]] + group[-1:]
        else:
            group = []
        first.append(first[-1] + max(1, len(groups[-1])) if first else 0)
        groups.append(group)
    steps: list[Step] = []
    for index, (step, group) in enumerate(zip(plan.steps, groups, strict=True)):
        onward = _onward(step, index, first)
        if not group:
            all_at_once = tuple(_first(one, named, found) for one in step.targets)
            steps.append(msgspec.structs.replace(step, targets=all_at_once, onward=onward))
        for place, one in enumerate(group):
            last = place == len(group) - 1
            next_ = first[index] + place + 1
            then = onward if last else {**onward, UNAVAILABLE: next_, TIMEOUT: next_}
            notify = step.notify if place == 0 else None
            steps.append(msgspec.structs.replace(step, targets=(one,), onward=then, notify=notify))
    return msgspec.structs.replace(plan, steps=tuple(steps))


def _onward(step: Step, index: int, first: list[int]) -> dict[object, int]:
    """By the new numbers."""
    if isinstance(step.onward, Mapping):
        return {outcome: first[to] if index < to < len(first) else to for outcome, to in step.onward.items()}
    return dict.fromkeys(step.onward, first[index + 1]) if index + 1 < len(first) else {}


def _next(target: Target) -> str:
    if target.hop is not None:
        return target.hop
    return target.routes[0].rpartition("<")[2].partition(">")[0] if target.routes else target.uri


def _servers(target: Target, named: Named, found: Found) -> tuple[Server, ...]:
    next_ = named.get(_next(target))
    located = found.get(next_.hop) if next_ is not None and next_.hop is not None else None
    return () if located is None or isinstance(located, NoServer) else located.servers


def _first(target: Target, named: Named, found: Found) -> Target:
    servers = _servers(target, named, found)
    return _at(target, servers[0], named) if servers else target


def _at(target: Target, server: Server, named: Named) -> Target:
    host = f"[{server.address}]" if server.v6 else server.address
    hop = f"sip:{host}:{server.port};transport={server.transport}"
    looked_for = named[_next(target)].hop
    if server.transport == "tls" and looked_for is not None:  # who is there has to be that (RFC 5922 4)
        hop = f"sip:{looked_for.host}:{server.port};transport=tls;maddr={host}"
    return msgspec.structs.replace(target, hop=hop)


def _patient(target: Target, try_time: float) -> Target:
    return target if target.try_time is not None else msgspec.structs.replace(target, try_time=try_time)


def _where(uri: str, transports: frozenset[str]) -> Hop | str | None:
    """None for an address that can be sent to."""
    try:
        hop = Hop.of(Uri(uri))
    except (ParseError, NoServer):
        return "it says of no server: a sip URI is needed"
    try:
        ipaddress.ip_address(hop.host)
    except ValueError:
        return hop
    transport = address_transport(hop)
    if transport not in transports:
        return f"{transport} is not sent here"
    return None
