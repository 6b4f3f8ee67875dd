"""The location segment as Python sees it: one writer (the state process), readers in any process.

A record is a kind, a key and a value, all immutable once published. What the memory holds and why a reader may look at
any moment, whatever moment the writer died at, is told in ext/segment.h. Values: `encode_bindings`, `encode_user`.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias, TypedDict

RECORD_BINDINGS: Final[int]
"""Key b"user@domain", value from `encode_bindings`."""
RECORD_USER: Final[int]
"""Key b"user@domain", value from `encode_user`."""
RECORD_SERVICES: Final[int]
"""Key b"user@domain", value from `fastsip.services.record.encode`."""
RECORD_MARK: Final[int]
"""What a state process tells its successor, by name."""
KEY_LIMIT: Final[int]
RECORD_LIMIT: Final[int]
"""Key and value together, with 16 bytes for the record itself."""

Source: TypeAlias = tuple[int, bytes, int]
"""Address family (4, 6, or 0 for none), 16 bytes of address (IPv4 in the first four, the rest zero), port."""

BindingTuple: TypeAlias = tuple[bytes, bytes, bytes, bytes, int, int, Source, int, int, int, int, int]
"""uri, call_id, parameters, path, q (thousandths), transport, source, cseq, listener, expires (Unix ms),
updated (Unix ms), connection."""

class SegmentMemory(TypedDict):
    """Figures of a segment. Bytes unless the name says otherwise."""

    resident: int
    """Host memory the segment takes, index, records and free blocks together."""
    size: int
    """Address space: the limit of growth."""
    records: int
    """How many there are."""
    blocks: int
    """Taken by the published records, with rounding."""
    chunks: int
    """Taken by all chunks, free blocks in them included."""
    index: int
    """Taken by the current index."""
    slots: int
    """Of the current index; not bytes."""
    tombstones: int
    """Slots of deleted keys; not bytes."""
    retired: int
    """Blocks that wait for readers; not bytes."""
    epoch: int
    attached: int
    """How many writers this segment has had."""
    damaged: int
    """Slots that this writer found unusable when it attached: 0, or the memory was written by a stranger."""

def segment_size() -> int:
    """Bytes of address space to give a new segment (ftruncate of a memfd): 64 GiB, less where the machine or a resource
    limit refuses. Memory is taken where it is written only."""

def segment_format(fd: int, control_fd: int) -> None:
    """Write an empty segment into the memfd `fd`, once, before any child is started. A memfd of length 0 is made
    segment_size() long. The control block must be formatted already. OSError; ValueError for a size under 1 MiB."""

def clear_reader(control_fd: int, reader: int) -> None:
    """Mark a reader that is *dead* as reading nothing: without it the writer keeps every block retired since."""

def encode_bindings(version: int, bindings: Iterable[BindingTuple]) -> bytes:
    """The value of a RECORD_BINDINGS record. ValueError when a field does not fit its width in `fastsip/_location.pxd`
    (each text 65,535 bytes), TypeError when it is of another type."""

def decode_bindings(value: bytes) -> tuple[int, list[BindingTuple]]:
    """(version, bindings) of a value of encode_bindings; ValueError if it is not one."""

def datagram_flows(value: bytes, now: int) -> list[tuple[bytes, int, bytes, int, int]]:
    """Those of a value of encode_bindings, good at `now` (Unix ms), who are reached by UDP where their REGISTER came
    from: uri, family, address and port, listener. Empty for what is no such value."""

def summarize_bindings(value: bytes) -> tuple[int, int, int]:
    """(version, how many bindings, Unix ms of the first to expire or 0) of a value of encode_bindings, five times
    faster than all of it; ValueError if it is not one."""

def encode_user(ha1_md5: bytes, ha1_sha256: bytes, flags: int = 0) -> bytes:
    """The value of a RECORD_USER record: HA1 in hex (32 and 64 digits), b"" for one that is not known."""

def decode_user(value: bytes) -> tuple[bytes, bytes, int]:
    """(ha1_md5, ha1_sha256, flags) of a value of encode_user; ValueError if it is not one."""

class SegmentReader:
    """Reads a segment that others write. The descriptors may be closed afterwards.

    With `reader` (an index of Control.worker that nobody else uses) what is read is protected while it is copied. With
    None nothing is announced to the writer: a copy counts only if no memory was reclaimed meanwhile, and is taken
    again otherwise, at most 1,000 times; then BlockingIOError. OSError (EPROTO) when it is not a segment of this
    layout and these keys.
    """

    def __init__(self, fd: int, control_fd: int, reader: int | None = None) -> None: ...
    def __len__(self) -> int: ...
    def find(self, kind: int, key: bytes) -> bytes | None:
        """The value published under the key, None if there is none."""
    def scan(self, cursor: int, limit: int, kind: int) -> tuple[int | None, list[tuple[bytes, bytes]]]:
        """As SegmentWriter.scan."""
    def enter(self) -> None:
        """Keep every record that can be found from now on until `leave`, whatever becomes of its key: what a worker
        does for a turn. Only with an index, ValueError without."""
    def leave(self) -> None: ...
    def close(self) -> None: ...

class SegmentWriter:
    """The one writer of a segment. Attaches to whatever the last writer left, at whatever moment that one died.

    BlockingIOError when another writer lives; OSError (EPROTO) when it is not a segment of this layout and these keys;
    MemoryError. Not thread-safe; it does not wait for readers, ever.
    """

    def __init__(self, fd: int, control_fd: int) -> None: ...
    def __len__(self) -> int: ...
    def put(self, kind: int, key: bytes, value: bytes) -> None:
        """Publish the value under the key, in place of the old one. Readers see the old or the new record, whole.

        MemoryError when segment or machine is full, ValueError for a key over KEY_LIMIT, an empty key, or a record over
        RECORD_LIMIT; nothing has changed then.
        """
    def get(self, kind: int, key: bytes) -> bytes | None: ...
    def delete(self, kind: int, key: bytes) -> bool:
        """Take the key out; whether it was there."""
    def scan(self, cursor: int, limit: int, kind: int) -> tuple[int | None, list[tuple[bytes, bytes]]]:
        """Some (key, value) of one kind and the cursor to go on with, None at the end. Begin with cursor 0.

        Order and cursor are those of the keyed hash of the key, which no growth of the index changes: a key that exists
        from the first call to the last is returned exactly once, one that comes or goes meanwhile at most once.
        Returns about `limit` (two keys of one hash prefix stay together), or fewer, even none, before the end: a call
        also ends after 65,536 index slots.
        """
    def reclaim(self) -> int:
        """Free what no reader can see any more; how many blocks still wait. `put` and `delete` do it now and then; an
        owner with nothing else to do should call it about once a second."""
    def memory(self) -> SegmentMemory: ...
    def close(self) -> None: ...
