"""OPTIONS out, and what comes back: a socket of its own and `fastsip.TransactionTable`, in an asyncio loop.

It is bound to the address the server listens on, so that a gateway which knows its neighbours by address knows this
one; the port is any that is free, because the server's own belongs to the workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from fastsip._message import Uri
from fastsip._table import TransactionTable
from fastsip.events import ResponseReceived, Terminated, Timeout, TransportError
from fastsip.routes.choice import in_uri
from fastsip.routes.prober import Heard

REQUEST = (
    "OPTIONS {uri} SIP/2.0\r\n"
    "Max-Forwards: 70\r\n"
    "From: <sip:{host}>;tag={tag}\r\n"
    "To: <{uri}>\r\n"
    "Call-ID: {call_id}\r\n"
    "CSeq: {cseq} OPTIONS\r\n"
    "Accept: application/sdp\r\n"
    "Content-Length: 0\r\n\r\n"
)


Locate = Callable[[str, int | None], Awaitable[Sequence[tuple[str, int]]]]
"""From a host name, and a port where the URI has one, to addresses over UDP, the best first."""


class _Endpoint(asyncio.DatagramProtocol):
    """One socket with its transactions."""

    def __init__(self, local: str, loop: asyncio.AbstractEventLoop) -> None:
        self._local = local
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._cseq = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self._host = in_uri(self._local)
        self._table = TransactionTable(f"{self._host}:{transport.get_extra_info('sockname')[1]}")

    def ask(self, uri: str, address: tuple[str, int]) -> asyncio.Future[Heard | None]:
        """One OPTIONS; cancelling the future ends its transaction."""
        self._cseq += 1
        text = REQUEST.format(
            uri=uri, host=self._host, tag=secrets.token_hex(4), call_id=secrets.token_hex(12), cseq=self._cseq
        )
        transaction = self._table.request(text.encode(), address, self._loop.time())
        future: asyncio.Future[Heard | None] = self._loop.create_future()
        transaction.user = future
        future.add_done_callback(lambda done: transaction.end() if done.cancelled() else None)
        self._turn([])
        return future

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        self._turn(self._table.receive(data, address, self._loop.time()))

    def error_received(self, error: Exception) -> None:
        """An ICMP error, of nobody knows which destination: the transactions' own timers decide."""

    def _turn(self, events: Sequence[object]) -> None:
        now = self._loop.time()
        for event in [*events, *self._table.advance(now)]:
            match event:
                case ResponseReceived(message, transaction):
                    status = message.status or 0
                    if status >= 200:
                        _resolve(transaction.user, Heard(status, _retry_after(message.headers.get("Retry-After"))))
                case Timeout(transaction) | TransportError(transaction) | Terminated(transaction):
                    _resolve(transaction.user, None)
        for data, address in self._table.to_send():
            self.transport.sendto(data, address)
        if self._timer is not None:
            self._timer.cancel()
        patience = self._table.next_timeout(now)
        self._timer = self._loop.call_later(patience, self._turn, []) if patience is not None else None


SERVERS_AT_MOST = 8


async def _first(asked: Sequence[asyncio.Future[Heard | None]]) -> Heard | None:
    """The best of what is heard first: of several a 503 speaks for one of them alone."""
    left = set(asked)
    worse: Heard | None = None
    try:
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                heard = one.result()
                if heard is not None and heard.status != 503:
                    return heard
                worse = worse or heard
        return worse
    finally:
        for one in left:
            one.cancel()


def _resolve(future: asyncio.Future[Heard | None] | None, heard: Heard | None) -> None:
    if future is not None and not future.done():
        future.set_result(heard)


def _retry_after(value: str | None) -> int:
    """Seconds, without the comment and parameters it may have (RFC 3261 20.33)."""
    digits = (value or "").split(";")[0].split("(")[0].strip()
    return int(digits) if digits.isascii() and digits.isdigit() else 0


class OptionsSender:
    """Sends OPTIONS; `send` is what a prober wants. Belongs to one event loop."""

    def __init__(self, hosts: Sequence[str], locate: Locate | None = None) -> None:
        """`hosts` are the addresses the server listens on, as numbers; the first of a gateway's family is used.
        `locate` finds gateways that are names; without it there are none."""
        self._hosts = hosts
        self._locate = locate
        self._endpoints: dict[str, _Endpoint] = {}

    async def send(self, slot: int, uri: str) -> Heard | None:
        """The final response of the gateway at this URI; None if none came (Timer F) or the system has no way to it. Of
        a name all servers are asked, and the first to answer speaks for it. Raises OSError if no socket can be had,
        ValueError for a host name where none can be looked up, NoServer for one that has no server."""
        parsed = Uri(uri)
        host = parsed.host or ""
        try:
            addresses: Sequence[tuple[str, int]] = [(str(ipaddress.ip_address(host)), parsed.port or 5060)]
        except ValueError:
            if self._locate is None:
                raise
            addresses = (await self._locate(host, parsed.port))[:SERVERS_AT_MOST]
        asked = [(await self._endpoint(address)).ask(uri, address) for address in addresses]
        return await _first(asked)

    def close(self) -> None:
        for endpoint in self._endpoints.values():
            endpoint.transport.close()
        self._endpoints.clear()

    async def _endpoint(self, address: tuple[str, int]) -> _Endpoint:
        version = ipaddress.ip_address(address[0]).version
        ours = [host for host in self._hosts if ipaddress.ip_address(host).version == version]
        local = ours[0] if ours else "::" if version == 6 else "0.0.0.0"
        if ipaddress.ip_address(local).is_unspecified:
            local = _towards(address, version)
        if local not in self._endpoints:
            loop = asyncio.get_running_loop()
            _, endpoint = await loop.create_datagram_endpoint(lambda: _Endpoint(local, loop), local_addr=(local, 0))
            self._endpoints[local] = endpoint
        return self._endpoints[local]


def _towards(address: tuple[str, int], version: int) -> str:
    """Our address on the way there; nothing is sent."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])
