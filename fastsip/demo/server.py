"""A real server for the demonstration: `fastsip serve` as a child process with a configuration of its own."""

from __future__ import annotations

import asyncio
import csv
import ctypes
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from fastsip.admin.client import Client, Failed, NoServer
from fastsip.demo.transactions import Endpoint, TransactionTimeout
from fastsip.demo.wire import message, new_branch, new_tag

DOMAIN = "example.com"
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0
_PR_SET_PDEATHSIG = 1

_CONFIGURATION = """\
[server]
listen  = ["udp:{host}:{port}"]
workers = {workers}
domains = ["{domain}"]
control = "{control}"
drain_timeout = 2

[state]
path = "fastsip.db"

[auth]
realm      = "{domain}"
required   = ["*"]
users_file = "users.csv"
"""


class ServerFailed(Exception):
    """The server did not start, or ended by itself; the text ends with what it said."""


class Server:
    """Entering starts the server and waits until it answers OPTIONS; leaving stops it and removes its directory."""

    def __init__(self, users: list[str], workers: int, host: str = "127.0.0.1") -> None:
        self.passwords = {user: secrets.token_urlsafe(9) for user in users}
        self.host, self.port = host, free_port(host)
        self._directory = tempfile.TemporaryDirectory(prefix="fastsip-demo-")
        self.path = Path(self._directory.name)
        self.control = self.path / "ctl.sock"
        self._log = self.path / "log"
        (self.path / "fastsip.toml").write_text(_CONFIGURATION.format(
            host=host, port=self.port, workers=workers, domain=DOMAIN, control=self.control))
        with (self.path / "users.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["username", "password"])
            table.writerows(self.passwords.items())

    async def __aenter__(self) -> Server:
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C is for the demonstration, which then stops the server in good order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fastsip", "serve", "--config", str(self.path / "fastsip.toml")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=_end_with_parent)
        try:
            await self._serving()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _serving(self) -> None:
        """Ask OPTIONS until it is answered."""
        endpoint = await Endpoint.open(self.host)
        uri = f"sip:{self.host}:{self.port}"
        loop = asyncio.get_running_loop()
        end = loop.time() + START_TIMEOUT
        try:
            while loop.time() < end:
                self.check()
                branch = new_branch()
                headers = [("Via", f"SIP/2.0/UDP {endpoint.host}:{endpoint.port};branch={branch};rport"),
                           ("Max-Forwards", "70"), ("From", f"<{uri}>;tag={new_tag()}"), ("To", f"<{uri}>"),
                           ("Call-ID", secrets.token_hex(10)), ("CSeq", "1 OPTIONS")]
                asked = endpoint.request("OPTIONS", branch, message(f"OPTIONS {uri} SIP/2.0", headers),
                                         (self.host, self.port))
                try:
                    if (await asyncio.wait_for(asked.final, 0.2)).status == 200:
                        return
                except (TimeoutError, TransactionTimeout):
                    pass
                await asyncio.sleep(0.05)
        finally:
            endpoint.close()
        raise ServerFailed(f"the server did not answer OPTIONS within {START_TIMEOUT:.0f} s\n{self.last_words()}")

    def check(self) -> None:
        """Raise ServerFailed if the server has ended."""
        if self._process.poll() is not None:
            raise ServerFailed(f"the server ended with {self._process.returncode}\n{self.last_words()}")

    def last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    async def stats(self) -> dict[str, Any]:
        """What `fastsip ctl stats` says. Raises ServerFailed."""
        try:
            return await asyncio.to_thread(self._ask, "stats")
        except (Failed, NoServer) as error:
            raise ServerFailed(f"ctl stats: {error}") from None

    def _ask(self, command: str) -> dict[str, Any]:
        client = Client(self.control)
        try:
            return client.ask(command)
        finally:
            client.close()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._directory.cleanup()


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port(host: str) -> int:
    """A UDP port that nobody uses at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
