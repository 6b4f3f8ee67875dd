"""Route plans for people who have services, and for plans that name people who live here.

    services = Services(published.lookup, published.services, ["example.com"])
    plan = services.route(request)          # None: nothing of these services is about this request
    plan = services.expand(plan, request)   # own addresses-of-record become devices, with services

No I/O: two callables say what is bound and who has which services.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from fastsip._message import Uri
from fastsip.errors import ParseError
from fastsip.location import Binding
from fastsip.policy.plan import Plan, Target, redirect, reject
from fastsip.policy.request import Request
from fastsip.services.caller import Caller
from fastsip.services.expansion import Expansion
from fastsip.services.globs import forms
from fastsip.services.history import TOLD
from fastsip.services.layout import Layout
from fastsip.services.people import Destination, People, Person, devices
from fastsip.services.reach import Outside, Read, barred, screen
from fastsip.services.record import RING_TIME, Record

_IN_BRACKETS = re.compile(r"<([^<>]*)>")
KEPT = 4096
"""Plans."""
SCREENED_OUT = "Screening Failure (Originating)"
"""RFC 5359 2.14."""


class Kept(NamedTuple):
    """A plan for calls to a Request-URI that bring no history along."""

    plan: Plan
    read: Read
    until: int


class Dialling(Protocol):
    """A dial plan."""

    def route(self, request: Request) -> Plan | None: ...


class Screened:
    """A dial plan, but for the numbers it makes that senders may not call."""

    def __init__(self, dial_plan: Dialling, services: Services) -> None:
        self._dial = dial_plan.route
        self._services = services

    def route(self, request: Request) -> Plan | None:
        plan = self._dial(request)
        if plan is not None and plan.steps and self._services.barred(plan, request):
            return reject(403, SCREENED_OUT)
        return plan


class Services:
    """Writes plans. One thread's."""

    def __init__(
        self,
        lookup: Callable[[str], Sequence[Binding]],
        services: Callable[[str], Record | None],
        domains: Sequence[str],
        addresses: Collection[tuple[str, int]] = (),
        *,
        outside: Outside | None = None,
        ring_time: float = RING_TIME,
        recurse: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`lookup` gives the bindings of an address-of-record ("bob@example.com"), expired ones too, and `services` its
        record: the same objects as long as they do not change. `domains` are this server's, the default one first, and
        `addresses` hosts and ports that stand for it. `outside` gives the steps to a number or URI that is nobody's
        here, where there is a dial plan. `ring_time` (seconds) is for devices of one q, before those of a lower one.
        `recurse`: follow 3xx of devices. `now` is Unix seconds."""
        self._people = People(services, domains, addresses)
        self._lookup = lookup
        self._outside = outside
        self._ring_time = ring_time
        self._recurse = recurse
        self._now = now
        self._services = services
        self._plans: dict[tuple[str, str], Kept] = {}
        self._made: Plan | None = None

    def route(self, request: Request) -> Plan | None:
        """The plan for a request whose sender or callee has services; None if they do not change its way."""
        callee, caller = request.aor, request.caller
        if caller is not None:
            person = self._people.person(caller)
            if person and person.blocks_outgoing and person.blocks_outgoing(_called(request)):
                return reject(403, SCREENED_OUT)
        if callee is None:
            return None
        person = self._people.person(callee)
        if person is None:
            return None
        who = Caller(request)
        if person.record.redirect or not person.routes or request.method != "INVITE":
            refusal = screen(person, who)
            if refusal is not None:
                return reject(refusal.status, refusal.reason)
            return self._redirected(callee, person) if person.record.redirect else None
        key = None if any(name in request.headers for name in TOLD) else (callee, str(request.uri))
        if key is not None and (made := self._kept(key, who)) is not None:
            self._made = made
            return made
        layout = self._layout(who)
        refusal = layout.whole(callee)
        if refusal is not None:
            # Who is merely not registered is treated as everybody who is not.
            return None if refusal.plain else reject(refusal.status, refusal.reason)
        self._made = made = Plan(layout.finished(), recurse=self._recurse)
        if key is not None and layout.fixed:
            if len(self._plans) >= KEPT:
                self._plans.clear()
            self._plans[key] = Kept(made, layout.read, layout.until)
        return made

    def barred(self, plan: Plan, request: Request) -> bool:
        """Whether a plan's gateways get a number that the sender may not call."""
        person = self._people.person(request.caller) if request.caller is not None else None
        return person is not None and any(barred(person, step.targets) for step in plan.steps)

    def expand(self, plan: Plan, request: Request) -> Plan:
        """The plan with the devices and services of people in place of their addresses-of-record, and for callers with
        rights gateways in place of numbers. Where nobody is left to call it is an answer. The same object if it names
        neither."""
        if plan is self._made or not self._names_people(plan):
            return plan
        return Expansion(plan, self._layout(Caller(request)), self._who).plan()

    def _redirected(self, callee: str, person: Person) -> Plan | None:
        """302 with where he is (RFC 3261 8.3); None, as for everybody, if he is nowhere."""
        if person.always is not None:
            return redirect(person.always.uri)
        now = int(self._now() * 1000)
        bound = self._lookup(callee)
        until = {each.uri.decode("utf-8", "surrogateescape"): each.expires for each in bound}
        found = [one for group in devices(bound, now) for one in group]
        if not found:
            return None
        contacts = [Target(one.uri, q=one.q, expires=max(0, until.get(one.uri, now) - now) // 1000) for one in found]
        return redirect(*contacts)

    def _kept(self, key: tuple[str, str], who: Caller) -> Plan | None:
        """The plan made before for such a call, if nothing has changed that it was made of."""
        kept = self._plans.get(key)
        if kept is None:
            return None
        records, bindings, screens = kept.read
        if (
            kept.until <= self._now() * 1000
            or any(self._services(aor) is not record for aor, record in records.items())
            or any(self._lookup(aor) is not bound for aor, bound in bindings.items())
            or any(screen(person, who) is not None for person in screens)
        ):
            return None
        return kept.plan

    def _names_people(self, plan: Plan) -> bool:
        # Of every plan anybody makes, and nearly all of them name nobody.
        destination = self._people.destination
        for step in plan.steps:
            for target in step.targets:
                if (destination(target.uri).aor is not None or self._dialled(target)) and self._who(target) is not None:
                    return True
        return False

    def _dialled(self, target: Target) -> bool:
        return self._outside is not None and target.uri[:4].lower() == "tel:"

    def _who(self, target: Target) -> Destination | None:
        """Whom a target names, a person or a number, if nothing else says where it goes."""
        if target.hop is not None or target.routes or target.gateway is not None:
            return None
        found = self._people.destination(target.uri)
        return found if found.aor is not None or self._dialled(target) else None

    def _layout(self, who: Caller) -> Layout:
        now = int(self._now() * 1000)
        return Layout(self._people, self._lookup, self._outside, who, self._ring_time, now)


def _called(request: Request) -> list[str]:
    """What a sender's block list sees of where he calls: the Request-URI, at its host and where Routes and maddr lead
    instead, and Routes that a strict router makes Request-URIs (RFC 3261 16.4, 16.6 step 6)."""
    called = forms(request.uri)
    if maddr := request.uri.parameters.get("maddr"):
        called += forms(request.uri, maddr)
    for uri in _routes(request):
        for host in (uri.host, uri.parameters.get("maddr")):
            called += forms(uri, host)
            called += forms(request.uri, host)
    if request.aor:
        called.append(f"sip:{request.aor.lower()}")
    return called


def _routes(request: Request) -> Iterator[Uri]:
    """Whatever may be the URI of a Route value: rather too much."""
    if "Route" not in request.headers:
        return
    for value in request.headers.values("Route"):
        for text in _IN_BRACKETS.findall(value) or [value.partition(";")[0].strip()]:
            with contextlib.suppress(ParseError):
                yield Uri(text)
