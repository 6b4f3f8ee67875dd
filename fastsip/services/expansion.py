"""Other people's plans, with devices and services where they name somebody who lives here, and gateways for numbers."""

from __future__ import annotations

from collections.abc import Callable

from fastsip.policy.plan import BUSY, NO_ANSWER, REJECTED, Answer, Outcome, Plan, Step, Target
from fastsip.services.draft import AWAY, Block, Draft, Refusal, onward, together
from fastsip.services.layout import Layout
from fastsip.services.people import Destination

ENDS = {480: NO_ANSWER, 486: BUSY}
"""The outcome of a step nobody of which could be tried."""


class Expansion:
    """One plan. A step that names one person becomes his steps, and ends as these end; in a step of several each is
    what rings of him."""

    def __init__(self, plan: Plan, layout: Layout, who: Callable[[Target], Destination | None]) -> None:
        """`who` gives the person or number a target is to be replaced for."""
        self._plan = plan
        self._layout = layout
        self._who = who
        self._places: list[range] = []
        self._refusals: list[Refusal] = []

    def plan(self) -> Plan:
        """The plan; an answer if nobody is left to call."""
        plan, layout = self._plan, self._layout
        for step in plan.steps:
            first = len(layout.steps)
            self._refusals.append(self._expand(step) or AWAY)
            self._places.append(range(first, len(layout.steps)))
        for number, place in enumerate(self._places):
            for outcome, after in onward(plan.steps[number], number, len(plan.steps)).items():
                follows = self._begin(after)
                if follows is not None:
                    for index in place:
                        layout.steps[index].onward.setdefault(outcome, follows)
        begin = self._begin(0)
        if begin is None:
            return Plan(answer=Answer(self._refusals[0].status, self._refusals[0].reason))
        steps = layout.finished()[begin:]
        if begin:
            steps = tuple(_earlier(step, begin) for step in steps)
        return Plan(steps, recurse=plan.recurse, on_failure=plan.on_failure)

    def _begin(self, number: int) -> int | None:
        """Where the plan's step begins, or the one that follows if nobody is left in it."""
        while number < len(self._places):
            if self._places[number]:
                return self._places[number].start
            step = self._plan.steps[number]
            outcome = ENDS.get(self._refusals[number].status, REJECTED)
            follows = onward(step, number, len(self._places)).get(outcome)
            if follows is None or follows <= number:
                return None
            number = follows
        return None

    def _expand(self, step: Step) -> Refusal | None:
        """Lay out one step; why that cannot be."""
        layout = self._layout
        first = len(layout.steps)
        found = [layout.dialled(who) if (who := self._who(target)) is not None else None for target in step.targets]
        if len(found) == 1 and found[0] is not None:
            if isinstance(found[0], str):
                refusal = layout.whole(found[0])
            else:
                refusal = AWAY if not found[0] or layout.add(found[0]) is None else None
            for draft in layout.steps[first:]:
                draft.targets = [_merged(step.targets[0], target) for target in draft.targets]
                draft.ring_time = _shorter(draft.ring_time, step.ring_time)
        else:
            targets: list[Target] = []
            seen: set[str] = set()
            for one, target in zip(found, step.targets, strict=True):
                rings = [target] if one is None else [_merged(target, each) for each in self._together(one)]
                targets += [each for each in rings if each.uri not in seen]
                seen.update(each.uri for each in rings)
            refusal = AWAY if not targets or layout.add([Draft(targets, step.ring_time)]) is None else None
        if len(layout.steps) > first and layout.steps[first].notify is None:
            layout.steps[first].notify = step.notify
        return refusal

    def _together(self, found: Block | str) -> list[Target]:
        return self._layout.several(found) if isinstance(found, str) else together([found] if found else [])


def _merged(named: Target, found: Target) -> Target:
    """What a plan said of a person, said of his device."""
    if named == Target(named.uri):
        return found
    return Target(
        found.uri,
        found.q,
        found.hop,
        found.routes,
        (*named.headers, *found.headers),
        (*named.remove, *found.remove),
        named.try_time if found.try_time is None else found.try_time,
        found.gateway,
        found.expires,
        found.spares,
        found.patience,
    )


def _shorter(one: float | None, other: float | None) -> float | None:
    return min(one, other) if one is not None and other is not None else one if other is None else other


def _earlier(step: Step, by: int) -> Step:
    """The step with `by` steps before it gone."""
    assert isinstance(step.onward, dict)
    leads: dict[Outcome, int] = {outcome: index - by for outcome, index in step.onward.items()}
    return Step(step.targets, step.ring_time, leads, step.notify)
