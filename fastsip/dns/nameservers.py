"""Which name servers are asked, and in what order: as given, those that were silent last.

One that did not answer in its time, and nothing else meanwhile either, rests for a second, then two, then four, at most
a minute; an answer of any kind ends that. Resting means to be asked after the others, not to be left out: when all of
them rest they are asked all the same.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .watched import Watched

log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
PORT = 53
FIRST_REST = 1.0
LONGEST_REST = 60.0
DEFAULT = ("127.0.0.1",)
"""Where resolv.conf names none (resolv.conf(5))."""


@dataclass(slots=True)
class NameServer:
    """One of them. Times are those of the resolver's clock, in seconds."""

    address: str
    port: int = PORT
    rests_until: float = 0.0
    rest: float = 0.0
    """How long it rests this time; 0 while it answers."""
    answered_at: float = float("-inf")

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @classmethod
    def of(cls, text: str) -> NameServer:
        """From "192.0.2.53", "192.0.2.53:53", "2001:db8::53" or "[2001:db8::53]:53". Raises ValueError."""
        host, port = text, ""
        if text.startswith("["):
            host, bracket, port = text[1:].partition("]")
            if not bracket or (port and not port.startswith(":")):
                raise ValueError(text)
            port = port[1:] if port else str(PORT)
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        else:
            port = str(PORT)
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(text)
        return cls(str(ipaddress.ip_address(host)), int(port))


def read_resolv_conf(text: str) -> tuple[str, ...]:
    """The addresses of its `nameserver` lines, at most three, as the C library has it (resolv.conf(5))."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0] == "nameserver":
            try:
                found.append(str(ipaddress.ip_address(fields[1])))
            except ValueError:
                continue
    return tuple(found[:3]) or DEFAULT


class NameServers:
    """Those of the setup, or of the system's file."""

    def __init__(self, given: Sequence[str], now: Callable[[], float], path: Path = RESOLV_CONF) -> None:
        """Raises ValueError if one given is no address."""
        self._now = now
        self._file: Watched[tuple[str, ...]] | None = None
        if not given:
            self._file = Watched(path, read_resolv_conf, DEFAULT, now)
        self._names: tuple[str, ...] = tuple(given)
        self._servers = [NameServer.of(one) for one in given]

    def order(self) -> list[NameServer]:
        """All of them, the one to be asked first in front."""
        if self._file is not None and (names := self._file.value()) != self._names:
            self._names = names
            known = {str(one): one for one in self._servers}
            new = [NameServer.of(f"[{name}]:{PORT}") for name in names]
            self._servers = [known.get(str(one), one) for one in new]
        now = self._now()
        return sorted(self._servers, key=lambda one: one.rests_until if one.rests_until > now else 0.0)

    def describe(self) -> list[dict[str, str | bool]]:
        """Each with its `address` and whether it is `silent`."""
        now = self._now()
        return [{"address": str(one), "silent": one.rests_until > now} for one in self._servers]

    def answered(self, server: NameServer) -> None:
        """Anything that shows it lives."""
        server.answered_at = self._now()
        if server.rest > FIRST_REST:
            log.info("name server %s answers again", server)
        server.rest = server.rests_until = 0.0

    def silent(self, server: NameServer, since: float) -> None:
        """Nothing came to a question asked at `since`."""
        now = self._now()
        if server.answered_at <= since and server.rests_until <= now:
            server.rest = min(2 * server.rest or FIRST_REST, LONGEST_REST)
            server.rests_until = now + server.rest
            if server.rest == 2 * FIRST_REST:  # one lost datagram is no news
                log.warning("name server %s does not answer", server)

    def all_rest(self) -> bool:
        """Whether none of them is known to answer."""
        now = self._now()
        return bool(self._servers) and all(one.rests_until > now for one in self._servers)
