"""Hung or starved: told apart on real processes, one of which competes for a CPU it has no chance to get."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastsip.process.starving import ENOUGH, Silence, used

CPU = min(os.sched_getaffinity(0))
SPIN = f"import os; os.sched_setaffinity(0, {{{CPU}}})\nwhile True: pass"
IDLE = f"import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n{SPIN}"


@contextmanager
def running(code: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-S", "-c", code])
    try:
        time.sleep(0.3)
        yield process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_process_that_sleeps_is_not_starved() -> None:
    with running("import time; time.sleep(60)") as pid:
        assert not Silence(pid).starved()


def test_a_process_that_spins_is_not_starved() -> None:
    with running(SPIN) as pid:
        silence = Silence(pid)
        until = time.monotonic() + 20
        while used(pid) < ENOUGH + 0.5 and time.monotonic() < until:
            time.sleep(0.1)
        assert not silence.starved()


def test_a_process_that_gets_no_cpu_is_starved() -> None:
    with running(IDLE) as pid, running(SPIN), running(SPIN):
        silence = Silence(pid)
        time.sleep(0.5)
        assert silence.starved()


def test_a_process_that_is_gone_is_not_starved() -> None:
    with running("pass") as pid:
        silence = Silence(pid)
    assert not silence.starved()
