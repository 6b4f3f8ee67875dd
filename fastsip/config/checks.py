"""What one key alone cannot tell: keys that contradict each other, and keys this version cannot honour yet."""

from __future__ import annotations

from typing import Any

from fastsip.policy.module import Face, ModuleProblem
from fastsip.policy.probe import face

from .people import Account
from .reading import Reader
from .schema import Tables
from .values import Domain


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


def module(reader: Reader, tables: Tables, folder: str) -> Face:
    """What the policy's module has; report what is wrong with it."""
    name = tables.policy.module
    if name is None:
        return Face()
    try:
        return face(name, folder)
    except ModuleProblem as problem:
        reader.problem("policy.module", str(problem), value=name)
        return Face()


def not_yet(reader: Reader, raw: dict[str, Any], tables: Tables) -> None:
    """Report what is valid and cannot be served by this version: better refused than silently ignored."""

    def later(key: str, what: str) -> None:
        reader.problem(key, f"not supported in this version: {what}")

    for index, listen in enumerate(tables.server.listen):
        if listen.transport not in ("udp", "tcp"):
            later(f"server.listen[{index}]", f"{listen.transport} (udp and tcp are)")
