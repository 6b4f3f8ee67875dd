"""Steps before they have their places in a plan, and why there may be none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fastsip.policy.plan import Outcome, Step, Target


class Refusal(NamedTuple):
    """Why there is no way to somebody, as it would be told the caller."""

    status: int
    reason: str | None = None
    plain: bool = False
    """He is not registered, and that is all."""


LOOP = Refusal(482)
TOO_MANY = Refusal(480, "Too Many Diversions")
AWAY = Refusal(480)
NOBODY = Refusal(480, plain=True)


class Draft:
    """A step that is being laid out."""

    __slots__ = ("notify", "onward", "ring_time", "targets")

    def __init__(self, targets: list[Target], ring_time: float | None = None) -> None:
        self.targets = targets
        self.ring_time = ring_time
        self.onward: dict[Outcome, int] = {}
        self.notify: int | None = None


Block = list[Draft]
"""Steps that belong together; their `onward` counts from the first of them until they have their places."""


def targets_of(block: Block) -> Iterator[Target]:
    return (target for draft in block for target in draft.targets)


def onward(step: Step, index: int, count: int) -> dict[Outcome, int]:
    """Where a step's outcomes lead, by the index of the step that follows."""
    if isinstance(step.onward, Mapping):
        return dict(step.onward)
    return dict.fromkeys(step.onward, index + 1) if index + 1 < count else {}


def together(blocks: list[Block]) -> list[Target]:
    """The targets that blocks begin with, to be tried at the same time, none twice (RFC 3261 16.5)."""
    found: dict[str, Target] = {}
    for block in blocks:
        for target in block[0].targets:
            found.setdefault(target.uri, target)
    return list(found.values())


def told(target: Target, headers: tuple[tuple[str, str], ...], remove: tuple[str, ...]) -> Target:
    return Target(
        target.uri,
        target.q,
        target.hop,
        target.routes,
        (*headers, *target.headers),
        (*target.remove, *remove),
        target.try_time,
        target.gateway,
        target.expires,
        target.spares,
        target.patience,
    )
