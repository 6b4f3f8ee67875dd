"""Where a server's sockets in the file system live: a directory of its user alone.

An abstract ZeroMQ name would need no directory, and would let any local user send facts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from fastsip.config import Configuration

from .problems import CannotStart

SOCKET_PATH_LIMIT = 107
_ROOM = 48
"""Bytes a name inside the directory may add to its path."""


def base_directory() -> Path:
    """`$XDG_RUNTIME_DIR/fastsip`, `/run/fastsip` or `/tmp/fastsip-<uid>`: the first that can be had, mode 0700 if made.

    Raises CannotStart if even the last belongs to someone else.
    """
    candidates = [Path("/run/fastsip"), Path(tempfile.gettempdir()) / f"fastsip-{os.getuid()}", Path(f"/tmp/fastsip-{os.getuid()}")]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        candidates.insert(0, Path(runtime) / "fastsip")
    for path in candidates:
        if len(os.fsencode(path)) + _ROOM > SOCKET_PATH_LIMIT:
            continue
        with contextlib.suppress(OSError):
            path.mkdir(mode=0o700, exist_ok=True)
            about = path.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and os.access(path, os.W_OK | os.X_OK):
                if about.st_mode & 0o022:
                    continue
                return path
    raise CannotStart(f"no directory for the control socket: {candidates[-1]} is not ours; set XDG_RUNTIME_DIR")


def control_path(configuration: Configuration) -> Path:
    """Where `fastsip ctl` finds the server of this configuration."""
    given = configuration.tables.server.control
    if given is not None:
        return configuration.beside(given)
    if configuration.path is not None:
        name = hashlib.sha256(os.fsencode(configuration.path.resolve())).hexdigest()[:12]
    else:
        name = str(configuration.tables.server.listen[0]).replace(":", "-").replace("[", "").replace("]", "")
    return base_directory() / f"{name}.sock"


def private_directory() -> Path:
    """A new directory for this run's ZeroMQ socket; those of masters that were killed are removed on the way."""
    base = base_directory()
    for old in base.glob("run-*-*"):
        pid = old.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=base))
