"""The course of one run: the callees listen, users register, work is offered, what is in flight ends, bindings go."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType, TracebackType
from typing import Any

from msgspec import structs

from . import security, sources
from .addresses import SourceRange
from .fleet import CannotRun, Fleet
from .live import ANSWERING, View
from .numbers import Numbers, Second
from .rates import Plan
from .setup import EngineSetup
from .work import Answering, Work

TICK = 1.0
"""Seconds between two looks at the numbers that are shown and kept."""
LOOK = 0.1
"""Where something may end the work sooner."""
PATIENCE = 35.0
"""Seconds that what is open may take after a first signal: more than timers B and F."""
SILENCE = 10.0
"""Seconds without any answer after which users are not registered, or removed, any further."""


class Outcome:
    """What became of a run."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.began = time.time()
        self.seconds = 0.0
        """While work was offered and what was in flight ended."""
        self.offering = 0.0
        """While work was offered."""
        self.numbers = Numbers()
        self.answering = Numbers()
        self.answering_busy = 0.0
        """Share of a CPU the busiest thread of the answering side used."""
        self.timeline: list[Second] = []
        self.interrupted = False
        self.removed: bool | None = None
        """Whether the bindings made before are gone; None where none were made."""


class Interrupts:
    """SIGINT and SIGTERM: the first finishes what runs, the second stops it at once."""

    def __init__(self) -> None:
        self.times = 0
        self._fleets: list[Fleet] = []

    def __enter__(self) -> Interrupts:
        self._before: list[tuple[int, Any]] = [
            (number, signal.signal(number, self._came)) for number in (signal.SIGINT, signal.SIGTERM)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    @contextmanager
    def of(self, fleet: Fleet) -> Iterator[None]:
        """Signals concern this fleet; those that came already too."""
        self._fleets.append(fleet)
        if self.times:
            self._tell(fleet)
        try:
            yield
        finally:
            self._fleets.remove(fleet)

    def _came(self, number: int, frame: FrameType | None) -> None:
        self.times += 1
        for fleet in self._fleets:
            self._tell(fleet)

    def _tell(self, fleet: Fleet) -> None:
        if self.times > 1:
            fleet.stop()
        else:
            fleet.finish()


class Course:
    """A run, or several one after the other with the same sockets and callees.

    Entering it opens sockets, lets the callees listen and registers the users where the work asks for it; leaving it
    removes their bindings. `without_server` sends straight to the callees (RFC 7502 6.1) and registers nobody.
    """

    def __init__(self, work: Work, view: View, interrupts: Interrupts, without_server: bool = False) -> None:
        if without_server and work.tls is not None:  # its own certificate need not be for where it happens to be
            work = structs.replace(work, tls=structs.replace(work.tls, verify_server=False))
        self.work = work
        self.view = view
        self.interrupts = interrupts
        self.removed: bool | None = None
        """Whether the bindings made for this are gone; None where there were none."""
        self._alone = without_server
        self._stack = ExitStack()
        self._answering: Fleet | None = None

    def __enter__(self) -> Course:
        """Raises CannotRun, OSError with a text for a person."""
        work = self.work
        with self._stack as stack:
            self._own = sources.open_sources(work.sources, work.threads, work.target)
            stack.callback(sources.close, self._own.sockets)
            self._targets, self._contacts = [work.target.address], self._own.hostports
            if work.answering is not None:
                self._answering, listening, self._contacts = _answering(work, work.answering, self._alone)
                stack.enter_context(self._answering)
                if self._alone:
                    self._targets = [(own[0].host, own[0].port) for own in listening.per_engine]
            if work.contact and work.answering is None:
                self._contacts = [work.contact] * work.threads
            if work.tls is not None and not self._alone:
                security.check(work.target, work.tls)
            if work.prepare and not self._alone:
                self._register(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def offer(
        self, plan: Plan | None = None, until: Callable[[Numbers], bool] | None = None, title: str = ""
    ) -> Outcome:
        """Do the work, or the same to another plan. Nothing new is begun once `until` says so."""
        work = self.work if plan is None else structs.replace(self.work, plan=plan)
        outcome = Outcome(work)
        if not self.interrupts.times:
            setups = work.setups(self._own, self._targets, self._contacts)
            title = title or f"{work.name} {work.target}"
            self.view.begin(
                title, work.plan.duration, work.count, None if self._alone else plan or work.plan, work.main[0]
            )
            before = self._answering.snapshot() if self._answering is not None else Numbers()
            outcome.began = time.time()
            outcome.numbers, outcome.seconds = _watch(setups, self.view, self.interrupts, outcome, until)
            self.view.end()
            if self._answering is not None:
                outcome.answering = self._answering.snapshot()
                outcome.answering_busy = outcome.answering.busiest(before)
        outcome.interrupted = self.interrupts.times > 0
        return outcome

    def remove(self) -> None:
        """Remove the bindings of all users."""
        if self.interrupts.times > 1:
            self.removed = False
            return
        setups = self.work.registering(self._own, self._contacts, remove=True)
        wanted = sum(setup.count for setup in setups)
        self.view.begin(f"removing the bindings of {wanted:,} users at {self.work.target}", 0.0, wanted)
        numbers, _ = _watch(setups, self.view, self.interrupts, until=_hopeless, regardless=True)
        self.view.end()
        self.removed = numbers["done"] == wanted

    def _register(self, stack: ExitStack) -> None:
        setups = self.work.registering(self._own, self._contacts, remove=False)
        wanted = sum(setup.count for setup in setups)
        self.view.begin(f"registering {wanted:,} users at {self.work.target}", 0.0, wanted)
        if self.work.by_answering and self._answering is not None:
            numbers = _registered(self._answering, wanted, self.view, self.interrupts)
        else:
            numbers, _ = _watch(setups, self.view, self.interrupts, until=_hopeless)
        self.view.end()
        if numbers["done"]:
            stack.callback(self.remove)
        if numbers["done"] < wanted and not self.interrupts.times:
            target = self.work.target
            if not numbers["datagrams_in"]:
                raise CannotRun(f"no answer from {target}: is anything listening there?")
            hint = "; --domain says whose users they are" if {"403", "404"} & set(numbers.failures) else ""
            raise CannotRun(f"not all of {wanted:,} users could register at {target}: {causes(numbers)}{hint}")


GIVE_UP = 20
"""Users that could not register, after which no more are tried."""


def _hopeless(numbers: Numbers) -> bool:
    return numbers["failed"] >= GIVE_UP


def run(work: Work, view: View, interrupts: Interrupts) -> Outcome:
    """Do the work once. Raises CannotRun, OSError with a text for a person."""
    course = Course(work, view, interrupts)
    with course:
        outcome = course.offer()
    outcome.removed = course.removed
    return outcome


def answer(
    setups: Sequence[EngineSetup], listening: sources.Sources, seconds: float, view: View, interrupts: Interrupts
) -> Numbers:
    """Answer until a signal, or for so many seconds; then until the dialogs have ended."""
    with Fleet(setups, listening.sockets) as fleet, interrupts.of(fleet):
        begun = time.monotonic()
        before = Numbers()
        view.begin(ANSWERING, seconds)
        while not fleet.wait(TICK if not seconds else min(TICK, max(0.01, begun + seconds - time.monotonic()))):
            passed = time.monotonic() - begun
            if seconds and passed >= seconds and not interrupts.times:
                fleet.finish()
                seconds = 0.0
            now = fleet.snapshot()
            view.tick(now.second(before, passed, ""), now)
            before = now
        numbers = fleet.snapshot()
        view.end()
    return numbers


def _registered(fleet: Fleet, wanted: int, view: View, interrupts: Interrupts) -> Numbers:
    """Wait until the engines that answer have registered their users, or it is hopeless."""
    begun = time.monotonic()
    before, tick = Numbers(), 1
    while True:
        numbers = fleet.snapshot(histograms=False)
        passed = time.monotonic() - begun
        if numbers["registers_done"] + numbers["failed"] >= wanted or _hopeless(numbers) or interrupts.times:
            return numbers
        if passed > SILENCE and not numbers["datagrams_in"]:
            return numbers
        if passed > tick * TICK:
            tick += 1
            now = fleet.snapshot()
            view.tick(now.second(before, passed, "register"), now)
            before = now
        fleet.wait(LOOK)


def _answering(work: Work, asked: Answering, alone: bool) -> tuple[Fleet, sources.Sources, list[str]]:
    """The callees' engines, not yet begun, where they listen, and where their users are bound."""
    if asked.host and asked.port:
        listening = sources.open_listeners(asked.host, asked.port, work.threads, work.target.transport)
    else:
        ranges = [SourceRange([asked.host], [0])] if asked.host else []
        listening = sources.open_sources(ranges, work.threads, work.target)
    contacts = [work.contact] * work.threads if work.contact else listening.hostports
    setups = (structs.replace(work, prepare=False) if alone else work).answering_setups(
        asked.answer, listening, contacts
    )
    return Fleet(setups, listening.sockets), listening, contacts


def _watch(
    setups: list[EngineSetup],
    view: View,
    interrupts: Interrupts,
    outcome: Outcome | None = None,
    until: Callable[[Numbers], bool] | None = None,
    regardless: bool = False,
) -> tuple[Numbers, float]:
    """Run engines to their end, showing them; the numbers then, and the seconds it took.

    `regardless` of a signal that came before: only a second one ends them. Without an `outcome` it is a preparation,
    and ends when nobody answers.
    """
    fleet = Fleet(setups)
    main = outcome.work.main[0] if outcome is not None else "register"
    stays = any(setup.stay for setup in setups)
    with fleet, nullcontext() if regardless else interrupts.of(fleet):
        begun = time.monotonic()
        before, tick = Numbers(), 1
        patience = math.inf
        while not fleet.wait(
            min(LOOK if until is not None or stays else TICK, max(0.001, begun + tick * TICK - time.monotonic()))
        ):
            passed = time.monotonic() - begun
            if stays and fleet.idle():
                fleet.finish()
                stays = False
            if until is not None and until(fleet.snapshot(histograms=False)):
                fleet.finish()
                until = None
            if interrupts.times and not regardless:
                patience = min(patience, passed + PATIENCE)
            if passed > patience or (regardless and interrupts.times > 1):
                fleet.stop()
            if passed < tick * TICK:
                continue
            tick += 1
            now = fleet.snapshot()
            second = now.second(before, passed, main)
            if outcome is not None:
                outcome.timeline.append(second)
            view.tick(second, now)
            before = now
            if outcome is None and passed > SILENCE and not now["datagrams_in"]:
                fleet.stop()
        seconds = time.monotonic() - begun
        numbers = fleet.snapshot()
    if outcome is not None:
        # A plan that was gone through counts whole: the gap behind its last arrival belongs to it.
        planned, count = setups[0].duration, sum(setup.count for setup in setups)
        cut = seconds < planned or interrupts.times or (count and numbers["offered"] >= count)
        outcome.offering = numbers.begun or seconds if cut or not planned else planned
    return numbers, seconds


def causes(numbers: Numbers) -> str:
    """Failures by cause, the most frequent first, in words."""
    told = [f"{count:,} x {CAUSES.get(name, name)}" for name, count in numbers.failures.most_common(5)]
    return ", ".join(told) or "no answer"


CAUSES = {
    "timeout": "no final response",
    "transport": "could not be sent",
    "unexpected": "a response that makes no sense",
    "credentials": "challenged, and no password for it (--password, or a column in the file)",
    "challenged": "the password was not accepted",
}
"""Causes of failures an engine names, in words; the others are status codes."""
