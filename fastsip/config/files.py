"""Files a configuration names, which are read by whoever serves."""

from __future__ import annotations

import errno
import os
import stat


def only_files(path: str, flags: int) -> int:
    """An opener for `open`: of a pipe or a device, where nobody may come to write, it raises OSError at once."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no file", path)
    return fd
