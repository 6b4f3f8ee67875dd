"""`fastsip demo` from end to end: a real server, real phones, real calls."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from fastsip import demo
from fastsip.demo import server


def run(**options):
    console = Console(file=io.StringIO(), width=100)
    code = demo.main(console=console, **options)
    return code, console.file.getvalue()


def test_two_seconds():
    code, shown = run(duration=2, users=20, rate=50, hold=0.5)
    assert code == 0, shown
    assert "registered 20/20" in shown and "sent again" in shown
    assert re.search(r"calls +100 of 100 done", shown)
    assert "no call failed" in shown
    for drawn in ("F1 INVITE", "407 Proxy Authentication Required", "180 Ringing", "F16 200 OK", "Alice -> fastsip"):
        assert drawn in shown
    counters = re.search(r"^ *all +(\d+) +(\d+) +\d+ +\d+ +0 +(\d+)", shown, re.MULTILINE)
    assert counters and int(counters[3]) == 101, "the server counted the calls too, and dropped nothing"


def test_a_failed_call_fails_the_demonstration(monkeypatch):
    from fastsip.demo.phones import CallFailed, Phone

    call = Phone.call
    calls = iter(range(10_000))

    async def sometimes(self, target, hold):
        if next(calls) == 3:
            raise CallFailed("INVITE got 500 Server Internal Error")
        return await call(self, target, hold)

    monkeypatch.setattr(Phone, "call", sometimes)
    code, shown = run(duration=0.5, users=4, rate=20, hold=0.1)
    assert code == 1
    assert "1 x INVITE got 500 Server Internal Error" in shown and "1 failed" in shown


def test_a_server_that_does_not_start(monkeypatch):
    monkeypatch.setattr(server, "_CONFIGURATION", server._CONFIGURATION.replace("workers =", "workres ="))
    code, shown = run(duration=1, users=2)
    assert code == 1
    assert "the server ended with 2" in shown and "workres" in shown


def test_impossible_wishes():
    with pytest.raises(ValueError, match="two users"):
        demo.main(users=1)


def test_control_c_stops_everything(tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-m", "fastsip", "demo"], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.STDOUT, env=environment,  # a shell's & ignores SIGINT
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "registered 100/100" in line:
                break
        assert servers(tmp_path), "".join(lines)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=20)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, rest
    assert "interrupted" in rest and "Traceback" not in rest
    assert time.monotonic() - started < 8
    assert not servers(tmp_path) and not list(tmp_path.iterdir())


def servers(directory) -> list[str]:
    """Processes whose command line names the directory."""
    found = []
    for process in os.listdir("/proc"):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                if os.fsencode(directory) in file.read():
                    found.append(process)
        except OSError:
            continue
    return found
