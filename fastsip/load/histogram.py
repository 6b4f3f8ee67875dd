"""Response times as HdrHistogram counts: sums of several engines, what a last second added, percentiles, files."""

from __future__ import annotations

import ctypes
import operator
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, repeat
from pathlib import Path
from typing import Protocol

from hdrh.histogram import HdrHistogram

LOWEST, HIGHEST, DIGITS = 1, 60_000_000, 3
"""Microseconds, and significant digits: the layout engines record in (`fastsip._load`)."""

_TEMPLATE = HdrHistogram(LOWEST, HIGHEST, DIGITS)


class Counted(Protocol):
    """What an engine gives (`fastsip._load.Recorded`)."""

    counts: bytes
    total: int
    minimum: int
    maximum: int


class Histogram:
    """Times in microseconds, each known to three digits. `minimum` and `maximum` are exact, 0 where it is empty."""

    __slots__ = ("counts", "maximum", "minimum", "total")

    def __init__(self, counts: Iterable[int] = (), total: int = 0, minimum: int = 0, maximum: int = 0) -> None:
        self.counts = array("q", counts)
        self.total = total
        self.minimum = minimum
        self.maximum = maximum

    @classmethod
    def of(cls, parts: Iterable[Counted]) -> Histogram:
        """The sum of what several engines recorded."""
        whole = cls()
        for part in parts:
            if part.total:
                whole.add(part)
        return whole

    def add(self, part: Counted) -> None:
        more = array("q", part.counts)
        if self.total:
            short, long = sorted((self.counts, more), key=len)
            more = array("q", map(operator.add, long, chain(short, repeat(0))))
        self.counts = more
        self.minimum = min(self.minimum, part.minimum) if self.total else part.minimum
        self.maximum = max(self.maximum, part.maximum)
        self.total += part.total

    def since(self, earlier: Histogram) -> Histogram:
        """What was added after `earlier`. Its ends are known to three digits only."""
        counts = array("q", map(operator.sub, self.counts, chain(earlier.counts, repeat(0))))
        total = sum(counts)
        if not total:
            return Histogram()
        first = next(index for index, count in enumerate(counts) if count)
        last = next(index for index in range(len(counts) - 1, -1, -1) if counts[index])
        return Histogram(counts, total, _TEMPLATE.get_value_from_index(first), _highest(last))

    def percentiles(self, *wanted: float) -> list[int]:
        """The times that so many percent did not exceed; 0 where nothing was recorded."""
        if not self.total:
            return [0] * len(wanted)
        heights: Sequence[int] = list(accumulate(self.counts))
        found = []
        for percent in wanted:
            rank = max(1, int(percent / 100 * heights[-1] + 0.5))
            found.append(min(_highest(bisect_left(heights, min(rank, heights[-1]))), self.maximum))
        return found

    @property
    def mean(self) -> float:
        if not self.total:
            return 0.0
        middles = (
            count * (_TEMPLATE.get_value_from_index(index) + _highest(index)) / 2
            for index, count in enumerate(self.counts)
            if count
        )
        return float(sum(middles) / sum(self.counts))

    def hdr(self) -> HdrHistogram:
        """As an object of the hdrhistogram package, which can encode and print it."""
        made = HdrHistogram(LOWEST, HIGHEST, DIGITS)
        if self.total:
            data = self.counts.tobytes()
            ctypes.memmove(made.counts, data, len(data))
            used = [index for index, count in enumerate(self.counts) if count]
            made.set_internal_tacking_values(used[0], used[-1], sum(self.counts))
        return made

    def write(self, path: Path) -> None:
        """Write the percentile distribution in milliseconds, as HdrHistogram's plotter reads it.

        Raises OSError.
        """
        with path.open("wb") as file:
            self.hdr().output_percentile_distribution(file, 1000.0)


def _highest(index: int) -> int:
    return int(_TEMPLATE.get_highest_equivalent_value(_TEMPLATE.get_value_from_index(index)))
