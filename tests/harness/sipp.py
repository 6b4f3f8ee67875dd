"""SIPp processes: start, wait with a bound, read what they saw."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .ports import free_port
from .wire import Message

SCENARIOS = Path(__file__).parent.parent / "sipp"
PATIENT = ("-default_behaviors", "all,-abortunexp,-bye")
"""Options for an end that may meet retransmissions late: what it does not expect is logged and otherwise ignored."""
WAIT = ("-recv_timeout", "15000")
"""And what it expects must come in this time."""
_ENTRY = re.compile(
    rb"^-{40,} (\S+ \S+)\r?\n(?:UDP|TCP) message (sent|received) \[?\(?(\d+)\]? bytes\)?\s*:\r?\n\r?\n", re.M
)


@dataclass(frozen=True)
class Outcome:
    """What one SIPp run came to."""

    status: int
    messages: list[Message]
    errors: str
    output: str
    seconds: float
    calls: int | None = None
    """How many it was to make, None for as many as come."""

    def by_call(self) -> dict[str, list[Message]]:
        """Messages of each Call-ID in the order this end saw them."""
        calls: dict[str, list[Message]] = {}
        for message in self.messages:
            calls.setdefault(message.call_id, []).append(message)
        return calls

    def check(self) -> Outcome:
        """Raise AssertionError with SIPp's own words if any of its calls failed. Returns itself."""
        successful = count(self, "Successful call")
        whole = self.status == 0 and self.calls in (None, successful)
        assert whole, (
            f"SIPp ended with {self.status} after {self.seconds:.1f} s, {successful} of {self.calls} calls successful\n"
            f"{self.errors[-6000:]}\n{_summary(self.output)}"
        )
        return self


@dataclass(eq=False)
class Sipp:
    """One SIPp process playing `scenario` (a file of tests/sipp) from `host`.

    `calls` ends the run after so many; None runs until `stop`. `keys` become `[name]` in the scenario and `rows` the
    lines of its injection file, `[field0]` and on, one line a call.
    """

    scenario: str
    target: tuple[str, int] | None = None
    host: str = "127.0.0.1"
    calls: int | None = 1
    rate: float = 50
    keys: Mapping[str, str] = field(default_factory=dict)
    rows: Iterable[Iterable[str]] = ()
    trace: bool = True
    timeout: float = 30
    options: tuple[str, ...] = ()
    port: int = 0
    transport: str = "udp"
    """Or tcp: all calls on one connection."""
    linger: int = 0
    """Milliseconds a call that is over still answers retransmissions, where the network may have lost something."""

    def __post_init__(self) -> None:
        self.port = self.port or free_port(self.host)
        self._process: subprocess.Popen[bytes] | None = None
        self._outcome: Outcome | None = None

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> Sipp:
        self._folder = tempfile.TemporaryDirectory(prefix="sipp-")
        folder = Path(self._folder.name)
        command = ["sipp", *([f"{self.target[0]}:{self.target[1]}"] if self.target else [])]
        scenario = SCENARIOS / self.scenario
        if self.linger:
            patient = scenario.read_text().replace(
                "</scenario>", f'<timewait milliseconds="{self.linger}"/>\n</scenario>'
            )
            scenario = folder / self.scenario
            scenario.write_text(patient)
        command += ["-t", "t1"] if self.transport == "tcp" else []
        command += ["-sf", str(scenario), "-i", self.host, "-p", str(self.port), "-nostdin"]
        command += ["-r", f"{self.rate:g}", "-l", "5000", "-timeout", f"{self.timeout:g}s", "-timeout_error"]
        command += ["-error_file", str(folder / "errors"), "-trace_err", *self.options]
        if self.calls is not None:
            command += ["-m", str(self.calls)]
        if self.trace:
            command += ["-trace_msg", "-message_file", str(folder / "messages")]
        for name, value in self.keys.items():
            command += ["-key", name, value]
        rows = [";".join(row) for row in self.rows]
        if rows:
            (folder / "rows.csv").write_text("SEQUENTIAL\n" + "\n".join(rows) + "\n")
            command += ["-inf", str(folder / "rows.csv")]
        self._started = time.monotonic()
        self._output = open(folder / "output", "w+b")  # noqa: SIM115 (closed by wait)
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT,
            env={"TERM": "dumb", "PATH": "/usr/bin:/bin:/usr/local/bin"},
        )  # fmt: skip
        return self

    def listening(self) -> Sipp:
        """Wait until the socket is bound, so that nothing is sent to a phone that is not there yet."""
        deadline = time.monotonic() + 5
        needle = f":{self.port:04X} "
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            if needle in Path(f"/proc/net/{self.transport}").read_text():
                return self
            time.sleep(0.01)
        return self

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> Outcome:
        """Wait for the end, which `timeout` bounds, and read the logs."""
        assert self._process
        if self._outcome is None:
            try:
                self._process.wait(self.timeout + 10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._outcome = self._read()
        return self._outcome

    def stop(self) -> Outcome:
        """End a run that has no number of calls and read the logs; its exit status says nothing then."""
        assert self._process
        if self._outcome is None and self._process.poll() is None:
            self._process.terminate()
            time.sleep(0.05)
        return self.wait()

    def _read(self) -> Outcome:
        assert self._process
        folder = Path(self._folder.name)
        seconds = time.monotonic() - self._started
        self._output.seek(0)
        output = self._output.read().decode("latin-1")
        self._output.close()
        errors = _text(folder / "errors") + (output[-2000:] if self._process.returncode not in (0, 1) else "")
        log = folder / "messages"
        messages = read_messages(log.read_bytes()) if log.exists() else []
        self._folder.cleanup()
        return Outcome(self._process.returncode, messages, errors, output, seconds, self.calls)


def read_messages(log: bytes) -> list[Message]:
    """The messages of a `-trace_msg` log, in its order."""
    found = []
    entries = list(_ENTRY.finditer(log))
    for entry in entries:
        start, size = entry.end(), int(entry.group(3))
        when = datetime.strptime(entry.group(1).decode(), "%Y-%m-%d %H:%M:%S.%f").timestamp()
        found.append(Message(log[start : start + size], entry.group(2) == b"sent", when))
    return found


def count(outcome: Outcome, name: str) -> int:
    """A cumulative figure of SIPp's last screen, such as "Successful call" or "Retransmissions"."""
    rows = re.findall(rf"^\s*{name}\s*\|\s*(\d+)\s*\|\s*(\d+)", outcome.output, re.M)
    return int(rows[-1][1]) if rows else 0


def _text(path: Path) -> str:
    return path.read_text("latin-1") if path.exists() else ""


def _summary(output: str) -> str:
    lines = output.splitlines()
    start = max((i for i, line in enumerate(lines) if "Scenario Screen" in line), default=len(lines) - 40)
    return "\n".join(line.rstrip() for line in lines[start : start + 60])
