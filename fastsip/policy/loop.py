"""The event loop of a policy thread: it sleeps while nothing is asked, and gathers while a lot is.

A question that comes while nobody looks wakes the thread at once. After that it looks again every `NAP` without being
woken, because waking a thread costs more than deciding, and hears the bell again when a look finds nothing.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Mapping
from selectors import SelectorKey
from typing import Any

NAP = 0.0005
"""Seconds between two looks while questions come: about what the mean question waits for the next look, twice."""


class PacedSelector(selectors.EpollSelector):
    """The loop's wait, which can be seen from another thread and naps where it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = False
        """Whether the loop waits right now: nobody's code runs."""
        self.turns = 0
        self.nap = 0.0
        """Seconds to sleep before the next look; taken once."""

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        self.turns += 1
        self.waiting = True
        if self.nap:
            time.sleep(self.nap)
            self.nap = 0.0
        found = super().select(timeout)
        self.waiting = False
        return found


class PolicyLoop(asyncio.SelectorEventLoop):
    """An event loop with such a wait."""

    def __init__(self) -> None:
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
