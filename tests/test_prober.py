"""The prober in virtual time, its loop, and OPTIONS on a real socket."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from routes_kit import gateway, target_table

from fastsip import parse
from fastsip._targets import DOWN, UP, WAITING, TargetTable
from fastsip.launch import GatewaySetup
from fastsip.routes.prober import Heard, Prober, Probing
from fastsip.routes.sender import OptionsSender

START = 1000.0


class World:
    """A prober and gateways that answer as a function of slot and time, in virtual time."""

    def __init__(self, answer: Callable[[int, float], Heard | None], *setups: GatewaySetup) -> None:
        self.table = target_table()
        self.table.assign([(one.name, one.weight, one.calls) for one in setups])
        self.setups = setups
        self.prober = Prober(self.table, Random(3))
        self.prober.follow(setups, START)
        self.answer = answer
        self.asked: list[tuple[float, int]] = []

    def run(self, until: float, look: Callable[[float], None] = lambda now: None) -> None:
        """From START on, in steps of 10 ms; an answer takes 5 ms, silence 4 s."""
        waiting: list[tuple[float, int]] = []
        for step in range(round((until - START) * 100)):
            now = START + step / 100
            look(now)
            self.prober.look(now)
            for slot in [slot for due, slot in waiting if due <= now]:
                self.prober.silent(slot, now)
            waiting = [one for one in waiting if one[0] > now]
            for setup in self.prober.due(now):
                self.asked.append((now, setup.slot))
                heard = self.answer(setup.slot, now)
                if heard is None:
                    waiting.append((now + setup.try_time, setup.slot))
                else:
                    self.prober.answered(setup.slot, heard, 0.005, now)

    def times(self, slot: int = 0) -> list[float]:
        return [round(now - START, 2) for now, asked in self.asked if asked == slot]


def test_well_gateways_are_asked_at_all_times_and_not_together() -> None:
    setups = [gateway(slot, f"g{slot}", probe=30.0) for slot in range(50)]
    world = World(lambda slot, now: Heard(200), *setups)
    world.run(START + 600)
    for slot in range(50):
        times = world.times(slot)
        assert 18 <= len(times) <= 22
        assert all(27 <= later - earlier <= 33 for earlier, later in itertools.pairwise(times))
    busiest = max(len([1 for now, _ in world.asked if begin <= now < begin + 1]) for begin in range(1500, 1600))
    assert busiest <= 6, "after some minutes they are spread over the interval"
    assert world.table.state(0, 1_100_000) == UP
    assert world.table.status(0)["probe_status"] == 200
    assert world.table.status(0)["probe_us"] == 5000


def test_a_dead_one_is_asked_after_longer_and_longer_and_no_call_has_to_try_it() -> None:
    world = World(lambda slot, now: None, gateway(0, "g0", probe=30.0))
    states: list[tuple[float, int]] = []
    world.run(START + 300, lambda now: states.append((now, world.table.state(0, round(now * 1000)))))
    assert world.times()[:7] == [0, 5, 11, 19, 31, 51, 85]
    assert world.times()[7:9] == [119, 153], "at most `probe`, after the four seconds it had"
    first = next(now for now, state in states if state == DOWN)
    assert abs(first - START - 15) < 0.02, "the third silence"
    assert all(state == DOWN for now, state in states if now > first + 0.01)


def test_one_that_comes_back_is_back_with_its_first_answer() -> None:
    world = World(lambda slot, now: Heard(404) if now > START + 60 else None, gateway(0, "g0", probe=20.0))
    world.run(START + 200)
    back = next(now for now, _ in world.asked if now > START + 60)
    assert back - START <= 60 + 20 + 4
    assert world.table.state(0, 1_200_000) == UP
    assert world.times()[-1] > 180, "and is asked as before"


def test_what_calls_find_dead_is_asked_at_once() -> None:
    world = World(lambda slot, now: None if now > START + 10 else Heard(200), gateway(0, "g0", probe=300.0))

    def calls(now: float) -> None:
        if now == START + 20:
            for _ in range(3):
                world.table.timeout(0, round(now * 1000))

    world.run(START + 30, calls)
    assert world.times() == [0, 20, 26], "without calls it would have been asked after five minutes"
    assert world.table.state(0, 1_030_000) == DOWN


def test_a_503_is_an_answer_and_its_retry_after_is_kept() -> None:
    world = World(lambda slot, now: Heard(503, 50) if now < START + 30 else Heard(200), gateway(0, "g0", probe=10.0))
    states: dict[float, int] = {}
    world.run(START + 100, lambda now: states.__setitem__(round(now - START), world.table.state(0, round(now * 1000))))
    assert world.times()[:2] == [0, 50]
    assert (states[30], states[60]) == (WAITING, UP)


def test_a_retry_after_that_a_call_brought_is_kept_too() -> None:
    world = World(lambda slot, now: Heard(200), gateway(0, "g0", probe=10.0))
    world.run(START + 5, lambda now: world.table.unavailable(0, 40, 1_005_000))
    world.prober.due(START + 20)
    assert world.prober.next_due() == pytest.approx(START + 45)


def test_gateways_come_and_go_with_a_reload() -> None:
    first, second = gateway(0, "g0", probe=10.0), gateway(1, "g1", probe=10.0)
    world = World(lambda slot, now: Heard(200), first, second)
    world.prober.due(START)
    world.prober.follow([second, gateway(2, "g2", probe=10.0), gateway(3, "g3", probe=0.0)], START + 5)
    world.prober.answered(0, Heard(200), 0.1, START + 5)
    world.prober.silent(0, START + 5)
    asked = []
    for now in range(1005, 1020):
        for setup in world.prober.due(now):
            asked.append(setup.name)
            world.prober.answered(setup.slot, Heard(200), 0.1, now)
    assert set(asked) == {"g1", "g2"}
    slow = gateway(2, "g2", probe=3600.0)
    world.prober.follow([slow], START + 30)
    due = world.prober.next_due()
    assert due is not None
    assert due <= START + 31, "one that was due soon stays so"
    world.prober.follow([], START + 30)
    assert world.prober.next_due() is None


class Answerer(threading.Thread):
    """A gateway: answers OPTIONS with the next of `statuses`, the last one again and again; None is silence."""

    def __init__(self, family: int, host: str, statuses: list[str | None]) -> None:
        super().__init__(daemon=True)
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.port = self.sock.getsockname()[1]
        self.statuses = statuses
        self.requests: list[tuple[bytes, Any]] = []
        self.start()

    def run(self) -> None:
        while True:
            try:
                data, source = self.sock.recvfrom(65_536)
            except OSError:
                return
            self.requests.append((data, source))
            status = self.statuses[min(len(self.requests), len(self.statuses)) - 1]
            if status is not None:
                head = data.split(b"\r\nMax-Forwards")[0].split(b"\r\n", 1)[1]
                rest = b"\r\n".join(line for line in data.split(b"\r\n") if line[:5] in (b"From:", b"Call-", b"CSeq:"))
                to = next(line for line in data.split(b"\r\n") if line.startswith(b"To:"))
                self.sock.sendto(
                    b"SIP/2.0 " + status.encode() + b"\r\n" + head + b"\r\n" + rest + b"\r\n" + to
                    + b";tag=9\r\nContent-Length: 0\r\n\r\n",
                    source,
                )  # fmt: skip

    def close(self) -> None:
        self.sock.close()


FAMILIES = [(socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "[::1]")]


@pytest.mark.parametrize("family, host, uri", FAMILIES)
def test_options_on_the_wire(family: int, host: str, uri: str) -> None:
    answerer = Answerer(family, host, ["100 Trying", "503 Busy\r\nRetry-After: 7 (lunch);duration=60", "200 OK"])

    async def ask() -> list[Heard | None]:
        sender = OptionsSender([("udp", host)])
        target = f"sip:{uri}:{answerer.port}"
        found = [await sender.send(0, target), await sender.send(0, target)]
        sender.close()
        return found

    assert asyncio.run(ask()) == [Heard(503, 7), Heard(200)]
    data, source = answerer.requests[0]
    request = parse(data)
    assert (request.method, str(request.uri), request.via.host) == ("OPTIONS", f"sip:{uri}:{answerer.port}", host)
    assert source[0] == host
    answerer.close()


def test_sending_where_nobody_is_and_to_a_name() -> None:
    async def ask() -> None:
        sender = OptionsSender([("udp", "0.0.0.0")])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sender.send(0, "sip:127.0.0.1:9"), 0.3)
        with pytest.raises(ValueError, match=r"gw1\.example\.com"):
            await sender.send(0, "sip:gw1.example.com")
        sender.close()

    asyncio.run(ask())


def test_the_loop_finds_a_gateway_dead_and_alive_again() -> None:
    answerer = Answerer(socket.AF_INET, "127.0.0.1", ["200 OK"])
    table = target_table()
    table.assign([("g0", 1, 0)])
    setup = gateway(0, "g0", uri=f"sip:127.0.0.1:{answerer.port}", probe=0.05, try_time=0.1)

    async def until(state: int) -> None:
        while table.state(0) != state:
            await asyncio.sleep(0.01)

    async def play(table: TargetTable) -> None:
        sender = OptionsSender([("udp", "127.0.0.1")])
        probing = Probing(table, [setup], sender.send)
        running = asyncio.create_task(probing.run())
        while table.status(0)["probe_status"] != 200:
            await asyncio.sleep(0.01)
        answerer.statuses = [None]
        await asyncio.wait_for(until(DOWN), 5)
        answerer.statuses = ["200 OK"]
        await asyncio.wait_for(until(UP), 5)
        probing.follow([])
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        sender.close()

    asyncio.run(play(table))
    answerer.close()


def test_who_cannot_be_asked_for_want_of_descriptors_is_not_silent() -> None:
    table = target_table()
    table.assign([("g0", 1, 0)])
    asked = []

    async def send(slot: int, uri: str) -> Heard | None:
        asked.append(uri)
        raise OSError(errno.EMFILE, "Too many open files")

    async def play() -> None:
        running = asyncio.create_task(Probing(table, [gateway(0, "g0", probe=0.05, try_time=0.1)], send).run())
        while len(asked) < 6:
            await asyncio.sleep(0.01)
        running.cancel()

    asyncio.run(asyncio.wait_for(play(), 5))
    assert table.state(0) == UP
