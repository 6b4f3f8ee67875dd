"""What the benches share: CPU of a process tree, drops of a socket, and on what all of it ran."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path


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
