"""Files of the system that may change while the server runs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

LOOK = 1.0
"""Seconds between two looks."""


class Watched(Generic[T]):
    """What `read` makes of a file, again when the file is another; `missing` while it cannot be read."""

    def __init__(self, path: Path, read: Callable[[str], T], missing: T, now: Callable[[], float]) -> None:
        self._path = path
        self._read = read
        self._missing = missing
        self._now = now
        self._value = missing
        self._looked: float | None = None
        self._state: tuple[int, int, int] | None = None

    def value(self) -> T:
        now = self._now()
        if self._looked is not None and 0 <= now - self._looked < LOOK:
            return self._value
        self._looked = now
        try:
            found = os.stat(self._path)
            state = found.st_mtime_ns, found.st_size, found.st_ino
            if state != self._state:
                self._value = self._read(self._path.read_text(errors="replace"))
                self._state = state
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):  # it is there, only we cannot look now
                self._value, self._state = self._missing, None
        return self._value
