"""Plays flows: servers in a row, SIPp at both ends, many flows at the same time.

A test says which flow it wants with the `flow` mark and gets what the two ends saw as its `played` fixture. All flows
that were selected are played together when the first is asked for: they mostly wait for timers.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .ladder import Call, kinds, once
from .phone import Phone
from .server import Kamailio, Server
from .sipp import PATIENT, WAIT, Outcome, Sipp

ALICE, BOB = "127.0.0.11", "127.0.0.12"
TRUSTED_ALICE, TRUSTED_BOB, TRUSTED = "127.0.0.21", "127.0.0.22", "127.0.0.20/30"
"""Where phones of flows without Digest are: in a network the servers trust, so that such flows need no servers of their
own."""
ATLANTA, BILOXI = "127.0.0.2", "127.0.0.3"
"""Hosts of the two proxies, and at the same time the domains they are responsible for: there is no DNS here."""
PASSWORD = "secret"
USERS = 1000
SHORT, LONG = 110, 850
"""Seconds a test waits for its flow."""


@dataclass(frozen=True)
class House:
    """How the servers are set up: flows with equal houses share them."""

    hops: int = 1
    workers: int = 1
    record_route: bool = True
    realms: tuple[str, ...] = ()
    """A realm per proxy; with them Alice is a local user of every proxy."""
    transport: str = "udp"
    """Or tcp: of all that is sent."""

    def __str__(self) -> str:
        """A name for test ids, as in `two-4w-realms`."""
        words = ["one" if self.hops == 1 else "two", f"{self.workers}w"]
        words += ["realms"] if self.realms else []
        words += [self.transport] if self.transport != "udp" else []
        words += [] if self.record_route else ["no-record-route"]
        return "-".join(words)

    def servers(self, kind: type[Server]) -> list[Server]:
        """The proxies in the order a call from Alice meets them."""
        hosts = [ATLANTA, BILOXI][: self.hops]
        made = []
        for index, host in enumerate(hosts):
            domains = list(dict.fromkeys([host, hosts[0]])) if self.realms else [host]
            users = [(f"u{n:03}", PASSWORD, domain) for domain in domains for n in range(USERS)]
            made.append(
                kind(
                    host=host,
                    workers=self.workers,
                    domains=domains,
                    users=users,
                    required=("REGISTER", "INVITE"),
                    trusted=(TRUSTED,),
                    realm=self.realms[index] if self.realms else None,
                    record_route=self.record_route,
                    also=(self.transport,) if self.transport != "udp" else (),
                )
            )
        return made


@dataclass
class Scene:
    """One flow's share of a house: the running servers and users that no other flow has."""

    house: House
    servers: list[Server]
    users: list[str]
    challenged: bool = True

    @property
    def hosts(self) -> tuple[str, str]:
        """Where Alice and Bob are."""
        return (ALICE, BOB) if self.challenged else (TRUSTED_ALICE, TRUSTED_BOB)

    @property
    def first(self) -> Server:
        return self.servers[0]

    @property
    def last(self) -> Server:
        return self.servers[-1]

    @property
    def by(self) -> str:
        """What a URI says of the transport."""
        return f";transport={self.house.transport}" if self.house.transport != "udp" else ""

    @property
    def proxies(self) -> list[str]:
        return [server.hostport for server in self.servers]

    def keys(self, phone: Sipp) -> dict[str, str]:
        """What the scenario files call by name."""
        return {
            "proxy": self.first.hostport,
            "home": self.first.host,
            "away": self.last.hostport + self.by,
            "contact": f"{phone.host}:{phone.port}{self.by}",
            "direct": "no" if self.house.record_route else "yes",
        }

    @property
    def callee(self) -> str:
        return self.users[-1]

    def register(self, contact: tuple[str, int]) -> None:
        """Bind the callee to an address."""
        with Phone(self.last.address, host=self.hosts[1]) as phone:
            uri = f"sip:{self.callee}@{contact[0]}:{contact[1]}{self.by}"
            answer = phone.register(f"{self.callee}@{self.last.host}", uri, PASSWORD, timeout=5)
            assert answer and answer.status == 200, f"REGISTER of {self.callee}: {answer}"

    def rows(self, calls: int) -> list[tuple[str, ...]]:
        """Caller, her credentials and the callee of each call."""
        return [
            (caller, f"[authentication username={caller} password={PASSWORD}]", self.callee)
            for caller in self.users[:calls]
        ]

    def credentials_uri(self) -> tuple[str, str]:
        """SIPp's option for the digest-uri, one for a whole run: the Request-URI of a call to the callee."""
        return "-auth_uri", f"{self.callee}@{self.last.hostport}{self.by}"


@dataclass(frozen=True)
class Played:
    """What came of a flow."""

    scene: Scene
    alice: Outcome
    bob: Outcome
    others: tuple[Outcome, ...] = ()
    relays: tuple[Any, ...] = ()

    @cached_property
    def calls(self) -> list[Call]:
        """Every call, retransmissions taken out. Raises AssertionError if SIPp counted a failed one."""
        bob = self.bob.by_call()
        calls = [Call(once(seen), once(bob.get(call_id, []))) for call_id, seen in self.alice.by_call().items()]
        try:
            self.alice.check()
            self.bob.check()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{kinds(calls)}") from None
        return calls


@dataclass(frozen=True)
class Flow:
    """A call flow: what Alice plays, what Bob plays, how many calls, and in what house."""

    alice: str
    bob: str
    name: str = ""
    """Tells flows of one test apart."""
    long: bool = False
    """Left to `-m long`."""
    calls: int = 20
    pause: int = 0
    """Milliseconds of the scenario's <pause/>."""
    bob_pause: int | None = None
    challenged: bool = False
    """Whether the flow has Digest; without it the phones are where the servers trust them."""
    record_route: bool = True
    realms: tuple[str, ...] = ()
    hops: tuple[int, ...] = (1, 2)
    workers: tuple[int, ...] = (1, 4)
    transports: tuple[str, ...] = ("udp",)
    play: Callable[[Flow, Scene], Played] | None = field(default=None, compare=False)

    def houses(self) -> list[House]:
        return [
            House(hops, workers, self.record_route, self.realms, transport)
            for hops, workers, transport in itertools.product(self.hops, self.workers, self.transports)
        ]

    def run(self, scene: Scene) -> Played:
        return self.play(self, scene) if self.play else play_call(self, scene)


def play_call(flow: Flow, scene: Scene, **more_keys: str) -> Played:
    """Bob registers and waits, Alice calls."""
    alice_host, bob_host = scene.hosts
    transport = scene.house.transport
    bob = Sipp(flow.bob, host=bob_host, calls=flow.calls, transport=transport)
    bob_pause = flow.pause if flow.bob_pause is None else flow.bob_pause
    bob.keys, bob.options = scene.keys(bob), (*PATIENT, "-d", str(bob_pause))
    bob.start().listening()
    scene.register(bob.address)
    alice = Sipp(flow.alice, scene.first.address, host=alice_host, calls=flow.calls, transport=transport)
    alice.options = (*PATIENT, *WAIT, "-d", str(flow.pause), *scene.credentials_uri())
    alice.keys = {**scene.keys(alice), **more_keys}
    alice.rows = scene.rows(flow.calls)
    outcome = alice.start().wait()
    return Played(scene, outcome, bob.wait() if outcome.status == 0 else bob.stop())


class Stage:
    """Plays flows in the background, those with equal houses in the same servers."""

    def __init__(self, through: str = "fastsip") -> None:
        self.kind: type[Server] = Kamailio if through == "kamailio" else Server
        self._plays: dict[tuple[House, Flow], Future[Played]] = {}
        self._endings: dict[House, Future[None]] = {}
        self._houses = ThreadPoolExecutor(4)
        self._phones = threading.Semaphore(6)

    def announce(self, wanted: Iterable[tuple[House, Flow]]) -> None:
        """Start playing all of these."""
        by_house: dict[House, list[Flow]] = {}
        for house, flow in wanted:
            if (house, flow) not in self._plays:
                self._plays[house, flow] = Future()
                by_house.setdefault(house, []).append(flow)
        for house, flows in by_house.items():
            self._endings[house] = self._houses.submit(self._play_house, house, flows)

    def played(self, house: House, flow: Flow) -> Played:
        """What came of one flow. Raises what went wrong in playing it."""
        self.announce([(house, flow)])
        return self._plays[house, flow].result(LONG if flow.long else SHORT)

    def ended(self, house: House) -> None:
        """Wait until the house was quiet and its servers ended with 0. Raises AssertionError if they did not."""
        if house not in self._endings:
            self._endings[house] = self._houses.submit(self._play_house, house, [])
        self._endings[house].result(SHORT)

    def close(self) -> None:
        self._houses.shutdown(cancel_futures=True)

    def _play_house(self, house: House, flows: list[Flow]) -> None:
        servers = house.servers(self.kind)
        try:
            for server in servers:
                server.start()
        except BaseException as error:
            for flow in flows:
                self._plays[house, flow].set_exception(error)
            for server in servers:
                server.stop(check=False)
            raise
        free = iter(f"u{n:03}" for n in range(USERS))
        with ThreadPoolExecutor(len(flows) + 1) as pool:
            for flow in flows:
                users = list(itertools.islice(free, flow.calls + 1))
                scene = Scene(house, servers, users, flow.challenged)
                pool.submit(self._play, self._plays[house, flow], flow, scene)
        try:
            for server in servers:
                server.quiet()
                assert "started again" not in server.log, f"a worker died or hung meanwhile\n{server.log}"
        finally:
            for server in servers:
                server.stop()

    def _play(self, future: Future[Played], flow: Flow, scene: Scene) -> None:
        try:
            with self._phones:
                future.set_result(flow.run(scene))
        except BaseException as error:
            future.set_exception(error)
