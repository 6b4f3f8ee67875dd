"""A server's engine in virtual time: real datagrams on loopback, no process, no thread, no waiting.

    with Engine(domains=["example.com"]) as engine:
        bob = engine.device("bob")
        engine.bind("bob@example.com", f"sip:bob@{bob.address}")
        alice = engine.device("alice")
        alice.send(invite)
        engine.advance(30)              # half a minute passes, with everything that is due in it

The engine is the one that serves elsewhere, driven turn by turn. Time passes only in `advance`.
"""

from __future__ import annotations

import heapq
import itertools
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from fastsip import sockets
from fastsip._control import ControlView, control_format, control_size
from fastsip._digest import table_size
from fastsip._location import (
    RECORD_BINDINGS,
    RECORD_USER,
    SegmentWriter,
    encode_bindings,
    encode_user,
    segment_format,
    segment_size,
)
from fastsip._plan import encode_plan
from fastsip._targets import TargetTable, table_format
from fastsip._transport import SLOTS_SIZE
from fastsip._worker import Worker
from fastsip.auth import ha1_md5, ha1_sha256
from fastsip.launch import DnsSetup, ListenerSetup, PolicySetup, Settings, WorkerSetup
from fastsip.policy.plan import Plan
from fastsip.policy.request import Question

if TYPE_CHECKING:
    from fastsip._worker import Named, Wanted

SETTINGS = Settings(
    domains=["example.com"],
    listen=[],
    realm=None,
    required=[],
    algorithms=["SHA-256", "MD5"],
    trusted=[],
    open_relay=True,
    record_route=True,
    udp_max=1300,
    min_expires=60,
    max_expires=3600,
    max_contacts=10,
    t1=500,
    t2=4000,
    t4=5000,
    timer_c=181_000,
    transactions=100_000,
    drain_timeout=5000,
)

EPOCH = 1_800_000_000
"""Unix time when virtual time begins."""

CLOCK = 1 << 20
"""Milliseconds on the engine's own clock at that time."""

LARGEST_DATAGRAM = 65535
TURNS_AT_MOST = 10_000
"""Between two moments: a loop of messages that no time passes in is an error of the test."""


class Device:
    """A UDP socket on loopback. What it receives is kept with the second it came at, and given to `on_message`."""

    def __init__(self, engine: Engine, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.engine = engine
        self.name = name
        self.received: list[tuple[float, str]] = []
        self.on_message: Callable[[str], None] | None = None
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind((host, port))
        self._socket.setblocking(False)
        self.host, self.port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        """Host and port, as in a URI."""

    def send(self, message: str | bytes) -> None:
        """Send to the engine, which sees it when time is let pass, be it none."""
        data = message if isinstance(message, bytes) else message.encode("utf-8", "surrogateescape")
        self._socket.sendto(data, self.engine.listening)

    def take(self) -> bool:
        """Receive one message if there is one."""
        try:
            length = self._socket.recv_into(self.engine.datagram)
        except BlockingIOError:
            return False
        text = self.engine.datagram[:length].decode("utf-8", "surrogateescape")
        self.received.append((self.engine.now, text))
        if self.on_message is not None:
            self.on_message(text)
        return True

    def close(self) -> None:
        self._socket.close()


class Engine:
    """One worker's engine. Keywords are fields of `fastsip.launch.Settings`; `asked` answers what the engine would ask
    a policy thread (a Plan, or None for "as without a policy"; `later` in place of it: `answer` says it)."""

    later = object()

    def __init__(
        self,
        asked: Callable[[Question], object] | None = None,
        names: Mapping[str, Sequence[Named]] | None = None,
        **settings: Any,
    ) -> None:
        """`names` are those there are, with their servers; one that has none does not exist, and one that is not there
        is not answered until `say` does; without it names are no next hops."""
        control, rings, slots, segment, nonces = (
            os.memfd_create(name) for name in ("control", "rings", "slots", "segment", "nonces")
        )
        os.ftruncate(control, control_size())
        control_format(control, 1, os.urandom(80))
        os.ftruncate(slots, SLOTS_SIZE)
        os.ftruncate(segment, segment_size())
        segment_format(segment, control)
        os.ftruncate(nonces, table_size())
        targets = os.memfd_create("targets")
        table_format(targets, 1)
        self._fds = [control, rings, slots, segment, nonces, targets, os.eventfd(0, os.EFD_NONBLOCK)]
        self.targets = TargetTable(targets)
        self.control = ControlView(control)
        self.segment = SegmentWriter(segment, control)
        self._listener = sockets.bind_udp("127.0.0.1", 0)
        self.listening: tuple[str, int] = self._listener.getsockname()[:2]
        self.address = f"{self.listening[0]}:{self.listening[1]}"
        self.worker = Worker(
            WorkerSetup(
                index=0,
                workers=1,
                incarnation=1,
                listeners=[ListenerSetup(self._listener.fileno(), 0, "udp", *self.listening)],
                control_fd=control,
                rings_fd=rings,
                slots_fd=slots,
                segment_fd=segment,
                nonces_fd=nonces,
                wake_fds=[self._fds[-1]],
                targets_fd=targets,
                clock=CLOCK,
                state_endpoint="",
                policy=PolicySetup(dns=DnsSetup() if names is not None else None),
                settings=msgspec.structs.replace(SETTINGS, **{"listen": [self.listening], **settings}),
            )
        )
        self.asked = asked
        self.names = dict(names or {})
        self.sought: list[str] = []
        """Names the engine had to ask for."""
        self.failed: list[tuple[str, int]] = []
        """Servers it says have failed."""
        self._unsaid: list[Wanted] = []
        self.now = 0.0
        """Seconds of virtual time."""
        self._ms = 0
        self.devices: list[Device] = []
        self.datagram = bytearray(LARGEST_DATAGRAM)
        """Where devices receive."""
        self._calendar: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._closed = False

    def device(self, name: str, host: str = "127.0.0.1", port: int = 0) -> Device:
        device = Device(self, name, host, port)
        self.devices.append(device)
        return device

    def bind(self, aor: str, *contacts: str | tuple[str, float], lifetime: float = 3600) -> None:
        """The bindings of an address-of-record: URIs, or URIs with their q, the last one registered last."""
        now = EPOCH * 1000 + self._ms
        source = (4, bytes([127, 0, 0, 1]) + bytes(12), 5060)
        bindings = []
        for number, contact in enumerate(contacts):
            uri, q = (contact, 1.0) if isinstance(contact, str) else contact
            until, since = now + round(lifetime * 1000), now + number
            bindings.append((uri.encode(), b"reg", b"", b"", round(q * 1000), 1, source, 1, 0, until, since, 0))
        self.segment.put(RECORD_BINDINGS, aor.encode(), encode_bindings(1, bindings))

    def user(self, aor: str, password: str, realm: str | None = None) -> None:
        """Somebody who can authenticate, in this realm or else his domain's."""
        name, _, domain = aor.partition("@")
        realm = realm or domain
        value = encode_user(ha1_md5(name, realm, password).encode(), ha1_sha256(name, realm, password).encode())
        self.segment.put(RECORD_USER, aor.encode(), value)

    def answer(self, token: int, plan: Plan | None) -> None:
        """What the policy says of a question that `asked` had returned `later` for."""
        self.worker.answer(token, encode_plan(plan) if plan is not None else None)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something when so much time has passed."""
        heapq.heappush(self._calendar, (self._ms + round(seconds * 1000), next(self._order), action))

    def settle(self) -> None:
        """Let everything happen that happens at this moment."""
        for _ in range(TURNS_AT_MOST):
            self._wait = self.worker.step(CLOCK + self._ms, EPOCH * 1000 + self._ms)
            busy = self._wait == 0
            for question in self.worker.take_questions():
                busy = True
                self._decide(Question(*question))
            for wanted in self.worker.take_names():
                busy = True
                self._seek(wanted)
            for device in self.devices:
                while device.take():
                    busy = True
            if not busy:
                return
        raise AssertionError("messages go round and round and no time passes")

    def advance(self, seconds: float) -> None:
        """Let time pass, from one thing that is due to the next."""
        end = self._ms + round(seconds * 1000)
        self.settle()
        while True:
            due = min(end, self._ms + max(1, self._wait))
            if self._calendar:
                due = min(due, max(self._ms, self._calendar[0][0]))
            self._ms = due
            self.now = due / 1000
            while self._calendar and self._calendar[0][0] <= self._ms:
                heapq.heappop(self._calendar)[2]()
                self.settle()
            self.settle()
            if self._ms >= end and not (self._calendar and self._calendar[0][0] <= self._ms):
                return

    def counters(self) -> dict[str, int]:
        """What the engine has counted; names as in `ctl stats`."""
        return self.control.counters(0)

    def close(self) -> dict[str, int]:
        """Give everything back; what was still live, all zero when nothing leaked."""
        if self._closed:
            return {}
        self._closed = True
        left = self.worker.close()
        for device in self.devices:
            device.close()
        self._listener.close()
        self.targets.close()
        for fd in self._fds:
            os.close(fd)
        return left

    def say(self, host: str, *servers: Named, lifetime: float = 60) -> None:
        """What a name is from now on: transport, address, port, tier, choice, weight of each of its servers."""
        self.names[host] = servers
        unsaid, self._unsaid = self._unsaid, []
        for wanted in unsaid:
            self._seek(wanted, lifetime, again=True)

    def _seek(self, wanted: Wanted, lifetime: float = 60, again: bool = False) -> None:
        key, host, port, _, _ = wanted
        if key is None:
            self.failed.append((host, port or 0))
            return
        if not again:
            self.sought.append(host)
        if host in self.names:
            self.worker.located(key, lifetime, self.names[host])
        else:
            self._unsaid.append(wanted)

    def _decide(self, question: Question) -> None:
        if question.kind not in (1, 2):
            if self.asked is not None:
                self.asked(question)
            return
        plan = self.asked(question) if self.asked is not None else None
        if plan is not Engine.later:
            assert plan is None or isinstance(plan, Plan)
            self.answer(question.token, plan)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Device]:
        return iter(self.devices)
