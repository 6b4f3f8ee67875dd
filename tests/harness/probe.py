"""Asks a server OPTIONS without pause, and says afterwards when it was not there."""

from __future__ import annotations

import secrets
import selectors
import threading
import time
from dataclasses import dataclass
from types import TracebackType

from .phone import Phone
from .wire import Message


@dataclass
class Probe:
    sent: float
    answered: float | None = None


class Prober:
    """OPTIONS with fresh Call-IDs from 16 sockets, one every `interval` seconds, each sent once.

    Call-IDs and ports spread them over workers, whoever reads and whoever owns.
    """

    def __init__(self, server: tuple[str, int], interval: float = 0.01, grace: float = 1.0) -> None:
        self.grace = grace
        self.probes: list[Probe] = []
        self._interval = interval
        self._phones = [Phone(server) for _ in range(16)]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join(5)
        for phone in self._phones:
            phone.socket.close()

    def _run(self) -> None:
        waiting: dict[str, Probe] = {}
        with selectors.DefaultSelector() as selector:
            for phone in self._phones:
                selector.register(phone.socket, selectors.EVENT_READ, phone)
            begun = time.monotonic()
            until = None
            while until is None or time.monotonic() < until:
                if self._ending.is_set() and until is None:
                    until = time.monotonic() + self.grace
                due = begun + len(self.probes) * self._interval
                if until is None and time.monotonic() >= due:
                    phone = self._phones[len(self.probes) % len(self._phones)]
                    call_id = secrets.token_hex(8)
                    host, port = phone.server
                    probe = waiting[call_id] = Probe(time.monotonic())
                    self.probes.append(probe)
                    phone.send(phone.request("OPTIONS", f"sip:{host}:{port}", call_id=call_id))
                for key, _ in selector.select(max(0.0, min(0.05, due + self._interval - time.monotonic()))):
                    answer: Message | None = key.data.receive(0)
                    if answer and answer.status == 200 and (known := waiting.pop(answer.call_id, None)):
                        known.answered = time.monotonic()

    def outage(self, since: float) -> float:
        """How long some requests were not served after `since` (monotonic seconds): until the last one that never got
        an answer was sent, or the longest time one waited for its answer, whichever is more."""
        later = [probe for probe in self.probes if probe.sent >= since]
        lost = [probe.sent - since for probe in later if probe.answered is None and probe.sent < self._settled()]
        return max([*lost, *(probe.answered - probe.sent for probe in later if probe.answered)], default=0.0)

    def answered_share(self, since: float, until: float) -> float:
        """Share of the probes sent in a time span that were answered."""
        span = [probe for probe in self.probes if since <= probe.sent <= until]
        return sum(probe.answered is not None for probe in span) / len(span) if span else 1.0

    def _settled(self) -> float:
        """Probes sent before this have had their time to be answered."""
        return time.monotonic() - self.grace
