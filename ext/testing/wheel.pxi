# A wheel with numbered timers and a clock that stands still until it is told.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from cython.view cimport array as view_array

from fastsip._timer cimport (
    Timer, Wheel, timer_arm, timer_cancel, timer_init, timer_is_armed, wheel_armed, wheel_expire, wheel_free,
    wheel_new, wheel_wait,
)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_THREAD_CPUTIME_ID
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* now)

cdef extern from "<poll.h>" nogil:
    int poll(void* fds, unsigned long count, int ms)


cdef inline uint64_t nanoseconds() noexcept nogil:
    # Of this thread's CPU: a busy machine does not count.
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef inline uint64_t microseconds() noexcept nogil:
    # Of the clock on the wall.
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000 + <uint64_t>now.tv_nsec // 1000


cdef enum:
    LONGEST_LATENESS = 100000      # tens of microseconds: a second


cdef class ManualWheel:
    cdef Wheel* wheel
    cdef Timer* timers
    cdef readonly uint32_t count

    def __cinit__(self, uint32_t count, uint64_t now=0):
        cdef uint32_t i
        self.count = count
        self.wheel = wheel_new(now)
        self.timers = <Timer*>calloc(count, sizeof(Timer))
        if self.wheel == NULL or self.timers == NULL:
            raise MemoryError
        for i in range(count):
            timer_init(&self.timers[i], <uint16_t>(i & 0xffff))

    def __dealloc__(self):
        wheel_free(self.wheel)
        free(self.timers)

    cdef Timer* timer(self, uint32_t number) except NULL:
        if number >= self.count:
            raise IndexError(number)
        return &self.timers[number]

    def arm(self, uint32_t number, uint64_t now, uint32_t delay):
        timer_arm(self.wheel, self.timer(number), now, delay)

    def cancel(self, uint32_t number):
        timer_cancel(self.wheel, self.timer(number))

    def is_armed(self, uint32_t number):
        return bool(timer_is_armed(self.timer(number)))

    def expire(self, uint64_t now):
        cdef Timer* timer = wheel_expire(self.wheel, now)
        return None if timer == NULL else timer - self.timers

    def sweep(self, uint64_t now):
        fired = []
        while (number := self.expire(now)) is not None:
            fired.append(number)
        return fired

    def wait(self, uint64_t now, uint32_t limit):
        return wheel_wait(self.wheel, now, limit)

    @property
    def armed(self):
        return wheel_armed(self.wheel)

    def measure(self, uint32_t spread):
        # Arms every timer with delays spread evenly but in no order over `spread` ms, then turns the wheel ms by ms.
        cdef uint64_t start, armed, worst = 0, late = 0, fired = 0, now, turn, took, cancelling, cancelled
        cdef uint32_t i
        cdef Timer* timer
        with nogil:
            start = nanoseconds()
            for i in range(self.count):
                timer_arm(self.wheel, &self.timers[i], 0, 1 + <uint32_t>(<uint64_t>i * <uint64_t>2654435761U % spread))
            armed = nanoseconds()
            for now in range(<uint64_t>spread + 1):
                turn = nanoseconds()
                while True:
                    timer = wheel_expire(self.wheel, now)
                    if timer == NULL:
                        break
                    fired += 1
                    if timer.due != now:
                        late += 1
                took = nanoseconds() - turn
                if took > worst:
                    worst = took
            now = nanoseconds()
            for i in range(self.count):
                timer_arm(self.wheel, &self.timers[i], spread,
                          1 + <uint32_t>(<uint64_t>i * <uint64_t>2654435761U % spread))
            cancelling = nanoseconds()
            for i in range(self.count):
                timer_cancel(self.wheel, &self.timers[<uint64_t>i * 1000003 % self.count])
            cancelled = nanoseconds()
        return {
            "armed_ns": <double>(armed - start) / self.count, "fired_ns": <double>(now - armed) / self.count,
            "cancelled_ns": <double>(cancelled - cancelling) / self.count,
            "worst_turn_ns": worst, "fired": fired, "late": late,
        }

    def lateness(self, uint32_t spread, uint32_t duration):
        # All armed over `spread` ms, each again when it fires; asleep between turns for as long as wheel_wait says.
        cdef uint32_t[:] counts = view_array(shape=(LONGEST_LATENESS + 1,), itemsize=4, format="I")
        cdef uint64_t begun, elapsed = 0, fired = 0, late, end = <uint64_t>duration * 1000
        cdef uint32_t i, wait
        cdef Timer* timer
        counts[:] = 0
        with nogil:
            for i in range(self.count):
                timer_arm(self.wheel, &self.timers[i], 0, 1 + <uint32_t>(<uint64_t>i * <uint64_t>2654435761U % spread))
            begun = microseconds()
            while elapsed < end:
                wait = wheel_wait(self.wheel, elapsed // 1000, 1000)
                if wait != 0:
                    poll(NULL, 0, <int>wait)
                while True:
                    elapsed = microseconds() - begun
                    timer = wheel_expire(self.wheel, elapsed // 1000)
                    if timer == NULL:
                        break
                    late = elapsed - timer.due * 1000 if elapsed > timer.due * 1000 else 0
                    counts[late // 10 if late // 10 < LONGEST_LATENESS else LONGEST_LATENESS] += 1
                    fired += 1
                    timer_arm(self.wheel, timer, elapsed // 1000, spread)
        return fired, [(place * 10, count) for place, count in enumerate(counts) if count]
