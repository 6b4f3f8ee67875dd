"""The directory of one run, with the ZeroMQ socket between the children in it.

An abstract socket name would need no directory, and would let any local user send facts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from fastsip.admin.paths import base_directory


def private_directory() -> Path:
    """A new directory, mode 0700; those of masters that were killed are removed on the way. Raises OSError."""
    base = base_directory()
    for old in base.glob("run-*-*"):
        pid = old.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=base))
