"""The datagram that was in hand when a worker died, kept for whoever looks for the cause. Never tried again."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

log = logging.getLogger(__name__)

KEPT = 32
"""Files kept in one directory; the oldest go first. At 64 KiB each they are 2 MiB at most."""


def save(directory: Path, worker: int, datagram: bytes) -> Path | None:
    """Write `crash-<time>-<worker>.sip`; None (and a log line) if it cannot be written."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03d}Z"
    path = directory / f"crash-{stamp}-{worker}.sip"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(datagram)
        for old in sorted(directory.glob("crash-*.sip"))[:-KEPT]:
            with contextlib.suppress(OSError):
                old.unlink()
    except OSError as error:
        log.error("cannot write the crash file %s: %s", path, error.strerror)
        return None
    return path
