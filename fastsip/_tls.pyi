"""TLS on non-blocking sockets, and the thread that accepts, connects and shakes hands. The work is done in compiled
code (fastsip/_tls.pxd); Python makes the TlsContexts, and tests drive connections and a door through the classes."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypedDict

from _typeshed import ReadableBuffer

_Pair = tuple[str, int]

CIPHERS: str
"""What TLS 1.2 may use unless a setup says otherwise."""
MINIMUM: dict[str, int]
VERIFY: dict[str, int]
DONE: int
WANT_READ: int
WANT_WRITE: int
FAILED: int
ACCEPTED: int
CONNECTED: int
NOT_CONNECTED: int

def library() -> str:
    """Name and version of the libssl in use. RuntimeError if there is none."""

class _Setup(Protocol):
    """launch.TlsSetup, or whatever looks like it."""

    @property
    def certificates(self) -> Sequence[tuple[str, str]]:
        """Files with a certificate and its chain, and with its key. A client that asks for a name gets the first
        certificate for it, one with a wildcard if there is none, else the first of all, which is also the one shown to
        servers that ask. Without any, nothing can be accepted."""
    @property
    def ca_file(self) -> str | None:
        """Whom to believe; None: the system's."""
    @property
    def files(self) -> Mapping[str, bytes]:
        """What files named here held when somebody looked; of those that are missing, what the disk has is taken."""
    @property
    def verify_client(self) -> str:
        """ "no", "ask" (it may have none, but not a bad one) or "require"."""
    @property
    def verify_server(self) -> bool: ...
    @property
    def minimum(self) -> str:
        """ "1.2" or "1.3"."""
    @property
    def ciphers(self) -> str:
        """Of TLS 1.2, as OpenSSL writes them; "" for CIPHERS."""
    @property
    def suites(self) -> str:
        """Of TLS 1.3; "" for OpenSSL's own."""
    @property
    def tickets(self) -> bool:
        """Whether clients may resume their sessions."""
    @property
    def ticket_secret(self) -> bytes:
        """16 to 64 bytes that all processes share which resume each other's sessions; b"" for one's own."""
    @property
    def ticket_lifetime(self) -> int:
        """Seconds, after which keys change too."""

class SetupError(ValueError):
    """A file that cannot be used."""

    def __init__(self, key: str, text: str, index: int = 0) -> None: ...
    key: str
    """ "certificate", "key" or "ca_file"."""
    text: str
    """What is wrong, with the file's name."""
    index: int
    """Of the certificate."""

class TlsContexts:
    """Certificates and rules for connections. SetupError if a file is wrong, ValueError if another setting is, and says
    which; RuntimeError if there is no libssl."""

    def __init__(self, setup: _Setup) -> None: ...
    def reload(self, setup: _Setup) -> None:
        """Read everything anew, for connections yet to come; when something is wrong all stays as it was."""
    @property
    def live(self) -> int:
        """Connections that are not freed."""
    @property
    def certificates(self) -> list[tuple[list[str], int, int]]:
        """Of the servers: what each is for, from when on, and when it expires, in Unix seconds."""
    def accept(self, fd: int) -> Connection: ...
    def connect(self, fd: int, server_name: str | None = None) -> Connection: ...

class Connection:
    """One connection on a non-blocking socket that stays the caller's."""

    def fileno(self) -> int: ...
    def free(self) -> None: ...
    def give(self) -> int:
        """The address of the Tls, which is the taker's from now on; there is nothing left to free here."""
    def handshake(self) -> int:
        """DONE, WANT_READ, WANT_WRITE or FAILED."""
    def read(self, size: int) -> bytes | int:
        """Bytes, none at the end; or -WANT_READ, -WANT_WRITE, -FAILED."""
    def write(self, data: ReadableBuffer) -> int:
        """How many bytes went, or the same."""
    def pending(self) -> int: ...
    def moved(self, fd: int) -> None:
        """Its socket has another number now."""
    def shutdown(self) -> None: ...
    def peer_is(self, domain: str) -> bool: ...
    @property
    def peer_names(self) -> list[str]: ...
    @property
    def peer_verified(self) -> bool: ...
    @property
    def resumed(self) -> bool: ...
    @property
    def reason(self) -> str:
        """Why it failed."""
    @property
    def version(self) -> str: ...
    @property
    def cipher(self) -> str: ...
    @property
    def system_calls(self) -> tuple[int, int]:
        """Reads and writes so far."""
    def time_echo(self, other: Connection, size: int, rounds: int, plain: bool = False) -> float:
        """Nanoseconds of one write and the read of it at the other end, both in this thread; `plain` without TLS."""

class _News(TypedDict):
    kind: int
    listener: int
    tag: int
    remote: _Pair | None
    local: _Pair | None
    reason: str
    fd: int
    connection: Connection | None

class Door:
    """A door driven from Python: `run` in one thread, all else in another. Addresses are pairs of numeric host and
    port, times milliseconds, 0 for what the contract says. Descriptors in news are the taker's to close."""

    def __init__(
        self,
        contexts: TlsContexts,
        *,
        accept_ms: int = 0,
        connect_ms: int = 0,
        unfinished: int = 0,
        per_source: int = 0,
        web: bool = False,
    ) -> None:
        """`web`: remarks are about WebSocket."""
    @property
    def contexts(self) -> TlsContexts: ...
    def run(self) -> None:
        """Until stop()."""
    def stop(self) -> None: ...
    def listen(self, fd: int, index: int = 0) -> None: ...
    def forget(self, fd: int) -> None: ...
    def connect(self, remote: _Pair, name: str = "", tag: int = 0, local: _Pair | None = None) -> None: ...
    def fileno(self) -> int:
        """Readable when there is news."""
    def take(self) -> list[_News]: ...
    def remarks(self) -> list[str]:
        """What there is to say of handshakes since the last time."""
    def counters(self) -> dict[str, int]: ...
