"""Gateways in Python, and a server with a dial plan over them."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from harness import Message, Phone, Server, free_port

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
        self._open(host)
        threading.Thread(target=self._run, daemon=True).start()

    def _open(self, host: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.host, self.port = self._socket.getsockname()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._socket.close()

    @property
    def uri(self) -> str:
        return f"sip:{self.host}:{self.port}"

    @property
    def contact(self) -> str:
        return self.uri

    def requests(self, method: str) -> list[Message]:
        """Those with a Call-ID of their own: retransmissions and those of one call count once."""
        return list({message.call_id: message for message in self.received if message.method == method}.values())

    def _run(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(65_535)
            except OSError:
                return
            for response in self._answer(Message(data, time=time.monotonic(), source=source)):
                self._socket.sendto(response, source)

    def _answer(self, message: Message) -> list[bytes]:
        if self.dead or message.is_response:
            return []
        self.received.append(message)
        if message.method == "ACK":
            return []
        return [self._response(message, line) for line in (self.answers if message.method == "INVITE" else ["200 OK"])]

    def _response(self, request: Message, line: str) -> bytes:
        head = [f"SIP/2.0 {line}"]
        head += [f"{name}: {value}" for name in ("Via", "Record-Route") for value in request.all(name)]
        head += [f"{name}: {request.one(name)}" for name in ("From", "Call-ID", "CSeq")]
        to = request.one("To")
        head.append(f"To: {to}" if "tag=" in to or line.startswith("100") else f"To: {to};tag=gw{self.port}")
        head += [f"Contact: <{self.contact}>", "Content-Length: 0"]
        return ("\r\n".join(head) + "\r\n\r\n").encode()


class StreamGateway(Gateway):
    """The same on TCP connections, or with a context on TLS ones. `name` is what it is called where that is no
    address."""

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        answers: Answers = RINGS,
        host: str = "127.0.0.5",
        name: str = "",
    ) -> None:
        self.context = context
        self.name = name
        self.transport = "tls" if context else "tcp"
        self.connections: list[socket.socket] = []
        self.accepted = 0
        super().__init__(answers, host)

    def _open(self, host: str) -> None:
        self.host, self.port = host, free_port(host)
        self._listen()

    def _listen(self) -> None:
        self._socket = socket.create_server((self.host, self.port))

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Nothing is accepted any more, and what was is closed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        self._socket.close()
        for sock in self.connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self.connections.clear()

    def come_back(self) -> None:
        self._listen()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"sip:{self.name or self.host}:{self.port};transport={self.transport}"

    @property
    def contact(self) -> str:
        """Where it says that it is: its address, whatever it is called."""
        return f"sip:{self.host}:{self.port};transport={self.transport}"

    def hang_up(self, invite: Message) -> None:
        """A BYE of its own in the call it took with `invite`, by the connection that came last."""
        target = re.search(r"<([^>]+)>", invite.one("Contact"))
        assert target
        lines = [f"BYE {target[1]} SIP/2.0"]
        lines += [f"Via: SIP/2.0/{self.transport.upper()} {self.host}:{self.port};branch=z9hG4bKbye{invite.call_id}"]
        lines += ["Max-Forwards: 70", *(f"Route: {route}" for route in invite.all("Record-Route"))]
        lines += [f"From: {invite.one('To')};tag=gw{self.port}", f"To: {invite.one('From')}"]
        lines += [f"Call-ID: {invite.call_id}", "CSeq: 9 BYE", "Content-Length: 0"]
        self.connections[-1].sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def _run(self) -> None:
        listening = self._socket
        while True:
            try:
                sock, source = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, source), daemon=True).start()

    def _serve(self, sock: socket.socket, source: tuple[str, int]) -> None:
        pending = b""
        try:
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            self.accepted += 1
            self.connections.append(sock)
            while data := sock.recv(65_535):
                pending = (pending + data).lstrip(b"\r\n")
                while b"\r\n\r\n" in pending:  # nothing here has a body
                    head, _, pending = pending.partition(b"\r\n\r\n")
                    for response in self._answer(Message(head + b"\r\n\r\n", time=time.monotonic(), source=source)):
                        sock.sendall(response)
        except OSError:
            pass
        sock.close()


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
