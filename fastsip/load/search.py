"""The benchmarking algorithm of RFC 7502 4.10: the largest rate at which N sessions succeed without one failure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

SESSIONS = 50_000
RATE = 100
INCREASE = 0.10
CONVERGED = 10
"""Rates that succeed without being higher than the highest before: then the algorithm has converged."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of test of RFC 7502 4.10, with its values. Raises ValueError outside of what it allows."""

    sessions: int = SESSIONS
    """N: sessions attempted at each rate."""
    rate: int = RATE
    """r: the initial session attempt rate, per second."""
    increase: float = INCREASE
    """w: traffic increase weight."""
    decrease: float | None = None
    """d: traffic decrease weight; None is max(0.10, w / 2)."""

    def __post_init__(self) -> None:
        if self.sessions < 1:
            raise ValueError("N has to be at least 1")
        if self.rate < 1:
            raise ValueError("r has to be at least 1")
        if not 0 < self.increase <= 1:
            raise ValueError("w has to be more than 0 and at most 1")
        if self.decrease is not None and not 0 < self.decrease <= 1:
            raise ValueError("d has to be more than 0 and at most 1")
        if math.floor(self.rate + self.increase * self.rate) == self.rate:
            raise ValueError(
                f"r = {self.rate} and w = {self.increase:g} never raise the rate: r + w * r is rounded down"
            )

    @property
    def weight_down(self) -> float:
        return max(0.10, self.increase / 2) if self.decrease is None else self.decrease


@dataclass(frozen=True)
class Trial:
    """One send_traffic(r, m, n): what was tried, with the weights then, and whether all n sessions succeeded."""

    rate: int
    best: int
    increase: float
    decrease: float
    succeeded: bool


@dataclass
class Search:
    """What a search came to."""

    rate: int = 0
    """R, sessions per second; 0 if no rate succeeded. Without an end of its own, the highest that succeeded so far."""
    ended: Literal["converged", "failed", "stopped"] = "stopped"
    """`failed`: from some moment on, every rate down to 1 per second."""
    trials: list[Trial] = field(default_factory=list)


def max_sps(parameters: Parameters, send_traffic: Callable[[int], bool | None]) -> Search:
    """Find R as the pseudocode of RFC 7502 4.10 does, in its names.

    `send_traffic(r)` attempts N sessions at r per second and says whether all of them succeeded; None ends the search.
    The pseudocode would send at rate 0 for ever where nothing succeeds: there, and only there, this ends by itself.
    """
    found = Search()
    r, w, d = parameters.rate, parameters.increase, parameters.weight_down
    old_r = count = 0
    while True:
        s = send_traffic(r)
        if s is None:
            found.rate = old_r
            return found
        found.trials.append(Trial(r, old_r, w, d, s))
        if s:
            if r > old_r:
                old_r = r
            else:
                count += 1
                if count >= CONVERGED:
                    found.rate, found.ended = max(r, old_r), "converged"
                    return found
            r = math.floor(r + w * r)
        else:
            r = math.floor(r - d * r)
            d = max(0.10, d / 2)
            w = max(0.10, w / 2)
            if r < 1:
                found.rate, found.ended = old_r, "failed"
                return found
