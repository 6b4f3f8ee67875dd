"""Who rings when somebody is called: devices, find_me, people in groups, and what their branches are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fastsip._message import Uri
from fastsip.errors import ParseError
from fastsip.location import Binding
from fastsip.policy.plan import TARGETS_AT_MOST, Outcome, Step, Target
from fastsip.services import history
from fastsip.services.caller import Caller
from fastsip.services.globs import forms
from fastsip.services.history import Cause, History, Trail
from fastsip.services.people import Destination, People, Person, devices

Outside = Callable[[str], "tuple[Step, ...] | None"]
"""The steps to a URI that is nobody's here; None if it is to be sent where it says."""
LOOKS_AT_MOST = 256
"""At people, for one plan: groups of people with groups may be many."""
SCREENED_IN = "Screening Failure (Terminating)"
"""RFC 5359 2.13."""


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


def screen(person: Person, who: Caller) -> Refusal | None:
    """Why a person does not let this caller reach him."""
    if person.blocks_incoming is not None and person.blocks_incoming(who.forms):
        return Refusal(403, SCREENED_IN)
    if person.record.refuse_anonymous and who.anonymous:
        return Refusal(433)
    return None


class Reach:
    """What rings for one request."""

    def __init__(
        self,
        people: People,
        lookup: Callable[[str], Sequence[Binding]],
        outside: Outside | None,
        who: Caller,
        now: int,
    ) -> None:
        """`now` is Unix milliseconds."""
        self.people = people
        self.who = who
        self.calls = who.request.method == "INVITE"
        self._lookup = lookup
        self._outside = outside
        self._now = now
        self._history: History | None = None
        self._looks = LOOKS_AT_MOST
        self._wanted = TARGETS_AT_MOST

    def several(self, aor: str) -> list[Target]:
        """Everything of a person that rings at the same time as others: his conditional forwards do not count."""
        return _together(self._reach(aor, None, ()))

    def groups(self, aor: str, person: Person | None, trail: Trail | None, visited: tuple[str, ...]) -> list[Block]:
        """What of a person rings, one block after another."""
        if person is None or not person.find_me or not self.calls:
            return self._devices(aor, trail, 1)
        found: list[Block] = []
        child = 1
        for group in person.find_me:
            blocks: list[Block] = []
            for member in group:
                blocks += self._member(member, aor, trail, visited, child + len(blocks))
            if len(group) > 1 and blocks:
                blocks = [[Draft(_together(blocks))]]
            found += blocks
            child += sum(len(block[0].targets) for block in blocks)
        return found

    def _member(
        self, member: Destination, aor: str, trail: Trail | None, visited: tuple[str, ...], child: int
    ) -> list[Block]:
        if self._wanted <= 0:
            return []
        if member.aor == aor:
            return self._devices(aor, trail, child)
        trail = trail or self.history.start
        if trail.diverted >= self.history.limit:
            return []
        trail = trail.to(member.uri, history.FOLLOWED, child, same=member.aor is None)
        block = self.abroad(member, trail, history.FOLLOWED)
        if block is None:
            assert member.aor is not None
            return self._reach(member.aor, trail, visited)
        return [block] if block else []

    def _reach(self, aor: str, trail: Trail | None, visited: tuple[str, ...]) -> list[Block]:
        """What rings for a person in somebody's group: he may be elsewhere, or not want this call, but what he wants
        when he does not answer is not asked, or a group would end in the first voice mail."""
        self._looks -= 1
        if aor in visited or self._looks < 0 or self._wanted <= 0:
            return []
        visited = (*visited, aor)
        person = self.people.person(aor)
        if person is not None:
            if screen(person, self.who) is not None:
                return []
            if self.calls and person.always is not None:
                sent = self.sent(person, person.always, history.ALWAYS, trail, 1)
                if isinstance(sent, Refusal):
                    return []
                block = self.abroad(person.always, sent, history.ALWAYS)
                if block is None:
                    assert person.always.aor is not None
                    return self._reach(person.always.aor, sent, visited)
                return [block] if block else []
            if self.calls and person.record.do_not_disturb:
                return []
        return self.groups(aor, person, trail, visited)

    @property
    def history(self) -> History:
        """What the request brings along: looked at only for a call that is sent elsewhere."""
        if self._history is None:
            self._history = History(self.who.request, self.people.own)
        return self._history

    def sent(self, person: Person, to: Destination, cause: Cause, trail: Trail | None, child: int) -> Trail | Refusal:
        trail = trail or self.history.start
        if trail.diverted >= self.history.limit:
            return TOO_MANY
        if person.blocks_outgoing is not None and person.blocks_outgoing(_forms(to.uri)):
            return Refusal(403, SCREENED_IN)
        return trail.to(to.uri, cause, child)

    def abroad(self, to: Destination, trail: Trail, cause: Cause) -> Block | None:
        """The steps to somebody who does not live here, none if there is no way; None if he lives here."""
        if to.aor is not None and (self._outside is None or self._lookup(to.aor) or self.people.person(to.aor)):
            return None
        steps = self._outside(to.uri) if self._outside is not None else None
        if steps is None:
            if to.aor is not None:
                return None
            if to.uri.lower().startswith("tel:"):
                return []
            steps = (Step((Target(history.with_cause(to.uri, cause)),)),)
        self._wanted -= len(steps)
        headers, remove = self.history.headers(trail, outside=True)
        block = []
        for index, step in enumerate(steps):
            draft = Draft([_told(target, headers, remove) for target in step.targets], step.ring_time)
            draft.onward = onward(step, index, len(steps))
            block.append(draft)
        return block

    def _devices(self, aor: str, trail: Trail | None, child: int) -> list[Block]:
        """A person's devices, a step for each q."""
        found = devices(self._lookup(aor), self._now)
        for group in found:
            self._wanted -= len(group)
            if trail is not None:
                for index, target in enumerate(group):
                    headers, remove = self.history.headers(trail.at(target.uri, child), outside=False)
                    group[index] = _told(target, headers, remove)
                    child += 1
        return [[Draft(group)] for group in found]


def onward(step: Step, index: int, count: int) -> dict[Outcome, int]:
    """Where a step's outcomes lead, by the index of the step that follows."""
    if isinstance(step.onward, Mapping):
        return dict(step.onward)
    return dict.fromkeys(step.onward, index + 1) if index + 1 < count else {}


def _together(blocks: list[Block]) -> list[Target]:
    """The targets that blocks begin with, to be tried at the same time, none twice (RFC 3261 16.5)."""
    found: dict[str, Target] = {}
    for block in blocks:
        for target in block[0].targets:
            found.setdefault(target.uri, target)
    return list(found.values())


def _told(target: Target, headers: tuple[tuple[str, str], ...], remove: tuple[str, ...]) -> Target:
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
    )


def _forms(uri: str) -> list[str]:
    try:
        return forms(Uri(uri))
    except ParseError:
        return [uri.lower()]
