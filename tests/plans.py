"""Phones of an engine in virtual time, and what they saw, for the tests of route plans.

    with scene() as s:
        alice, bob = s.phone("alice"), s.phone("bob")
        s.engine.bind("bob@example.com", bob.contact)
        bob.does((0.1, "180 Ringing"), (2, "200 OK"))
        alice.calls("sip:bob@example.com")
        s.engine.advance(5)
        assert alice.seen == ["100", "180", "200"]

A scene ends with everything that is due in it, and with nothing left: no transaction, context, buffer or timer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from engine import ack, header, headers, reply

from fastsip.policy.plan import Plan
from fastsip.policy.request import Question
from fastsip.testing import Engine
from fastsip.testing.engine import Device

ENOUGH = 600.0
"""Seconds after which nothing of a call may be left: Timer C, 64*T1 of a CANCEL, 64*T1 of a waiting state, twice."""


class Phone(Device):
    """A device with habits. It acknowledges refusals, obeys CANCEL (200, and 487 to an INVITE it has not answered), and
    otherwise does what it was told."""

    def __init__(self, scene: Scene, name: str, host: str) -> None:
        super().__init__(scene.engine, name, host)
        self.contact = f"sip:{name}@{self.address}"
        self.obeys = True
        self.acks = True
        self.text = ""
        """The last request it sent."""
        self.invites: list[str] = []
        """Requests it was sent, retransmissions not counted."""
        self.answered: set[str] = set()
        self._script: tuple[tuple[float | str, ...], ...] = ()
        self._number = 0
        self._sent: dict[str, str] = {}
        self.on_message = self._hear

    def does(self, *steps: tuple[float | str, ...]) -> Phone:
        """Responses to the requests it gets: seconds after the request, status and reason, header lines."""
        self._script = steps
        return self

    def request(self, method: str, uri: str, *extra: str, call: str | None = None, **more: Any) -> str:
        """A request as this phone writes it; `more`: cseq, from_, to, max_forwards, branch."""
        self._number += 1
        number = f"{self.name}-{self._number}"
        forwards = more.get("max_forwards", 70)
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.address};branch={more.get('branch') or f'z9hG4bK-{number}'}",
            f"Max-Forwards: {forwards}",
            f"From: {more.get('from_', f'<sip:{self.name}@example.com>')};tag=a1",
            f"To: {more.get('to', '<sip:bob@example.com>')}",
            f"Call-ID: {call or f'call-{number}'}",
            f"CSeq: {more.get('cseq', 1)} {method}",
            f"Contact: <sip:{self.name}@{self.address}>",
            *extra,
            "Content-Length: 0",
        ]
        self.text = "\r\n".join([*lines, "", ""])
        self._sent[header(self.text, "Call-ID")] = self.text
        return self.text

    def calls(self, uri: str, *extra: str, method: str = "INVITE", **more: Any) -> str:
        """Send such a request."""
        text = self.request(method, uri, *extra, **more)
        self.send(text)
        return text

    def again(self) -> None:
        """The same request once more."""
        self.send(self.text)

    def cancels(self) -> None:
        """CANCEL of its INVITE."""
        lines = [re.sub(r"^INVITE", "CANCEL", self.text.split("\r\n")[0])]
        lines += [f"Via: {header(self.text, 'Via')}", "Max-Forwards: 70"]
        lines += [f"{name}: {header(self.text, name)}" for name in ("From", "To", "Call-ID")]
        lines += [f"CSeq: {header(self.text, 'CSeq').split()[0]} CANCEL", "Content-Length: 0", "", ""]
        self.send("\r\n".join(lines))

    def answers(self, status: str, *extra: str, tag: str | None = None, to: int = -1) -> str:
        """Answer the request it got (`to`: which of them) now."""
        request = self.invites[to]
        response = reply(request, status, *extra, to_tag=tag or self.name)
        if not status.startswith("1"):
            self.answered.add(header(request, "Via"))
        self.send(response)
        return response

    @property
    def seen(self) -> list[str]:
        """All it received, in short: "INVITE" or "180", of other requests than INVITE "200 CANCEL"."""
        return [short(text) for _, text in self.received]

    def got(self, what: str) -> list[str]:
        """Those of its messages that are so in short."""
        return [text for _, text in self.received if short(text) == what]

    def at(self, what: str) -> list[float]:
        """When they came."""
        return [when for when, text in self.received if short(text) == what]

    def _hear(self, text: str) -> None:
        if text.startswith("SIP/2.0"):
            self._hear_response(text)
        elif text.startswith("CANCEL"):
            invite = next((one for one in self.invites if header(one, "Via") == header(text, "Via")), None)
            self.send(reply(text, "200 OK" if invite else "481 What", to_tag=self.name))
            if invite and self.obeys and header(text, "Via") not in self.answered:
                self.answered.add(header(text, "Via"))
                self.send(reply(invite, "487 Request Terminated", to_tag=self.name))
        elif not text.startswith("ACK") and text not in self.invites:
            self.invites.append(text)
            for step in self._script:
                after, status, *extra = step
                self.engine.after(float(after), self._later(text, str(status), [str(one) for one in extra]))

    def _hear_response(self, text: str) -> None:
        if self.acks and text[8] >= "3" and header(text, "CSeq").endswith("INVITE"):
            self.send(ack(self._sent[header(text, "Call-ID")], text))

    def _later(self, request: str, status: str, extra: list[str]) -> Callable[[], None]:
        def send() -> None:
            via = header(request, "Via")
            if via in self.answered and not status.startswith("2"):
                return
            if not status.startswith("1"):
                self.answered.add(via)
            self.send(reply(request, status, *extra, to_tag=self.name))

        return send


class Scene:
    """An engine and its phones. `asked` answers a policy's questions, which are kept."""

    def __init__(self, asked: Callable[[Question], object] | None = None, **settings: Any) -> None:
        self.questions: list[Question] = []
        self._asked = asked
        self.engine = Engine(self._ask, **settings)

    def phone(self, name: str, host: str = "127.0.0.1") -> Phone:
        phone = Phone(self, name, host)
        self.engine.devices.append(phone)
        return phone

    def phones(self, *names: str) -> list[Phone]:
        return [self.phone(name) for name in names]

    def fork(self, *names: str, aor: str = "bob@example.com") -> tuple[Phone, list[Phone]]:
        """A caller, and phones that are registered for one address with the same q."""
        alice = self.phone("alice")
        phones = self.phones(*names)
        self.engine.bind(aor, *(phone.contact for phone in phones))
        return alice, phones

    def _ask(self, question: Question) -> object:
        self.questions.append(question)
        return self._asked(question) if self._asked is not None else None


@contextmanager
def scene(asked: Callable[[Question], object] | None = None, **settings: Any) -> Iterator[Scene]:
    made = Scene(asked, **settings)
    try:
        yield made
        made.engine.advance(ENOUGH)
        left = {name: made.engine.counters()[name] for name in ("transactions", "contexts", "buffers", "timers")}
        assert not any(left.values()), left
    finally:
        left = made.engine.close()
    assert not any(left.values()), left


@contextmanager
def planned(plan: Plan, *, asks: str = "requests", **settings: Any) -> Iterator[Scene]:
    """A scene in which this plan is the answer to every question about where to."""
    with scene(lambda question: plan if question.kind == 1 else None, asks=[asks], **settings) as made:
        yield made


def short(text: str) -> str:
    """A message in a word or two."""
    first, second = text.split(" ", 2)[:2]
    if first != "SIP/2.0":
        return first
    method = header(text, "CSeq").split()[1]
    return second if method == "INVITE" else f"{second} {method}"


def tag_of(text: str) -> str:
    found = re.search(r"tag=([^;>\s]+)", header(text, "To"))
    return found[1] if found else ""


def breadths(phones: list[Phone]) -> list[int]:
    """Max-Breadth of the requests these phones got."""
    found = []
    for phone in phones:
        for text in phone.invites:
            assert len(headers(text, "Max-Breadth")) == 1, text
            found.append(int(header(text, "Max-Breadth")))
    return found
