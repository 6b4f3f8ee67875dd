# What a lookup in the location segment costs: compiled loops over many keys, in turns as the hot loop has them.
from libc.stdlib cimport malloc

from fastsip._control cimport Control
from fastsip._location cimport (
    RECORD_BINDINGS, Binding, Segment, binding_first, binding_set, binding_uri, segment_close, segment_enter,
    segment_find, segment_find_hashed, segment_hash, segment_leave, segment_open, segment_prefetch,
)

cdef extern from *:
    """
    #include <sys/mman.h>
    #include <time.h>
    #include "segment_writer.h"
    static uint64_t thread_nanoseconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    }
    static Control *lookups_control(int fd) {
        void *at = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        return at == MAP_FAILED ? NULL : (Control *)at;
    }
    /* CPU nanoseconds of a load whose address the load before gave, somewhere in so many bytes of shared memory. */
    static double dependent_load(uint64_t bytes, uint64_t count) {
        uint64_t lines = bytes / 64, at = 0, seed = 88172645463325252ULL, sum = 0;
        uint8_t *base = (uint8_t *)mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED) return 0;
        memset(base, 1, bytes);
        uint64_t begin = thread_nanoseconds();
        for (uint64_t i = 0; i < count; i++) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL + (at & 2);
            at = *(volatile uint8_t *)(base + (seed >> 20) % lines * 64);
            sum += at;
        }
        begin = thread_nanoseconds() - begin;
        munmap(base, bytes);
        return sum == count ? (double)begin / (double)count : 0;
    }
    /* `count` addresses-of-record with one binding each: "+4930%08d@sip.example.com", and the value given with the same
     * eight digits where it has "########". 0 or -errno. */
    static int fill(int fd, Control *control, uint64_t count, uint8_t *value, uint32_t length, uint64_t *slowest) {
        char key[32] = "+4930########@sip.example.com";
        uint8_t *digits[8];
        int places = 0, error = 0;
        digits[places++] = (uint8_t *)key + 5;
        for (uint8_t *at = value; places < 8 && (at = (uint8_t *)memmem(at, value + length - at, "########", 8)); at += 8)
            digits[places++] = at;
        SegmentWriter *writer = segment_attach_writer(fd, control);
        if (!writer) return -errno;
        for (uint64_t i = 0; i < count && !error; i++) {
            char text[9];
            snprintf(text, sizeof text, "%08u", (uint32_t)(i % 100000000));
            for (int place = 0; place < places; place++) memcpy(digits[place], text, 8);
            uint64_t begin = thread_nanoseconds();
            error = segment_put(writer, RECORD_BINDINGS, (const uint8_t *)key, (uint32_t)strlen(key), value, length);
            begin = thread_nanoseconds() - begin;
            if (begin > *slowest) *slowest = begin;
        }
        segment_detach_writer(writer);
        return error;
    }
    static void lookups_done(Control *control) { munmap((void *)control, sizeof *control); }
    """
    uint64_t thread_nanoseconds() noexcept nogil
    Control* lookups_control(int fd) noexcept nogil
    double dependent_load(uint64_t size, uint64_t count) noexcept nogil
    int fill(int fd, Control* control, uint64_t count, uint8_t* value, uint32_t length, uint64_t* slowest) noexcept nogil
    void lookups_done(Control* control) noexcept nogil

cdef struct Key:
    const uint8_t* text
    uint32_t length


cdef double look(Segment* segment, Key* key, uint64_t count, uint32_t turn, bint alone, uint64_t* found) noexcept nogil:
    """CPU nanoseconds a lookup: the record, its set checked, the first URI's first byte read. `alone`: the next key is
    known only when that byte is, so that no two lookups share the wait for memory."""
    cdef const uint8_t* value = NULL
    cdef uint32_t length = 0
    cdef const Binding* binding
    cdef uint64_t i, at, before = 0, begin = thread_nanoseconds()
    for i in range(count):
        if i % turn == 0:
            segment_enter(segment, 0)
        at = i + (before & 0x80 if alone else 0)
        if not segment_find(segment, RECORD_BINDINGS, key[at].text, key[at].length, &value, &length):
            continue
        binding = binding_first(binding_set(value, length))
        if binding != NULL:
            before = binding_uri(binding)[0]
            found[0] += before == c"s"
    segment_leave(segment, 0)
    return <double>(thread_nanoseconds() - begin) / <double>count


cdef double look_ahead(Segment* segment, Key* key, uint64_t count, uint32_t turn, uint64_t* found) noexcept nogil:
    """The same with the keys of a turn known when it begins, at most 64."""
    cdef uint64_t hashes[64]
    cdef const uint8_t* value = NULL
    cdef uint32_t length = 0, k, size
    cdef const Binding* binding
    cdef uint64_t i = 0, begin = thread_nanoseconds()
    while i < count:
        size = <uint32_t>min(count - i, turn)
        segment_enter(segment, 0)
        for k in range(size):
            hashes[k] = segment_hash(segment, RECORD_BINDINGS, key[i + k].text, key[i + k].length)
        for k in range(size):
            segment_prefetch(segment, hashes[k])
        for k in range(size):
            if segment_find_hashed(segment, hashes[k], key[i + k].text, key[i + k].length, &value, &length):
                binding = binding_first(binding_set(value, length))
                found[0] += binding != NULL and binding_uri(binding)[0] == c"s"
        i += size
    segment_leave(segment, 0)
    return <double>(thread_nanoseconds() - begin) / <double>count


def measure_lookups(fd: int, control_fd: int, keys: list[bytes], turn: int, rounds: int,
                    how: str) -> tuple[list[float], int]:
    if how not in ("alone", "row", "ahead") or not 0 < turn <= 64:
        raise ValueError(f"lookups are alone, row or ahead, in turns of 1 to 64; not {how}, {turn}")
    cdef Control* control = lookups_control(control_fd)
    cdef Segment* segment = segment_open(fd, control)
    cdef Key* key = <Key*>malloc(len(keys) * sizeof(Key))
    cdef uint64_t i, found = 0, count = len(keys)
    cdef uint32_t turns = turn
    cdef bint alone = how == "alone", ahead = how == "ahead"
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
            if ahead:
                nanoseconds_each = look_ahead(segment, key, count, turns, &found)
            else:
                nanoseconds_each = look(segment, key, count, turns, alone, &found)
        spent.append(nanoseconds_each)
    free(key)
    segment_close(segment)
    lookups_done(control)
    return spent, found


def fill_segment(fd: int, control_fd: int, count: int, value: bytes) -> tuple[float, float]:
    cdef Control* control = lookups_control(control_fd)
    cdef bytearray writable = bytearray(value)
    cdef uint8_t* at = <uint8_t*>writable
    cdef uint32_t length = len(writable)
    cdef uint64_t slowest = 0, begin = thread_nanoseconds(), total = count
    cdef int number = fd, error
    with nogil:
        error = fill(number, control, total, at, length, &slowest)
    begin = thread_nanoseconds() - begin
    lookups_done(control)
    if error:
        raise OSError(-error, "the segment takes no more")
    return <double>begin / <double>max(total, 1), <double>slowest


def measure_load(size: int) -> float:
    return dependent_load(size, 1000000)
