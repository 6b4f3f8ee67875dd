"""Free ports of loopback addresses, for servers and phones that run at the same time."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

_FIRST, _LAST = 20000, 32699
"""Below the ephemeral ports of the kernel."""

_random = random.SystemRandom()
_claims: int | None = None
_given: set[int] = set()
"""A lock is no hindrance to the process that has it."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing is bound to now, by UDP or TCP, and that no test process that still runs has been given."""
    for _ in range(200):
        port = _random.randint(_FIRST, _LAST)
        if _is_free(host, port) and _claim(port):
            return port
    raise OSError(f"no free port between {_FIRST} and {_LAST}")


def _is_free(host: str, port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def _claim(port: int) -> bool:
    """Suites run in several processes, and between the probe and the server's bind another would find the port free:
    byte `port` of a file that all share is locked, until this process ends."""
    global _claims
    if _claims is None:
        path = Path(tempfile.gettempdir()) / f"fastsip-test-ports.{os.getuid()}"
        _claims = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if port in _given:
        return False
    try:
        fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.add(port)
    return True
