"""Memory of connections that say nothing: 50,000 by TCP, 10,000 by TLS, each of which asked once and got its answer.

    python bench/idle.py [--quick] [--workers 2]

What counts is what the processes of the server have in user space above what they had before the first connection, by
the pages that are theirs alone and by their share of the others (PSS). The kernel's own memory, some 2 kB for each side
of a connection, is not in it. A process may have only so many descriptors: where there are more connections for it than
that, fastsip gets more workers, and Kamailio, all of whose connections are one process's, fewer connections.
"""

from __future__ import annotations

import math
import resource
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import cpu, tree
from rows import Bench, Row, alone, missing
from servers import NO_TLS_MODULE, Job, certificates, kamailio_has_tls, make, memory
from traffic import running

TITLE = "Idle connections"
ABOUT = "user space of all processes of a server per connection that is open and silent"
GATES = {"tcp": 4096.0, "tls": 40_960.0}
COUNTS = {"tcp": 50_000, "tls": 10_000}
SPARE = 2_000
"""Descriptors a process needs for other things, and for an uneven share of the connections."""
EACH_SOURCE = 10_000
"""Connections from one address: it has some 28,000 ports."""
SILENT = 5.0
"""Seconds during which the CPU of silence is measured."""
REQUEST = (
    "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/{by} {here};branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n"
    "From: <sip:idle@{server}>;tag={number}\r\nTo: <sip:{server}>\r\nCall-ID: {number}-{here}\r\nCSeq: 1 OPTIONS\r\n"
    "Content-Length: 0\r\n\r\n"
)


@dataclass(frozen=True)
class Held:
    """What so many connections came to, all processes together."""

    connections: int
    workers: int
    before: int
    after: int
    """Bytes, PSS."""
    own_before: int
    own_after: int
    """Bytes of pages that are one process's alone."""
    opening: float
    """Seconds it took to open them."""
    cpu: float
    """CPUs while nothing was said."""


def rows(bench: Bench) -> Iterator[Row]:
    for transport in GATES:
        yield from _by(bench, transport)


def _by(bench: Bench, transport: str) -> Iterator[Row]:
    most, gate_of = _descriptors(), GATES[transport]
    count = bench.pick(200, COUNTS[transport] // 10, COUNTS[transport])
    for name in bench.pick(["fastsip"], ["fastsip"], ["kamailio", "fastsip"]):
        wanted = count if name == "fastsip" else min(count, most - SPARE)
        workers = max(bench.workers, math.ceil(wanted / (most - SPARE))) if name == "fastsip" else bench.workers
        what = f"{name}, {wanted:,} idle {transport.upper()} connections"
        if name == "kamailio" and transport == "tls" and not kamailio_has_tls():
            yield missing(what, NO_TLS_MODULE)
            continue
        bench.say(what)
        try:
            found = hold(name, wanted, workers, transport)
        except OSError as error:
            yield missing(what, str(error))
            continue
        each = (found.after - found.before) / wanted
        own = (found.own_after - found.own_before) / wanted
        note = f"private pages {own:,.0f} B; {workers} workers, {most:,} descriptors a process; {found.cpu:.3f} CPUs"
        gate = gate_of if name == "fastsip" and bench.size == "full" else None
        yield Row(f"{what}, memory of one", each, "B", gate, rival=name != "fastsip", note=note, raw=found)


def _descriptors() -> int:
    """How many a process may have; this one and its children get them all."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most > 1 << 20:
        most = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def hold(name: str, count: int, workers: int, transport: str) -> Held:
    """Start the server, open the connections from processes of their own, measure. Raises OSError."""
    with tempfile.TemporaryDirectory() as folder:
        table = certificates(Path(folder)).server if transport == "tls" else {}
        server: Any = make(name, Job(workers, transport=transport, tls=table))
        return _held(server, name, count, workers, table.get("ca_file", ""))


def _held(server: Any, name: str, count: int, workers: int, authority: str) -> Held:
    with running(server), ExitStack() as stack:
        processes = tree(server.pid)
        before, own = memory(processes), private(processes)
        begun = time.monotonic()
        holders = [
            stack.enter_context(Holder(server.address, min(EACH_SOURCE, count - first), number, authority))
            for number, first in enumerate(range(0, count, EACH_SOURCE))
        ]
        for holder in holders:
            holder.ready()
        opening = time.monotonic() - begun
        used = cpu(processes)
        time.sleep(min(SILENT, count / 1000))
        idle = (cpu(processes) - used) / min(SILENT, count / 1000)
        found = Held(count, workers, before, memory(processes), own, private(processes), opening, idle)
        if name == "fastsip":
            there = server.stats()["total"]["connections"]
            if there != count:
                raise OSError(f"only {there:,} of {count:,} connections are there")
    return found


def private(pids: list[int]) -> int:
    """Bytes of pages of these processes that each has alone."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1]) * 1024
    return total


class Holder:
    """A process with so many connections from 127.0.1.`number`, by TLS where there is an authority to believe."""

    def __init__(self, server: tuple[str, int], count: int, number: int, authority: str) -> None:
        words = [*server, count, f"127.0.1.{number + 1}", authority]
        command = [sys.executable, __file__, "--hold", *(str(word) for word in words)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ready(self) -> None:
        """Wait until all of them are open and answered. Raises OSError."""
        assert self._process.stdout
        said = self._process.stdout.readline().strip()
        if said != "ready":
            raise OSError(said or "the process that holds connections ended")


def _hold(host: str, port: int, count: int, source: str, authority: str) -> None:
    """Open them, a hundred at a time, ask and wait for the answer of each; until standard input ends."""
    kept: list[socket.socket] = []
    context = ssl.create_default_context(cafile=authority) if authority else None
    while len(kept) < count:
        fresh = {}
        for number in range(len(kept), min(count, len(kept) + 100)):
            one = socket.create_connection((host, port), 10, (source, 0))
            here = "{}:{}".format(*one.getsockname())
            if context is not None:
                one = context.wrap_socket(one, server_hostname=host)
            by = "TCP" if context is None else "TLS"
            one.sendall(REQUEST.format(server=f"{host}:{port}", here=here, number=number, by=by).encode())
            fresh[one.fileno()] = one
            kept.append(one)
        poll = select.poll()
        for number in fresh:
            poll.register(number, select.POLLIN)
        deadline = time.monotonic() + 20
        while fresh:
            if time.monotonic() > deadline:
                raise OSError(f"{len(fresh)} connections got no answer")
            for number, _ in poll.poll(1000):
                if not fresh[number].recv(65535).startswith(b"SIP/2.0 200"):
                    raise OSError("a connection got no 200 to its OPTIONS")
                poll.unregister(number)
                del fresh[number]
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--hold"]:
        try:
            _hold(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6])
        except OSError as error:
            print(error, flush=True)
    else:
        alone(__name__)
