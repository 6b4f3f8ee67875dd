"""The servers that are measured, each configured for the same job: fastsip, Kamailio, and the floor."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from measure import ROOT, compiled

sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tests")) if path not in sys.path]

from certificates import Authority  # noqa: E402
from harness import Kamailio, Server, Sipp  # noqa: E402
from harness.ports import free_port  # noqa: E402

from fastsip.launch import TlsSetup  # noqa: E402

HOST, CALLER, CALLEE = "127.0.0.6", "127.0.0.7", "127.0.0.8"
"""The server, which is responsible for all of its host, and the phones, which therefore live elsewhere."""
PASSWORD = "secret"
NOT_INSTALLED = "Kamailio is not installed: apt-get install kamailio"
NO_TLS_MODULE = "Kamailio has no TLS here: apt-get install kamailio-tls-modules"
TUNED = "kamailio -x fm"
"""With a memory manager that costs it half as much as the one it is shipped with."""


__all__ = [
    "CALLEE", "CALLER", "HOST", "NO_TLS_MODULE", "TUNED", "Floor", "Job", "Sipp", "Target", "Trust", "certificates",
    "kamailio_has_tls", "make", "memory",
]  # fmt: skip


class Target(Protocol):
    """A server process under test."""

    port: int

    @property
    def address(self) -> tuple[str, int]: ...
    @property
    def pid(self) -> int: ...
    @property
    def log(self) -> str: ...
    def start(self) -> Any: ...
    def stop(self, check: bool = ...) -> Any: ...


@dataclass(frozen=True)
class Job:
    """What a server is to do. `challenged` are methods it asks for credentials, of `users`, who all know PASSWORD."""

    workers: int = 2
    challenged: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    store: str = ":memory:"
    transport: str = "udp"
    """Of the calls. The server always listens on UDP too, where it is asked whether it is there."""
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tls: Mapping[str, str] = field(default_factory=dict)
    """The server's own table, for TLS."""
    allocator: str = ""
    """Kamailio's, where not the one of the distribution."""


def make(name: str, job: Job) -> Server:
    """`fastsip` or `kamailio`, not yet started. Raises OSError when it is not installed."""
    kind = {"fastsip": Server, "kamailio": Kamailio}[name]
    if name == "kamailio" and not shutil.which("kamailio"):
        raise OSError(NOT_INSTALLED)
    server = kind(
        host=HOST,
        workers=job.workers,
        users=[(user, PASSWORD, HOST) for user in job.users],
        required=job.challenged,
        realm=HOST,
        store=job.store,
        timers={},
        drain_timeout=0,
        transports=("udp",) if job.transport == "udp" else ("udp", job.transport),
        extra={"limits": {"transactions": 2_000_000}, **({"tls": job.tls} if job.tls else {}), **job.extra},
    )
    if isinstance(server, Kamailio):
        server.processes = job.workers
        server.allocator = job.allocator
    return server


class Trust(NamedTuple):
    """Certificates of a server and of its phones, by one authority: the server's table `tls`, the phones' setup."""

    server: dict[str, str]
    phones: TlsSetup


def certificates(folder: Path) -> Trust:
    """P-256, each for the addresses of its side; files in the folder."""
    authority = Authority(folder)
    chain, key = authority.sign(HOST)
    phones = TlsSetup(certificates=[authority.sign(CALLER, CALLEE)], ca_file=authority.file)
    return Trust({"certificate": chain, "key": key, "ca_file": authority.file}, phones)


class Floor:
    """bench/c/floor.c. `sides` are callers and callees, each address:port:count, consecutive ports. `extra` is how many
    datagrams go back for one from a caller: what the proxy that is compared sends more than it receives."""

    def __init__(self, workers: int, extra: float) -> None:
        self.port = free_port(HOST)
        self.sides: list[str] = []
        self.workers, self.extra = workers, extra
        self.received = self.sent = self.wakeups = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        return ""

    def start(self) -> Floor:
        """Compile it where need be, and start it. Raises NotBuilt, or OSError with what it said."""
        words = [HOST, str(self.port), str(self.workers), *self.sides, str(round(self.extra * 1000))]
        program = compiled("floor")
        self._process = subprocess.Popen([str(program), *words], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            raise OSError(f"the forwarder did not start: it ended with {self._process.wait(5)}")
        return self

    def stop(self, check: bool = True) -> None:
        """End it and read what it counted."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=10)
        if words := said.split():
            self.received, self.sent, _failed, self.wakeups = map(int, words)


def kamailio_has_tls() -> bool:
    """Its module is a package of its own."""
    return any(Path("/usr").glob("lib*/**/kamailio/modules/tls.so"))


def memory(pids: list[int]) -> int:
    """Bytes of memory these processes use together, what they share counted once."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
    return total


