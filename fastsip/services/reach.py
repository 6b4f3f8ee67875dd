"""Who rings when somebody is called: devices, find_me, people in groups, and what their branches are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fastsip._message import Uri
from fastsip.errors import ParseError
from fastsip.location import Binding
from fastsip.policy.plan import TARGETS_AT_MOST, Step, Target
from fastsip.services import history
from fastsip.services.caller import Caller
from fastsip.services.draft import TOO_MANY, Block, Draft, Refusal, onward, targets_of, together, told
from fastsip.services.globs import forms
from fastsip.services.history import NOTHING, Cause, History, Rang, Trail
from fastsip.services.people import Destination, People, Person, devices
from fastsip.services.record import Record

Outside = Callable[[str], "tuple[Step, ...] | None"]
"""The steps to a URI that is nobody's here; None if it is to be sent where it says."""
FOREVER = 1 << 62
LOOKS_AT_MOST = 256
"""At people, for one plan: groups of people with groups may be many."""
SCREENED_IN = "Screening Failure (Terminating)"
"""RFC 5359 2.13."""


def screen(person: Person, who: Caller) -> Refusal | None:
    """Why a person does not let this caller reach him."""
    if person.blocks_incoming is not None and person.blocks_incoming(who.forms):
        return Refusal(403, SCREENED_IN)
    if person.record.refuse_anonymous and who.anonymous:
        return Refusal(433)
    return None


def barred(person: Person, targets: Iterable[Target]) -> bool:
    """Whether somebody may not call, or have called, what the dial plan makes of a number."""
    blocks = person.blocks_outgoing
    return blocks is not None and any(blocks(_forms(one.uri)) for one in targets if one.gateway is not None)


class Read(NamedTuple):
    """What a plan was made of, so that it is known how long it is right."""

    records: dict[str, Record | None]
    bindings: dict[str, Sequence[Binding]]
    screens: list[Person]
    """Those who have a say in who calls them, and let this caller pass."""


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
        self.read = Read({}, {}, [])
        self._lookup = lookup
        self._outside = outside
        self._now = now
        self.until = FOREVER
        """Unix milliseconds at which a device is registered no longer."""
        self.fixed = True
        """Whether another call of the same kind has the same plan."""
        self._history: History | None = None
        self._looks = LOOKS_AT_MOST
        self._wanted = TARGETS_AT_MOST

    def several(self, aor: str) -> list[Target]:
        """Everything of a person that rings at the same time as others: his conditional forwards do not count."""
        return together(self._reach(aor, None, ()))

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
                blocks = [[Draft(together(blocks))]]
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
        trail = trail.to(member.uri, history.FOLLOWED, Rang(child), same=member.aor is None)
        block = self.abroad(member, trail, history.FOLLOWED)
        if isinstance(block, str):
            return self._reach(block, trail, visited)
        return [block] if block else []

    def _reach(self, aor: str, trail: Trail | None, visited: tuple[str, ...]) -> list[Block]:
        """What rings for a person in somebody's group: he may be elsewhere, or not want this call, but what he wants
        when he does not answer is not asked, or a group would end in the first voice mail."""
        self._looks -= 1
        if aor in visited or self._looks < 0 or self._wanted <= 0:
            return []
        visited = (*visited, aor)
        person = self.person(aor)
        if person is not None:
            if self.screened(person) is not None:
                return []
            if self.calls and person.always is not None:
                sent = self.sent(person, person.always, history.ALWAYS, trail)
                if isinstance(sent, Refusal):
                    return []
                block = self.abroad(person.always, sent, history.ALWAYS)
                if isinstance(block, str):
                    return self._reach(block, sent, visited)
                return [block] if block and not barred(person, targets_of(block)) else []
            if self.calls and person.record.do_not_disturb:
                return []
        return self.groups(aor, person, trail, visited)

    @property
    def history(self) -> History:
        """What the request brings along: looked at only for a call that is sent elsewhere."""
        if self._history is None:
            self._history = History(self.who.request, self.people.own)
        return self._history

    def sent(
        self, person: Person, to: Destination, cause: Cause, trail: Trail | None, rang: Rang = NOTHING
    ) -> Trail | Refusal:
        trail = trail or self.history.start
        if trail.diverted >= self.history.limit:
            return TOO_MANY
        if person.blocks_outgoing is not None and person.blocks_outgoing(_forms(to.uri)):
            return Refusal(403, SCREENED_IN)
        return trail.to(to.uri, cause, rang)

    def abroad(self, to: Destination, trail: Trail, cause: Cause) -> Block | str:
        """The steps to somebody who does not live here, none if there is no way; the address-of-record of one who
        does."""
        if to.aor is not None and (self._outside is None or self._bound(to.aor) or self.person(to.aor)):
            return to.aor
        steps = self._outside(to.uri) if self._outside is not None else None
        self.fixed &= steps is None
        if steps is not None and (resident := self._resident(steps)):
            return resident
        if steps is None:
            if to.aor is not None:
                return to.aor
            if to.uri.lower().startswith("tel:"):
                return []
            steps = (Step((Target(to.uri),)),)
        caused = history.with_cause(to.uri, cause)
        self._wanted -= len(steps)
        headers, remove = self.history.headers(trail, outside=True)
        block = []
        for index, step in enumerate(steps):
            # A URI that is a gateway's address has gone through the dial plan as it is.
            plain = [one.uri == to.uri and one.hop is None for one in step.targets]
            targets = [replace(one, uri=caused) if same else one for one, same in zip(step.targets, plain, strict=True)]
            draft = Draft([told(target, headers, remove) for target in targets], step.ring_time)
            draft.onward = onward(step, index, len(steps))
            block.append(draft)
        return block

    def dialled(self, to: Destination) -> Block | str | None:
        """The steps to a number of a plan, none if there is no way for this caller; the address-of-record it is; None
        if it is nothing for the dial plan."""
        request = self.who.request
        nobody: Block | str | None = [] if to.aor is None and to.uri[:4].lower() == "tel:" else to.aor
        if self._outside is None or not (request.trusted or request.authenticated):
            return nobody
        if to.aor is not None and (self._bound(to.aor) or self.person(to.aor)):
            return to.aor
        steps = self._outside(to.uri)
        if steps is None:
            return nobody
        if resident := self._resident(steps):
            return resident
        block = []
        for index, step in enumerate(steps):
            draft = Draft([*step.targets], step.ring_time)
            draft.onward = onward(step, index, len(steps))
            block.append(draft)
        return block

    def _resident(self, steps: Sequence[Step]) -> str | None:
        """Whose number it is, if it is somebody's here."""
        if len(steps) == 1 and len(steps[0].targets) == 1 and steps[0].targets[0].gateway is None:
            return self.people.aor(steps[0].targets[0].uri)
        return None

    def person(self, aor: str) -> Person | None:
        """Somebody's services, remembered as read."""
        found = self.people.person(aor)
        self.read.records[aor] = found.record if found is not None else None
        return found

    def screened(self, person: Person) -> Refusal | None:
        """Why a person does not let this caller reach him, remembered as asked."""
        if person.blocks_incoming is None and not person.record.refuse_anonymous:
            return None
        refusal = screen(person, self.who)
        self.fixed &= refusal is None
        self.read.screens.append(person)
        return refusal

    def _bound(self, aor: str) -> Sequence[Binding]:
        found = self.read.bindings[aor] = self._lookup(aor)
        return found

    def _devices(self, aor: str, trail: Trail | None, child: int) -> list[Block]:
        """A person's devices, a step for each q."""
        bindings = self._bound(aor)
        found = devices(bindings, self._now)
        for each in bindings:
            if self._now < each.expires < self.until:
                self.until = each.expires
        for group in found:
            self._wanted -= len(group)
            if trail is not None:
                for index, target in enumerate(group):
                    headers, remove = self.history.headers(trail.at(target.uri, child), outside=False)
                    group[index] = told(target, headers, remove)
                    child += 1
        return [[Draft(group)] for group in found]


def _forms(uri: str) -> list[str]:
    try:
        return forms(Uri(uri))
    except ParseError:
        return [uri.lower()]
