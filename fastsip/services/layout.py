"""How people, their devices and where they forward to become the steps of one plan.

A person is one step or several: his devices by q, or the groups of his find_me. From the last of them each outcome that
is forwarded goes on to a step of its own, which may be another person. These are laid out breadth first, so that every
step comes after those that lead to it, and the nearest forwards have a place where there is not room for all.

A way that leads to somebody it has been at, or through more diversions than a call may have, is left out: the call ends
with what led there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fastsip.location import Binding
from fastsip.policy.plan import (
    ANY,
    BUSY,
    NO_ANSWER,
    STEPS_AT_MOST,
    TARGETS_AT_MOST,
    TIMEOUT,
    UNAVAILABLE,
    Outcome,
    Step,
    Target,
)  # fmt: skip
from fastsip.services import history
from fastsip.services.caller import Caller
from fastsip.services.draft import AWAY, LOOP, NOBODY, Block, Draft, Refusal, targets_of
from fastsip.services.history import NOTHING, Cause, Rang, Trail
from fastsip.services.people import Destination, People, Person
from fastsip.services.reach import SCREENED_IN, Outside, Reach, barred

TEXT_AT_MOST, TEXT_RESERVED = 29_000, 6_000
"""Bytes of URIs and headers of a plan, and those of it that are left for forwards."""
BREADTH = 60
"""Targets of a step: all there can be at the same time (Max-Breadth, RFC 5393 5.3.3)."""
FORWARDED = 181
RESERVED = 16
"""Steps and targets of a plan that find_me leaves for forwards."""


class Jump(NamedTuple):
    """A forward that is to be laid out: from which steps, after which outcomes."""

    steps: range
    outcomes: tuple[Outcome, ...]
    person: Person
    to: Destination
    cause: Cause
    trail: Trail | None
    visited: tuple[str, ...]
    rang: Rang


class Layout(Reach):
    """The steps of one plan in the making."""

    def __init__(
        self,
        people: People,
        lookup: Callable[[str], Sequence[Binding]],
        outside: Outside | None,
        who: Caller,
        ring_time: float,
        now: int,
    ) -> None:
        """`ring_time` is seconds, `now` Unix milliseconds."""
        super().__init__(people, lookup, outside, who, now)
        self.steps: list[Draft] = []
        self._ring_time = ring_time
        self._jumps: deque[Jump] = deque()
        self._room = TARGETS_AT_MOST
        self._text = TEXT_AT_MOST

    def whole(self, aor: str) -> Refusal | None:
        """Lay out a person with all his forwards; or why there is no way to him."""
        first = self._person(aor, None, ())
        if isinstance(first, Refusal):
            return first
        while self._jumps:
            self._jump(self._jumps.popleft())
        return None

    def add(self, block: Block, reserved: int = 0) -> int | None:
        """Give a block its place; the first step's index. Targets there is no room for are left out, None if that is
        all."""
        first, spare = len(self.steps), TEXT_RESERVED if reserved else 0
        steps, targets = STEPS_AT_MOST - reserved - first, self._room - reserved
        if min(steps, targets) < len(block) or self._text - spare < sum(_text(draft.targets[0]) for draft in block):
            return None
        for left, draft in zip(range(len(block) - 1, -1, -1), block, strict=True):
            del draft.targets[min(BREADTH, self._room - reserved - left) :]
            for index, target in enumerate(draft.targets):
                self._text -= _text(target)
                if index and self._text < spare:
                    self._text += _text(target)
                    del draft.targets[index:]
                    break
            self._room -= len(draft.targets)
            draft.onward = {outcome: first + step for outcome, step in draft.onward.items()}
            self.steps.append(draft)
        return first

    def finished(self) -> tuple[Step, ...]:
        """The steps. Where no answer leads on somebody rings so long, by himself or by default."""
        return tuple(
            Step(
                tuple(draft.targets),
                self._ring_time if draft.ring_time is None and NO_ANSWER in draft.onward else draft.ring_time,
                draft.onward,
                draft.notify,
            )
            for draft in self.steps
        )

    def _person(self, aor: str, trail: Trail | None, visited: tuple[str, ...]) -> int | Refusal:
        """His first step. `trail` says how the call came to him, None for the one it was for."""
        if aor in visited:
            return LOOP
        visited = (*visited, aor)
        person = self.person(aor)
        if person is not None:
            refusal = self.screened(person)
            if refusal is not None:
                return refusal
            if self.calls and person.always is not None:
                return self._divert(person, person.always, history.ALWAYS, trail, visited)
            if self.calls and person.record.do_not_disturb:
                if person.busy is None:
                    return AWAY
                return self._divert(person, person.busy, history.NOT_DISTURBED, trail, visited)
        return self._ring(aor, person, trail, visited)

    def _ring(self, aor: str, person: Person | None, trail: Trail | None, visited: tuple[str, ...]) -> int | Refusal:
        """The first step of his devices or his find_me."""
        blocks = self.groups(aor, person, trail, visited)
        forwards = person if self.calls else None
        if not blocks:
            to = forwards and (forwards.unavailable or forwards.no_answer)
            if forwards and to:
                return self._divert(forwards, to, history.UNREGISTERED, trail, visited)
            return NOBODY if trail is None and not (person and person.find_me) else AWAY
        placed: list[int] = []
        for block in blocks:
            for draft in block:
                draft.ring_time = draft.ring_time or (person.record.ring_time if person else None)
            first = self.add(block, RESERVED if person is not None and person.find_me else 0)
            if first is None:
                break
            for index in range(placed[-1] if placed else first, first):
                for outcome in ANY:
                    self.steps[index].onward.setdefault(outcome, first)
            placed.append(first)
        if not placed:
            return AWAY
        if forwards is not None:
            last = range(placed[-1], len(self.steps))
            tried = [target.uri for draft in self.steps[placed[0] :] for target in draft.targets]
            devices = () if forwards.find_me else tuple(tried)
            rang = Rang(1 + len(tried), devices, len(self.steps[placed[-1]].targets) == 1)
            self._later(forwards, trail, visited, last, rang)
        return placed[0]

    def _later(self, person: Person, trail: Trail | None, visited: tuple[str, ...], last: range, rang: Rang) -> None:
        """Have the forwards from his last step laid out."""

        def on(to: Destination | None, cause: Cause, *outcomes: Outcome) -> None:
            if to is not None:
                self._jumps.append(Jump(last, outcomes, person, to, cause, trail, visited, rang))

        on(person.busy, history.BUSY, BUSY)
        if person.unavailable is not None:
            on(person.no_answer, history.NO_ANSWER, NO_ANSWER)
            on(person.unavailable, history.UNREACHABLE, UNAVAILABLE, TIMEOUT)
        else:
            on(person.no_answer, history.NO_ANSWER, NO_ANSWER, UNAVAILABLE, TIMEOUT)

    def _jump(self, jump: Jump) -> None:
        first = self._divert(jump.person, jump.to, jump.cause, jump.trail, jump.visited, jump.rang)
        if not isinstance(first, Refusal):
            for index in jump.steps:
                for outcome in jump.outcomes:
                    self.steps[index].onward.setdefault(outcome, first)

    def _divert(
        self,
        person: Person,
        to: Destination,
        cause: Cause,
        trail: Trail | None,
        visited: tuple[str, ...],
        rang: Rang = NOTHING,
    ) -> int | Refusal:
        """The first step of where a person has a call sent."""
        sent = self.sent(person, to, cause, trail, rang)
        if isinstance(sent, Refusal):
            return sent
        block = self.abroad(to, sent, cause)
        if isinstance(block, str):
            first = self._person(block, sent, visited)
        elif barred(person, targets_of(block)):
            return Refusal(403, SCREENED_IN)
        else:
            added = self.add(block) if block else None
            first = AWAY if added is None else added
        if not isinstance(first, Refusal) and self.calls:
            self.steps[first].notify = FORWARDED
        return first


def _text(target: Target) -> int:
    """About how many bytes a target takes in a plan."""
    headers = sum(len(name) + len(value) + 4 for name, value in target.headers)
    return len(target.uri) + headers + sum(map(len, target.routes)) + 16
