"""An event loop in virtual time: when nothing is to be done it does not wait, it is later."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from selectors import SelectorKey


class _Selector(selectors.DefaultSelector):
    """Asks somebody else what to do where a real one waits."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: Callable[[float | None], None] = lambda timeout: None

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        found = super().select(0)
        if not found and (timeout is None or timeout > 0):
            self.idle(timeout)
            found = super().select(0)
        return found

    def select_really(self) -> None:
        super().select(None)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`asyncio.sleep(60)` takes no time in it, and `time()` says that a minute has passed. Only what waits for nothing
    but a descriptor or a thread waits really."""

    def __init__(self) -> None:
        self.virtual = _Selector()
        self.virtual.idle = self._jump
        self.now = 0.0
        super().__init__(self.virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now

    def pass_time(self, until: float) -> None:
        """Run what is due until then, and be there."""

        async def idle() -> None:
            await asyncio.sleep(max(0.0, until - self.time()))

        self.run_until_complete(idle())
        self.now = max(self.now, until)

    def _jump(self, timeout: float | None) -> None:
        if timeout is None:
            self.virtual.select_really()
        else:
            self.now += timeout


class FollowingLoop(VirtualLoop):
    """One whose time is somebody else's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: float | None = None
        super().__init__()
        self.virtual.idle = self._pause

    def time(self) -> float:
        return self._clock()

    def turn(self) -> float | None:
        """Run all that can be run at this moment; when to come again, None if nothing waits for a time."""
        self.run_forever()
        return self._due

    def _pause(self, timeout: float | None) -> None:
        self._due = None if timeout is None else self.time() + timeout
        self.stop()
