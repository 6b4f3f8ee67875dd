from typing import final

from fastsip.load.setup import EngineSetup

COUNTERS: tuple[str, ...]
"""Names of `Snapshot.counters`, in order:

work: offered (begun), done (ended as meant), failed, busy, cancelled (both also in done), in_flight (begun and not
ended; a gauge), not_begun (due, but `in_flight` was reached: the generator was the limit);
by kind: calls, calls_done, registers, registers_done, options, options_done, messages, messages_done;
answering: answered (INVITEs answered 200), dialogs (now; a gauge), refused_busy, cancelled_in, ended (BYE),
unacknowledged (final answers for which no ACK came), requests_in;
retransmissions, sent: again_invite, again_bye, again_register, again_other (requests), again_answer (responses),
again_ack; received: again_in (requests and responses that came again);
challenges (401 and 407), stale (challenges with stale=true), strays (messages that belong to nothing), malformed;
transport: datagrams_in, datagrams_out (messages, of streams), dropped_socket (receive buffer full), dropped_send;
time: elapsed_us since run began, begun_us until the last work was begun, cpu_us of the engine's thread, turns of its
loop.
"""

KINDS: tuple[str, ...]
HOLDS: tuple[str, ...]
"""What a scenario's kind and its distribution of hold times may be called."""

HISTOGRAMS: tuple[str, ...]
"""invite_100, invite_180, invite_200, bye_200, register, options, message: from the first sending of the request (for
those answered by a challenge: of the first of all) to the response; lateness: how long after its time work began.
`register`, `options` and `message` are to the final response. Microseconds."""

LOWEST: int
HIGHEST: int
DIGITS: int
"""The arguments `HdrHistogram(LOWEST, HIGHEST, DIGITS)` whose `counts` array the recorded one is."""

@final
class Recorded:
    """A histogram so far: `counts` is the front part of HdrHistogram's int64 array in native order, as long as anything
    was recorded in it; `minimum`, `maximum` (µs) and `total` are exact. Values over HIGHEST are recorded as HIGHEST."""

    counts: bytes
    total: int
    minimum: int
    maximum: int

@final
class Snapshot:
    counters: dict[str, int]
    failures: dict[str, int]
    """By cause: "timeout" (no final response), "transport" (could not be sent), "unexpected" (not what the scenario
    can go on with), "credentials" (challenged, and no password or no common algorithm), "challenged" (challenged again
    after a right answer), or a final status as "486"."""
    histograms: dict[str, Recorded]

@final
class Engine:
    """One load engine, for one thread. Any number of them may run in threads of one process.

    Raises OSError when a socket cannot be used, ValueError for a setup that makes no sense, RuntimeError when a
    password is given and libcrypto is not found.
    """

    def __init__(self, setup: EngineSetup) -> None: ...
    def run(self) -> None:
        """Work until it is done: `count` or `duration` reached or `finish` called, and nothing in flight. An engine
        that only answers runs until `finish` (then until its dialogs have ended) or `stop`. Once an engine. Holds the
        GIL only to enter and leave. The sockets stay the caller's. With `stay` it goes on answering until `finish`."""

    # All of the following may be called from other threads while it runs.
    def shake_hands(self) -> None:
        """Accept and open TLS connections; `run` begins and ends it in a thread of its own."""
    def set_rate(self, rate: float, slope: float = 0.0) -> None:
        """From now on `rate` per second, growing by `slope` a second each second; overrides the plan."""

    def finish(self) -> None:
        """Begin nothing new; `run` returns when what is in flight has ended. Calls that are held are ended now."""

    def stop(self) -> None:
        """`run` returns at the end of this turn, whatever is open."""

    def idle(self) -> bool:
        """Whether nothing new will begin and nothing it began is in flight; with `stay` it may still answer."""

    def snapshot(self, histograms: bool = True) -> Snapshot:
        """The numbers so far. Some 50 µs, so five times a second costs nothing."""

    def close(self) -> dict[str, int]:
        """Give everything back; what was still held: calls, timers, buffers. Not while it runs."""
