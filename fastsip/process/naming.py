"""Next hops that are names: what the hot thread and plans ask, and the resolver's thread answers.

The thread is started with the first name: a server that knows only addresses pays a descriptor. It runs nobody else's
code, so neither a policy that hangs nor a name server that is silent holds up more than the requests that need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fastsip._worker import Worker
from fastsip.descriptors import need, scarce
from fastsip.launch import DnsSetup, ListenerSetup
from fastsip.policy.complaints import INTERVAL, Complaints

if TYPE_CHECKING:
    from fastsip.dns import Hop, Located, NoServer, Server

    from .resolving import ResolverThread

log = logging.getLogger("fastsip.names")

FAILED_FOR = 30.0
"""Seconds a server comes last after it failed; as long as the hot thread has it so (ext/proxy/names.pxi)."""
NONE_FOR = 5.0
"""Seconds the hot thread believes that there is no server; then it asks again, here and not a name server."""
UNSURE_FOR = 2.0
"""The same where no name server could say (RFC 9520)."""
SHORTEST = 0.1
TOLD = 20
"""Names without a server that are named in the log in ten seconds; of more, how many."""
SERVERS = 8
"""Of one name, at most, in the hot thread."""
NEEDED = 8
"""Descriptors that have to be free before the resolver is begun: its loop has three, imports open files."""

Key = tuple[int, int, bool]
Row = tuple[str, str, int, int, int, float]
Wanted = tuple[Key | None, str, int | None, str | None, bool]


class Naming:
    """Of one engine. `cached` and `locate` are for any thread, the rest belongs to the service thread."""

    def __init__(self, engine: Worker, setup: DnsSetup | None, listeners: Sequence[ListenerSetup]) -> None:
        self.transports = frozenset(one.transport for one in listeners)
        self._engine = engine
        self._setup = setup or DnsSetup()
        self._families = frozenset(6 if ":" in one.host else 4 for one in listeners)
        self._gate = threading.Lock()
        self._resolver: ResolverThread | None = None
        self._complaints = Complaints(log)
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: dict[str, float] = {}

    @property
    def begun(self) -> bool:
        return self._resolver is not None

    @property
    def try_time(self) -> float:
        """Seconds a server may say nothing at all before the next one is tried."""
        return self._setup.try_time

    def begin(self) -> ResolverThread:
        """There is a name. Raises OSError where descriptors are short."""
        with self._gate:
            if self._resolver is None:
                need(NEEDED)
                from .resolving import ResolverThread  # dnspython and asyncio are much that few need

                self._resolver = ResolverThread(self._setup, self.transports, self._families)
                self._resolver.attend(self._engine.names_fd, self._asked)
            return self._resolver

    def asked(self) -> None:
        """The hot thread asks for names, and nobody looks yet: begin, or else say that no name server can be asked."""
        try:
            self.begin()
        except Exception as error:
            if not scarce(error):
                raise
            self._complaints.warn("begin", f"no name can be looked for now: {error}")
            with self._gate:
                if self._resolver is None:
                    self._refuse()

    def cached(self, hop: Hop) -> Located | None:
        """Where a hop leads, if nobody has to be asked. Raises NoServer if it leads nowhere."""
        return self._begun().cached(hop)

    async def locate(self, hop: Hop) -> Located:
        """The same, asking. Raises NoServer."""
        return await asyncio.wrap_future(self._begun().locate(hop))

    async def servers(self, hop: Hop) -> Sequence[Server]:
        """Those of a hop, the best first. Raises NoServer, and OSError where descriptors are short."""
        return (await asyncio.wrap_future(self.begin().locate(hop))).servers

    def follow(self, setup: DnsSetup | None) -> None:
        """A reload."""
        with self._gate:
            self._setup = setup or DnsSetup()
            if self._resolver is not None:
                self._resolver.follow(self._setup, self.transports, self._families)

    def end(self) -> None:
        """Before the engine ends."""
        with self._gate:
            if self._resolver is not None:
                self._resolver.end()

    def _begun(self) -> ResolverThread:
        """Raises NoServer where it cannot be begun now."""
        try:
            return self.begin()
        except OSError as error:
            from fastsip.dns import NoServer

            raise NoServer(f"no name server can be asked: {error.strerror}", temporary=True) from error

    def _questions(self) -> Iterator[Wanted]:
        """All that are asked now."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._engine.names_fd)
        while taken := self._engine.take_names():
            yield from taken

    def _refuse(self) -> None:
        """As if no name server answered."""
        for key, *_ in self._questions():
            if key is not None:
                self._engine.located(key, UNSURE_FOR, ())

    # In the resolver's thread.

    def _asked(self) -> None:
        for key, host, port, transport, sips in self._questions():
            try:
                self._take(key, host, port, transport, sips)
            except Exception as error:
                self._lost(key, host, error)

    def _lost(self, key: Key | None, host: str, error: Exception) -> None:
        """Something of our own went wrong."""
        if key is not None:
            self._engine.located(key, UNSURE_FOR, ())
        if scarce(error):
            self._complaints.warn("short", f"{host} cannot be looked for: {error}")
        else:
            self._complaints.failed(f"looking for {host}", error)

    def _take(self, key: Key | None, host: str, port: int | None, transport: str | None, sips: bool) -> None:
        from fastsip.dns import Hop, NoServer, Server

        assert self._resolver is not None
        if key is None:
            failed = Server(transport or "udp", host, port or 0, host, ":" in host)
            self._resolver.failed(failed, FAILED_FOR)
            self._complaints.warn(failed, f"{in_words(failed)} failed: it comes last for {FAILED_FOR:g} s")
            return
        hop = Hop(host, port, transport, sips)
        try:
            located = self._resolver.cached(hop)
        except NoServer as none:
            self._none(key, hop, none)
            return
        if located is not None:
            self._engine.located(key, max(located.expires - time.monotonic(), SHORTEST), rows(located))
            return
        task = asyncio.get_running_loop().create_task(self._find(key, hop))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find(self, key: Key, hop: Hop) -> None:
        from fastsip.dns import NoServer

        assert self._resolver is not None
        try:
            located = await self._resolver.locating(hop)
        except NoServer as none:
            self._none(key, hop, none)
        except Exception as error:
            self._lost(key, hop.host, error)
        else:
            self._engine.located(key, max(located.expires - time.monotonic(), SHORTEST), rows(located))

    def _none(self, key: Key, hop: Hop, none: NoServer) -> None:
        self._engine.located(key, UNSURE_FOR if none.temporary else NONE_FOR, ())
        now = time.monotonic()
        if hop.host not in self._told:
            if len(self._told) >= TOLD:
                self._told = {host: until for host, until in self._told.items() if until > now}
            if len(self._told) >= TOLD:
                self._complaints.warn("others", "other names cannot be reached either")
                return
            self._told[hop.host] = now + INTERVAL
        self._complaints.warn(hop.host, f"{hop} cannot be reached: {none.reason}")


def rows(located: Located) -> Iterator[Row]:
    """What the hot thread draws from: the best priorities first, in each the heaviest first, some addresses of each."""
    choices = [
        (number, choice)
        for number, tier in enumerate(located.tiers)
        for choice in sorted(tier, key=lambda one: (-one.weight, one.servers[0].host))
    ][:SERVERS]
    each = SERVERS // max(1, len(choices))
    for index, (tier, choice) in enumerate(choices):
        for server in choice.servers[:each]:
            yield server.transport, server.address, server.port, tier, index, choice.weight


def in_words(server: Server | Any) -> str:
    host = f"[{server.address}]" if server.v6 else server.address
    return f"{server.transport}:{host}:{server.port}"
