"""What is shown while work goes on: a live picture on a terminal, a line now and then elsewhere. On standard error, so
that standard output has only the result."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from . import rates
from .numbers import RESPONSE_TIMES, SENT_AGAIN, Numbers, Second

EVERY = 5.0
"""Seconds between two lines where there is no terminal, after the first five."""
LONG = 2.0
"""Seconds after which something without numbers of its own says that it goes on."""


ANSWERING = "answering"
"""Title of the phase that only answers."""


class View:
    """Shows one phase after the other: `begin`, `tick` about once a second, `end`."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._live: Live | None = None
        self._title = ""
        self._warned = False

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(
        self, title: str, duration: float = 0.0, count: int = 0, plan: rates.Plan | None = None, main: str = ""
    ) -> None:
        """A phase of so many seconds, or so much work; `main` is the response time a line tells."""
        self.end()
        self._title, self._duration, self._count, self._plan, self._main = title, duration, count, plan, main
        self._before, self._said = Numbers(), 0.0
        self._warned = False
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def say(self, text: str) -> None:
        """One line that stays."""
        if not self._quiet:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def tick(self, second: Second, now: Numbers) -> None:
        """Show what a last second brought, and the numbers so far."""
        if self._quiet:
            return
        passed = second.at
        if self._title != ANSWERING and not self._warned and now["datagrams_out"] and not now["datagrams_in"]:
            self._warned = True
            self.say(f"no answer from {self._title.rpartition(' ')[2]} yet")
        if self._live is not None:
            self._live.update(self._picture(second, now))
        elif passed <= EVERY + 0.5 or passed - self._said >= EVERY - 0.5:
            self.say(self._line(second, now))
            self._said = passed
        self._before = now

    def note(self, text: str) -> None:
        """Say what is being waited for, on a terminal in place."""
        if self._live is not None:
            self._live.update(Text(f"{self._title}: {text}"))

    def end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def countdown(self, title: str, seconds: float) -> Iterator[float]:
        """Seconds that have passed, about one a second, until so many have; shown."""
        self.begin(title, seconds)
        begun = time.monotonic()
        if seconds > LONG and self._live is None:
            self.say(f"{title}: {seconds:.0f} s")
        while (passed := time.monotonic() - begun) < seconds:
            self.note(f"{seconds - passed:.0f} s")
            yield passed
            time.sleep(min(1.0, seconds - passed))
        self.end()

    def _line(self, second: Second, now: Numbers) -> str:
        offered, done, answered = (count / second.span for count in (second.offered, second.done, second.answered))
        told = [f"{second.at:4.0f} s"]
        if self._title != ANSWERING:
            told += [f"offered {offered:,.0f}/s", f"done {done:,.0f}/s", f"in flight {now['in_flight']:,}"]
            if self._main and second.p50:
                told.append(f"{RESPONSE_TIMES[self._main]} p50 {ms(second.p50)} p99 {ms(second.p99)} ms")
            told.append(f"sent again {sum(now[name] for name in SENT_AGAIN):,}")
            told.append(f"failed {now['failed']:,}{_by_cause(now)}")
            told += ["waiting for what is open"] if self._waits(second.at) else []
        else:
            told += [f"answered {now['answered']:,} ({answered:,.0f}/s)", f"dialogs {now['dialogs']:,}"]
            told += [f"ended {now['ended']:,}", f"sent again {now['again_answer']:,}"]
        return "  ".join(told)

    def _picture(self, second: Second, now: Numbers) -> Group:
        passed = second.at
        head = Text(self._title, style="bold")
        head.append(f"  {passed:.0f} s" + (f" of {self._duration:g} s" if self._duration else ""), style="not bold")
        if self._waits(passed):
            head.append("  waiting for what is open", style="not bold")
        elif self._plan is not None:
            head.append(f"  planned now {self._plan.rate_at(passed):,.0f}/s", style="not bold")
        parts: list[Text | Table | ProgressBar] = [head, self._counts(second, now)]
        if any(now.histogram(name).total for name in RESPONSE_TIMES):
            parts.append(self._times(now))
        again = [f"{word} {now[name]:,}" for name, word in SENT_AGAIN.items() if now[name]]
        if again:
            parts.append(Text(f"sent again: {', '.join(again)}"))
        if now["failed"]:
            parts.append(Text(f"failed: {_by_cause(now).strip(' ()')}", style="red"))
        if self._duration:
            parts.append(ProgressBar(total=self._duration, completed=min(passed, self._duration), width=72))
        elif self._count:
            parts.append(ProgressBar(total=self._count, completed=min(now["offered"], self._count), width=72))
        return Group(*parts)

    def _waits(self, passed: float) -> bool:
        return 0 < self._duration < passed - 0.5

    def _counts(self, second: Second, now: Numbers) -> Table:
        """Two in a row, each with what the last second brought."""
        grid = Table.grid(padding=(0, 1))
        for _ in range(2):
            grid.add_column(no_wrap=True)
            grid.add_column(justify="right", no_wrap=True, min_width=11)
            grid.add_column(justify="right", no_wrap=True, min_width=10, style="dim")
        answering = self._title == ANSWERING
        names = ("answered", "dialogs", "ended") if answering else ("offered", "in_flight", "done", "failed")
        cells = []
        for name in names:
            rate = "" if name in ("in_flight", "dialogs") else f"{getattr(second, name) / second.span:,.0f}/s"
            cells += [name.replace("_", " "), f"[bold]{now[name]:,}[/]", rate]
        grid.add_row(*cells[:6])
        grid.add_row(*cells[6:])
        return grid

    def _times(self, now: Numbers) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("ms")
        for heading in ("p50", "p99", "max", "last second p50", "p99"):
            table.add_column(heading, justify="right")
        for name, words in RESPONSE_TIMES.items():
            whole = now.histogram(name)
            if whole.total:
                recent = whole.since(self._before.histogram(name))
                table.add_row(
                    words,
                    *(ms(value) for value in (*whole.percentiles(50, 99), whole.maximum)),
                    *(ms(value) for value in recent.percentiles(50, 99)),
                )
        return table


def ms(microseconds: float) -> str:
    """Milliseconds with three digits that say something."""
    value = microseconds / 1000
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _by_cause(now: Numbers) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in now.failures.most_common(4))
    return f" ({told})" if told else ""
