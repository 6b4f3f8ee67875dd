"""What decides in a server, whoever asks: the truth about bindings, users and dialogs, on segment and store.

The state process puts it behind ZeroMQ; a `fastsip.Proxy` inside another program calls it from its service thread. It
belongs to one thread, which calls `work` when `patience` is over or `fileno` is readable.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import msgspec

from fastsip._facts import Dialogs
from fastsip._targets import TargetTable
from fastsip.launch import StateSetup
from fastsip.location import LocationTable
from fastsip.state import recovery, schema
from fastsip.state.bindings import Bindings
from fastsip.state.intake import Intake
from fastsip.state.journal import Journal
from fastsip.state.opencalls import OpenCalls
from fastsip.state.queries import Queries
from fastsip.state.services import Configured as Served
from fastsip.state.services import ServiceRecords
from fastsip.state.store import Store
from fastsip.state.users import Configured, Conflict, Users

log = logging.getLogger("fastsip.state")

EXPIRE = 500
"""Addresses-of-record looked at for expiry in one turn, about 2 ms."""
EXPIRE_DIALOGS = 5000
SECOND = 1.0


class Reload(msgspec.Struct, frozen=True):
    """What may change while it runs."""

    users: list[tuple[str, str, str, str]]
    realm: str | None
    default_domain: str
    max_contacts: int
    services: list[tuple[str, dict[str, Any]]] = []
    domains: list[str] = []


class Core:
    """Everything the state consists of. `intake` takes facts, `queries` questions."""

    def __init__(
        self,
        setup: StateSetup,
        table: LocationTable,
        tell_durable: Callable[[bool], None],
        tell_services: Callable[[int], None],
    ) -> None:
        """Take over what segment and store have. `tell_services` is told how many records of services there are. Raises
        Conflict when a user is in configuration and store."""
        self._table = table
        self._incarnation = setup.incarnation
        self._path = setup.store
        self._store: Store | None = None
        self._journal: Journal | None = None
        if setup.store != schema.MEMORY:
            self._store = Store(setup.store)
            self._journal = Journal(table, self._store, setup.store_interval / 1000, tell_durable)
        tell_durable(True)
        self._store_read = self._store is None
        self._bindings = Bindings(table, self._journal, setup.max_contacts, setup.require_store)
        self._users = Users(table, self._store, setup.realm, setup.default_domain)
        self._users.domains = setup.domains
        self._services = ServiceRecords(table, self._store, tell_services)
        self._dialogs = Dialogs(lifetime=setup.longest_call)
        self._open_calls = OpenCalls(TargetTable(setup.targets_fd), self._dialogs) if setup.targets_fd >= 0 else None
        self.intake = Intake(self._bindings, self._dialogs, self._open_calls)
        self.queries = Queries(table, self._bindings, self._users, self._services, self._dialogs, self.stats)
        self._next_second = 0.0
        try:
            self._recover(setup.users, setup.services)
        except BaseException:
            if self._store is not None:
                self._store.close(0.2)
            raise

    def fileno(self) -> int | None:
        """Readable when the store has finished something; None where nothing is kept."""
        return self._store.fileno() if self._store is not None else None

    def stats(self) -> dict[str, object]:
        """What `ctl stats` says of the state."""
        journal = self._journal
        return {
            "incarnation": self._incarnation,
            "aors": self._bindings.aors,
            "bindings": self._bindings.bindings,
            "domain": self._users.default_domain,
            "users": self._users.count,
            "services": self._services.count,
            "dialogs": len(self._dialogs),
            "dialogs_dropped": self._dialogs.dropped,
            "dialogs_expired": self._dialogs.expired,
            "registers_ok": self._bindings.registered,
            "registers_refused": self._bindings.refused,
            "bindings_expired": self._bindings.expired,
            "facts": self.intake.facts,
            "facts_repeated": self.intake.repeated,
            "facts_malformed": self.intake.malformed,
            "facts_gaps": self.intake.workers.gaps,
            "store": self._path,
            "durable": journal is None or journal.durable,
            "store_lag_ms": round(journal.lag(time.monotonic()) * 1000) if journal else 0,
            "store_commits": journal.writes if journal else 0,
        }

    def patience(self) -> int:
        """Milliseconds until something is due."""
        now = time.monotonic()
        due = self._next_second
        next_expiry = self._bindings.next_expiry()
        if next_expiry is not None:
            due = min(due, now + next_expiry / 1000 - time.time())
        if self._journal is not None and (tick := self._journal.due()) is not None:
            due = min(due, tick)
        return max(0, int((due - now) * 1000) + 1) if due > now else 0

    def work(self) -> None:
        """Do what is due, and hear what the store has done."""
        if self._store is not None:
            self._store.collect()
        now = time.monotonic()
        if self._journal is not None:
            self._journal.tick(now)
        wall = time.time_ns() // 1_000_000
        next_expiry = self._bindings.next_expiry()
        if next_expiry is not None and next_expiry <= wall:
            self._bindings.expire(wall, EXPIRE)
        if now >= self._next_second:
            self._next_second = now + SECOND
            self._table.reclaim()
            self._dialogs.expire(wall, EXPIRE_DIALOGS)
            if self._open_calls is not None:
                self._open_calls.publish()
                self._open_calls.settle(now)
            if not self._store_read:
                self._read_store_late()

    def reload(self, reload: Reload) -> None:
        """Follow a changed configuration. Raises Conflict or MemoryError, and nothing but users and services
        may have changed."""
        realm, domain = self._users.realm, self._users.default_domain
        self._users.realm, self._users.default_domain = reload.realm, reload.default_domain
        try:
            self._users.configure(reload.users)
        except Conflict:
            self._users.realm, self._users.default_domain = realm, domain
            raise
        self._users.domains = reload.domains
        self._services.configure(reload.services)
        self._bindings.max_contacts = reload.max_contacts
        log.info("reloaded: %d users, services of %d", self._users.count, self._services.count)

    def end(self, patience: float) -> None:
        """Write what the store has not, for up to `patience` seconds, and let it go."""
        if self._journal is not None and self._store is not None:
            if not self._journal.flush(patience):
                log.error("the store does not have everything")
            self._store.close(0.2)

    def _recover(self, configured: Configured, served: Served) -> None:
        """Take over what is there. Raises Conflict when a user is in configuration and store."""
        started = time.monotonic()
        with contextlib.ExitStack() as closing:
            connection = None
            if self._store is not None and self._journal is not None:
                try:
                    connection = closing.enter_context(contextlib.closing(schema.connect(self._path)))
                except (sqlite3.Error, OSError) as error:
                    self._journal.fail(error)
            recovery.adopt_segment(self._table, self._bindings, self._journal, connection)
            self._services.recover()
            stored: set[bytes] | None = None
            if connection is not None:
                stored = self._read_store(connection)
            self._services.configure(served)
            self._users.configure(configured, stored)
        elapsed = (time.monotonic() - started) * 1000
        log.info(
            "%d bindings of %d addresses-of-record, %d users, in %.0f ms",
            self._bindings.bindings,
            self._bindings.aors,
            self._users.count,
            elapsed,
        )

    def _read_store(self, connection: sqlite3.Connection) -> set[bytes] | None:
        """Users whose names are in the store, None if it cannot be read."""
        assert self._journal is not None
        try:
            recovery.read_store(connection, self._table, self._bindings, self._journal)
            users = self._users.read_store(connection)
            self._services.read_store(connection)
        except (sqlite3.Error, MemoryError) as error:
            self._journal.fail(error)
            return None
        self._store_read = True
        self._journal.open = True
        return users

    def _read_store_late(self) -> None:
        """The store could not be read when this process started: try again, and write nothing to it before."""
        assert self._journal is not None
        try:
            with contextlib.closing(schema.connect(self._path)) as connection:
                self._read_store(connection)
        except (sqlite3.Error, OSError) as error:
            log.debug("the store still fails: %s", error)
