"""The policy threads of one engine, started when there is something to decide.

At once for a module, else with the first question: a server without policies pays one more descriptor to wait for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from fastsip._location import RECORD_BINDINGS, SegmentReader
from fastsip._worker import Worker
from fastsip.launch import PolicySetup, Settings, WorkerSetup

if TYPE_CHECKING:
    from fastsip.policy.desk import Deciders
    from fastsip.policy.threads import Policy, Terms


class Deciding:
    """Belongs to the service thread. `news_fd` is readable when `news` has something."""

    def __init__(self, setup: WorkerSetup, worker: Worker) -> None:
        self.news_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._setup = setup
        self._worker = worker
        self._policy: Policy | None = None
        self._segment: SegmentReader | None = None
        self._policy_setup, self._settings = setup.policy, setup.settings
        self._news: deque[str | None] = deque()

    @property
    def begun(self) -> bool:
        return self._policy is not None

    def start(self) -> None:
        """Begin now if there is a module, whose setup may take a while."""
        if self._policy_setup.module is not None:
            self.begin()

    def begin(self, followed: Callable[[str | None], None] | None = None) -> None:
        """There is a module, or a question."""
        if self._policy is None:
            from fastsip.policy.threads import Policy  # asyncio is 4 MB that few need

            self._segment = SegmentReader(self._setup.segment_fd, self._setup.control_fd, None)
            self._policy = Policy(self._worker, self._terms())
            self._policy.start(followed)

    def follow(self, policy: PolicySetup, settings: Settings) -> None:
        """A reload; `news` says when it is followed."""
        self._policy_setup, self._settings = policy, settings
        if self._policy is not None:
            self._policy.reload(self._terms(), self._tell)
        elif policy.module is not None:
            self.begin(self._tell)
        else:
            self._tell(None)

    def news(self) -> list[str | None]:
        """Of each reload that is over: None, or what is wrong and was left as it was."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.news_fd)
        return [self._news.popleft() for _ in range(len(self._news))]

    def end(self) -> None:
        """Nothing is answered any more; before the engine ends."""
        if self._policy is not None:
            self._policy.stop()
        os.close(self.news_fd)

    def _tell(self, problem: str | None) -> None:
        """From any thread."""
        self._news.append(problem)
        with contextlib.suppress(OSError):
            os.eventfd_write(self.news_fd, 1)

    def _terms(self) -> Terms:
        from fastsip._plan import encode_plan
        from fastsip.policy.here import Surroundings
        from fastsip.policy.threads import Terms

        policy, segment = self._policy_setup, self._segment
        assert segment is not None
        around = Surroundings(
            bindings=lambda aor: segment.find(RECORD_BINDINGS, aor),
            now=time.time,
            addresses=frozenset(policy.domains) - frozenset(self._settings.domains),
            domain=self._settings.domains[0] if self._settings.domains else "",
        )
        timeout = self._settings.policy_timeout / 1000
        deciders = partial(_deciders, segment, self._settings)
        return Terms(policy.module, policy.folder, timeout, around, encode_plan, deciders)


def _deciders(segment: SegmentReader, settings: Settings) -> Deciders:
    """What decides where no module does, in the thread it is for."""
    from fastsip.policy.desk import Deciders
    from fastsip.services import Services
    from fastsip.services.source import Published

    published = Published(segment)
    services = Services(
        published.lookup,
        published.services,
        settings.domains,
        settings.listen,
        ring_time=settings.ring_time / 1000,
        recurse=settings.recurse,
    )
    return Deciders((services,), services)
