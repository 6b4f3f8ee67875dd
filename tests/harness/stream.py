"""A telephone on one TCP connection, or anything that sends and receives as a socket does: what `Phone` is for UDP."""

from __future__ import annotations

import itertools
import re
import secrets
import socket
import ssl
import time
from types import TracebackType
from typing import Any

from websockets.exceptions import ConnectionClosed

from .wire import Message, tag

_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d+)", re.I | re.M)


class StreamPhone:
    """One connection to `server`. `user` is who it is; `listen` gives it a port of its own, which its Contact names."""

    transport = "TCP"
    scheme = "sip"
    """Of its Contact and its registration; "sips" for who wants to be reached so (RFC 5630 5.1.1.1)."""

    def __init__(
        self,
        server: tuple[str, int],
        user: str = "phone",
        domain: str = "example.com",
        host: str = "127.0.0.1",
        timeout: float = 3.0,
    ) -> None:
        self.server, self.user, self.domain, self.timeout = server, user, domain, timeout
        self.socket = self.connect(server, host)
        self.host, self.port = self.socket.getsockname()[:2]
        if ":" in self.host:
            self.host = f"[{self.host}]"
        self.pending = b""
        self.tag = secrets.token_hex(4)
        self._cseq = itertools.count(1)

    def connect(self, server: tuple[str, int], host: str) -> socket.socket:
        return socket.create_connection(server, timeout=self.timeout, source_address=(host, 0))

    def __enter__(self) -> StreamPhone:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.socket.close()

    @property
    def uri(self) -> str:
        """Its address-of-record."""
        return f"sip:{self.user}@{self.domain}"

    @property
    def contact(self) -> str:
        """Its Contact: the port of the connection, where nobody listens."""
        if self.scheme == "sips":
            return f"sips:{self.user}@{self.host}:{self.port}"
        return f"sip:{self.user}@{self.host}:{self.port};transport={self.transport.lower()}"

    def request(
        self,
        method: str,
        uri: str,
        *,
        to: str | None = None,
        call_id: str | None = None,
        cseq: int | None = None,
        headers: str = "",
        body: bytes = b"",
        length: str | None = None,
    ) -> bytes:
        """The bytes of a request. `headers` are whole lines, `length` is a Content-Length line that is wrong."""
        line = f"Content-Length: {len(body)}\r\n" if length is None else length
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/{self.transport} {self.host}:{self.port};branch=z9hG4bK{secrets.token_hex(8)}\r\n"
            f"Max-Forwards: 70\r\nFrom: <{self.uri}>;tag={self.tag}\r\nTo: {to or f'<{uri}>'}\r\n"
            f"Call-ID: {call_id or secrets.token_hex(12)}\r\nCSeq: {cseq or next(self._cseq)} {method}\r\n"
            f"Contact: <{self.contact}>\r\n{headers}{line}\r\n"
        ).encode() + body

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message of the stream, None if none comes within `timeout` seconds or the stream has ended; then
        `nothing` says which."""
        self.nothing = "nothing came"
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            found = self.take()
            if found is not None:
                return Message(found, time=time.monotonic())
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                return None
            except OSError as error:
                self.nothing = f"the connection broke: {error}"
                return None
            if not data:
                self.nothing = "the connection was closed"
                return None
            self.pending += data

    def take(self) -> bytes | None:
        """A whole message out of what has come."""
        self.pending = self.pending.lstrip(b"\r\n")
        head, gap, rest = self.pending.partition(b"\r\n\r\n")
        if not gap:
            return None
        match = _LENGTH.search(head)
        assert match or self.transport not in ("TCP", "TLS"), f"without Content-Length on a stream: {head!r}"
        length = int(match.group(1)) if match else 0
        if len(rest) < length:
            return None
        self.pending = rest[length:]
        return head + gap + rest[:length]

    def expect(self, name: str, timeout: float | None = None) -> Message:
        """The next message that is called so ("INVITE", "200"), passing over 100s. Raises AssertionError."""
        message = self.receive(timeout)
        while message is not None and message.name == "100" and name != "100":
            message = self.receive(timeout)
        assert message is not None, f"{self.user} waited for {name}: {self.nothing}"
        assert message.name == name, f"{self.user} waited for {name}:\n{message}"
        return message

    def closed(self, timeout: float = 3.0) -> bool:
        """Whether the server closes the connection in that time."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if not self.socket.recv(65536):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False

    def register(self, expires: int = 600) -> Message:
        domain = f"{self.scheme}:{self.domain}"
        self.send(self.request("REGISTER", domain, to=f"<{self.uri}>", headers=f"Expires: {expires}\r\n"))
        return self.expect("200")

    def respond(self, request: Message, status: int, headers: str = "", body: bytes = b"") -> None:
        """Answer a request, with a Contact and a To tag of its own."""
        copied = "".join(
            f"{name}: {value}\r\n"
            for name in ("Via", "Record-Route", "From", "Call-ID", "CSeq")
            for value in request.all(name)
        )
        to = request.get("To")
        to = to if tag(to) else f"{to};tag={self.tag}"
        self.send(
            (
                f"SIP/2.0 {status} X\r\n{copied}To: {to}\r\nContact: <{self.contact}>\r\n{headers}"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body
        )

    def within(self, method: str, dialog: Message, cseq: int = 2, own: bool = False, headers: str = "") -> bytes:
        """A request inside the dialog that `dialog` made: a 2xx that came, or (`own`) an INVITE that came and was
        answered with `respond`."""
        if own:
            routes, to = dialog.all("Record-Route"), dialog.get("From")
        else:
            routes, to = dialog.all("Record-Route")[::-1], dialog.get("To")
        target = re.search(r"<([^>]+)>", dialog.get("Contact"))
        assert target
        lines = "".join(f"Route: {route}\r\n" for route in routes)
        data = self.request(method, target[1], to=to, call_id=dialog.call_id, cseq=cseq, headers=lines + headers)
        if own:  # this end is the one the To of the dialog names
            mine = dialog.get("To")
            mine = mine if tag(mine) else f"{mine};tag={self.tag}"
            return re.sub(rb"From: [^\r]*", f"From: {mine}".encode(), data, count=1)
        return re.sub(rb"From: [^\r]*", f"From: {dialog.get('From')}".encode(), data, count=1)


class SecurePhone(StreamPhone):
    """The same with TLS. `context` is its trust and its certificate, `name` who the server has to be."""

    transport = "TLS"

    def __init__(
        self,
        server: tuple[str, int],
        user: str = "phone",
        *,
        context: ssl.SSLContext,
        name: str = "example.com",
        host: str = "127.0.0.1",
    ) -> None:
        self.context, self.name = context, name
        super().__init__(server, user, host=host)

    def connect(self, server: tuple[str, int], host: str) -> socket.socket:
        return self.context.wrap_socket(super().connect(server, host), server_hostname=self.name)


class DatagramPhone(StreamPhone):
    """The same by UDP."""

    transport = "UDP"

    def connect(self, server: tuple[str, int], host: str) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((host, 0))
        made.connect(server)
        return made

    @property
    def contact(self) -> str:
        return f"sip:{self.user}@{self.host}:{self.port}"


def call(alice: StreamPhone, bob: StreamPhone, scheme: str = "sip", *, target: str = "", hops: int = 1) -> Message:
    """A call from the one to the other, or to `target` that is he, through `hops` servers with TLS between them, and a
    request of each inside it; the INVITE as it came."""
    target = target or f"{scheme}:{bob.user}@{bob.domain}"
    alice.send(alice.request("INVITE", target, call_id=secrets.token_hex(12), cseq=1))
    invite = bob.expect("INVITE")
    between = ["TLS"] * (hops - 1)
    assert [via.split("/")[2].split()[0] for via in invite.all("Via")] == [bob.transport, *between, alice.transport]
    bob.respond(invite, 180)
    alice.expect("180")
    bob.respond(invite, 200)
    answer = alice.expect("200")
    alice.send(alice.within("ACK", answer, cseq=1))
    bob.expect("ACK")
    alice.send(alice.within("INFO", answer, cseq=2))
    bob.respond(bob.expect("INFO"), 200)
    alice.expect("200")
    bob.send(bob.within("BYE", invite, cseq=1, own=True))
    alice.respond(alice.expect("BYE"), 200)
    bob.expect("200")
    return invite


class WebPhone(StreamPhone):
    """A phone in a page as far as SIP goes: WebSocket, and a Contact nobody can connect to."""

    transport = "WS"

    def __init__(
        self, server: tuple[str, int], user: str = "phone", *, context: ssl.SSLContext | None = None, name: str = ""
    ) -> None:
        self.context, self.name = context, name
        if context is not None:
            self.transport = "WSS"
        super().__init__(server, user)

    def connect(self, server: tuple[str, int], host: str) -> socket.socket:
        from websockets.sync.client import connect

        sock = socket.create_connection(server, timeout=self.timeout, source_address=(host, 0))
        scheme = "wss" if self.context else "ws"
        named = {"ssl": self.context, "server_hostname": self.name} if self.context else {}
        self._opened = connect(
            f"{scheme}://{server[0]}:{server[1]}/",
            sock=sock,
            subprotocols=["sip"],
            proxy=None,
            compression=None,
            **named,
        )
        self.web = self._opened.__enter__()
        return self.web.socket

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._opened.__exit__(kind, error, _)

    @property
    def contact(self) -> str:
        return f"sip:{self.user}@{self.tag}.invalid;transport=ws"

    def request(self, method: str, uri: str, **more: Any) -> bytes:
        """Without a port in its Via: a page knows neither its address nor its port."""
        data = super().request(method, uri, **more)
        return data.replace(f" {self.host}:{self.port};branch".encode(), f" {self.tag}.invalid;branch".encode(), 1)

    def send(self, data: bytes) -> None:
        self.web.send(data.decode())

    def receive(self, timeout: float | None = None) -> Message | None:
        try:
            data = self.web.recv(self.timeout if timeout is None else timeout)
        except (TimeoutError, EOFError, OSError, ConnectionClosed):
            return None
        return Message(data.encode() if isinstance(data, str) else data, time=time.monotonic())
