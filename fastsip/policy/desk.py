"""One desk: questions in, plans out. It belongs to one thread and its event loop.

The module is asked first, then the deciders in order (services, dial plan), until one has a plan; none means the
compiled default. A plain function costs a call and nothing more. What is awaited becomes a task, kept by its token: a
CANCELLED question cancels it, and a plan that comes when its token is gone is thrown away.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Task
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, NamedTuple, Protocol

from fastsip.dns.errors import NoServer
from fastsip.dns.hop import Hop
from fastsip.policy.addresses import SLOWER, Locator, Named, hops, spread
from fastsip.policy.complaints import Complaints
from fastsip.policy.here import Surroundings
from fastsip.policy.module import Module
from fastsip.policy.plan import Answer, Plan
from fastsip.policy.request import CANCELLED, FAILURE, RESPONSE, ROUTE, Question, Request, Response

Encode = Callable[[Plan], bytes]
ReplyTo = Callable[[int, "bytes | None"], None]

ASKED_AGAIN_AT_MOST = 2
"""How often a question is put to another thread because somebody else's code blocked the one it waited in."""


class Decider(Protocol):
    """Something that may have a plan for a request: services, the dial plan."""

    def route(self, request: Request) -> Plan | None: ...


class Expander(Protocol):
    """Something that puts the bindings and services of own addresses-of-record in the place of these."""

    def expand(self, plan: Plan, request: Request) -> Plan: ...


class Deciders(NamedTuple):
    """What decides besides the user's module, in this order, and what all of them see of the server."""

    deciders: Sequence[Decider] = ()
    expander: Expander | None = None
    surroundings: Surroundings = Surroundings()
    gateways: Collection[int] | None = None
    """Slots of the gateways there are; None if that is not known."""


UDP = frozenset({"udp"})
UDP_MAX = 1300
GROWS = 200
"""Bytes a request may grow by on its way through, as ext/proxy/large.pxi has it."""


class Pending(NamedTuple):
    """A question whose answer is awaited."""

    task: Task[None]
    question: Question
    deadline: float
    times: int


def _method(request: bytes) -> bytes:
    """Of a request the engine has parsed: without parsing it again."""
    return request[: request.find(b" ")]


class Desk:
    """Decides, encodes and answers. `current` is the question being decided right now, for whoever watches."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        answer: ReplyTo,
        encode: Encode,
        module: Module | None,
        deciders: Deciders,
        complaints: Complaints,
        timeout: float,
        locator: Locator | None = None,
        udp_max: int = UDP_MAX,
    ) -> None:
        self.answer = answer
        self.module = module
        self.current: Question | None = None
        self.pending: dict[int, Pending] = {}
        self._unstarted: dict[int, Any] = {}
        """What is to be awaited and was not begun with: Python complains of a coroutine that nobody ever closes."""
        self._loop = loop
        self._complaints = complaints
        self._own = module.own if module else ""
        self._route = module.route if module else None
        methods = module.methods if module else None
        self._methods = {each.encode() for each in methods} if methods is not None else None
        self._sweeping = False
        self.follow(encode, deciders, timeout, locator, udp_max)

    def follow(
        self, encode: Encode, deciders: Deciders, timeout: float, locator: Locator | None, udp_max: int
    ) -> None:
        """Decide by these from now on."""
        self._udp_max = udp_max
        self._encode = encode
        self._timeout = timeout
        self._locator = locator
        self._transports = locator.transports if locator is not None else UDP
        self._rest = tuple(each.route for each in deciders.deciders)
        self._expander = deciders.expander
        self._gateways = deciders.gateways
        self._refusal = encode(Plan(answer=Answer(500)))

    def ask(self, question: Question, times: int = 0, deadline: float | None = None) -> None:
        """Decide one question. Raises nothing."""
        self.current = question
        kind = question[0]
        if kind == ROUTE:
            request = Request(question)
            plan: Plan | None = None
            try:
                if self._route is not None and (self._methods is None or _method(question[6]) in self._methods):
                    found = self._route(request)
                    if found is not None and type(found) is not Plan:
                        self._later(question, request, found, times, deadline)
                        return
                    plan = found
                self._reply(question, request, plan or self._others(request), plan is not None, times, deadline)
            except BaseException as error:  # a policy that exits harms its own request alone
                self._failed("route", question, error)
        elif kind == RESPONSE:
            self._observe(question)
        elif kind == FAILURE:
            self._failure(question, times, deadline)
        elif kind == CANCELLED:
            self.cancel(question[1])

    def cancel(self, token: int) -> None:
        """Nobody waits for this any more."""
        pending = self.pending.pop(token, None)
        if pending is not None:
            pending.task.cancel()
            _close(self._unstarted.pop(token, None))

    def cancel_all(self) -> None:
        for token in list(self.pending):
            self.cancel(token)

    def close(self) -> None:
        """None of its tasks runs any more. Some may never have: those another desk was asked once more."""
        while self._unstarted:
            _close(self._unstarted.popitem()[1])

    def _others(self, request: Request) -> Plan | None:
        for decide in self._rest:
            plan = decide(request)
            if plan is not None:
                return plan
        return None

    def _reply(
        self,
        question: Question,
        request: Request,
        plan: Plan | None,
        module: bool = True,
        times: int = 0,
        deadline: float | None = None,
    ) -> None:
        """`module`: the plan is the module's own."""
        if plan is None:
            self.answer(question[1], None)
            return
        try:
            if module and self._gateways is not None:
                self._tell_of_slots(plan)
            if self._expander is not None and plan.steps:
                plan = self._expander.expand(plan, request)
            named = hops(plan, self._transports, len(question[6]) + GROWS > self._udp_max)
        except Exception:
            self._encode(plan)  # which names what is wrong with a plan
            raise
        if not named:
            self.answer(question[1], self._encode(plan))
            return
        found: dict[Hop, Any] = {}
        waits = False
        for next_ in named.values():
            for hop in next_.hops:
                found[hop] = located = self._known(hop)
                waits = waits or located is None
        if waits:
            self._encode(plan)  # what is wrong with it is wrong now
            self._begin(question, self._locate(question, request, plan, named, found, module), times, deadline)
        else:
            self._answer(question, request, plan, named, found, module)

    def _tell_of_slots(self, plan: Plan) -> None:
        """Name those that are no gateway's: the engine takes them for none."""
        assert self._gateways is not None and self.module is not None
        for step in plan.steps:
            for target in step.targets:
                slot = target.gateway
                if slot is not None and slot not in self._gateways:
                    text = f"gateway = {slot!r} of {target.uri} is no gateway's slot"
                    self._complaints.warn(("gateway", slot), f"a plan of {self.module.name}: {text}")

    def _known(self, hop: Hop) -> Any:
        """What is known of a name: its servers, why there are none, or None."""
        if self._locator is None:
            return NoServer("names are not looked up here")
        try:
            return self._locator.cached(hop)
        except NoServer as none:
            return none

    async def _locate(
        self, question: Question, request: Request, plan: Plan, named: Named, found: dict[Hop, Any], module: bool
    ) -> None:
        token = question[1]
        self._unstarted.pop(token, None)
        assert self._locator is not None
        missing = [hop for hop, located in found.items() if located is None]
        try:
            said = await asyncio.gather(*map(self._locator.locate, missing), return_exceptions=True)
        except asyncio.CancelledError:
            self.pending.pop(token, None)
            return
        if self.pending.pop(token, None) is None:
            return  # too late
        for hop, located in zip(missing, said, strict=True):
            found[hop] = NoServer(str(located)) if isinstance(located, BaseException) else located
        try:
            self._answer(question, request, plan, named, found, module)
        except BaseException as error:
            self._failed("route" if question[0] == ROUTE else "on_failure", question, error)

    def _answer(
        self, question: Question, request: Request, plan: Plan, named: Named, found: dict[Hop, Any], module: bool
    ) -> None:
        """Answer with a plan whose names are found, or known not to be."""
        if self._locator is not None and any(not isinstance(one, NoServer) for one in found.values()):
            slower = 1 if request.method == "INVITE" else SLOWER
            plan = spread(plan, named, found, self._locator.try_time * slower)
        self.answer(question[1], self._encode(plan))
        for uri, next_ in named.items():
            located = found[next_.hop] if next_.hop is not None else None
            if all(isinstance(found[hop], NoServer) for hop in next_.hops):
                whose = f"of {self.module.name}" if module and self.module else f"for calls to {request.uri}"
                place = next_.hop.host if next_.hop is not None else uri
                why = located.reason if isinstance(located, NoServer) else next_.why
                self._complaints.warn(place, f"a plan {whose}: {next_.told(uri)} cannot be reached: {why}")

    def _failure(self, question: Question, times: int, deadline: float | None) -> None:
        """A plan of the module's has failed: it may have another, else the best response is the answer."""
        on_failure = self.module.on_failure if self.module else None
        if on_failure is None:
            self.answer(question[1], None)
            return
        request = Request(question)
        try:
            found = on_failure(request, [Response(*one) for one in question[7]])
            if found is not None and type(found) is not Plan:
                self._later(question, request, found, times, deadline)
                return
            self._reply(question, request, found, True, times, deadline)
        except BaseException as error:
            self._failed("on_failure", question, error)

    def _observe(self, question: Question) -> None:
        look = self.module.on_response if self.module else None
        if look is None:
            return
        data = question[6]
        try:
            look(Response(int(data[8:11]), -1, data))
        except BaseException as error:
            self._complaints.failed("on_response", error, self._own)

    # What is awaited

    def _later(self, question: Question, request: Request, found: Any, times: int, deadline: float | None) -> None:
        if not hasattr(found, "__await__"):
            raise TypeError(f"expected a Plan or None, found {type(found).__name__}")
        self._begin(question, self._wait(question, request, found), times, deadline, found)

    def _begin(self, question: Question, work: Any, times: int, deadline: float | None, awaited: Any = None) -> None:
        """Answer later."""
        if deadline is None:
            deadline = self._loop.time() + self._timeout
        if awaited is not None:
            self._unstarted[question[1]] = awaited
        task = self._loop.create_task(work)
        self.pending[question[1]] = Pending(task, question, deadline, times)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_at(deadline, self._sweep)

    async def _wait(self, question: Question, request: Request, awaited: Awaitable[Plan | None]) -> None:
        token, kind = question[1], question[0]
        self._unstarted.pop(token, None)
        what = "route" if kind == ROUTE else "on_failure"
        try:
            plan = await awaited
        except BaseException as error:
            if self.pending.pop(token, None) is not None:
                self._failed(what, question, error)
            elif not isinstance(error, asyncio.CancelledError):
                self._complaints.failed(what, error, self._own)
            return
        pending = self.pending.pop(token, None)
        if pending is None:
            return  # too late
        try:
            if plan is not None and type(plan) is not Plan:
                raise TypeError(f"expected a Plan or None, found {type(plan).__name__}")
            module = plan is not None
            if plan is None and kind == ROUTE:
                plan = self._others(request)
            self._reply(question, request, plan, module, pending.times, pending.deadline)
        except BaseException as error:
            self._failed(what, question, error)

    def _sweep(self) -> None:
        """Cancel what missed its deadline; the hot thread has answered it, or is about to."""
        now = self._loop.time()
        late = [token for token, each in self.pending.items() if each.deadline <= now]
        for token in late:
            self.cancel(token)
        if late:
            self._complaints.warn("late", f"no plan within {self._timeout:g} s: {len(late)} answered with 500")
        self._sweeping = bool(self.pending)
        if self._sweeping:
            self._loop.call_at(min(each.deadline for each in self.pending.values()), self._sweep)

    def _failed(self, what: str, question: Question, error: BaseException) -> None:
        """500 for a request without a plan. A failure keeps the response it has: a mistake then does not hide it."""
        self._complaints.failed(what, error, self._own)
        self.answer(question[1], self._refusal if question[0] == ROUTE else None)


def _close(awaited: Any) -> None:
    if hasattr(awaited, "close"):
        awaited.close()
