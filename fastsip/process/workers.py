"""The workers as the master sees them: started, watched, replaced, taken over, drained."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from fastsip.launch import PolicySetup, Settings, TlsSetup, WorkerSetup

from . import crashfile, takeover
from .children import Child
from .following import Following
from .listeners import Listeners
from .problems import CannotStart
from .setups import worker_fds
from .shared import Shared
from .starving import Silence

log = logging.getLogger(__name__)

MODULE = "fastsip.process.worker"
HUNG_AFTER = 3.0
"""Seconds without a turn of the hot loop after which a worker is hung."""
SILENT_AFTER = 1.0
"""Seconds after which it is looked at more closely: a worker that gets no CPU is not hung."""
START_LIMIT = 20.0
"""Seconds a worker may take from its start until it serves."""
PAUSE = 1.0
"""Seconds between attempts when a worker dies too often and no neighbour can take over."""


class Workers:
    """All workers of a server. Used by the master's loop only.

    `children[i]` is None while worker i is not running: dead and waiting for its next attempt (`retry_at`), or, when
    draining, finished. `adopted_by[i]` is the neighbour that reads its sockets and owns its buckets. `follows` is
    called with a worker that follows the newest configuration, with what it could not follow, and whether it has just
    begun with it; one that could not is told again until it does.
    """

    def __init__(
        self,
        shared: Shared,
        listeners: Listeners,
        setup: Callable[[int, int], WorkerSetup],
        crash_directory: Path,
        watch: Callable[[Child, Callable[[dict[str, object]], None]], None],
        follows: Callable[[int, str, bool], None],
    ) -> None:
        self._shared = shared
        self._listeners = listeners
        self._setup = setup
        self._crash_directory = crash_directory
        self._watch = watch
        self._follows = follows
        self.count = len(shared.wake_fds)
        self.children: list[Child | None] = [None] * self.count
        self.draining = False
        self.drained: set[int] = set()
        self.replaced = 0
        self.adopted_by: dict[int, int] = {}
        self.following = Following()
        self._newest: dict[str, object] = {}
        """The last order to follow; before any reload it says what they began with."""
        self._deaths = [takeover.Deaths() for _ in range(self.count)]
        self._retry_at: dict[int, float] = {}
        self._incarnations = [0] * self.count
        self._silence: dict[int, Silence] = {}

    # Starting

    def start(self, index: int) -> None:
        """Start worker `index` anew. Raises CannotStart if the system refuses a process."""
        # Wall-clock milliseconds seed the incarnation, so that answers to branches from before a restart of the whole
        # server meet no transaction of this one.
        self._incarnations[index] = max(self._incarnations[index] + 1, time.time_ns() // 1_000_000 & 0x7FFFFFFF)
        control = self._shared.control
        control.set_incarnation(index, self._incarnations[index])
        control.beat(index)
        setup = self._setup(index, self._incarnations[index])
        self._newest = self._newest or _order(setup.settings, setup.policy, setup.tls)
        child = Child(f"worker {index}", MODULE, setup, worker_fds(setup))
        self.children[index] = child
        self._retry_at.pop(index, None)
        self._silence.pop(index, None)
        self.following.begins(index)
        self._watch(child, lambda message: self._received(index, message))
        for gone, by in self.adopted_by.items():
            if by == index:
                self._adopt(gone, by)

    @property
    def all_ready(self) -> bool:
        return all(child is not None and child.ready for child in self.children)

    def alive(self) -> list[Child]:
        return [child for child in self.children if child is not None]

    # Watching

    def tick(self, now: float, forgive: bool) -> None:
        """Kill what hangs, start what is due. `forgive` when the master itself was stopped: heartbeats mean nothing."""
        for index, child in enumerate(self.children):
            if child is None or forgive:
                continue
            if not child.ready:
                if child.age > START_LIMIT:
                    child.kill(f"did not serve after {START_LIMIT:g} s")
            elif self._hangs(index, child, now):
                child.kill(f"hangs (no turn of its loop for {HUNG_AFTER:g} s)")
        for index in [index for index, due in self._retry_at.items() if due <= now]:
            if self.draining:
                del self._retry_at[index]
            else:
                self._try_start(index, now)
        for index in self.following.due(now):
            if (behind := self.children[index]) is not None and behind.send(self._newest):
                self.following.told(index)

    def _hangs(self, index: int, child: Child, now: float) -> bool:
        beat = self._shared.control.heartbeat(index)
        if now - beat / 1000 < SILENT_AFTER:
            self._silence.pop(index, None)
            return False
        silence = self._silence.setdefault(index, Silence(child.pid))
        if now - beat / 1000 < HUNG_AFTER or silence.starved():
            return False
        # Where all had stood still it may have had its turn since, and sleep by now.
        return self._shared.control.heartbeat(index) == beat

    def died(self, index: int) -> None:
        """Worker `index` was waited for: clear what it left, keep what it had in hand, see to its successor."""
        child = self.children[index]
        assert child is not None
        now = time.monotonic()
        self.children[index] = None
        kept = self._save_in_hand(index)
        self._shared.clear_worker(index)
        if self.draining or child.told_to_end:
            self.drained.discard(index)
            if child.process.returncode:
                log.error("%s (pid %d) %s while draining", child.name, child.pid, child.exit_text())
            if not child.told_to_end:
                self._take_over()
            return
        log.error("%s (pid %d) %s%s", child.name, child.pid, child.exit_text(), kept)
        self.replaced += 1
        too_often = self._deaths[index].add(now)
        if not too_often:
            self._try_start(index, now)
        elif takeover.neighbour(index, self.count, self._well(index)) is None:
            self._retry_at[index] = now + PAUSE
        else:
            self._retry_at[index] = now + takeover.RETRY
            log.error("%s dies too often: tried again in %g s", child.name, takeover.RETRY)
            self._take_over()

    def _received(self, index: int, message: dict[str, object]) -> None:
        kind = message.get("is")
        child = self.children[index]
        if kind == "ready" and child is not None:
            child.ready = True
            if self.adopted_by.get(index) is not None and not self.draining:
                self._give_back(index)
            if self.draining:
                child.send({"do": "drain"})
        elif kind == "drained":
            self.drained.add(index)
        error, now = str(message.get("error", "")), time.monotonic()
        if (
            (kind == "ready" and not self.following.owes(index))
            or (kind == "stumbled" and self.following.stumbled(index, now))
            or (kind == "reloaded" and self.following.answered(index, error, now))
        ):
            self._follows(index, error, kind == "ready")

    def _try_start(self, index: int, now: float) -> None:
        try:
            self.start(index)
        except CannotStart as problem:
            log.error("%s", problem)
            self._retry_at[index] = now + PAUSE
            return
        child = self.children[index]
        assert child is not None
        log.info("%s started again (pid %d)", child.name, child.pid)

    def _save_in_hand(self, index: int) -> str:
        datagram = self._shared.in_hand(index)
        if datagram is None:
            return ""
        path = crashfile.save(self._crash_directory, index, datagram)
        return f"; what it was working on is in {path}" if path else ""

    # Taking over

    def _well(self, apart_from: int) -> set[int]:
        return {index for index, child in enumerate(self.children) if child is not None and index != apart_from}

    def _take_over(self) -> None:
        """Give every worker that does not run, nor will in a moment, to a neighbour that does; move the buckets."""
        well = {index for index, child in enumerate(self.children) if child is not None}
        for index in range(self.count):
            if index in well and index not in self.adopted_by:
                continue
            if index in well and self._is_ready(index):
                continue
            if self.adopted_by.get(index) in well:
                continue
            by = takeover.neighbour(index, self.count, well)
            if by is None:
                self.adopted_by.pop(index, None)
                continue
            self.adopted_by[index] = by
            log.warning("worker %d takes over for worker %d", by, index)
            self._adopt(index, by)
        self._shared.control.set_buckets(takeover.owners(self.count, self.adopted_by))

    def _is_ready(self, index: int) -> bool:
        child = self.children[index]
        return child is not None and child.ready

    def _adopt(self, gone: int, by: int) -> None:
        child = self.children[by]
        assert child is not None
        # The descriptors travel beside the message in the same order; `fd` is the place in that order.
        setups = [msgspec.structs.replace(setup, fd=place) for place, setup in enumerate(self._listeners.setups(gone))]
        child.send({"do": "adopt", "worker": gone, "listeners": msgspec.to_builtins(setups)}, self._listeners.fds(gone))

    def _give_back(self, index: int) -> None:
        by = self.adopted_by.pop(index)
        self._deaths[index].on_trial(time.monotonic() + takeover.TRIAL)
        self._shared.control.set_buckets(takeover.owners(self.count, self.adopted_by))
        neighbour = self.children[by]
        if neighbour is not None:
            neighbour.send({"do": "release", "worker": index})
        log.info("worker %d serves again for itself", index)

    # All together

    def reload(self, settings: Settings, policy: PolicySetup, tls: TlsSetup | None) -> list[str]:
        """Tell all to follow new settings; the names of those who will answer."""
        self._newest = _order(settings, policy, tls)
        names = []
        for index, child in enumerate(self.children):
            if child is not None and child.send(self._newest):
                self.following.told(index, anew=True)
                names.append(child.name)
        return names

    def drain(self) -> None:
        """Take no new dialogs; finish what is open."""
        self.draining = True
        self._shared.control.draining = True
        for child in self.alive():
            child.send({"do": "drain"})

    @property
    def finished(self) -> bool:
        """Draining, and nothing is open any more in any worker."""
        return all(child is None or index in self.drained for index, child in enumerate(self.children))


def _order(settings: Settings, policy: PolicySetup, tls: TlsSetup | None) -> dict[str, object]:
    return {
        "do": "reload",
        "settings": msgspec.to_builtins(settings),
        "policy": msgspec.to_builtins(policy),
        "tls": msgspec.to_builtins(tls),
    }
