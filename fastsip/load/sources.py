"""The sockets engines use: so many addresses and ports, shared out among so many threads."""

from __future__ import annotations

import resource
import socket
from collections.abc import Sequence
from typing import Literal, cast

from fastsip.config.values import bracketed
from fastsip.sockets import bind_group, bind_stream, bind_udp

from .addresses import SourceRange, Target, local_address
from .setup import Source
from .wrong import Wrong

SOCKETS_AT_MOST = 64
"""Of one port; more addresses than this share a wildcard socket, which sends from each in turn."""


SPARE = 1000
"""Open files for all that is no connection of the callers."""


class Sources:
    """Bound sockets, and what each engine is told of its own. `per_engine` has one list for each thread."""

    def __init__(self, per_engine: list[list[Source]], sockets: list[socket.socket]) -> None:
        self.per_engine = per_engine
        self.sockets = sockets

    @property
    def hostports(self) -> list[str]:
        """Of each engine, where it is reached first."""
        return [f"{bracketed(own[0].host)}:{own[0].port}" for own in self.per_engine]


def open_sources(ranges: Sequence[SourceRange], threads: int, target: Target) -> Sources:
    """Bind what `--source` says, for the target's transport; without any, a port of the kernel's choice towards it for
    each thread.

    Raises Wrong for too few sources, OSError with a text for a person.
    """
    if not ranges:
        ranges = [SourceRange([local_address(target)], [0])]
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
            made.per_engine[index % threads].append(_bound(hosts, port, target.transport, made.sockets))
    except OSError:
        close(made.sockets)
        raise
    return made


def open_listeners(host: str, port: int, threads: int, transport: str = "udp") -> Sources:
    """Bind one address for each thread; the kernel shares datagrams, or connections, out by where they come from.
    Raises OSError."""
    sockets = bind_group(transport, host, port, threads)
    return Sources([[_source(sock, transport)] for sock in sockets], sockets)


def room_for(connections: int) -> None:
    """Raise this process's limit of open files for so many connections. Raises Wrong where it may not."""
    wanted = connections + SPARE
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if most != resource.RLIM_INFINITY and most < wanted:
        raise Wrong(f"--connections: {connections:,} need {wanted:,} open files, and this process may have {most:,}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def close(sockets: Sequence[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _bound(hosts: list[str], port: int, transport: str, sockets: list[socket.socket]) -> Source:
    wildcard = len(hosts) > 1
    host = ("::" if ":" in hosts[0] else "0.0.0.0") if wildcard else hosts[0]
    sock = bind_udp(host, port, False) if transport == "udp" else bind_stream(host, port, False, transport)
    sockets.append(sock)
    return _source(sock, transport, hosts if wildcard else [])


def _source(sock: socket.socket, transport: str, addresses: Sequence[str] = ()) -> Source:
    name = sock.getsockname()
    known = cast(Literal["udp", "tcp", "tls"], transport)
    return Source(fd=sock.fileno(), host=name[0], port=name[1], addresses=list(addresses), transport=known)
