"""The server's sockets: bound once, one per worker and listen address, kept by the master for as long as it lives.

A worker that dies leaves its socket and what is queued in it to its successor.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from fastsip.config import Listen
from fastsip.launch import ListenerSetup
from fastsip.sockets import bind_group

from .problems import CannotStart

WAIT = 3.0
"""Seconds to wait for an address: children of a master that was killed hold it for up to one."""


class Listeners:
    """All sockets. `bound` are the listen addresses with the ports they really have."""

    def __init__(self, wanted: Sequence[Listen], workers: int) -> None:
        """Bind everything. Raises CannotStart, with the reason in words, if one address cannot be had."""
        self.bound: list[Listen] = []
        self._groups: list[list[socket.socket]] = []
        deadline = time.monotonic() + WAIT
        try:
            for listen in wanted:
                group = _group(listen, workers, deadline)
                self._groups.append(group)
                self.bound.append(listen.at(group[0].getsockname()[1]))
        except BaseException:
            self.close()
            raise

    def setups(self, worker: int) -> list[ListenerSetup]:
        """What a worker is told about its sockets."""
        return [
            ListenerSetup(
                fd=sock.fileno(),
                index=index,
                transport=listen.transport,
                host=listen.host,
                port=listen.port,
                advertise=None if listen.named else listen.advertise,
                wildcard=listen.wildcard,
            )
            for index, (sock, listen) in enumerate(zip(self._of(worker), self.bound, strict=True))
        ]

    def fds(self, worker: int) -> list[int]:
        return [sock.fileno() for sock in self._of(worker)]

    @property
    def datagrams(self) -> tuple[list[list[socket.socket]], list[Listen]]:
        """The workers' sockets, by worker, of each listen address for UDP, and those addresses."""
        found = [
            (group, listen) for group, listen in zip(self._groups, self.bound, strict=True) if listen.transport == "udp"
        ]
        return [group for group, _listen in found], [listen for _group, listen in found]

    def _of(self, worker: int) -> list[socket.socket]:
        return [group[worker] for group in self._groups]

    def close(self) -> None:
        for group in self._groups:
            for sock in group:
                sock.close()


def _group(listen: Listen, workers: int, deadline: float) -> list[socket.socket]:
    while True:
        try:
            return bind_group(listen.transport, listen.host, listen.port, workers)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise CannotStart(_reason(listen, error)) from None
        time.sleep(0.05)


def _reason(listen: Listen, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        kind = "udp" if listen.transport == "udp" else "tcp"
        return f"cannot listen on {listen}: address already in use{holder(listen.port, kind)}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {listen}: this machine has no interface with the address {listen.host}"
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "; ports below 1024 need root or CAP_NET_BIND_SERVICE" if listen.port < 1024 else ""
        return f"cannot listen on {listen}: permission denied{hint}"
    return error.strerror or f"cannot listen on {listen}"


def holder(port: int, kind: str = "udp") -> str:
    """ " by <program> (pid N)" for whoever has the port, as far as /proc tells."""
    inodes = set()
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for columns in map(str.split, lines):
            if int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    for directory in Path("/proc").iterdir() if inodes else ():
        if not directory.name.isdigit() or int(directory.name) == os.getpid():
            continue
        try:
            if any(os.readlink(entry) in inodes for entry in (directory / "fd").iterdir()):
                words = (directory / "cmdline").read_bytes().split(b"\0")
                program = " ".join(word.decode(errors="replace") for word in words[:4] if word)
                return f" by {program[:80]} (pid {directory.name})"
        except OSError:
            continue
    return ""
