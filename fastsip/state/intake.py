"""Batches of facts: from frames to what they change and the acknowledgement."""

from __future__ import annotations

import logging
import time
from typing import Any

from fastsip.state import facts
from fastsip.state.bindings import Bindings
from fastsip.state.dialogs import Dialogs
from fastsip.state.facts import Batch, Malformed, Outcome
from fastsip.state.workers import Progress, Workers

log = logging.getLogger(__name__)


class Intake:
    """Applies facts, each once, in the order of their worker."""

    def __init__(self, bindings: Bindings, dialogs: Dialogs) -> None:
        self._bindings = bindings
        self._dialogs = dialogs
        self.workers = Workers()
        self.facts = 0
        self.repeated = 0
        self.malformed = 0

    def batch(self, header: bytes, body: bytes) -> bytes:
        """Apply a batch; its acknowledgement. Raises Malformed if the header cannot be read."""
        return facts.encode_acknowledge(*self.apply(facts.decode_batch(header), body))

    def apply(self, batch: Batch, body: bytes) -> tuple[int, list[Outcome]]:
        """Apply a batch: the last fact of its worker that is applied, and what came of the REGISTERs."""
        progress, known = self.workers.begin(batch)
        if known < 0:
            return progress.applied, []
        try:
            found = facts.decode_body(body, batch.count)
        except Malformed as error:
            # It will not read better when it comes again: count it as done, or its worker would never get on.
            self.malformed += 1
            log.error("worker %d: %s", batch.worker, error)
            progress.applied = max(progress.applied, batch.first + batch.count - 1)
            return progress.applied, []
        outcomes: list[Outcome] = []
        self.repeated += known
        for sequence in range(batch.first, batch.first + known):
            outcome = progress.outcome(sequence)
            if outcome is not None:
                outcomes.append(outcome)
        self._apply(found[known:], batch.first + known, progress, outcomes)
        return progress.applied, outcomes

    def _apply(self, found: list[tuple[Any, ...]], sequence: int, progress: Progress, outcomes: list[Outcome]) -> None:
        now = time.time_ns() // 1_000_000
        confirmed, ended = self._dialogs.confirmed, self._dialogs.ended
        for fact in found:
            try:
                kind = fact[0]
                if kind == facts.DIALOG_CONFIRMED:
                    confirmed(fact)
                elif kind == facts.DIALOG_ENDED:
                    ended(fact)
                elif kind == facts.REGISTER:
                    outcome = self._register(fact, now)
                    progress.keep(sequence, outcome)
                    outcomes.append(outcome)
                else:
                    raise Malformed(f"a fact of kind {kind!r}")
            except (Malformed, ValueError, TypeError, LookupError) as error:
                self.malformed += 1
                log.error("a fact was left out: %s", error)
            sequence += 1
        self.facts += len(found)
        progress.applied = sequence - 1

    def _register(self, fact: tuple[Any, ...], now: int) -> Outcome:
        try:
            register = facts.decode_register(fact)
            status, retry_after = self._bindings.register(register, now)
        except ValueError:
            if len(fact) < 2 or not isinstance(fact[1], int):
                raise
            self.malformed += 1
            log.exception("a REGISTER was refused")
            return fact[1], 500, 0
        return register.token, status, retry_after
