"""What a person asked for, checked and resolved, and the engines' setups that follow from it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import msgspec

from fastsip.launch import TlsSetup

from . import rates
from .addresses import SourceRange, Target
from .numbers import MAIN
from .setup import Answer, EngineSetup, Scenario, User
from .sources import Sources


class Answering(msgspec.Struct, frozen=True):
    """The callees' side, in the same command."""

    answer: Answer
    host: str = ""
    """Where it listens; empty: the address that leads to the target."""
    port: int = 0
    """0: the kernel chooses one for each thread."""


class Work(msgspec.Struct, frozen=True):
    """One run of the generator."""

    name: str
    """The command: "call", "mix"."""
    target: Target
    scenarios: list[Scenario]
    plan: rates.Plan
    users: list[User]
    callees: list[str] = []
    """SIP URIs; empty: the target itself."""
    count: int = 0
    in_flight: int = 100_000
    sources: list[SourceRange] = []
    connections: int = 0
    """To the target, by TCP or TLS; of all threads."""
    threads: int = 1
    poisson: bool = True
    gather: int = 0
    seed: int = 1
    answering: Answering | None = None
    prepare: bool = False
    """Register the users before, and remove their bindings after."""
    contact: str = ""
    """host:port of all bindings; empty: where the callees are, or each engine's first source."""
    expires: int = 3600
    tls: TlsSetup | None = None

    @property
    def peer(self) -> str:
        """Who servers have to be by their certificates."""
        return self.target.name if self.tls is not None and self.target.name != self.target.host else ""

    @property
    def main(self) -> list[str]:
        """The response times a bound is for."""
        return [MAIN[scenario.kind] for scenario in self.scenarios]

    def setups(
        self, sources: Sources, targets: Sequence[tuple[str, int]], contacts: Sequence[str]
    ) -> list[EngineSetup]:
        """For the engines that generate; each sends to one of the targets. Users are dealt out among them, so that
        each user belongs to one engine. `contacts` are where users are bound."""
        users, answer = list(self.users), self._answer_of_registering()
        if len(users) < self.threads:
            users = [users[index % len(users)] for index in range(self.threads)]
        return [
            EngineSetup(
                sources=own,
                target=targets[index % len(targets)],
                scenarios=[_bound_to(scenario, contacts, index) for scenario in self.scenarios],
                callers=users[index :: self.threads],
                callees=self.callees,
                plan=self.plan.divided(self.threads),
                poisson=self.poisson,
                count=parts(self.count, self.threads)[index],
                duration=self.plan.duration,
                in_flight=max(1, self.in_flight // self.threads),
                connections=self.connections_of(index),
                answer=answer,
                stay=answer is not None,
                gather=self.gather,
                seed=self.seed * 1000 + index,
                tls=self.tls,
                peer=self.peer,
            )
            for index, own in enumerate(sources.per_engine)
        ]

    def _answer_of_registering(self) -> Answer | None:
        """By TCP and TLS calls come to where a user registered last; in a mix that may be where work is begun."""
        registers = any(scenario.kind == "register" for scenario in self.scenarios)
        return self.answering.answer if self.answering is not None and self.by_answering and registers else None

    def connections_of(self, index: int) -> int:
        """How many of the connections are one thread's."""
        return max(1, parts(self.connections, self.threads)[index]) if self.connections else 0

    def answering_setups(self, answer: Answer, sources: Sources, contacts: Sequence[str]) -> list[EngineSetup]:
        """For the engines that answer. By TCP and TLS they are also those that register the users, who are reached
        through the very connection by which they registered."""
        setups = [
            EngineSetup(
                sources=own,
                answer=answer,
                gather=self.gather,
                seed=self.seed * 1000 + 500 + index,
                tls=self.tls,
                peer=self.peer,
            )
            for index, own in enumerate(sources.per_engine)
        ]
        if not self.by_answering:
            return setups
        work = self.registering(sources, contacts, remove=False)
        return [
            msgspec.structs.replace(
                setup, target=one.target, scenarios=one.scenarios, callers=one.callers, plan=one.plan, poisson=False,
                count=one.count, connections=one.connections, stay=True,
            )
            for setup, one in itertools.zip_longest(setups, work, fillvalue=EngineSetup([]))
        ]  # fmt: skip

    @property
    def by_answering(self) -> bool:
        """Whether users are registered by the engines that answer their calls."""
        return self.prepare and self.answering is not None and self.target.transport != "udp"

    def registering(self, sources: Sources, contacts: Sequence[str], remove: bool) -> list[EngineSetup]:
        """For the engines that register every user once before the work, or remove what was registered: as fast as
        the server answers, with some hundred under way. User number n is bound to contact n modulo their number."""
        setups = []
        for index, contact in enumerate(contacts):
            users = self.users[index :: len(contacts)]
            if users:
                scenario = Scenario(
                    kind="register", expires=self.expires, contact=contact, remove=1.0 if remove else 0.0
                )
                setups.append(
                    EngineSetup(
                        sources=sources.per_engine[index % len(sources.per_engine)],
                        target=self.target.address,
                        scenarios=[scenario],
                        callers=users,
                        plan=rates.constant(REGISTERING / len(contacts)).steps,
                        poisson=False,
                        count=len(users),
                        in_flight=max(1, (SHAKING_AT_ONCE if self.tls else REGISTERING_AT_ONCE) // len(contacts)),
                        connections=self.connections_of(index % self.threads),
                        seed=random.Random(self.seed).randrange(1 << 32) + index,
                        tls=self.tls,
                        peer=self.peer,
                    )
                )
        return setups


REGISTERING = 5000.0
"""A second, at most, while users are prepared: the server's speed decides below that."""
REGISTERING_AT_ONCE = 100
SHAKING_AT_ONCE = 32
"""By TLS, where each may be a handshake: servers have a limit for those of one address."""


def _bound_to(scenario: Scenario, contacts: Sequence[str], index: int) -> Scenario:
    """The scenario, with the contact the users of an engine have or get: a refresh binds no other."""
    if scenario.kind != "register" or scenario.contact:
        return scenario
    return msgspec.structs.replace(scenario, contact=contacts[index % len(contacts)])


def parts(whole: int, number: int) -> list[int]:
    """A whole number as so many nearly equal ones; 0 stays 0, which means no limit."""
    return [whole // number + (index < whole % number) for index in range(number)] if whole else [0] * number
