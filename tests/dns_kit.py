"""A real name server (NSD) with zones of our own, a relay in front of it that counts and misbehaves, a clock to turn.

with NameServer({"example.com": "a A 192.0.2.1"}) as nsd:
    async with Relay(nsd.port) as relay:
        resolver = relay.resolver()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
from harness import free_port
from harness.peers import program
from harness.server import children

from fastsip.dns import DnsSetup, Located, NoServer, Resolver

ALL = frozenset({"udp", "tcp", "tls", "ws", "wss"})
HOST = "127.0.0.1"
NOWHERE = Path("/nonexistent")
NEGATIVE_TTL = 30
"""The SOA minimum of every zone."""

CONFIGURATION = """
server:
  ip-address: {host}@{port}
  username: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: ""
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/zone.list"
  server-count: 1
  rrl-ratelimit: 0
  round-robin: no
remote-control:
  control-enable: no
"""
ZONE = 'zone:\n  name: "{name}"\n  zonefile: "{name}.zone"\n'
HEAD = """$ORIGIN {name}.
$TTL 60
@ SOA ns postmaster {serial} 3600 600 86400 {minimum}
@ NS ns
ns A 127.0.0.1
"""


class NameServer:
    """NSD on a free loopback port, authoritative for some zones."""

    def __init__(self, zones: Mapping[str, str]) -> None:
        """`zones`: name to records, without SOA and NS; relative names are the zone's."""
        self.port = free_port(HOST)
        self._folder = tempfile.TemporaryDirectory(prefix="fastsip-nsd-")
        self._serial = 0
        self._zones = dict(zones)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        folder = Path(self._folder.name)
        for name in self._zones:
            self._write(name)
        text = CONFIGURATION.format(host=HOST, port=self.port, folder=folder)
        (folder / "nsd.conf").write_text(text + "".join(ZONE.format(name=name) for name in self._zones))
        nsd = program("nsd")
        assert nsd is not None
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen([nsd, "-d", "-c", str(folder / "nsd.conf")], stdout=log, stderr=log)
        self._await_serial(next(iter(self._zones)))
        return self

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """It is there, and says nothing."""
        assert self._process is not None
        pids = [self._process.pid, *children(self._process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def change(self, name: str, records: str) -> None:
        """Serve other records from now on."""
        self._zones[name] = records
        self._serial += 1
        self._write(name)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        self._await_serial(name)

    def _write(self, name: str) -> None:
        head = HEAD.format(name=name, serial=self._serial, minimum=NEGATIVE_TTL)
        (Path(self._folder.name) / f"{name}.zone").write_text(head + self._zones[name] + "\n")

    def _await_serial(self, name: str) -> None:
        query = dns.message.make_query(name, "SOA")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                answer = dns.query.udp(query, HOST, timeout=0.2, port=self.port).answer
                if answer and answer[0][0].serial == self._serial:
                    return
            except Exception:
                time.sleep(0.02)
            time.sleep(0.01)
        raise AssertionError((Path(self._folder.name) / "log").read_text())


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def forward(self, seconds: float) -> None:
        self.seconds += seconds


Handling = Callable[[str, str], Any]
"""What is done with a question, by name and type: None passes it on, False drops it, a number delays it by so many
seconds, bytes are a datagram sent before the answer, a string is an rcode."""


class Relay:
    """Stands in front of a name server: counts questions and lets a test interfere."""

    def __init__(self, port: int, handling: Handling = lambda name, kind: None) -> None:
        self.handling = handling
        self.asked: Counter[tuple[str, str]] = Counter()
        """By UDP."""
        self.connections = 0
        """By TCP."""
        self.port = 0
        self._behind = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.port = free_port(HOST)
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(self), local_addr=(HOST, self.port))
        self._server = await asyncio.start_server(self._connected, HOST, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def total(self) -> int:
        return sum(self.asked.values())

    def resolver(
        self, transports: frozenset[str] = ALL, now: Callable[[], float] | None = None, **terms: Any
    ) -> Resolver:
        """One that asks here."""
        return resolver([self.address], transports, now, **terms)

    def received(self, data: bytes, sender: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._pass_on(data, sender))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, data: bytes, sender: Any) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        what = self.handling(name, kind)
        if what is False:
            return
        if isinstance(what, str):
            response = dns.message.make_response(query)
            response.set_rcode(dns.rcode.from_text(what))
            self._transport.sendto(response.to_wire(), sender)
            return
        if isinstance(what, bytes):
            self._transport.sendto(what, sender)
        elif what is not None:
            await asyncio.sleep(what)
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        behind, _ = await loop.create_datagram_endpoint(lambda: _Once(answer), remote_addr=(HOST, self._behind))
        try:
            behind.sendto(data)
            self._transport.sendto(await answer, sender)
        finally:
            behind.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        behind_reader, behind_writer = await asyncio.open_connection(HOST, self._behind)
        length = await reader.readexactly(2)
        behind_writer.write(length + await reader.readexactly(int.from_bytes(length, "big")))
        length = await behind_reader.readexactly(2)
        writer.write(length + await behind_reader.readexactly(int.from_bytes(length, "big")))
        await writer.drain()
        behind_writer.close()
        writer.close()


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._relay.received(data, addr)


class _Once(asyncio.DatagramProtocol):
    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self._answer = answer

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if not self._answer.done():
            self._answer.set_result(data)


def resolver(
    servers: list[str],
    transports: frozenset[str] = ALL,
    now: Callable[[], float] | None = None,
    families: frozenset[int] = frozenset({4, 6}),
    random: Callable[[], float] | None = None,
    hosts: Path = NOWHERE,
    resolv_conf: Path = NOWHERE,
    **setup: Any,
) -> Resolver:
    """One that knows no name by itself. `setup` are keys of DnsSetup."""
    given: dict[str, Any] = {"families": families, "hosts": hosts, "resolv_conf": resolv_conf}
    if now is not None:
        given["now"] = now
    if random is not None:
        given["random"] = random
    return Resolver(DnsSetup(servers=servers, **setup), transports, **given)


def shown(located: Located) -> list[str]:
    """Such as "udp 192.0.2.1:5060"."""
    return [
        f"{one.transport} [{one.address}]:{one.port}" if one.v6 else f"{one.transport} {one.address}:{one.port}"
        for one in located.servers
    ]


async def outcome(resolver: Resolver, uri: str, **how: Any) -> list[str]:
    """The same, or ["none: " and the reason]."""
    try:
        return shown(await resolver.locate(uri, **how))
    except NoServer as error:
        return [f"none: {error.reason}"]
