"""The whole suite: every figure with its gate, aim and verdict, as a table, JSON, Markdown and plots.

    python bench/suite.py                       # all of it, about 15 minutes: `make bench`
    python bench/suite.py --quick               # all of it in less, for a look
    python bench/suite.py --part calls --part parse

README.md in this folder says how to read the figures, and why they might mislead. Ctrl-C ends it and keeps what was
measured. Results go to bench/results, under a name that ends in -quick where that was asked for.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import click  # noqa: E402
from measure import machine, version  # noqa: E402
from report import Part, summary, write  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn  # noqa: E402
from rich.text import Text  # noqa: E402
from rows import SIZES, Bench, Row, missing, text  # noqa: E402

PARTS = {
    "parse": (1, 8),
    "parsers": (2, 10),
    "transactions": (1, 15),
    "timers": (4, 11),
    "location": (12, 90),
    "ring": (2, 15),
    "digest": (1, 2),
    "tls": (3, 12),
    "state": (2, 8),
    "calls": (32, 260),
    "jobs": (32, 150),
    "transports": (70, 700),
    "peers": (22, 70),
    "balance": (10, 18),
    "latency": (17, 90),
    "policy": (40, 220),
    "routes": (2, 6),
    "locating": (1, 8),
    "resident": (7, 66),
    "idle": (10, 60),
    "generator": (20, 80),
    "instructions": (5, 12),
}
"""Each part's module, and its seconds on two CPUs, quick and full."""
LONG = {"endurance": (60, 400)}
"""Parts only asked for by --long."""


class Left(ProgressColumn):
    """What is left by the parts' own estimates: what was slower or faster so far says little about the rest."""

    def render(self, task: Task) -> Text:
        left = max(0.0, (task.total or 0) - task.completed)
        return Text(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")


def facts(command: str) -> dict[str, str]:
    from fastsip.version import __version__

    found = {
        "command": command,
        **machine(),
        "fastsip": __version__,
        "kamailio": version("kamailio", "-v"),
        "sipp": version("sipp", "-v"),
    }
    return {name: value for name, value in found.items() if value}


class Run:
    """The parts in order, and what came of them so far."""

    def __init__(self, names: list[str], bench: Bench, console: Console) -> None:
        self.names, self.bench, self.console = names, bench, console
        self.parts: list[Part] = []
        self.interrupted = False
        columns = (TextColumn("{task.description}"), BarColumn(20), Left())
        self.progress = Progress(*columns, console=console, transient=True)
        full = bench.size == "full"
        self.estimates = {name: (PARTS | LONG)[name][full] for name in names}
        self.task = self.progress.add_task("starting", total=sum(self.estimates.values()))
        bench.say = self._say

    def _say(self, what: str) -> None:
        self._advance()
        self.progress.update(self.task, description=what)

    def _advance(self) -> None:
        """Done are the parts before, and as much of this one as its time so far says."""
        name = self.names[min(len(self.parts), len(self.names) - 1)]
        estimate = self.estimates[name]
        before = sum(self.estimates[earlier] for earlier in self.names[: len(self.parts)])
        self.progress.update(self.task, completed=before + min(estimate * 0.95, time.monotonic() - self.begun))

    def all(self) -> None:
        with self.progress:
            for name in self.names:
                self.begun = time.monotonic()
                part = self._part(name)
                part.seconds = time.monotonic() - self.begun
                self.parts.append(part)
                if self.interrupted:
                    return

    def _part(self, name: str) -> Part:
        module = importlib.import_module(name)
        part = Part(module.TITLE, module.ABOUT)
        self.console.print(f"\n[bold]{module.TITLE}[/bold]  {module.ABOUT}", highlight=False)
        try:
            for row in self._rows(name, module):
                part.rows.append(row)
                for line in text([row]):
                    self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            part.ended, self.interrupted = "interrupted", True
        return part

    def _rows(self, name: str, module: ModuleType) -> Iterator[Row]:
        try:
            yield from module.rows(self.bench)
        except (OSError, AssertionError, RuntimeError, ValueError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            yield missing(f"{name}: what was to come", lines[0])


@click.command(context_settings={"show_default": True})
@click.option("--quick", is_flag=True, help="Less of everything: two or three minutes.")
@click.option("--tiny", is_flag=True, hidden=True, help="Just enough to see that it runs.")
@click.option("--part", "names", multiple=True, type=click.Choice([*PARTS, *LONG]),
              help="This part only; may be repeated.")  # fmt: skip
@click.option("--long", is_flag=True, help="Also what takes minutes by itself: endurance.")
@click.option("--workers", default=2, help="Workers of each server.")
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "bench" / "results",
              show_default="bench/results", help="Folder for the results.")  # fmt: skip
@click.option("--gate", is_flag=True, help="End with 1 when a gate is missed.")
def main(
    quick: bool, tiny: bool, names: tuple[str, ...], long: bool, workers: int, results: Path, gate: bool
) -> None:
    """Measure everything there is a figure for."""
    console = Console() if sys.stdout.isatty() else Console(width=150)
    about = facts(" ".join(["python", "bench/suite.py", *sys.argv[1:]]))
    for key, value in about.items():
        console.print(f"{key:>9}  {value}", highlight=False)
    bench = Bench(SIZES[0] if tiny else SIZES[1] if quick else SIZES[2], workers)
    chosen = list(names) or [*PARTS, *(LONG if long else ())]
    run = Run(chosen, bench, console)
    begun = time.monotonic()
    try:
        run.all()
    finally:
        if run.parts:
            stamp = about["date"].replace(" UTC", "").replace(" ", "-").replace(":", "")
            about["took"] = f"{(time.monotonic() - begun) / 60:.1f} minutes"
            files = write(results, stamp + ("" if bench.size == "full" else f"-{bench.size}"), about, run.parts)
            console.print()
            for line in summary(run.parts):
                console.print(line, highlight=False)
            console.print(f"written to {files[0]}" + (f" and {len(files) - 1} files beside it" if files else ""))
    if run.interrupted:
        sys.exit(130)
    sys.exit(1 if gate and any(row.verdict == "missed" for part in run.parts for row in part.rows) else 0)


if __name__ == "__main__":
    main()
