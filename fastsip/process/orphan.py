"""The last resort of a child: the kernel ends it with its parent, whatever its threads are doing."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the kernel send SIGKILL when the parent's thread that started this process ends (the master's only one).

    For workers. The state process is left its moment to write what it holds; it looks for its parent itself.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
