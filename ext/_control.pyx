"""The server's shared words as Python sees them. The contract is fastsip/_control.pyi, the layout ext/control.h."""

import errno
import os
import time

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastsip._hash cimport HashKey

cdef extern from *:
    """
    #include <sys/mman.h>
    #include "control.h"
    static const char *const counter_names[] = {
    #define X(name) #name,
        COUNTERS(X)
    #undef X
    };
    #define word_load(word) atomic_load_explicit(word, memory_order_acquire)
    #define word_store(word, value) atomic_store_explicit(word, value, memory_order_release)
    #define COUNT_PING(block) count_add((WorkerBlock *)(block), COUNT_pings, 1)
    /* The fields the contract leaves to C. */
    static void *control_map(int fd) {
        void *at = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        return at == MAP_FAILED ? NULL : at;
    }
    static void control_unmap(void *at) { munmap(at, sizeof(Control)); }
    """
    const char* counter_names[64]
    void* control_map(int fd) noexcept
    void control_unmap(void* at) noexcept
    void control_init(Control* control, uint32_t workers, const HashKey* keys, uint64_t started) noexcept
    uint64_t load_counter(const uint64_t* counter) noexcept
    uint64_t word_load(void* word) noexcept
    void word_store(void* word, uint64_t value) noexcept

    ctypedef struct ControlWords "Control":
        uint64_t location_epoch
        uint32_t durable
        uint32_t draining
        uint32_t services
        uint8_t bucket[1024]

    ctypedef struct WorkerWords "WorkerBlock":
        uint64_t heartbeat
        uint64_t epoch
        uint32_t sleeping
        uint32_t incarnation
        uint32_t in_hand
        uint32_t in_hand_length
        uint64_t counters[96]
    void count_ping "COUNT_PING"(WorkerWords* block) noexcept

COUNTERS = tuple([counter_names[i].decode() for i in range(COUNT_END)])
KEY_BYTES = 5 * sizeof(HashKey)
globals().update(MAX_WORKERS=MAX_WORKERS, BUCKETS=BUCKETS)  # C enumerators, which no assignment could name


def control_size() -> int:
    return sizeof(Control)


def control_format(fd: int, workers: int, keys: bytes, started: int | None = None) -> None:
    cdef HashKey words[5]
    if len(keys) != sizeof(words):
        raise ValueError(f"control keys are {sizeof(words)} bytes, not {len(keys)}")
    if not 1 <= workers <= MAX_WORKERS:
        raise ValueError(f"workers must be 1 to {MAX_WORKERS}, not {workers}")
    if os.fstat(fd).st_size < <Py_ssize_t> sizeof(Control):
        os.ftruncate(fd, sizeof(Control))
    memcpy(words, <const char*> keys, sizeof(words))
    cdef uint64_t now = time.time_ns() // 1_000_000 if started is None else started
    cdef void* at = control_map(fd)
    if at == NULL:
        raise OSError(errno.ENOMEM, "control block: it cannot be mapped")
    control_init(<Control*> at, workers, words, now)
    control_unmap(at)


cdef class ControlView:
    cdef Control* _control

    def __init__(self, fd: int) -> None:
        if self._control != NULL:
            raise ValueError("control block: already open")
        if os.fstat(fd).st_size < <Py_ssize_t> sizeof(Control):
            raise OSError(errno.EPROTO, "control block: the memory is too short, nothing was formatted there")
        cdef Control* control = <Control*> control_map(fd)
        if control == NULL:
            raise OSError(errno.ENOMEM, "control block: it cannot be mapped")
        if control.magic != CONTROL_MAGIC or control.layout != CONTROL_LAYOUT:
            control_unmap(control)
            raise OSError(errno.EPROTO, "control block: another layout, or nothing was formatted there")
        self._control = control

    def __dealloc__(self) -> None:
        if self._control != NULL:
            control_unmap(self._control)

    def close(self) -> None:
        if self._control != NULL:
            control_unmap(self._control)
            self._control = NULL

    cdef Control* _open(self) except NULL:
        if self._control == NULL:
            raise ValueError("control block: closed")
        return self._control

    cdef ControlWords* _words(self) except NULL:
        return <ControlWords*> self._open()

    cdef WorkerWords* _worker(self, object index) except NULL:
        cdef Control* control = self._open()
        if not 0 <= index < MAX_WORKERS:
            raise IndexError(f"worker {index}: there are {MAX_WORKERS} blocks")
        return <WorkerWords*> &control.worker[<Py_ssize_t> index]

    @property
    def workers(self) -> int:
        return self._open().workers

    @property
    def started(self) -> int:
        return self._open().started

    @property
    def keys(self) -> bytes:
        return (<const char*> &self._open().owner_key)[:5 * sizeof(HashKey)]

    @property
    def location_epoch(self) -> int:
        return word_load(&self._words().location_epoch)

    @property
    def durable(self) -> bool:
        return word_load(&self._words().durable) != 0

    @durable.setter
    def durable(self, value: bool) -> None:
        word_store(&self._words().durable, 1 if value else 0)

    @property
    def draining(self) -> bool:
        return word_load(&self._words().draining) != 0

    @draining.setter
    def draining(self, value: bool) -> None:
        word_store(&self._words().draining, 1 if value else 0)

    @property
    def services(self) -> int:
        return word_load(&self._words().services)

    @services.setter
    def services(self, value: int) -> None:
        if not 0 <= value < 1 << 32:
            raise ValueError(f"services: a number of records, not {value}")
        word_store(&self._words().services, value)

    def counters(self, worker: int) -> dict[str, int]:
        cdef WorkerWords* block = self._worker(worker)
        return {name: load_counter(&block.counters[i]) for i, name in enumerate(COUNTERS)}

    def count_ping(self, worker: int) -> None:
        count_ping(self._worker(worker))

    def heartbeat(self, worker: int) -> int:
        return word_load(&self._worker(worker).heartbeat)

    def beat(self, worker: int) -> None:
        word_store(&self._worker(worker).heartbeat, time.monotonic_ns() // 1_000_000)

    def incarnation(self, worker: int) -> int:
        return word_load(&self._worker(worker).incarnation)

    def set_incarnation(self, worker: int, incarnation: int) -> None:
        word_store(&self._worker(worker).incarnation, incarnation)

    def sleeping(self, worker: int) -> bool:
        return word_load(&self._worker(worker).sleeping) != 0

    def in_hand(self, worker: int) -> tuple[int, int] | None:
        cdef WorkerWords* block = self._worker(worker)
        cdef uint64_t slot = word_load(&block.in_hand)
        return (slot - 1, word_load(&block.in_hand_length)) if slot else None

    def epoch(self, worker: int) -> int | None:
        cdef uint64_t epoch = word_load(&self._worker(worker).epoch)
        return None if epoch == <uint64_t> EPOCH_IDLE else epoch

    def clear_reader(self, worker: int) -> None:
        word_store(&self._worker(worker).epoch, <uint64_t> EPOCH_IDLE)

    def clear_worker(self, worker: int) -> None:
        cdef WorkerWords* block = self._worker(worker)
        word_store(&block.epoch, <uint64_t> EPOCH_IDLE)
        word_store(&block.in_hand, 0)
        word_store(&block.in_hand_length, 0)
        word_store(&block.sleeping, 0)

    def buckets(self) -> bytes:
        cdef ControlWords* words = self._words()
        return bytes([word_load(&words.bucket[b]) for b in range(BUCKETS)])

    def set_buckets(self, owners: bytes) -> None:
        cdef ControlWords* words = self._words()
        if len(owners) != BUCKETS or max(owners) >= self.workers:
            raise ValueError(f"owners are {BUCKETS} bytes, each below {self.workers}")
        cdef const uint8_t* owner = owners
        for b in range(BUCKETS):
            word_store(&words.bucket[b], owner[b])

    def move_buckets(self, source: int, target: int) -> int:
        cdef ControlWords* words = self._words()
        if not 0 <= target < self.workers:
            raise IndexError(f"worker {target}: there are {self.workers}")
        cdef int moved = 0
        for b in range(BUCKETS):
            if word_load(&words.bucket[b]) == <uint64_t> source:
                word_store(&words.bucket[b], target)
                moved += 1
        return moved

    def owner_of(self, call_id: bytes) -> int:
        return owner_of(self._open(), <const char*> call_id, len(call_id))
