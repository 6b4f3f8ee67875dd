"""`--search`: RFC 7502 with engines. The baseline, the rate with the server, and for registrations the rate again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from . import benchmark, rates
from .asked import Asked
from .console import Consoles
from .course import Course, Interrupts
from .limits import generator_limits
from .live import View
from .numbers import Numbers
from .search import Parameters, Search, max_sps
from .work import Work
from .wrong import Wrong

LATE = 0.05
"""Share of the time N sessions take that work may begin late; above, the rate was not reached."""
QUICK = 10
"""`--quick` divides N by this."""


def main(asked: Asked, given: dict[str, Any]) -> int:
    """Search, and print the report. Raises Wrong, CannotRun, OSError."""
    parameters = _parameters(given)
    for name in ("max_failures", "p99_ms", "histogram"):
        if given[name] is not None:
            raise Wrong(f"--{name.replace('_', '-')} is for a run at a rate, not for a search")
    work = _work(asked, given, parameters.sessions)
    consoles = Consoles(given["as_json"])
    view = View(consoles.progress, given["quiet"])
    benchmarked = benchmark.Benchmark(work, parameters, literal=not given["quick"])
    with Interrupts() as interrupts, view:
        searcher = Searcher(parameters, view, interrupts, given["time_limit"])
        if asked.name == "register":
            _registrations(searcher, work, benchmarked, given)
        else:
            _sessions(searcher, work, benchmarked, given)
    benchmarked.interrupted = interrupts.times > 0
    if given["as_json"]:
        consoles.document(benchmarked.document())
    else:
        benchmarked.show(consoles.result)
    return benchmarked.exit_code


def _parameters(given: dict[str, Any]) -> Parameters:
    sessions = given["sessions"] // QUICK if given["quick"] else given["sessions"]
    try:
        return Parameters(max(1, sessions), given["initial"], given["increase"], given["decrease"])
    except ValueError as error:
        raise Wrong(f"--search: {error}") from None


def _work(asked: Asked, given: dict[str, Any], sessions: int) -> Work:
    given = {**given, "rate": "1", "duration": None, "step": None, "count": sessions}
    if asked.name == "register":
        if given["mode"] != "new":
            raise Wrong("--search registers, and then registers again: it goes without --mode")
        given["users"] = given["users"] or f"user0..{sessions - 1}"
        # RFC 7502 6.7: a timeout of at least 3600 s.
        given["expires"] = max(given["expires"], 3600)
    work = Asked(asked.name, given).work()
    if asked.name == "register" and len(work.users) < sessions:
        raise Wrong(
            f"--users: {len(work.users):,} users, and RFC 7502 6.7 wants {sessions:,} addresses-of-record, one for "
            "each REGISTER (--sessions N asks for fewer)"
        )
    return work


def _sessions(searcher: Searcher, work: Work, benchmarked: benchmark.Benchmark, given: dict[str, Any]) -> None:
    """RFC 7502 6.1, then 6.2."""
    if not given["no_baseline"]:
        alone = work if work.answering else msgspec.structs.replace(work, answering=benchmark.PLAIN)
        with Course(alone, searcher.view, searcher.interrupts, without_server=True) as course:
            benchmarked.baseline = searcher.search("baseline without a server", course)
    if searcher.goes_on:
        with Course(work, searcher.view, searcher.interrupts) as course:
            benchmarked.search = searcher.search(f"calls through {work.target}", course)
            benchmarked.limits = searcher.limits


def _registrations(searcher: Searcher, work: Work, benchmarked: benchmark.Benchmark, given: dict[str, Any]) -> None:
    """RFC 7502 6.7, then 6.8. Between two rates of 6.7 the bindings are removed, so that each REGISTER makes one."""
    with Course(work, searcher.view, searcher.interrupts) as course:
        benchmarked.search = searcher.search(f"registrations at {work.target}", course, between=course.remove)
        benchmarked.limits = searcher.limits
        rate = benchmarked.search.rate
        if given["no_again"] or not rate or not searcher.goes_on:
            course.remove()
            return
        if not searcher.attempt("registering all users", course, rate):
            searcher.view.say("not every user could be registered for the re-registrations")
        begun = time.monotonic()
        for _ in searcher.view.countdown("pause before registering again (RFC 7502 6.8)", given["again_after"]):
            if not searcher.goes_on:
                break
        if searcher.goes_on:
            benchmarked.pause = time.monotonic() - begun
            searcher.begin_at(rate)
            benchmarked.again = searcher.search(f"re-registrations at {work.target}", course)
        course.remove()


class Searcher:
    """Runs the algorithm with engines, within a time limit and until a signal."""

    def __init__(self, parameters: Parameters, view: View, interrupts: Interrupts, limit: float | None) -> None:
        self.parameters = parameters
        self.view = view
        self.interrupts = interrupts
        self.limits: list[tuple[int, str]] = []
        """Rates that failed, or were late, because of the generator, and why."""
        self._until = time.monotonic() + limit if limit else None

    def begin_at(self, rate: int) -> None:
        """From now on, search from this rate."""
        self.parameters = replace(self.parameters, rate=max(rate, self.parameters.rate))

    @property
    def goes_on(self) -> bool:
        return not self.interrupts.times and (self._until is None or time.monotonic() < self._until)

    def search(self, title: str, course: Course, between: Callable[[], None] | None = None) -> Search:
        """RFC 7502 4.10 `max_sps`; `between` runs before every rate but the first."""
        self.limits = []
        parameters = self.parameters
        first = parameters.sessions / parameters.rate
        told = f"{parameters.sessions:,} at each rate, first {parameters.rate:,}/s for {first:,.1f} s"
        self.view.say(f"{title}: {told}")
        tried = 0

        def send_traffic(rate: int) -> bool | None:
            nonlocal tried
            if tried and between is not None and self.goes_on:
                between()
            tried += 1
            return self.attempt(f"{title}: rate {tried}", course, rate)

        found = max_sps(parameters, send_traffic)
        self.view.say(f"{title}: {benchmark.said(found)}")
        return found

    def attempt(self, title: str, course: Course, rate: int) -> bool | None:
        """Whether N sessions at a rate all succeed; None if there is no time left or a signal came.

        The first failure decides, so nothing more is begun after it. A rate the generator could not keep up was not
        tried, however many succeeded.
        """
        if not self.goes_on:
            return None
        wanted = self.parameters.sessions
        outcome = course.offer(rates.constant(rate), self._hopeless, title)
        numbers = outcome.numbers
        succeeded = numbers["done"] == wanted
        if not succeeded and not self.goes_on:
            return None
        kept = numbers.histogram("lateness").percentiles(99)[0] / 1e6 <= LATE * wanted / rate
        why = generator_limits(outcome) or ([] if kept else ["it could not begin work at this rate"])
        self.limits += [(rate, text) for text in why]
        verdict = f"{numbers['failed']:,} failed" if not succeeded else "all succeeded" if kept else "rate not reached"
        told = f"  {rate:,}/s: {verdict} of {numbers['offered']:,} in {outcome.seconds:.1f} s"
        self.view.say(told + (" (the generator was the limit)" if why else ""))
        return succeeded and kept

    def _hopeless(self, numbers: Numbers) -> bool:
        return numbers["failed"] > 0 or not self.goes_on
