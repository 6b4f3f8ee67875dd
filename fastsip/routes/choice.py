"""Which gateways a call tries, in what order: groups as they stand, members by chance and weight, no unusable ones.

Weights share calls as RFC 2782 does: of two members with 10 and 30 the second is first for three calls of four, and one
with 0 comes after all others of its group. Left out is what the target table says is down, full, or waits for a
Retry-After. A gateway whose pause is over is tried by one call only.

If all are left out and some of them because they are down, one of those is tried all the same, the one whose pause ends
first: what this server knows of them is old, its own network may have been what was down, and a caller who waits for
one `try_time` and may get through is better off than one who is refused for certain. Retry-After and limits have no
exception: there somebody asked for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import NamedTuple
from urllib.parse import quote

from fastsip._message import Uri
from fastsip._targets import DOWN, ON_TRIAL, WAITING, TargetTable, now_ms
from fastsip.launch import GatewaySetup

from .numbers import USER, dialled


class Gateway(NamedTuple):
    """One gateway, its URI taken apart. Its user, if it had one, is nobody's."""

    slot: int
    name: str
    scheme: str
    host: str
    """With the port, if it has one, IPv6 in brackets."""
    parameters: str
    """As text, ";transport=udp"."""
    try_time: float

    @property
    def uri(self) -> str:
        return f"{self.scheme}:{self.host}{self.parameters}"

    def at(self, number: str) -> str:
        """A Request-URI for a number as text, or for what is none."""
        found = dialled(number)
        return found.sip(self.host, self.parameters, self.scheme) if found else self.for_name(number)

    def for_name(self, user: str) -> str:
        return f"{self.scheme}:{quote(user, safe=USER)}@{self.host}{self.parameters}"

    @classmethod
    def of(cls, setup: GatewaySetup) -> Gateway:
        """Raises ParseError if its URI is none."""
        uri = Uri(setup.uri)
        host = in_uri(uri.host or "") + (f":{uri.port}" if uri.port is not None else "")
        given = [(name, value) for name, value in uri.parameters.items() if name.lower() != "user"]
        parameters = "".join(f";{name}={value}" if value else f";{name}" for name, value in given)
        return cls(setup.slot, setup.name, uri.scheme, host, parameters, setup.try_time)


def in_uri(host: str) -> str:
    """As it stands in a URI: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


Groups = Sequence[Sequence[Gateway]]


class Choice:
    """Chooses by the target table."""

    def __init__(self, table: TargetTable, random: Random | None = None, now: Callable[[], int] = now_ms) -> None:
        self._table = table
        self._random = (random or Random()).random
        self._now = now

    def order(self, groups: Groups, tried: Collection[str] = ()) -> list[Gateway]:
        """The gateways to try, the first one first, without those whose names were tried. Empty if there is none."""
        now = self._now()
        state = self._table.state
        chosen: list[Gateway] = []
        asleep: list[Gateway] = []
        seen = set(tried)
        for group in groups:
            usable = []
            for gateway in group:
                if gateway.name in seen:
                    continue
                seen.add(gateway.name)
                found = state(gateway.slot, now)
                if found > 0:
                    usable.append((gateway, found))
                elif found == DOWN:
                    asleep.append(gateway)
            for gateway, found in self._shared_out(usable):
                # Whoever is first is tried for certain; behind another it may never come to that, and would be down for
                # a trial that was none.
                if not chosen and found == ON_TRIAL and not self._table.claim(gateway.slot, now):
                    continue
                chosen.append(gateway)
        if not chosen and asleep:
            return [min(asleep, key=lambda gateway: self._table.free_at(gateway.slot))]
        return chosen

    def wait(self, groups: Groups) -> int | None:
        """Seconds until the first Retry-After of these is over, None if none of them waits for one."""
        now = self._now()
        slots = [gateway.slot for group in groups for gateway in group]
        ends = [self._table.free_at(slot) for slot in slots if self._table.state(slot, now) == WAITING]
        return max(1, math.ceil((min(ends) - now) / 1000)) if ends else None

    def _shared_out(self, usable: list[tuple[Gateway, int]]) -> Iterable[tuple[Gateway, int]]:
        if len(usable) < 2:
            return usable
        return sorted(usable, key=self._draw)

    def _draw(self, member: tuple[Gateway, int]) -> float:
        # An exponential variable of rate `weight`: the smallest of several is each one's with the chance of its share,
        # and so on among the rest.
        weight = self._table.weight(member[0].slot)
        drawn = 1.0 - self._random()
        return -math.log(drawn) / weight if weight else 1e9 + drawn
