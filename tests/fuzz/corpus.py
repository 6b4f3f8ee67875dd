"""The parser's corpus: one zip, each member a message under the hash of its bytes: what a fuzzer found."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path

FILE = Path(__file__).parent / "corpus.zip"
LARGEST = 1 << 20
"""Bytes of the file: it is in Git, and each new one of it for ever."""


def read() -> dict[str, bytes]:
    with zipfile.ZipFile(FILE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(messages: Iterable[bytes]) -> int:
    """Replace it; the same messages make the same file. How many there were."""
    named = {hashlib.sha1(message).hexdigest()[:16]: message for message in messages}
    with zipfile.ZipFile(FILE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(named):
            archive.writestr(zipfile.ZipInfo(name), named[name], zipfile.ZIP_DEFLATED)
    if FILE.stat().st_size > LARGEST:
        raise ValueError(f"{FILE} has {FILE.stat().st_size} bytes: too many to keep")
    return len(named)


def unpack(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, message in read().items():
        (folder / name).write_bytes(message)
