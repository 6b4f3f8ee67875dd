"""Which NAPTR records are for us (RFC 3263 4.1, RFC 3403)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .hop import SECURE, Hop
from .records import Naptr, Record

SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls", "SIP+D2W": "ws", "SIPS+D2W": "wss"}
"""Service field to transport (RFC 3263 4.1, RFC 7118 10.2)."""
FLAGS = ("s", "a")
"""SRV records follow, or addresses; RFC 3263 has use for the first and nothing against the second."""


class Candidate(NamedTuple):
    record: Naptr
    transport: str
    wrong: str
    """Why it is passed over; "" if it is not."""


def chosen(records: Iterable[Record], hop: Hop, sent: frozenset[str]) -> list[Candidate]:
    """All of them, the first one first: by order, then preference, and then in any way that is always the same."""
    return [_candidate(one, hop, sent) for one in sorted(one for one in records if isinstance(one, Naptr))]


def _candidate(record: Naptr, hop: Hop, sent: frozenset[str]) -> Candidate:
    transport = SERVICES.get(record.service.upper(), "")
    wrong = ""
    if not transport:
        wrong = "a service of another kind"
    elif hop.sips and transport not in SECURE.values():
        wrong = "not for a sips URI"
    elif transport not in sent:
        wrong = f"{transport} is not sent here"
    elif record.flags.lower() not in FLAGS:
        wrong = "flags other than s or a"
    elif record.regexp or not record.replacement:
        wrong = "no replacement, or a regular expression"
    return Candidate(record, transport, wrong)
