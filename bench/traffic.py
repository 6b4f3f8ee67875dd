"""Calls, registrations and what else a server under test is given: two engines of `fastsip load`, callers and callees.

Both run in threads of this process, open loop with Poisson arrivals, so that a slow server is not spared.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from measure import ROOT
from msgspec import structs
from servers import CALLEE, CALLER, HOST, PASSWORD, Target

sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []

from fastsip import _load  # noqa: E402
from fastsip.launch import TlsSetup  # noqa: E402
from fastsip.load.histogram import Histogram  # noqa: E402
from fastsip.load.setup import Answer, EngineSetup, Scenario, Source, Step, User  # noqa: E402
from fastsip.sockets import bind_stream, bind_udp  # noqa: E402

PATIENCE = 10.0
"""Seconds after the last arrival; what is not over then is cut off and counts as failed."""
REGISTERING = 5_000
"""Registrations per second before the work."""
BODY = 130
"""Bytes of SDP, which makes an INVITE of about 500."""
QUANTILES = (50, 90, 99, 99.9)


@dataclass(frozen=True)
class Outcome:
    """What one run of the engines came to. Times are milliseconds."""

    begun: int
    done: int
    seconds: float
    failures: dict[str, int]
    retransmissions: int
    dropped: int
    """Datagrams the generator itself lost."""
    late: float
    """p99 of how much later than its time work began."""
    busy: float
    """CPUs used by the busier of the two engines."""
    cpu: float
    """Seconds of CPU of both."""
    quantiles: dict[str, dict[float, float]] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    answering: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        return self.begun - self.done


class Phones:
    """Sockets of callers and callees, `peers` of each: on consecutive ports, with `spread` on addresses of their own.

    `behind` is the address both sides say they have: that of a forwarder which knows no SIP, so that what they would
    send each other directly goes there too. By TCP callers have so many `connections`, and a server opens its own to
    the callees: their Contact says where and by what.
    """

    def __init__(
        self,
        users: int,
        peers: int = 1,
        spread: bool = False,
        behind: tuple[str, int] | None = None,
        transport: str = "udp",
        connections: int = 0,
        tls: TlsSetup | None = None,
    ) -> None:
        self.transport, self.connections, self.tls = transport, connections, tls
        self.users = [f"user{number}" for number in range(users)]
        self.behind = behind
        self._sockets: list[socket.socket] = []
        self.callers = self._side(CALLER, peers, spread)
        self.callees = self._side(CALLEE, peers, spread)

    def _side(self, host: str, peers: int, spread: bool) -> list[Source]:
        if spread:
            sock = self._keep(bind_udp("0.0.0.0", 0))
            network = host.rpartition(".")[2]
            addresses = [f"127.{network}.{number // 250}.{number % 250 + 1}" for number in range(peers)]
            return [Source(sock.fileno(), "0.0.0.0", sock.getsockname()[1], addresses)]
        transport = cast(Literal["udp", "tcp", "tls"], self.transport)
        return [
            Source(sock.fileno(), host, sock.getsockname()[1], advertise=self.behind, transport=transport)
            for sock in self._consecutive(host, peers)
        ]

    def _consecutive(self, host: str, peers: int) -> list[socket.socket]:
        """Bound to ports that follow each other; the callers' first is even and the callees' odd, so that a forwarder
        that shares senders out by their port gives each of its processes one side."""
        for _ in range(100):
            first = 20_000 + int.from_bytes(os.urandom(2)) % 6_000 * 2 + (host == CALLEE)
            made: list[socket.socket] = []
            try:
                for number in range(peers):
                    made.append(self._bound(host, first + number))
            except OSError:
                for sock in made:
                    sock.close()
                continue
            return [self._keep(sock) for sock in made]
        raise OSError(f"no {peers} free ports in a row at {host}")

    def _bound(self, host: str, port: int) -> socket.socket:
        return bind_udp(host, port) if self.transport == "udp" else bind_stream(host, port)

    def _keep(self, sock: socket.socket) -> socket.socket:
        self._sockets.append(sock)
        return sock

    @property
    def sides(self) -> list[str]:
        """Callers and callees as the forwarder wants them: address, first port and how many."""
        names = [sock.getsockname() for sock in self._sockets]
        ports = {host: sorted(port for name, port in names if name == host) for host in (CALLER, CALLEE)}
        return [f"{host}:{mine[0]}:{len(mine)}" for host, mine in ports.items()]

    def __enter__(self) -> Phones:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()

    def register(self, target: Target) -> None:
        """All users, from where the callees answer; by UDP, also where they answer by TCP, so that the server has no
        connection to them yet. Raises RuntimeError if the server does not take them."""
        sources, contact = self.callees, ""
        if self.transport != "udp":
            sock = self._keep(bind_udp(CALLEE, 0))
            sources = [Source(sock.fileno(), CALLEE, sock.getsockname()[1])]
            contact = f"{CALLEE}:{self.callees[0].port};transport={self.transport}"
        setup = EngineSetup(
            sources=sources,
            target=target.address,
            scenarios=[Scenario("register", contact=contact)],
            callers=self._people(),
            plan=[Step(0, REGISTERING)],
            poisson=False,
            count=len(self.users),
        )
        engine = _load.Engine(setup)
        _bounded(engine, len(self.users) / REGISTERING + PATIENCE)
        found = engine.snapshot(False)
        engine.close()
        if found.counters["done"] != len(self.users):
            raise RuntimeError(f"the server does not take registrations: {found.failures}\n{target.log}")

    def _people(self) -> list[User]:
        return [User(f"sip:{user}@{HOST}", user, PASSWORD) for user in self.users]

    def play(
        self,
        target: tuple[str, int],
        rate: float,
        seconds: float,
        scenarios: Sequence[Scenario],
        answer: Answer | None = None,
        seed: int = 1,
        on_tick: Any = None,
        gather: int = 0,
    ) -> Outcome:
        """Work at `rate` for `seconds`, and wait for its end. `on_tick` hears the elapsed seconds now and then. With
        `gather` both engines turn at most once in so many microseconds."""
        callees = [f"sip:{user}@{target[0]}:{target[1]}" for user in self.users]
        answering = self.callees[0]
        if not answering.addresses:  # who registers in the middle of a mix is still called where calls are answered
            contact = f"{answering.host}:{answering.port}"
            scenarios = [structs.replace(one, contact=contact) if one.kind == "register" else one for one in scenarios]
        caller = _load.Engine(
            EngineSetup(
                sources=self.callers,
                target=target,
                scenarios=list(scenarios),
                callers=self._people(),
                callees=callees,
                plan=[Step(0, rate)],
                duration=seconds,
                connections=self.connections,
                seed=seed,
                gather=gather,
                tls=self.tls,
            )
        )
        answers = answer or Answer(body=BODY)
        callee = _load.Engine(EngineSetup(sources=self.callees, answer=answers, gather=gather, tls=self.tls))
        threads = [threading.Thread(target=engine.run, daemon=True) for engine in (callee, caller)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            while threads[1].is_alive() and (elapsed := time.monotonic() - begun) < seconds + PATIENCE:
                if on_tick:
                    on_tick(elapsed)
                threads[1].join(0.1)
        finally:
            caller.stop()
            threads[1].join()
            callee.stop()
            threads[0].join()
        found, other = caller.snapshot(), callee.snapshot(False)
        caller.close()
        callee.close()
        return _outcome(found, other, seconds)


def _outcome(found: _load.Snapshot, other: _load.Snapshot, seconds: float) -> Outcome:
    counters, answering = found.counters, other.counters
    again = sum(count for one in (counters, answering) for name, count in one.items() if name.startswith("again_"))
    again -= counters["again_in"] + answering["again_in"]
    quantiles = {}
    for name, recorded in found.histograms.items():
        if recorded.total:
            microseconds = Histogram.of([recorded]).percentiles(*QUANTILES)
            quantiles[name] = {what: each / 1000 for what, each in zip(QUANTILES, microseconds, strict=True)}
    elapsed = counters["elapsed_us"] / 1e6
    cpus = [counters["cpu_us"] / 1e6, answering["cpu_us"] / 1e6]
    return Outcome(
        begun=counters["offered"],
        done=counters["done"],
        seconds=min(seconds, elapsed) if elapsed else seconds,
        failures=dict(found.failures),
        retransmissions=again,
        dropped=sum(one[name] for one in (counters, answering) for name in ("dropped_socket", "dropped_send")),
        late=quantiles.get("lateness", {}).get(99, 0.0),
        busy=max(cpus) / elapsed if elapsed else 0.0,
        cpu=sum(cpus),
        quantiles=quantiles,
        counters=dict(counters),
        answering=dict(answering),
    )


def _bounded(engine: _load.Engine, seconds: float) -> None:
    """Run it to its end, but not for longer."""
    thread = threading.Thread(target=engine.run, daemon=True)
    thread.start()
    thread.join(seconds)
    engine.stop()
    thread.join()


@contextlib.contextmanager
def running(target: Target) -> Iterator[Target]:
    """The server started, and stopped whatever happens."""
    target.start()
    try:
        yield target
    finally:
        target.stop(check=False)
