"""Servers without descriptors, and what they do meanwhile."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from certificates import Authority
from frames import MASK, OPENING, TEXT
from harness import Message, Server
from harness.ports import free_port
from harness.stream import SecurePhone, StreamPhone, WebPhone
from stream_kit import DOMAIN, StreamServer, options, trusting

from fastsip._testing import ManualFrames, frame_written


class QuickWebPhone(WebPhone):
    """A WebPhone of one thread, that parts without a word."""

    def connect(self, server: tuple[str, int], host: str) -> socket.socket:
        made = socket.create_connection(server, timeout=self.timeout, source_address=(host, 0))
        if self.context is not None:
            made = self.context.wrap_socket(made, server_hostname=self.name)
        made.sendall(OPENING)
        self.frames = ManualFrames(False)
        head = b""
        while b"\r\n\r\n" not in head:
            head += (data := made.recv(4096))
            if not data:
                raise EOFError(head)
        assert head.startswith(b"HTTP/1.1 101 "), head
        self.messages = [found for what, found, *_ in self.frames.feed(head.partition(b"\r\n\r\n")[2])]
        return made

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(frame_written(TEXT, data, MASK))

    def receive(self, timeout: float | None = None) -> Message | None:
        self.socket.settimeout(self.timeout if timeout is None else timeout)
        with contextlib.suppress(OSError):
            while not self.messages:
                if not (data := self.socket.recv(65536)):
                    return None
                self.messages += [found for what, found, *_ in self.frames.feed(data) if what == "message"]
            return Message(self.messages.pop(0))
        return None


class Poor(StreamServer):
    """One of one worker, on all transports, whose processes may have so many descriptors."""

    most = 150

    def __init__(self, authority: Authority, **more: object) -> None:
        self.ports = {name: free_port() for name in ("ws", "wss")}
        also = [f"{name}:127.0.0.1:{port}" for name, port in self.ports.items()]
        super().__init__(authority, also=also, domains=[DOMAIN], trusted=["127.0.0.0/8"], **more)
        self.ports |= {"tcp": self.port, "tls": self.secure_port}

    def command(self) -> list[str]:
        return ["prlimit", f"--nofile={self.most}:{self.most}", *super().command()]

    def phone(self, kind: str, user: str = "alice") -> StreamPhone:
        """One that is connected by that transport."""
        where = self.host, self.ports[kind]
        if kind == "tcp":
            return StreamPhone(where, user)
        if kind == "tls":
            return SecurePhone(where, user, context=trusting(self))
        return QuickWebPhone(where, user, context=trusting(self) if kind == "wss" else None, name=DOMAIN)

    def answers(self, one: StreamPhone) -> bool:
        """Whether it is served."""
        with contextlib.suppress(OSError, EOFError):
            one.send(options(one))
            return one.receive(1) is not None
        return False

    def serves(self, kind: str) -> bool:
        """Whether a newcomer is, by that transport."""
        with contextlib.suppress(OSError, EOFError), self.phone(kind) as one:
            return self.answers(one)
        return False

    def fill(self, kind: str, closing: contextlib.ExitStack) -> list[StreamPhone]:
        """Until one that comes by that transport is refused."""
        held: list[StreamPhone] = []
        with contextlib.suppress(OSError, EOFError):
            while len(held) < self.most:
                one = closing.enter_context(self.phone(kind))
                if not self.answers(one):
                    break
                held.append(one)
        return held


def workers(server: Server) -> list[int]:
    """Their process numbers."""
    return [pid for pid, kind in server.children().items() if kind == "worker"]


def used(pid: int) -> int:
    """Descriptors it has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def seconds(pid: int) -> float:
    """Of CPU it has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


@contextlib.contextmanager
def none_left(server: Server) -> Iterator[None]:
    """Meanwhile its workers can have no more descriptors."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers(server)}
    for pid, (_, hard) in before.items():
        taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        free = min(set(range(len(taken) + 1)) - taken)
        assert free > 10, f"{free}: poll takes no more than that many either"
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
