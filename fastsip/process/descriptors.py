"""How many descriptors a worker may have: each connection takes one, and the usual limit is 1,024."""

from __future__ import annotations

import contextlib
import resource

WANTED = 70_000
"""As many connections as a worker keeps (ext/transport/connection.pxi) and what else it has."""


def allow_descriptors() -> int:
    """Raise the limit as far as the system lets us; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < WANTED and hard < WANTED:
        with contextlib.suppress(OSError, ValueError):  # root may
            resource.setrlimit(resource.RLIMIT_NOFILE, (WANTED, WANTED))
            return WANTED
    if soft < WANTED:
        soft = min(WANTED, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
