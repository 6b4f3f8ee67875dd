"""An engine and the thread it serves in: the same in a worker process and inside another program."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from fastsip._worker import Worker
from fastsip.launch import WorkerSetup

if TYPE_CHECKING:
    from .reception import Reception

log = logging.getLogger(__name__)

JOIN = 2.0
"""Seconds the hot loop may take for its last turn."""
LAST_ANSWERS = 0.1
"""Seconds for the final answers of what was still open to leave, and to be acknowledged."""


class RunningEngine:
    """The engine of one worker, serving from `start` to `end`. All of this belongs to one thread, not the hot one."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Raises OSError, RuntimeError or ValueError if the engine cannot be built."""
        self.worker = Worker(setup)
        self._hot = threading.Thread(target=self._serve, name="fastsip hot", daemon=True)
        self._door = threading.Thread(target=self.worker.run_door, name="fastsip door", daemon=True)
        self._reception = _reception(self.worker, setup)
        self._drain_until: float | None = None
        self._finished = False

    def start(self) -> None:
        self._hot.start()
        if self.worker.has_door:
            self._door.start()
        if self._reception is not None:
            self._reception.begin()

    def log_remarks(self) -> None:
        """Write down what went wrong with connections: those we make are ours to care for."""
        for outgoing, text in self.worker.take_remarks():
            log.log(logging.WARNING if outgoing else logging.INFO, "%s", text)

    def drain(self, seconds: float) -> None:
        """Refuse what would begin a dialog; what is open may finish for so long. Then `drained` once more."""
        self.worker.drain()
        self._drain_until = time.monotonic() + seconds

    def drained(self) -> bool:
        """Call it until it says yes: whatever was open when the time was over has had a final answer."""
        now = time.monotonic()
        still_open = self.worker.open_contexts
        if self._drain_until is None or (still_open and now < self._drain_until):
            return False
        if not self._finished:
            self._finished = True
            self.worker.finish()
            self._drain_until = now + LAST_ANSWERS
            return not still_open
        return True

    def end(self) -> None:
        """Stop serving and free everything."""
        if self._reception is not None:
            self._reception.end()
        if self._hot.ident is not None:
            self.worker.stop()
            self._hot.join(JOIN)
            if self._hot.is_alive():
                log.error("the hot loop does not end: its memory stays")
                return
            if self._door.ident is not None:
                self._door.join(JOIN)
                if self._door.is_alive():
                    log.error("the door does not end: its memory stays")
                    return
        left = self.worker.close()
        log.debug("ended with %s", left)

    def _serve(self) -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        except OSError:
            log.debug("no SCHED_BATCH here")
        self.worker.run()


def _reception(worker: Worker, setup: WorkerSetup) -> Reception | None:
    """For WebSocket, where that is listened to."""
    if not any(one.transport in ("ws", "wss") for one in setup.listeners):
        return None
    from fastsip.websocket import Rules  # h11 and wsproto take a while

    from .reception import Reception

    return Reception(worker, setup.listeners, Rules(frozenset(setup.origins) or None, frozenset(setup.paths) or None))
