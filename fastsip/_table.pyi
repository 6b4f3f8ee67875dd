"""Transactions without I/O (RFC 3261 17, RFC 6026): bytes and the time in, bytes and events out.

    table = TransactionTable("192.0.2.1:5060")
    while True:
        for data, address in table.to_send():
            sock.sendto(data, address)
        ...wait for the socket, at most table.next_timeout(time.monotonic()) seconds...
        for event in table.receive(*sock.recvfrom(65536), time.monotonic()):
            ...
        for event in table.advance(time.monotonic()):
            ...

Times are seconds of one clock of the caller's, whatever it counts from; a clock that goes back is taken to stand still.
Not thread-safe: a table belongs to one thread at a time.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeAlias, TypedDict, final

from typing_extensions import Buffer

from fastsip._message import Message
from fastsip.events import Event

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""As the socket module has it, the host as numbers."""

TRANSPORTS: Final[tuple[str, ...]]

class Counters(TypedDict):
    transactions: int
    """Of all kinds and states, now."""
    waiting: int
    """Of those, the ones that have had their final response and stay for retransmissions alone."""
    retransmissions_in: int
    retransmissions_out: int
    strays: int
    """Responses that belonged to nothing."""
    dropped: int
    """Datagrams that were not queued because `queue` of them waited already."""

@final
class Transaction:
    """One transaction of a table. It may be kept for ever: once it has ended, asking it to do something raises
    UsageError, and what it says of itself stays."""

    user: Any
    """The caller's, None at first."""
    @property
    def request(self) -> Message:
        """As received, or as sent: with the Via the table put on it."""
    @property
    def is_server(self) -> bool: ...
    @property
    def method(self) -> str: ...
    @property
    def state(self) -> str:
        """"Calling", "Trying", "Proceeding", "Accepted", "Completed", "Confirmed" or "Terminated"."""
    @property
    def status(self) -> int | None:
        """Of the last response sent or received; None when there was none, or it has ended."""
    @property
    def address(self) -> Address:
        """Where its request was sent, or its responses go (18.2.2, RFC 3581)."""
    @property
    def tag(self) -> str | None:
        """Server: the To tag of the responses, that of the request where it has one."""
    def respond(
        self,
        response: int | Buffer | Message,
        now: float,
        *,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: Buffer = b"",
    ) -> None:
        """Send a response: a status, for which a response is built from the request (8.2.6; Record-Route is copied to
        what may make a dialog), or a whole one.

        Raises UsageError if this is a client transaction, has ended, or has had its final response (a 2xx to an INVITE
        may be sent again); ValueError for what is no response to this request, or a line end in a text.
        """
    def cancel(self, now: float) -> bool:
        """Send a CANCEL for an INVITE that was sent (9.1). False, and nothing is sent, before its first provisional
        response, after its final one, and the second time. Raises UsageError for anything else."""
    def end(self) -> None:
        """Forget it in whatever state it is: nothing is sent, no event comes."""

@final
class TransactionTable:
    """The transactions of one transport address. `len(table)` is how many there are."""

    def __init__(
        self,
        sent_by: str,
        transport: str = "UDP",
        *,
        t1: float = 0.5,
        t2: float = 4.0,
        t4: float = 5.0,
        limit: int = 100_000,
        queue: int = 100_000,
    ) -> None:
        """`sent_by` is the host and port of our Via. Any transport but UDP is reliable: nothing is sent again.

        At most `limit` transactions are active (16 times as many may wait for retransmissions), and at most `queue`
        datagrams are kept for `to_send`. Raises ValueError, ParseError for a `sent_by` that cannot stand in a Via.
        """
    @property
    def sent_by(self) -> str: ...
    @property
    def transport(self) -> str: ...
    @property
    def counters(self) -> Counters: ...
    def receive(self, data: Buffer | Message, source: Address, now: float) -> list[Event]:
        """One message from the network, whatever it is; what it means. Retransmissions are answered and not told."""
    def request(self, message: Buffer | Message, destination: Address, now: float) -> Transaction:
        """Begin a client transaction with a request, on top of which a Via is put (8.1.1.7, 16.6 step 8).

        Raises ParseError if it is no request then, LimitReached, UsageError for an ACK or a CANCEL.
        """
    def send(self, message: Buffer | Message, destination: Address, now: float) -> None:
        """Send a request that has no transaction, once: the ACK of a 2xx. A Via is put on top."""
    def to_send(self) -> list[tuple[bytes, Address]]:
        """What is to be sent, in order. Each is given out once."""
    def failed(self, address: Address, now: float) -> list[Event]:
        """Nothing can be sent to this address: an ICMP error, a connection that broke (17.1.4, 17.2.4)."""
    def next_timeout(self, now: float) -> float | None:
        """Seconds until `advance` has something to do at the earliest, None while no timer runs."""
    def advance(self, now: float) -> list[Event]:
        """Let timers fire that are due."""
    def __len__(self) -> int: ...
