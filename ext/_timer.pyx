# The wheel: four levels of 256 slots. A slot of level 0 holds one tick (1 ms), of level 1 256 ticks, of level 2 65,536,
# of level 3 2^24. A timer hangs in the lowest level whose rotation reaches its time, and moves down when its slot's
# first tick comes: 64*T1 = 32 s lies in level 1, so a transaction's timers are moved once, 256 ms before they fire, and
# most are cancelled before that.
#
# A bit per slot says which are not empty, so finding the next one costs sixteen words at most, however far `now` jumps.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef extern from "check.h" nogil:
    void CHECK(bint condition) noexcept

cdef extern from * nogil:
    int ctz "__builtin_ctzll"(uint64_t word) noexcept

cdef enum:
    LEVELS = 4
    SLOTS = 256
    WORDS = 4                    # of occupancy bits per level
    DUE = LEVELS * SLOTS         # the list of what is due, in order
    LATER = DUE + 1              # armed during a sweep and due at once: for the next sweep
    HEADS = LATER + 1

cdef uint64_t NEVER = <uint64_t>-1

cdef struct Wheel:
    uint64_t reached             # every slot up to this tick has been emptied
    uint64_t armed
    bint sweeping                # the last wheel_expire returned a timer
    uint64_t occupied[LEVELS * WORDS]
    Timer heads[HEADS]           # of circular lists; `next` and `previous` alone are used


cdef inline void append(Timer* head, Timer* timer) noexcept nogil:
    timer.next = head
    timer.previous = head.previous
    head.previous.next = timer
    head.previous = timer


cdef inline void hang(Wheel* wheel, Timer* timer, uint32_t when_due) noexcept nogil:
    # Into the slot of its time; into the list `when_due` if that has come.
    cdef uint64_t delay
    cdef uint32_t level, slot
    if timer.due <= wheel.reached:
        slot = when_due
    else:
        delay = timer.due - wheel.reached
        level = (delay >= <uint64_t>1 << 8) + (delay >= <uint64_t>1 << 16) + (delay >= <uint64_t>1 << 24)
        # More than a rotation of level 3 ahead (the wheel was not turned for long) is looked at again once a rotation.
        slot = level * SLOTS + ((timer.due >> 8 * level) & 255)
        wheel.occupied[slot >> 6] |= <uint64_t>1 << (slot & 63)
    timer.slot = <uint16_t>slot
    append(&wheel.heads[slot], timer)


cdef inline void take_off(Wheel* wheel, Timer* timer) noexcept nogil:
    cdef uint32_t slot = timer.slot
    CHECK(timer.next.previous == timer and timer.previous.next == timer)
    timer.previous.next = timer.next
    timer.next.previous = timer.previous
    # It was the last of its slot, or of the due list: the slot it came from is empty then too, since a slot's rotation
    # is not over before the due list is.
    if timer.next == timer.previous and slot < DUE:
        wheel.occupied[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
    timer.next = NULL
    timer.previous = NULL
    wheel.armed -= 1


cdef inline void splice(Timer* source, Timer* target) noexcept nogil:
    # All of `source`, in order, behind `target`'s last.
    if source.next == source:
        return
    source.next.previous = target.previous
    source.previous.next = target
    target.previous.next = source.next
    target.previous = source.previous
    source.next = source
    source.previous = source


cdef inline uint32_t distance(const Wheel* wheel, int level) noexcept nogil:
    # Slots from the current one to the next occupied one of this level, 1 to 256 (the current one, a rotation later);
    # 0 if all are empty.
    cdef const uint64_t* words = wheel.occupied + level * WORDS
    cdef uint32_t start = <uint32_t>((wheel.reached >> 8 * level) + 1) & 255
    cdef uint32_t word = start >> 6
    cdef int i
    cdef uint64_t bits = words[word] & (<uint64_t>-1 << (start & 63))
    for i in range(WORDS + 1):
        if bits:
            return ((word * 64 + <uint32_t>ctz(bits) - start) & 255) + 1
        word = (word + 1) & (WORDS - 1)
        bits = words[word]
    return 0


cdef uint64_t next_slot(const Wheel* wheel) noexcept nogil:
    # The first tick at which an occupied slot is entered: never after the first timer's time.
    cdef uint64_t soonest = NEVER, tick
    cdef uint32_t slots
    cdef int level
    for level in range(LEVELS):
        slots = distance(wheel, level)
        if slots:
            tick = ((wheel.reached >> 8 * level) + slots) << 8 * level
            if tick < soonest:
                soonest = tick
    return soonest


cdef void enter(Wheel* wheel, uint64_t tick) noexcept nogil:
    # Empty the slots that begin at `tick`, the coarse ones first, since they may drop timers into the finer.
    cdef uint32_t slot
    cdef int level
    cdef uint64_t bit
    cdef Timer coarse
    cdef Timer* timer
    wheel.reached = tick
    for level in range(LEVELS - 1, -1, -1):
        if tick & ((<uint64_t>1 << 8 * level) - 1):
            continue
        slot = level * SLOTS + (<uint32_t>(tick >> 8 * level) & 255)
        bit = <uint64_t>1 << (slot & 63)
        if not wheel.occupied[slot >> 6] & bit:
            continue
        wheel.occupied[slot >> 6] &= ~bit
        if level == 0:
            splice(&wheel.heads[slot], &wheel.heads[DUE])
            continue
        coarse.next = &coarse
        coarse.previous = &coarse
        splice(&wheel.heads[slot], &coarse)
        while coarse.next != &coarse:
            timer = coarse.next
            coarse.next = timer.next
            hang(wheel, timer, DUE)


cdef Wheel* wheel_new(uint64_t now) noexcept nogil:
    cdef Wheel* wheel = <Wheel*>malloc(sizeof(Wheel))
    cdef int i
    if wheel == NULL:
        return NULL
    memset(wheel, 0, sizeof(Wheel))
    wheel.reached = now
    for i in range(HEADS):
        wheel.heads[i].next = &wheel.heads[i]
        wheel.heads[i].previous = &wheel.heads[i]
    return wheel


cdef void wheel_free(Wheel* wheel) noexcept nogil:
    free(wheel)


cdef void timer_init(Timer* timer, uint16_t kind) noexcept nogil:
    memset(timer, 0, sizeof(Timer))
    timer.kind = kind


cdef void timer_arm(Wheel* wheel, Timer* timer, uint64_t now, uint32_t delay) noexcept nogil:
    if timer.next != NULL:
        take_off(wheel, timer)
    timer.due = now + delay
    wheel.armed += 1
    # Armed by whoever is being told of a due timer, and due at once: it waits for the next sweep, or two owners that
    # arm with 0 would keep wheel_expire busy for ever.
    hang(wheel, timer, LATER if wheel.sweeping else DUE)


cdef void timer_cancel(Wheel* wheel, Timer* timer) noexcept nogil:
    if timer.next != NULL:
        take_off(wheel, timer)


cdef Timer* wheel_expire(Wheel* wheel, uint64_t now) noexcept nogil:
    cdef Timer* due = &wheel.heads[DUE]
    cdef Timer* timer
    cdef uint64_t tick
    while True:
        timer = due.next
        if timer != due:
            take_off(wheel, timer)
            wheel.sweeping = True
            return timer
        if now <= wheel.reached:
            break
        tick = next_slot(wheel) if wheel.armed else NEVER
        if tick > now:
            wheel.reached = now
            break
        enter(wheel, tick)
    wheel.sweeping = False
    splice(&wheel.heads[LATER], due)
    return NULL


cdef uint32_t wheel_wait(Wheel* wheel, uint64_t now, uint32_t limit) noexcept nogil:
    cdef uint64_t tick
    if wheel.heads[DUE].next != &wheel.heads[DUE] or wheel.heads[LATER].next != &wheel.heads[LATER]:
        return 0
    if wheel.armed == 0:
        return limit
    tick = next_slot(wheel)
    if tick <= now:
        return 0
    return <uint32_t>min(tick - now, <uint64_t>limit)


cdef uint64_t wheel_armed(const Wheel* wheel) noexcept nogil:
    return wheel.armed
