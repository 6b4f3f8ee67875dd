"""The dial plan: which gateways a number, a name or a domain goes to, and what becomes of the number on the way.

    plan = DialPlan(setup, table)
    plan.route(request)             # a Plan, or None: as if there were no dial plan

The longest prefix decides, then regular expressions in the order of the file, for requests to somebody else's domain
the routes by domain. A local number (RFC 3966 5.1.5) whose phone-context is neither absent nor one of this server's
domains meets only routes with that `context`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable
from random import Random
from typing import NamedTuple

from fastsip._message import Uri
from fastsip._targets import TargetTable, now_ms
from fastsip.dns.errors import NoServer
from fastsip.dns.hop import Hop, address_port, address_transport
from fastsip.errors import ParseError
from fastsip.launch import PolicySetup, RouteSetup
from fastsip.policy.plan import FAILURE, STEPS_AT_MOST, TIMEOUT, UNAVAILABLE, Plan, Step, Target, reject
from fastsip.policy.request import Request

from .choice import Choice, Gateway, in_uri
from .numbers import Number, number_of
from .patterns import LONGEST_NAME
from .prefixes import Prefixes

Address = tuple[str, int, str]
"""Host, port and transport."""
OVERFLOW = frozenset({FAILURE, UNAVAILABLE, TIMEOUT})
"""After these the next gateway is tried: 5xx, 503, nothing sent or nothing heard. A 4xx or 6xx is about the callee."""

WHO = reject(407)
"""A 407 without a challenge gets one from the core, or is a 403 where nobody is asked for passwords."""


class Route(NamedTuple):
    """One entry of the plan, its gateways by name looked up."""

    groups: tuple[tuple[Gateway, ...], ...]
    strip: int
    add: str
    shortest: int


class Way(NamedTuple):
    """What a request matched."""

    route: Route
    uri: Callable[[Gateway], str]
    """The Request-URI for a gateway."""
    hops: bool
    """Whether that leads elsewhere and the gateway is only the next hop."""


class _Context:
    """The routes for numbers of one phone-context."""

    def __init__(self, entries: Iterable[tuple[RouteSetup, Route]]) -> None:
        prefixes: dict[str, Route] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        self.beginnings: set[str] = set()
        for setup, route in entries:
            if setup.prefix is not None:
                prefixes.setdefault(setup.prefix, route)
                if route.shortest:
                    self.beginnings.update(setup.prefix[:end] for end in range(len(setup.prefix)))
            elif setup.regex is not None:
                self._patterns.append((re.compile(setup.regex), route))
        self._prefixes = Prefixes(prefixes)

    @property
    def names(self) -> bool:
        """Whether a name may have a route."""
        return bool(self._patterns)

    def find(self, number: str) -> Route | None:
        found = self._prefixes.longest(number)
        return found if found is not None else self.find_name(number)

    def find_name(self, name: str) -> Route | None:
        """By the patterns, which are the operator's: a bad one takes for ever over a long name."""
        if len(name) > LONGEST_NAME:
            return None
        return next((route for pattern, route in self._patterns if pattern.fullmatch(name)), None)


class DialPlan:
    """The routes of one configuration over the target table. A reload makes another one. Any thread may use it."""

    def __init__(
        self,
        setup: PolicySetup,
        table: TargetTable,
        *,
        known: Callable[[str], bool] = lambda aor: False,
        random: Random | None = None,
        now: Callable[[], int] = now_ms,
    ) -> None:
        """`known` says whether an address-of-record is somebody, for numbers that stand otherwise in the request.
        Raises ParseError, ValueError or re.error for a setup that no configuration gives."""
        self._choice = Choice(table, random, now)
        self._known = known
        self._own = setup.domains
        self.gateways = {gateway.name: Gateway.of(gateway) for gateway in setup.gateways}
        self._at: dict[Address, Gateway] = {}
        for one in setup.gateways:
            if (address := _address(Uri(one.uri))) is not None:
                self._at.setdefault(address, self.gateways[one.name])
                self._at.setdefault((*address[:2], ""), self.gateways[one.name])
        entries = [(one, self._route(one)) for one in setup.routes]
        contexts = {one.context for one in setup.routes if one.domain is None}
        self._contexts = {
            context: _Context(entry for entry in entries if entry[0].context == context) for context in contexts
        }
        self._domains = {one.domain: route for one, route in reversed(entries) if one.domain is not None}

    def route(self, request: Request) -> Plan | None:
        """What the dial plan says of a request outside a dialog. None: nothing, it is not about its Request-URI."""
        if not (request.trusted or request.authenticated):
            return self._for_strangers(request.uri, request.own, request.known)
        found = self._way(request.uri, request.own, request.known)
        return self._over(found) if isinstance(found, Way) else found

    def steps(self, uri: str) -> tuple[Step, ...] | None:
        """The steps to where somebody who lives here has his calls sent, which takes no rights of the caller's; a
        gateway's address is that gateway. None: the dial plan says nothing of it; without any there is no such number,
        or no gateway for it now."""
        try:
            parsed = Uri(uri)
        except ParseError:
            return None
        host = in_uri((parsed.host or "").lower())
        own = host in self._own
        found = self._way(parsed, own, own and self._known(f"{parsed.user or ''}@{host}"))
        if isinstance(found, Way):
            found = self._over(found)
        if found is None and not own and (gateway := self._gateway_at(parsed)) is not None:
            usable = self._choice.order([[gateway]])
            return tuple(Step((Target(uri, try_time=one.try_time, gateway=one.slot),)) for one in usable)
        return found.steps if found is not None else None

    def _gateway_at(self, uri: Uri) -> Gateway | None:
        """Whose address this is, as the core sees it: rather that of its transport than another one."""
        address = _address(uri)
        if address is None:
            return None
        return self._at.get(address) or self._at.get((*address[:2], ""))

    def _for_strangers(self, uri: Uri, own: bool, known: bool) -> Plan | None:
        """Whatever may have a route: who are you? The answer says nothing of whether it has one."""
        if uri.scheme != "tel" and not own:
            return WHO if self._domain(uri) is not None else None
        if known or not self._contexts:
            return None
        number = number_of(uri)
        if number is not None:
            return self._user(uri, number) or WHO
        plain = self._contexts.get(None)
        return WHO if plain is not None and plain.names and uri.user else None

    def _over(self, found: Way) -> Plan:
        """The gateways of a way, one after another."""
        gateways = self._choice.order(found.route.groups)[:STEPS_AT_MOST]
        if not gateways:
            wait = self._choice.wait(found.route.groups)
            headers = [("Retry-After", str(wait))] if wait is not None else []
            # Not 503: that would say that this server wants nothing more, and nothing is known of other numbers (16.7).
            return reject(500, "No Gateway Available", headers=headers)
        steps = [Step((self._target(found, gateway),), onward=OVERFLOW) for gateway in gateways[:-1]]
        return Plan((*steps, Step((self._target(found, gateways[-1]),))))

    def choose(
        self, names: Collection[str], number: str | None = None, without: Collection[str | Target] = ()
    ) -> Target | None:
        """For policies of one's own: one of these gateways (without names: of all), by weight, health and limits. Its
        Request-URI is the number, or name, at the gateway, and without one the gateway's own URI. `without` are those
        that were tried, their names or the targets they were. None if there is no other. Rights are the caller's
        business, see `Request.trusted`.

        Raises ValueError for a name that is no gateway's.
        """
        slots = {one.gateway for one in without if isinstance(one, Target)}
        tried = {name for name, one in self.gateways.items() if name in without or one.slot in slots}
        gateways = self._choice.order([self._gateways(names or self.gateways)], tried)
        if not gateways:
            return None
        chosen = gateways[0]
        uri = chosen.uri if number is None else chosen.at(number)
        return Target(uri, try_time=chosen.try_time, gateway=chosen.slot)

    def _way(self, uri: Uri, own: bool, known: bool) -> Way | Plan | None:
        if uri.scheme != "tel" and not own:
            return self._domain(uri)
        if known or not self._contexts:
            return None
        number = number_of(uri)
        if number is None:
            plain = self._contexts.get(None)
            route = plain.find_name(uri.user) if plain is not None and uri.user else None
            return self._way_by(route, uri, None) if route is not None else None
        return self._way_of(uri, number)

    def _domain(self, uri: Uri) -> Way | None:
        route = self._domains.get(in_uri((uri.host or "").lower()))
        return Way(route, lambda gateway: str(uri), True) if route is not None else None

    def _way_of(self, uri: Uri, number: Number) -> Way | Plan | None:
        if user := self._user(uri, number):
            return user
        here = number.context is None or number.context in self._own
        context = self._contexts.get(None if here else number.context)
        route = context.find(number.digits) if context is not None else None
        if route is None:
            if context is not None and number.digits in context.beginnings:
                return reject(484)
            if not number.declared and not number.is_global:
                return None  # it may have been a name
            return reject(604)
        if number.length < route.shortest or len(route.add) + len(number.digits) <= route.strip:
            return reject(484)
        return self._way_by(route, uri, number)

    def _user(self, uri: Uri, number: Number) -> Plan | None:
        """The number may be somebody who lives here, though the request has separators in it, or a tel URI."""
        host = in_uri(uri.host) if uri.host else self._own[0] if self._own else ""
        if not host or (number.digits == uri.user and uri.scheme != "tel"):
            return None
        aor = f"{number.digits}@{host}"
        return Plan((Step((Target(f"sip:{aor}"),)),)) if self._known(aor) else None

    def _way_by(self, route: Route, uri: Uri, number: Number | None) -> Way:
        if number is not None:
            sent = number.dialled(route.add + number.digits[route.strip :])
            return Way(route, lambda gateway: sent.sip(gateway.host, gateway.parameters, gateway.scheme), False)
        user = route.add + (uri.user or "")[route.strip :]
        return Way(route, lambda gateway: gateway.for_name(user), False)

    def _target(self, way: Way, gateway: Gateway) -> Target:
        hop = gateway.uri if way.hops else None
        return Target(way.uri(gateway), hop=hop, try_time=gateway.try_time, gateway=gateway.slot)

    def _route(self, setup: RouteSetup) -> Route:
        groups = tuple(self._gateways(group) for group in setup.gateways)
        return Route(groups, setup.strip, setup.add, setup.shortest)

    def _gateways(self, names: Iterable[str]) -> tuple[Gateway, ...]:
        try:
            return tuple(self.gateways[name] for name in names)
        except KeyError as error:
            known = ", ".join(self.gateways) or "none"
            raise ValueError(f"no gateway is called {error} (there are: {known})") from None


def _address(uri: Uri) -> Address | None:
    """Where a URI leads without DNS, as the core sees it."""
    try:
        hop = Hop.of(uri)
        found = ipaddress.ip_address(hop.host)
    except (NoServer, ValueError):
        return None
    return str(getattr(found, "ipv4_mapped", None) or found), address_port(hop), address_transport(hop)
