"""The shared memory of a server of N workers, and their transports, without master and workers."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator

from fastsip import _control, _transport, sockets

Pair = tuple[str, int]
Packet = tuple[bytes, Pair, Pair, int, int]


class Shared:
    """What the master would make. Endpoints of the same worker may follow one another, as after a death."""

    def __init__(self, workers: int = 1, budget: int = 64 << 20) -> None:
        fd = os.memfd_create("control")
        _control.control_format(fd, workers, bytes(range(80)))
        self.view = _control.ControlView(fd)
        self.control = mmap.mmap(fd, 0)
        os.close(fd)
        self.rings = mmap.mmap(-1, _transport.rings_size(workers, budget))
        self.slots = [mmap.mmap(-1, _transport.SLOTS_SIZE) for _ in range(workers)]
        self.wakes = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(workers)]

    def endpoint(self, worker: int = 0) -> _transport.Endpoint:
        return _transport.Endpoint(self.control, self.rings, self.slots[worker], self.wakes, worker)

    def count(self, name: str, worker: int = 0) -> int:
        return self.view.counters(worker)[name]

    def call_id_of(self, worker: int, seed: int = 0) -> bytes:
        """A Call-ID this worker owns."""
        found = (b"%d-%d@test" % (seed, n) for n in range(10_000))
        return next(call_id for call_id in found if self.view.owner_of(call_id) == worker)


def message(call_id: bytes, body: bytes = b"") -> bytes:
    return b"MESSAGE sip:b@test SIP/2.0\r\nFrom: a\r\nCall-ID: %s\r\nCSeq: 1 MESSAGE\r\n\r\n%s" % (call_id, body)


def take(endpoint: _transport.Endpoint, count: int, ms: int = 2000) -> list[Packet]:
    """Wait for `count` packets; what came when a wait gave nothing new."""
    packets: list[Packet] = []
    while len(packets) < count:
        endpoint.wait(ms)
        before = len(packets)
        while batch := endpoint.receive():
            packets += batch
        if len(packets) == before:
            break
    return packets


@contextlib.contextmanager
def listening(endpoint: _transport.Endpoint, host: str, port: int = 0, index: int = 0) -> Iterator[socket.socket]:
    with sockets.bind_udp(host, port) as sock:
        endpoint.listen(sock.fileno(), index)
        yield sock


@contextlib.contextmanager
def client(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        yield sock


def spawn(work: Callable[[], object]) -> int:
    """Fork a child that does `work` and exits with 0, or with 1 and a traceback; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@contextlib.contextmanager
def child(work: Callable[[], object]) -> Iterator[int]:
    """A child for the length of a block, killed behind it."""
    pid = spawn(work)
    try:
        yield pid
    finally:
        kill(pid)
