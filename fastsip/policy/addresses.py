"""Targets nothing can be sent to: every call to them fails, and the caller's 500 does not say why."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from fastsip._message import Uri
from fastsip.errors import ParseError
from fastsip.policy.plan import Plan, Target

NEEDED = "an address over UDP is needed, such as sip:192.0.2.7:5060 (there is no DNS yet, nor TCP)"

_PLAIN = re.compile(
    r"sip:(?:[^@;?]*@)?(?:[0-9.]+|\[[0-9a-f:.]+\])(?::[0-9]+)?(?:;(?!transport|maddr)[^;?]*)*", re.IGNORECASE
)
"""Nearly all there are, known at a glance."""


def unreachable(plan: Plan) -> Iterator[tuple[str, Target]]:
    """Each target whose next hop cannot be reached, and that hop's host."""
    for step in plan.steps:
        for target in step.targets:
            uri = target.uri
            if target.hop is not None:
                uri = target.hop
            elif target.routes:
                uri = target.routes[0].rpartition("<")[2].partition(">")[0]
            if _PLAIN.fullmatch(uri) is None and (host := _nowhere(uri)) is not None:
                yield host, target


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
