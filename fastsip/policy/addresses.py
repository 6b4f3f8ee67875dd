"""Targets nothing can be sent to: every call to them fails, and the caller's 500 does not say why."""

from __future__ import annotations

import ipaddress

from fastsip._message import Uri
from fastsip.errors import ParseError
from fastsip.policy.plan import Plan, Target

NEEDED = "an address over UDP is needed, such as sip:192.0.2.7:5060 (there is no DNS yet, nor TCP)"

KEPT = 10_000
_good: set[str] = set()
"""What stood behind the user of sip URIs that can be reached: nearly all there are."""


def unreachable(plan: Plan) -> list[tuple[str, Target]]:
    """Each target whose next hop cannot be reached, and that hop's host."""
    found = []
    for step in plan.steps:
        for target in step.targets:
            uri = target.hop
            if uri is None:
                routes = target.routes
                uri = routes[0].rpartition("<")[2].partition(">")[0] if routes else target.uri
            place = uri.rpartition("@")[2]
            if place in _good and uri.startswith("sip:"):
                continue
            host = _nowhere(uri)
            if host is not None:
                found.append((host, target))
            elif uri.startswith("sip:"):
                if len(_good) >= KEPT:
                    _good.clear()
                _good.add(place)
    return found


def _nowhere(uri: str) -> str | None:
    """The host of a URI that names no address over UDP (RFC 3263 4, as far as it goes without DNS); None if it does."""
    try:
        parsed = Uri(uri)
    except ParseError:
        return uri
    host = parsed.parameters.get("maddr") or parsed.host or uri
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host
    return host if parsed.scheme != "sip" or parsed.parameters.get("transport", "udp").lower() != "udp" else None
