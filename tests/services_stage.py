"""One call in virtual time through the real engine: people with services, devices that answer as they are told.

A case is written in a line or two:

    people    {"bob": {"forward_no_answer": "@mail", "ring_time": 15}}      names are people of example.com
    devices   {"bob": "180@0", "@mail": "200@1"}                            what each answers, seconds after an INVITE
    told      "0: bob <180 / 15: bob! <181 @mail / 16: <200"

In `told` a name is an INVITE sent there, `name!` a CANCEL, `<180` what the caller is told; of a moment in any order.
"@mail" is a device that belongs to nobody here. "bob.2" is another device of bob's, "bob.2;q=0.5" one of lower
preference. "dead" answers nothing, "deaf" rings and hears no CANCEL.
"""

from __future__ import annotations

import re
from typing import Any

from fastsip._location import RECORD_SERVICES
from fastsip.policy.plan import Plan
from fastsip.policy.request import Question, Request
from fastsip.services import Record, Services
from fastsip.services.record import encode
from fastsip.services.source import Published
from fastsip.testing import Device, Engine
from fastsip.testing.engine import EPOCH

DOMAIN = "example.com"
LONG = 400.0
"""Seconds of virtual time a call is watched for."""
_FORWARDS = ("forward_always", "forward_busy", "forward_no_answer", "forward_unavailable")


class Phone:
    """A device that answers an INVITE as its script says."""

    def __init__(self, stage: Stage, name: str, script: str) -> None:
        self.name = name.partition(";")[0]
        self.device: Device = stage.engine.device(name)
        self.device.on_message = self.heard
        self.invites: list[str] = []
        self._stage = stage
        self._deaf = script.startswith("deaf")
        answers = "" if script == "dead" else script.replace("deaf", "180@0")
        self._script = [one.partition("@") for one in answers.split()]
        self._branches: set[str] = set()
        self._cancelled: set[str] = set()
        self._final: set[str] = set()

    def heard(self, text: str) -> None:
        method = text.partition(" ")[0]
        branch = header(text, "Via").partition("branch=")[2].partition(";")[0]
        if method == "INVITE" and branch not in self._branches:
            self._branches.add(branch)
            self.invites.append(text)
            self._stage.note(self.name)
            for status, _, delay in self._script:
                self._stage.engine.after(float(delay), lambda status=status: self.answer(text, status, branch))
        elif method == "CANCEL":
            if branch not in self._cancelled:
                self._stage.note(f"{self.name}!")
            self._cancelled.add(branch)
            if not self._deaf:
                self.device.send(response(text, "200 OK"))
                invite = next(one for one in self.invites if f"branch={branch}" in one)
                self.answer(invite, "487", branch)
        elif method not in ("ACK", "INVITE"):
            self._stage.note(f"{self.name}={method}")
            self.device.send(response(text, "200 OK"))

    def answer(self, invite: str, status: str, branch: str) -> None:
        if branch in self._final:
            return
        if status >= "200":
            self._final.add(branch)
        contact = f"Contact: <sip:{self.name}@{self.device.address}>\r\n"
        self.device.send(response(invite, f"{status} It", contact, f";tag={self.name.strip('@')}"))


class Reader:
    """The segment, as its writer reads it."""

    def __init__(self, engine: Engine) -> None:
        self.find = engine.segment.get


class Stage:
    """An engine with people in it, and one caller."""

    def __init__(self, people: dict[str, dict[str, Any]], devices: dict[str, str], **options: Any) -> None:
        self.engine = Engine(self._asked)
        self.events: dict[float, list[str]] = {}
        self.caller = self.engine.device("caller")
        self.caller.on_message = self._told
        self.heard: list[str] = []
        self.phones: dict[str, Phone] = {}
        bound: dict[str, list[tuple[str, float]]] = {}
        for name, script in devices.items():
            phone = Phone(self, name, script)
            self.phones[phone.name] = phone
            owner = re.split(r"[.;]", name)[0]
            if not name.startswith("@"):
                q = float(name.partition(";q=")[2] or 1)
                bound.setdefault(owner, []).append((f"sip:{owner}@{phone.device.address}", q))
        for owner, contacts in bound.items():
            self.engine.bind(f"{owner}@{DOMAIN}", *contacts)
        records = {f"{name}@{DOMAIN}": self.record(services) for name, services in people.items()}
        for name in {*people, *bound}:
            self.engine.user(f"{name}@{DOMAIN}", "secret")
        self.engine.control.services = len(records)
        for aor, record in records.items():
            self.engine.segment.put(RECORD_SERVICES, aor.encode(), encode(record))
        published = Published(Reader(self.engine))
        clock = lambda: EPOCH + self.engine.now  # noqa: E731
        self.services = Services(
            published.lookup, published.services, [DOMAIN], [self.engine.listening], now=clock, **options
        )
        self.plan: Plan | None = None

    def uri(self, name: str) -> str:
        """A URI for a name of a case."""
        if name.startswith("@"):
            return f"sip:{name[1:]}@{self.phones[name].device.address}"
        return name if ":" in name else f"sip:{name}@{DOMAIN}"

    def record(self, services: dict[str, Any]) -> Record:
        named = {key: self.uri(value) if key in _FORWARDS else value for key, value in services.items()}
        groups = services.get("find_me", ())
        return Record(**{**named, "find_me": tuple(tuple(map(self.uri, group.split())) for group in groups)})

    def note(self, what: str) -> None:
        self.events.setdefault(round(self.engine.now, 1), []).append(what)

    def call(
        self, to: str, caller: str = "sip:alice@atlanta.example", method: str = "INVITE", headers: str = ""
    ) -> str:
        """Make a call, let all of it happen, and say what happened."""
        self.caller.send(request(method, self.uri(to), caller, self.caller.address, headers))
        self.engine.advance(LONG)
        return " / ".join(f"{time:g}: {' '.join(sorted(events))}" for time, events in sorted(self.events.items()))

    def close(self) -> None:
        left = {name: count for name, count in self.engine.close().items() if count}
        assert not left, left

    def _asked(self, question: Question) -> Plan | None:
        request = Request(question)
        plan = self.services.route(request)
        assert self.services.route(request) == plan, "a plan that was kept is another one"
        self.plan = self.services.expand(plan, request) if plan is not None else None
        return self.plan

    def _told(self, text: str) -> None:
        status = text.split(" ", 2)[1]
        self.heard.append(text)
        if status != "100":
            self.note(f"<{status}")
        if "INVITE" in header(text, "CSeq") and status >= "300":
            self.caller.send(acknowledgement(text))


def told(text: str) -> str:
    """What a case expects, in the order `Stage.call` says it in."""
    moments = []
    for moment in text.split("/"):
        time, _, events = moment.strip().partition(": ")
        moments.append(f"{float(time):g}: {' '.join(sorted(events.split()))}")
    return " / ".join(moments)


def header(text: str, name: str) -> str:
    """The first value of a header, "" if there is none."""
    found = re.search(rf"^{name}: (.*?)\r$", text, re.M | re.I)
    return found[1] if found else ""


def all_headers(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}: (.*?)\r$", text, re.M | re.I)


def request(method: str, uri: str, caller: str, address: str, headers: str = "") -> str:
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bKcase\r\nMax-Forwards: 70\r\n"
        f"From: <{caller}>;tag=a\r\nTo: <{uri}>\r\nCall-ID: case@{address}\r\nCSeq: 1 {method}\r\n"
        f"Contact: <sip:caller@{address}>\r\n{headers}Content-Length: 0\r\n\r\n"
    )


def response(request: str, status: str, more: str = "", tag: str = "") -> str:
    """A response to a request as it was received."""
    kept = [line for line in request.split("\r\n")[1:] if re.match(r"(Via|From|To|Call-ID|CSeq|Record-Route): ", line)]
    lines = [line + tag if line.startswith("To: ") and ";tag=" not in line else line for line in kept]
    return "\r\n".join([f"SIP/2.0 {status}", *lines, f"{more}Content-Length: 0", "", ""])


def acknowledgement(final: str) -> str:
    number = header(final, "CSeq").split()[0]
    kept = [line for line in final.split("\r\n") if re.match(r"(Via|From|To|Call-ID): ", line)]
    return "\r\n".join(["ACK sip:x@example.com SIP/2.0", *kept, f"CSeq: {number} ACK", "Content-Length: 0", "", ""])
