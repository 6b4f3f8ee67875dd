"""Gateways in Python, and a server with a dial plan over them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from harness import Message, Phone, Server

Answers = list[str]
"""Status lines (and more header lines) sent to an INVITE, one after another; empty for silence."""
RINGS: Answers = ["180 Ringing", "200 OK"]


class Gateway:
    """One UDP socket that answers every request: OPTIONS and BYE with 200, an INVITE with `answers`."""

    def __init__(self, answers: Answers = RINGS, host: str = "127.0.0.5") -> None:
        self.answers = answers
        self.dead = False
        """Silent to everything."""
        self.received: list[Message] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.host, self.port = self._socket.getsockname()
        self._seen: set[str] = set()
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

    @property
    def uri(self) -> str:
        return f"sip:{self.host}:{self.port}"

    def requests(self, method: str) -> list[Message]:
        """Those with a Call-ID of their own: retransmissions and those of one call count once."""
        return list({message.call_id: message for message in self.received if message.method == method}.values())

    def _run(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(65_535)
            except OSError:
                return
            message = Message(data, time=time.monotonic(), source=source)
            if self.dead or message.is_response:
                continue
            self.received.append(message)
            if message.method != "ACK":
                for line in self.answers if message.method == "INVITE" else ["200 OK"]:
                    self._socket.sendto(self._response(message, line), source)

    def _response(self, request: Message, line: str) -> bytes:
        head = [f"SIP/2.0 {line}"]
        head += [f"{name}: {value}" for name in ("Via", "Record-Route") for value in request.all(name)]
        head += [f"{name}: {request.one(name)}" for name in ("From", "Call-ID", "CSeq")]
        to = request.one("To")
        head.append(f"To: {to}" if "tag=" in to or line.startswith("100") else f"To: {to};tag=gw{self.port}")
        head += [f"Contact: <{self.uri}>", "Content-Length: 0"]
        return ("\r\n".join(head) + "\r\n\r\n").encode()


@dataclass
class Routed(Server):
    """A server with gateways and routes, as text of its configuration."""

    plan: str = ""

    def configuration(self) -> str:
        return f"{super().configuration()}\n{self.plan}\n"

    def gateways(self) -> dict[str, dict[str, object]]:
        """`ctl gateways`, by name."""
        return {one["name"]: one for one in self.stats()["gateways"]}


class Caller(Phone):
    """A phone that makes calls."""

    def call(self, uri: str, timeout: float = 8.0, **more: str) -> Call:
        """An INVITE until its final response, acknowledged; AssertionError if there is none."""
        invite = Message(self.request("INVITE", uri, headers=f"Contact: <sip:{self.host}:{self.port}>\r\n", **more))
        answer = self.ask(invite.raw, timeout, retransmit=0.5)
        assert answer is not None, f"no final response to {uri}"
        call = Call(self, invite, answer)
        call.acknowledge()
        return call


class Call:
    """One that was answered or refused."""

    def __init__(self, phone: Phone, invite: Message, answer: Message) -> None:
        self.phone = phone
        self.invite = invite
        self.answer = answer

    @property
    def status(self) -> int:
        return self.answer.status

    def acknowledge(self) -> None:
        if self.status < 300:
            self.phone.send(self._request("ACK"))
        else:
            lines = [f"ACK {self.invite.uri} SIP/2.0", f"Via: {self.invite.one('Via')}", "Max-Forwards: 70"]
            self.phone.send(self._rest(lines, "ACK"))

    def hang_up(self) -> None:
        answer = self.phone.ask(self._request("BYE"))
        assert answer is not None
        assert answer.status == 200

    def _request(self, method: str) -> bytes:
        target = self.answer.one("Contact").strip("<>")
        via = f"SIP/2.0/UDP {self.phone.host}:{self.phone.port};rport;branch=z9hG4bK{method}{self.invite.branch[7:]}"
        lines = [f"{method} {target} SIP/2.0", f"Via: {via}", "Max-Forwards: 70"]
        lines += [f"Route: {route}" for route in reversed(self.answer.all("Record-Route"))]
        return self._rest(lines, method)

    def _rest(self, lines: list[str], method: str) -> bytes:
        number = self.invite.one("CSeq").split()[0]
        number = str(int(number) + 1) if method == "BYE" else number
        lines += [f"From: {self.invite.one('From')}", f"To: {self.answer.one('To')}"]
        lines += [f"Call-ID: {self.invite.call_id}", f"CSeq: {number} {method}", "Content-Length: 0"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for it, or AssertionError."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
