"""What a policy may ask of the server around it: registered contacts, gateways, the time of day.

These work wherever a policy runs: in its thread, in its tasks, in `asyncio.to_thread`, and in `fastsip.testing`, where
contacts and gateways are data and time is virtual.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from fastsip._message import canonical_aor
from fastsip.errors import UsageError
from fastsip.policy.plan import Target

Devices = Callable[[str], Sequence[Target]]
"""From a canonical address-of-record to where it is registered."""
Choose = Callable[[Collection[str], "str | None", "Collection[str | Target]"], "Target | None"]
"""From names of gateways, a number and what to leave out to one of them."""


@dataclass(frozen=True)
class Surroundings:
    """The server around a policy."""

    devices: Devices = lambda aor: ()
    now: Callable[[], float] = time.time
    choose: Choose | None = None
    addresses: frozenset[str] = frozenset()
    """Hosts that stand for the first domain."""
    domain: str = ""


@dataclass
class Place:
    """Where a policy runs. A reload gives it other surroundings, which all that run there see."""

    surroundings: Surroundings


_here: ContextVar[Place] = ContextVar("fastsip.policy")


def enter(surroundings: Surroundings) -> Place:
    """Make these what the functions below ask, in this context and those copied from it."""
    place = Place(surroundings)
    _here.set(place)
    return place


def _around() -> Surroundings:
    try:
        return _here.get().surroundings
    except LookupError:
        raise UsageError("no policy runs here: this works where fastsip or fastsip.testing calls a policy") from None


def lookup(aor: str) -> list[Target]:
    """Where an address-of-record ("bob@example.com" or a SIP URI) is registered: best q first, the newest first among
    equals; empty if nowhere. Raises ValueError if it is no address-of-record."""
    around = _around()
    key = canonical_aor((aor if aor.lower().startswith(("sip:", "sips:")) else f"sip:{aor}").encode())
    if not key:
        raise ValueError(f'lookup({aor!r}): expected an address-of-record such as "bob@example.com"')
    user, _, host = key.rpartition(b"@")
    if host.decode("utf-8", "surrogateescape") in around.addresses and around.domain:
        key = user + b"@" + around.domain.encode()
    return [*around.devices(key.decode("utf-8", "surrogateescape"))]


def next_gateway(*names: str, number: str | None = None, without: Collection[str | Target] = ()) -> Target | None:
    """One of these gateways that is up and has a call free, drawn by weight; None if there is none. Without names, of
    all. With a number its URI is that number at the gateway, else the gateway's own. `without` are some to leave out,
    by name or as the targets they were. Raises ValueError for a name the configuration does not have."""
    around = _around()
    for one in names:
        if not isinstance(one, str):
            raise TypeError(f"next_gateway: {one!r}: expected the name of a gateway")
    # A text is a collection too, of letters.
    if isinstance(without, str | bytes) or not isinstance(without, Collection):
        raise TypeError(f"next_gateway: without = {without!r}: expected a tuple of names or targets")
    if around.choose is None:
        raise UsageError("next_gateway: this server has no gateways")
    return around.choose(names, number, without)


def now() -> float:
    """The time of day, Unix seconds: virtual in a test."""
    return _around().now()
