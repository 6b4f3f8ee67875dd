"""The state process as the master sees it: started, pinged, replaced."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from fastsip.launch import StateSetup

from .children import Child
from .problems import CannotStart

log = logging.getLogger(__name__)

MODULE = "fastsip.state.process"
CONFLICT = 2
"""Its exit status when a name is both in the configuration and among the users added."""
PING = 1.0
HUNG_AFTER = 15.0
"""Seconds without an answer to a ping. Its longest turn is reading a store that was away."""
DEATHS = 3
WINDOW = 10.0
PAUSE = 1.0
"""Seconds between attempts after so many deaths in so many seconds. It has no neighbour: it is tried for ever."""


class StateKeeper:
    """Keeps one state process running. Used by the master's loop only.

    `follows` is called with None when the process follows the newest configuration (told so, or started with it), and
    with a text when it refuses it.
    """

    def __init__(
        self,
        setup: Callable[[int], StateSetup],
        fds: list[int],
        watch: Callable[[Child, Callable[[dict[str, object]], None]], None],
        follows: Callable[[str | None], None],
    ) -> None:
        self._setup = setup
        self._fds = fds
        self._watch = watch
        self._follows = follows
        self.child: Child | None = None
        self.restarts = 0
        self._served = False
        self._stopping = False
        self._incarnation = 0
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._retry_at = 0.0
        self._next_ping = 0.0

    def start(self) -> None:
        """Start it anew. Raises CannotStart if the system refuses a process."""
        self._incarnation = max(self._incarnation + 1, time.time_ns() // 1_000_000 & 0x7FFFFFFF)
        self.child = Child("state", MODULE, self._setup(self._incarnation), self._fds)
        self._watch(self.child, self._received)

    @property
    def ready(self) -> bool:
        return self.child is not None and self.child.ready

    def tick(self, now: float, busy: bool) -> None:
        """Start it if it is due, ping it, kill it if it hangs. `busy`: silence means nothing now."""
        child = self.child
        if child is None:
            if self._served and not self._stopping and self._retry_at <= now:
                self._try_start(now)
        elif child.ready and not child.told_to_end:
            if busy:
                child.silent_since = now
            elif now - child.silent_since > HUNG_AFTER:
                child.kill(f"hangs (no answer for {HUNG_AFTER:g} s)")
            if now >= self._next_ping:
                self._next_ping = now + PING
                child.send({"do": "ping"})

    def died(self, child: Child) -> None:
        """It was waited for. Raises CannotStart if it never served: trying again would not help."""
        self.child = None
        if self._stopping:
            return
        conflict = child.process.returncode == CONFLICT
        if not self._served:
            text = f"the state process {child.exit_text()} before it was ready; see above"
            raise CannotStart(text, 2 if conflict else 1)
        log.error("state (pid %d) %s: calls go on, registrations wait", child.pid, child.exit_text())
        if conflict:
            self._follows("a name is both in the configuration and among the users added; see the log")
        self.restarts += 1
        now = time.monotonic()
        self._deaths.append(now)
        too_often = len(self._deaths) == DEATHS and now - self._deaths[0] < WINDOW
        self._retry_at = now + PAUSE if too_often else now

    def tell(self, message: dict[str, object]) -> None:
        """Send it something; if it is not there its successor begins with the newest configuration anyway."""
        if self.child is not None:
            self.child.send(message)

    def stop(self) -> None:
        """Have it write what it holds and end."""
        self._stopping = True
        if self.child is not None:
            self.child.stop()

    def _try_start(self, now: float) -> None:
        try:
            self.start()
        except CannotStart as problem:
            log.error("%s", problem)
            self._retry_at = now + PAUSE

    def _received(self, message: dict[str, object]) -> None:
        if message.get("is") == "ready" and self.child is not None:
            self.child.ready = True
            if self._served:
                log.info("state serves again (pid %d)", self.child.pid)
            self._served = True
            self._follows(None)
        elif message.get("is") == "reloaded":
            error = message.get("error")
            self._follows(None if error is None else str(error))
