"""What `ctl` may ask and tell the state process. Long answers come in pages, so that no question holds up the facts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from fastsip._facts import Dialogs
from fastsip._location import RECORD_BINDINGS
from fastsip.location import Binding, BindingSet, LocationTable
from fastsip.state.bindings import Bindings
from fastsip.state.facts import Query
from fastsip.state.services import ServiceRecords
from fastsip.state.users import Answer, Users

S = TypeVar("S", bound=msgspec.Struct)

PAGE = 500
"""The most entries in one answer."""
PATIENCE = 0.003
"""Seconds after which a page is sent with what it has."""
SCAN = 64

TRANSPORTS = ("unknown", "udp", "tcp", "tls", "sctp", "ws", "wss")


class Page(msgspec.Struct, frozen=True):
    """Arguments of a listing."""

    cursor: int = 0
    limit: int = 100
    aor: str | None = None


class _Change(msgspec.Struct, frozen=True):
    """Arguments of services_set (services by name; null takes back what was set, "" is none at all) and services_unset
    (names, none for all)."""

    aor: str
    services: dict[str, Any] = {}
    names: list[str] = []


class _Records(msgspec.Struct, frozen=True):
    """Arguments of services_replace: services by name, by address-of-record."""

    records: dict[str, dict[str, Any]]


ELSEWHERE = ("forward_always", "forward_unavailable", "forward_no_answer", "find_me")
"""Services that lead calls to others though nobody is there."""


class Queries:
    """Commands by name. `stats` gives what the process itself counts."""

    def __init__(
        self,
        table: LocationTable,
        bindings: Bindings,
        users: Users,
        services: ServiceRecords,
        dialogs: Dialogs,
        stats: Callable[[], dict[str, object]],
    ) -> None:
        self._table = table
        self._bindings = bindings
        self._users = users
        self._services = services
        self._dialogs = dialogs
        self._stats = stats

    def run(self, query: Query, answer: Answer) -> None:
        """Do one command; `answer` is called once, now or when the disk has it."""
        try:
            match query.command:
                case "contacts":
                    answer(True, self._contacts(_page(query.arguments)))
                case "users":
                    page = _page(query.arguments)
                    after, users = self._users.list(page.cursor, page.limit)
                    answer(True, {"next": after, "users": users})
                case "dialogs":
                    page = _page(query.arguments)
                    after, dialogs = self._dialogs.list(page.cursor, page.limit)
                    answer(True, {"next": after, "dialogs": dialogs})
                case "users_add":
                    self._users.add(query.arguments, answer)
                case "users_remove":
                    self._users.remove(query.arguments, answer)
                case "services":
                    answer(True, self._list_services(_page(query.arguments)))
                case "services_set" | "services_unset" | "services_replace":
                    self._change_services(query, answer)
                case "stats":
                    answer(True, self._stats())
                case _:
                    answer(False, {"error": f"unknown command {query.command!r}"})
        except ValueError as error:
            answer(False, {"error": str(error)})

    def _list_services(self, page: Page) -> dict[str, object]:
        if page.aor is not None:
            return {"next": None, "services": self._services.get(self._users.canonical(page.aor).decode())}
        after, records = self._services.page(page.cursor, page.limit)
        return {"next": after, "services": records}

    def _change_services(self, query: Query, answer: Answer) -> None:
        domain = self._users.default_domain
        if query.command == "services_replace":
            records = _convert(query.arguments, _Records).records
            return self._services.replace([(self._aor(aor), one) for aor, one in records.items()], domain, answer)
        change = _convert(query.arguments, _Change)
        aor = self._aor(change.aor)
        if query.command == "services_set":
            return self._services.change(aor, change.services, domain, self._warned(aor, answer))
        self._services.unset(aor, change.names, answer)

    def _warned(self, aor: str, answer: Answer) -> Answer:
        """An answer that says, too, why these services may be nobody's."""

        def tell(good: bool, result: object) -> None:
            if good and isinstance(result, dict) and (warning := self._astray(aor, result)):
                result = {**result, "warning": warning}
            answer(good, result)

        return tell

    def _astray(self, aor: str, services: dict[str, Any]) -> str | None:
        domains, key = self._users.domains, aor.encode()
        if domains and aor.rpartition("@")[2] not in domains:
            return f"{aor} does not live here ({', '.join(domains)}): nothing asks for these services"
        if self._users.known(key) or self._bindings.get(key) or any(services.get(name) for name in ELSEWHERE):
            return None
        return f"{aor} is no user and is not registered: these services wait for who registers so"

    def _aor(self, text: str) -> str:
        """Raises ValueError if it is no name."""
        name, _, domain = self._users.canonical(text).decode().rpartition("@")
        if not name or not domain or any(c in name + domain for c in '@ \t\r\n"<>;?'):
            raise ValueError(f"{text}: expected somebody such as bob or bob@example.com")
        return f"{name}@{domain}"

    def _contacts(self, page: Page) -> dict[str, object]:
        now = time.time_ns() // 1_000_000
        contacts: list[dict[str, object]] = []
        if page.aor is not None:
            aor = self._users.canonical(page.aor)
            contacts += [_contact(aor, b, now) for b in self._bindings.get(aor) if b.expires > now]
            return {"next": None, "contacts": contacts}
        cursor: int | None = page.cursor
        deadline = time.monotonic() + PATIENCE
        while cursor is not None and len(contacts) < page.limit and time.monotonic() < deadline:
            cursor, records = self._table.scan(cursor, min(SCAN, page.limit - len(contacts)), RECORD_BINDINGS)
            for aor, value in records:
                contacts += [_contact(aor, b, now) for b in BindingSet.decode(value).bindings if b.expires > now]
        return {"next": cursor, "contacts": contacts}


def _convert(arguments: dict[str, Any], cls: type[S]) -> S:
    try:
        return msgspec.convert(arguments, cls)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _page(arguments: dict[str, Any]) -> Page:
    page = _convert(arguments, Page)
    if page.cursor < 0 or page.limit < 1:
        raise ValueError("cursor is 0 or what an answer gave, limit at least 1")
    return msgspec.structs.replace(page, limit=min(page.limit, PAGE))


def _contact(aor: bytes, binding: Binding, now: int) -> dict[str, object]:
    return {
        "aor": aor.decode(errors="replace"),
        "uri": binding.uri.decode(errors="replace"),
        "q": binding.q / 1000,
        "expires_in": (binding.expires - now + 999) // 1000,
        "call_id": binding.call_id.decode(errors="replace"),
        "cseq": binding.cseq,
        "source": _source(binding),
        "transport": TRANSPORTS[binding.transport] if binding.transport < len(TRANSPORTS) else "unknown",
        "parameters": binding.parameters.decode(errors="replace"),
        "updated": binding.updated,
    }


def _source(binding: Binding) -> str:
    family, ip, port = binding.source
    if family == 4:
        return f"{socket.inet_ntop(socket.AF_INET, ip[:4])}:{port}"
    if family == 6:
        return f"[{socket.inet_ntop(socket.AF_INET6, ip)}]:{port}"
    return ""
