"""The sockets engines use: so many addresses and ports, shared out among so many threads."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from fastsip.config.values import bracketed
from fastsip.sockets import bind_udp, bind_udp_group

from .addresses import SourceRange, Target, local_address
from .setup import Source
from .wrong import Wrong

SOCKETS_AT_MOST = 64
"""Of one port; more addresses than this share a wildcard socket, which sends from each in turn."""


class Sources:
    """Bound sockets, and what each engine is told of its own. `per_engine` has one list for each thread."""

    def __init__(self, per_engine: list[list[Source]], sockets: list[socket.socket]) -> None:
        self.per_engine = per_engine
        self.sockets = sockets

    @property
    def hostports(self) -> list[str]:
        """Of each engine, where it is reached first."""
        return [f"{bracketed(own[0].host)}:{own[0].port}" for own in self.per_engine]


def open_sources(ranges: Sequence[SourceRange], threads: int, target: Target | None) -> Sources:
    """Bind what `--source` says; without any, a port of the kernel's choice towards the target for each thread.

    Raises Wrong for too few sources, OSError with a text for a person.
    """
    if not ranges:
        host = local_address(target) if target is not None else "127.0.0.1"
        ranges = [SourceRange([host], [0])]
    wanted: list[tuple[list[str], int]] = []
    for hosts, ports in ranges:
        for port in ports:
            wanted += [(hosts, port)] if len(hosts) > SOCKETS_AT_MOST else [([host], port) for host in hosts]
    if any(port == 0 for _, port in wanted):
        wanted += [wanted[index % len(wanted)] for index in range(threads - len(wanted))]
    if len(wanted) < threads:
        raise Wrong(f"--threads {threads} needs {threads} sources at least: a socket belongs to one thread")
    made = Sources([[] for _ in range(threads)], [])
    try:
        for index, (hosts, port) in enumerate(wanted):
            made.per_engine[index % threads].append(_bound(hosts, port, made.sockets))
    except OSError:
        close(made.sockets)
        raise
    return made


def open_listeners(host: str, port: int, threads: int) -> Sources:
    """Bind one address for each thread; the kernel shares datagrams out by where they come from. Raises OSError."""
    sockets = bind_udp_group(host, port, threads)
    return Sources([[_source(sock)] for sock in sockets], sockets)


def close(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _bound(hosts: list[str], port: int, sockets: list[socket.socket]) -> Source:
    wildcard = len(hosts) > 1
    host = ("::" if ":" in hosts[0] else "0.0.0.0") if wildcard else hosts[0]
    sock = bind_udp(host, port, reuseport=False)
    sockets.append(sock)
    return _source(sock, hosts if wildcard else [])


def _source(sock: socket.socket, addresses: Sequence[str] = ()) -> Source:
    name = sock.getsockname()
    return Source(fd=sock.fileno(), host=name[0], port=name[1], addresses=list(addresses))
