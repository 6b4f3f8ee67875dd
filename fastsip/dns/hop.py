"""The next hop as a URI names it, and what RFC 3263 takes for granted about transports."""

from __future__ import annotations

from typing import NamedTuple

from fastsip._message import Uri
from fastsip.errors import ParseError

from .errors import NoServer

PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
"""Transport to its port where nothing says another (RFC 3261 19.1.2, RFC 7118 5.5)."""
SERVICES = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp", "ws": "_sip._ws", "wss": "_sips._ws"}
"""Transport to what stands in front of a domain for its SRV records (RFC 3263 4.2; no RFC names those of WebSocket)."""
SECURE = {"tcp": "tls", "tls": "tls", "ws": "wss", "wss": "wss"}
"""Which transport a SIPS URI means where it names this one."""


class Hop(NamedTuple):
    """Where a request is to go. Equal hops have the same servers."""

    host: str
    """A name or an address, in lower case and without brackets; RFC 3263 calls it TARGET."""
    port: int | None = None
    transport: str | None = None
    """In lower case, as the URI names it; None if it does not."""
    sips: bool = False
    reliable: bool = False
    """The request is too large for UDP: not UDP where nothing names a transport (RFC 3261 18.1.1)."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        transport = f";transport={self.transport}" if self.transport else ""
        return f"{'sips' if self.sips else 'sip'}:{host}{port}{transport}"

    @classmethod
    def of(cls, uri: Uri | str, *, reliable: bool = False) -> Hop:
        """From a SIP or SIPS URI. Raises NoServer if it is none."""
        if isinstance(uri, str):
            try:
                uri = Uri(uri)
            except ParseError as error:
                raise NoServer(f"{uri!r} is no URI: {error}") from error
        if uri.scheme not in ("sip", "sips"):
            raise NoServer(f"{uri.scheme} URIs say of no server: expected sip or sips")
        parameters = uri.parameters
        host = parameters.get("maddr") or uri.host or ""
        transport = parameters.get("transport")
        return cls(plain_host(host), uri.port, transport.lower() if transport else None, uri.scheme == "sips", reliable)


def plain_host(host: str) -> str:
    """Lower case, without brackets, without a dot at its end."""
    if host.startswith("["):
        return host[1:].rstrip("]").lower()
    return host.lower().removesuffix(".")


def address_transport(hop: Hop) -> str:
    """By which a host that is an address is reached, where the request says nothing of it."""
    return "tls" if hop.sips else hop.transport or "udp"


def address_port(hop: Hop) -> int:
    """The port of a host that is an address; 5060 for a transport nobody knows."""
    return hop.port if hop.port is not None else PORTS.get(address_transport(hop), 5060)


def named_transport(hop: Hop, sent: frozenset[str]) -> str | None:
    """What the URI names, a SIPS URI's secured; None if it names none. Raises NoServer if that cannot be sent."""
    if hop.transport is None:
        return None
    if hop.transport not in PORTS:
        raise NoServer(f"transport {hop.transport} is not known here")
    transport = SECURE.get(hop.transport) if hop.sips else hop.transport
    if transport is None:
        raise NoServer("a sips URI cannot go over udp (RFC 3261 26.2.2)")
    if transport not in sent:
        raise NoServer(f"{transport} is not sent here")
    return transport


def default_transport(hop: Hop, sent: frozenset[str]) -> str:
    """For a host without records that say more (4.1). Raises NoServer if none that would do is sent here."""
    # "TCP" of RFC 3263 is TLS over TCP: a SIPS URI is not sent without (RFC 3261 26.2.1).
    wanted = ("tls",) if hop.sips else ("udp", "tcp", "tls")
    usable = [one for one in wanted if one in sent]
    if not usable:
        raise NoServer(f"{' or '.join(wanted)} would be needed, and is not sent here")
    return usable[0]
