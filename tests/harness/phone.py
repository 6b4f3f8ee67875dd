"""A small telephone in Python: registers with Digest, asks OPTIONS, sends any bytes, over one UDP socket.

The flows themselves are played by SIPp; this is for what comes before and after, and for what SIPp cannot send.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
import socket
import time
from types import TracebackType

from .wire import Message, parameters

_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


def digest(challenge: str, username: str, password: str, method: str, uri: str, count: int = 1) -> str:
    """Credentials for a Digest challenge (RFC 8760, qop=auth)."""
    given = parameters(challenge)
    algorithm = given.get("algorithm", "MD5")

    def hashed(text: str) -> str:
        return hashlib.new(_HASHES[algorithm.upper()], text.encode()).hexdigest()

    cnonce, nc = secrets.token_hex(8), f"{count:08x}"
    ha1, ha2 = hashed(f"{username}:{given['realm']}:{password}"), hashed(f"{method}:{uri}")
    response = hashed(f"{ha1}:{given['nonce']}:{nc}:{cnonce}:auth:{ha2}")
    opaque = f', opaque="{given["opaque"]}"' if "opaque" in given else ""
    return (
        f'Digest username="{username}", realm="{given["realm"]}", nonce="{given["nonce"]}", uri="{uri}", '
        f'response="{response}", algorithm={algorithm}, cnonce="{cnonce}", qop=auth, nc={nc}{opaque}'
    )


def _answers(response: Message, request: Message) -> bool:
    """Whether it is about this request and not one before; a request without a branch is known by its Call-ID."""
    return response.branch == request.branch and response.call_id == request.call_id


class Phone:
    """One UDP socket that asks a server something. `server` is where every request goes."""

    def __init__(self, server: tuple[str, int], host: str = "127.0.0.1", timeout: float = 2.0) -> None:
        self.server = server
        self.timeout = timeout
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.bind((host, 0))
        self.host, self.port = self.socket.getsockname()
        self._cseq = itertools.count(1)

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.socket.close()

    def request(
        self,
        method: str,
        uri: str,
        *,
        sender: str = "sip:phone@phone.invalid",
        to: str | None = None,
        call_id: str | None = None,
        cseq: int | None = None,
        headers: str = "",
        body: bytes = b"",
        branch: str | None = None,
    ) -> bytes:
        """The bytes of a request as a decent phone writes it. `headers` are whole lines that end in CR LF."""
        return (
            f"{method} {uri} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self.host}:{self.port};rport;branch={branch or 'z9hG4bK' + secrets.token_hex(8)}\r\n"
            f"Max-Forwards: 70\r\nFrom: <{sender}>;tag={secrets.token_hex(4)}\r\nTo: <{to or uri}>\r\n"
            f"Call-ID: {call_id or secrets.token_hex(12)}\r\nCSeq: {cseq or next(self._cseq)} {method}\r\n"
            f"{headers}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.server)

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next datagram as a message, None if none comes within `timeout` seconds."""
        self.socket.settimeout(max(timeout if timeout is not None else self.timeout, 0.001))
        try:
            data, source = self.socket.recvfrom(65535)
        except (TimeoutError, ConnectionError):
            return None
        return Message(data, time=time.monotonic(), source=source)

    def ask(self, data: bytes, timeout: float | None = None, retransmit: float = 0.2) -> Message | None:
        """Send a request, again every `retransmit` seconds, until its final response is here. None if there is none."""
        deadline = time.monotonic() + (timeout or self.timeout)
        asked = Message(data)
        while (left := deadline - time.monotonic()) > 0:
            self.send(data)
            resend = time.monotonic() + min(left, retransmit)
            while (wait := resend - time.monotonic()) > 0:
                answer = self.receive(wait)
                if answer and answer.is_response and answer.status >= 200 and _answers(answer, asked):
                    return answer
        return None

    def respond(self, request: Message, status: int, headers: str = "", tag: str = "phone") -> None:
        """Answer a request. `headers` are whole lines."""
        names = ("Via", "Record-Route", "From", "Call-ID", "CSeq")
        copied = "".join(f"{name}: {value}\r\n" for name in names for value in request.all(name))
        to = request.get("To")
        to = to if ";tag=" in to else f"{to};tag={tag}"
        self.send(f"SIP/2.0 {status} X\r\n{copied}To: {to}\r\n{headers}Content-Length: 0\r\n\r\n".encode())

    def options(self, timeout: float | None = None, call_id: str | None = None) -> Message | None:
        """Ask the server itself for its OPTIONS."""
        host, port = self.server
        return self.ask(self.request("OPTIONS", f"sip:{host}:{port}", call_id=call_id), timeout)

    def register(
        self,
        aor: str,
        contact: str,
        password: str | None = None,
        *,
        expires: int = 3600,
        call_id: str | None = None,
        algorithm: str = "MD5",
        timeout: float | None = None,
    ) -> Message | None:
        """Bind `contact` to `aor` (user@domain), answering a challenge if there is one. Returns the last response."""
        username, domain = aor.split("@")
        uri = f"sip:{domain}"
        call_id = call_id or secrets.token_hex(12)
        binding = f"Contact: <{contact}>\r\nExpires: {expires}\r\n"

        def attempt(extra: str = "") -> Message | None:
            who = {"sender": f"sip:{aor}", "to": f"sip:{aor}", "call_id": call_id}
            return self.ask(self.request("REGISTER", uri, headers=binding + extra, **who), timeout)

        answer = attempt()
        if answer and answer.status in (401, 407) and password is not None:
            name = "WWW-Authenticate" if answer.status == 401 else "Proxy-Authenticate"
            offered = {parameters(value).get("algorithm", "MD5").upper(): value for value in answer.all(name)}
            challenge = offered.get(algorithm) or next(iter(offered.values()))
            field = "Authorization" if answer.status == 401 else "Proxy-Authorization"
            answer = attempt(f"{field}: {digest(challenge, username, password, 'REGISTER', uri)}\r\n")
        return answer
