"""For the tests and benchmarks alone: Python faces of compiled layers that have none. Nothing of fastsip imports it."""

from collections.abc import Callable

class ManualWheel:
    """A wheel with `count` timers, numbered, and no clock: every method is told what time it is, in milliseconds."""

    count: int
    def __init__(self, count: int, now: int = 0) -> None: ...
    def arm(self, number: int, now: int, delay: int) -> None: ...
    def cancel(self, number: int) -> None: ...
    def is_armed(self, number: int) -> bool: ...
    def expire(self, now: int) -> int | None:
        """The next timer due at `now`, one call of wheel_expire."""
    def sweep(self, now: int) -> list[int]:
        """Every timer due at `now`, until wheel_expire says there is none."""
    def wait(self, now: int, limit: int) -> int: ...
    @property
    def armed(self) -> int: ...
    def measure(self, spread: int) -> dict[str, float]:
        """Arm all over `spread` ms and turn the wheel through them, then arm and cancel all: CPU nanoseconds a timer,
        the longest turn, how many fired and how many of them late."""
    def lateness(self, spread: int, duration: int) -> tuple[int, list[tuple[int, int]]]:
        """In real time: arm all over `spread` ms, sleep and fire for `duration` ms as the hot loop does, arm each
        again. How many fired, and how late in microseconds: (lateness, count) in steps of 10, rising."""

SIZEOF_TRANSACTION: int

def machines() -> list[tuple[str, str, str, str, tuple[str, ...]]]:
    """Every arrow of ext/fsm.h: machine, state, event, next state, actions in order. "" is the state before all."""

def kept() -> dict[tuple[str, str], frozenset[str]]:
    """The buffers a state keeps, "request" and "response", by machine and state."""

class ManualTransaction:
    """A transaction of a ManualLayer by slot and generation. All but `state` raise LookupError when it is gone."""

    slot: int
    generation: int
    @property
    def state(self) -> str | None:
        """ "Calling", "Trying"... "" before client_start, None when it is gone."""
    @property
    def status(self) -> int: ...
    @property
    def request(self) -> bytes | None: ...
    @property
    def response(self) -> bytes | None: ...
    @property
    def cancel(self) -> ManualTransaction | None:
        """The client transaction of the CANCEL of an INVITE client transaction."""

class ManualLayer:
    """A transaction layer with a transaction user that writes down what it is told, and a clock that stands still.

    Events: "send INVITE", "send 180", "cannot send 200", "response 180", "timeout", "failure", "terminated", "timer".
    """

    fail_sends: bool
    on_event: Callable[[str, ManualTransaction | None], object] | None
    """Called while an event happens; what it raises comes out of take()."""
    sent: list[bytes]
    def __init__(
        self,
        *,
        limit: int = 1000,
        owner: int = 3,
        incarnation: int = 1,
        t1: int = 500,
        t2: int = 4000,
        t4: int = 5000,
        now: int = 1_000_000,
    ) -> None: ...
    def close(self) -> int:
        """transactions_free: how many were live."""
    def take(self) -> list[str]:
        """The events since the last call."""
    def match(self, data: bytes) -> tuple[str, ManualTransaction | None]:
        """match_request: "none", "absorbed" or "ACK for the TU", and the transaction."""
    def serve(self, data: bytes, reliable: bool = False) -> ManualTransaction | None:
        """server_transaction; None when full."""
    def find_cancelled(self, data: bytes) -> ManualTransaction | None: ...
    def receive_response(self, data: bytes) -> bool: ...
    def respond(self, server: ManualTransaction, data: bytes) -> bool: ...
    def client(self, method: str) -> ManualTransaction | None: ...
    def branch(self, client: ManualTransaction, loop_hash: int = 0) -> str: ...
    def read_branch(self, branch: str) -> tuple[int, int] | None:
        """Owner and loop hash of a branch of ours."""
    def start(self, client: ManualTransaction, data: bytes, reliable: bool = False) -> bool: ...
    def discard(self, client: ManualTransaction) -> None: ...
    def cancel(self, client: ManualTransaction) -> bool: ...
    def end(self, transaction: ManualTransaction) -> None: ...
    def arm(self, delay: int) -> None:
        """Arm a timer of the transaction user."""
    def run(self, limit: int = ...) -> int:
        """run_timers without moving the clock."""
    def advance(self, ms: int) -> None:
        """Let `ms` pass, as the hot loop does: asleep until something is due."""
    @property
    def now(self) -> int: ...
    @property
    def live(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def armed(self) -> int: ...
    @property
    def buffers(self) -> int: ...
    @property
    def counters(self) -> dict[str, int]: ...

def measure_lookups(
    fd: int, control_fd: int, keys: list[bytes], turn: int, rounds: int, how: str
) -> tuple[list[float], int]:
    """CPU nanoseconds a lookup in each round, and how many of the keys were found in the last. "alone": the next key is
    known only when a lookup is complete; "row": one after the other; "ahead": all keys of a turn are known when it
    begins, hashed first, then prefetched. A turn has at most 64 keys."""

def fill_segment(fd: int, control_fd: int, count: int, value: bytes) -> tuple[float, float]:
    """Put `value`, its "########" the number, under "+4930########@sip.example.com" for 0 to count - 1, in compiled
    code. CPU nanoseconds each, and of the slowest. OSError when it is full or has a writer."""

def measure_load(size: int) -> float:
    """CPU nanoseconds of a load from `size` bytes of shared memory that waits for the one before: a miss."""

def measure_transactions(request: bytes, answer: bytes, count: int) -> dict[str, float]:
    """CPU nanoseconds per transaction of each step of `count` non-INVITE transactions; see bench/transactions.py."""

def hashes(key: bytes, data: bytes) -> tuple[int, int, int]:
    """Of `data` under a key of 16 bytes: SipHash-2-4, SipHash-1-3, and the latter of a host in either case."""

def numeric_address(host: bytes) -> tuple[int, str] | None:
    """Family (4, 6) and the host as it is written again; None if it is not numeric."""

SIZEOF_FRAME_READER: int

class ManualFrames:
    """One direction of a WebSocket connection: a FrameReader and what was received and not used yet."""

    rest: bytes
    needed: int
    """So many bytes of the stream have to be in `rest` at least before anything more can be found."""
    def __init__(self, server: bool = True) -> None: ...
    def feed(self, data: bytes) -> list[tuple[str, bytes, int, bool]]:
        """What is found: "message", "ping", "pong", "close" or "failed", its bytes, the opcode of a message or the code
        of a close, and whether the bytes are in place, not copied."""
    @property
    def ended(self) -> bool: ...

def frame_parsed(data: bytes, masked: bool) -> tuple[int, bool, int, int] | int:
    """frame_parse: opcode, final, bytes of the head, of the payload; or the code to close with; or, negative, how many
    bytes are needed at least."""

def frame_written(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes: ...
def frame_close_written(code: int, mask: bytes | None = None) -> bytes: ...
def is_utf8(text: bytes) -> bool: ...
def measure_frames(frame: bytes, server: bool, rounds: int) -> dict[str, float]:
    """CPU nanoseconds to find one of many such frames in a stream, each whole message, and to write a head."""
