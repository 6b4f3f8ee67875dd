"""The table of gateways as Python sees it: the master gives out its slots, choosers read it, the prober writes it.

One `Targets` (ext/targets.h) lies in a memfd that every process of a server maps. Times are milliseconds of
CLOCK_MONOTONIC; where `now` may be left out it is `now_ms()`. Nothing here waits or locks.
"""

from collections.abc import Sequence
from typing import Final

SLOTS: Final[int]
"""1024."""
FAILURES: Final[int]
"""Without any answer between them, after which a gateway is down."""
DOWN_FIRST: Final[int]
"""Milliseconds it is left alone then; twice that with each trial, at most DOWN_MOST."""
DOWN_MOST: Final[int]
RETRY_AFTER_MOST: Final[int]
"""Seconds of a Retry-After that are believed."""

UP: Final[int]
"""States; calls may be sent where they are positive."""
ON_TRIAL: Final[int]
"""It was down and its time is over: whoever gets it by `claim` tries it."""
FULL: Final[int]
WAITING: Final[int]
"""A 503 said Retry-After, and that is not over."""
DOWN: Final[int]
UNUSED: Final[int]
"""Not in the configuration (any more)."""

def now_ms() -> int: ...
def table_size() -> int:
    """Bytes of the table; the memfd is at least this long."""

def table_format(fd: int, workers: int) -> None:
    """Begin a table in the memfd `fd` (made longer if it is too short), once, before any child is started. OSError if
    there is one, ValueError for workers outside 1..64."""

class TargetTable:
    """A mapping of the table. The descriptor may be closed afterwards.

    OSError (EPROTO) when the memory is not a table of this layout; IndexError for a slot or worker there is none of.
    """

    def __init__(self, fd: int) -> None: ...
    def assign(self, gateways: Sequence[tuple[str, int, int]]) -> list[int]:
        """The master: the gateways there are from now on, each its name, weight and the calls it may have at the same
        time (0: any number); their slots. One that was there before, even if not lately, keeps slot and health. A slot
        goes to another gateway only when every one is or was somebody's: that of whoever left first.

        ValueError for more than SLOTS, or two of one name.
        """
    def slot_of(self, name: str) -> int | None:
        """The slot of a gateway, None if it has none."""
    def clear_worker(self, worker: int) -> None:
        """The master, for a worker that is *dead* (waited for): what rang on it is lost."""
    def begin(self, slot: int, worker: int) -> None:
        """A branch begins; only the worker's own process calls this and the next three."""
    def admit(self, slot: int, worker: int) -> bool:
        """The same, unless there are as many calls as may be: then False and nothing is counted."""
    def end(self, slot: int, worker: int) -> None:
        """The branch is over."""
    def confirmed(self, slot: int, worker: int) -> None:
        """The branch is over by a 2xx, and the state process will be told of its dialog."""
    def busy(self, slot: int) -> int:
        """Calls of all workers, ringing and open."""
    def answered(self, slot: int, now: int | None = None) -> None:
        """Any response came: it lives."""
    def timeout(self, slot: int, now: int | None = None) -> bool:
        """No response came, or nothing could be sent; True if it is down by that and was not before."""
    def unavailable(self, slot: int, retry_after: int, now: int | None = None) -> None:
        """503, with so many seconds of Retry-After (0: none, and nothing changes but a counter)."""
    def failed(self, slot: int) -> None:
        """Another 5xx."""
    def state(self, slot: int, now: int | None = None) -> int: ...
    def claim(self, slot: int, now: int | None = None) -> bool:
        """Whether the caller may try it: always when it is up, once when it is ON_TRIAL."""
    def free_at(self, slot: int) -> int:
        """When neither Retry-After nor a pause keep it any more; may be past, 0 for never kept."""
    def weight(self, slot: int) -> int: ...
    def probed(self, slot: int, status: int, seconds: float, now: int | None = None) -> None:
        """Note an OPTIONS: its final status, 0 for none, and its round trip. Changes no health."""
    def probe_failed(self, slot: int, until: int, now: int | None = None) -> bool:
        """It had no answer. If that makes the gateway down, or it was: down until `until`, if not for longer. True if
        it is down by that and was not before."""
    def set_open(self, slot: int, dialogs: int) -> None:
        """The state process: confirmed dialogs there are."""
    def heard(self, slot: int, worker: int, dialogs: int) -> None:
        """The state process: that many more dialogs of `worker` are in `set_open`'s number; negative to take back."""
    def on_the_way(self, slot: int, worker: int) -> int:
        """Dialogs that `worker` handed over and that were not heard of. Negative if some were heard of twice."""
    @property
    def used(self) -> int:
        """Slots that are or were somebody's: the first so many."""
    @property
    def workers(self) -> int: ...
    def status(self, slot: int, now: int | None = None) -> dict[str, int]:
        """Everything there is: state, weight, limit, ringing, open, busy (calls now), calls, failed (5xx), unavailable
        (503), timeouts (of all time), failures (in a row), down_until, retry_until, probed (ms), probe_status (0: no
        answer), probe_us."""
    def close(self) -> None:
        """Unmap. Everything else raises ValueError afterwards. Idempotent."""
