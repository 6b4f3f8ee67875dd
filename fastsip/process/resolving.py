"""The resolver's thread: it runs nobody else's code, so no policy can hold up what is asked of name servers.

resolving = ResolverThread(setup, frozenset({"udp"}), frozenset({4}))
located = resolving.cached(hop)                 # at once, in any thread; None: it would have to be asked for
future = resolving.locate(hop)                  # a concurrent Future; asyncio.wrap_future makes it awaitable
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

from fastsip.dns import Hop, Located, NoServer, Resolver, Server
from fastsip.launch import DnsSetup

JOIN = 1.0
OUTLIVED = 60.0
"""Seconds after a reload; longer than any deadline."""


class ResolverThread:
    """Runs from its start until `end`. All methods are for any thread, `follow` and `end` for one."""

    def __init__(self, setup: DnsSetup, transports: frozenset[str], families: frozenset[int]) -> None:
        """What `Resolver` takes. Raises ValueError if a name server is no address."""
        self._loop = asyncio.new_event_loop()
        self._resolver = Resolver(setup, transports, families=families)
        self._before: list[Resolver] = []
        """Those of before a reload that somebody may still wait for."""
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="fastsip resolver", daemon=True)
        self._thread.start()

    def cached(self, hop: Hop, *, stable: bool = False) -> Located | None:
        """See `Resolver.cached`. Raises NoServer."""
        return self._resolver.cached(hop, stable=stable)

    def locate(self, hop: Hop, *, stable: bool = False) -> Future[Located]:
        """See `Resolver.locate`. The future fails with NoServer; whoever waits is called back in the resolver's thread
        and must be quick there."""
        if self._ended:
            over: Future[Located] = Future()
            over.set_exception(NoServer("the resolver is closed", temporary=True))
            return over
        return asyncio.run_coroutine_threadsafe(self._resolver.locate(hop, stable=stable), self._loop)

    async def locating(self, hop: Hop) -> Located:
        """The same for whoever is called in this thread."""
        return await self._resolver.locate(hop)

    def attend(self, fd: int, called: Callable[[], None]) -> None:
        """From now on `called` is called in this thread when the descriptor is readable."""
        self._loop.call_soon_threadsafe(self._loop.add_reader, fd, called)

    def failed(self, server: Server, for_seconds: float) -> None:
        """See `Resolver.failed`."""
        self._resolver.failed(server, for_seconds)

    def answered(self, server: Server) -> None:
        """See `Resolver.answered`."""
        self._resolver.answered(server)

    def statistics(self) -> dict[str, object]:
        """See `Resolver.statistics`."""
        return self._resolver.statistics()

    def follow(self, setup: DnsSetup, transports: frozenset[str], families: frozenset[int]) -> None:
        """After a reload. Who waits gets what was asked for before; which servers failed stays known."""
        before = self._resolver
        self._resolver = before.renewed(setup, transports, families)
        self._before.append(before)
        self._loop.call_soon_threadsafe(self._loop.call_later, OUTLIVED, self._before.remove, before)

    def end(self) -> None:
        """Who waits gets NoServer."""
        self._ended = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(JOIN)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _close(self) -> None:
        for resolver in [*self._before, self._resolver]:
            await resolver.close()
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*waiting, return_exceptions=True)  # each is told, and ends in a turn or two
