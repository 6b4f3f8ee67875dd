"""The policy threads of one engine, started when there is something to decide, and the prober of gateways.

At once for a module, else with the first question: a server without policies pays one more descriptor to wait for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastsip._location import RECORD_BINDINGS, SegmentReader
from fastsip._targets import TargetTable
from fastsip._worker import Worker
from fastsip.launch import PolicySetup, Settings, WorkerSetup

if TYPE_CHECKING:
    from fastsip.policy.threads import Policy, Terms

    from .probing import ProberThread


class Deciding:
    """Belongs to the service thread. `news_fd` is readable when `news` has something."""

    def __init__(self, setup: WorkerSetup, worker: Worker) -> None:
        self.news_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._setup = setup
        self._worker = worker
        self._policy: Policy | None = None
        self._segment: SegmentReader | None = None
        self._policy_setup, self._settings = setup.policy, setup.settings
        self._targets = TargetTable(setup.targets_fd) if setup.targets_fd >= 0 else None
        self._prober: ProberThread | None = None
        self._news: deque[str | None] = deque()

    @property
    def begun(self) -> bool:
        return self._policy is not None

    def start(self) -> None:
        """Begin now if there is a module, whose setup may take a while; probe."""
        if self._policy_setup.module is not None:
            self.begin()
        self._probe()

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
        self._probe()
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
        if self._prober is not None:
            self._prober.end()
        if self._policy is not None:
            self._policy.stop()
        os.close(self.news_fd)

    def _probe(self) -> None:
        """One prober for all workers, where there are gateways to be asked."""
        gateways = self._policy_setup.gateways
        if self._prober is not None:
            self._prober.follow(gateways)
        elif self._targets is not None and self._setup.index == 0 and any(one.probe for one in gateways):
            from .probing import ProberThread

            self._prober = ProberThread(self._targets, [one.host for one in self._setup.listeners], gateways)

    def _tell(self, problem: str | None) -> None:
        """From any thread."""
        self._news.append(problem)
        with contextlib.suppress(OSError):
            os.eventfd_write(self.news_fd, 1)

    def _terms(self) -> Terms:
        from fastsip._plan import encode_plan
        from fastsip.policy.desk import Deciders
        from fastsip.policy.here import Surroundings
        from fastsip.policy.threads import Terms
        from fastsip.routes import DialPlan

        policy, segment = self._policy_setup, self._segment
        assert segment is not None
        addresses = frozenset(policy.domains) - frozenset(self._settings.domains)
        domain = self._settings.domains[0] if self._settings.domains else ""

        def registered(aor: str) -> bool:
            user, _, host = aor.rpartition("@")
            key = f"{user}@{domain if domain and host in addresses else host}"
            return segment.find(RECORD_BINDINGS, key.encode()) is not None

        plan = None
        if self._targets is not None and policy.gateways:
            plan = DialPlan(policy, self._targets, known=registered)
        around = Surroundings(
            bindings=lambda aor: segment.find(RECORD_BINDINGS, aor),
            now=time.time,
            choose=plan.choose if plan is not None else None,
            addresses=addresses,
            domain=domain,
        )
        deciders = Deciders((plan,) if plan is not None else ())
        timeout = self._settings.policy_timeout / 1000
        return Terms(policy.module, policy.folder, timeout, around, encode_plan, lambda: deciders)
