"""An event loop in virtual time: when nothing is to be done it does not wait, it is later."""

from __future__ import annotations

import asyncio
import selectors
from selectors import SelectorKey


class _Jump(selectors.DefaultSelector):
    """Instead of waiting, moves the clock. What waits for a descriptor or a thread, and for no time, waits really."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.frozen = False

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        found = super().select(0)
        if found or timeout is None or timeout <= 0:
            return found if found or timeout is not None else super().select(None)
        if not self.frozen:
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """`asyncio.sleep(60)` takes no time in it, and `time()` says that a minute has passed."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jump.now

    def pass_time(self, until: float) -> None:
        """Run what is due until then, and be there."""

        async def idle() -> None:
            await asyncio.sleep(max(0.0, until - self.time()))

        self.run_until_complete(idle())
        self._jump.now = max(self._jump.now, until)
