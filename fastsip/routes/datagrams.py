"""OPTIONS by UDP: a socket that stays, and its transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from fastsip._table import TransactionTable
from fastsip.events import ResponseReceived, Terminated, Timeout, TransportError
from fastsip.routes.choice import in_uri
from fastsip.routes.options import final, options
from fastsip.routes.prober import Heard


class Endpoint(asyncio.DatagramProtocol):
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
        transaction = self._table.request(options(uri, self._host, self._cseq), address, self._loop.time())
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
                    if (heard := final(message)) is not None:
                        _resolve(transaction.user, heard)
                case Timeout(transaction) | TransportError(transaction) | Terminated(transaction):
                    _resolve(transaction.user, None)
        for data, address in self._table.to_send():
            self.transport.sendto(data, address)
        if self._timer is not None:
            self._timer.cancel()
        patience = self._table.next_timeout(now)
        self._timer = self._loop.call_later(patience, self._turn, []) if patience is not None else None


def _resolve(future: asyncio.Future[Heard | None] | None, heard: Heard | None) -> None:
    if future is not None and not future.done():
        future.set_result(heard)
