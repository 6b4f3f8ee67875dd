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
    def addresses(self, name: str) -> list[NameAddr]:
        """The same as addresses, for P-Asserted-Identity, Path, Refer-To and the like. Raises ParseError if one is
        none."""

@final
class Parameters:
    """The `;name=value` list of a URI, an address or a Via. Names match in any case; a bare name has the value "".

    Values come without the quotes of a quoted string. Escapes of a URI's parameters stay.
    """

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...
    def __contains__(self, name: object) -> bool: ...
    def __getitem__(self, name: str) -> str:
        """Raises KeyError."""
    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: T) -> str | T: ...
    def keys(self) -> list[str]: ...
    def items(self) -> list[tuple[str, str]]: ...

@final
class Uri:
    """A SIP, SIPS or tel URI, or one of another scheme that has a `scheme` and nothing else (RFC 3261 19.1, RFC 3966).

    `str(uri)` is the text as received. `==` and `hash` go by that text, also against a `str`; `equivalent` goes by the
    RFC, whose equivalence has no hash.
    """

    def __init__(self, text: str | Buffer) -> None:
        """Raises ParseError if it is no URI."""
    @property
    def scheme(self) -> str:
        """Lower case."""
    @property
    def user(self) -> str | None:
        """Escapes undone; of a tel URI, the number as it stands."""
    @property
    def password(self) -> str | None:
        """Escapes undone."""
    @property
    def host(self) -> str | None:
        """Without the brackets of an IPv6 address."""
    @property
    def port(self) -> int | None: ...
    @property
    def parameters(self) -> Parameters: ...
    @property
    def headers(self) -> str:
        """What stands behind the "?", "" if nothing does."""
    @property
    def aor(self) -> str | None:
        """The address-of-record a registrar keeps it under; see `canonical_aor`."""
    def equivalent(self, other: Uri) -> bool:
        """Whether both mean the same (RFC 3261 19.1.4; RFC 3966 5 for tel)."""

@final
class NameAddr:
    """One value of From, To, Contact, Route or the like: an address with parameters (RFC 3261 20.10)."""

    @property
    def display_name(self) -> str | None:
        """Without quotes."""
    @property
    def uri(self) -> Uri | None:
        """None for the "*" of a Contact. Raises ParseError if it has a scheme and is no URI of it."""
    @property
    def parameters(self) -> Parameters: ...
    @property
    def tag(self) -> str | None: ...
    @property
    def expires(self) -> int | None:
        """Seconds, of a Contact; None also for what is no number."""
    @property
    def q(self) -> float | None:
        """From 0 to 1, of a Contact; None also for what is no such number."""

@final
class Via:
    """One Via value (RFC 3261 20.42, RFC 3581)."""

    @property
    def transport(self) -> str:
        """Upper case."""
    @property
    def host(self) -> str:
        """Of sent-by, without the brackets of an IPv6 address."""
    @property
    def port(self) -> int | None: ...
    @property
    def branch(self) -> str | None: ...
    @property
    def received(self) -> str | None: ...
    @property
    def rport(self) -> int | None:
        """0 for a bare ";rport", None where there is none."""
    @property
    def parameters(self) -> Parameters: ...

@final
class Message:
    """One SIP message, made by `fastsip.parse`; see there for what it holds."""

    @property
    def buffer(self) -> bytes | memoryview:
        """The bytes it looks at."""
    @property
    def is_request(self) -> bool: ...
    @property
    def method(self) -> str:
        """The method; of a response, the one in its CSeq."""
    @property
    def uri(self) -> Uri | None:
        """The Request-URI, None for a response. Raises ParseError (416 is the answer to an unknown scheme, not to this)
        if it has a scheme and is no URI of it."""
    @property
    def status(self) -> int | None:
        """The status code, None for a request."""
    @property
    def reason(self) -> str | None:
        """The reason phrase, None for a request."""
    @property
    def headers(self) -> Headers: ...
    @property
    def via(self) -> Via:
        """The topmost Via value."""
    @property
    def vias(self) -> list[Via]:
        """All of them, topmost first. Raises ParseError if one is malformed."""
    @property
    def branch(self) -> str | None:
        """The topmost Via's branch."""
    @property
    def call_id(self) -> str: ...
    @property
    def cseq(self) -> int:
        """The number; its method is `method`."""
    @property
    def from_(self) -> NameAddr: ...
    @property
    def to(self) -> NameAddr: ...
    @property
    def from_tag(self) -> str | None: ...
    @property
    def to_tag(self) -> str | None: ...
    @property
    def contacts(self) -> list[NameAddr]:
        """Raises ParseError if one is malformed; `routes` and `record_routes` too."""
    @property
    def routes(self) -> list[NameAddr]: ...
    @property
    def record_routes(self) -> list[NameAddr]: ...
    @property
    def max_forwards(self) -> int | None: ...
    @property
    def content_length(self) -> int | None: ...
    @property
    def expires(self) -> int | None:
        """Seconds. Raises ParseError if it is no number."""
    @property
    def body(self) -> memoryview:
        """The bytes themselves, not a copy."""
    def __len__(self) -> int:
        """Bytes from the start line through the body."""
    def __bytes__(self) -> bytes:
        """Those bytes, as received."""

def parse(buffer: Buffer) -> Message:
    """Parse the SIP message that a buffer begins with, by the rules for a datagram (RFC 3261 7, 18.3).

    `bytes` and other buffers that cannot be written to are held, not copied, for as long as the message or a view of it
    lives; what can be written to is copied, so it may change afterwards. Header lines are found here; values are looked
    at when asked for. CRLFs before the message and bytes behind its body are ignored.

    >>> invite = parse(b"INVITE sip:bob@example.com SIP/2.0\\r\\n...")
    >>> invite.method, invite.uri.host, invite.headers["f"], invite.from_.tag
    ('INVITE', 'example.com', '"Alice" <sip:alice@example.com>;tag=9fxced76sl', '9fxced76sl')

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
