"""OPTIONS by TCP and TLS, each on a connection of its own that ends with the answer.

None is kept: workers open theirs when they have something to send, so what a call needs is that a new one is accepted,
and that it shows the certificate of today. One that was kept says nothing of either, and of a gateway that vanished
no more than of a slow one. TLS is that of the workers, with their rules and the names they look for (RFC 5922).
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Protocol

from fastsip._table import TransactionTable
from fastsip._tls import DONE, FAILED, WANT_READ, Connection, TlsContexts
from fastsip.dns.order import Server
from fastsip.routes.choice import in_uri
from fastsip.routes.options import first_final, options
from fastsip.routes.prober import Heard

LONGEST = 65_536
"""Bytes of an answer."""
PIECE = 16_384

_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d{1,5})[ \t]*\r?$", re.I | re.M)


class Wire(Protocol):
    """Bytes out and in; both raise OSError."""

    async def send(self, data: bytes) -> None: ...
    async def receive(self) -> bytes:
        """None left at the end."""
    def close(self) -> None: ...


async def ask(uri: str, server: Server, local: str, contexts: TlsContexts | None, name: str) -> Heard | None:
    """The final response of the gateway at this server, however long it takes. With `contexts` by TLS, to whoever
    proves to be `name`. Raises OSError if nobody accepts, if that is somebody else, if the connection ends before the
    answer."""
    loop = asyncio.get_running_loop()
    address = server.address, server.port
    with socket.socket(socket.AF_INET6 if server.v6 else socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.bind((local, 0))
        await loop.sock_connect(sock, address)
        wire: Wire = _Plain(sock) if contexts is None else _Secure(contexts.connect(sock.fileno(), name))
        try:
            host = in_uri(local)
            table = TransactionTable(f"{host}:{sock.getsockname()[1]}", server.transport.upper())
            table.request(options(uri, host), address, loop.time())
            for data, _ in table.to_send():
                await wire.send(data)
            pending = b""
            while len(pending) <= LONGEST and (more := await wire.receive()):
                messages, pending = _whole(pending + more)
                for message in messages:
                    heard = first_final(table.receive(message, address, loop.time()))
                    if heard is not None:
                        return heard
        finally:
            wire.close()
    raise ConnectionResetError("the connection ended without an answer")


def _whole(data: bytes) -> tuple[list[bytes], bytes]:
    """The messages in it (RFC 3261 18.3), and the beginning of another one."""
    messages: list[bytes] = []
    while True:
        data = data.lstrip(b"\r\n")
        head, gap, rest = data.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        if not gap or len(rest) < length:
            return messages, data
        messages.append(head + gap + rest[:length])
        data = rest[length:]


class _Plain:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def receive(self) -> bytes:
        return await self._loop.sock_recv(self._sock, PIECE)

    def close(self) -> None:
        """The socket is somebody else's."""


class _Secure:
    """Shakes hands before the first byte."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ready = False

    async def send(self, data: bytes) -> None:
        while not self._ready:
            state = self._connection.handshake()
            self._ready = state == DONE
            if not self._ready:
                await self._wait(state)
        while data:
            sent = self._connection.write(data)
            if sent < 0:
                await self._wait(-sent)
            else:
                data = data[sent:]

    async def receive(self) -> bytes:
        while isinstance(found := self._connection.read(PIECE), int):
            await self._wait(-found)
        return found

    def close(self) -> None:
        if self._ready:
            self._connection.shutdown()
        self._connection.free()

    async def _wait(self, state: int) -> None:
        """Until what OpenSSL waits for may be there."""
        if state == FAILED:
            raise ConnectionAbortedError(self._connection.reason)
        loop, fd = asyncio.get_running_loop(), self._connection.fileno()
        turn: asyncio.Future[None] = loop.create_future()
        watch, leave = (
            (loop.add_reader, loop.remove_reader) if state == WANT_READ else (loop.add_writer, loop.remove_writer)
        )
        watch(fd, _over, turn)
        try:
            await turn
        finally:
            leave(fd)


def _over(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
