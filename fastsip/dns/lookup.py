"""What is known about a name and type: from the cache, from a question in flight, or by asking; CNAMEs followed.

Answers are kept for their TTL within bounds, "there is none" too (RFC 2308), and what no name server could answer for a
moment (RFC 9520). Who asks what is being asked already waits for the same answer. While nobody answers, what was known
is used past its time (RFC 8767).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from fastsip.launch import DnsSetup

from .asking import Ask
from .cache import Cache
from .errors import NoAnswer
from .records import Answer, Said

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Name in lower case without a dot at its end, and type."""

ALIASES = 8
"""CNAMEs in a row that need a question each."""
FAILED_TTL = 2.0
"""Seconds for which nothing is asked again that could not be answered."""
STALE_TTL = 30.0
"""Seconds for which an old answer is used before somebody is asked again (RFC 8767 4)."""
STALE_AFTER = 1.5
"""Seconds after which an old answer is better than to wait on; half of the time there is, if that is less."""
STALE_AT_ONCE = 0.1
"""The same while no name server is known to answer."""
LOOSE_TTL = 5.0
"""Seconds for a negative answer without SOA, which should not be kept at all, and would be asked for by every call."""


class Lookup:
    """One event loop's."""

    def __init__(
        self,
        setup: DnsSetup,
        ask: Ask,
        now: Callable[[], float],
        nobody_answers: Callable[[], bool] = lambda: False,
    ) -> None:
        """`nobody_answers` says whether no name server is known to answer now."""
        self._setup = setup
        self._ask = ask
        self._now = now
        self._nobody_answers = nobody_answers
        self._answers: Cache[Key, Answer] = Cache(setup.cache)
        self._failures: Cache[Key, tuple[str, float]] = Cache(setup.cache)
        """What went wrong, and until when it is not tried again."""
        self._asked: dict[Key, asyncio.Task[Answer]] = {}
        self.old = 0
        """How often an answer past its time was used."""

    def __len__(self) -> int:
        return len(self._answers)

    async def __call__(self, name: str, kind: str, patience: float) -> Answer:
        """What there is, possibly stale. Raises NoAnswer if nothing is known within `patience` seconds."""
        key = name, kind
        now = self._now()
        known = self._answers.get(key)
        if known is not None:
            self._answers.used(key)
            if now < known.expires:
                return known
            if now >= known.expires + self._setup.stale:
                known = None
        failed = self._failures.get(key)
        if failed is not None and now < failed[1]:
            if known is not None:
                return self._old(key, known, failed[1])
            raise NoAnswer(failed[0])
        task = self._asked.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._find(key))
            self._asked[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        if known is not None:
            patience = min(STALE_AT_ONCE if self._nobody_answers() else STALE_AFTER, patience / 2)
        # Not awaited itself: whoever stops waiting must not end it for others.
        await asyncio.wait({task}, timeout=patience)
        if task.done() and not task.cancelled():
            error = task.exception()
            if error is None:
                return task.result()
            if known is None:
                raise NoAnswer(str(error)) from error
        elif known is None:
            raise NoAnswer("no answer in time")
        return self._old(key, known, self._now() + STALE_TTL)

    def forget(self) -> None:
        """Everything that is known; questions in flight go on."""
        self._answers.clear()
        self._failures.clear()

    def close(self) -> None:
        """End what is in flight; who waits for it gets NoAnswer."""
        for task in self._asked.values():
            task.cancel()

    def _old(self, key: Key, known: Answer, until: float) -> Answer:
        """An answer past its time, which is not asked for again before `until`."""
        self._failures.put(key, ("no answer in time", until))
        self.old += 1
        return replace(known, expires=until, stale=True)

    async def _find(self, key: Key) -> Answer:
        name, kind = key
        setup = self._setup
        ttl = setup.max_ttl
        loop = asyncio.get_running_loop()
        end = loop.time() + setup.timeout
        for _ in range(ALIASES):
            said = await self._ask(name, kind, end - loop.time())
            ttl = min(ttl, self._ttl(said))
            if said.alias is None:
                answer = Answer(said.records, self._now() + ttl)
                self._answers.put(key, answer)
                self._failures.drop(key)
                return answer
            name = said.alias
        raise NoAnswer(f"more than {ALIASES} CNAMEs in a row")

    def _ttl(self, said: Said) -> float:
        setup = self._setup
        ttl = LOOSE_TTL if said.ttl is None else said.ttl
        if not said.records and said.alias is None:
            ttl = min(ttl, setup.negative_ttl)
        return max(ttl, setup.min_ttl)

    def _done(self, key: Key, task: asyncio.Task[Answer]) -> None:
        self._asked.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, NoAnswer):
                log.error("%s %s cannot be looked up", *key, exc_info=error)
            until = self._now() + FAILED_TTL
            if (known := self._failures.get(key)) is None or known[1] < until:
                self._failures.put(key, (str(error), until))
