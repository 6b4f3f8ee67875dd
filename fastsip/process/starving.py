"""Whether a silent child hangs, or gets no CPU: where it is the second, a new one would get none either."""

from __future__ import annotations

import contextlib
from pathlib import Path

ENOUGH = 0.2
"""Seconds of CPU in which any healthy child would have made a turn."""


class Silence:
    """What a silent child does with its time. The system counts a wait for a CPU only when it is over, so a thread that
    waits is told by its state (runnable) and by CPU time that stands still."""

    def __init__(self, pid: int) -> None:
        """The child `pid` has just been found silent."""
        self._pid = pid
        self._used = used(pid)

    def starved(self) -> bool:
        """Whether it wants to run and has had no more than `ENOUGH` seconds since."""
        return runnable(self._pid) and used(self._pid) - self._used < ENOUGH


def used(pid: int) -> float:
    """Seconds of CPU all its threads have had."""
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            nanoseconds += int(task.read_text().split()[0])
    return nanoseconds / 1e9


def runnable(pid: int) -> bool:
    """Whether a thread of it runs or waits for a CPU."""
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if task.read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False
