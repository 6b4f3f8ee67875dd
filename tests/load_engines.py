"""Load engines in threads of this process, each on a loopback socket of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastsip import sockets
from fastsip._load import Engine, Snapshot
from fastsip.launch import TlsSetup
from fastsip.load.setup import Answer, EngineSetup, Scenario, Source, Step, User

T1 = 20
"""Milliseconds: a whole transaction with its waiting states is over in a second and a half."""


class Running:
    """An engine and its thread. `snapshot` and the other methods are the engine's own."""

    def __init__(self, setup: dict[str, Any], host: str, ports: int) -> None:
        transport = setup.pop("transport", "udp")
        bind = sockets.bind_udp if transport == "udp" else sockets.bind_stream
        self.sockets = [bind(host, 0) for _ in range(ports)]
        names = [s.getsockname()[:2] for s in self.sockets]
        addresses, advertise = setup.pop("addresses", []), setup.pop("advertise", None)
        self.address: tuple[str, int] = names[0]
        sources = [
            Source(s.fileno(), *name, addresses=addresses, advertise=advertise, transport=transport)
            for s, name in zip(self.sockets, names, strict=True)
        ]
        timers = {"t1": T1, "t2": 8 * T1, "t4": 10 * T1}
        self.engine = Engine(EngineSetup(**{"sources": sources, **timers, **setup}))
        self.thread = threading.Thread(target=self.engine.run, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def counters(self) -> dict[str, int]:
        return self.snapshot().counters

    def snapshot(self) -> Snapshot:
        return self.engine.snapshot()

    def wait(self, seconds: float = 10) -> Snapshot:
        """Until its work is over."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), self.counters()
        return self.snapshot()

    def until(self, reached: Callable[[dict[str, int]], bool], seconds: float = 5) -> dict[str, int]:
        """Wait until its counters say so."""
        deadline = time.monotonic() + seconds
        while not reached(counters := self.counters()):
            assert time.monotonic() < deadline, counters
            time.sleep(0.005)
        return counters

    def close(self) -> dict[str, int]:
        self.engine.stop()
        if self.thread.ident:
            self.thread.join(2)
        for s in self.sockets:
            s.close()
        return self.engine.close()


class Script:
    """A server that says what the test tells it to: its answers are the last request's own headers."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(3)
        self.address: tuple[str, int] = self.socket.getsockname()
        self._seen: set[bytes] = set()

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def receive(self) -> tuple[str, tuple[str, int]]:
        """The next message that is no retransmission, and where it came from."""
        while True:
            data, source = self.socket.recvfrom(65535)
            if data not in self._seen:
                break
        self._seen.add(data)
        self._request, self._source = data.decode(), source
        return self._request, source

    def answer(self, status: str, *extra: str) -> None:
        """To the last request."""
        kept = ("Via:", "From:", "To:", "Call-ID:", "CSeq:")
        lines = [line for line in self._request.split("\r\n") if line.startswith(kept)]
        lines = [line + ";tag=there" if line.startswith("To:") and ";tag=" not in line else line for line in lines]
        text = "\r\n".join([f"SIP/2.0 {status}", *lines, *extra, "Content-Length: 0", "", ""])
        self.socket.sendto(text.encode(), self._source)


@contextmanager
def running(host: str = "127.0.0.1", ports: int = 1, start: bool = True, **setup: Any) -> Iterator[Running]:
    """An engine, which must hold nothing when it has ended by itself."""
    made = Running(setup, host, ports)
    if start:
        made.start()
    try:
        yield made
        if "answer" in setup:
            made.engine.finish()
        made.wait()
        assert made.engine.close() == {"calls": 0, "dialogs": 0, "timers": 0, "buffers": 0}
    finally:
        made.close()


def callee(
    gather: int = 0,
    advertise: tuple[str, int] | None = None,
    transport: str = "udp",
    tls: TlsSetup | None = None,
    **answer: Any,
) -> Any:
    """The answering side."""
    return running(answer=Answer(**answer), gather=gather, advertise=advertise, transport=transport, tls=tls)


def caller(target: tuple[str, int], *scenarios: Scenario, rate: float = 500, count: int = 100, **setup: Any) -> Any:
    """The calling side: `count` pieces of work."""
    users = {"callers": [User("sip:alice@example.com")], "callees": [f"sip:bob@{target[0]}:{target[1]}"]}
    work = {"scenarios": list(scenarios) or [Scenario("call")], "plan": [Step(0, rate)], "count": count}
    return running(**{"target": target, **users, **work, **setup})
