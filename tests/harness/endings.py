"""Servers that come to rest while other tests go on: it takes one 64*T1 until nothing is left in it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from .server import Server


class Endings:
    """Takes servers when their tests are over; leaving it raises what was wrong with any of them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(8)
        self._ends: list[Future[None]] = []

    def take(self, server: Server) -> None:
        """Wait until nothing is alive in it, and stop it. A server that is not taken is its test's to stop."""
        self._ends.append(self._pool.submit(_end, server))

    def __enter__(self) -> Endings:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown()
        for end in self._ends:
            end.result()


def _end(server: Server) -> None:
    try:
        server.quiet()
        assert "started again" not in server.log, f"a worker died or hung\n{server.log}"
    finally:
        server.stop()
