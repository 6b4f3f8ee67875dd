"""The policy threads of one engine, started when there is something to decide, and the threads of one worker of a
server: the prober of gateways and the pinger of clients.

At once for a module, else with the first question: a server without policies pays one more descriptor to wait for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastsip._location import RECORD_BINDINGS, RECORD_USER, SegmentReader
from fastsip._targets import TargetTable
from fastsip._worker import Worker
from fastsip.descriptors import need, scarce
from fastsip.launch import PolicySetup, Settings, TlsSetup, WorkerSetup
from fastsip.policy.complaints import Complaints

from .naming import Naming

if TYPE_CHECKING:
    from fastsip.policy.desk import Deciders
    from fastsip.policy.plan import Target
    from fastsip.policy.threads import Policy, Terms

    from .pinging import PingerThread
    from .probing import ProberThread

log = logging.getLogger(__name__)

NEEDED = 8
"""Descriptors that have to be free before one of these threads is begun: a loop has three, imports open files."""
RETRY = 0.25
"""Seconds until that is tried again."""


class Deciding:
    """Belongs to the service thread. `news_fd` is readable when `news` has something. What cannot be begun because
    descriptors are short is owed: `tend` tries it again, and questions wait, to their deadline."""

    def __init__(self, setup: WorkerSetup, worker: Worker) -> None:
        self.news_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._setup = setup
        self._worker = worker
        self._policy: Policy | None = None
        self._segment: SegmentReader | None = None
        self._targets = TargetTable(setup.targets_fd) if setup.targets_fd >= 0 else None
        self.naming = Naming(worker, setup.policy.dns, setup.listeners)
        self._prober: ProberThread | None = None
        self._pinger: PingerThread | None = None
        self._policy_setup, self._settings, self._tls = setup.policy, setup.settings, setup.tls
        self._news: deque[tuple[str, str | None]] = deque()
        self._owed: dict[str, Callable[[], None]] = {}
        self._again = 0.0
        self._complaints = Complaints(log)

    @property
    def begun(self) -> bool:
        return self._policy is not None

    def start(self) -> None:
        """Begin now if there is a module, whose setup may take a while; probe."""
        if self._policy_setup.module is not None:
            self._try("the policy", lambda: self.begin(self._begun))
        self._try("the prober", self._probe)
        self._try("the pinger", self._ping)

    def asked(self) -> None:
        """There are questions, and nobody decides yet."""
        if self._policy is None and "the policy" not in self._owed:
            self._try("the policy", self.begin)
        if self._policy is None:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._worker.policy_fd)  # else it would be heard all the time

    def tend(self) -> None:
        """Call it now and then: begins what is owed."""
        if self._owed and time.monotonic() >= self._again:
            for what, work in list(self._owed.items()):
                self._try(what, work)

    @property
    def patience(self) -> float:
        """Seconds after which `tend` may have something to do."""
        return RETRY if self._owed else float("inf")

    def _try(self, what: str, work: Callable[[], None]) -> None:
        self._owed.pop(what, None)
        try:
            need(NEEDED)
            work()
        except Exception as error:
            if not scarce(error):
                raise
            self._owed[what] = work
            self._again = time.monotonic() + RETRY
            self._complaints.warn(what, f"{what} has to wait: {error}")

    def begin(self, followed: Callable[[str | None], None] | None = None) -> None:
        """There is a module, or a question."""
        if self._policy is None:
            from fastsip.policy.threads import Policy  # asyncio is 4 MB that few need

            self._segment = SegmentReader(self._setup.segment_fd, self._setup.control_fd, None)
            policy = Policy(self._worker, self._terms())
            policy.start(followed)
            self._policy = policy

    def follow(self, policy: PolicySetup, settings: Settings, tls: TlsSetup | None) -> None:
        """A reload; `news` says when it is followed."""
        self._policy_setup, self._settings, self._tls = policy, settings, tls
        self._try("the prober", self._probe)
        self._try("the pinger", self._ping)
        if self._policy is not None:
            self._policy.reload(self._terms(), self._tell)
        elif policy.module is not None:
            self._try("the policy", lambda: self.begin(self._tell))
        else:
            self._tell(None)

    def news(self) -> list[tuple[str, str | None]]:
        """Of each reload that is over, "reloaded" and None, or what is wrong and was left as it was; and "stumbled", if
        that is so of the module it began with."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.news_fd)
        return [self._news.popleft() for _ in range(len(self._news))]

    def end(self) -> None:
        """Nothing is answered any more; before the engine ends."""
        if self._prober is not None:
            self._prober.end()
        if self._pinger is not None:
            self._pinger.end()
        if self._policy is not None:
            self._policy.stop()
        self.naming.end()
        os.close(self.news_fd)

    def _probe(self) -> None:
        """One prober for all workers, where there are gateways to be asked."""
        gateways = self._policy_setup.gateways
        if self._prober is not None:
            self._prober.follow(gateways, self._tls)
        elif self._targets is not None and self._setup.index == 0 and any(one.probe for one in gateways):
            from .probing import ProberThread

            listening = [(one.transport, one.host) for one in self._setup.listeners]
            self._prober = ProberThread(self._targets, listening, gateways, self.naming.servers, self._tls)

    def _ping(self) -> None:
        period = self._settings.ping / 1000
        if self._pinger is not None:
            self._pinger.period = period
        elif self._setup.index == 0 and period:
            from fastsip._control import ControlView

            from .pinging import Pinger, PingerThread

            reader = SegmentReader(self._setup.segment_fd, self._setup.control_fd, None)
            control = ControlView(self._setup.control_fd)
            self._pinger = PingerThread(
                Pinger(reader, control, self._setup.index, self._setup.listeners), reader, period
            )

    def _tell(self, problem: str | None) -> None:
        """From any thread."""
        self._say("reloaded", problem)

    def _begun(self, problem: str | None) -> None:
        """From any thread."""
        if problem is not None:
            self._say("stumbled", problem)

    def _say(self, what: str, problem: str | None) -> None:
        self._news.append((what, problem))
        with contextlib.suppress(OSError):
            os.eventfd_write(self.news_fd, 1)

    def _terms(self) -> Terms:
        from fastsip._plan import encode_plan
        from fastsip.policy.threads import Terms

        policy, settings = self._policy_setup, self._settings
        segment, table = self._segment, self._targets
        assert segment is not None
        timeout = settings.policy_timeout / 1000
        return Terms(
            policy.module,
            policy.folder,
            timeout,
            encode_plan,
            lambda: _deciders(policy, settings, segment, table),
            self.naming,
            policy.sources,
            settings.udp_max,
        )


def _deciders(policy: PolicySetup, settings: Settings, segment: SegmentReader, table: TargetTable | None) -> Deciders:
    """Services and dial plan, for one thread."""
    from fastsip.policy.desk import Deciders
    from fastsip.policy.here import Surroundings
    from fastsip.routes import DialPlan
    from fastsip.services import Screened, Services
    from fastsip.services.people import devices
    from fastsip.services.source import Published

    def known(aor: str) -> bool:
        user, _, host = aor.rpartition("@")
        key = f"{user}@{domain if domain and host in addresses else host}".encode("utf-8", "surrogateescape")
        return any(segment.find(kind, key) is not None for kind in (RECORD_BINDINGS, RECORD_USER))

    def found(aor: str) -> list[Target]:
        return [target for group in devices(published.lookup(aor), round(time.time() * 1000)) for target in group]

    published = Published(segment)
    domains = settings.domains or policy.domains[:1]
    domain = domains[0] if domains else ""
    addresses = frozenset(policy.domains) - frozenset(domains)
    dial_plan = DialPlan(policy, table, known=known) if table is not None and policy.gateways else None
    services = Services(
        published.lookup,
        published.services,
        domains,
        settings.listen,
        outside=dial_plan.steps if dial_plan is not None else None,
        ring_time=settings.ring_time / 1000,
        recurse=settings.recurse,
    )
    surroundings = Surroundings(
        devices=found,
        choose=dial_plan.choose if dial_plan is not None else None,
        addresses=addresses,
        domain=domain,
    )
    deciders = (services,) if dial_plan is None else (services, Screened(dial_plan, services))
    slots = frozenset(one.slot for one in dial_plan.gateways.values()) if dial_plan is not None else frozenset()
    return Deciders(deciders, services, surroundings, slots)
