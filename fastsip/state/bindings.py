"""The bindings: what a REGISTER makes of them, what time takes away, and what counts they come to."""

from __future__ import annotations

import logging
import time

from fastsip._location import RECORD_BINDINGS
from fastsip.location import Binding, BindingSet, LocationTable, is_tombstone, record_version
from fastsip.registrar import Register, Removals, decide
from fastsip.state.expiry import Expiry
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
        self._version = 0
        self._full_logged = 0.0
        self.max_contacts = max_contacts
        self.aors = 0
        self.bindings = 0
        self.registered = 0
        self.refused = 0
        self.expired = 0

    def register(self, register: Register, now: int) -> tuple[int, int]:
        """Apply one REGISTER at `now` (Unix milliseconds): status and Retry-After in seconds (0 for none)."""
        if self._require_store and self._journal is not None and not self._journal.durable:
            self.refused += 1
            return 503, RETRY_AFTER
        aor = register.aor
        value = self._table.get(RECORD_BINDINGS, aor)
        before = BindingSet.decode(value).bindings if value is not None else ()
        after, status = decide(before, register, now, self.max_contacts)
        if after is not None:
            adds = any(contact.expires for contact in register.contacts)
            if adds and self._removals.forbids(aor, register.call_id, register.cseq, now):
                status = 500
            else:
                try:
                    self._publish(aor, before, after, now)
                except MemoryError:
                    self._log_full()
                    self.refused += 1
                    return 503, RETRY_AFTER
                except ValueError as error:
                    log.warning("a REGISTER for %r cannot be kept: %s", aor, error)
                    status = 500
                else:
                    self._remember_removed(register, before, after, now)
        if status == 200:
            self.registered += 1
        else:
            self.refused += 1
        return status, 0

    def expire(self, now: int, limit: int) -> None:
        """Take away up to `limit` addresses-of-record's bindings whose time has passed."""
        for aor in self._expiry.due(now, limit):
            value = self._table.get(RECORD_BINDINGS, aor)
            if value is None or is_tombstone(value):
                continue
            before = BindingSet.decode(value).bindings
            after = tuple(b for b in before if b.expires > now)
            if len(after) < len(before):
                self.expired += len(before) - len(after)
                try:
                    self._publish(aor, before, after, now)
                except MemoryError:
                    self._log_full()
                    self._expiry.enter(aor, now + 1000)
            else:
                self._enter(aor, after)

    def next_expiry(self) -> int | None:
        """The Unix millisecond at which `expire` has something to do, None if never."""
        return self._expiry.next()

    def get(self, aor: bytes) -> tuple[Binding, ...]:
        value = self._table.get(RECORD_BINDINGS, aor)
        return BindingSet.decode(value).bindings if value is not None else ()

    def adopt(self, aor: bytes, value: bytes) -> None:
        """Count a record that is in the table already, and watch its expiry. Raises ValueError for a damaged one."""
        self._version = max(self._version, record_version(value))
        found = BindingSet.decode(value).bindings
        if found:
            self.aors += 1
            self.bindings += len(found)
            self._enter(aor, found)

    def load(self, aor: bytes, value: bytes, now: int) -> bool:
        """Publish a record the store has and the table has not, without what expired meanwhile; whether all of it was
        still good. Raises ValueError for a damaged one."""
        self._version = max(self._version, record_version(value))
        before = BindingSet.decode(value).bindings
        after = tuple(b for b in before if b.expires > now)
        if len(after) == len(before):
            self._table.put(RECORD_BINDINGS, aor, value)
            self.adopt(aor, value)
            return True
        if after:
            self._publish(aor, (), after, now)
        return False

    def _publish(self, aor: bytes, before: tuple[Binding, ...], after: tuple[Binding, ...], now: int) -> None:
        # Milliseconds above, a count below: greater than any version of before a restart, also of a name forgotten.
        version = max(self._version + 1, now << VERSION_SHIFT)
        if after or self._journal is not None:
            self._table.put(RECORD_BINDINGS, aor, BindingSet(version, after).encode())
        else:
            self._table.delete(RECORD_BINDINGS, aor)
        self._version = version
        if self._journal is not None:
            self._journal.note(aor, time.monotonic())
        self.aors += bool(after) - bool(before)
        self.bindings += len(after) - len(before)
        if after:
            earliest = min(b.expires for b in after)
            if not before or earliest < min(b.expires for b in before):
                self._expiry.enter(aor, earliest)

    def _enter(self, aor: bytes, bindings: tuple[Binding, ...]) -> None:
        self._expiry.enter(aor, min(b.expires for b in bindings))

    def _remember_removed(
        self, register: Register, before: tuple[Binding, ...], after: tuple[Binding, ...], now: int
    ) -> None:
        if len(after) >= len(before) and all(contact.expires for contact in register.contacts):
            return
        kept = {b.uri for b in after}
        for binding in before:
            if binding.uri not in kept:
                self._removals.remember(register.aor, binding.call_id, binding.cseq, now)
                self._removals.remember(register.aor, register.call_id, register.cseq, now)

    def _log_full(self) -> None:
        now = time.monotonic()
        if now - self._full_logged > 60:
            self._full_logged = now
            log.error("the location segment is full or the machine has no memory: REGISTER gets 503")
