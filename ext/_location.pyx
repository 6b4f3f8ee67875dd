"""Python's hands on the location segment. The contract is fastsip/_location.pyi, the mechanism ext/segment.h."""

import errno
import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport errno as errno_now
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from fastsip._address cimport FLOW_DATAGRAM
from fastsip._control cimport CONTROL_LAYOUT, CONTROL_MAGIC, MAX_WORKERS, Control

cdef extern from *:
    """
    #include "segment_writer.h"
    static Control *control_map(int fd) {
        void *at = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        return at == MAP_FAILED ? NULL : (Control *)at;
    }
    static void control_unmap(Control *control) { if (control) munmap((void *)control, sizeof(Control)); }
    static uint64_t epoch_now(const Control *control) {
        atomic_thread_fence(memory_order_acquire);
        return atomic_load_explicit(&control->location_epoch, memory_order_seq_cst);
    }
    static uint64_t header_records(const Segment *s) {
        return atomic_load_explicit(&s->header->records, memory_order_relaxed);
    }
    static uint32_t header_attached(const Segment *s) {
        return atomic_load_explicit(&s->header->attached, memory_order_relaxed);
    }
    """
    enum: SEGMENT_CHUNK, SEGMENT_SIZE_MIN, TAG_BITS, RECORD_KINDS, INDEX_SPILL
    Control* control_map(int fd) noexcept
    void control_unmap(Control* control) noexcept
    uint64_t epoch_now(const Control* control) noexcept
    uint64_t header_records(const Segment* s) noexcept
    uint32_t header_attached(const Segment* s) noexcept

    ctypedef struct SegmentRecord "Record":
        uint16_t key_length
        const uint8_t* key

    ctypedef struct Scan:
        uint64_t* words
        uint64_t count
        uint64_t next

    ctypedef struct Writer "SegmentWriter":
        Segment segment
        int fd
        uint32_t level
        uint64_t records, tombstones, block_bytes, chunk_bytes, damaged
        uint64_t retired_head, retired_tail

    uint64_t SCAN_END
    const SegmentRecord* segment_record(const Segment* s, uint64_t word, const uint8_t** value, uint32_t* length) noexcept
    int segment_scan(const Segment* s, uint64_t cursor, uint64_t limit, int kind, Scan* scan) noexcept
    void segment_clear_reader(Control* control, uint32_t reader) noexcept

    uint64_t size_for_machine "segment_size"() noexcept
    int format_segment "segment_format"(int fd, Control* control) noexcept
    Writer* segment_attach_writer(int fd, Control* control) noexcept
    void segment_detach_writer(Writer* w) noexcept
    int segment_put(Writer* w, int kind, const uint8_t* key, uint32_t key_length, const uint8_t* value,
                    uint32_t length) noexcept
    int segment_delete(Writer* w, int kind, const uint8_t* key, uint32_t key_length) noexcept
    uint64_t segment_reclaim(Writer* w) noexcept
    uint64_t index_slots(uint32_t level) noexcept

# C enumerators, which no assignment could name.
globals().update(
    RECORD_BINDINGS=RECORD_BINDINGS, RECORD_USER=RECORD_USER, RECORD_SERVICES=RECORD_SERVICES, RECORD_MARK=RECORD_MARK
)
KEY_LIMIT = 65535
RECORD_LIMIT = SEGMENT_CHUNK
cdef int ATTEMPTS = 1000


def segment_size() -> int:
    return size_for_machine()


cdef Control* open_control(int fd) except NULL:
    if os.fstat(fd).st_size < <Py_ssize_t> sizeof(Control):
        raise OSError(errno.EPROTO, "control block: the memory is too short, nothing was formatted there")
    cdef Control* control = control_map(fd)
    if control == NULL:
        raise OSError(errno.ENOMEM, "control block: it cannot be mapped")
    if control.magic != CONTROL_MAGIC or control.layout != CONTROL_LAYOUT:
        control_unmap(control)
        raise OSError(errno.EPROTO, "control block: another layout, or nothing was formatted there")
    return control


cdef object segment_error(int error):
    if error == errno.EPROTO:
        return OSError(error, "location segment: another layout or other keys, or nothing was formatted there")
    if error == errno.EAGAIN:
        return BlockingIOError(error, "location segment: another process writes it")
    if error == errno.ENOMEM:
        return MemoryError("location segment: the machine has no memory left for it")
    if error == errno.ENOSPC:
        return MemoryError("location segment: its address space is full")
    if error == errno.EBUSY:
        return MemoryError("location segment: full of old records, because a reader does not end its turn")
    return OSError(error, f"location segment: {os.strerror(error)}")


def segment_format(fd: int, control_fd: int) -> None:
    size = os.fstat(fd).st_size
    if size == 0:
        os.ftruncate(fd, segment_size())
    elif size < <Py_ssize_t> SEGMENT_SIZE_MIN:
        raise ValueError(f"a location segment has at least {<Py_ssize_t> SEGMENT_SIZE_MIN} bytes, not {size}")
    cdef Control* control = open_control(control_fd)
    cdef int error = format_segment(fd, control)
    control_unmap(control)
    if error:
        raise segment_error(-error)


def clear_reader(control_fd: int, reader: int) -> None:
    if not 0 <= reader < MAX_WORKERS:
        raise IndexError(f"reader {reader}: there are {MAX_WORKERS}")
    cdef Control* control = open_control(control_fd)
    segment_clear_reader(control, reader)
    control_unmap(control)


cdef int known_kind(object kind) except -1:
    if not 0 < kind < RECORD_KINDS:
        raise ValueError(f"a record's kind is 1 to {RECORD_KINDS - 1}, not {kind}")
    return kind


cdef object copy_value(Segment* segment, int kind, bytes key):
    cdef const uint8_t* value
    cdef uint32_t length
    if not segment_find(segment, kind, <const uint8_t*> <const char*> key, <uint32_t> len(key), &value, &length):
        return None
    return PyBytes_FromStringAndSize(<const char*> value, length)


cdef tuple copy_some(Segment* segment, object cursor, object limit, object kind):
    """One step of a scan, copied."""
    cdef Scan scan
    cdef const SegmentRecord* record
    cdef const uint8_t* value
    cdef uint32_t length
    if not 0 <= cursor < SCAN_END or limit < 1:
        raise ValueError(f"scan: a cursor is 0 or what the last call gave, a limit at least 1; not {cursor}, {limit}")
    cdef list found = []
    memset(&scan, 0, sizeof(scan))
    try:
        if segment_scan(segment, cursor, limit, known_kind(kind), &scan):
            raise MemoryError()
        for i in range(scan.count):
            record = segment_record(segment, scan.words[i], &value, &length)
            if record != NULL:
                found.append((PyBytes_FromStringAndSize(<const char*> record.key, record.key_length),
                              PyBytes_FromStringAndSize(<const char*> value, length)))
    finally:
        free(scan.words)
    return (None if scan.next == SCAN_END else scan.next), found


cdef class SegmentReader:
    cdef Segment* _segment
    cdef Control* _control
    cdef int64_t _reader                     # index in Control.worker, -1 for none
    cdef bint _inside                        # between enter and leave

    def __init__(self, fd: int, control_fd: int, reader: int | None = None) -> None:
        if self._control != NULL:
            raise ValueError("location segment: already open")
        if reader is not None and not 0 <= reader < MAX_WORKERS:
            raise IndexError(f"reader {reader}: there are {MAX_WORKERS}")
        self._reader = -1 if reader is None else reader
        self._control = open_control(control_fd)
        self._segment = segment_open(fd, self._control)
        cdef int error = errno_now
        if self._segment == NULL:
            self.close()
            raise segment_error(error)

    def __dealloc__(self) -> None:
        segment_close(self._segment)
        control_unmap(self._control)

    def close(self) -> None:
        segment_close(self._segment)
        control_unmap(self._control)
        self._segment = NULL
        self._control = NULL

    cdef Segment* _open(self) except NULL:
        if self._segment == NULL:
            raise ValueError("location segment: closed")
        return self._segment

    def __len__(self) -> int:
        return header_records(self._open())

    def enter(self) -> None:
        self._open()
        if self._reader < 0:
            raise ValueError("location segment: a reader without an index cannot hold it")
        segment_enter(self._segment, <uint32_t> self._reader)
        self._inside = True

    def leave(self) -> None:
        self._open()
        self._inside = False
        if self._reader >= 0:
            segment_leave(self._segment, <uint32_t> self._reader)

    def find(self, kind: int, key: bytes) -> bytes | None:
        self._open()
        return self._whole(known_kind(kind), key, None, 0)

    def scan(self, cursor: int, limit: int, kind: int) -> tuple[int | None, list[tuple[bytes, bytes]]]:
        self._open()
        return self._whole(kind, None, cursor, limit)

    cdef object _whole(self, object kind, bytes key, object cursor, object limit):
        """A copy that nobody wrote into: under an announced epoch, or between two equal readings of it."""
        cdef uint64_t before
        cdef object found
        if self._inside:
            return self._copy(kind, key, cursor, limit)
        if self._reader >= 0:
            segment_enter(self._segment, <uint32_t> self._reader)
            try:
                return self._copy(kind, key, cursor, limit)
            finally:
                segment_leave(self._segment, <uint32_t> self._reader)
        for _ in range(ATTEMPTS):
            before = epoch_now(self._control)
            found = self._copy(kind, key, cursor, limit)
            if epoch_now(self._control) == before:
                return found
        raise BlockingIOError(errno.EAGAIN, "location segment: it changes faster than it can be copied; read with an index")

    cdef object _copy(self, object kind, bytes key, object cursor, object limit):
        if key is not None:
            return copy_value(self._segment, kind, key)
        return copy_some(self._segment, cursor, limit, kind)


cdef class SegmentWriter:
    cdef Writer* _writer
    cdef Control* _control

    def __init__(self, fd: int, control_fd: int) -> None:
        if self._control != NULL:
            raise ValueError("location segment: already open")
        self._control = open_control(control_fd)
        self._writer = segment_attach_writer(fd, self._control)
        cdef int error = errno_now
        if self._writer == NULL:
            self.close()
            raise segment_error(error)

    def __dealloc__(self) -> None:
        self.close()

    def close(self) -> None:
        if self._writer != NULL:
            segment_detach_writer(self._writer)
        control_unmap(self._control)
        self._writer = NULL
        self._control = NULL

    cdef Writer* _open(self) except NULL:
        if self._writer == NULL:
            raise ValueError("location segment: closed")
        return self._writer

    def __len__(self) -> int:
        return self._open().records

    def put(self, kind: int, key: bytes, value: bytes) -> None:
        cdef Writer* writer = self._open()
        if not 0 < len(key) <= KEY_LIMIT or len(key) + len(value) + 16 > RECORD_LIMIT:
            raise ValueError(f"a key has 1 to {KEY_LIMIT} bytes, a record {RECORD_LIMIT} with 16 for itself; "
                             f"not {len(key)} and {len(value)}")
        cdef int error = segment_put(writer, known_kind(kind), <const uint8_t*> <const char*> key, <uint32_t> len(key),
                                     <const uint8_t*> <const char*> value, <uint32_t> len(value))
        if error:
            raise segment_error(-error)

    def get(self, kind: int, key: bytes) -> bytes | None:
        return copy_value(&self._open().segment, known_kind(kind), key)

    def delete(self, kind: int, key: bytes) -> bool:
        cdef Writer* writer = self._open()
        cdef int there = segment_delete(writer, known_kind(kind), <const uint8_t*> <const char*> key, <uint32_t> len(key))
        if there < 0:
            raise segment_error(-there)
        return there == 1

    def scan(self, cursor: int, limit: int, kind: int) -> tuple[int | None, list[tuple[bytes, bytes]]]:
        return copy_some(&self._open().segment, cursor, limit, kind)

    def reclaim(self) -> int:
        return segment_reclaim(self._open())

    def memory(self) -> dict[str, int]:
        cdef Writer* writer = self._open()
        status = os.fstat(writer.fd)
        return {
            "resident": status.st_blocks * 512,
            "size": status.st_size,
            "records": writer.records,
            "blocks": writer.block_bytes,
            "chunks": writer.chunk_bytes,
            "index": 8 * index_slots(writer.level),
            "slots": index_slots(writer.level),
            "tombstones": writer.tombstones,
            "retired": writer.retired_tail - writer.retired_head,
            "epoch": epoch_now(self._control),
            "attached": header_attached(&writer.segment),
            "damaged": writer.damaged,
        }


include "location/values.pxi"
