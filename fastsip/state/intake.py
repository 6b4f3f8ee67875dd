"""Batches of facts: from frames to what they change and the acknowledgement."""

from __future__ import annotations

import logging
import time

from fastsip._facts import Dialogs, Register
from fastsip._facts import apply as apply_facts
from fastsip.state import facts
from fastsip.state.bindings import Bindings
from fastsip.state.facts import Batch, Outcome
from fastsip.state.opencalls import OpenCalls
from fastsip.state.workers import Workers

log = logging.getLogger(__name__)


class Intake:
    """Applies facts, each once, in the order of their worker."""

    def __init__(self, bindings: Bindings, dialogs: Dialogs, open_calls: OpenCalls | None = None) -> None:
        self._bindings = bindings
        self._dialogs = dialogs
        self._open_calls = open_calls
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
        first = batch.first
        try:
            registers, left_out = apply_facts(body, batch.count, known, self._dialogs)
        except ValueError as error:
            # It will not read better when it comes again: count it as done, or its worker would never get on.
            self.malformed += 1
            log.error("worker %d: %s", batch.worker, error)
            progress.applied = max(progress.applied, first + batch.count - 1)
            return progress.applied, []
        if self._open_calls is not None:
            self._open_calls.publish(batch.worker)
        if left_out:
            self.malformed += left_out
            log.error("worker %d: %d facts were left out, they are none", batch.worker, left_out)
        outcomes = self._register(registers) if registers else []
        if registers:
            progress.keep(first + known, _answers(registers, outcomes, batch.count - known, known))
        if known:
            self.repeated += known
            outcomes = [*progress.outcomes(first, first + known), *outcomes]
        self.facts += batch.count - known
        progress.applied = max(progress.applied, first + batch.count - 1)
        return progress.applied, outcomes

    def _register(self, registers: list[Register]) -> list[Outcome]:
        now = time.time_ns() // 1_000_000
        bindings = self._bindings
        outcomes: list[Outcome] = []
        while True:
            bindings.register_plain(registers, outcomes, now)
            if len(outcomes) == len(registers):
                return outcomes
            one = registers[len(outcomes)]
            status, retry_after = bindings.register(one, now) if one.readable else self._unreadable(one)
            outcomes.append((one.token, status, retry_after))

    def _unreadable(self, register: Register) -> tuple[int, int]:
        self.malformed += 1
        log.error("a REGISTER that cannot be read was refused")
        return 500, 0


def _answers(registers: list[Register], outcomes: list[Outcome], count: int, known: int) -> list[Outcome | None]:
    """For each of `count` facts what to answer, None for those that nobody waits for."""
    if len(outcomes) == count:
        return [*outcomes]
    answers: list[Outcome | None] = [None] * count
    for register, outcome in zip(registers, outcomes, strict=True):
        answers[register.index - known] = outcome
    return answers
