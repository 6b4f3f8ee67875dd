"""How long calls take beside something else: the p99 of INVITE to 200, in turn without and with it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import orjson
from harness import Server

ROUNDS = 5
REST = 2.5
"""Seconds between rounds, in which what was left over ends."""


def p99(server: Server, rate: int = 1000, seconds: int = 5) -> float:
    """In ms, of calls by UDP to registered phones; none of them may fail."""
    users = ["--users", "user0..99", "--domain", server.domains[0]]
    words = [server.hostport, "--answer", *users, "--rate", str(rate), "--duration", str(seconds), "--hold", "100ms"]
    done = subprocess.run(
        [sys.executable, "-m", "fastsip", "load", "call", *words, "--json", "-q"], stdout=subprocess.PIPE, timeout=60
    )
    found = orjson.loads(done.stdout)
    assert found["done"] > 0.8 * rate * seconds and not found["failures"], (found["failures"], found["generator"])
    return float(found["response_times"]["invite_200"]["p99"])


def alone_and_beside(server: Server, other: Callable[[], AbstractContextManager[object]]) -> tuple[float, float]:
    """Medians of five rounds each, in turn; also printed."""
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(p99(server))
        with other():
            beside.append(p99(server))
        time.sleep(REST)
    before, after = statistics.median(alone), statistics.median(beside)
    print(f"p99 of INVITE to 200: {before:.2f} ms alone, {after:.2f} ms beside; {alone}, {beside}")
    return before, after
