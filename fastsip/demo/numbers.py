"""What the demonstration counts, and how it shows it: a live table on a terminal, a line a second elsewhere."""

from __future__ import annotations

import time
from bisect import insort
from collections import Counter
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

REFRESH = 8
"""Pictures a second on a terminal."""


class Tally:
    """Counts of one demonstration. Setup times are seconds from INVITE to 180 (RFC 6076 4.3.1)."""

    def __init__(self, users: int, duration: float) -> None:
        self.users, self.duration = users, duration
        self.registered = self.offered = self.done = 0
        self.failures: Counter[str] = Counter()
        self._setup: list[float] = []
        self.started = self.ended = 0.0

    def start(self) -> None:
        self.started = time.monotonic()

    def stop(self) -> None:
        self.ended = time.monotonic()

    @property
    def elapsed(self) -> float:
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def in_flight(self) -> int:
        return self.offered - self.done - self.failed

    def finished(self, setup: float) -> None:
        self.done += 1
        insort(self._setup, setup)

    def setup(self, share: float) -> str:
        """The setup time that `share` of the calls did not exceed, in words."""
        if not self._setup:
            return "-"
        return f"{self._setup[min(len(self._setup) - 1, int(share * len(self._setup)))] * 1000:.1f} ms"

    def line(self) -> str:
        elapsed = max(self.elapsed, 1e-9)
        return (f"{self.elapsed:4.0f} s  registered {self.registered}/{self.users}  offered {self.offered} "
                f"({self.offered / elapsed:.0f}/s)  done {self.done}  in flight {self.in_flight}  "
                f"setup p50 {self.setup(0.5)} p99 {self.setup(0.99)}  failed {self.failed}")

    def __rich__(self) -> Group:
        elapsed = max(self.elapsed, 1e-9)
        table = Table.grid(padding=(0, 1))
        for _ in range(4):
            table.add_column(justify="right", no_wrap=True, min_width=9)
            table.add_column(justify="left", no_wrap=True, min_width=9)
        rate = f" [dim]{self.offered / elapsed:.0f}/s[/]" if self.started else ""
        colour = "red" if self.failed else "green"
        table.add_row("registered", f"[bold]{self.registered}[/]/{self.users}", "offered",
                      f"[bold]{self.offered}[/]{rate}", "in flight", f"[bold]{self.in_flight}[/]",
                      "setup p50", f"[bold]{self.setup(0.5)}[/]")
        table.add_row("", "", "done", f"[bold]{self.done}[/]", "failed", f"[bold {colour}]{self.failed}[/]",
                      "p99", f"[bold]{self.setup(0.99)}[/]")
        bar = ProgressBar(total=self.duration, completed=min(self.elapsed, self.duration), width=72)
        return Group(Text(), table, bar)


class View:
    """Shows a tally for as long as it is entered. `tick` is called often and draws when it is time."""

    def __init__(self, tally: Tally, console: Console) -> None:
        self._tally, self._console = tally, console
        self._live = Live(tally, console=console, refresh_per_second=REFRESH) if console.is_terminal else None
        self._next = 0.0

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._console.print(self._tally.line(), highlight=False, soft_wrap=True)

    def tick(self) -> None:
        now = time.monotonic()
        if self._live is None and now >= self._next:
            if self._next:
                self._console.print(self._tally.line(), highlight=False, soft_wrap=True)
            self._next = now + 1.0
