"""Digest authentication (RFC 3261 22, RFC 7616, RFC 8760): compiled, for C callers by `cimport`.

What is here is the face for tests and benchmarks; a server checks credentials without Python.
"""

from typing_extensions import Buffer

OK: int
WRONG: int
STALE: int
FORGOTTEN: int
REPLAY: int
MALFORMED: int
UNKNOWN: int

MD5: int
SHA256: int

SLOTS: int
"""Slots of the shared table: two nonces whose serials differ by a multiple of this share one."""

def table_size() -> int:
    """Bytes of the shared table; it starts zeroed."""

class Authenticator:
    """What one worker has: the shared table, the key, and hash contexts. Not thread-safe.

    `table` is a writable buffer of `table_size()` bytes, `key` 16 bytes, `lifetime` seconds, `algorithms` MD5 | SHA256.
    Raises ValueError for a wrong size, RuntimeError if libcrypto is missing or refuses an algorithm.
    """

    def __init__(self, table: Buffer, key: bytes, lifetime: int = 300, algorithms: int = ...) -> None: ...
    def challenge(self, realm: bytes, now_ms: int, proxy: bool = False, stale: bool = False) -> bytes:
        """The header lines of one challenge, with their CRLFs; all carry the same fresh nonce."""

    def check(self, request: bytes, ha1: bytes | None, now_ms: int) -> int:
        """Check the credentials in Authorization, or else Proxy-Authorization, against HA1 in hex (32 or 64 digits, as
        the credentials' algorithm wants); None for a user that does not exist. Returns OK, WRONG, STALE...

        Raises ValueError if the request cannot be parsed or has no credentials.
        """

    def spend(self, serial: int, nc: int) -> bool:
        """Take one nonce count; True the first time."""

    def time_check(self, request: bytes, ha1: bytes | None, now_ms: int, rounds: int) -> float:
        """Nanoseconds one check takes."""
