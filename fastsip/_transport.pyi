"""UDP in batches and rings between workers. The work is done in compiled code (fastsip/_transport.pxd); Python needs
the sizes, and tests drive one worker's transport through `Endpoint`."""

from typing import Final, TypedDict

from _typeshed import ReadableBuffer

_Pair = tuple[str, int]

SLOTS_SIZE: Final[int]
"""Bytes of one worker's receive slots, shared with the master for the crash file."""
LARGEST_DATAGRAM: Final[int]
"""65,507: the largest payload that leaves in one UDP datagram."""

def rings_size(workers: int, budget: int) -> int:
    """Bytes of shared, zeroed memory for the rings of all workers: at most `budget`, unless even the smallest rings
    (128 KiB, the power of two that holds the largest datagram) take more: from 24 workers at 64 MiB."""

class _Listener(TypedDict):
    fd: int
    address: _Pair
    advertise: _Pair | None
    wildcard: bool
    adopted: bool
    index: int

class Endpoint:
    """For tests and benchmarks: the transport of one worker, driven from Python.

    `control`, `rings` and `slots` are shared memory, `wakes` every worker's eventfd by index. Addresses are pairs of
    numeric host and port. OSError where the C function says errno.
    """

    def __init__(
        self, control: ReadableBuffer, rings: ReadableBuffer, slots: ReadableBuffer, wakes: list[int], worker: int = 0
    ) -> None: ...
    def listen(
        self, fd: int, index: int = 0, advertise: _Pair | None = None, adopted: bool = False, transport: int = 1
    ) -> int: ...
    def forget(self, number: int) -> None: ...
    def listener(self, number: int) -> _Listener: ...
    def listeners(self) -> int: ...
    def watch(self, fd: int) -> None: ...
    def wait(self, ms: int) -> bool:
        """True if the watched descriptor was readable."""
    def receive(self) -> list[tuple[bytes, _Pair, _Pair, int, int]]:
        """The next batch: data, remote, local, listener, receive slot + 1; empty when all is drained."""
    def in_hand(self, slot: int | None, length: int) -> None: ...
    def send(self, data: ReadableBuffer, remote: _Pair, local: _Pair | None = None, listener: int = 0) -> int: ...
    def flush(self) -> None: ...
    def route(
        self, remote: _Pair, like: tuple[int, _Pair | None] | None = None, transport: int = 1
    ) -> tuple[int, _Pair | None, _Pair] | None:
        """Listener, local and remote address of the way to `remote`, None if there is none."""
    def sent_by(self, listener: int, remote: _Pair, local: _Pair | None = None) -> _Pair: ...
    def buffers(self) -> int:
        """Send buffers that are out."""
    def hand(self, worker: int, data: ReadableBuffer, index: int = 0) -> bool:
        """Put one record into a neighbour's ring, woken at the flush; False if the ring is full."""
    def bounce(self, worker: int, count: int, spin: int, ms: int, first: bool) -> int:
        """Play a record back and forth with a neighbour; how often it came before a wait of `ms` gave nothing."""
    def pump(self, worker: int, data: ReadableBuffer, count: int, batch: int) -> int:
        """Hand records to a neighbour as fast as the ring takes them; CPU nanoseconds spent."""
    def drain(self, count: int) -> int:
        """Take packets from the rings without sleeping; CPU nanoseconds spent."""
    def forward(self, remote: _Pair) -> tuple[int, int]:
        """One turn that sends all that came on to `remote`: datagrams, CPU nanoseconds."""
    def forward_bare(self, remote: _Pair, listener: int = 0) -> tuple[int, int]:
        """The same with recvmmsg and sendmmsg alone, the floor to compare with."""
