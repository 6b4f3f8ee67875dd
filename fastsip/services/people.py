"""Addresses-of-record of this server, their services made ready for use, and their devices as targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from fastsip._message import Uri, canonical_aor
from fastsip.errors import ParseError
from fastsip.location import Binding
from fastsip.policy.plan import Target
from fastsip.services.globs import Blocks, compile_globs
from fastsip.services.record import Record

KEPT = 10_000
"""Records and URIs whose compiled form is kept; then it begins anew."""
_VALUE = re.compile(r"\s*((?:[^,<\"]|<[^>]*>|\"(?:[^\"\\]|\\.)*\")+)")


class Destination(NamedTuple):
    """Where a call may be sent: a URI, and whose it is if that is somebody here."""

    uri: str
    aor: str | None


class Person(NamedTuple):
    """A record, ready for use."""

    record: Record
    always: Destination | None
    busy: Destination | None
    no_answer: Destination | None
    unavailable: Destination | None
    find_me: tuple[tuple[Destination, ...], ...]
    blocks_incoming: Blocks | None
    blocks_outgoing: Blocks | None
    routes: bool
    """Whether it says where calls go; else it only screens them."""


class People:
    """Who lives here."""

    def __init__(
        self,
        services: Callable[[str], Record | None],
        domains: Sequence[str],
        addresses: Collection[tuple[str, int]],
    ) -> None:
        self._services = services
        self._domains = frozenset(domain.lower() for domain in domains)
        self._first = domains[0].lower() if domains else ""
        self._addresses = frozenset((host.lower().strip("[]"), port) for host, port in addresses)
        self._persons: dict[str, tuple[Record, Person]] = {}
        self._destinations: dict[str, Destination] = {}

    def own(self, uri: str) -> bool:
        """Whether this server is responsible for the URI's host (a domain with any port, a listen address with its)."""
        return self._home(uri)[0]

    def aor(self, uri: str) -> str | None:
        """The address-of-record a URI stands for, None if it is none of this server's."""
        return self._home(uri)[1]

    def destination(self, uri: str) -> Destination:
        found = self._destinations.get(uri)
        if found is None:
            if len(self._destinations) >= KEPT:
                self._destinations.clear()
            found = self._destinations[uri] = Destination(uri, self.aor(uri))
        return found

    def person(self, aor: str) -> Person | None:
        """Who has services under this address-of-record."""
        record = self._services(aor)
        if record is None:
            return None
        kept = self._persons.get(aor)
        if kept is not None and kept[0] is record:
            return kept[1]
        if len(self._persons) >= KEPT:
            self._persons.clear()
        person = self._compiled(record)
        self._persons[aor] = record, person
        return person

    def _compiled(self, record: Record) -> Person:
        def where(uri: str | None) -> Destination | None:
            return self.destination(uri) if uri is not None else None

        forwards = (record.forward_always, record.forward_busy, record.forward_no_answer, record.forward_unavailable)
        always, busy, no_answer, unavailable = map(where, forwards)
        return Person(
            record,
            always,
            busy,
            no_answer,
            unavailable,
            tuple(tuple(map(self.destination, group)) for group in record.find_me),
            compile_globs(record.block_incoming),
            compile_globs(record.block_outgoing),
            any(forwards) or bool(record.find_me) or record.do_not_disturb or record.ring_time is not None,
        )

    def _home(self, uri: str) -> tuple[bool, str | None]:
        key = canonical_aor(uri.encode("utf-8", "surrogateescape"))
        if not key:
            return False, None
        text = key.decode("utf-8", "surrogateescape")
        user, at, host = text.rpartition("@")
        if host in self._domains:
            return True, text if at else None
        if not self._addresses:
            return False, None
        try:
            parsed = Uri(uri)
        except ParseError:
            return False, None
        port = parsed.port or (5061 if parsed.scheme == "sips" else 5060)
        if (host.strip("[]"), port) not in self._addresses:
            return False, None
        return True, (f"{user}@{self._first or host}" if at else None)


def devices(bindings: Sequence[Binding], now: int) -> list[list[Target]]:
    """The bindings that are good at `now` (Unix milliseconds), as targets: a group for each q, the highest first."""
    good = [each for each in bindings if each.expires > now]
    if len(good) == 1:
        return [[_target(good[0])]]
    groups: dict[int, list[Target]] = {}
    for each in sorted(good, key=lambda binding: (-binding.q, -binding.updated)):
        groups.setdefault(each.q, []).append(_target(each))
    return list(groups.values())


def _target(binding: Binding) -> Target:
    uri = binding.uri.decode("utf-8", "surrogateescape")
    if "?" in uri and (headers := _headers(uri)):
        # Headers of a URI mean nothing in a Request-URI (RFC 3261 19.1.1, table 1).
        uri = uri[: -len(headers) - 1]
    routes = tuple(_values(binding.path.decode("utf-8", "surrogateescape"))) if binding.path else ()
    return Target(uri, q=binding.q / 1000, routes=routes, hop=None if routes else _flow(binding))


def _flow(binding: Binding) -> str | None:
    """The hop of who is reached by the flow of his REGISTER alone, as ext/proxy/flow.pxi reads it."""
    if not binding.connection:
        return None
    family, address, port = binding.source
    ip = address[:4] if family == 4 else address
    return f"flow:{binding.connection:08x}{binding.listener:02x}{binding.transport:x}{port:04x}{ip.hex()}"


def _headers(uri: str) -> str:
    try:
        return Uri(uri).headers
    except ParseError:
        return ""


def _values(text: str) -> list[str]:
    return [value.strip() for value in _VALUE.findall(text) if value.strip()]
