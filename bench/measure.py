"""What the benches share: CPU of a process tree, drops of a socket, and on what all of it ran."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(word) for word in path.read_text().split()]
    return found


def cpu(pids: list[int]) -> float:
    """Seconds of CPU all threads of these processes have used, from schedstat: exact where `stat` counts ticks."""
    nanoseconds = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                nanoseconds += int(path.read_text().split()[0])
    return nanoseconds / 1e9


def busy() -> float:
    """Seconds of CPU the whole machine has used, all CPUs together; ticks, so good over seconds only."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def drops(port: int) -> int:
    """Datagrams the kernel dropped at UDP sockets of this port because their queue was full."""
    total = 0
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(f":{port:04X}"):
            total += int(words[-1])
    return total


def machine() -> dict[str, str]:
    """Machine, kernel, versions and date, as they go into every result."""
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{len(os.sched_getaffinity(0))} x {found.group(1) if found else platform.machine()}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def version(*command: str) -> str:
    """The first number with dots a program prints about itself, "" where it is not installed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return ""
    found = re.search(r"\d+\.\d+(?:\.\d+)*", done.stdout + done.stderr)
    return found.group(0) if found else ""


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """This thread on one CPU, the last it may use."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class NotBuilt(Exception):
    """A program of bench/c that cannot be compiled here, and why in a few words."""


def compiled(source: str, name: str = "", flags: tuple[str, ...] = ()) -> Path:
    """The program of bench/c/`source`.c, compiled now with `cc -O2` unless it is newer than its source."""
    path = ROOT / "bench" / "c" / f"{source}.c"
    program = ROOT / "build" / "bench" / (name or source)
    if program.exists() and program.stat().st_mtime > path.stat().st_mtime:
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command = [os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(path), *flags]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except OSError:
        raise NotBuilt("no C compiler") from None
    if done.returncode:
        raise NotBuilt(f"{source}.c does not compile: {(done.stderr.strip().splitlines() or ['?'])[0]}")
    return fresh.replace(program)


def package_flags(name: str) -> tuple[str, ...]:
    """What pkg-config says of a library. Raises NotBuilt if that is not installed."""
    return tuple(_pkg_config("--cflags", "--libs", name).split())


def package_version(name: str) -> str:
    return _pkg_config("--modversion", name).strip()


def _pkg_config(*words: str) -> str:
    try:
        done = subprocess.run(["pkg-config", *words], capture_output=True, text=True, timeout=10)
    except OSError:
        raise NotBuilt("no pkg-config") from None
    if done.returncode:
        raise NotBuilt("not installed")
    return done.stdout


def available() -> int:
    """Bytes of memory that can be had without swapping."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    return int(found.group(1)) * 1024 if found else 0


def ticks(pids: list[int]) -> tuple[float, float]:
    """Seconds of CPU in user space and in the kernel; in ticks, so good for the shares of long runs only."""
    user = system = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            user, system = user + int(fields[11]), system + int(fields[12])
    hertz = os.sysconf("SC_CLK_TCK")
    return user / hertz, system / hertz
