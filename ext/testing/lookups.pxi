# What a lookup in the location segment costs: compiled loops over many keys, in turns as the hot loop has them.
from libc.stdlib cimport malloc

from fastsip._control cimport Control
from fastsip._location cimport (
    RECORD_BINDINGS, Binding, Segment, binding_first, binding_set, binding_uri, segment_close, segment_enter,
    segment_find, segment_leave, segment_open,
)

cdef extern from *:
    """
    #include <sys/mman.h>
    #include <time.h>
    static uint64_t thread_nanoseconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    }
    static Control *lookups_control(int fd) {
        void *at = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        return at == MAP_FAILED ? NULL : (Control *)at;
    }
    static void lookups_done(Control *control) { munmap((void *)control, sizeof *control); }
    """
    uint64_t thread_nanoseconds() noexcept nogil
    Control* lookups_control(int fd) noexcept nogil
    void lookups_done(Control* control) noexcept nogil

cdef struct Key:
    const uint8_t* text
    uint32_t length


cdef double look(Segment* segment, Key* key, uint64_t count, uint32_t turn, uint64_t* found) noexcept nogil:
    """CPU nanoseconds a lookup: the record, its set checked, the first URI's first byte read."""
    cdef const uint8_t* value = NULL
    cdef uint32_t length = 0
    cdef const Binding* binding
    cdef uint64_t i, begin = thread_nanoseconds()
    for i in range(count):
        if i % turn == 0:
            segment_enter(segment, 0)
        if not segment_find(segment, RECORD_BINDINGS, key[i].text, key[i].length, &value, &length):
            continue
        binding = binding_first(binding_set(value, length))
        if binding != NULL and binding_uri(binding)[0] == c"s":
            found[0] += 1
    segment_leave(segment, 0)
    return <double>(thread_nanoseconds() - begin) / <double>count


def measure_lookups(fd: int, control_fd: int, keys: list[bytes], turn: int, rounds: int) -> tuple[list[float], int]:
    cdef Control* control = lookups_control(control_fd)
    cdef Segment* segment = segment_open(fd, control)
    cdef Key* key = <Key*>malloc(len(keys) * sizeof(Key))
    cdef uint64_t i, found = 0, count = len(keys)
    cdef uint32_t turns = turn
    cdef bytes text
    cdef list spent = []
    cdef double nanoseconds_each
    for i in range(count):
        text = keys[i]
        key[i].text = <const uint8_t*><const char*>text
        key[i].length = <uint32_t>len(text)
    for _ in range(rounds):
        found = 0
        with nogil:
            nanoseconds_each = look(segment, key, count, turns, &found)
        spent.append(nanoseconds_each)
    free(key)
    segment_close(segment)
    lookups_done(control)
    return spent, found
