"""Lines about peers, so many a second, and how many others there were: `ext/remark.h` for a thread that may log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

A_SECOND = 5


class Remarks:
    """What there is to say of peers; one thread's."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._second = -1
        self._said = 0
        self._unsaid = 0

    def say(self, text: str) -> None:
        """Log it, or count it for the next line that is logged."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._said = second, 0
        if self._said == A_SECOND:
            self._unsaid += 1
            return
        before = f" ({self._unsaid} more before)" if self._unsaid else ""
        self._said, self._unsaid = self._said + 1, 0
        self._log.info("%s%s", text, before)
