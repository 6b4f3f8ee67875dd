# The table of gateways that all processes share: see ext/targets.h. Header only.
#
# A branch to a gateway: targets_admit (or targets_begin), then for every response targets_answered, for a 503 also
# targets_unavailable, for any other 5xx targets_failed, for silence targets_timeout; and once, when it is over,
# targets_end, or targets_confirmed where its dialog became a fact. `now` is CLOCK_MONOTONIC in ms.
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef extern from "targets.h" nogil:
    enum: TARGETS, TARGET_FAILURES, TARGET_DOWN_FIRST, TARGET_DOWN_MOST, TARGET_RETRY_AFTER_MOST
    enum: TARGET_UP, TARGET_ON_TRIAL, TARGET_FULL, TARGET_WAITING, TARGET_DOWN, TARGET_UNUSED

    ctypedef struct Targets:
        uint32_t workers

    size_t targets_size() noexcept
    void targets_init(Targets* t, uint32_t workers) noexcept
    Targets* targets_map(int fd) noexcept
    void targets_unmap(Targets* t) noexcept

    bint targets_known(Targets* t, uint32_t slot) noexcept

    void targets_begin(Targets* t, uint32_t slot, uint32_t worker) noexcept
    bint targets_admit(Targets* t, uint32_t slot, uint32_t worker) noexcept
    void targets_same_call(Targets* t, uint32_t slot, uint32_t worker) noexcept
    void targets_end(Targets* t, uint32_t slot, uint32_t worker) noexcept
    void targets_confirmed(Targets* t, uint32_t slot, uint32_t worker) noexcept

    void targets_answered(Targets* t, uint32_t slot, uint64_t now) noexcept
    bint targets_timeout(Targets* t, uint32_t slot, uint64_t now) noexcept
    void targets_unavailable(Targets* t, uint32_t slot, uint64_t now, uint32_t retry_after) noexcept
    void targets_failed(Targets* t, uint32_t slot) noexcept
    bint targets_probe_failed(Targets* t, uint32_t slot, uint64_t now, uint64_t until) noexcept

    int targets_state(Targets* t, uint32_t slot, uint64_t now) noexcept
    bint targets_usable(Targets* t, uint32_t slot, uint64_t now) noexcept
    bint targets_claim(Targets* t, uint32_t slot, uint64_t now) noexcept
    uint32_t targets_busy(Targets* t, uint32_t slot) noexcept

    void targets_set_open(Targets* t, uint32_t slot, uint32_t open) noexcept
    void targets_heard(Targets* t, uint32_t slot, uint32_t worker, uint32_t dialogs) noexcept
    int32_t targets_on_the_way(Targets* t, uint32_t slot, uint32_t worker) noexcept
    void targets_clear_worker(Targets* t, uint32_t worker) noexcept
