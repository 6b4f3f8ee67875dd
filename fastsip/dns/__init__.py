"""Locating SIP servers (RFC 3263).

    from fastsip.dns import DnsSetup, Hop, NoServer, Resolver

    resolver = Resolver(DnsSetup(servers=["192.0.2.53"]), frozenset({"udp", "tcp", "tls"}))
    located = await resolver.locate("sip:bob@example.com")      # or a Hop, or a fastsip Uri
    located.servers[0].transport, located.servers[0].address, located.servers[0].port

A library for one event loop: it knows nothing of requests, transactions or workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastsip.launch import DnsSetup

from .errors import NoServer, Used
from .hop import Hop
from .order import Server

if TYPE_CHECKING:
    from .resolver import Located, Resolver

__all__ = ["DnsSetup", "Hop", "Located", "NoServer", "Resolver", "Server", "Used"]


def __getattr__(name: str) -> object:
    """What needs asyncio and dnspython, when it is needed: a third of a second."""
    if name in ("Located", "Resolver"):
        from . import resolver

        return getattr(resolver, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
