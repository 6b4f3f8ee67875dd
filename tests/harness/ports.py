"""Free ports of loopback addresses, for servers and phones that run at the same time."""

from __future__ import annotations

import random
import socket

_taken: set[int] = set()
_random = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing is bound to now and this process has not given out before, below the ephemeral ones."""
    for _ in range(200):
        port = _random.randrange(20000, 32700)
        if port in _taken:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise OSError("no free port between 20000 and 32700")
