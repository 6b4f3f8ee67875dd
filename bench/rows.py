"""What a part of the suite gives: rows, each with its figure, gate, aim and verdict, and how long a part may take.

A part is a module with `TITLE`, `ABOUT` and `rows(bench)`, a generator, so that what was measured stays when the rest
is interrupted. `alone(module)` makes it a script.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")
SIZES = ("tiny", "quick", "full")


@dataclass(frozen=True)
class Row:
    """One figure. `value` is None where it could not be had, and `note` says why. `gate` must hold, `aim` is wished
    for; the figure may be at most that, with `least` at least that. `spread` is least and greatest of the rounds.
    `rival` marks figures of others, which have no verdict. `raw` is what the figure came from, for the JSON."""

    name: str
    value: float | None
    unit: str
    gate: float | None = None
    aim: float | None = None
    least: bool = False
    note: str = ""
    spread: tuple[float, float] | None = None
    rival: bool = False
    floor: float | None = None
    """The figure as a multiple of the floor, where there is one."""
    raw: Any = None
    plot: tuple[str, str, str | float] | None = None
    """Title of a plot, series, and place on the x axis: a number makes lines, a word bars."""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self._holds(self.aim):
            return "aim met"
        if self._holds(self.gate):
            return "gate met"
        return "missed" if self.gate is not None else ""

    def _holds(self, bound: float | None) -> bool:
        if bound is None or self.value is None:
            return False
        return self.value >= bound if self.least else self.value <= bound


@dataclass
class Bench:
    """What a part is told: how long it may take, how many workers the servers have, and whom it tells what it does."""

    size: str = "full"
    workers: int = 2
    say: Callable[[str], None] = field(default=lambda text: None)
    facts: dict[str, Any] = field(default_factory=dict)
    """What an earlier part found and a later one needs: the rate Kamailio serves, the floor."""
    only: str = ""

    def pick(self, tiny: T, quick: T, full: T) -> T:
        return (tiny, quick, full)[SIZES.index(self.size)]


def missing(name: str, why: str, unit: str = "") -> Row:
    """A row that could not be measured, which says so instead of vanishing."""
    return Row(name, None, unit, note=why)


def figure(value: float | None) -> str:
    """A number with as many digits as are worth reading, thousands apart."""
    if value is None:
        return "-"
    size = abs(value)
    digits = 0 if size >= 1000 or not size else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


HEADINGS = ("", "figure", "rounds", "x floor", "gate", "aim", "verdict", "")


def cells(row: Row) -> tuple[str, ...]:
    """The row as text, in the order of HEADINGS."""
    sign = "≥ " if row.least else "≤ "
    bounds = [f"{sign}{_bound(bound)}" if bound is not None else "" for bound in (row.gate, row.aim)]
    spread = f"{figure(row.spread[0])} to {figure(row.spread[1])}" if row.spread else ""
    value = f"{figure(row.value)} {row.unit}".strip() if row.value is not None else "not measured"
    floor = f"{row.floor:.2f}" if row.floor is not None else ""
    return row.name, value, spread, floor, *bounds, row.verdict if row.value is not None else "", row.note


def _bound(bound: float) -> str:
    return f"{bound:,.0f}" if bound >= 100 else f"{bound:.3g}"


def text(rows: Iterable[Row]) -> Iterator[str]:
    """Lines for a terminal."""
    for row in rows:
        name, value, spread, floor, gate, aim, verdict, note = cells(row)
        bounds = ", ".join(f"{what} {bound}" for what, bound in (("gate", gate), ("aim", aim)) if bound)
        rest = "; ".join(part for part in (spread, f"{floor} x floor" if floor else "", bounds, verdict, note) if part)
        yield f"  {name:<58} {value:>14}  {rest}".rstrip()


def alone(part: ModuleType | str) -> None:
    """Run one part as a script: `--quick` for a tenth of the time, `--json` for a machine."""
    module = sys.modules[part] if isinstance(part, str) else part
    parser = argparse.ArgumentParser(description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--workers", type=int, default=2, help="workers of each server")
    chosen = parser.parse_args()
    bench = Bench("quick" if chosen.quick else "full", chosen.workers)
    if sys.stderr.isatty():
        bench.say = lambda what: print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
    for row in module.rows(bench):
        bench.say("")
        for line in text([row]):
            print(line, flush=True)
