"""What goes wrong in a policy, in the log once per place and while: a mistake in a route is made at every call."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import NamedTuple

from fastsip.policy.sources import is_own

INTERVAL = 10.0
"""Seconds between two lines about the same place."""
PLACES_AT_MOST = 256
TEXTS_AT_MOST = 16
"""Different ones about the same place, while the text says more than the place: it may hold what a caller wrote."""


class Said(NamedTuple):
    """A place together with what was said of it."""

    place: Hashable
    text: str


class Complaints:
    """Lines for the log, rate-limited by place. Any thread."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._places: dict[Hashable, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def failed(self, what: str, error: BaseException, own: str = "") -> None:
        """An exception, with its traceback, the part in front left out that is not the user's (`sources.own_root`)."""
        users = _from(error.__traceback__, own)
        trace = users or error.__traceback__
        place = (what, type(error), _end(trace))
        # Where no code of the user's ran, as with a plan that cannot be sent, the place is the same for all mistakes.
        said = str(error) if own and users is None else None
        self._tell(place, logging.ERROR, f"{what} failed", (type(error), error.with_traceback(trace), trace), said)

    def wrong(self, what: str, text: str) -> None:
        """Something that is not as it has to be, told by its text alone."""
        self._tell((what, text), logging.ERROR, f"{what}: {text}", None)

    def warn(self, place: Hashable, text: str) -> None:
        self._tell(place, logging.WARNING, text, None)

    def _tell(self, place: Hashable, level: int, text: str, exc_info: object, said: str | None = None) -> None:
        now = self._clock()
        with self._lock:
            if said is not None and self._may_say(place, said, now):
                place = Said(place, said)
            last, count = self._places.get(place, (None, 0))
            if last is not None and now - last < INTERVAL:
                self._places[place] = last, count + 1
                return
            if last is None and len(self._places) >= PLACES_AT_MOST:
                del self._places[min(self._places, key=lambda each: self._places[each][0])]
            self._places[place] = now, 0
        if count:
            text += f" (and {count} times since it was last told)"
        self._log.log(level, "%s", text, exc_info=exc_info)  # type: ignore[arg-type]

    def _may_say(self, place: Hashable, said: str, now: float) -> bool:
        """Whether this text is told apart from others about its place. With the lock."""
        lately = {each.text for each, (last, _) in self._places.items()
                  if isinstance(each, Said) and each.place == place and now - last < INTERVAL}  # fmt: skip
        return said in lately or len(lately) < TEXTS_AT_MOST


def _from(trace: TracebackType | None, own: str) -> TracebackType | None:
    """The traceback from the first frame of the user's own code on; None without one."""
    while own and trace is not None:
        if is_own(trace.tb_frame.f_code.co_filename, own):
            return trace
        trace = trace.tb_next
    return None


def _end(trace: TracebackType | None) -> tuple[str, int]:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ("", 0)
