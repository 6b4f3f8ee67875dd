"""What a call that is sent elsewhere says about it: History-Info (RFC 7044) and Diversion (RFC 5806).

    History-Info: <sip:bob@example.com>;index=1,<sip:bob@192.0.2.7?Reason=SIP%3Bcause%3D486>;index=1.1;rc=1,
        <sip:bob@vm.example;cause=486>;index=1.2;mp=1
    Diversion: <sip:bob@example.com>;reason=user-busy;counter=1

A `Trail` is how one branch came to be; trails grow by `to`, and share what they have in common. Of branches that failed
before, a person's devices are told of, `RANG_AT_MOST` of them, and why it went on from there where one alone rang last.
Gaps in the indexes show how many others there were (RFC 7044 9.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fastsip.errors import ParseError
from fastsip.policy.request import Request
from fastsip.services.caller import privacy

DIVERSIONS_AT_MOST = 5
"""By everybody who had the call before us together."""
RANG_AT_MOST = 8
"""Devices that are told of: a request has to fit a datagram."""
NOBODY = "sip:anonymous@anonymous.invalid"
"""RFC 3323 4.1.1.3."""


class Cause(NamedTuple):
    """Why a call is sent elsewhere."""

    status: int
    """The cause= of RFC 4458, and of the Reason."""
    reason: str
    """The reason of RFC 5806."""


ALWAYS = Cause(302, "unconditional")
BUSY = Cause(486, "user-busy")
NOT_DISTURBED = Cause(486, "do-not-disturb")
NO_ANSWER = Cause(408, "no-answer")
UNREGISTERED = Cause(404, "unavailable")
UNREACHABLE = Cause(503, "unavailable")
FOLLOWED = Cause(0, "follow-me")
"""find_me: the person is sought elsewhere, nothing has happened yet."""


TOLD = ("History-Info", "Diversion", "Privacy")
"""Headers by which a request has a history of its own."""


class Entry(NamedTuple):
    """One hi-entry of ours, or the last one received where it is about the Request-URI."""

    uri: str
    place: str
    """Its index."""
    how: str = ""
    """";mp=1" for another person, ";rc=1" for another address of the same one, or what a received entry has."""
    status: int = 0
    """Why the call went on from here."""
    cause: int = 0
    """Why it came here, in the URI (RFC 4458)."""
    device: bool = False
    """Whether it is the address of one of our people's devices."""

    def text(self, hide: bool) -> str:
        uri = NOBODY if hide else _with_cause(self.uri, self.cause)
        if self.status:
            uri += f"{'&' if '?' in uri else '?'}Reason=SIP%3Bcause%3D{self.status}"
        return f"<{uri}>;index={self.place}{self.how}"


class Rang(NamedTuple):
    """What was tried of a person before a call is sent on."""

    child: int = 1
    """The number of what comes now among all of it."""
    devices: tuple[str, ...] = ()
    """The first of it, where that was his devices."""
    alone: bool = False
    """Nothing else rang with the last one, so that why the call goes on is its own."""


NOTHING = Rang()


class Trail(NamedTuple):
    """How a branch came to be: the last of `entries` is where it is now."""

    entries: tuple[Entry, ...]
    diversions: tuple[str, ...] = ()
    """New Diversion values without URI parameters of ours, newest first."""
    diverted: int = 0
    """Diversions so far, those of others too."""

    @property
    def here(self) -> str:
        return self.entries[-1].uri

    def to(self, uri: str, cause: Cause, rang: Rang = NOTHING, same: bool = False) -> Trail:
        """Sent on to `uri`, after what rang. `same`: to another address of the same person."""
        last = self.entries[-1]
        tried = [self._device(device, number) for number, device in enumerate(rang.devices, 1)][-RANG_AT_MOST:]
        if tried and rang.alone:
            tried[-1] = tried[-1]._replace(status=cause.status)
        else:
            last = last._replace(status=cause.status)
        entry = Entry(uri, f"{last.place}.{rang.child}", f";{'rc' if same else 'mp'}={last.place}", cause=cause.status)
        diversion = f"<{last.uri}>;reason={cause.reason};counter=1"
        return Trail((*self.entries[:-1], last, *tried, entry), (diversion, *self.diversions), self.diverted + 1)

    def at(self, uri: str, child: int) -> Trail:
        """At a device of the person it is for now."""
        return self._replace(entries=(*self.entries, self._device(uri, child)))

    def _device(self, uri: str, child: int) -> Entry:
        last = self.entries[-1]
        return Entry(uri, f"{last.place}.{child}", f";rc={last.place}", device=True)


class History:
    """What a request brings along, and what its branches say in its place."""

    __slots__ = ("_hidden", "_own", "_privacy", "_received", "limit", "remove", "start")

    def __init__(self, request: Request, own: Callable[[str], bool]) -> None:
        """`own` says whether a URI is of a domain this server is responsible for."""
        self._own = own
        headers = request.headers
        received = _values(request, "History-Info")
        self._privacy = privacy(request)
        self._hidden = not {"history", "header"}.isdisjoint(self._privacy)
        target = str(request.uri)
        first = Entry(target, "1")
        if received:
            uri, parameters = _split(received[-1])
            index = _parameter(parameters, "index") or "1"
            if uri.partition("?")[0] == target:
                first = Entry(uri, index, _without_index(parameters))
                received = received[:-1]
            else:
                first = Entry(target, f"{index}.0")  # RFC 7044 10.3 rule 6: somebody in between said nothing
        self._received = received
        diversions = _values(request, "Diversion")
        counted = [_number(_parameter(_split(value)[1], "counter"), 1) for value in diversions]
        limits = [_number(_parameter(_split(value)[1], "limit"), DIVERSIONS_AT_MOST) for value in diversions]
        self.limit = min([DIVERSIONS_AT_MOST, *limits])
        causes = sum(";cause=" in _split(value)[0].lower() for value in (*received, first.uri))
        self.start = Trail((first,), (), max(sum(counted), causes))
        self.remove: tuple[str, ...] = ("History-Info",) if "History-Info" in headers else ()

    def headers(self, trail: Trail, outside: bool) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
        """Header fields to add for a branch, and names of those to leave out. `outside`: it leaves our domains, so what
        was asked to be kept private is (RFC 7044 10.1.2)."""
        hide = outside and self._hidden
        entries = [_hidden(value, self._own, hide) if outside else value for value in self._received]
        entries += [entry.text(hide and (entry.device or self._own(entry.uri))) for entry in trail.entries]
        fields = [("History-Info", ",".join(entries))]
        for value in trail.diversions:
            if hide:
                value = f"<{NOBODY}>;{value.rpartition('>;')[2]};privacy=full"
            fields.append(("Diversion", value))
        remove = self.remove
        if hide and "history" in self._privacy:
            remove = (*remove, "Privacy")
            if left := [value for value in self._privacy if value != "history"]:
                fields.append(("Privacy", ";".join(left)))
        return tuple(fields), remove


def with_cause(uri: str, cause: Cause) -> str:
    """The URI with why it is called (RFC 4458 2), unless it says so already or has no room for it."""
    return _with_cause(uri, cause.status)


def _with_cause(uri: str, status: int) -> str:
    if not status or not uri.lower().startswith(("sip:", "sips:")) or ";cause=" in uri.lower():
        return uri
    return f"{uri};cause={status}"


def _values(request: Request, name: str) -> list[str]:
    if name not in request.headers:
        return []
    try:
        return request.headers.values(name)
    except ParseError:
        return []


def _split(value: str) -> tuple[str, str]:
    """A value's URI and parameters; the URI alone, without brackets, if it has none."""
    before, bracket, parameters = value.rpartition(">")
    if not bracket:
        uri, _, parameters = value.partition(";")
        return uri.strip(), f";{parameters}" if parameters else ""
    return before.rpartition("<")[2], parameters


def _parameter(parameters: str, name: str) -> str:
    for part in parameters.split(";"):
        key, _, value = part.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return ""


def _without_index(parameters: str) -> str:
    parts = [part.strip() for part in parameters.split(";") if part.strip()]
    return "".join(f";{part}" for part in parts if not part.lower().startswith("index"))


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else otherwise


def _hidden(value: str, own: Callable[[str], bool], hide: bool) -> str:
    """A received entry as strangers may see it."""
    uri, parameters = _split(value)
    address, mark, headers = uri.partition("?")
    kept = [header for header in headers.split("&") if not header.lower().startswith("privacy=")]
    asked = mark and len(kept) < len(headers.split("&"))
    if not own(address) or not (hide or asked):
        return value
    return f"<{NOBODY}{'?' if kept and headers and kept != [''] else ''}{'&'.join(kept)}>{parameters}"
