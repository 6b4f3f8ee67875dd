"""The server's shared words as Python sees them: the master makes and watches them, `ctl` reads them.

One `Control` (ext/control.h) lies in a memfd that every process of a server maps. Every word stands alone: reading
takes no lock and never waits for a writer.
"""

from typing import Final

COUNTERS: Final[tuple[str, ...]]
"""Names of a worker's counters, in the order of `ctl stats --json`."""
MAX_WORKERS: Final[int]
BUCKETS: Final[int]
KEY_BYTES: Final[int]
"""80: owner, branch, route, nonce and location key, 16 bytes each, in this order."""

def control_size() -> int:
    """Bytes of the shared block; the memfd is at least this long."""

def control_format(fd: int, workers: int, keys: bytes, started: int | None = None) -> None:
    """Write a fresh block into the memfd `fd` (made longer if it is too short), once, before any child is started.

    `keys` are the 80 bytes that survive restarts, `started` the wall clock in milliseconds (now if None). Bucket b
    belongs to worker b % workers. ValueError for keys of another length or workers outside 1..MAX_WORKERS.
    """

class ControlView:
    """A mapping of the block. The descriptor may be closed afterwards.

    OSError (EPROTO) when the memory is not a control block of this layout. A worker index outside 0..MAX_WORKERS-1
    raises IndexError. Not for the hot path.
    """

    def __init__(self, fd: int) -> None: ...
    @property
    def workers(self) -> int: ...
    @property
    def started(self) -> int:
        """Unix milliseconds."""
    @property
    def keys(self) -> bytes: ...
    @property
    def location_epoch(self) -> int: ...
    @property
    def durable(self) -> bool:
        """False while the store does not keep up: an acknowledged registration may not survive the machine."""
    @durable.setter
    def durable(self, value: bool) -> None: ...
    @property
    def draining(self) -> bool:
        """True after SIGTERM: workers answer what would begin a dialog with 503."""
    @draining.setter
    def draining(self, value: bool) -> None: ...
    @property
    def services(self) -> int:
        """How many RECORD_SERVICES records the segment has; the state process writes it. Never 0 while there is one."""
    @services.setter
    def services(self, value: int) -> None: ...
    def counters(self, worker: int) -> dict[str, int]:
        """All counters of one worker, by name, in the order of COUNTERS."""
    def count_ping(self, worker: int) -> None:
        """One more of `pings`, a counter that only its pinger writes."""
    def heartbeat(self, worker: int) -> int:
        """CLOCK_MONOTONIC milliseconds of the last turn of the worker's hot loop; 0 before the first."""
    def beat(self, worker: int) -> None:
        """Write the heartbeat of now: the master does it when it starts a worker, so that the wait for its first turn
        is counted too."""
    def incarnation(self, worker: int) -> int: ...
    def set_incarnation(self, worker: int, incarnation: int) -> None: ...
    def sleeping(self, worker: int) -> bool: ...
    def in_hand(self, worker: int) -> tuple[int, int] | None:
        """(receive slot, length) of the datagram the worker works on, None between datagrams: for the crash file."""
    def epoch(self, worker: int) -> int | None:
        """Location epoch the worker reads in, None while it reads nothing."""
    def clear_reader(self, worker: int) -> None:
        """Mark a worker that is *dead* (waited for) as reading nothing, or the segment reclaims no memory any more."""
    def clear_worker(self, worker: int) -> None:
        """What the master does for a dead worker: clear_reader, nothing in hand, not sleeping. Counters stay."""
    def buckets(self) -> bytes:
        """Owner of every bucket: BUCKETS bytes, each a worker's index."""
    def set_buckets(self, owners: bytes) -> None:
        """All owners at once; ValueError unless BUCKETS bytes, each below `workers`. Each bucket moves atomically."""
    def move_buckets(self, source: int, target: int) -> int:
        """Give all buckets of `source` to `target`; how many there were."""
    def owner_of(self, call_id: bytes) -> int:
        """The worker that owns a Call-ID."""
    def close(self) -> None:
        """Unmap. Everything else raises ValueError afterwards. Idempotent."""
