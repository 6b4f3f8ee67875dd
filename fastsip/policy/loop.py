"""The event loop of a policy thread: it sleeps while nothing is asked, and gathers while a lot is.

A question that comes while nobody looks wakes the thread at once. After that it looks again of its own accord, the
later the more it has just found, because waking a thread costs more than deciding; when a look finds nothing, it hears
the bell again.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Mapping
from selectors import SelectorKey
from typing import Any

from fastsip.descriptors import need

NAP = 0.004
"""Seconds between two looks at most: the mean question waits half of it."""
NAP_EACH = 0.001
"""Seconds of it for every question the last look has found: a few that come now and then wait less."""
LAPS = 8
"""Looks between two turns of the event loop, where no coroutine waits for one."""


class PacedSelector(selectors.EpollSelector):
    """The loop's wait, which can be seen from another thread and naps where it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = False
        """Whether the loop waits right now: nobody's code runs."""
        self.turns = 0
        self.found = 0
        """What the last look has found: the pause before the next one; taken once."""

    def sleep(self, found: int) -> None:
        """The pause after a look that found so many."""
        self.waiting = True
        time.sleep(min(NAP, found * NAP_EACH))
        self.turns += 1
        self.waiting = False

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        self.turns += 1
        if self.found:
            self.sleep(self.found)
            self.found = 0
        self.waiting = True
        found = super().select(timeout)
        self.waiting = False
        return found


class PolicyLoop(asyncio.SelectorEventLoop):
    """An event loop with such a wait."""

    def __init__(self) -> None:
        """Raises OSError."""
        need(4)
        self.paced = PacedSelector()
        super().__init__(self.paced)


def handled(complaints: Any) -> Any:
    """What the loop calls for errors nobody waits for: those of tasks that a policy started and forgot."""

    def handle(loop: asyncio.AbstractEventLoop, about: Mapping[str, Any]) -> None:
        error = about.get("exception")
        if isinstance(error, BaseException):
            complaints.failed("a task of the policy", error)
        else:
            complaints.wrong("policy", str(about.get("message")))

    return handle
