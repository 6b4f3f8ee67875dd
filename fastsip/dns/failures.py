"""Servers that failed, across requests: they are tried after all others until their time is over (RFC 3263 4.3)."""

from __future__ import annotations

from collections.abc import Callable

from .order import Server

KEPT = 4096
"""Servers; beyond it the one whose time ends first is forgotten."""

Place = tuple[str, str, int]
"""Transport, address, port: the same server whatever name led there."""


class Failures:
    """Any thread's. Times are those of the resolver's clock, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until: dict[Place, float] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def __len__(self) -> int:
        return len(self._until)

    def failed(self, server: Server, seconds: float) -> None:
        """Last for so long from now, or longer if that was said before."""
        place = server[:3]
        if len(self._until) >= KEPT and place not in self._until:
            self._forget()
        self._until[place] = max(self._until.get(place, 0.0), self._now() + seconds)

    def answered(self, server: Server) -> None:
        """It lives."""
        self._until.pop(server[:3], None)

    def last(self, servers: list[Server]) -> list[Server]:
        """Those that failed behind the others; each part in the order it had."""
        failed = [server for server in servers if self._is_failed(server)]
        if not failed or len(failed) == len(servers):
            return servers
        return [server for server in servers if server not in failed] + failed

    def _is_failed(self, server: Server) -> bool:
        place = server[:3]
        until = self._until.get(place)
        if until is None:
            return False
        if until > self._now():
            return True
        self._until.pop(place, None)
        return False

    def _forget(self) -> None:
        now = self._now()
        left = {place: until for place, until in list(self._until.items()) if until > now}
        if len(left) >= KEPT:
            del left[min(left, key=lambda place: left[place])]
        self._until = left
