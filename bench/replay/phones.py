"""The phones of a replay: what they send depends on nothing but what they receive, and so is the same every time.

All callers and callees share a socket each; a phone answers in the step after the one in which a message reached it.
A call is INVITE, 180, 200, ACK, BYE, 200: six messages the server receives. A registration is a REGISTER, challenged,
and the same again with credentials: two.
"""

from __future__ import annotations

import hashlib
import re
import socket
from typing import Protocol

from replay.people import DOMAIN, PASSWORD, USERS

SDP = (
    b"v=0\r\no=- 3724394400 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    b"m=audio 49170 RTP/AVP 0 8\r\na=sendrecv\r\n"
)
PARAMETER = re.compile(rb'(\w+)="?([^",]*)')


class Phones(Protocol):
    """One side of a path: `begin` starts one call or registration, `step` answers what came and sends what is due."""

    completed: int
    unexpected: list[bytes]

    def begin(self) -> None: ...
    def step(self) -> None: ...
    def close(self) -> None: ...


def bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.setblocking(False)
    sock.bind((host, port))
    return sock


def received(sock: socket.socket) -> list[bytes]:
    messages = []
    while True:
        try:
            messages.append(sock.recv(65536))
        except BlockingIOError:
            return messages


def lines_of(message: bytes, *names: bytes) -> list[bytes]:
    """The header lines that begin with one of these names, in their order."""
    return [line for line in message.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:] if line.startswith(names)]


class Side:
    """A socket and who is behind it."""

    def __init__(self, host: str, port: int, server: tuple[str, int]) -> None:
        self.socket = bound(host, port)
        self.name = b"%s:%d" % (host.encode(), port)
        self.server = server
        self.queue: list[bytes] = []

    def flush(self) -> None:
        for message in self.queue:
            self.socket.sendto(message, self.server)
        self.queue.clear()


class Calls:
    """Callers and callees, INVITE to BYE."""

    def __init__(self, callers: str, callees: str, port: int, server: tuple[str, int]) -> None:
        self.caller, self.callee = Side(callers, port, server), Side(callees, port, server)
        self.begun = self.completed = 0
        self.unexpected: list[bytes] = []
        self.due: list[tuple[Side, bytes]] = []

    def begin(self) -> None:
        n = self.begun
        self.begun += 1
        self.caller.queue.append(
            b"INVITE sip:user%04d@%s SIP/2.0\r\n"
            b"Via: SIP/2.0/UDP %s;branch=z9hG4bK-%08x-524287-1;rport\r\n"
            b"Max-Forwards: 70\r\n"
            b"From: <sip:user%04d@%s>;tag=%08x\r\n"
            b"To: <sip:user%04d@%s>\r\n"
            b"Call-ID: %08x-9d2c@%s\r\n"
            b"CSeq: 1 INVITE\r\n"
            b"Contact: <sip:caller@%s>\r\n"
            b"User-Agent: fastsip replay\r\n"
            b"Content-Type: application/sdp\r\n"
            b"Content-Length: %d\r\n\r\n%s"
            % (
                *(n * 7 % USERS, DOMAIN.encode(), self.caller.name, n, n * 13 % USERS, DOMAIN.encode(), n),
                *(n * 7 % USERS, DOMAIN.encode(), n, self.caller.name.split(b":")[0], self.caller.name, len(SDP), SDP),
            )
        )

    def step(self) -> None:
        due, self.due = self.due, []
        for side, message in due:
            side.queue.append(message)
        for message in received(self.callee.socket):
            self.called(message)
        for message in received(self.caller.socket):
            self.answered(message)
        self.caller.flush()
        self.callee.flush()

    def called(self, message: bytes) -> None:
        if message.startswith(b"INVITE"):
            self.callee.queue.append(self.response(message, b"180 Ringing", b""))
            self.due.append((self.callee, self.response(message, b"200 OK", SDP)))
        elif message.startswith(b"BYE"):
            self.callee.queue.append(self.response(message, b"200 OK", b""))
        elif not message.startswith(b"ACK"):
            self.unexpected.append(message)

    def response(self, request: bytes, status: bytes, body: bytes) -> bytes:
        kept = lines_of(request, b"Via:", b"Record-Route:", b"From:", b"Call-ID:", b"CSeq:")
        [to] = lines_of(request, b"To:")
        if b";tag=" not in to:
            to += b";tag=callee-1"
        kept += [to, b"Contact: <sip:callee@%s>" % self.callee.name]
        if body:
            kept.append(b"Content-Type: application/sdp")
        kept.append(b"Content-Length: %d" % len(body))
        return b"SIP/2.0 %s\r\n%s\r\n\r\n%s" % (status, b"\r\n".join(kept), body)

    def answered(self, message: bytes) -> None:
        if message.startswith(b"SIP/2.0 200") and b"INVITE\r\n" in message:
            self.caller.queue.append(self.within(message, b"ACK", 1))
            self.due.append((self.caller, self.within(message, b"BYE", 2)))
        elif message.startswith(b"SIP/2.0 200"):
            self.completed += 1
        elif not message.startswith(b"SIP/2.0 1"):
            self.unexpected.append(message)

    def within(self, ok: bytes, method: bytes, cseq: int) -> bytes:
        """A request in the dialog the 200 confirmed."""
        [contact] = lines_of(ok, b"Contact:")
        [via] = lines_of(ok, b"Via:")
        branch = via.split(b"branch=")[1].split(b";")[0]
        routes = [b"Route:" + line.split(b":", 1)[1] for line in reversed(lines_of(ok, b"Record-Route:"))]
        kept = [
            b"Via: SIP/2.0/UDP %s;branch=%s-%d;rport" % (self.caller.name, branch, cseq + (method == b"ACK")),
            b"Max-Forwards: 70",
            *routes,
            *lines_of(ok, b"From:", b"To:", b"Call-ID:"),
            b"CSeq: %d %s" % (cseq, method),
            b"Content-Length: 0",
        ]
        uri = contact.split(b"<")[1].split(b">")[0]
        return b"%s %s SIP/2.0\r\n%s\r\n\r\n" % (method, uri, b"\r\n".join(kept))

    def close(self) -> None:
        self.caller.socket.close()
        self.callee.socket.close()


class Forks(Calls):
    """Callees with three phones that ring at once: the first answers, the others are cancelled."""

    def called(self, message: bytes) -> None:
        if message.startswith(b"INVITE"):
            phone = self.phone(message)
            self.callee.queue.append(self.response(message, b"180 Ringing", b""))
            if phone == 0:
                self.due.append((self.callee, self.response(message, b"200 OK", SDP)))
            else:
                self.ringing[lines_of(message, b"Via:")[0]] = message
        elif message.startswith(b"CANCEL"):
            invite = self.ringing.pop(lines_of(message, b"Via:")[0])
            self.callee.queue.append(self.response(message, b"200 OK", b""))
            self.callee.queue.append(self.response(invite, b"487 Request Terminated", b""))
        else:
            super().called(message)

    def __init__(self, callers: str, callees: str, port: int, server: tuple[str, int]) -> None:
        super().__init__(callers, callees, port, server)
        self.ringing: dict[bytes, bytes] = {}

    def phone(self, invite: bytes) -> int:
        """Which of the phones: the number behind the user's name."""
        return int(invite.split(b"@", 1)[0].rsplit(b".", 1)[1])


class Hunts(Forks):
    """Callees with three phones, tried one after another: two are busy, the third answers."""

    def called(self, message: bytes) -> None:
        if message.startswith(b"INVITE") and self.phone(message) < 2:
            self.callee.queue.append(self.response(message, b"486 Busy Here", b""))
        else:
            Calls.called(self, message)


class Registrations:
    """Phones that register anew, each time from the challenge on."""

    def __init__(self, host: str, port: int, server: tuple[str, int]) -> None:
        self.side = Side(host, port, server)
        self.begun = self.completed = 0
        self.unexpected: list[bytes] = []
        self.names: dict[bytes, int] = {}

    def begin(self) -> None:
        self.side.queue.append(self.register(self.begun, 1, b""))
        self.begun += 1

    def register(self, n: int, cseq: int, credentials: bytes) -> bytes:
        user = b"user%04d" % (n * 7 % USERS)
        domain = DOMAIN.encode()
        return (
            b"REGISTER sip:%s SIP/2.0\r\n"
            b"Via: SIP/2.0/UDP %s;branch=z9hG4bK-%08x-524287-%d;rport\r\n"
            b"Max-Forwards: 70\r\n"
            b"From: <sip:%s@%s>;tag=%08x\r\n"
            b"To: <sip:%s@%s>\r\n"
            b"Call-ID: %08x-9d2c@%s\r\n"
            b"CSeq: %d REGISTER\r\n"
            b"Contact: <sip:%s@%s>\r\n"
            b"%s"
            b"Expires: 3600\r\n"
            b"Content-Length: 0\r\n\r\n"
            % (
                *(domain, self.side.name, n, cseq, user, domain, n, user, domain),
                *(n, self.side.name.split(b":")[0], cseq, user, self.side.name, credentials),
            )
        )

    def step(self) -> None:
        for message in received(self.side.socket):
            [call_id] = lines_of(message, b"Call-ID:")
            n = int(call_id.split()[1].split(b"-")[0], 16)
            if message.startswith(b"SIP/2.0 401"):
                self.side.queue.append(self.register(n, 2, self.credentials(n, message)))
            elif message.startswith(b"SIP/2.0 200") and b"Contact: <sip:user" in message:
                self.completed += 1
            else:
                self.unexpected.append(message)
        self.side.flush()

    def credentials(self, n: int, challenge: bytes) -> bytes:
        """What most phones answer: MD5, the second of the two challenges."""
        [line] = [line for line in lines_of(challenge, b"WWW-Authenticate:") if b"SHA-256" not in line]
        nonce = dict(PARAMETER.findall(line))[b"nonce"]
        user, realm = b"user%04d" % (n * 7 % USERS), DOMAIN.encode()
        uri, cnonce = b"sip:" + realm, b"%016x" % (n * 0x9E3779B97F4A7C15 & (1 << 64) - 1)
        ha1 = md5(b"%s:%s:%s" % (user, realm, PASSWORD.encode()))
        ha2 = md5(b"REGISTER:" + uri)
        response = md5(b"%s:%s:00000001:%s:auth:%s" % (ha1, nonce, cnonce, ha2))
        return (
            b'Authorization: Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=MD5, '
            b'cnonce="%s", qop=auth, nc=00000001\r\n' % (user, realm, nonce, uri, response, cnonce)
        )

    def close(self) -> None:
        self.side.socket.close()


def md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
