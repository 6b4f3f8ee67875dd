"""Other people's plans, with devices and services where they name somebody who lives here."""

from __future__ import annotations

from collections.abc import Callable

from fastsip.policy.plan import BUSY, NO_ANSWER, REJECTED, Answer, Outcome, Plan, Step, Target
from fastsip.services.draft import AWAY, Draft, Refusal, onward
from fastsip.services.layout import Layout

ENDS = {480: NO_ANSWER, 486: BUSY}
"""The outcome of a step nobody of which could be tried."""


class Expansion:
    """One plan. A step that names one person becomes his steps, and ends as these end; in a step of several each is
    what rings of him."""

    def __init__(self, plan: Plan, layout: Layout, who: Callable[[Target], str | None]) -> None:
        """`who` gives the address-of-record a target is to be replaced for."""
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
        aors = [self._who(target) for target in step.targets]
        if len(aors) == 1 and aors[0] is not None:
            refusal = layout.whole(aors[0])
            for draft in layout.steps[first:]:
                draft.targets = [_merged(step.targets[0], target) for target in draft.targets]
                draft.ring_time = _shorter(draft.ring_time, step.ring_time)
        else:
            targets: list[Target] = []
            seen: set[str] = set()
            for aor, target in zip(aors, step.targets, strict=True):
                found = [target] if aor is None else [_merged(target, one) for one in layout.several(aor)]
                targets += [one for one in found if one.uri not in seen]
                seen.update(one.uri for one in found)
            refusal = AWAY if not targets or layout.add([Draft(targets, step.ring_time)]) is None else None
        if len(layout.steps) > first and layout.steps[first].notify is None:
            layout.steps[first].notify = step.notify
        return refusal


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
    )


def _shorter(one: float | None, other: float | None) -> float | None:
    return min(one, other) if one is not None and other is not None else one if other is None else other


def _earlier(step: Step, by: int) -> Step:
    """The step with `by` steps before it gone."""
    assert isinstance(step.onward, dict)
    leads: dict[Outcome, int] = {outcome: index - by for outcome, index in step.onward.items()}
    return Step(step.targets, step.ring_time, leads, step.notify)
