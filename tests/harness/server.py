"""Server processes under test: fastsip, and Kamailio for the same job, to tell a wrong test from a wrong server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from fastsip.admin.client import Client

from .phone import Phone
from .ports import free_port

ROOT = Path(__file__).parents[2]
QUICK_TIMERS = {"t1": 0.1, "t2": 0.8, "t4": 1.0}
"""A fifth of the RFC's, so that a transaction that ends by timer ends in 6.4 s and not in 32."""


@dataclass
class Server:
    """One fastsip on one loopback address.

    `users` are (username, password, domain) rows of a users file, `required` the challenged methods, `timers` and
    `extra` go into the configuration as they are ({"limits": {"transactions": 1000}}).
    """

    host: str = "127.0.0.1"
    workers: int = 1
    domains: Sequence[str] = ()
    users: Sequence[tuple[str, str, str]] = ()
    required: Sequence[str] = ()
    algorithms: Sequence[str] = ("MD5",)
    """SIPp reads the first challenge of a response and knows only MD5."""
    realm: str | None = None
    record_route: bool = True
    trusted: Sequence[str] = ()
    store: str = ":memory:"
    timers: Mapping[str, float] = field(default_factory=lambda: dict(QUICK_TIMERS))
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    drain_timeout: float = 1
    transports: Sequence[str] = ("udp",)
    """What it listens for, all on one port; UDP is among them."""
    port: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    also: Sequence[str] = ()
    """Other transports of the same address and port, or other addresses with theirs."""

    def __post_init__(self) -> None:
        self.port = self.port or free_port(self.host)
        self.domains = list(self.domains) or [self.host]
        self._folder = tempfile.TemporaryDirectory(prefix="fastsip-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """Where configuration, store and log of this server are."""
        return Path(self._folder.name)

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def hostport(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        path = self.folder / "stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.stop(check=kind is None)
        finally:
            self._folder.cleanup()

    def configuration(self) -> str:
        """The TOML this server runs with."""
        tables: dict[str, dict[str, Any]] = {
            "server": {
                "listen": [
                    *(f"{transport}:{self.hostport}" for transport in self.transports),
                    *(one if ":" in one else f"{one}:{self.hostport}" for one in self.also),
                ],
                "workers": self.workers,
                "domains": list(self.domains),
                "record_route": self.record_route,
                "control": str(self.folder / "ctl.sock"),
                "drain_timeout": self.drain_timeout,
            },
            "state": {"path": self.store},
            "auth": {
                "required": list(self.required),
                "algorithms": list(self.algorithms),
                "trusted": list(self.trusted),
            },
            "timers": dict(self.timers),
        }
        if self.realm is not None:
            tables["auth"]["realm"] = self.realm
        if self.users:
            tables["auth"]["users_file"] = "users.csv"
            rows = "".join(f"{name},{password},{domain}\n" for name, password, domain in self.users)
            (self.folder / "users.csv").write_text("username,password,domain\n" + rows)
        for table, values in self.extra.items():
            tables.setdefault(table, {}).update(values)
        lines = []
        for table, values in tables.items():
            lines.append(f"[{table}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        return "\n".join(lines) + "\n"

    def command(self) -> list[str]:
        config = self.folder / "fastsip.toml"
        config.write_text(self.configuration())
        return [sys.executable, "-m", "fastsip", "serve", "--config", str(config)]

    def start(self, timeout: float = 60) -> Server:
        """Start it and wait until it answers OPTIONS. Raises AssertionError with its log if it does not."""
        command = self.command()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **self.env}
        with open(self.folder / "stderr", "ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )
        self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until OPTIONS is answered with 200."""
        deadline = time.monotonic() + timeout
        with Phone(self.address) as phone:
            while time.monotonic() < deadline:
                assert self._process and self._process.poll() is None, f"the server ended at once\n{self.log}"
                answer = phone.options(timeout=1)
                if answer and answer.status == 200:
                    return
        raise AssertionError(f"no answer to OPTIONS from {self.hostport} in {timeout} s\n{self.log}")

    def stop(self, check: bool = True, timeout: float = 15) -> int:
        """SIGTERM, wait, and (with `check`) assert that it ended with 0."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"still running {timeout} s after SIGTERM\n{self.log}") from None
        if check:
            assert status == 0, f"ended with {status} after SIGTERM\n{self.log}"
        return status

    def kill(self) -> None:
        """SIGKILL the master."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self._process = None

    def children(self) -> dict[int, str]:
        """Living child processes by pid: "worker 0", "state"."""
        found = {}
        for pid in children(self.pid):
            words = _command_line(pid)
            if any("fastsip.state.process" in word for word in words):
                found[pid] = "state"
            elif any("fastsip.process.worker" in word for word in words):
                found[pid] = "worker"
        return found

    def ctl(self, *words: str) -> Any:
        """The JSON answer of `fastsip ctl ... --json`, a list where it streams lines."""
        done = subprocess.run(
            [sys.executable, "-m", "fastsip", "ctl", "--control", str(self.folder / "ctl.sock"), *words, "--json"],
            capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=20, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"ctl {' '.join(words)} ended with {done.returncode}: {done.stderr}"
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            return [json.loads(line) for line in done.stdout.splitlines()]

    def stats(self) -> dict[str, Any]:
        """As `ctl("stats")`, without a new process for it."""
        with contextlib.closing(Client(self.folder / "ctl.sock")) as client:
            return client.ask("stats")

    def contacts(self, aor: str) -> list[dict[str, Any]]:
        """What is bound to an address-of-record (user@domain)."""
        with contextlib.closing(Client(self.folder / "ctl.sock")) as client:
            return list(client.items("contacts", aor=aor))

    def live(self) -> dict[str, int]:
        """What is alive in the workers now and falls to zero when nothing happens: transactions, buffers, timers."""
        return {name: value for name, value in _walk(self.stats()) if value and _is_live(name)}

    def quiet(self, timeout: float = 12) -> None:
        """Wait until nothing is alive in the workers. Raises AssertionError with what is left."""
        deadline = time.monotonic() + timeout
        while (left := self.live()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not left, f"still alive after {timeout} s: {left}\n{self.log}"


def children(pid: int) -> list[int]:
    """Child processes of a process, deeper ones too."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                below = [int(word) for word in path.read_text().split()]
                found += below
                waiting += below
    return found


def _command_line(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def _walk(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{name}.{index}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, int(value)


def _is_live(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in ("transactions", "contexts", "buffers", "timers")


class Kamailio(Server):
    """Kamailio for the same job; `pytest --through kamailio` plays the flows through it.

    One process whatever `workers` says: with more of them it swaps 180 and 200 in about one call of a thousand.
    """

    processes = 1
    allocator = ""
    """Its memory manager, `fm`, `qm` or `tlsf`; empty: the one it was built for."""

    def command(self) -> list[str]:
        own = "|".join(sorted(domain.replace(".", "[.]") for domain in self.domains))
        local = "|".join(sorted({domain.replace(".", "[.]") for _, _, domain in self.users}))
        password = self.users[0][1] if self.users else "secret"
        defines = {
            "OWN_DOMAINS": f'"^({own})$"',
            "LOCAL_DOMAINS": f'"^({local or "none.invalid"})$"',
            "REALM": f'"{self.realm or self.domains[0]}"',
            "PASSWORD": f'"{password}"',
            "FR_INV_TIMER": str(int(self.timers.get("t1", 0.5) * 70_000)),  # its timer is coarse
            "RETR_1": str(int(self.timers.get("t1", 0.5) * 1000)),
            "RETR_2": str(int(self.timers.get("t1", 0.5) * 64_000)),  # it caps INVITEs too, where the RFC does not
        }
        if self.trusted:
            defines["TRUSTED"] = '"^127[.]0[.]0[.]2[0-3]$"'
        for method in ("REGISTER", "INVITE"):
            if method in self.required or "*" in self.required:
                defines[f"CHALLENGE_{method}"] = "1"
        if self.record_route:
            defines["RECORD_ROUTE"] = "1"
        command = [
            "kamailio",
            "-f",
            str(ROOT / "bench" / "rivals" / "kamailio.cfg"),
            "-DD",
            "-E",
            "-n",
            str(self.processes),
        ]
        for transport in self.transports:
            command += ["-l", f"{transport}:{self.hostport}"]
        if {"tcp", "tls"} & set(self.transports):
            command += ["-N", str(self.processes), "-A", "WITH_TCP=1"]
        if "tls" in self.transports:
            command += ["-A", "WITH_TLS=1", "-A", f'TLS_FILE="{self._tls_file()}"']
        command += ["-m", "1024", "-M", "32", *(["-x", self.allocator] if self.allocator else [])]
        command += ["-Y", str(self.folder), "-w", str(self.folder), "-P", str(self.folder / "kamailio.pid")]
        for name, value in defines.items():
            command += ["-A", f"{name}={value}"]
        return command

    def _tls_file(self) -> Path:
        """Its own configuration of what is in the table `tls`."""
        tls = self.extra["tls"]
        mine = f"method = TLSv1.2+\nprivate_key = {tls['key']}\ncertificate = {tls['certificate']}\n"
        path = self.folder / "tls.cfg"
        path.write_text(
            f"[server:default]\n{mine}verify_certificate = no\nrequire_certificate = no\n"
            f"[client:default]\n{mine}verify_certificate = yes\nca_list = {tls['ca_file']}\n"
        )
        return path

    def children(self) -> dict[int, str]:
        return dict.fromkeys(children(self.pid), "process")

    def stats(self) -> dict[str, Any]:
        """As `ctl("stats")`, without a new process for it."""
        with contextlib.closing(Client(self.folder / "ctl.sock")) as client:
            return client.ask("stats")

    def live(self) -> dict[str, int]:
        return {}
