"""SIP messages from Python: a parsed view of received bytes.

Text is decoded as UTF-8 with surrogate escapes: `text.encode("utf-8", "surrogateescape")` gives back what was received.
"""

from collections.abc import Iterator
from typing import Any, TypeVar, final, overload

from typing_extensions import Buffer

T = TypeVar("T")

@final
class Headers:
    """The header lines of a message, in the order received. Names match in any case, long or compact."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Each line as (name as received, value with folds undone)."""
    def __contains__(self, name: object) -> bool: ...
    def __getitem__(self, name: str) -> str:
        """The value of the first line with this name. Raises KeyError if there is none."""
    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: T) -> str | T: ...
    def lines_of(self, name: str) -> list[str]:
        """The values of all lines with this name."""
    def values(self, name: str) -> list[str]:
        """The comma-separated values of all lines with this name (RFC 3261 7.3.1).

        Not for Date, Subject, Authorization and others whose value may hold a comma. Raises ParseError if a quote or
        bracket does not close.
        """

@final
class Message:
    """One SIP message, made by `fastsip.parse`; see there for what it holds."""

    @property
    def buffer(self) -> bytes:
        """What `parse` was given."""
    @property
    def is_request(self) -> bool: ...
    @property
    def method(self) -> str:
        """The method; of a response, the one in its CSeq."""
    @property
    def uri(self) -> str | None:
        """The Request-URI, None for a response."""
    @property
    def status(self) -> int | None:
        """The status code, None for a request."""
    @property
    def reason(self) -> str | None:
        """The reason phrase, None for a request."""
    @property
    def headers(self) -> Headers: ...
    @property
    def via(self) -> str:
        """The topmost Via value."""
    @property
    def branch(self) -> str | None:
        """The topmost Via's branch."""
    @property
    def call_id(self) -> str: ...
    @property
    def cseq(self) -> int: ...
    @property
    def from_tag(self) -> str | None: ...
    @property
    def to_tag(self) -> str | None: ...
    @property
    def max_forwards(self) -> int | None: ...
    @property
    def body(self) -> bytes: ...
    def __len__(self) -> int:
        """Bytes from the start line through the body."""
    def __bytes__(self) -> bytes:
        """Those bytes, as received."""

def parse(buffer: Buffer) -> Message:
    """Parse the SIP message that a buffer begins with, by the rules for a datagram (RFC 3261 7, 18.3).

    A `bytes` object is held, not copied, for as long as the message lives; anything else is copied, so it may change
    afterwards. Values are looked up when asked for. CRLFs before the message and bytes behind its body are ignored.

    >>> parse(invite).headers["f"]
    '"Alice" <sip:alice@example.com>;tag=9fxced76sl'

    Raises ParseError if the bytes are no SIP message, or one that must be refused.
    """

def uri_equal(a: Buffer, b: Buffer) -> bool:
    """Whether two URIs are equivalent (RFC 3261 19.1.4; RFC 3966 5 for tel). False if either is none."""

def canonical_aor(uri: Buffer) -> bytes | None:
    """user@host of a SIP or SIPS URI as RFC 3261 10.3 step 5 wants it: escapes undone where they may be, host in lower
    case, password, port, parameters and headers gone; the host alone if there is no user. None if it is no such URI."""

# For tests and benchmarks alone: the compiled functions, over a buffer that is not copied.
def _examine(data: Buffer, framing: int = ...) -> dict[str, Any]: ...
def _find_call_id(data: Buffer) -> tuple[int, int] | None: ...
def _via(data: Buffer) -> dict[str, Any] | None: ...
def _uri(data: Buffer) -> dict[str, Any] | None: ...
def _name_addr(data: Buffer) -> dict[str, Any] | None: ...
def _credentials(data: Buffer) -> dict[str, Any] | None: ...
def _parameters(data: Buffer) -> list[tuple[tuple[int, int], tuple[int, int]]] | None: ...
def _find_parameter(data: Buffer, name: bytes) -> tuple[int, int] | None: ...
def _values(data: Buffer, header: bytes) -> list[tuple[int, int]] | None: ...
def _number(data: Buffer) -> int: ...
def _qvalue(data: Buffer) -> int: ...
def _date(data: Buffer) -> int: ...
def _canonical_aor(data: Buffer, capacity: int) -> bytes | None: ...
def _header_id(name: bytes) -> int: ...
def _method_id(name: bytes) -> int: ...
def _reason_phrase(status: int) -> str: ...
def _write(capacity: int, items: list[bytes | int | tuple[int, int]]) -> tuple[bytes, bool]: ...
def _exercise_value(data: Buffer) -> None: ...
def _exercise(data: Buffer) -> None: ...
def _time(data: Buffer, rounds: int, scan: bool = ...) -> int: ...
