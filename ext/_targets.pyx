"""The table of gateways as Python sees it. The contract is fastsip/_targets.pyi, the layout ext/targets.h."""

import errno
import os
import time
from hashlib import blake2b

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include "targets.h"
    #define word_load(word) atomic_load_explicit(word, memory_order_acquire)
    #define word_store(word, value) atomic_store_explicit(word, value, memory_order_release)
    static void *map_any(int fd) {
        void *at = mmap(NULL, sizeof(Targets), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        return at == MAP_FAILED ? NULL : at;
    }
    """
    void* map_any(int fd) noexcept
    uint64_t word_load(void* word) noexcept
    void word_store(void* word, uint64_t value) noexcept

    ctypedef struct TargetColumn:
        uint32_t ringing
        uint64_t calls

    ctypedef struct TargetSlot:
        uint64_t health, retry_until, name, left, timeouts, unavailable, failed, probed, probe
        uint32_t weight, limit, open, in_use
        uint32_t told[64]
        TargetColumn column[64]

    ctypedef struct TargetWords "Targets":
        uint32_t used

    TargetSlot* targets_slot(Targets* t, uint32_t slot) noexcept
    uint64_t target_until(uint64_t health) noexcept
    uint32_t target_failures(uint64_t health) noexcept

# C enumerators, which no assignment could name.
globals().update(
    SLOTS=TARGETS, FAILURES=TARGET_FAILURES, DOWN_FIRST=TARGET_DOWN_FIRST, DOWN_MOST=TARGET_DOWN_MOST,
    RETRY_AFTER_MOST=TARGET_RETRY_AFTER_MOST, UP=TARGET_UP, ON_TRIAL=TARGET_ON_TRIAL, FULL=TARGET_FULL,
    WAITING=TARGET_WAITING, DOWN=TARGET_DOWN, UNUSED=TARGET_UNUSED)


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def table_size() -> int:
    return targets_size()


def table_format(fd: int, workers: int) -> None:
    if not 1 <= workers <= 64:
        raise ValueError(f"workers must be 1 to 64, not {workers}")
    if os.fstat(fd).st_size < <Py_ssize_t> targets_size():
        os.ftruncate(fd, targets_size())
    cdef Targets* t = targets_map(fd)
    if t != NULL:
        targets_unmap(t)
        raise OSError(errno.EEXIST, "target table: there is one already")
    cdef void* at = map_any(fd)
    if at == NULL:
        raise OSError(errno.ENOMEM, "target table: it cannot be mapped")
    targets_init(<Targets*> at, workers)
    targets_unmap(<Targets*> at)


cdef uint64_t hash_of(str name) except 0:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") or 1


cdef class TargetTable:
    cdef Targets* _table

    def __init__(self, fd: int) -> None:
        if self._table != NULL:
            raise ValueError("target table: already open")
        if os.fstat(fd).st_size < <Py_ssize_t> targets_size():
            raise OSError(errno.EPROTO, "target table: the memory is too short, nothing was formatted there")
        self._table = targets_map(fd)
        if self._table == NULL:
            raise OSError(errno.EPROTO, "target table: another layout, or nothing was formatted there")

    def __dealloc__(self) -> None:
        self.close()

    def close(self) -> None:
        if self._table != NULL:
            targets_unmap(self._table)
            self._table = NULL

    cdef Targets* _at(self, uint32_t slot, uint32_t worker=0) except NULL:
        if self._table == NULL:
            raise ValueError("target table: closed")
        if slot >= TARGETS:
            raise IndexError(f"slot {slot}: there are {TARGETS}")
        if worker >= self._table.workers:
            raise IndexError(f"worker {worker}: there are {self._table.workers}")
        return self._table

    cdef TargetSlot* _slot(self, uint32_t slot) except NULL:
        return targets_slot(self._at(slot), slot)

    # The master.

    def assign(self, gateways) -> list[int]:
        cdef TargetWords* words = <TargetWords*> self._at(0)
        cdef TargetSlot* s
        cdef uint32_t used = word_load(&words.used), slot
        cdef dict known = {}
        cdef list found = []
        cdef set kept
        if len({name for name, _, _ in gateways}) != len(gateways):
            raise ValueError("two gateways of one name")
        if len(gateways) > TARGETS:
            raise ValueError(f"{len(gateways)} gateways: there is room for {TARGETS}")
        for slot in range(used):
            known[word_load(&self._slot(slot).name)] = slot
        kept = {known[hash_of(name)] for name, _, _ in gateways if hash_of(name) in known}
        free = sorted([(self._left(slot), slot) for slot in range(used) if slot not in kept])
        for name, weight, limit in gateways:
            key = hash_of(name)
            if key in known:
                slot = known[key]
            elif used < TARGETS:
                slot = used
                used += 1
                word_store(&words.used, used)
            else:
                slot = free.pop(0)[1]
                self._forget(slot)
            s = self._slot(slot)
            word_store(&s.name, key)
            word_store(&s.weight, weight)
            word_store(&s.limit, limit)
            word_store(&s.in_use, 1)
            found.append(slot)
        for slot in set(range(used)).difference(found):
            s = self._slot(slot)
            if word_load(&s.in_use):
                word_store(&s.left, now_ms())
                word_store(&s.in_use, 0)
        return found

    cdef uint64_t _left(self, uint32_t slot) except? 1:
        cdef TargetSlot* s = self._slot(slot)
        return <uint64_t> 0xffffffffffffffffu if word_load(&s.in_use) else word_load(&s.left)

    cdef int _forget(self, uint32_t slot) except -1:
        # For another gateway. Calls of the one before stay counted until they end.
        cdef TargetSlot* s = self._slot(slot)
        word_store(&s.health, 0)
        word_store(&s.retry_until, 0)
        word_store(&s.timeouts, 0)
        word_store(&s.unavailable, 0)
        word_store(&s.failed, 0)
        word_store(&s.probed, 0)
        word_store(&s.probe, 0)
        return 0

    def slot_of(self, name: str) -> int | None:
        cdef uint64_t key = hash_of(name)
        for slot in range(self.used):
            if word_load(&self._slot(slot).name) == key:
                return slot
        return None

    def clear_worker(self, worker: int) -> None:
        targets_clear_worker(self._at(0, worker), worker)

    # Calls.

    def begin(self, slot: int, worker: int) -> None:
        targets_begin(self._at(slot, worker), slot, worker)

    def admit(self, slot: int, worker: int) -> bool:
        return targets_admit(self._at(slot, worker), slot, worker)

    def end(self, slot: int, worker: int) -> None:
        targets_end(self._at(slot, worker), slot, worker)

    def confirmed(self, slot: int, worker: int) -> None:
        targets_confirmed(self._at(slot, worker), slot, worker)

    def busy(self, slot: int) -> int:
        return targets_busy(self._at(slot), slot)

    # Health.

    def answered(self, slot: int, now: int | None = None) -> None:
        targets_answered(self._at(slot), slot, now_ms() if now is None else now)

    def timeout(self, slot: int, now: int | None = None) -> bool:
        return targets_timeout(self._at(slot), slot, now_ms() if now is None else now)

    def unavailable(self, slot: int, retry_after: int, now: int | None = None) -> None:
        targets_unavailable(self._at(slot), slot, now_ms() if now is None else now, min(retry_after, 0xffffffff))

    def failed(self, slot: int) -> None:
        targets_failed(self._at(slot), slot)

    def state(self, slot: int, now: int | None = None) -> int:
        return targets_state(self._at(slot), slot, now_ms() if now is None else now)

    def claim(self, slot: int, now: int | None = None) -> bool:
        return targets_claim(self._at(slot), slot, now_ms() if now is None else now)

    def free_at(self, slot: int) -> int:
        cdef TargetSlot* s = self._slot(slot)
        return max(word_load(&s.retry_until), target_until(word_load(&s.health)))

    def weight(self, slot: int) -> int:
        return <uint32_t> word_load(&self._slot(slot).weight)

    # The prober.

    def probed(self, slot: int, status: int, seconds: float, now: int | None = None) -> None:
        cdef TargetSlot* s = self._slot(slot)
        cdef uint64_t microseconds = max(0, round(seconds * 1e6))
        word_store(&s.probe, microseconds << 16 | <uint16_t> status)
        word_store(&s.probed, now_ms() if now is None else now)

    def probe_failed(self, slot: int, until: int, now: int | None = None) -> bool:
        return targets_probe_failed(self._at(slot), slot, now_ms() if now is None else now, until)

    # The state process.

    def set_open(self, slot: int, dialogs: int) -> None:
        targets_set_open(self._at(slot), slot, dialogs)

    def heard(self, slot: int, worker: int, dialogs: int) -> None:
        targets_heard(self._at(slot, worker), slot, worker, dialogs & 0xffffffff)

    def on_the_way(self, slot: int, worker: int) -> int:
        return targets_on_the_way(self._at(slot, worker), slot, worker)

    # Everybody.

    @property
    def used(self) -> int:
        return <uint32_t> word_load(&(<TargetWords*> self._at(0)).used)

    @property
    def workers(self) -> int:
        return self._at(0).workers

    def status(self, slot: int, now: int | None = None) -> dict[str, int]:
        cdef Targets* t = self._at(slot)
        cdef TargetSlot* s = self._slot(slot)
        cdef uint64_t health = word_load(&s.health), probe = word_load(&s.probe)
        cdef uint64_t ringing = 0, calls = 0
        cdef uint32_t w
        for w in range(t.workers):
            ringing += <uint32_t> word_load(&s.column[w].ringing)
            calls += word_load(&s.column[w].calls)
        return {
            "state": self.state(slot, now),
            "weight": <uint32_t> word_load(&s.weight),
            "limit": <uint32_t> word_load(&s.limit),
            "ringing": ringing,
            "open": <uint32_t> word_load(&s.open),
            "busy": targets_busy(t, slot),
            "calls": calls,
            "failed": word_load(&s.failed),
            "unavailable": word_load(&s.unavailable),
            "timeouts": word_load(&s.timeouts),
            "failures": target_failures(health),
            "down_until": target_until(health),
            "retry_until": word_load(&s.retry_until),
            "probed": word_load(&s.probed),
            "probe_status": probe & 0xffff,
            "probe_us": probe >> 16,
        }
