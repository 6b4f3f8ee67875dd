"""A policy with phones around it: real messages through the real engine, in virtual time.

    with Scene("my_routing") as scene:
        bob = scene.phone("bob@example.com", answer=None)              # rings, and nobody comes
        mail = scene.gateway("voicemail")
        call = scene.call("sip:bob@example.com")
        scene.wait(60)
        assert bob.log == [(0.0, "INVITE"), (20.0, "CANCEL"), ...]
        assert call.status == 200 and call.answered_at == 20.0
"""

from __future__ import annotations

import contextvars
import logging
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from fastsip._location import RECORD_BINDINGS
from fastsip._plan import encode_plan
from fastsip.location import BindingSet
from fastsip.policy.complaints import Complaints
from fastsip.policy.desk import Deciders, Desk
from fastsip.policy.here import Surroundings, enter
from fastsip.policy.plan import Target
from fastsip.policy.request import Question
from fastsip.services import Services
from fastsip.services.people import devices
from fastsip.testing import writing
from fastsip.testing.clock import FollowingLoop
from fastsip.testing.engine import EPOCH, Device, Engine
from fastsip.testing.stage import Gateway, choose, loaded


class Party:
    """One end: what it heard, and when. `log` has methods and statuses with the second they came at."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.name = name
        self.messages: list[tuple[float, str]] = []
        self._scene = scene
        self._device: Device = scene.engine.device(name)
        self._device.on_message = self._heard

    @property
    def address(self) -> str:
        """Host and port, as in a URI."""
        return self._device.address

    @property
    def log(self) -> list[tuple[float, str]]:
        """(second, "INVITE") for a request, (second, "180") for a response; retransmissions too."""
        return [(at, _what(text)) for at, text in self.messages]

    def _heard(self, text: str) -> None:
        self.messages.append((self._scene.now, text))
        self.hear(text)

    def hear(self, text: str) -> None:
        """Do what it does about a message."""

    def _send(self, data: bytes) -> None:
        self._device.send(data)


class Phone(Party):
    """A callee. It rings at once, and answers `after` so many seconds with a status: None lets it ring, and `silent`
    says nothing at all."""

    def __init__(self, scene: Scene, name: str, answer: int | None, after: float, silent: bool, ring: bool) -> None:
        super().__init__(scene, name)
        self.answer, self.after, self.silent, self.ring = answer, after, silent, ring
        self.headers: dict[str, str] = {}
        """Of its final answer, such as Retry-After."""
        self._over: set[str] = set()

    @property
    def uri(self) -> str:
        return f"sip:{self.name.partition('@')[0]}@{self.address}"

    def hear(self, text: str) -> None:
        what, branch = _what(text), _branch(text)
        if self.silent or what == "ACK" or what.isdigit() or branch in self._over:
            return
        if what == "CANCEL":
            self._send(writing.response(text.encode(), 200))
            for _, one in self.messages:
                if one.startswith("INVITE") and _branch(one) == branch:
                    self._finish(one, 487)
        elif what == "INVITE":
            if self.ring and self.answer != 100:
                self._send(writing.response(text.encode(), 180))
            if self.answer is not None:
                answer = self.answer
                self._scene.engine.after(self.after, lambda: self._finish(text, answer))
        else:
            self._finish(text, self.answer or 200)

    def _finish(self, request: str, status: int) -> None:
        branch = _branch(request)
        if branch in self._over:
            return
        self._over.add(branch)
        headers = {"Contact": f"<{self.uri}>", **self.headers} if status < 300 else self.headers
        self._send(writing.response(request.encode(), status, headers=headers))


class Call(Party):
    """A caller with one call."""

    def __init__(self, scene: Scene, request: bytes) -> None:
        super().__init__(scene, "caller")
        via = re.sub(rb"(?m)^(Via: SIP/2.0/UDP )[^;]+", rb"\g<1>" + self.address.encode(), request, count=1)
        self.request = via
        self._send(self.request)

    @property
    def status(self) -> int | None:
        """Of its final response, None while there is none."""
        return next((int(what) for _, what in self.log if what.isdigit() and int(what) >= 200), None)

    @property
    def answered_at(self) -> float | None:
        """The second of its final response."""
        return next((at for at, what in self.log if what.isdigit() and int(what) >= 200), None)

    @property
    def answer(self) -> str:
        """Its final response. Raises LookupError while there is none."""
        for _, text in self.messages:
            if _what(text).isdigit() and int(_what(text)) >= 200:
                return text
        raise LookupError("there is no final response yet")

    def cancel(self) -> None:
        """The caller hangs up before anybody has answered."""
        self._send(writing.cancel(self.request))

    def hear(self, text: str) -> None:
        what = _what(text)
        if what.isdigit() and int(what) >= 300 and _cseq(text).endswith("INVITE"):
            self._send(writing.ack(self.request, text.encode()))


class Scene:
    """Runs one policy module in a server without a network, with phones by script. In a `with` statement; what the
    policy has raised is raised at its end, unless `problems` was emptied."""

    def __init__(
        self,
        module: ModuleType | str | Path | Callable[..., Any] | object,
        *,
        at: datetime | None = None,
        timeout: float = 5.0,
        **settings: Any,
    ) -> None:
        """`module`, `at` and `timeout` as for Stage. Further keywords are fields of `fastsip.launch.Settings`."""
        self._module = loaded(module)
        face = self._module.face
        asks = ["requests"] * face.route + ["responses"] * face.responses
        self.problems: list[BaseException] = []
        self.gateways: dict[str, Gateway] = {}
        self.contacts: dict[str, list[str]] = {}
        given = {"asks": asks, "ask_methods": [*face.methods], "policy_timeout": round(timeout * 1000), **settings}
        self.engine = Engine(self._asked, **given)
        self._loop = FollowingLoop(lambda: self.engine.now)
        opened = at.timestamp() if at is not None else float(EPOCH)
        around = Surroundings(self._devices, lambda: opened + self.now, self._choose)
        domains = [*given.get("domains", ["example.com"])]
        services = Services(self._bindings, lambda aor: None, domains, now=lambda: EPOCH + self.now)
        self._context = contextvars.copy_context()
        self._context.run(enter, around)
        deciders, answer = Deciders((), services), self.engine.worker.answer
        complaints = _Collected(self.problems)
        self._desk = Desk(self._loop, answer, encode_plan, self._module, deciders, complaints, timeout)
        self._hook("setup")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._desk.cancel_all()
        self._hook("teardown")
        self._turn()
        self._loop.close()
        self.engine.close()
        if error is None and self.problems:
            raise self.problems[0]

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return self.engine.now

    def phone(
        self, aor: str, *, answer: int | None = 200, after: float = 1.0, silent: bool = False, ring: bool = True
    ) -> Phone:
        """A phone, registered under an address-of-record beside those that are."""
        phone = Phone(self, aor, answer, after, silent, ring)
        self.contacts.setdefault(aor, []).append(phone.uri)
        self.engine.bind(aor, *self.contacts[aor])
        return phone

    def gateway(
        self, name: str, *, answer: int | None = 200, after: float = 1.0, silent: bool = False, ring: bool = True
    ) -> Phone:
        """A gateway, which `next_gateway` knows by this name; `gateways[name].up` says whether it is chosen."""
        phone = Phone(self, name, answer, after, silent, ring)
        self.gateways[name] = Gateway(f"sip:{phone.address}")
        return phone

    def call(
        self, uri: str, *, method: str = "INVITE", from_: str = "sip:alice@example.com", headers: writing.Fields = ()
    ) -> Call:
        """Somebody calls, now."""
        call = Call(self, writing.request(method, uri, from_=from_, headers=headers))
        self.wait(0)
        return call

    def wait(self, seconds: float) -> None:
        """Let time pass, and everything happen that happens meanwhile."""
        self.engine.advance(seconds)

    # Inside

    def _asked(self, question: Question) -> object:
        self._context.run(self._desk.ask, question)
        self._desk.current = None
        self._turn()
        return Engine.later

    def _turn(self) -> None:
        due = self._loop.turn()
        if due is not None:
            self.engine.after(max(0.0, due - self.now), self._turn)

    def _hook(self, name: str) -> None:
        hook = getattr(self._module, name)

        async def run() -> None:
            found = hook()
            if hasattr(found, "__await__"):
                await found

        if hook is not None:
            self._context.run(self._loop.create_task, run())
            self._turn()

    def _bindings(self, aor: str) -> tuple[Any, ...]:
        value = self.engine.segment.get(RECORD_BINDINGS, aor.encode())
        return BindingSet.decode(value).bindings if value is not None else ()

    def _devices(self, aor: str) -> list[Target]:
        groups = devices(self._bindings(aor), round((EPOCH + self.now) * 1000))
        return [one for group in groups for one in group]

    def _choose(self, names: Any, number: str | None, without: Any) -> Target | None:
        return choose(self.gateways, names, number, without, counted=False)


class _Collected(Complaints):
    """Keeps what a server would write into its log."""

    def __init__(self, problems: list[BaseException]) -> None:
        super().__init__(logging.getLogger("fastsip.testing"))
        self._problems = problems

    def failed(self, what: str, error: BaseException, folder: str = "") -> None:
        self._problems.append(error)


def _what(text: str) -> str:
    words = text.split(" ", 2)
    return words[1] if words[0] == "SIP/2.0" else words[0]


def _branch(text: str) -> str:
    found = re.search(r"^v(?:ia)?:.*?;branch=([^;,\s]+)", text, re.I | re.M)
    return found[1].strip() if found else ""


def _cseq(text: str) -> str:
    found = re.search(r"^CSeq:(.*)$", text, re.I | re.M)
    return found[1].strip() if found else ""

