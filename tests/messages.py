"""The corpus, and what the parser tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
VALID = {path.stem: path.read_bytes() for path in sorted((CORPUS / "valid").glob("*.sip"))}
INVALID = {path.stem: path.read_bytes() for path in sorted((CORPUS / "invalid").glob("*.sip"))}
SAMPLES = VALID | INVALID

DATAGRAM, STREAM = 1, 2
NEED_MORE, MALFORMED = 0, -1


def cut(data: bytes, span: Any) -> bytes | None:
    """The bytes of a Slice, None if it is absent."""
    return data[span["start"] : span["end"]] if span["end"] else None


def text(data: bytes, span: Any) -> bytes:
    """The bytes of a Slice, b"" if it is absent."""
    return data[span["start"] : span["end"]]
