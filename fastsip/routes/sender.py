"""OPTIONS out, and what comes back: `fastsip.TransactionTable` over sockets of its own, in an asyncio loop.

They are bound to the address the server listens on, so that a gateway which knows its neighbours by address knows this
one; the port is any that is free, because the server's own belongs to the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

from fastsip._message import Uri
from fastsip._tls import TlsContexts
from fastsip.dns.hop import Hop, address_port, address_transport, plain_host
from fastsip.dns.order import Server
from fastsip.launch import TlsSetup
from fastsip.routes import streams
from fastsip.routes.datagrams import Endpoint
from fastsip.routes.prober import Heard

Locate = Callable[[Hop], Awaitable[Sequence[Server]]]
"""From a next hop that is a name to its servers, the best first."""
Listening = Sequence[tuple[str, str]]
"""Transport and numeric host of listen addresses."""

SERVERS_AT_MOST = 8


class OptionsSender:
    """Sends OPTIONS; `send` is what a prober wants. Belongs to one event loop."""

    def __init__(self, listening: Listening, locate: Locate | None = None, tls: TlsSetup | None = None) -> None:
        """Of `listening` the first of a gateway's transport and family is where OPTIONS come from. `locate` finds
        gateways that are names; without it there are none."""
        self._listening = listening
        self._locate = locate
        self._tls = tls
        self._contexts: TlsContexts | None = None
        self._endpoints: dict[str, Endpoint] = {}
        self._opening = asyncio.Lock()

    def renew(self, tls: TlsSetup | None) -> None:
        """New certificates and rules; where something is wrong with them the former stay."""
        self._tls = tls
        if self._contexts is not None and tls is not None:
            with contextlib.suppress(ValueError):
                self._contexts.reload(tls)

    async def send(self, slot: int, uri: str) -> Heard | None:
        """The final response of the gateway at this URI; None if none came (Timer F) or the system has no way to it. Of
        a name all servers are asked, and the first to answer speaks for it. Raises OSError if no socket can be had or
        nobody accepts a connection, ValueError for a host name where none can be looked up, NoServer for one that has
        no server."""
        parsed = Uri(uri)
        hop = Hop.of(parsed)
        try:
            address = ipaddress.ip_address(hop.host)
        except ValueError:
            if self._locate is None:
                raise
            name, servers = hop.host, (await self._locate(hop))[:SERVERS_AT_MOST]
        else:
            # At the address of a `maddr` has to be who the URI names, as the core has it (ext/proxy/flow.pxi).
            name = plain_host(parsed.host or "") if parsed.parameters.get("maddr") else str(address)
            servers = [Server(address_transport(hop), str(address), address_port(hop), hop.host, address.version == 6)]
        return await _first([asyncio.ensure_future(self._ask(uri, server, name)) for server in servers])

    def close(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.transport.close()
        self._endpoints.clear()

    async def _ask(self, uri: str, server: Server, name: str) -> Heard | None:
        local = self._local(server)
        if server.transport == "udp":
            return await (await self._endpoint(local)).ask(uri, (server.address, server.port))
        return await streams.ask(uri, server, local, self._secure() if server.transport == "tls" else None, name)

    def _secure(self) -> TlsContexts:
        if self._contexts is None:
            self._contexts = TlsContexts(self._tls or TlsSetup())
        return self._contexts

    def _local(self, server: Server) -> str:
        """Our address for it."""
        ours = [host for transport, host in self._listening if transport == server.transport and _v6(host) == server.v6]
        if not ours or ipaddress.ip_address(ours[0]).is_unspecified:
            return _towards((server.address, server.port), server.v6)
        return ours[0]

    async def _endpoint(self, local: str) -> Endpoint:
        async with self._opening:
            if local not in self._endpoints:
                loop = asyncio.get_running_loop()
                _, endpoint = await loop.create_datagram_endpoint(lambda: Endpoint(local, loop), local_addr=(local, 0))
                self._endpoints[local] = endpoint
            return self._endpoints[local]


async def _first(asked: Sequence[asyncio.Future[Heard | None]]) -> Heard | None:
    """The best of what is heard first: of several a 503 speaks for one of them alone. Raises what is wrong with one of
    them if nothing is heard of any."""
    left = set(asked)
    worse: Heard | None = None
    wrong: BaseException | None = None
    try:
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                if (error := one.exception()) is not None:
                    wrong = error
                    continue
                heard = one.result()
                if heard is not None and heard.status != 503:
                    return heard
                worse = worse or heard
    finally:
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    if worse is None and wrong is not None:
        raise wrong
    return worse


def _v6(host: str) -> bool:
    return ipaddress.ip_address(host).version == 6


def _towards(address: tuple[str, int], v6: bool) -> str:
    """Our address on the way there; nothing is sent."""
    family = socket.AF_INET6 if v6 else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])
