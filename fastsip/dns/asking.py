"""One question to the name servers, until one of them answers: UDP first, TCP for what is truncated, by dnspython."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from .errors import NoAnswer
from .nameservers import NameServer, NameServers
from .records import Said, read

PAYLOAD = 1232
"""Bytes of an answer by UDP: no fragments (DNS flag day 2020)."""
FIRST_TRY = 0.5
"""Seconds a name server has for its first answer, and twice as long each time all of them were asked."""
IN_FLIGHT = 256
"""Sockets at the same time."""
ONE_DOMAIN = 64
"""Of these for names of one domain, by its last two labels: one with dead name servers leaves others their share."""
WAITING = 4096
"""Questions that wait for one of these."""
OWN = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors that say nothing of the name server."""

_BACKEND: Any = dns.asyncbackend.get_backend("asyncio")


class Ask(Protocol):
    """Ask name servers for a name and type, for at most so many seconds; raises NoAnswer."""

    async def __call__(self, name: str, kind: str, patience: float) -> Said: ...


class _Share:
    """Of one domain; there as long as somebody asks or waits."""

    __slots__ = ("turns", "users")

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(ONE_DOMAIN)
        self.users = 0


class Asking:
    """Asks. Belongs to one event loop."""

    def __init__(self, servers: NameServers, now: Callable[[], float]) -> None:
        self._servers = servers
        self._now = now
        self._sockets = asyncio.Semaphore(IN_FLIGHT)
        self._domains: dict[str, _Share] = {}
        self.open = 0
        """Questions asked now."""
        self.asked = 0
        self.unanswered = 0

    async def __call__(self, name: str, kind: str, patience: float) -> Said:
        """The answer of the first name server that has one. Raises NoAnswer if none has within `patience` seconds, if
        each of them refuses, or if too much is asked already."""
        if self.open >= IN_FLIGHT + WAITING:
            raise NoAnswer(f"{self.open} questions are open")
        self.open += 1
        self.asked += 1
        try:
            async with asyncio.timeout(patience), self._share(name), self._sockets:
                return await self._rounds(name, kind)
        except TimeoutError:
            self.unanswered += 1
            raise NoAnswer("no answer in time") from None
        except NoAnswer:
            self.unanswered += 1
            raise
        finally:
            self.open -= 1

    @contextlib.asynccontextmanager
    async def _share(self, name: str) -> AsyncIterator[None]:
        """Wait until no more than ONE_DOMAIN ask for names of this domain."""
        domain = ".".join(name.rsplit(".", 2)[-2:])
        share = self._domains.get(domain)
        if share is None:
            share = self._domains[domain] = _Share()
        share.users += 1
        try:
            async with share.turns:
                yield
        finally:
            share.users -= 1
            if not share.users:
                del self._domains[domain]

    async def _rounds(self, name: str, kind: str) -> Said:
        try:
            question = dns.name.from_text(name, dns.name.root)
        except dns.exception.DNSException as error:
            raise NoAnswer(str(error)) from error
        given = FIRST_TRY
        while True:
            refused = None
            silent = False
            for server in self._servers.order():
                try:
                    return await self._one(server, question, kind, given)
                except NoAnswer as error:
                    refused = error
                except TimeoutError:
                    silent = True
            if not silent:
                raise refused or NoAnswer("there is no name server")
            given *= 2

    async def _one(self, server: NameServer, name: dns.name.Name, kind: str, given: float) -> Said:
        """Raises TimeoutError if nothing came, NoAnswer if what came is none."""
        since = self._now()
        try:
            response = await self._exchange(server, name, kind, given, edns=True)
            if response.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP):  # older than EDNS
                response = await self._exchange(server, name, kind, given, edns=False)
        except dns.exception.Timeout:
            self._servers.silent(server, since)
            raise TimeoutError from None
        except asyncio.CancelledError:
            if self._now() - since >= FIRST_TRY:  # it had its time, and then the time for all of it was over
                self._servers.silent(server, since)
            raise
        except OSError as error:  # nobody listens there, or no way leads there; or it could not even be asked
            if error.errno not in OWN:
                self._servers.silent(server, since)
            raise NoAnswer(error.strerror or str(error)) from error
        except EOFError as error:
            raise NoAnswer("the connection was closed") from error
        except dns.exception.DNSException as error:
            self._servers.answered(server)
            raise NoAnswer(str(error) or type(error).__name__) from error
        self._servers.answered(server)
        return read(response)

    async def _exchange(
        self, server: NameServer, name: dns.name.Name, kind: str, given: float, *, edns: bool
    ) -> dns.message.Message:
        query = dns.message.make_query(name, dns.rdatatype.from_text(kind), use_edns=0 if edns else -1, payload=PAYLOAD)
        where = server.address, server.port
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        # Connected, so that it is told where nobody listens; one for each question, with a port nobody can guess.
        async with await _BACKEND.make_socket(family, socket.SOCK_DGRAM, 0, None, where) as connected:
            try:
                # Errors are passed over, and a time-out is what remains: anybody may send a wrong answer (RFC 5452).
                return await dns.asyncquery.udp(
                    query,
                    server.address,
                    timeout=given,
                    port=server.port,
                    sock=connected,
                    ignore_unexpected=True,
                    ignore_errors=True,
                    raise_on_truncation=True,
                )
            except dns.message.Truncated:
                self._servers.answered(server)
        return await dns.asyncquery.tcp(query, server.address, timeout=given, port=server.port)
