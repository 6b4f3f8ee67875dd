"""What a search found, reported as RFC 7502 5 asks.

Keys of the document `--search --json` prints:

    fastsip, target, command     as in `fastsip.load.report`
    setup        RFC 7502 5.1: sip_transport, session_attempt_rate (r), session_duration (s), total_sessions_attempted,
                 media_streams_per_session, establishment_threshold_time (s); and the parameters sessions (N), increase
                 (w), decrease (d)
    session_establishment_rate   5.2, sessions per second, or null      media_relay    false
    registration_rate, re_registration_rate                            5.3, registrations per second, or null
    baseline_session_establishment_rate                                6.1, or null
    literal      whether N was what was asked for (false with --quick)
    searches     {baseline, search, again}: null, or {rate, ended, trials}; ended is "converged", "failed" (nothing
                 succeeded any more, down to 1 a second) or "stopped"; a trial is {rate, best, increase, decrease,
                 succeeded}
    generator    {limit: whether it, not the server, was the limit at some rate, why: [{rate, text}]}
    exit         the exit code: 0 when the algorithm converged
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastsip.version import __version__

from . import reading
from .search import Parameters, Search
from .setup import Answer
from .work import Answering, Work

PLAIN = Answering(Answer())
"""The generator's own answering side, for a baseline where the command has none."""
THRESHOLD = 32
"""Seconds: Timer B and Timer F, as RFC 7501 3.3.2 recommends."""


class Benchmark:
    """The result of `--search`, filled in as it goes."""

    def __init__(self, work: Work, parameters: Parameters, literal: bool) -> None:
        self.work = work
        self.parameters = parameters
        self.literal = literal
        self.baseline: Search | None = None
        self.search: Search | None = None
        self.again: Search | None = None
        self.limits: list[tuple[int, str]] = []
        self.pause = 0.0
        self.interrupted = False

    @property
    def of_calls(self) -> bool:
        return self.work.name == "call"

    @property
    def transport(self) -> str:
        return self.work.target.transport.upper() or "UDP"

    def _one_connection(self) -> str:
        number = self.work.connections
        return "not applicable: UDP" if not number else "yes" if number == 1 else f"no, on {number:,}"

    @property
    def exit_code(self) -> int:
        return 0 if self.search is not None and self.search.ended == "converged" else 1

    @property
    def attempted(self) -> int:
        """Sessions attempted over the whole test, failed rates counted in full."""
        searches = [found for found in (self.search, self.again) if found is not None]
        return sum(len(found.trials) for found in searches) * self.parameters.sessions

    def document(self) -> dict[str, Any]:
        """What `--json` prints; the keys are in this module's docstring."""
        hold = self.work.scenarios[0].hold.mean / 1000 if self.of_calls else None
        return {
            "fastsip": __version__,
            "command": self.work.name,
            "target": str(self.work.target),
            "setup": {
                "sip_transport": self.transport,
                "session_attempt_rate": self.parameters.rate,
                "session_duration": hold,
                "total_sessions_attempted": self.attempted,
                "media_streams_per_session": 0,
                "establishment_threshold_time": THRESHOLD,
                "sessions": self.parameters.sessions,
                "increase": self.parameters.increase,
                "decrease": self.parameters.weight_down,
            },
            "session_establishment_rate": _rate(self.search) if self.of_calls else None,
            "media_relay": False,
            "registration_rate": None if self.of_calls else _rate(self.search),
            "re_registration_rate": _rate(self.again),
            "baseline_session_establishment_rate": _rate(self.baseline),
            "literal": self.literal,
            "searches": {
                name: None if found is None else asdict(found)
                for name, found in (("baseline", self.baseline), ("search", self.search), ("again", self.again))
            },
            "generator": {
                "limit": bool(self.limits),
                "why": [{"rate": rate, "text": text} for rate, text in self.limits],
            },
            "exit": self.exit_code,
        }

    def show(self, console: Console) -> None:
        """The rows of RFC 7502 5.1 to 5.3 in their order and words."""
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for name, value in self.rows():
            table.add_row(Text(name, style="" if value else "bold"), value)
        console.print(table, highlight=False)
        for rate, text in self.limits[-3:]:
            line = f"at {rate:,}/s the generator, not the server, was the limit: {text}"
            console.print(line, style="bold yellow", highlight=False, soft_wrap=True)
        if not self.literal:
            text = f"--quick: N is {self.parameters.sessions:,}, so this does not compare with literal results"
            console.print(text, style="yellow", highlight=False, soft_wrap=True)

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of everything in the report; headings have no value."""
        return [*self._setup(), *self._found()]

    def _setup(self) -> list[tuple[str, str]]:
        """RFC 7502 5.1."""
        hold = reading.said(self.work.scenarios[0].hold) if self.of_calls else "not applicable: registrations"
        return [
            ("Test setup (RFC 7502 5.1)", ""),
            ("SIP Transport Protocol", f"{self.transport}, to and from the DUT"),
            ("DUT receives requests on one connection", self._one_connection()),
            ("DUT sends requests on one connection", "no" if self.work.connections else "not applicable: UDP"),
            ("Session Attempt Rate", f"{self.parameters.rate:,} per second at first (r)"),
            ("Session Duration", hold),
            ("Total Sessions Attempted", f"{self.attempted:,}: {self.parameters.sessions:,} at each rate (N)"),
            ("Media Streams per Session", "0"),
            ("Associated Media Protocol", "none"),
            ("Codec", "none"),
            ("Media Packet Size", "none"),
            ("Establishment Threshold time", f"{THRESHOLD} s (64*T1: timers B and F)"),
            ("TLS ciphersuite used", "none"),
            ("IPsec profile used", "none"),
            ("Weights", f"w {self.parameters.increase:g}, d {self.parameters.weight_down:g}"),
            ("Arrivals", "Poisson" if self.work.poisson else "at equal distances"),
        ]

    def _found(self) -> list[tuple[str, str]]:
        """RFC 7502 5.2, with 6.1, or 5.3."""
        if self.of_calls:
            return [
                ("Device benchmarks for session setup (5.2)", ""),
                ("Session Establishment Rate, R", said(self.search)),
                ("Is DUT acting as a media relay?", "no"),
                ("Baseline without a DUT (6.1)", said(self.baseline)),
            ]
        digest = "with Digest" if any(user.password is not None for user in self.work.users) else "no passwords"
        notes = f"{len(self.work.users):,} addresses-of-record, {digest}, Expires {self.work.expires} s"
        if self.again is not None:
            notes += f"; registered again after {self.pause:.0f} s"
        return [
            ("Device benchmarks for registrations (5.3)", ""),
            ("Registration Rate", said(self.search)),
            ("Re-registration Rate", said(self.again)),
            ("Notes", notes),
        ]


def said(found: Search | None) -> str:
    """A search in words."""
    if found is None:
        return "not measured"
    if found.ended == "converged":
        return f"{found.rate:,} per second"
    if found.ended == "failed":
        return "none: in the end there were failures at every rate, down to 1 per second"
    return f"not converged; the highest that succeeded so far is {found.rate:,} per second"


def _rate(found: Search | None) -> int | None:
    return found.rate if found is not None and found.ended == "converged" else None
