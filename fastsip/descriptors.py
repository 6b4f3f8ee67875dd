"""What to do where no descriptor is left: the one thing that wanted some fails, and all else goes on."""

from __future__ import annotations

import errno
import os

_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def need(count: int) -> None:
    """Raises OSError unless so many more can be had now. To be asked before what would else be left half made: a module
    whose imports fail, an event loop without its pipe, certificates of which some were read."""
    taken: list[int] = []
    try:
        for _ in range(count):
            taken.append(os.eventfd(0, os.EFD_CLOEXEC))
    finally:
        for fd in taken:
            os.close(fd)


def scarce(error: BaseException) -> bool:
    """Whether this is about what the machine has too little of now, descriptors, memory or threads."""
    if isinstance(error, OSError):
        return error.errno in _SCARCE
    return isinstance(error, RuntimeError) and "start new thread" in str(error)
