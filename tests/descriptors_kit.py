"""Servers without descriptors, and what they do meanwhile."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from harness import Server
from stream_kit import StreamServer


class Poor(StreamServer):
    """One whose processes may have so many descriptors."""

    most = 150

    def command(self) -> list[str]:
        return ["prlimit", f"--nofile={self.most}:{self.most}", *super().command()]


def workers(server: Server) -> list[int]:
    """Their process numbers."""
    return [pid for pid, kind in server.children().items() if kind == "worker"]


def used(pid: int) -> int:
    """Descriptors it has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def seconds(pid: int) -> float:
    """Of CPU it has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


@contextlib.contextmanager
def none_left(server: Server) -> Iterator[None]:
    """Meanwhile its workers can have no more descriptors."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers(server)}
    for pid, (_, hard) in before.items():
        taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        free = min(set(range(len(taken) + 1)) - taken)
        assert free > 10, f"{free}: poll takes no more than that many either"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
