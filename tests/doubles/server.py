"""A server with doubles for children, and what the tests of the master ask it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
_RUNTIME = tempfile.TemporaryDirectory(prefix="fastsip-tests-")
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "XDG_RUNTIME_DIR": _RUNTIME.name}


def until(condition, seconds: float = 10, what: str = "") -> float:
    """Wait for it; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what or condition}"
        time.sleep(0.01)
    return time.monotonic() - began


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


class Server:
    """Started by entering; killed by leaving."""

    def __init__(self, folder: Path, workers: int = 2, text: str = "", state: str = ":memory:") -> None:
        self.folder = folder
        self.port = free_port()
        self.config = folder / "fastsip.toml"
        self.control = folder / "ctl.sock"
        self.workers, self.state = workers, state
        self.configure(text)
        self.log_path = folder / "log"

    def configure(self, text: str = "", port: int = 0, drain_timeout: float = 2) -> None:
        self.config.write_text(
            f'[server]\nlisten = "udp:127.0.0.1:{port or self.port}"\nworkers = {self.workers}\n'
            f'domains = "example.com"\ncontrol = "ctl.sock"\ndrain_timeout = {drain_timeout}\n'
            f'[state]\npath = "{self.state}"\n{text}'
        )

    def start(self, wait: bool = True) -> Server:
        before = len(self.log)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "serve.py"), "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT,
            )  # fmt: skip
        if wait:
            until(lambda: "serving on" in self.log[before:] or self.process.poll() is not None, 20, "start")
            assert self.process.poll() is None, self.log
        return self

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, seconds: float = 10) -> int:
        return self.process.wait(seconds)

    def ctl(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fastsip", "ctl", "--control", str(self.control), *words],
            input=given, capture_output=True, text=True, env=ENVIRONMENT, timeout=20,
        )  # fmt: skip

    def stats(self) -> dict:
        done = self.ctl("stats", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def say(self, word: str, sock: socket.socket | None = None) -> str:
        """Send a command of double_worker.py from a new port (or `sock`); the answer, "" for none."""
        with contextlib.ExitStack() as closing:
            if sock is None:
                sock = closing.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.settimeout(0.25)
            sock.sendto(word.encode(), ("127.0.0.1", self.port))
            with contextlib.suppress(TimeoutError):
                return sock.recv(1000).decode()
            return ""

    def who(self, samples: int = 40) -> dict[int, int]:
        """Which worker answers, by index, with its pid, and -1 where nobody answers."""
        found: dict[int, int] = {}
        for _ in range(samples):
            words = re.findall(r"\d+", self.say("who")) or ["-1", "0"]
            found[int(words[0])] = int(words[1])
        return found

    def socket_of(self, worker: int) -> socket.socket:
        """A socket whose datagrams the kernel gives to this worker."""
        while True:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            if self.say("who", sock).startswith(f"worker {worker} "):
                return sock
            sock.close()
