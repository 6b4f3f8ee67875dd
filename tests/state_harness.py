"""A real state process with real shared memory over real ZeroMQ, and the worker's and master's ends to talk to it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import zmq

from fastsip._control import KEY_BYTES, ControlView, control_format
from fastsip._location import RECORD_BINDINGS, SegmentReader, segment_format
from fastsip.launch import Channel, StateSetup
from fastsip.location import BindingSet

ROOT = Path(__file__).parent.parent
ORIGIN = [4, bytes([127, 0, 0, 1]) + bytes(12), 5062, 0, 1, 0]


def register(
    token: int, aor: bytes, *contacts: bytes | tuple[bytes, int], call_id: bytes = b"c1", cseq: int = 1, flags: int = 0
) -> list[Any]:
    """A REGISTER fact: contacts are URIs, or (URI, expires in seconds)."""
    listed = [c if isinstance(c, tuple) else (c, 3600) for c in contacts]
    return [1, token, aor, call_id, cseq, flags, ORIGIN, b"", [[uri, 1000, expires, b""] for uri, expires in listed]]


def wait_for(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """What `condition` says once it is true."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)
    return result


class Server:
    """The master's side: shared memory that outlives state processes, and starting, stopping and killing them."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.store = str(directory / "fastsip.db")
        self.settings = settings
        self.incarnation = 0
        self.control_fd = os.memfd_create("control")
        self.segment_fd = os.memfd_create("segment")
        control_format(self.control_fd, 4, bytes(range(KEY_BYTES)))
        segment_format(self.segment_fd, self.control_fd)
        self.control = ControlView(self.control_fd)
        self.reader = SegmentReader(self.segment_fd, self.control_fd)
        self.runtime = tempfile.mkdtemp(prefix="fastsip-")  # short: a socket's path has 107 characters
        self.endpoint = f"ipc://{self.runtime}/state"
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.process: subprocess.Popen[str] | None = None
        self.channel: Channel | None = None
        self.log = directory / "log"

    def start(self, ready: bool = True) -> None:
        self.incarnation += 1
        setup = StateSetup(
            incarnation=self.incarnation,
            control_fd=self.control_fd,
            segment_fd=self.segment_fd,
            endpoint=self.endpoint,
            workers=4,
            **{
                "store": self.store,
                "require_store": False,
                "store_interval": 50,
                "users": [],
                "realm": None,
                "default_domain": "example.com",
                "max_contacts": 10,
                **self.settings,
            },
        )
        reading, writing = os.pipe()
        ours, theirs = socket.socketpair()
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fastsip.state.process", str(reading), str(theirs.fileno())],
                pass_fds=[reading, theirs.fileno(), self.control_fd, self.segment_fd],
                cwd=ROOT,
                stderr=log,
                text=True,
            )
        os.close(reading)
        theirs.close()
        with open(writing, "wb") as pipe:
            pipe.write(msgspec.json.encode(setup))
        self.channel = Channel(ours)
        if ready:
            assert self.receive() == {"is": "ready"}, self.log.read_text()

    def receive(self) -> dict[str, object] | None:
        """The next message of the state process, None at its end."""
        assert self.channel is not None
        while not self.channel.closed:
            for message, _ in self.channel.receive():
                return message
        return None

    def tell(self, **message: object) -> dict[str, object] | None:
        assert self.channel is not None
        self.channel.send(message)
        return self.receive()

    def kill(self) -> None:
        assert self.process is not None and self.channel is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.channel.close()

    def stop(self) -> int:
        assert self.process is not None and self.channel is not None
        self.channel.send({"do": "stop"})
        status = self.process.wait(10)
        self.channel.close()
        return status

    def forget_memory(self) -> None:
        """As when the machine or the master ended: the shared memory is new."""
        self.reader.close()
        os.ftruncate(self.segment_fd, 0)
        segment_format(self.segment_fd, self.control_fd)
        self.reader = SegmentReader(self.segment_fd, self.control_fd)

    def bound(self, aor: bytes) -> list[bytes]:
        """The contacts a worker would find."""
        value = self.reader.find(RECORD_BINDINGS, aor)
        now = time.time_ns() // 1_000_000
        return [b.uri for b in BindingSet.decode(value).bindings if b.expires > now] if value is not None else []

    def ask(self, command: str, **arguments: Any) -> Any:
        """One query; its result, or the error's text as a ValueError."""
        with self.context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.IDENTITY, b"m" + secrets.token_bytes(4))
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect(self.endpoint)
            dealer.send_multipart([b"Q", msgpack.packb([7, command, arguments])])
            assert dealer.poll(5000), "no answer"
            kind, body = dealer.recv_multipart()
        number, ok, result = msgpack.unpackb(body)
        assert (kind, number) == (b"R", 7)
        if not ok:
            raise ValueError(result["error"])
        return result

    def pages(self, command: str, limit: int) -> Iterator[list[dict[str, Any]]]:
        cursor: int | None = 0
        while cursor is not None:
            answer = self.ask(command, cursor=cursor, limit=limit)
            cursor = answer["next"]
            yield answer[command]

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.context.destroy(linger=0)
        self.reader.close()
        self.control.close()
        os.close(self.control_fd)
        os.close(self.segment_fd)
        shutil.rmtree(self.runtime)


class Worker:
    """The service thread of one worker: numbers facts, keeps what is not acknowledged, sends it again."""

    def __init__(self, server: Server, index: int = 0, incarnation: int = 1) -> None:
        self.index, self.incarnation = index, incarnation
        self.sequence = 0
        self.kept: dict[int, list[Any]] = {}
        self.outcomes: dict[int, tuple[int, int]] = {}
        self.state_incarnation = 0
        self.dealer = server.context.socket(zmq.DEALER)
        self.dealer.setsockopt(zmq.IDENTITY, f"w{index}-{incarnation}".encode())
        self.dealer.setsockopt(zmq.LINGER, 0)
        self.dealer.setsockopt(zmq.RECONNECT_IVL, 5)
        self.dealer.connect(server.endpoint)
        self.hello()

    def hello(self) -> None:
        oldest = next(iter(self.kept), self.sequence + 1)
        self.dealer.send_multipart([b"H", msgpack.packb([self.index, self.incarnation, oldest])])

    def send(self, *facts: list[Any]) -> None:
        """Send facts as one batch, and keep them."""
        first = self.sequence + 1
        for fact in facts:
            self.sequence += 1
            self.kept[self.sequence] = fact
        self._send(first, list(facts))

    def resend(self) -> None:
        """Everything that is not acknowledged, in order, as one batch."""
        if self.kept:
            self._send(next(iter(self.kept)), list(self.kept.values()))

    def _send(self, first: int, facts: list[Any]) -> None:
        oldest = next(iter(self.kept), first)
        header = msgpack.packb([self.index, self.incarnation, first, len(facts), oldest])
        self.dealer.send_multipart([b"F", header, b"".join(map(msgpack.packb, facts))])

    def hear(self, seconds: float) -> bool:
        """Take in one message; False if none came."""
        if not self.dealer.poll(int(seconds * 1000)):
            return False
        kind, body = self.dealer.recv_multipart()
        number, second = msgpack.unpackb(body)
        if kind == b"H":
            if number != self.state_incarnation:
                self.state_incarnation = number
                self.resend()
        else:
            for token, status, retry_after in second:
                self.outcomes[token] = (status, retry_after)
            for sequence in [s for s in self.kept if s <= number]:
                del self.kept[sequence]
        return True

    def settle(self, seconds: float = 10.0) -> None:
        """Until every fact is acknowledged, sending again what takes long."""
        deadline = time.monotonic() + seconds
        while self.kept:
            assert time.monotonic() < deadline, f"{len(self.kept)} facts were not acknowledged"
            if not self.hear(0.1):
                self.hello()
                self.resend()

    def status(self, fact: list[Any]) -> int:
        """Send one REGISTER and wait for its status."""
        self.send(fact)
        self.settle()
        return self.outcomes[fact[1]][0]
