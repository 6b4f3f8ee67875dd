"""Random interleavings of one call to several phones, in virtual time, each from a seed.

    python tests/races.py 4711          # one of them as a ladder
    python tests/races.py 0 1000000     # so many, from that seed on

A call has one to four phones, registered or in a policy's plan, there with spare servers, which ring, answer, refuse,
redirect, decline or say nothing; a caller who may send again and give up; a policy that answers at once, later, never;
and a network that loses, doubles, delays and reorders. race_rules.py says what must hold.

Many calls share an engine and one socket: what is between them is the engine's, and time is cheap.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Callable

from race_rules import Broken, Witness

from fastsip.policy.plan import ANY, Outcome, Plan, Target, redirect, reject, step
from fastsip.policy.request import Question
from fastsip.testing import Engine

PHONES = 4
BATCH = 100
TIMER_C = 60.0
RING = 3.0
POLICY = 5.0
BOUND = 12 * (TIMER_C + 40) + 60
"""Seconds within which the caller has a final answer: recursion tries up to eight phones after those of the plan."""
NOWHERE = "sip:x@0.0.0.0:5060"
CALL_ID = re.compile(r"^Call-ID: (\S+)\r", re.MULTILINE)
PROVISIONAL = ("100 Trying", "180 Ringing", "183 Session Progress")
REFUSALS = ("302 Moved", "404 Not Found", "407 Who", "480 Gone", "486 Busy Here", "500 Broken", "503 Off", "600 Busy",
            "603 Decline")  # fmt: skip


class Call:
    """One call and everybody in it."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.seed = world, seed
        self.id = f"race-{seed}"
        self.dice = random.Random(seed)
        roll = self.dice.random
        self.loss = self.dice.choice((0, 0, 0, 0.1, 0.3))
        self.doubles = self.dice.choice((0, 0, 0.2))
        self.slow = self.dice.choice((0, 0.02, 0.6))
        self.phones = self.dice.randint(1, PHONES)
        breadth = self.dice.choice((60, 60, 60, 4, 2, 1))
        self.witness = Witness(breadth, RING)
        self.aor = self.dice.choice(("flat", "steps")) + str(self.phones)
        self.first = self.plan() if roll() < 0.6 else None
        self.second = self.plan() if roll() < 0.5 else None
        self.delay = self.dice.choice((0, 0, 0, 0.01, 0.4, 2, 4.999, 5, 7, -1))
        """Of the policy's answers; below 0 it never answers."""
        self.text = self.request("INVITE", f"Max-Breadth: {breadth}" if breadth != 60 or roll() < 0.3 else "")
        self.heard: set[str] = set()
        """Responses the caller has, by CSeq method."""
        self.told: dict[str, str] = {}
        """Final responses of phones, by branch."""
        self.acked: set[str] = set()
        self.cancel_at = self.dice.choice((0.001, 0.1, 0.5, 1, 2, 3, 3.001, 5, 8)) if roll() < 0.4 else 0.0

    def start(self) -> None:
        self.again(self.text, "INVITE", 0.5)
        if self.cancel_at:
            self.world.after(self.cancel_at, self.give_up)

    # The caller

    def request(self, method: str, extra: str = "") -> str:
        net = self.world.net.address
        lines = [
            f"{method} sip:{self.aor}@example.com SIP/2.0",
            f"Via: SIP/2.0/UDP {net};branch=z9hG4bK-{self.id}",
            "Max-Forwards: 70",
            "From: <sip:a@example.com>;tag=a",
            "To: <sip:b@example.com>",
            f"Call-ID: {self.id}",
            f"CSeq: 1 {method}",
            *([extra] if extra else []),
            "Content-Length: 0",
        ]
        return "\r\n".join([*lines, "", ""])

    def again(self, text: str, method: str, interval: float) -> None:
        """Timers A and E, roughly: until there is a response, for 32 seconds."""
        if method in self.heard or interval > 17:
            return
        self.to_engine(text, self.witness.request_in)
        self.world.after(interval, lambda: self.again(text, method, 2 * interval))

    def give_up(self) -> None:
        if "final" in self.heard:
            return
        if "INVITE" in self.heard or self.dice.random() < 0.2:
            self.again(self.request("CANCEL"), "CANCEL", 0.5)
        else:
            self.world.after(0.3, self.give_up)

    def caller_hears(self, text: str) -> None:
        self.heard.add("CANCEL" if "CSeq: 1 CANCEL" in text else "INVITE")
        if "CSeq: 1 INVITE" in text and text[8] != "1":
            self.heard.add("final")
            if text[8] != "2":
                to = re.search(r"^To: .*\r\n", text, re.MULTILINE)
                assert to
                ack = self.request("ACK").replace("To: <sip:b@example.com>\r\n", to[0])
                self.to_engine(ack, self.witness.request_in)

    # The phones

    def phone_hears(self, text: str) -> None:
        via = re.search(r"branch=([^;,\r]+)", text)[1]  # type: ignore[index]
        if text.startswith("ACK"):
            self.acked.add(via)
        elif text.startswith("CANCEL"):
            self.cancelled(via, text)
        elif via not in self.told:
            self.told[via] = ""
            self.ring(via, text)

    def ring(self, via: str, invite: str) -> None:
        """What a phone does with an INVITE."""
        dice = self.dice
        if dice.random() < 0.15:
            return
        after = 0.0
        for _ in range(dice.choice((0, 1, 1, 2, 3))):
            after += dice.choice((0, 0.01, 0.2, 0.5, 1, 2.5))
            status = dice.choice(PROVISIONAL)
            self.world.after(after, lambda s=status: self.say(invite, s))  # type: ignore[misc]
        after += dice.choice((0, 0, 0.01, 0.5, 0.999, 1, 2, 2.999, 3, 3.001, 5, 31, 33, 61))
        fate = dice.random()
        if fate < 0.3:
            self.world.after(after, lambda: self.answer(via, invite, "200 OK"))
        elif fate < 0.8:
            self.world.after(after, lambda: self.answer(via, invite, dice.choice(REFUSALS)))

    def cancelled(self, via: str, cancel: str) -> None:
        dice = self.dice
        fate = dice.random()
        if fate < 0.1:
            return
        invite = self.world.invites.get(via)
        self.say(cancel, "481 What" if invite is None or (self.told.get(via) and fate < 0.5) else "200 OK")
        if invite is None or fate < 0.2:
            return
        what = "200 OK" if fate < 0.3 else "487 Request Terminated"
        self.world.after(dice.choice((0, 0, 0.01, 0.7)), lambda: self.answer(via, invite, what))

    def answer(self, via: str, invite: str, status: str) -> None:
        if self.told.get(via):
            return
        self.told[via] = status
        for after in (0, 0.5, 1.5, 3.5)[: self.dice.choice((1, 2, 4))]:
            self.world.after(after, lambda: None if via in self.acked else self.say(invite, status))
        if status[0] == "2" and self.dice.random() < 0.1:
            self.world.after(0.2, lambda: self.say(invite, status, "again"))

    def say(self, request: str, status: str, tag: str = "") -> None:
        lines = [f"SIP/2.0 {status}"]
        for line in request.split("\r\n"):
            if line.startswith(("Via:", "From:", "Call-ID:", "CSeq:")):
                lines.append(line)
            elif line.startswith("To:"):
                via = re.search(r"branch=([^;,\r]+)", request)[1]  # type: ignore[index]
                lines.append(line + ("" if status[:3] == "100" else f";tag={via}{tag}"))
        if status[0] == "3":
            dice = self.dice
            lines += [f"Contact: <{self.world.uri(dice.randrange(8))}>;q=0.{dice.randrange(10)}"
                      for _ in range(dice.randrange(4))]  # fmt: skip
        text = "\r\n".join([*lines, "Content-Length: 0", "", ""])
        self.to_engine(text, self.witness.response_in)

    # The network

    def latency(self) -> float:
        return self.dice.random() * self.slow if self.dice.random() < 0.8 else 0.0

    def copies(self) -> int:
        if self.dice.random() < self.loss:
            return 0
        return 2 if self.dice.random() < self.doubles else 1

    def to_engine(self, text: str, note: Callable[[float, str], None]) -> None:
        def arrive() -> None:
            note(self.world.engine.now, text)
            self.world.net.send(text)
            self.world.touched = self

        for _ in range(self.copies()):
            self.world.after(self.latency(), arrive)

    def from_engine(self, text: str) -> None:
        now = self.world.engine.now
        if text.startswith("SIP/2.0"):
            self.witness.response_out(now, text)
            hears = self.caller_hears
        else:
            self.witness.request_out(now, text)
            hears = self.phone_hears
            if text.startswith("INVITE"):
                self.world.invites[re.search(r"branch=([^;,\r]+)", text)[1]] = text  # type: ignore[index]
        for _ in range(self.copies()):
            self.world.after(self.latency(), lambda: hears(text))

    # The policy

    def plan(self) -> Plan:
        dice = self.dice
        if dice.random() < 0.08:
            return reject(dice.choice((404, 486, 603)))
        if dice.random() < 0.05:
            return redirect("sip:else@192.0.2.1")
        steps, count, phone = [], dice.randint(1, 3), 0
        for _ in range(count):
            targets = []
            for _ in range(dice.choice((1, 1, 2, 3))):
                uri = NOWHERE if dice.random() < 0.05 else self.world.uri(phone)
                try_time = dice.choice((None, None, 0.3, 1, 3))
                spares = tuple(dice.choice((uri, uri, NOWHERE)) for _ in range(dice.choice((0, 0, 0, 1, 2))))
                patience = dice.choice((None, 0.3, 2)) if spares else None
                for limit in (try_time, patience):
                    if limit and uri != NOWHERE:
                        self.witness.patience[uri] = min(limit, self.witness.patience.get(uri, limit))
                targets.append(Target(uri, try_time=try_time, spares=spares, patience=patience))
                phone += 1
            onward = ANY if dice.random() < 0.7 else set(dice.sample(list(Outcome), 4))
            ring = dice.choice((None, 1, RING))
            self.witness.ring_time = min(ring or RING, self.witness.ring_time)  # recursion may lead anywhere
            for target in targets if ring else ():
                if target.spares:  # a spare has what is left of it
                    self.witness.patience[target.uri] = 0
            steps.append(step(*targets, ring_time=ring, onward=onward, notify=dice.choice((None, None, 181))))
        return Plan(tuple(steps), recurse=dice.random() < 0.4, on_failure=dice.random() < 0.3)

    def decide(self, question: Question) -> object:
        plan = self.first if question.kind == 1 else self.second
        self.witness.ladder.append(f"{self.world.engine.now:9.3f} asked ({question.kind}), answer after {self.delay}")
        if self.delay == 0:
            return plan
        if self.delay > 0:
            self.world.after(self.delay, lambda: self.world.engine.answer(question.token, plan))
        return Engine.later


class World:
    """An engine, and the socket everybody else is behind."""

    def __init__(self) -> None:
        self.engine = Engine(
            self._ask, asks=["requests"], timer_c=round(TIMER_C * 1000), ring_time=round(RING * 1000), recurse=True,
            policy_timeout=round(POLICY * 1000),
        )  # fmt: skip
        self.net = self.engine.device("net")
        self.net.on_message = self._hear
        self.calls: dict[str, Call] = {}
        self.invites: dict[str, str] = {}
        self.touched: Call | None = None
        for count in range(1, PHONES + 1):
            uris = [self.uri(number) for number in range(count)]
            self.engine.bind(f"flat{count}@example.com", *uris, lifetime=1e7)
            self.engine.bind(
                f"steps{count}@example.com", *((uri, 1 - n // 2 * 0.3) for n, uri in enumerate(uris)), lifetime=1e7
            )

    def uri(self, number: int) -> str:
        return f"sip:p{number}@{self.net.address}"

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        def act() -> None:
            self.touched = None
            action()
            if (call := self.touched) is not None:
                self.engine.settle()
                call.witness.settled(self.engine.now)

        self.engine.after(seconds, act)

    def _hear(self, text: str) -> None:
        found = CALL_ID.search(text)
        assert found, text
        call = self.calls[found[1]]
        try:
            call.from_engine(text)
        except Broken as broken:
            raise _told(call, broken) from None
        self.net.received.clear()

    def _ask(self, question: Question) -> object:
        if question.kind > 2:
            return None
        found = CALL_ID.search(question.data.decode())
        assert found
        return self.calls[found[1]].decide(question)

    def run(self, seeds: range) -> None:
        """These calls at once, to the end of all of them. Raises Broken with the first one's ladder."""
        self.calls = {call.id: call for call in (Call(self, seed) for seed in seeds)}
        self.invites.clear()
        for call in self.calls.values():
            self.after(call.dice.random() * 2, call.start)
        began = self.engine.now
        while True:
            try:
                self.engine.advance(50)
            except Broken as broken:
                raise _told(self.touched, broken) if self.touched is not None else broken from None
            counters = self.engine.counters()
            left = {name: counters[name] for name in ("transactions", "contexts", "buffers", "timers")}
            if not any(left.values()) and not self.engine._calendar:
                break
            if self.engine.now - began > BOUND + 400:
                raise Broken(f"seeds {seeds}: {left} are left after {BOUND + 400} s")
        for call in self.calls.values():
            try:
                call.witness.end(self.engine.now, BOUND)
            except Broken as broken:
                raise _told(call, broken) from None

    def close(self) -> None:
        left = self.engine.close()
        if any(left.values()):
            raise Broken(f"{left} are left")


def _told(call: Call | None, broken: Broken) -> Broken:
    if call is None or "\n" in str(broken):
        return broken
    told = (
        f"seed {call.seed}: {broken}",
        f"first {call.first}",
        f"second {call.second}",
        *call.witness.ladder[:300],
        f"replay: python tests/races.py {call.seed}",
    )
    return Broken("\n".join(told))


def races(first: int, count: int) -> float:
    """So many calls from that seed on. Returns how many a second."""
    world = World()
    began = time.perf_counter()
    for seed in range(first, first + count, BATCH):
        world.run(range(seed, min(seed + BATCH, first + count)))
    world.close()
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    begin = int(sys.argv[1])
    if len(sys.argv) > 2:
        print(f"{races(begin, int(sys.argv[2])):.0f} calls a second")
    else:
        world = World()
        world.run(range(begin, begin + 1))
        print("\n".join(world.calls[f"race-{begin}"].witness.ladder))
