"""Plots of a run: each title that rows name becomes a picture, lines where x is a number, bars where it is a word."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
from report import caption
from rows import Row

matplotlib.use("Agg")

from matplotlib import pyplot

COLOURS = {"fastsip": "#1f6feb", "kamailio": "#d1742f", "floor": "#8b949e", "fastsip durable": "#79b8ff"}


def draw(folder: Path, name: str, about: dict[str, str], rows: Iterable[Row]) -> list[Path]:
    """One PNG a title, `name`-1.png and on. Raises ImportError where matplotlib is missing."""
    titles: dict[str, list[Row]] = {}
    for row in rows:
        if row.plot and row.value is not None:
            titles.setdefault(row.plot[0], []).append(row)
    made = []
    for number, (title, mine) in enumerate(titles.items(), 1):
        picture, axes = pyplot.subplots(figsize=(8, 4.6))
        series: dict[str, list[Row]] = {}
        for row in mine:
            assert row.plot
            series.setdefault(row.plot[1], []).append(row)
        numeric = all(row.plot and not isinstance(row.plot[2], str) for row in mine)
        (_lines if numeric else _bars)(axes, series)
        axes.set_title(title, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=9)
        picture.text(0.01, 0.01, fill(caption(about), 130), fontsize=6.5, color="#57606a")
        picture.tight_layout(rect=(0, 0.07, 1, 1))
        path = folder / f"{name}-{number}.png"
        picture.savefig(path, dpi=130)
        pyplot.close(picture)
        made.append(path)
    return made


def _lines(axes: Any, series: dict[str, list[Row]]) -> None:
    for name, rows in series.items():
        points = sorted((row.plot[2], row.value) for row in rows if row.plot)
        axes.plot(*zip(*points, strict=True), marker="o", label=name, color=COLOURS.get(name))
    places = [row.plot[2] for rows in series.values() for row in rows if row.plot]
    if len(places) > 1 and max(places) > 50 * max(min(places), 1e-9):
        axes.set_xscale("log")


def _bars(axes: Any, series: dict[str, list[Row]]) -> None:
    places = list(dict.fromkeys(row.plot[2] for rows in series.values() for row in rows if row.plot))
    width = 0.8 / len(series)
    for number, (name, rows) in enumerate(series.items()):
        values = {row.plot[2]: row for row in rows if row.plot}
        at = [places.index(place) + (number - (len(series) - 1) / 2) * width for place in values]
        heights = [row.value for row in values.values()]
        bars = axes.bar(at, heights, width, label=name, color=COLOURS.get(name))
        axes.bar_label(bars, fmt="{:,.3g}", fontsize=8, padding=2)
        for place, row in zip(at, values.values(), strict=True):
            if row.spread:
                axes.plot([place, place], row.spread, color="#24292f", linewidth=1)
    axes.set_xticks(range(len(places)), [fill(str(place), 14) for place in places], fontsize=9)
