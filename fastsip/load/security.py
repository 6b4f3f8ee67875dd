"""TLS of the generator: from options to a setup, and one connection to see that it works."""

from __future__ import annotations

import select
import socket
import time
from typing import Any

from fastsip._tls import DONE, FAILED, WANT_READ, TlsContexts
from fastsip.launch import TlsSetup

from .addresses import Target
from .fleet import CannotRun
from .wrong import Wrong

PATIENCE = 5.0
"""Seconds for a connection and its handshake."""
HINT = " (--ca FILE says whom to believe, --insecure everyone)"
OPTIONS = ("ca", "cert", "key", "insecure")


def read_tls(given: dict[str, Any], transport: str) -> TlsSetup | None:
    """What the options say, None without TLS. Raises Wrong."""
    if transport != "tls":
        for name in OPTIONS:
            if given.get(name):
                raise Wrong(f"--{name} is for TLS: it goes with --transport tls, or an address such as tls:127.0.0.1")
        return None
    if bool(given["cert"]) != bool(given["key"]):
        one, other = ("--cert", "--key") if given["cert"] else ("--key", "--cert")
        raise Wrong(f"{one} goes with {other}")
    if given.get("insecure") and given.get("ca"):
        raise Wrong("--insecure believes everyone: it goes without --ca")
    setup = TlsSetup(
        certificates=[(given["cert"], given["key"])] if given["cert"] else [],
        ca_file=given.get("ca"),
        verify_server=not given.get("insecure"),
    )
    try:
        TlsContexts(setup)
    except (ValueError, RuntimeError) as error:
        raise Wrong(f"TLS: {error}") from None
    return setup


def check(target: Target, setup: TlsSetup) -> None:
    """Shake hands with the target once, so that what is wrong has a reason. Raises CannotRun."""
    deadline = time.monotonic() + PATIENCE
    try:
        sock = socket.create_connection(target.address, PATIENCE)
    except OSError as error:
        raise CannotRun(f"cannot connect to {target}: {error.strerror or error}") from None
    with sock:
        sock.setblocking(False)
        connection = TlsContexts(setup).connect(sock.fileno(), target.name)
        try:
            while (state := connection.handshake()) not in (DONE, FAILED):
                wait = select.POLLIN if state == WANT_READ else select.POLLOUT
                poll = select.poll()
                poll.register(sock, wait)
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise CannotRun(f"no TLS handshake with {target} in {PATIENCE:.0f} s")
            if state == FAILED:
                hint = HINT if "certificate" in connection.reason else ""
                raise CannotRun(f"no TLS with {target}: {connection.reason}{hint}")
            connection.shutdown()
        finally:
            connection.free()
