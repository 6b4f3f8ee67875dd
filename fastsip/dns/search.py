"""From a hop to its servers: RFC 3263 4.1 and 4.2, once through, on top of lookups.

Where a decision of the RFC is open, it is this:

- Of the NAPTR records the first that leads to a server is followed, and no other. One that has what RFC 3263 has no use
  for (a regular expression, other flags, no replacement) is passed over.
- Without NAPTR records a SIP URI goes by UDP if its domain has SRV records for it, else by TCP; SIPS goes by TLS.
- A name server that fails for NAPTR or SRV, but knows addresses, is one that has no such records.
- An SRV record with the target "." says that there is no such service: addresses are not tried for it then (RFC 2782).
- Of a family of addresses that keeps everybody waiting, nothing is used.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from .errors import NoAnswer, NoServer, Used
from .hop import PORTS, SERVICES, Hop, default_transport, named_transport, plain_host
from .naptr import chosen
from .order import Choice, Tier, of_families, servers_at, weighed
from .records import Answer, Naptr, Record, Srv

FAMILIES = {4: "A", 6: "AAAA"}
TARGETS_AT_MOST = 32
"""SRV records that are followed, of one service."""
ADDRESSES_AT_MOST = 16
"""Of one host."""
GRACE = 0.5
"""Seconds that one family of addresses waits for the other."""
PARTIAL_TTL = 5.0
"""Seconds for what was found while some name server failed."""

_NAME = re.compile(r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


class Terms(NamedTuple):
    """What a server can do, and what it likes."""

    transports: frozenset[str]
    families: tuple[int, ...]
    """4 and 6, the preferred one first."""
    naptr: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The servers of a hop, not yet in order. Times are those of the resolver's clock, in seconds."""

    tiers: tuple[Tier, ...]
    expires: float
    stale: bool
    why: tuple[Used, ...]


Lookup = Callable[[str, str, float], Awaitable[Answer]]
"""Name, type and seconds to wait; raises NoAnswer."""
Local = Callable[[str], "tuple[str, ...] | None"]
"""The addresses of a name that no name server is asked about."""


class Search:
    """One run, for one hop."""

    def __init__(self, hop: Hop, terms: Terms, lookup: Lookup, local: Local, timeout: float) -> None:
        self._hop = hop
        self._terms = terms
        self._lookup = lookup
        self._local = local
        self._end = asyncio.get_running_loop().time() + timeout
        self._dead_end = "it has no address"
        self.expires = float("inf")
        self.stale = False
        self.failed = False
        """Whether something was asked that nobody could answer."""
        self.local = False
        """Whether something comes from this machine's own files."""
        self.why: list[Used] = []

    async def run(self) -> tuple[Tier, ...]:
        """Raises NoServer."""
        name, port = plain_host(self._hop.host), self._hop.port
        if not _NAME.fullmatch(name):
            raise NoServer(f'"{name}" is no host name')
        named = named_transport(self._hop, self._terms.transports)
        if port is not None or self._local(name) is not None:
            transport = named or self._default()
            tiers = await self._host(name, port or PORTS[transport], transport)
        elif named is not None:
            tiers = await self._service(name, named)
        else:
            tiers = await self._selected(name)
        if not tiers:
            reason = "no name server could say" if self.failed else self._dead_end
            raise NoServer(f"{name}: {reason}", temporary=self.failed or self.stale)
        return tiers

    # Which transport (4.1)

    async def _selected(self, name: str) -> tuple[Tier, ...]:
        """Where neither a transport nor a port is given."""
        if self._terms.naptr:
            half = (self._end - asyncio.get_running_loop().time()) / 2
            records = await self._records(name, "NAPTR", half) or ()
            candidates = chosen(records, self._hop, self._transports())
            for record, _, wrong in candidates:
                if wrong:
                    self._tell(name, "NAPTR", f"passed over: {record} ({wrong})")
            usable = [(record, transport) for record, transport, wrong in candidates if not wrong]
            if usable:
                return await self._by_naptr(name, usable)
        wanted = self._wanted()
        asked = await asyncio.gather(*(self._srv(f"{SERVICES[one]}.{name}", one) for one in wanted))
        for tiers in asked:
            if tiers:
                return tiers
        if any(tiers is not None for tiers in asked):
            return ()
        transport = self._default()
        return await self._host(name, PORTS[transport], transport)

    async def _by_naptr(self, name: str, usable: list[tuple[Naptr, str]]) -> tuple[Tier, ...]:
        without: str | None = None
        for record, transport in usable:
            if record.flags.lower() == "a":
                tiers: tuple[Tier, ...] | None = await self._host(record.replacement, PORTS[transport], transport)
            else:
                tiers = await self._srv(record.replacement, transport)
            if tiers:
                return tiers
            if tiers is None and without is None:
                without = transport
        # Not one of them leads anywhere; one whose SRV records do not exist leads to the domain itself (4.2).
        return await self._host(name, PORTS[without], without) if without is not None else ()

    def _transports(self) -> frozenset[str]:
        sent = self._terms.transports
        return sent - {"udp"} if self._hop.reliable else sent

    def _wanted(self) -> list[str]:
        """Whose SRV records are asked for where there is no NAPTR record, the most wanted first."""
        sent = self._transports()
        if self._hop.sips:
            return ["tls"] if "tls" in sent else []
        return [one for one in ("udp", "tcp") if one in sent] or [one for one in ("tls",) if one in sent]

    def _default(self) -> str:
        return default_transport(self._hop, self._transports())

    # Which servers (4.2)

    async def _service(self, name: str, transport: str) -> tuple[Tier, ...]:
        """By SRV records of a transport, or else by addresses."""
        tiers = await self._srv(f"{SERVICES[transport]}.{name}", transport)
        return await self._host(name, PORTS[transport], transport) if tiers is None else tiers

    async def _srv(self, name: str, transport: str) -> tuple[Tier, ...] | None:
        """None if there are no SRV records; empty if they lead nowhere."""
        found = await self._records(name, "SRV")
        records = sorted(one for one in found or () if isinstance(one, Srv))
        if not records:
            return None
        usable = []
        for record in records:
            if not record.target:
                self._tell(name, "SRV", f"passed over: {record} (no such service)")
            elif not record.port:
                self._tell(name, "SRV", f"passed over: {record} (port 0)")
            else:
                usable.append(record)
        self._dead_end = "its SRV records lead to no address" if usable else "it has no such service, by its SRV record"
        usable = usable[:TARGETS_AT_MOST]
        # Each with its own port, each host asked for once.
        hosts = list(dict.fromkeys(record.target for record in usable))
        addresses = dict(zip(hosts, await asyncio.gather(*map(self._addresses, hosts)), strict=True))
        tiers: dict[int, list[Choice]] = {}
        for record in usable:
            servers = servers_at(addresses[record.target], record.port, transport, record.target)
            if servers:
                tiers.setdefault(record.priority, []).append(Choice(record.weight, servers))
        return tuple(map(weighed, tiers.values()))

    async def _host(self, name: str, port: int, transport: str) -> tuple[Tier, ...]:
        servers = servers_at(await self._addresses(name), port, transport, name)
        return ((Choice(1, servers),),) if servers else ()

    async def _addresses(self, name: str) -> list[str]:
        """Of the families that can be sent to, the preferred one first."""
        local = self._local(name)
        if local is not None:
            self._tell(name, "", f"known here: {', '.join(local) or 'no such name'}")
            self.local = True
            return of_families(local, self._terms.families)[:ADDRESSES_AT_MOST]
        tasks = [asyncio.ensure_future(self._records(name, FAMILIES[one])) for one in self._terms.families]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if any(task.done() and task.result() for task in tasks):
            _, late = await asyncio.wait(tasks, timeout=GRACE)
        else:
            _, late = await asyncio.wait(tasks)
        for task in late:
            task.cancel()
            self.failed = True
        found = [record for task in tasks if task.done() for record in task.result() or ()]
        return [record for record in found if isinstance(record, str)][:ADDRESSES_AT_MOST]

    async def _records(self, name: str, kind: str, patience: float | None = None) -> tuple[Record, ...] | None:
        """None if nobody could say."""
        left = self._end - asyncio.get_running_loop().time()
        try:
            answer = await self._lookup(name, kind, left if patience is None else min(patience, left))
        except NoAnswer as error:
            self.failed = True
            self._tell(name, kind, f"failed: {error}")
            return None
        self.expires = min(self.expires, answer.expires)
        self.stale = self.stale or answer.stale
        for record in answer.records:
            self._tell(name, kind, str(record))
        if not answer.records:
            self._tell(name, kind, "none")
        return answer.records

    def _tell(self, name: str, kind: str, text: str) -> None:
        self.why.append(Used(name, kind, text))
