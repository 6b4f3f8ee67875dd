"""The store file before any child opens it: one server at a time, and the keys that survive restarts.

The lock lies beside the store (`<store>.lock`, flock) because SQLite's own locks last one transaction. The state
process inherits the descriptor: whoever kills the master and starts another at once waits here until the old state
process has ended too, so that two never write one store.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time

from fastsip.state.schema import read_keys

from .problems import CannotStart

WAIT = 3.0
"""Seconds to wait for the children of a master that was killed."""


class Store:
    """A store file held for this server. `lock_fd` is for the state process to inherit."""

    def __init__(self, path: str) -> None:
        """Lock the file, creating it if it is not there. Raises CannotStart if it cannot be used."""
        self.path = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.lock_fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(f"cannot write the store {path}: {error.strerror} (state.path)") from None
        deadline = time.monotonic() + WAIT
        while not self._locked():
            if time.monotonic() > deadline:
                holder = os.pread(self.lock_fd, 32, 0).decode(errors="replace").strip()
                os.close(self.lock_fd)
                by = f" (process {holder})" if holder.isdigit() else ""
                raise CannotStart(f"the store {path} is in use by another server{by}: give this one its own state.path")
            time.sleep(0.05)
        os.ftruncate(self.lock_fd, 0)
        os.pwrite(self.lock_fd, str(os.getpid()).encode(), 0)

    def keys(self) -> bytes:
        """The server's keys, created on first use. Raises CannotStart if the file is no store or cannot be written."""
        try:
            return read_keys(self.path)
        except (sqlite3.Error, OSError) as error:
            raise CannotStart(f"cannot use the store {self.path}: {error} (state.path)") from None

    def close(self) -> None:
        """Give the lock up, unless the state process still lives."""
        os.close(self.lock_fd)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
