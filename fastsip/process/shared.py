"""The memory all processes of a server share, made by the master and inherited by descriptor.

Everything is a memfd: no name in any file system, gone with the last process that maps it, and still there when any
child dies. Pages exist once they are written to, so generous sizes cost nothing.
"""

from __future__ import annotations

import os

from fastsip._control import ControlView, control_format, control_size
from fastsip._digest import table_size as nonces_size
from fastsip._location import segment_format
from fastsip._targets import TargetTable, table_format
from fastsip._transport import LARGEST_DATAGRAM, SLOTS_SIZE, rings_size

RECEIVE_SLOT = 65_600
"""As in fastsip/_transport.pxd: a datagram and room behind it."""
RINGS_BUDGET = 64 * 1024 * 1024


class Shared:
    """Descriptors of one server's shared memory and wake-up events; `control` and `targets` are the master's own
    views."""

    def __init__(self, workers: int, keys: bytes) -> None:
        self.control_fd = _memory("control", control_size())
        control_format(self.control_fd, workers, keys)
        self.rings_fd = _memory("rings", rings_size(workers, RINGS_BUDGET))
        self.slots_fds = [_memory(f"slots-{index}", SLOTS_SIZE) for index in range(workers)]
        self.segment_fd = _memory("location", 0)
        segment_format(self.segment_fd, self.control_fd)
        self.nonces_fd = _memory("nonces", nonces_size())
        self.targets_fd = _memory("targets", 0)
        table_format(self.targets_fd, workers)
        self.wake_fds = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(workers)]
        self.control = ControlView(self.control_fd)
        self.ticket_secret = os.urandom(48)
        """By which workers resume each other's TLS sessions."""
        self.targets = TargetTable(self.targets_fd)

    def clear_worker(self, worker: int) -> None:
        """What a dead worker (waited for) has left is nobody's any more."""
        self.control.clear_worker(worker)
        self.targets.clear_worker(worker)

    def in_hand(self, worker: int) -> bytes | None:
        """The datagram a dead worker was working on, None if it was between datagrams."""
        found = self.control.in_hand(worker)
        if found is None:
            return None
        slot, length = found
        return os.pread(self.slots_fds[worker], min(length, LARGEST_DATAGRAM), slot * RECEIVE_SLOT) or None

    def close(self) -> None:
        self.control.close()
        self.targets.close()
        common = (self.control_fd, self.rings_fd, self.segment_fd, self.nonces_fd, self.targets_fd)
        for fd in (*common, *self.slots_fds, *self.wake_fds):
            os.close(fd)


def _memory(name: str, size: int) -> int:
    fd = os.memfd_create(f"fastsip-{name}", os.MFD_CLOEXEC)
    if size:
        os.ftruncate(fd, size)
    return fd
