"""Letting the kernel choose the right worker's socket, where it can be had.

Ownership is worked out by whoever receives a datagram, and handing on what is somebody else's is always right. Steering
only saves that: the hand-off, and the second wake-up. Counters tell how well it works: `handoffs_out` stays near zero.

    ebpf   by Call-ID, all messages; needs root, or CAP_BPF and CAP_PERFMON
    cbpf   by the owner in our own branch, responses only; anybody may
    off    the kernel's hash of the addresses

The sockets are the master's and stay open for its life, so their places in the group are the workers' numbers for good.
The bucket of a Call-ID is taken to be at home: a neighbour that took over for a dead worker reads its socket too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Literal

from fastsip.config import Listen
from fastsip.config.values import bracketed

from . import bpf, programs
from .problems import CannotStart

log = logging.getLogger(__name__)

Steering = Literal["auto", "off", "ebpf", "cbpf"]
Working = Literal["ebpf", "cbpf", "off"]
Group = Sequence[socket.socket]

_MEANING = {
    "ebpf": "steering by Call-ID (eBPF)",
    "cbpf": "steering responses by branch (cBPF)",
    "off": "no steering",
}


def steer(groups: Sequence[Group], listens: Sequence[Listen], key: bytes, wanted: Steering) -> Working:
    """Attach a program to each group of sockets, the workers' sockets of one listen address, and say which kind.

    `key` is the owner key. Raises CannotStart if a kind was asked for by name and cannot be had.
    """
    if wanted == "off" or not groups or len(groups[0]) < 2:
        return "off"
    refusals = []
    for kind in ("ebpf", "cbpf"):
        if wanted not in ("auto", kind):
            continue
        try:
            if kind == "ebpf":
                _by_call_id(groups, key)
            else:
                _by_branch(groups, listens)
        except OSError as error:
            _undo(groups)
            for note in getattr(error, "__notes__", ()):
                log.debug("%s: %s", kind, note)
            refusals.append(f"{kind}: {error.strerror}")
            continue
        log.info("%s%s", _MEANING[kind], f"; {refusals[0]}" if refusals else "")
        return "ebpf" if kind == "ebpf" else "cbpf"
    if wanted != "auto":
        needs = "; it needs root, or CAP_BPF and CAP_PERFMON" if wanted == "ebpf" else ""
        raise CannotStart(f'server.steering = "{wanted}" cannot be had: the kernel says {refusals[0]}{needs}')
    log.info("no steering (%s): workers hand on what is not theirs", "; ".join(refusals))
    return "off"


def _by_call_id(groups: Sequence[Group], key: bytes) -> None:
    # The programs hold the maps, the groups hold the programs: nothing of it is ours to keep.
    fds: list[int] = []
    try:
        buffer = bpf.map_create(bpf.MAP_PERCPU_ARRAY, programs.BUFFER, 1)
        fds.append(buffer)
        for group in groups:
            sockets = bpf.map_create(bpf.MAP_REUSEPORT_SOCKARRAY, 8, len(group))
            fds.append(sockets)
            for index, sock in enumerate(group):
                bpf.map_set_socket(sockets, index, sock)
            program = bpf.program_load(programs.by_call_id(key, len(group), sockets, buffer))
            fds.append(program)
            bpf.attach_extended(group[0], program)
    finally:
        for fd in fds:
            os.close(fd)


def _by_branch(groups: Sequence[Group], listens: Sequence[Listen]) -> None:
    for group, listen in zip(groups, listens, strict=True):
        bpf.attach_classic(group[0], programs.by_branch(sent_by_lengths(listen)))


def sent_by_lengths(listen: Listen) -> list[int]:
    """How long what we write as sent-by may be; one length unless the address is a wildcard."""
    host, port = listen.public
    behind = len(f":{port}")
    if listen.advertise is not None or not listen.wildcard:
        return [len(bracketed(host)) + behind]
    hosts = range(len("[::1]"), len("[]") + 40) if ":" in host else range(len("1.1.1.1"), len("255.255.255.255") + 1)
    return [length + behind for length in hosts]


def _undo(groups: Iterable[Group]) -> None:
    for group in groups:
        with contextlib.suppress(OSError):  # nothing was attached
            bpf.detach(group[0])
