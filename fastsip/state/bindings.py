"""The bindings: what a REGISTER makes of them, what time takes away, and what counts they come to."""

from __future__ import annotations

import logging
import time

from fastsip._facts import Change, Register, apply_plain, without_expired
from fastsip._location import RECORD_BINDINGS, summarize_bindings
from fastsip.location import Binding, BindingSet, LocationTable
from fastsip.registrar import Removals
from fastsip.state.expiry import Expiry
from fastsip.state.facts import Outcome
from fastsip.state.journal import Journal

log = logging.getLogger(__name__)

RETRY_AFTER = 10
"""Seconds to wait before a REGISTER that failed for lack of a store or of room is worth another try."""
VERSION_SHIFT = 16


class Bindings:
    """The truth about every address-of-record. It lives in the table; this class changes it, alone.

    Each change is published first, then given to the journal, then acknowledged. A death between the first two leaves
    a version in the segment that the store does not have, which the next state process finds (`recovery`); a death
    before the last makes the worker send the fact again, and it meets bindings that say so already."""

    def __init__(self, table: LocationTable, journal: Journal | None, max_contacts: int, require_store: bool) -> None:
        self._table = table
        self._journal = journal
        self._require_store = require_store
        self._removals = Removals()
        self._expiry = Expiry()
        self._full_logged = 0.0
        self.max_contacts = max_contacts
        self.version = 0
        """The highest of all records."""
        self.aors = 0
        self.bindings = 0
        self.registered = 0
        self.refused = 0
        self.expired = 0

    def register_plain(self, registers: list[Register], outcomes: list[Outcome], now: int) -> None:
        """Apply those after the first `len(outcomes)` in turn, as `register` does, and append what to answer, up to the
        first with which there is more to do."""
        if self._require_store and self._journal is not None and not self._journal.durable:
            return
        self.version, registered, aors, bindings = apply_plain(
            registers,
            outcomes,
            self._table,
            self._journal,
            self._removals,
            self._expiry,
            now,
            self.max_contacts,
            self.version,
            now << VERSION_SHIFT,
        )
        self.registered += registered
        self.aors += aors
        self.bindings += bindings

    def register(self, register: Register, now: int) -> tuple[int, int]:
        """Apply one REGISTER at `now` (Unix milliseconds): status and Retry-After in seconds (0 for none)."""
        if self._require_store and self._journal is not None and not self._journal.durable:
            status = 503
        else:
            try:
                status = self._register(register, now)
            except MemoryError:
                self._log_full()
                status = 503
        if status == 200:
            self.registered += 1
        else:
            self.refused += 1
        return status, RETRY_AFTER if status == 503 else 0

    def _register(self, register: Register, now: int) -> int:
        aor = register.aor
        version = self._next_version(now)
        try:
            status, change = register.decide(self._table.get(RECORD_BINDINGS, aor), now, self.max_contacts, version)
            if change is None:
                return status
            if self._removals and register.adds and self._forbidden(register, now):
                return 500
            self._publish(aor, change, change.before, version)
        except ValueError as error:
            log.warning("a REGISTER for %r cannot be kept: %s", aor, error)
            return 500
        if change.removed:
            for call_id, cseq in change.removed:
                self._removals.remember(aor, call_id, cseq, now)
            self._removals.remember(aor, register.call_id, register.cseq, now)
        return status

    def expire(self, now: int, limit: int) -> None:
        """Take away up to `limit` addresses-of-record's bindings whose time has passed."""
        for aor in self._expiry.due(now, limit):
            value = self._table.get(RECORD_BINDINGS, aor)
            if value is None:
                continue
            version = self._next_version(now)
            change = without_expired(value, now, version)
            if change.count < change.before:
                try:
                    self._publish(aor, change, change.before, version)
                except MemoryError:
                    self._log_full()
                    self._expiry.enter(aor, now + 1000)
                    continue
                self.expired += change.before - change.count
            if change.count:
                self._expiry.enter(aor, change.earliest)

    def next_expiry(self) -> int | None:
        """The Unix millisecond at which `expire` has something to do, None if never."""
        return self._expiry.next()

    def get(self, aor: bytes) -> tuple[Binding, ...]:
        """The bindings, expired ones too. Raises ValueError if the record is damaged."""
        value = self._table.get(RECORD_BINDINGS, aor)
        return BindingSet.decode(value).bindings if value is not None else ()

    def adopt(self, aor: bytes, value: bytes) -> tuple[int, int]:
        """Count a record that is in the table already, and watch its expiry; its version and how many bindings it has.
        Raises ValueError for a damaged one."""
        version, count, earliest = summarize_bindings(value)
        self.version = max(self.version, version)
        if count:
            self.aors += 1
            self.bindings += count
            self._expiry.enter(aor, earliest)
        return version, count

    def load(self, aor: bytes, value: bytes, now: int) -> None:
        """Publish a record the store has and the table has not, without what expired meanwhile. Raises ValueError for a
        damaged one, MemoryError if it does not fit."""
        version, _, earliest = summarize_bindings(value)
        if earliest > now:
            self._table.put(RECORD_BINDINGS, aor, value)
            self.adopt(aor, value)
        else:
            self.version = max(self.version, version)
            next_version = self._next_version(now)
            self._publish(aor, without_expired(value, now, next_version), 0, next_version)

    def _forbidden(self, register: Register, now: int) -> bool:
        return self._removals.forbids(register.aor, register.call_id, register.cseq, now)

    def _next_version(self, now: int) -> int:
        # Milliseconds above, a count below: greater than any version of before a restart, also of a name forgotten.
        return max(self.version + 1, now << VERSION_SHIFT)

    def _publish(self, aor: bytes, change: Change, before: int, version: int) -> None:
        """Make it so for the readers. `before`: how many of the bindings were counted."""
        if change.count or self._journal is not None:
            self._table.put(RECORD_BINDINGS, aor, change.value)
        else:
            self._table.delete(RECORD_BINDINGS, aor)
        self.version = version
        if self._journal is not None:
            self._journal.note(aor, version)
        if change.count != before:
            self.aors += bool(change.count) - bool(before)
            self.bindings += change.count - before
        if change.count and (not before or change.earliest < change.earliest_before):
            self._expiry.enter(aor, change.earliest)

    def _log_full(self) -> None:
        now = time.monotonic()
        if now - self._full_logged > 60:
            self._full_logged = now
            log.error("the location segment is full or the machine has no memory: REGISTER gets 503")
