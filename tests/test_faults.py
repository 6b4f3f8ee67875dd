"""kill -9 of a worker, of the state process, of the master, and a full disk, under SIPp's load.

1. A worker dies: the others go on, it is back in under a second, confirmed calls end with their BYE.
2. What rings on it at that moment may be lost; the share is measured and printed at the end of the run.
3. The state process dies: calls go on, REGISTER recovers, nothing acknowledged is lost.
4. The master dies: its children are gone in a second, and a restart serves at once what was registered before.
5. The disk is full: registrations go on, and `ctl stats` says that durability is lost.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from harness import Outcome, Phone, Server, Sipp, count, requires_peer
from harness.probe import Prober
from harness.report import measured
from harness.sipp import PATIENT
from harness.stage import ALICE, BOB

HOST = "127.0.0.4"


@dataclass
class Load:
    """Calls at a steady rate, SIPp at both ends. `ring` and `hold` are milliseconds."""

    server: Server
    rate: int = 100
    seconds: float = 4
    ring: int = 0
    hold: int = 500
    outcome: Outcome | None = None

    @property
    def calls(self) -> int:
        return int(self.rate * self.seconds)

    @contextlib.contextmanager
    def running(self) -> Iterator[Load]:
        """Start both ends; afterwards wait for the caller's and put what came of it in `outcome`."""
        bob = Sipp("answer.xml", host=BOB, calls=None, trace=False, timeout=120, linger=1000)
        bob.options = (*PATIENT, "-d", str(self.ring))
        bob.keys = {"contact": f"{BOB}:{bob.port}"}
        bob.start().listening()
        with Phone(self.server.address) as phone:
            answer = phone.register(f"bob@{HOST}", f"sip:bob@{BOB}:{bob.port}")
            assert answer and answer.status == 200, answer
        alice = Sipp("call.xml", self.server.address, host=ALICE, calls=self.calls, rate=self.rate, trace=False)
        alice.timeout = self.seconds + 40
        alice.options = (*PATIENT, "-d", str(self.hold), "-recv_timeout", str(self.ring + 2500))
        hostport = self.server.hostport
        alice.keys = {"proxy": hostport, "home": HOST, "away": hostport, "contact": f"{ALICE}:{alice.port}"}
        alice.rows = [("alice", "", "bob")]
        alice.start()
        try:
            yield self
            self.outcome = alice.wait()
        finally:
            alice.stop()
            bob.stop()

    @property
    def failed(self) -> int:
        assert self.outcome
        return self.calls - count(self.outcome, "Successful call")


def _kill(pid: int) -> float:
    """SIGKILL now; the time it was."""
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def _pids(server: Server, kind: str) -> list[int]:
    return sorted(pid for pid, name in server.children().items() if name == kind)


def _wait(condition: str, test: object, timeout: float) -> float:
    """Poll `test` until it is true; seconds it took. Raises AssertionError naming the condition if it never is."""
    assert callable(test)
    begun = time.monotonic()
    while not test():
        assert time.monotonic() - begun < timeout, f"not in {timeout} s: {condition}"
        time.sleep(0.02)
    return time.monotonic() - begun


def _worker_dies(load: Load, kills: int, apart: float = 2.0) -> Prober:
    """Kill a worker in the middle of a load, `kills` times; checks what must hold for each death."""
    server = load.server
    with load.running(), Prober(server.address) as prober:
        for round in range(kills):
            time.sleep(apart)
            before = _pids(server, "worker")
            victim = before[round % len(before)]
            killed = _kill(victim)
            _wait("a new worker", lambda before=before, victim=victim: _replaced(server, before, victim), 3)
            time.sleep(1.2)
            others = [pid for pid in before if pid != victim]
            assert set(others) <= set(_pids(server, "worker")), "another worker died with it"
            outage = prober.outage(killed)
            measured(f"worker killed at {load.rate} calls/s: all served again within {outage * 1000:.0f} ms")
            assert outage < 1.0, f"requests were unanswered for {outage:.2f} s"
            share = prober.answered_share(killed, killed + max(outage, 0.05))
            assert share > 0.2, f"while it was away only {share:.0%} were answered"
    return prober


def _replaced(server: Server, before: list[int], victim: int) -> bool:
    now = _pids(server, "worker")
    return victim not in now and len(now) == len(before)


@requires_peer("sipp")
def test_worker_killed_under_load() -> None:
    """Calls that were answered go on and end with their BYE; at most a few of those in the middle of it fail."""
    with Server(host=HOST, workers=3, timers={}, drain_timeout=1) as server:
        load = Load(server, rate=150, seconds=5, hold=800)
        _worker_dies(load, kills=1)
        measured(f"worker killed at {load.rate} calls/s: {load.failed} of {load.calls} calls failed")
        assert load.failed <= load.calls * 0.01
        assert server.stop() == 0


@requires_peer("sipp")
def test_worker_killed_while_calls_ring() -> None:
    """With two seconds of ringing no more is lost than what rang on the worker that died."""
    workers = 3
    with Server(host=HOST, workers=workers, timers={}, drain_timeout=1) as server:
        load = Load(server, rate=60, seconds=6, ring=2000, hold=500)
        _worker_dies(load, kills=1, apart=3)
        ringing = load.rate * 2
        share = load.failed / ringing
        measured(f"worker killed with {ringing} calls ringing on {workers} workers: {load.failed} lost ({share:.0%})")
        assert load.failed <= ringing / workers * 1.7
        assert server.stop() == 0


@pytest.mark.long
@requires_peer("sipp")
@pytest.mark.timeout(300)
def test_workers_killed_one_after_the_other() -> None:
    with Server(host=HOST, workers=4, timers={}, drain_timeout=1) as server:
        load = Load(server, rate=300, seconds=60, hold=1000)
        _worker_dies(load, kills=12, apart=3.5)
        measured(f"12 workers killed in 60 s at {load.rate} calls/s: {load.failed} of {load.calls} calls failed")
        assert load.failed <= load.calls * 0.005


def _state_dies(server: Server, moments: int, seed: int) -> None:
    """Register without pause, kill the state process at moments of its writing, and count what was acknowledged."""
    chance = random.Random(seed)
    acknowledged: set[str] = set()
    number = 0
    with Phone(server.address, timeout=6) as phone:
        for _ in range(moments):
            state = _pids(server, "state")[0]
            strike = time.monotonic() + chance.uniform(0.0, 0.12)
            while time.monotonic() < strike:
                number += 1
                user = f"r{number:05}"
                answer = phone.register(f"{user}@{HOST}", f"sip:{user}@127.0.0.9:5060", timeout=0.02)
                if answer and answer.status == 200:
                    acknowledged.add(f"{user}@{HOST}")
            _kill(state)
            begun = time.monotonic()
            while True:
                number += 1
                user = f"r{number:05}"
                answer = phone.register(f"{user}@{HOST}", f"sip:{user}@127.0.0.9:5060", timeout=1)
                if answer and answer.status == 200:
                    acknowledged.add(f"{user}@{HOST}")
                    break
                assert answer is None or (answer.status == 503 and answer.all("Retry-After")), str(answer)
                assert time.monotonic() - begun < 8, "REGISTER does not recover"
    measured(f"state process killed {moments} times: {len(acknowledged)} registrations acknowledged")
    kept = {contact["aor"] for contact in server.ctl("contacts")}
    assert acknowledged <= kept, f"acknowledged and lost: {sorted(acknowledged - kept)[:5]}"


@requires_peer("sipp")
def test_state_killed_under_load() -> None:
    """Calls to registered users need no state process; REGISTER comes back, and no 200 was a lie."""
    with Server(host=HOST, workers=2, timers={}, store="fastsip.db", drain_timeout=1) as server:
        load = Load(server, rate=100, seconds=5)
        with load.running():
            time.sleep(0.5)
            _state_dies(server, moments=4, seed=1)
        assert load.failed == 0, f"{load.failed} of {load.calls} calls failed while only the state process died"
        assert server.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(4))
def test_state_killed_at_many_moments(seed: int) -> None:
    with Server(host=HOST, workers=2, timers={}, store="fastsip.db", drain_timeout=1) as server:
        _state_dies(server, moments=40, seed=100 + seed)


def test_master_killed() -> None:
    """Its children end within a second; the next start has the port, the registrations and the keys."""
    with Server(host=HOST, workers=2, timers={}, store="fastsip.db", drain_timeout=1) as server:
        with Phone(server.address) as phone:
            for number in range(20):
                answer = phone.register(f"m{number}@{HOST}", f"sip:m{number}@127.0.0.9:5060")
                assert answer and answer.status == 200
        time.sleep(0.2)
        orphans = list(server.children())
        assert len(orphans) == 3
        server.kill()
        gone = _wait("children end with their master", lambda: not any(_alive(pid) for pid in orphans), 1.5)
        begun = time.monotonic()
        server.start()
        back = time.monotonic() - begun
        measured(f"master killed: children gone after {gone * 1000:.0f} ms")
        measured(f"master killed: serving again {back * 1000:.0f} ms after a start")
        assert gone < 1.0
        assert {contact["aor"] for contact in server.ctl("contacts")} == {f"m{number}@{HOST}" for number in range(20)}


def test_full_disk() -> None:
    """The store cannot grow: registrations are still accepted, and the server says that they would not survive."""
    with (
        Server(host=HOST, workers=1, timers={}, store="fastsip.db", drain_timeout=1) as server,
        Phone(server.address) as phone,
    ):
        _register_some(phone, "before", 5)
        state = _pids(server, "state")[0]
        _, hard = resource.prlimit(state, resource.RLIMIT_FSIZE)
        resource.prlimit(state, resource.RLIMIT_FSIZE, (8192, hard))
        _register_some(phone, "full", 200)
        _wait("ctl stats says so", lambda: server.stats()["durable"] is False, 5)
        resource.prlimit(state, resource.RLIMIT_FSIZE, (hard, hard))
        _register_some(phone, "after", 5)
        _wait("durable again", lambda: server.stats()["durable"] is True, 10)
        assert "survive" in server.log


def _register_some(phone: Phone, name: str, number: int) -> None:
    for index in range(number):
        user = f"{name}{index}"
        answer = phone.register(f"{user}@{HOST}", f"sip:{user}@127.0.0.9:5060")
        assert answer and answer.status == 200, f"{user}: {answer}"


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False
