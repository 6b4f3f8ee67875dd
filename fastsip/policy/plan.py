"""The route plan: where a request goes, as data (what RFC 3261 16.5 to 16.8 execute).

    Plan(Step("sip:bob@192.0.2.7", ring_time=20, onward={NO_ANSWER, BUSY}), Step("sip:bob@voicemail.example.com"))

A plan is steps in order; a step is targets that are tried at the same time, how long they may ring, and which outcomes
go on to another step. Services, dial plans and users' Python only write plans; the compiled core executes them, and
keeps every rule about responses, CANCEL, 6xx and forking itself. Times are seconds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Any

import msgspec


class Outcome(IntEnum):
    """How a step that brought no 2xx ended: the class of its best response (RFC 3261 16.7 step 6)."""

    REDIRECTED = 0
    """3xx that was not followed."""
    REJECTED = 1
    """4xx that is none of the others."""
    BUSY = 2
    """486, 600."""
    NO_ANSWER = 3
    """The ring time is over, 408, 480, 487."""
    FAILURE = 4
    """5xx that is not 503."""
    UNAVAILABLE = 5
    """503, or nothing could be sent there (16.9)."""
    TIMEOUT = 6
    """Nothing at all was heard within `try_time` or Timer B or F."""
    DECLINED = 7
    """6xx that is not 600."""


REDIRECTED = Outcome.REDIRECTED
REJECTED = Outcome.REJECTED
BUSY = Outcome.BUSY
NO_ANSWER = Outcome.NO_ANSWER
FAILURE = Outcome.FAILURE
UNAVAILABLE = Outcome.UNAVAILABLE
TIMEOUT = Outcome.TIMEOUT
DECLINED = Outcome.DECLINED

ANY = frozenset(Outcome) - {DECLINED}
"""Every outcome but a 6xx, after which RFC 3261 16.7 step 5 wants no new branch."""

STEPS_AT_MOST = 64
TARGETS_AT_MOST = 128
"""Of one plan, with their spares."""
SPARES_AT_MOST = 7

_URI = re.compile(r'[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20"<>\x7f]+')
"""What may stand between angle brackets as an address, of whatever scheme."""


class Target(msgspec.Struct, frozen=True, gc=False):
    """One branch: the Request-URI it gets, and what else of its request is different."""

    uri: str
    q: float = 1.0
    """Preference among redirected contacts, 0 to 1; within a step all targets are tried at once."""
    hop: str | None = None
    """A SIP URI to send to in place of the Request-URI's host; None: the first of `routes`, else the Request-URI."""
    routes: tuple[str, ...] = ()
    """Route values to put on top, such as "<sip:edge.example.com;lr>"."""
    headers: tuple[tuple[str, str], ...] = ()
    """Header fields to add, name and value, on top of what there is. None of the proxy's own: Via, From, To, Call-ID,
    CSeq, Content-Length, Max-Forwards, Max-Breadth, Record-Route, Route (there is `routes`)."""
    remove: tuple[str, ...] = ()
    """Names of header fields to leave out; none of those either."""
    try_time: float | None = None
    """Seconds without any answer before this target counts as TIMEOUT; None: Timer B or F."""
    gateway: int | None = None
    """Its slot in the target table, where calls and failures are counted; one that is no gateway's counts for none."""
    expires: int | None = None
    """Seconds the address is good for, told in a redirect."""
    spares: tuple[str, ...] = ()
    """SIP URIs to send to in place of `hop`, at most seven: the next one where nothing was heard in time, nothing could
    be sent, or with a 503 (RFC 3263 4.3). What the last one says is what this target says."""
    patience: float | None = None
    """Seconds without any answer before the next of `spares` is tried; None: `try_time`."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """Targets that are tried at the same time."""

    targets: tuple[Target, ...]
    ring_time: float | None = None
    """Seconds until those that still ring are given up (CANCEL), and those that said nothing; None: Timer C alone. The
    spares of one that is alone in its step have as long each."""
    onward: Mapping[Outcome, int] | Collection[Outcome] = frozenset()
    """Outcomes after which another step follows: the next one, or the one with that index, which must be later."""
    notify: int | None = None
    """A provisional status (181, 182) sent to the caller when this step begins."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A final response made here, 300 to 699."""

    status: int
    reason: str | None = None
    """None: the reason phrase of the RFCs."""
    headers: tuple[tuple[str, str], ...] = ()
    """Name and value; not Via, From, To, Call-ID, CSeq, Content-Length or Record-Route."""


class Plan(msgspec.Struct, frozen=True, gc=False):
    """Steps in order, or an answer. Made with `plan`, `fork`, `redirect`, `reject`, or whole."""

    steps: tuple[Step, ...] = ()
    answer: Answer | None = None
    recurse: bool = False
    """Follow a 3xx here (RFC 3261 16.5): its contacts become targets, but those at this server's own domains and
    addresses and numbers, which are for the caller: whoever calls them has his rights and others' services asked."""
    on_failure: bool = False
    """Ask the policy's `on_failure` before a failure is told to the caller."""


NOBODY = Plan(answer=Answer(480))


def target(uri: str | Target, **more: Any) -> Target:
    """A Target from a URI; keywords are its fields."""
    return uri if isinstance(uri, Target) else Target(uri, **more)


def step(*targets: str | Target, **more: Any) -> Step:
    """A Step of these targets; keywords are its other fields."""
    return Step(_targets(targets), **more)


def _targets(targets: tuple[str | Target | None, ...]) -> tuple[Target, ...]:
    return tuple([one if type(one) is Target else Target(one) for one in targets if one is not None])  # type: ignore[arg-type]


def fork(*targets: str | Target | None, ring_time: float | None = None, recurse: bool = False) -> Plan:
    """All of these at the same time. None is nobody, as `next_gateway` says it; of nobody at all the answer is 480."""
    found = _targets(targets)
    return Plan((Step(found, ring_time),), None, recurse) if found else NOBODY


def hunt(*targets: str | Target | None, ring_time: float | None = None, onward: Collection[Outcome] = ANY) -> Plan:
    """One after another, each for `ring_time`, until one answers. Of nobody at all the answer is 480."""
    steps = tuple(step(one, ring_time=ring_time, onward=onward) for one in _targets(targets))
    return Plan(steps) if steps else NOBODY


def reject(status: int, reason: str | None = None, *, headers: Collection[tuple[str, str]] = ()) -> Plan:
    """Refuse with this status, 400 to 699. Raises ValueError for any other."""
    if not 400 <= status <= 699:
        raise ValueError(f"reject({status}): expected a status from 400 to 699")
    if isinstance(headers, str | bytes | Mapping):
        raise TypeError(f"reject: headers = {headers!r}: expected a tuple of names and values")
    return Plan(answer=Answer(status, reason, tuple(headers)))


def redirect(*targets: str | Target, status: int = 302, reason: str | None = None) -> Plan:
    """Tell the caller to go there himself: 3xx with these contacts, their q and expires. Raises ValueError for another
    status, for no contact at all and for one that cannot be written: its URI, of any scheme, its q or its expires."""
    if not 300 <= status <= 399:
        raise ValueError(f"redirect(status={status}): expected a status from 300 to 399")
    if not targets:
        raise ValueError("redirect() needs a contact")
    return Plan(answer=Answer(status, reason, tuple(("Contact", _contact(target(one))) for one in targets)))


def _contact(one: Target) -> str:
    if not isinstance(one.uri, str):
        raise TypeError(f"redirect: {one.uri!r}: expected a URI")
    if not _URI.fullmatch(one.uri):
        wanted = "a scheme, and no blank, quote, angle bracket or control character"
        raise ValueError(f"redirect: {one.uri!r} is no URI: expected {wanted}")
    if not isinstance(one.q, int | float) or not 0 <= one.q <= 1:
        raise ValueError(f"redirect: q = {one.q!r} of {one.uri}: expected a number from 0 to 1")
    text = f"<{one.uri}>"
    if one.q != 1:
        text += f";q={one.q:.3f}".rstrip("0").rstrip(".")
    if one.expires is not None:
        if not isinstance(one.expires, int) or one.expires < 0:
            raise ValueError(f"redirect: expires = {one.expires!r} of {one.uri}: expected whole seconds, not below 0")
        text += f";expires={one.expires}"
    return text
