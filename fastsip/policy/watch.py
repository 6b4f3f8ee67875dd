"""Looks after the policy threads: whose code does not come back, and where it hangs.

A plain function, or a coroutine between two awaits, that holds its thread for `LIMIT` seconds blocks every other
request that has to be decided. A thread that gets no CPU is not blocked.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from fastsip.policy.sources import is_own

if TYPE_CHECKING:
    from fastsip.policy.threads import Policy, PolicyThread

LIMIT = 0.1
"""Seconds a policy may hold its thread at a time."""
SAMPLE = 0.025
"""Seconds between two looks while it is busy."""
IDLE = 0.1
"""Seconds between two looks while it is not."""
BUSY_SHARE = 0.5
"""Of the time it was looked at: a thread that wants to run and had less CPU is starved, not blocked."""


class Watch:
    """A thread that looks now and then."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastsip policy watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._look()
            except Exception as error:
                self._policy.complaints.failed("the watch", error)

    def _look(self) -> None:
        """Until the end."""
        seen: dict[PolicyThread, Seen] = {}
        pause, last = IDLE, time.monotonic()
        while not self._over.wait(pause):
            now = time.monotonic()
            late, last = now - last > pause + LIMIT / 2, now
            self._policy.overdue(now)
            before, seen, pause = seen, {}, IDLE
            for thread in self._policy.watched():
                sample = _sample(thread)
                if sample is None:
                    continue
                pause, known = SAMPLE, before.get(thread)
                if late or known is None or not _same(sample, known.sample):
                    seen[thread] = Seen(sample, now, _cpu(thread))
                elif now - known.since < LIMIT or _starved(thread, known.used, now - known.since):
                    seen[thread] = known
                else:
                    self._policy.blocked(thread, _where(thread))


class Seen(NamedTuple):
    """What a thread has been doing since then, and what CPU it had used by then."""

    sample: tuple[object, ...]
    since: float
    used: float


def _sample(thread: PolicyThread) -> tuple[object, ...] | None:
    """What the thread does, to be compared with what it does later; None while it waits for questions."""
    paced = thread.loop.paced
    if paced.waiting:
        return None
    return thread, paced.turns, thread.desk.current, asyncio.current_task(thread.loop)


def _same(a: tuple[object, ...], b: tuple[object, ...]) -> bool:
    return a[1] == b[1] and a[0] is b[0] and a[2] is b[2] and a[3] is b[3]


def _task(thread: PolicyThread, name: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/self/task/{thread.thread.native_id}/{name}").read_text()
    return ""


def _cpu(thread: PolicyThread) -> float:
    words = _task(thread, "schedstat").split()
    return int(words[0]) / 1e9 if words else 0.0


def _starved(thread: PolicyThread, before: float, elapsed: float) -> bool:
    state = _task(thread, "stat").rpartition(")")[2].split()
    return bool(state) and state[0] == "R" and _cpu(thread) - before < BUSY_SHARE * elapsed


def _where(thread: PolicyThread) -> str:
    """Function, file and line of the policy's own code that hangs."""
    frame = sys._current_frames().get(thread.thread.ident or 0)
    found = _own(frame, thread.desk.module.own if thread.desk.module else "") or frame
    if found is None:
        return "a policy does not come back"
    name = found.f_code.co_qualname
    return f"{name} in {found.f_code.co_filename}:{found.f_lineno} has not come back for {LIMIT * 1000:.0f} ms"


def _own(frame: FrameType | None, own: str) -> FrameType | None:
    while frame is not None:
        if is_own(frame.f_code.co_filename, own):
            return frame
        frame = frame.f_back
    return None
