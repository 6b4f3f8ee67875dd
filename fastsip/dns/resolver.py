"""Locating SIP servers (RFC 3263): from a URI to addresses in the order to be tried.

    resolver = Resolver(DnsSetup(), frozenset({"udp", "tcp"}))
    located = resolver.cached(hop) or await resolver.locate(hop)
    for server in located.servers: ...
        resolver.failed(server, 30)         # no answer, a transport error or a 503: the next one (4.3)

What was found is kept for its time to live; chance and failures are weighed anew for every request, which asks nobody.
"""

from __future__ import annotations

import asyncio
import random as chance
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fastsip._message import Uri
from fastsip.launch import DnsSetup

from .asking import Ask, Asking
from .cache import Cache
from .errors import NoServer, Used
from .failures import Failures
from .hop import PORTS, Hop, default_transport, named_transport, plain_host
from .hosts import HOSTS, Hosts
from .lookup import FAILED_TTL, Lookup
from .nameservers import RESOLV_CONF, NameServers
from .order import Choice, Server, Tier, drawn, fixed, numeric, servers_at
from .search import PARTIAL_TTL, Found, Search, Terms

LOCATING = 4096
"""Hops that are located at the same time."""
NUMERIC_TTL = 3600.0
"""Seconds for an address, which is its own server and could be kept for ever."""


class Located(NamedTuple):
    """Where a request can go."""

    domain: str
    """What the URI names, its maddr if it has one; over TLS a certificate has to be this domain's (RFC 5922 7.3),
    wherever SRV records lead."""
    servers: tuple[Server, ...]
    """At least one, the first one to be tried first."""
    expires: float
    """Until when this may be used, in seconds of the resolver's clock."""
    stale: bool
    """Whether some of it is past its time, because no name server answers (RFC 8767)."""
    why: tuple[Used, ...]
    tiers: tuple[Tier, ...] = ()
    """What the order was drawn from, for whoever draws again."""


class _Kept:
    """What was found for a hop."""

    __slots__ = ("chosen", "error", "expires", "found")

    def __init__(self, found: Found | None, error: NoServer | None, expires: float, chosen: Located | None) -> None:
        self.found = found
        self.error = error
        self.expires = expires
        self.chosen = chosen
        """Where nothing is left to chance, what every request gets while no server has failed."""


class Resolver:
    """Belongs to one event loop; but `cached`, `failed`, `answered` and `statistics` may be called from any thread."""

    def __init__(
        self,
        setup: DnsSetup,
        transports: frozenset[str],
        *,
        families: frozenset[int] = frozenset({4, 6}),
        now: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance.random,
        ask: Ask | None = None,
        hosts: Path = HOSTS,
        resolv_conf: Path = RESOLV_CONF,
    ) -> None:
        """`transports` are those this server can send over, `families` (4, 6) those of the addresses it can send to.
        `now` is a clock in seconds, `random` gives numbers from 0 up to 1. `ask` answers questions in place of name
        servers. Raises ValueError if a name server is no address."""
        self._setup = setup
        self._now = now
        self._random = random
        preferred = (6, 4) if setup.prefer == "ipv6" else (4, 6)
        self._terms = Terms(transports, tuple(one for one in preferred if one in families), setup.naptr)
        self._local = Hosts(now, hosts).addresses
        self._name_servers = NameServers(setup.servers, now, resolv_conf)
        self._asking = Asking(self._name_servers, now)
        self._lookup = Lookup(setup, ask or self._asking, now, self._name_servers.all_rest)
        self._failures = Failures(now)
        self._kept: Cache[Hop, _Kept] = Cache(setup.cache)
        self._locating: dict[Hop, asyncio.Task[_Kept]] = {}

    async def locate(self, where: Hop | Uri | str, *, stable: bool = False) -> Located:
        """The servers of a hop or of a URI, within `setup.timeout` seconds.

        `stable`: in an order that is the same each time, for a stateless proxy (RFC 3263 4.4). Raises NoServer.
        """
        hop = where if isinstance(where, Hop) else Hop.of(where)
        kept = self._known(hop)
        if kept is None:
            task = self._locating.get(hop)
            if task is None:
                if len(self._locating) >= LOCATING:
                    raise NoServer(f"{LOCATING} hops are being located", temporary=True)
                task = asyncio.get_running_loop().create_task(self._find(hop))
                self._locating[hop] = task
                task.add_done_callback(lambda _: self._locating.pop(hop, None))
            try:
                kept = await asyncio.shield(task)
            except asyncio.CancelledError:
                if not task.cancelled():
                    raise
                raise NoServer("the resolver is closed", temporary=True) from None
        return self._chosen(hop, kept, stable)

    def cached(self, where: Hop | Uri | str, *, stable: bool = False) -> Located | None:
        """The same without asking anybody, None if it would have to. Raises NoServer if there is known to be none."""
        hop = where if isinstance(where, Hop) else Hop.of(where)
        kept = self._known(hop)
        return None if kept is None else self._chosen(hop, kept, stable)

    async def locate_response(self, host: str, port: int | None, transport: str) -> Located:
        """Where a response goes when it cannot be sent to where its request came from (RFC 3263 5): by the sent-by and
        the transport of the topmost Via. Raises NoServer."""
        transport = transport.lower()
        if transport in ("ws", "wss"):
            raise NoServer("a response goes back over the WebSocket connection of its request, or nowhere")
        return await self.locate(Hop(plain_host(host), port, transport))

    def failed(self, server: Server, for_seconds: float) -> None:
        """It did not answer, or with 503, or could not be sent to: it comes last for so long."""
        self._failures.failed(server, for_seconds)

    def answered(self, server: Server) -> None:
        """It did answer: what `failed` said of it is over."""
        self._failures.answered(server)

    def renewed(self, setup: DnsSetup, transports: frozenset[str], families: frozenset[int]) -> Resolver:
        """One with another setup that goes on knowing which servers failed, for a reload. Who waits for this one may
        wait on; it is closed after that. Raises ValueError as for a new one."""
        renewed = Resolver(setup, transports, families=families, now=self._now, random=self._random)
        renewed._failures = self._failures
        return renewed

    def forget(self) -> None:
        """Forget what is cached, not which servers failed."""
        self._kept.clear()
        self._lookup.forget()

    def statistics(self) -> dict[str, Any]:
        """`asked`, `unanswered`: questions to name servers since the start; `open`: those of now; `stale`: answers used
        past their time; `answers`, `hops`: what is kept; `failed`: servers that come last; `name_servers`: each with
        `address` and `silent`."""
        return {
            "asked": self._asking.asked,
            "unanswered": self._asking.unanswered,
            "open": self._asking.open,
            "stale": self._lookup.old,
            "answers": len(self._lookup),
            "hops": len(self._kept),
            "failed": len(self._failures),
            "name_servers": self._name_servers.describe(),
        }

    async def close(self) -> None:
        """End what is in flight."""
        self._lookup.close()
        for task in list(self._locating.values()):
            task.cancel()
        await asyncio.gather(*self._locating.values(), return_exceptions=True)

    def _known(self, hop: Hop) -> _Kept | None:
        kept = self._kept.get(hop)
        if kept is None:
            return self._numeric(hop)
        if kept.expires <= self._now():
            return None
        self._kept.used(hop)
        return kept

    def _chosen(self, hop: Hop, kept: _Kept, stable: bool) -> Located:
        found = kept.found
        if found is None:
            assert kept.error is not None
            error = kept.error
            raise NoServer(error.reason, temporary=error.temporary, why=error.why)
        if kept.chosen is not None and (stable or not self._failures):
            return kept.chosen
        servers = fixed(found.tiers) if stable else drawn(found.tiers, self._random)
        if self._failures and not stable:
            servers = self._failures.last(servers)
        return Located(hop.host, tuple(servers), found.expires, found.stale, found.why, found.tiers)

    async def _find(self, hop: Hop) -> _Kept:
        search = Search(hop, self._terms, self._lookup, self._local, self._setup.timeout)
        error: NoServer | None = None
        found: Found | None = None
        try:
            tiers = await search.run()
        except NoServer as raised:
            error = raised
        now = self._now()
        expires = search.expires
        if search.failed or search.local or not search.why:
            expires = min(expires, now + (FAILED_TTL if error is not None else PARTIAL_TTL))
        why = tuple(search.why)
        if error is None:
            found = Found(tiers, expires, search.stale, why)
        else:
            error = NoServer(error.reason, temporary=error.temporary, why=why)
        return self._keep(hop, found, error, expires)

    def _numeric(self, hop: Hop) -> _Kept | None:
        """An address is its own server (RFC 3263 4.1, 4.2)."""
        address = numeric(hop.host)
        if address is None:
            return None
        found: Found | None = None
        error: NoServer | None = None
        expires = self._now() + NUMERIC_TTL
        try:
            sent = self._terms.transports - {"udp"} if hop.reliable else self._terms.transports
            transport = named_transport(hop, self._terms.transports) or default_transport(hop, sent)
            if (6 if ":" in address else 4) not in self._terms.families:
                raise NoServer(f"nothing can be sent to {address} here: the wrong family of addresses")
            servers = servers_at([address], hop.port or PORTS[transport], transport, address)
            found = Found(((Choice(1, servers),),), expires, False, ())
        except NoServer as raised:
            error = raised
        return self._keep(hop, found, error, expires)

    def _keep(self, hop: Hop, found: Found | None, error: NoServer | None, expires: float) -> _Kept:
        chosen = None
        if found is not None and all(len(tier) == 1 for tier in found.tiers):
            servers = tuple(drawn(found.tiers, self._random))
            chosen = Located(hop.host, servers, expires, found.stale, found.why, found.tiers)
        kept = _Kept(found, error, expires, chosen)
        self._kept.put(hop, kept)
        return kept
