"""How many confirmed dialogs each gateway has, told to all processes through the target table.

A worker that hands a dialog over counts the call on until this process says that it has heard of it (ext/targets.h).
Facts may be lost when this process is away for long, and some are heard of twice when it was replaced; then the two
counts stay apart, and the gateway would have a place too few, or too many, for ever. So a difference that is there
after every one of many batches, or while a worker is silent, is taken for what it is.
"""

from __future__ import annotations

import time

from fastsip._facts import Dialogs
from fastsip._targets import TargetTable

BATCHES = 20
SILENCE = 5.0
"""Seconds without a batch of a worker after which none of its facts is on the way: they come four times a second."""


class OpenCalls:
    """Publishes what changed. It knows no dialogs when it begins, and says so."""

    def __init__(self, table: TargetTable, dialogs: Dialogs) -> None:
        self._table = table
        self._dialogs = dialogs
        self._apart: dict[tuple[int, int], tuple[int, int]] = {}
        """Slot and worker to the batches for which the counts were apart, and the least difference."""
        begun = time.monotonic()
        self._heard_at = [begun] * table.workers
        for slot in range(table.used):
            table.set_open(slot, 0)

    def publish(self, worker: int | None = None) -> None:
        """Tell what changed; `worker` sent the batch that did it, None if it was none."""
        for slot, dialogs, heard in self._dialogs.take_changes():
            self._table.set_open(slot, dialogs)
            if worker is not None and heard and worker < len(self._heard_at):
                self._table.heard(slot, worker, heard)
                self._compare(slot, worker)
        if worker is not None and worker < len(self._heard_at):
            self._heard_at[worker] = time.monotonic()

    def settle(self, now: float) -> None:
        """Now and then: silent workers have nothing on the way. `now` is of CLOCK_MONOTONIC."""
        for worker, heard_at in enumerate(self._heard_at):
            if now - heard_at < SILENCE:
                continue
            self._heard_at[worker] = now
            for slot in range(self._table.used):
                if apart := self._table.on_the_way(slot, worker):
                    self._table.heard(slot, worker, apart)
                    self._apart.pop((slot, worker), None)

    def _compare(self, slot: int, worker: int) -> None:
        apart = self._table.on_the_way(slot, worker)
        batches, least = self._apart.pop((slot, worker), (0, apart))
        if apart == 0:
            return
        batches, least = batches + 1, min(least, apart)
        if batches < BATCHES:
            self._apart[slot, worker] = batches, least
        else:
            self._table.heard(slot, worker, least)
