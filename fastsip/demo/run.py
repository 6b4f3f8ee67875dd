"""The course of the demonstration, and its last word."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

import fastsip
from fastsip.admin import statistics
from fastsip.demo.ladder import Step, draw, transcript
from fastsip.demo.numbers import Tally, View
from fastsip.demo.phones import CallFailed, Desk, Phone
from fastsip.demo.server import DOMAIN, Server, ServerFailed
from fastsip.demo.transactions import Endpoint

DESKS = 8
"""Sockets that the phones share; Alice and Bob have one each."""
REGISTERING = 20
"""REGISTERs on their way at once."""
INTERRUPTED = 130
PROXY = "fastsip"


def main(duration: float = 10, users: int = 100, workers: int = 2, rate: float = 100, hold: float = 1.0,
         seed: int = 1, console: Console | None = None) -> int:
    """Start a server on loopback, register `users` phones with Digest, place `rate` calls a second for `duration`
    seconds (each talks `hold` seconds), draw one more call, and sum up.

    Returns 0 if every phone registered and no call failed, 130 after Ctrl-C, else 1. Raises ValueError for fewer than
    two users or a rate that is not positive.
    """
    if users < 2 or rate <= 0:
        raise ValueError("a call needs two users and a rate above zero")
    console = console or Console()
    demonstration = Demonstration(duration, users, workers, rate, hold, seed, console)
    try:
        return asyncio.run(demonstration.run())
    except KeyboardInterrupt:
        console.print("\ninterrupted; the server is stopped", style="yellow")
        return INTERRUPTED
    except ServerFailed as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1


class Demonstration:
    """One run. The parts follow each other in `run`; each is a method."""

    def __init__(self, duration: float, users: int, workers: int, rate: float, hold: float, seed: int,
                 console: Console) -> None:
        self.duration, self.rate, self.hold = duration, rate, hold
        self.workers = workers
        self.names = ["alice", "bob", *(f"user{number:03}" for number in range(3, users + 1))]
        self.console = console
        self.random = random.Random(seed)
        self.tally = Tally(users, duration)
        self.phones: list[Phone] = []
        self.endpoints: list[Endpoint] = []

    async def run(self) -> int:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(Server(self.names, self.workers))
            self.console.print(
                f"[bold]fastsip[/] serves {DOMAIN} on udp:{server.host}:{server.port} with {self.workers} workers; "
                f"{len(self.names)} users, Digest for every request", highlight=False, soft_wrap=True)
            await self._install(server, stack)
            with View(self.tally, self.console) as view:
                if await self._register(view):
                    await self._calls(view, server)
            drawn = await self._one_call()
            server.check()
            stats = await server.stats()
        self._summary(stats)
        fine = drawn and not self.tally.failed and self.tally.registered == self.tally.users and self.tally.done > 0
        return 0 if fine else 1

    async def _install(self, server: Server, stack: AsyncExitStack) -> None:
        """Put the phones on their sockets."""
        desks = []
        for _ in range(min(DESKS, max(1, len(self.names) - 2)) + 2):
            endpoint = await Endpoint.open(server.host)
            stack.callback(endpoint.close)
            self.endpoints.append(endpoint)
            desks.append(Desk(endpoint))
        for index, name in enumerate(self.names):
            desk = desks[index] if index < 2 else desks[2 + index % (len(desks) - 2)]
            phone = Phone(desk.endpoint, (server.host, server.port), name, DOMAIN, server.passwords[name],
                          ring=self.random.uniform(0.1, 0.3))
            self.phones.append(desk.add(phone))

    async def _register(self, view: View) -> bool:
        turn = asyncio.Semaphore(REGISTERING)

        async def register(phone: Phone) -> None:
            async with turn:
                try:
                    await phone.register()
                    self.tally.registered += 1
                except CallFailed as failure:
                    self.tally.failures[str(failure)] += 1

        await self._watch([asyncio.create_task(register(phone)) for phone in self.phones], view)
        return self.tally.registered > 1

    async def _calls(self, view: View, server: Server) -> None:
        """Offer calls at the rate, on time whatever became of the ones before."""
        loop = asyncio.get_running_loop()
        self.tally.start()
        start, calls = loop.time(), []
        callers = self.phones[2:] if len(self.phones) > 3 else self.phones
        for number in range(int(self.duration * self.rate)):
            await asyncio.sleep(max(0.0, start + number / self.rate - loop.time()))
            caller, callee = self.random.sample(callers, 2)
            calls.append(asyncio.create_task(self._call(caller, callee)))
            view.tick()
            if number % 100 == 0:
                server.check()
        self.tally.stop()
        await self._watch(calls, view)

    async def _call(self, caller: Phone, callee: Phone) -> None:
        self.tally.offered += 1
        try:
            outcome = await caller.call(callee.address, self.random.uniform(0.5, 1.5) * self.hold)
        except CallFailed as failure:
            self.tally.failures[str(failure)] += 1
        else:
            self.tally.finished(outcome.ringing)

    @staticmethod
    async def _watch(tasks: Sequence[asyncio.Task[None]], view: View) -> None:
        """Wait for tasks that end by themselves (every transaction has its timeout), showing the numbers meanwhile."""
        waiting: set[asyncio.Task[None]] = set(tasks)
        while waiting:
            ended, waiting = await asyncio.wait(waiting, timeout=0.1)
            for task in ended:
                task.result()
            view.tick()

    async def _one_call(self) -> bool:
        """Alice calls Bob once more, and everything on their two wires is drawn."""
        alice, bob = self.phones[:2]
        seen: list[Step] = []
        for phone, name in ((alice, "Alice"), (bob, "Bob")):
            phone.endpoint.trace = _tracer(seen, name)
        try:
            outcome = await alice.call(bob.address, min(self.hold, 0.5))
        except CallFailed as failure:
            self.tally.failures[f"the drawn call: {failure}"] += 1
            return False
        finally:
            alice.endpoint.trace = bob.endpoint.trace = None
        steps = [step for step in seen if fastsip.parse(step.data).call_id == outcome.call_id]
        width = min(max(self.console.width, 80), 110)
        self.console.print()
        self.console.print(Rule("one call"))
        self.console.print(Text(draw(steps, ("Alice", PROXY, "Bob"), width)), soft_wrap=True)
        self.console.print(Rule("its messages"))
        self.console.print(Text(transcript(steps, width)), soft_wrap=True)
        return True

    def _summary(self, stats: dict[str, Any]) -> None:
        tally = self.tally
        per_second = tally.offered / max(tally.elapsed, 1e-9)
        self.console.print(Rule("summary"))
        table = Table.grid(padding=(0, 2))
        table.add_row("registered", f"{tally.registered} of {tally.users} phones")
        table.add_row("calls", f"{tally.done} of {tally.offered} done, {per_second:.0f}/s")
        table.add_row("INVITE to 180", f"p50 {tally.setup(0.5)}, p99 {tally.setup(0.99)}")
        table.add_row("sent again", f"{sum(endpoint.repeated for endpoint in self.endpoints)} messages")
        for why, count in tally.failures.most_common(8):
            table.add_row("[red]failed[/]", f"{count} x {why}")
        self.console.print(table, highlight=False)
        self.console.print("\nwhat the server says (fastsip ctl stats):", highlight=False)
        self.console.print(_counters(stats), highlight=False)
        if tally.failed:
            self.console.print(f"\n[bold red]{tally.failed} failed[/]", highlight=False)
        else:
            self.console.print("\n[bold green]no call failed[/]")


def _counters(stats: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 1), header_style="dim")
    for heading in ("worker", *statistics.HEADINGS):
        table.add_column(heading, justify="right")
    rows = [(str(worker["worker"]), worker["counters"]) for worker in stats["workers"]]
    for name, counters in [*rows, ("all", stats["total"])]:
        table.add_row(name, *(str(number) for number in statistics.summary(counters)))
    return table


def _tracer(seen: list[Step], name: str) -> Callable[[float, bool, bytes], None]:
    def trace(at: float, incoming: bool, data: bytes) -> None:
        seen.append(Step(at, PROXY, name, data) if incoming else Step(at, name, PROXY, data))

    return trace
