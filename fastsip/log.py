"""Logging of every process: one line a record on standard error, text or JSON.

Passwords and HA1 never reach a record: nothing that holds one has a repr that shows it.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TextIO

import orjson


class TextFormatter(logging.Formatter):
    """`2026-09-01T12:00:00.123Z warning state[41]: message`, an exception's lines joined into the one."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = f"{process}[{os.getpid()}]"

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_timestamp(record)} {record.levelname.lower()} {self._process}: {record.getMessage()}"
        if record.exc_info:
            text += " | " + self.formatException(record.exc_info)
        return text.replace("\n", " | ")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, process, pid, logger, message, and exception where there is one."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": os.getpid(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str).decode()


def configure(process: str, level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Send records of `level` and above to standard error, named as coming from `process`, as "text" or "json".

    Raises ValueError for another level or form."""
    if form not in ("text", "json"):
        raise ValueError(f"log format {form!r} is neither text nor json")
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level {level!r}")
    output = logging.StreamHandler(stream or sys.stderr)
    output.setFormatter(JsonFormatter(process) if form == "json" else TextFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(number)
    logging.raiseExceptions = False  # a log that cannot be written must not become more log


def _timestamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
