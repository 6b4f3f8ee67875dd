"""Resource records as the rest of the package sees them, and how they are read from a response.

Names are lower case and have no dot at their end; the root is "".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.IN.NAPTR
import dns.rdtypes.IN.SRV

from .errors import NoAnswer

RECORDS_AT_MOST = 64
"""Of one answer; the rest of a longer one is left out."""


class Naptr(NamedTuple):
    """RFC 3403 4.1."""

    order: int
    preference: int
    flags: str
    service: str
    regexp: str
    replacement: str

    def __str__(self) -> str:
        texts = " ".join(f'"{_printable(text)}"' for text in (self.flags, self.service, self.regexp))
        return f"{self.order} {self.preference} {texts} {self.replacement}."


def _printable(text: str) -> str:
    """As in a zone file: the records of strangers come to terminals and logs."""
    return "".join(one if " " <= one <= "~" and one not in '"\\' else f"\\{ord(one):03d}" for one in text)


class Srv(NamedTuple):
    """RFC 2782."""

    priority: int
    weight: int
    port: int
    target: str

    def __str__(self) -> str:
        return f"{self.priority} {self.weight} {self.port} {self.target}."


Record = str | Srv | Naptr
"""An address is its text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known about one name and type. Times are those of the resolver's clock, in seconds."""

    records: tuple[Record, ...]
    """Empty: there are none (NXDOMAIN or NODATA)."""
    expires: float
    stale: bool = False
    """Past its time, and no name server to say what holds now."""


class Said(NamedTuple):
    """A response, read."""

    records: tuple[Record, ...]
    ttl: float | None
    """Seconds; None where none is given, as in a negative response without SOA (RFC 2308 5)."""
    alias: str | None
    """Where a CNAME leads that the response does not follow; there are no records then."""


def read(response: dns.message.Message) -> Said:
    """Raises NoAnswer if it is no answer: an rcode such as SERVFAIL, or nonsense."""
    rcode = response.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise NoAnswer(dns.rcode.to_text(rcode))
    try:
        chain = cast(dns.message.QueryMessage, response).resolve_chaining()
    except dns.exception.DNSException as error:
        raise NoAnswer(str(error) or type(error).__name__) from error
    if chain.answer is not None:
        found = [_record(rdata) for rdata in list(chain.answer)[:RECORDS_AT_MOST]]
        return Said(tuple(found), chain.minimum_ttl, None)
    has_soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)
    if chain.cnames and rcode == dns.rcode.NOERROR and not has_soa:
        return Said((), chain.minimum_ttl, _name(chain.canonical_name))
    return Said((), chain.minimum_ttl if has_soa else None, None)


def _record(rdata: Any) -> Record:
    if isinstance(rdata, dns.rdtypes.IN.SRV.SRV):
        return Srv(rdata.priority, rdata.weight, rdata.port, _name(rdata.target))
    if isinstance(rdata, dns.rdtypes.IN.NAPTR.NAPTR):
        flags, service, regexp = (text.decode("latin-1") for text in (rdata.flags, rdata.service, rdata.regexp))
        return Naptr(rdata.order, rdata.preference, flags, service, regexp, _name(rdata.replacement))
    return str(rdata.address)


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""
