"""What one key alone cannot tell: keys that contradict each other, and keys this version cannot honour yet."""

from __future__ import annotations

import re
from typing import Any

from fastsip._message import Uri, canonical_aor
from fastsip.policy.module import ModuleProblem
from fastsip.policy.probe import Probed, probed
from fastsip.routes.numbers import number_of

from .people import Account
from .problems import ABSENT, Problem
from .reading import Reader
from .schema import Tables
from .services import FORWARDS, Served
from .values import Domain, bracketed

WARNINGS_AT_MOST = 20


def contradictions(reader: Reader, raw: dict[str, Any], tables: Tables, required: tuple[str, ...]) -> None:
    """Report keys that do not go together."""
    problem = reader.problem
    seen: set[str] = set()
    for index, listen in enumerate(tables.server.listen):
        if listen.port and str(listen) in seen:
            problem(f"server.listen[{index}]", f"{listen} is already in the list")
        seen.add(str(listen))
    for name in tables.domains:
        try:
            ours = Domain.of(name) in tables.server.domains
        except ValueError:
            ours = False
        if not ours:
            problem(
                f"domains.{name}",
                f"not one of server.domains ({', '.join(tables.server.domains) or 'there are none'}), so nothing would "
                "come to it",
            )
    if tables.registrar.min_expires > tables.registrar.max_expires:
        problem(
            "registrar.min_expires",
            f"expected at most registrar.max_expires ({tables.registrar.max_expires})",
            value=tables.registrar.min_expires,
        )
    if tables.dns.min_ttl > tables.dns.max_ttl:
        problem("dns.min_ttl", f"expected at most dns.max_ttl ({tables.dns.max_ttl:g})", value=tables.dns.min_ttl)
    if tables.timers.t1 > tables.timers.t2:
        problem("timers.t1", f"expected at most timers.t2 ({tables.timers.t2:g})", value=tables.timers.t1)
    if not required and not tables.auth.trusted:
        exposed = [str(listen) for listen in tables.server.listen if not listen.loopback]
        if exposed:
            problem(
                "auth.required",
                f"anyone who reaches {exposed[0]} could register and call as anyone: name users and leave "
                'auth.required = ["*"], or name the networks to trust in auth.trusted; only loopback addresses '
                "may go without",
            )


def homeless(reader: Reader, accounts: list[Account], default_domain: str) -> None:
    """Report a bare name that belongs to a wildcard listen address: nobody's address-of-record is bob@0.0.0.0."""
    if default_domain not in ("0.0.0.0", "[::]"):
        return
    for account in accounts:
        if account.domain == default_domain:
            reader.problem(
                "server.domains",
                f'"{account.username}" belongs to the first domain, and there is none: name it, or write '
                f"{account.username}@ADDRESS",
            )
            return


def astray(
    reader: Reader,
    tables: Tables,
    served: list[Served],
    places: dict[str, str],
    accounts: list[Account] | None,
    default_domain: str,
) -> list[Problem]:
    """Services of people who do not live here, and forwards to nobody who does. `places` says where each person's
    stand, in a table or as file:line; `accounts` are None where anybody may register."""
    domains = homes(tables, default_domain)
    known = {aor.encode() for aor, _ in served}
    known |= {canonical_aor(f"sip:{one.username}@{one.domain}".encode()) or b"" for one in accounts or ()}
    found: list[Problem] = []

    def warn(aor: str, key: str, text: str, value: object = ABSENT) -> None:
        place = places[aor]
        if place.startswith("users."):
            inner = f"{place}.{key}" if key else place
            found.append(Problem(reader.document.name, reader.document.line(inner), inner, text, value, warning=True))
        else:
            file, _, line = place.rpartition(":")
            where = (file, int(line)) if file and line.isdigit() else (place, 0)
            found.append(Problem(*where, key, text, value, warning=True))

    for aor, record in served:
        if len(found) >= WARNINGS_AT_MOST:
            break
        if aor.rpartition("@")[2] not in domains:
            warn(aor, "", f"{aor} does not live here ({', '.join(sorted(domains))}): nothing asks for these services")
        for key in (*FORWARDS, "find_me") if accounts is not None else ():
            uris = getattr(record, key) or ()
            for uri in (uris,) if isinstance(uris, str) else [one for group in uris for one in group]:
                to = canonical_aor(uri.encode()) or b""
                if to in known or b"@" not in to or to.rpartition(b"@")[2].decode() not in domains:
                    continue
                if not _routed(Uri(uri), tables):
                    warn(aor, key, "nobody here is called so, unless by `ctl users add` or the policy", uri)
    return found


def _routed(uri: Uri, tables: Tables) -> bool:
    """Whether the dial plan may have something to say of it."""
    patterns = [str(route.regex) for route in tables.routes if route.regex is not None]
    return bool(tables.routes) and (
        number_of(uri) is not None or any(re.fullmatch(pattern, uri.user or "") for pattern in patterns)
    )


def homes(tables: Tables, default_domain: str) -> set[str]:
    """Domains of people who live here."""
    return {str(domain) for domain in tables.server.domains} or {default_domain, *_listening(tables)}


def _listening(tables: Tables) -> set[str]:
    return {bracketed(host) for listen in tables.server.listen for host in (listen.host, listen.public[0])}


def stateless(reader: Reader, tables: Tables, served: list[Served]) -> None:
    """Warn of services nobody looks at: a stateless server has only the location service."""
    for name, table in tables.domains.items():
        if table.role == "stateless":
            people = [aor for aor, _ in served if aor.rpartition("@")[2] == Domain.of(name)]
            if people:
                some = people[0] if len(people) == 1 else f"{people[0]} and {len(people) - 1} more"
                text = f"services and block lists of people there are not applied ({some})"
                reader.warn(f"domains.{name}.role", text, value=table.role)
    for index, listen in enumerate(tables.server.listen):
        if listen.role == "stateless" and (served or tables.routes):
            text = "neither services and block lists of people nor routes are applied to what comes to this address"
            reader.warn(f"server.listen[{index}]", f"role = stateless: {text}", value=str(listen))


def module(reader: Reader, tables: Tables, folder: str) -> Probed:
    """What the policy's module has; report what is wrong with it."""
    name = tables.policy.module
    if name is None:
        return Probed()
    try:
        return probed(name, folder)
    except ModuleProblem as problem:
        reader.problem("policy.module", str(problem), value=name)
        return Probed()
