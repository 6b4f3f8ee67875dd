"""The stage: a module, contacts and gateways as data, and a clock that moves when nothing else does."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self, TypeVar

from fastsip._message import Uri, canonical_aor, parse
from fastsip.errors import SipError
from fastsip.policy.here import Surroundings, enter
from fastsip.policy.module import Module, load, look_over
from fastsip.policy.plan import Plan, Target, target
from fastsip.policy.request import AUTHENTICATED, KNOWN, OWN, ROUTE, TRUSTED, Question, Request, Response
from fastsip.testing import writing
from fastsip.testing.clock import VirtualLoop

T = TypeVar("T")
Contacts = Mapping[str, "str | Target | Sequence[str | Target]"]


class PlanIsLate(SipError):
    """The policy took longer than a server would wait; the request would get 500."""


@dataclass
class Gateway:
    """A gateway as a test has it; it may go down and come back."""

    uri: str
    up: bool = True
    weight: int = 10
    try_time: float = 4.0


class Stage:
    """Runs one policy module. Use it in a `with` statement, which runs its `setup` and `teardown`."""

    def __init__(
        self,
        module: ModuleType | str | Path | Callable[[Request], Any] | object,
        *,
        contacts: Contacts | None = None,
        users: Iterable[str] = (),
        gateways: Mapping[str, str | Gateway] | None = None,
        domains: Sequence[str] = ("example.com",),
        at: datetime | None = None,
        timeout: float = 5.0,
        real_time: bool = False,
    ) -> None:
        """`module` is a module, its name, the path of its file, an object with `route` and what else there is, or a
        route function alone. `contacts` maps addresses-of-record to what they are registered at. `at` is the time of
        day when the stage opens (now unless said). `timeout` is `[policy] timeout`. With `real_time` the clock is the
        real one: for policies that talk to a real service.

        Raises ModuleProblem if the module has no policy.
        """
        self.contacts = dict(contacts or {})
        self.users = {*users}
        self.gateways = {
            name: Gateway(one) if isinstance(one, str) else one for name, one in (gateways or {}).items()
        }
        self.domains = tuple(domains)
        self.timeout = timeout
        self._module = loaded(module)
        self._opened = (at or datetime.now(UTC)).timestamp()
        self._loop: asyncio.AbstractEventLoop = asyncio.SelectorEventLoop() if real_time else VirtualLoop()
        self._begun = self._loop.time()
        self._context = contextvars.copy_context()
        around = Surroundings(self._devices, lambda: self._opened + self.elapsed, self._choose)
        self._context.run(enter, around)
        self._last: tuple[Question, Plan | None] | None = None
        self._tokens = 0

    def __enter__(self) -> Self:
        self._hook(self._module.setup)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Run `teardown` and end whatever the module has started."""
        if self._loop.is_closed():
            return
        try:
            self._hook(self._module.teardown)
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._run(_gathered(tasks))
            self._run(self._loop.shutdown_default_executor())
            self._loop.close()

    @property
    def elapsed(self) -> float:
        """Seconds since the stage opened."""
        return self._loop.time() - self._begun

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._opened + self.elapsed, UTC)

    def wait(self, seconds: float) -> None:
        """Let time pass; what the module does in the background goes on."""
        if isinstance(self._loop, VirtualLoop):
            until = self._loop.time() + seconds
            self._context.copy().run(self._loop.pass_time, until)
        else:
            self._run(asyncio.sleep(seconds))

    # Questions

    def call(
        self,
        method: str,
        uri: str,
        *,
        from_: str = "sip:alice@example.com",
        to: str | None = None,
        headers: writing.Fields = (),
        body: str = "",
        source: tuple[str, int] = ("192.0.2.1", 5060),
        trusted: bool = False,
        authenticated: bool = False,
    ) -> Plan | None:
        """What the policy says of a request outside a dialog; None: as without a policy.

        Raises whatever the policy raises, PlanIsLate, ValueError for a plan that cannot be sent, and TypeError for what
        is no plan: in a server all of these are a 500.
        """
        data = writing.request(method, uri, from_=from_, to=to, headers=headers, body=body)
        return self.ask(data, source=source, trusted=trusted, authenticated=authenticated)

    def ask(
        self,
        data: bytes,
        *,
        source: tuple[str, int] = ("192.0.2.1", 5060),
        trusted: bool = False,
        authenticated: bool = False,
    ) -> Plan | None:
        """The same for a request as it came. Raises ParseError if it is none."""
        message = parse(data)
        aor = self._own(message.uri)
        caller = self._own(message.from_.uri)
        known = aor and (aor in self.users or aor in map(self._key, self.contacts))
        flags = OWN * bool(aor) | TRUSTED * trusted | AUTHENTICATED * authenticated | KNOWN * bool(known)
        self._tokens += 1
        question = Question(ROUTE, self._tokens, flags, aor.encode(), caller.encode(), source, data)
        plan: Plan | None = None
        if self._module.route is not None and self._wanted(message.method):
            route = self._module.route
            plan = self._plan(self._run(self._within(lambda: route(Request(question)))))
        self._last = question, plan
        return plan

    def fail(self, *responses: int | bytes) -> Plan | None:
        """What `on_failure` says when the targets of the last plan brought these, in order: a status, or a response as
        it came. None: the best of them is the answer."""
        if self._last is None:
            raise SipError("fail() comes after call()")
        question, _ = self._last
        seen = []
        for number, one in enumerate(responses):
            status = one if isinstance(one, int) else int(one[8:11])
            data = writing.response(question.data, one) if isinstance(one, int) else one
            seen.append(Response(status, number, data))
        on_failure = self._module.on_failure
        if on_failure is None:
            return None
        return self._plan(self._run(self._within(lambda: on_failure(Request(question), seen))))

    def show(self, response: int | bytes) -> None:
        """Let `on_response` look at a response to the last request."""
        if self._last is None:
            raise SipError("show() comes after call()")
        data = writing.response(self._last[0].data, response) if isinstance(response, int) else response
        if self._module.on_response is not None:
            look = self._module.on_response
            self._run(self._within(lambda: look(Response(int(data[8:11]), -1, data))))

    # Inside

    async def _within(self, ask: Callable[[], Any]) -> Any:
        """What it says, awaited if it has to be, within the deadline."""
        try:
            async with asyncio.timeout(self.timeout) as limit:
                found = ask()
                return await found if hasattr(found, "__await__") else found
        except TimeoutError:
            if not limit.expired():
                raise
            raise PlanIsLate(f"no plan within {self.timeout:g} s") from None

    def _run(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return self._context.copy().run(self._loop.run_until_complete, run())

    def _hook(self, hook: Callable[[], Any] | None) -> None:
        if hook is not None:

            async def run() -> None:
                found = hook()
                if hasattr(found, "__await__"):
                    await found

            self._run(run())

    def _plan(self, found: Any) -> Plan | None:
        """It, if a server could follow it."""
        if found is None:
            return None
        if type(found) is not Plan:
            raise TypeError(f"expected a Plan or None, found {type(found).__name__}")
        from fastsip._plan import encode_plan

        encode_plan(found)
        return found

    def _wanted(self, method: str) -> bool:
        return self._module.methods is None or method in self._module.methods

    def _own(self, uri: Uri | None) -> str:
        """The address-of-record if it is one of this stage's domains, else ""."""
        aor = uri.aor if uri is not None else None
        return aor if aor is not None and "@" in aor and aor.rpartition("@")[2] in self.domains else ""

    def _key(self, aor: str) -> str:
        key = canonical_aor((aor if aor.startswith(("sip:", "sips:")) else f"sip:{aor}").encode())
        return key.decode("utf-8", "surrogateescape") if key else aor

    def _devices(self, aor: str) -> list[Target]:
        """As they would be found: by q, then in the order they are written."""
        for key, found in self.contacts.items():
            if self._key(key) == aor:
                listed = [found] if isinstance(found, str | Target) else [*found]
                return sorted(map(target, listed), key=lambda one: -one.q)
        return []

    def _choose(
        self, names: Collection[str], number: str | None, without: Collection[str | Target]
    ) -> Target | None:
        return choose(self.gateways, names, number, without)


def call(module: object, method: str, uri: str, **more: Any) -> Plan | None:
    """What a module says of one request: `Stage(module, ...)` and its `call` in one. Keywords are those of both."""
    of_call = {"from_", "to", "headers", "body", "source", "trusted", "authenticated"}
    stage = {name: value for name, value in more.items() if name not in of_call}
    with Stage(module, **stage) as made:
        return made.call(method, uri, **{name: value for name, value in more.items() if name in of_call})


def loaded(module: object) -> Module:
    """The policy of a module, its name or path, an object, or a route function."""
    if isinstance(module, Path) or (isinstance(module, str) and module.endswith(".py")):
        path = Path(module).resolve()
        return load(path.stem, str(path.parent))
    if isinstance(module, str):
        return load(module)
    if callable(module) and not hasattr(module, "route"):
        return look_over(_Alone(module), getattr(module, "__name__", "route"))
    return look_over(module)


class _Alone:
    """A route function as a module."""

    def __init__(self, route: Callable[..., Any]) -> None:
        self.route = route


async def _gathered(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def choose(
    gateways: Mapping[str, Gateway],
    names: Collection[str],
    number: str | None,
    without: Collection[str | Target],
    counted: bool = True,
) -> Target | None:
    """The first of them that is up: a test wants no dice. Raises ValueError for a name there is none of."""
    slots = {one.gateway for one in without if isinstance(one, Target)}
    uris = {one.uri.rpartition("@")[2] for one in without if isinstance(one, Target)}
    for name in [*names, *(one for one in without if isinstance(one, str))]:
        if name not in gateways:
            raise ValueError(f'no gateway is called "{name}" (there are: {", ".join(gateways) or "none"})')
    for slot, (name, gateway) in enumerate(gateways.items()):
        host = gateway.uri.partition(":")[2].rpartition("@")[2]
        if not gateway.up or name in without or (names and name not in names):
            continue
        if (slot in slots) if counted else (host in uris):
            continue
        uri = gateway.uri if number is None else f"{gateway.uri.partition(':')[0]}:{number}@{host}"
        return Target(uri, gateway=slot if counted else None, try_time=gateway.try_time)
    return None
