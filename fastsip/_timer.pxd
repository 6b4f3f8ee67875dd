# Time: a hierarchical wheel with a tick of one millisecond and intrusive nodes. No allocation, no clock, no I/O:
# the caller says what time it is.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct Timer:
    Timer* next              # in its wheel slot; NULL when not armed
    Timer* previous
    uint64_t due             # ms
    uint16_t kind            # the owner's letter: TIMER_*
    uint16_t slot            # where it hangs, for the wheel alone
    uint32_t reserved

cdef struct Wheel            # opaque here; allocated by wheel_new

cdef Wheel* wheel_new(uint64_t now) noexcept nogil       # NULL when memory is out
cdef void wheel_free(Wheel* wheel) noexcept nogil
cdef void timer_init(Timer* timer, uint16_t kind) noexcept nogil
# Arm, or arm again. A delay of 0 is due at once. Longest delay 2^32-1 ms.
cdef void timer_arm(Wheel* wheel, Timer* timer, uint64_t now, uint32_t delay) noexcept nogil
cdef void timer_cancel(Wheel* wheel, Timer* timer) noexcept nogil    # also when not armed
# The next timer due at `now`, unlinked, in order of due time to the tick; NULL when there is none. Timers armed while
# expiring with delay 0 are returned in the same sweep at most once per call order, never in an endless loop.
cdef Timer* wheel_expire(Wheel* wheel, uint64_t now) noexcept nogil
# ms until something may be due, never late and at most `limit`.
cdef uint32_t wheel_wait(Wheel* wheel, uint64_t now, uint32_t limit) noexcept nogil
cdef uint64_t wheel_armed(const Wheel* wheel) noexcept nogil

cdef inline bint timer_is_armed(const Timer* timer) noexcept nogil:
    return timer.next != NULL
