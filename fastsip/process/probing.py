"""The prober's thread: one in a server, in its first worker. It runs nobody else's code, so nothing can hold it up.

When that worker is away nobody asks: gateways that are down are then tried by a call now and then, and the next one
goes on with what the target table knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence

from fastsip._targets import TargetTable
from fastsip.launch import GatewaySetup, TlsSetup
from fastsip.routes.prober import Probing
from fastsip.routes.sender import Listening, Locate, OptionsSender

log = logging.getLogger("fastsip.prober")

JOIN = 1.0


class ProberThread:
    """Asks from its start until `end`. Belongs to the service thread."""

    def __init__(
        self,
        table: TargetTable,
        listening: Listening,
        gateways: Sequence[GatewaySetup],
        locate: Locate | None = None,
        tls: TlsSetup | None = None,
    ) -> None:
        """`listening` are the server's listen addresses; `locate` finds gateways that are names."""
        self._loop = asyncio.new_event_loop()
        self._sender = OptionsSender(listening, locate, tls)
        self._probing = Probing(table, gateways, self._sender.send)
        self._thread = threading.Thread(target=self._run, name="fastsip prober", daemon=True)
        self._thread.start()

    def follow(self, gateways: Sequence[GatewaySetup], tls: TlsSetup | None) -> None:
        """After a reload."""
        self._loop.call_soon_threadsafe(self._sender.renew, tls)
        self._loop.call_soon_threadsafe(self._probing.follow, gateways)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(JOIN)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        running = self._loop.create_task(self._probing.run())
        running.add_done_callback(_complain)
        self._loop.run_forever()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(running)
        self._sender.close()
        self._loop.run_until_complete(asyncio.sleep(0))  # transports close in the turn after


def _complain(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and running.exception() is not None:
        log.error("the prober has ended", exc_info=running.exception())
