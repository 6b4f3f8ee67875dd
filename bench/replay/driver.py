"""Plays a path against a build under callgrind: phones here, at full speed, the server in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from replay.costs import Costs, read_costs
from replay.phones import Calls, Forks, Hunts, Phones, Registrations

HERE = Path(__file__).parent
TOGGLE = "__pyx_pw_7fastsip_7_worker_6Worker_*run"
PORT = 5060
STEP_NS = 4_000_000
PATHS = {
    "call": (8, 3_500, 2_000),
    "register": (16, 2_500, 2_000),
    "fork": (4, 1_800, 1_000),
    "hunt": (4, 1_800, 1_000),
}
"""Begun in a step of 4 ms, before counting (more than there are at once in all waiting states), and while counting."""
PYTHON = (sys.executable, "-P")
"""Not the folder it is started in, which has a fastsip too, but PYTHONPATH alone says which build is meant."""


class ReplayError(Exception):
    """The traffic did not go through this build, or the build does not know the driver's ways."""


class Remote:
    """The server process, a line at a time."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.fastsip = Path(self._answer()["fastsip"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr
            said = self.process.stderr.read().strip().splitlines()
            raise ReplayError("the server of the replay ended: " + (said[-1] if said else "without a word"))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, *words: object) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def addresses() -> Iterator[tuple[str, str, str]]:
    """Three loopback addresses nobody else has: for the server, callers and callees. As long as each other."""
    for last in range(1, 10):
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            holder.bind((f"127.83.73.{last}", 5059))
        except OSError:
            holder.close()
            continue
        try:
            yield f"127.83.74.{last}", f"127.83.75.{last}", f"127.83.76.{last}"
        finally:
            holder.close()
        return
    raise ReplayError("other replays have all of 127.83.73.1 to .9")


def clock_library(folder: Path) -> Path:
    """Compile clock.c."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"clock.{os.getpid()}.so"
    done = subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "clock.c")], capture_output=True, text=True
    )
    if done.returncode:
        raise ReplayError(f"cannot compile {HERE / 'clock.c'}: {done.stderr.strip().splitlines()[-1]}")
    final = folder / "clock.so"
    library.replace(final)
    return final


def environment(tree: Path, clock: Path) -> dict[str, str]:
    """What the server of a replay finds: the build in `tree`, our clock, and nothing that differs from run to run."""
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ},
        "PYTHONPATH": f"{tree}:{HERE.parent}",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_PRELOAD": str(clock),
    }


def replay(path: str, tree: Path, out: Path, clock: Path) -> Costs:
    """Instructions of `path` through the build in `tree`; callgrind's file stays at `out`. ReplayError."""
    out.unlink(missing_ok=True)
    with addresses() as (server_host, callers, callees):
        command = [
            *("valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--toggle-collect={TOGGLE}"),
            *("--compress-strings=no", "--compress-pos=no", f"--callgrind-out-file={out}"),
            *(*PYTHON, "-m", "replay.server", path, server_host, str(PORT), str(clock)),
        ]
        remote = Remote(command, environment(tree, clock))
        phones: Phones
        try:
            if remote.fastsip.resolve().parent != (tree / "fastsip").resolve():
                raise ReplayError(f"it took {remote.fastsip}, not the build in {tree}")
            if path == "register":
                phones = Registrations(callers, PORT, (server_host, PORT))
            else:
                kind = {"call": Calls, "fork": Forks, "hunt": Hunts}[path]
                phones = kind(callers, callees, PORT, (server_host, PORT))
            try:
                messages, sent = play(path, phones, remote, callees)
            finally:
                phones.close()
        finally:
            remote.close()
    try:
        return read_costs(out.read_text(), messages, sent)
    except (OSError, ValueError) as error:
        raise ReplayError(f"callgrind left nothing to read: {error}") from None


def play(path: str, phones: Phones, remote: Remote, callees: str) -> tuple[int, int]:
    """Warm up, then count; how many messages the server received and sent while counting."""
    at_once, before, counted = PATHS[path]
    now = STEP_NS * 1000
    remote.ask("people", callees, PORT)

    def go_on(count: int) -> None:
        nonlocal now
        for _ in range(count // at_once):
            now += STEP_NS
            for _ in range(at_once):
                phones.begin()
            phones.step()
            remote.ask("turn", now)

    go_on(before)
    completed, first = phones.completed, remote.ask("counters")
    remote.ask("begin")
    go_on(counted)
    remote.ask("end")
    last = remote.ask("counters")
    completed = phones.completed - completed
    messages, sent = (int(last[name] - first[name]) for name in ("datagrams_in", "datagrams_out"))
    wrong = {name: last[name] for name in last if name.startswith("dropped") and last[name]}
    if phones.unexpected:
        raise ReplayError(f"not what a {path} looks like: {phones.unexpected[0].splitlines()[0].decode()}")
    if abs(completed - counted) > 0.02 * counted or wrong or last["retransmissions_in"]:
        raise ReplayError(f"{completed} of {counted} went through; {wrong or 'nothing dropped'}")
    return messages, sent
