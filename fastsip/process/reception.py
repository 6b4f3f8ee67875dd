"""Where WebSocket connections come in: accepted, asked what they want, and handed to the engine once they are open.

One thread of a worker does that for all WS and WSS listen addresses; TLS has its door (fastsip/_tls.pxd) in front, on
a thread of its own. Frames are the engine's business. A peer that is slow here costs others nothing: everything is
non-blocking, has a deadline, and so many unfinished ones are let in of one source. When all places are taken, or the
descriptors that are not left to the rest of the process, who has waited longest goes for a newcomer.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Sequence

from fastsip import _tls
from fastsip._worker import Worker
from fastsip.descriptors import scarce
from fastsip.launch import ListenerSetup
from fastsip.policy.complaints import Complaints
from fastsip.websocket import Answer, Opening, Rules

from .remarks import Remarks

log = logging.getLogger(__name__)

ACCEPTS = 64
"""Connections of one listen address taken in a turn."""
UNFINISHED = 1024
PER_SOURCE = 64
"""Of an IPv4 address or an IPv6 /64."""
CHUNK = 16384
TICK = 0.5
"""Seconds between two looks at deadlines."""
DEAF = 0.05
"""Seconds for which nobody is accepted where no descriptor is free."""


class Guest:
    """One connection whose opening handshake is under way."""

    def __init__(self, sock: socket.socket, secure: _tls.Connection | None, index: int, rules: Rules) -> None:
        self.socket, self.secure, self.index = sock, secure, index
        peer = sock.getpeername()
        self.remote: tuple[str, int] = (peer[0].partition("%")[0], peer[1])
        self.source = _source(self.remote[0])
        self.opening = Opening(rules, time.monotonic())

    def read(self) -> bytes | None:
        """What has come, b"" at the end, None for nothing yet."""
        if self.secure is not None:
            got = self.secure.read(CHUNK)
            if isinstance(got, bytes):
                return got
            return None if got in (-_tls.WANT_READ, -_tls.WANT_WRITE) else b""
        try:
            return self.socket.recv(CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def say(self, data: bytes) -> bool:
        """Whether the whole answer has left: it is short, and a socket that has sent nothing has room."""
        if self.secure is not None:
            return self.secure.write(data) == len(data)
        try:
            return self.socket.send(data) == len(data)
        except OSError:
            return False

    def lower(self) -> int:
        """The lowest descriptor it can have, which it has from now on."""
        low = os.dup(self.socket.fileno())
        if low < self.socket.fileno():
            self.socket.close()
            self.socket = socket.socket(fileno=low)
            if self.secure is not None:
                self.secure.moved(low)
        else:
            os.close(low)
        return self.socket.fileno()

    def end(self) -> None:
        if self.secure is not None:
            with contextlib.suppress(ValueError):
                self.secure.shutdown()
                self.secure.free()
        self.socket.close()


def _source(host: str) -> str:
    """What one peer has for nothing."""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    return str(address.ipv4_mapped or address.packed[:8])


class Entrance:
    """A listening socket, the engine's own descriptor."""

    def __init__(self, setup: ListenerSetup) -> None:
        self.setup = setup
        self.socket = socket.socket(fileno=setup.fd)


class Reception:
    """The thread of one worker. `begin` it once, `end` it once."""

    def __init__(self, engine: Worker, listeners: Sequence[ListenerSetup], rules: Rules) -> None:
        self._engine, self._rules, self._remarks = engine, rules, Remarks(log)
        self._listeners = [one for one in listeners if one.transport in ("ws", "wss")]
        self._guests: dict[int, Guest] = {}
        self._of: dict[str, dict[int, Guest]] = {}
        """The same by source; in both the one that came first in front."""
        self._refused = 0
        self._told = 0
        self._door: _tls.Door | None = None
        self._entrances: list[Entrance] = []
        self._deaf_until: float | None = None
        self._complaints = Complaints(log)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._threads = [threading.Thread(target=self._run, name="fastsip reception", daemon=True)]
        self._open()

    def _open(self) -> None:
        """All the descriptors it needs: later there may be none."""
        self._selector.register(self._wake, selectors.EVENT_READ, self._wake)
        contexts = self._engine.tls_contexts
        for one in self._listeners:
            if one.transport == "ws" or contexts is None:
                entrance = Entrance(one)
                self._entrances.append(entrance)
                self._selector.register(entrance.socket, selectors.EVENT_READ, entrance)
                continue
            if self._door is None:
                self._door = _tls.Door(contexts, web=True)
                self._selector.register(self._door.fileno(), selectors.EVENT_READ, self._door)
                self._threads.append(threading.Thread(target=self._door.run, name="fastsip wss door", daemon=True))
            self._door.listen(one.fd, one.index)

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Whoever is not let in yet is turned away."""
        os.eventfd_write(self._wake, 1)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(2)
                if thread.is_alive():
                    log.error("the reception does not end: its descriptors stay")
                    return
        for entrance in self._entrances:
            entrance.socket.detach()
        self._selector.close()
        os.close(self._wake)

    def _run(self) -> None:
        tick = 0.0
        while True:
            for key, _events in self._selector.select(TICK if self._deaf_until is None else DEAF):
                if key.data is self._wake:
                    self._close()
                    return
                self._serve(key.data)
            if self._refused != self._told:
                self._count()
            now = time.monotonic()
            if self._deaf_until is not None and now >= self._deaf_until:
                self._hear_again()
            if now >= tick:
                tick = now + TICK
                self._expire(now)
                if self._door is not None:
                    self._count()
                    for text in self._door.remarks():
                        log.info("%s", text)

    def _serve(self, what: Entrance | _tls.Door | Guest) -> None:
        """Whatever goes wrong with one of them, the others are served."""
        try:
            if isinstance(what, Guest):
                self._hear(what)
            elif isinstance(what, Entrance):
                self._accept(what)
            else:
                self._from_door(what)
        except Exception as error:
            self._complaints.failed("a WebSocket opening", error)
            if isinstance(what, Guest):
                self._leave(what)
            elif isinstance(what, Entrance):
                self._be_deaf()

    def _count(self) -> None:
        self._told = self._refused
        by_door = self._door.counters() if self._door is not None else {}
        failed = by_door.get("failed", 0) + by_door.get("timed_out", 0)
        refused = by_door.get("refused_source", 0) + by_door.get("refused_total", 0)
        self._engine.count_openings(self._refused, (by_door.get("done", 0), failed, refused))

    def _accept(self, entrance: Entrance) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, _address = entrance.socket.accept()
            except OSError as error:
                if scarce(error):
                    where = f"{entrance.setup.transport} at {entrance.setup.host}:{entrance.setup.port}"
                    self._complaints.warn(entrance, f"{where}: no descriptor is free: nobody is accepted")
                    self._be_deaf()
                return
            self._receive(sock, None, entrance.setup.index)

    def _be_deaf(self) -> None:
        """Who comes waits a little while nobody can be accepted."""
        if self._deaf_until is None:
            for one in self._entrances:
                self._selector.unregister(one.socket)
        self._deaf_until = time.monotonic() + DEAF

    def _hear_again(self) -> None:
        self._deaf_until = None
        for one in self._entrances:
            self._selector.register(one.socket, selectors.EVENT_READ, one)

    def _from_door(self, door: _tls.Door) -> None:
        for news in door.take():
            if news["kind"] == _tls.ACCEPTED:
                self._receive(socket.socket(fileno=news["fd"]), news["connection"], news["listener"])

    def _receive(self, sock: socket.socket, secure: _tls.Connection | None, index: int) -> None:
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            guest = Guest(sock, secure, index, self._rules)
        except OSError:
            sock.close()
            return
        if why := self._no_place(guest):
            self._refuse(guest, why)
            return
        try:
            self._selector.register(guest.socket, selectors.EVENT_READ, guest)
        except OSError as error:
            self._refuse(guest, str(error.strerror))
            return
        self._guests[guest.socket.fileno()] = guest
        self._of.setdefault(guest.source, {})[guest.socket.fileno()] = guest
        self._serve(guest)  # with TLS the request may have come already, and nobody would tell

    def _no_place(self, guest: Guest) -> str:
        """Why there is none for a newcomer, even if another goes for it; "" if there is."""
        if len(self._of.get(guest.source, ())) >= PER_SOURCE:
            return "too many openings from there are under way"
        if len(self._guests) >= UNFINISHED and not self._make_way():
            return "too many openings are under way"
        most = self._engine.fd_most(len(self._guests))
        if guest.socket.fileno() >= most and not (self._make_way() and guest.lower() < most):
            return "no descriptor is free"
        return ""

    def _make_way(self) -> bool:
        """The guest goes that has waited longest, of the source that has most: if what it asks has come meanwhile, to
        the engine."""
        if not self._guests:
            return False
        most = max(self._of.values(), key=lambda of: (len(of), -next(iter(of.values())).opening.deadline))
        guest = next(iter(most.values()))
        self._serve(guest)
        if self._is_here(guest):
            self._forget(guest)
            self._refuse(guest, "had to go for another")
        return True

    def _refuse(self, guest: Guest, why: str) -> None:
        self._refused += 1
        kind, (host, port) = "ws" if guest.secure is None else "wss", guest.remote
        self._complaints.warn(why, f"{kind} from {f'[{host}]' if ':' in host else host}:{port}: {why}")
        guest.end()

    def _is_here(self, guest: Guest) -> bool:
        return self._guests.get(guest.socket.fileno()) is guest

    def _hear(self, guest: Guest) -> None:
        if not self._is_here(guest):
            return  # it had to go before its turn came
        while (data := guest.read()) is not None:
            if not data:
                self._leave(guest)
                return
            answer = guest.opening.feed(data)
            if answer is not None:
                self._answer(guest, answer)
                return

    def _answer(self, guest: Guest, answer: Answer) -> None:
        said = guest.say(answer.response)
        if not (said and answer.accepted):
            if not answer.accepted:
                self._remarks.say(f"no WebSocket for {guest.remote[0]}: {answer.status}, {answer.reason}")
            self._leave(guest)
            return
        self._forget(guest)
        tls = guest.secure.give() if guest.secure is not None else 0
        if not self._engine.join(guest.socket.detach(), tls, guest.index, guest.remote, answer.rest):
            self._refused += 1

    def _expire(self, now: float) -> None:
        for guest in list(self._guests.values()):
            if (answer := guest.opening.expired(now)) is not None:
                guest.say(answer.response)
                self._leave(guest)

    def _forget(self, guest: Guest) -> None:
        if not self._is_here(guest):
            return
        self._selector.unregister(guest.socket)
        del self._guests[guest.socket.fileno()]
        of = self._of[guest.source]
        del of[guest.socket.fileno()]
        if not of:
            del self._of[guest.source]

    def _leave(self, guest: Guest) -> None:
        self._forget(guest)
        guest.end()

    def _close(self) -> None:
        for guest in list(self._guests.values()):
            self._leave(guest)
        if self._door is not None:
            self._door.stop()
