"""Where a server's sockets in the file system live: a directory that belongs to its user alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from fastsip.config import Configuration, control, load

SOCKET_PATH_LIMIT = 107
_ROOM = 48
"""Bytes that a name inside the directory may add."""


def base_directory() -> Path:
    """`$XDG_RUNTIME_DIR/fastsip`, `/run/fastsip` or `/tmp/fastsip-<uid>`: the first that can be had; made with 0700.

    Raises OSError if none can: the last exists and belongs to someone else.
    """
    for path in _candidates():
        if len(os.fsencode(path)) + _ROOM > SOCKET_PATH_LIMIT:
            continue
        with contextlib.suppress(OSError):
            path.mkdir(mode=0o700, exist_ok=True)
            about = path.lstat()
            private = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o022
            if private and os.access(path, os.W_OK | os.X_OK):
                return path
    raise PermissionError(f"no directory for the control socket: {path} is not ours; set XDG_RUNTIME_DIR")


def control_path(configuration: Configuration) -> Path:
    """Where `fastsip ctl` finds the server of this configuration. Raises as `base_directory`."""
    server = configuration.tables.server
    if server.control is not None:
        return configuration.beside(server.control)
    if configuration.path is not None:
        return _path_for(configuration.path)
    name = str(server.listen[0]).translate({ord(":"): "-", ord("["): None, ord("]"): None})
    return base_directory() / f"{name}.sock"


def control_path_by(path: Path | None) -> Path:
    """The same, of the server with this configuration file (None: with none), whatever is wrong in the rest of it.

    Raises ConfigurationError as `fastsip.config.control`, and as `base_directory`.
    """
    if path is None:
        return control_path(load(None))
    return control(path) or _path_for(path)


def _path_for(file: Path) -> Path:
    """Of a configuration that does not say where."""
    name = hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:12]
    return base_directory() / f"{name}.sock"


def _candidates() -> list[Path]:
    mine = f"fastsip-{os.getuid()}"
    paths = [Path("/run/fastsip"), Path(tempfile.gettempdir()) / mine, Path("/tmp") / mine]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return [Path(runtime) / "fastsip", *paths] if runtime else paths
