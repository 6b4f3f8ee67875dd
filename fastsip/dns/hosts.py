"""Names this machine knows by itself: those of /etc/hosts, `localhost` and `invalid` (RFC 6761 6.3, 6.4).

No name server is asked about them, for no type of record.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path

from .watched import Watched

HOSTS = Path("/etc/hosts")
LOOPBACK = ("127.0.0.1", "::1")


def read_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Addresses by name, in the order of the file. Lines that are none are passed over."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            address = str(ipaddress.ip_address(fields[0]))
        except ValueError:
            continue
        for name in fields[1:]:
            name = name.lower().rstrip(".")
            if address not in found.get(name, ()):
                found[name] = (*found.get(name, ()), address)
    return found


class Hosts:
    """Follows the file."""

    def __init__(self, now: Callable[[], float], path: Path = HOSTS) -> None:
        empty: Mapping[str, tuple[str, ...]] = {}
        self._file: Watched[Mapping[str, tuple[str, ...]]] = Watched(path, read_hosts, empty, now)

    def addresses(self, name: str) -> tuple[str, ...] | None:
        """Of a name in lower case without a dot at its end; None if it is one to ask name servers about."""
        found = self._file.value().get(name)
        if found is not None:
            return found
        last = name.rpartition(".")[2]
        if last == "localhost":
            return LOOPBACK
        return () if last == "invalid" else None
