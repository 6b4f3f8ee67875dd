"""OPTIONS to clients behind a NAT who registered by UDP, so that their NATs keep them reachable: one thread in a
server, in its first worker. They leave by the socket the REGISTER came to, spread over the period; answers are counted
where they come in (`pings_answered`) and change nothing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence

from fastsip._control import ControlView
from fastsip._location import RECORD_BINDINGS, SegmentReader, datagram_flows
from fastsip.launch import ListenerSetup

log = logging.getLogger("fastsip.pinger")

JOIN = 1.0
TICK = 0.05
"""Seconds between two looks at some of the bindings."""


class Pinger:
    """What is sent to whom; `look` sends to those in one part of the segment. Belongs to one thread."""

    def __init__(self, reader: SegmentReader, control: ControlView, worker: int, listeners: Sequence[ListenerSetup]):
        self._reader = reader
        self._control = control
        self._worker = worker
        self._places = {one.index: one for one in listeners if one.transport == "udp"}
        self._sockets: dict[int, socket.socket] = {}
        with contextlib.ExitStack() as undo:  # all of them or none
            for index, one in self._places.items():
                self._sockets[index] = undo.enter_context(socket.socket(fileno=os.dup(one.fd)))
            undo.pop_all()
        self._cursor: int | None = 0

    def look(self, limit: int) -> bool:
        """At about so many records; whether there are more in this round."""
        try:
            self._cursor, found = self._reader.scan(self._cursor or 0, limit, RECORD_BINDINGS)
        except BlockingIOError:
            return True  # written to just now
        now = time.time_ns() // 1_000_000
        for aor, value in found:
            for uri, family, address, port, listener in datagram_flows(value, now):
                if listener in self._sockets:
                    host = str(ipaddress.ip_address(address[:4] if family == 4 else address))
                    with contextlib.suppress(OSError):
                        self._ping(listener, aor, uri, (host, port))
        return self._cursor is not None

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()

    def _ping(self, listener: int, aor: bytes, uri: bytes, address: tuple[str, int]) -> None:
        """Raises OSError: no way leads there, or no descriptor is free."""
        place = self._places[listener]
        host = place.advertise or place.host
        if place.wildcard and not place.advertise:
            host = _towards(address)
        elif place.advertise and place.advertise.count(":") == 1:
            host = place.advertise.partition(":")[0]
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        tag = secrets.token_hex(8)
        domain = aor.rpartition(b"@")[2]
        text = b"\r\n".join(
            (
                b"OPTIONS %b SIP/2.0" % uri.partition(b"?")[0],
                b"Via: SIP/2.0/UDP %b:%d;rport;branch=z9hG4bK-ping-%b" % (host.encode(), place.port, tag.encode()),
                b"Max-Forwards: 1",
                b"From: <sip:%b>;tag=%b" % (domain, tag[:8].encode()),
                b"To: <sip:%b>" % aor,
                b"Call-ID: %b@ping" % tag.encode(),
                b"CSeq: 1 OPTIONS",
                b"Content-Length: 0\r\n\r\n",
            )
        )
        self._sockets[listener].sendto(text, address)
        self._control.count_ping(self._worker)


class PingerThread:
    """Pings from its start until `end`. Belongs to the service thread."""

    def __init__(self, pinger: Pinger, records: SegmentReader, period: float) -> None:
        self.period = period
        self._pinger = pinger
        self._records = records
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastsip pinger", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join(JOIN)

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._round()
            except Exception:
                log.exception("a round of pings ends")
                self._ending.wait(max(self.period, 1.0))
        self._pinger.close()

    def _round(self) -> None:
        """Everybody once, in about nine tenths of the period."""
        began, more = time.monotonic(), self.period > 0
        while more and not self._ending.wait(TICK):
            more = self._pinger.look(int(len(self._records) * TICK / max(self.period * 0.9, TICK)) + 1)
        self._ending.wait(max(began + (self.period or 1.0) - time.monotonic(), TICK))


def _towards(address: tuple[str, int]) -> str:
    """Our address on the way there; nothing is sent."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])
