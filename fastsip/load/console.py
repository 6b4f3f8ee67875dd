"""Where things are printed: results on standard output, progress on standard error."""

from __future__ import annotations

import sys
from typing import Any

import orjson
from rich.console import Console


class Consoles:
    """`result` for the final table, `progress` for what is shown before; with `as_json` standard output gets
    a document and nothing else."""

    def __init__(self, as_json: bool) -> None:
        self.result = Console(width=None if sys.stdout.isatty() else 120)
        self.progress = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
        self.as_json = as_json

    def document(self, document: dict[str, Any]) -> None:
        sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
        sys.stdout.flush()
