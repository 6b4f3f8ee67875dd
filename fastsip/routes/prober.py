"""Asking gateways how they are, with OPTIONS (RFC 3261 11): when each is due, and what an answer or silence means.

One prober serves all workers, through the target table. Any final response means that the gateway lives (11.2); of a
503 the Retry-After is kept. A well gateway is asked every `probe` seconds, a tenth of that more or less, so that many
of them are asked at all times and not at the same moment, and has `try_time` to answer. One that was silent is asked
again soon: after a second, then two, then four, at most `probe`; once it is down its time in the table ends after the
next question, so that no call has to try it while the prober lives. One that calls found dead is asked at once.

`Prober` knows no clock and no socket: `due` and `next_due` say when to ask whom, `asked`, `answered` and `silent` are
told what came of it. `Probing` is the asyncio loop around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import NamedTuple

import msgspec

from fastsip._targets import DOWN, ON_TRIAL, WAITING, TargetTable
from fastsip.descriptors import scarce
from fastsip.launch import GatewaySetup

log = logging.getLogger(__name__)

FIRST_AGAIN = 1.0
"""Seconds after the first silence."""
PACE = 0.02
"""Seconds between the first questions to two new gateways."""
SPREAD = 0.1
LOOK = 1.0
"""Seconds between looks at what calls have found out."""
MARGIN = 1.0
"""Seconds of a dead gateway's time in the table beyond the next answer."""


class Heard(NamedTuple):
    """A final response to an OPTIONS."""

    status: int
    retry_after: int = 0
    """Seconds; 0: it had none."""


Send = Callable[[int, str], Awaitable[Heard | None]]
"""Send an OPTIONS to the gateway of a slot and URI; its final response, or None if there was none, or nothing was
sent."""


class Probed(msgspec.Struct):
    """One gateway, as the prober sees it. Times are seconds of CLOCK_MONOTONIC."""

    setup: GatewaySetup
    due: float
    again: float = 0.0
    """What was waited after the last silence; 0 while it answers."""
    asking: bool = False
    why: str = ""
    """Why nothing came the last time, where that is known; it is told once."""


class Prober:
    """When whom to ask. One thread."""

    def __init__(self, table: TargetTable, random: Random | None = None) -> None:
        self._table = table
        self._random = random or Random()
        self._probed: dict[int, Probed] = {}
        self._queue: list[tuple[float, int]] = []

    def follow(self, gateways: Iterable[GatewaySetup], now: float) -> None:
        """These are the gateways now. Those that are new are asked one after another, from now on."""
        wanted = {gateway.slot: gateway for gateway in gateways if gateway.probe > 0}
        for slot in self._probed.keys() - wanted.keys():
            del self._probed[slot]
        new = [gateway for slot, gateway in wanted.items() if slot not in self._probed]
        for place, gateway in enumerate(new):
            self._probed[gateway.slot] = Probed(gateway, 0.0)
            self._at(gateway.slot, now + min(gateway.probe, PACE * place))
        for slot, gateway in wanted.items():
            probed = self._probed[slot]
            if probed.setup != gateway:
                probed.setup = gateway
                self._at(slot, min(probed.due, now + gateway.probe))

    def next_due(self) -> float | None:
        """When somebody is to be asked, None for never."""
        while self._queue:
            due, slot = self._queue[0]
            probed = self._probed.get(slot)
            if probed is not None and not probed.asking and probed.due == due:
                return due
            heapq.heappop(self._queue)
        return None

    def due(self, now: float) -> list[GatewaySetup]:
        """Whom to ask now; each must be told `answered` or `silent` before it comes again."""
        found = []
        while (due := self.next_due()) is not None and due <= now:
            _, slot = heapq.heappop(self._queue)
            probed = self._probed[slot]
            # A Retry-After may have come meanwhile, with a call: then this is one of the requests it does not want.
            if self._table.state(slot, _ms(now)) == WAITING:
                self._at(slot, max(self._table.free_at(slot) / 1000, now + 0.001))
                continue
            probed.asking = True
            found.append(probed.setup)
        return found

    def answered(self, slot: int, heard: Heard, took: float, now: float) -> None:
        """A final response came after `took` seconds."""
        probed = self._probed.get(slot)
        if probed is None:
            return
        was_down = self._table.state(slot, _ms(now)) in (DOWN, ON_TRIAL)
        if heard.status == 503:
            self._table.unavailable(slot, heard.retry_after, _ms(now))
        else:
            self._table.answered(slot, _ms(now))
        self._table.probed(slot, heard.status, took, _ms(now))
        if was_down:
            log.info("gateway %s answers again (%d)", probed.setup.name, heard.status)
        probed.asking, probed.again, probed.why = False, 0.0, ""
        spread = 1 + SPREAD * (2 * self._random.random() - 1)
        self._at(slot, max(now + probed.setup.probe * spread, self._table.free_at(slot) / 1000))

    def silent(self, slot: int, now: float, why: str = "") -> None:
        """Nothing came, or nothing could be sent."""
        probed = self._probed.get(slot)
        if probed is None:
            return
        probed.asking = False
        _tell(probed, why)
        probed.again = min(2 * probed.again or FIRST_AGAIN, probed.setup.probe)
        self._table.probed(slot, 0, 0.0, _ms(now))
        if self._table.probe_failed(slot, _ms(now + probed.again + probed.setup.try_time + MARGIN), _ms(now)):
            log.warning("gateway %s does not answer", probed.setup.name)
        self._at(slot, now + probed.again)

    def postponed(self, slot: int, now: float, why: str) -> None:
        """It could not be asked, which says nothing of it."""
        probed = self._probed.get(slot)
        if probed is not None:
            probed.asking = False
            _tell(probed, why)
            self._at(slot, now + min(FIRST_AGAIN, probed.setup.probe))

    def look(self, now: float) -> None:
        """See what calls have found out: one they found dead is asked at once."""
        for slot, probed in self._probed.items():
            if not probed.asking and not probed.again and self._table.state(slot, _ms(now)) == DOWN:
                probed.again = FIRST_AGAIN
                self._at(slot, now)

    def _at(self, slot: int, due: float) -> None:
        self._probed[slot].due = due
        heapq.heappush(self._queue, (due, slot))


def _tell(probed: Probed, why: str) -> None:
    """Once."""
    if why and why != probed.why:
        log.warning("gateway %s cannot be asked: %s", probed.setup.name, why)
    probed.why = why


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


class Probing:
    """Runs a `Prober` in an event loop."""

    def __init__(
        self,
        table: TargetTable,
        gateways: Iterable[GatewaySetup],
        send: Send,
        *,
        now: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        """`send` is asked for each OPTIONS; it may take as long as it likes, one at a time for each gateway."""
        self._prober = Prober(table, random)
        self._prober.follow(gateways, now())
        self._send = send
        self._now = now
        self._changed = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()

    def follow(self, gateways: Iterable[GatewaySetup]) -> None:
        """After a reload; in the loop's thread."""
        self._prober.follow(gateways, self._now())
        self._changed.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                now = self._now()
                self._prober.look(now)
                for gateway in self._prober.due(now):
                    task = asyncio.create_task(self._ask(gateway))
                    self._asking.add(task)
                    task.add_done_callback(self._asking.discard)
                due = self._prober.next_due()
                patience = min(LOOK, max(0.0, due - self._now())) if due is not None else LOOK
                self._changed.clear()
                # Not wait_for, which may lose a cancellation that comes together with the event (before Python 3.12).
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await self._changed.wait()
        finally:
            for task in self._asking:
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    async def _ask(self, gateway: GatewaySetup) -> None:
        begun, why = self._now(), ""
        try:
            async with asyncio.timeout(gateway.try_time):
                heard = await self._send(gateway.slot, gateway.uri)
        except TimeoutError:
            heard = None
        except Exception as error:
            heard, why = None, str(error) or type(error).__name__
            if scarce(error):
                self._prober.postponed(gateway.slot, self._now(), why)
                self._changed.set()
                return
        now = self._now()
        if heard is not None:
            self._prober.answered(gateway.slot, heard, now - begun, now)
        else:
            self._prober.silent(gateway.slot, now, why)
        self._changed.set()
