# msgpack, as much of it as facts are made of: arrays, unsigned integers, bin. A reader never passes its end.

cdef struct Reader:
    const uint8_t* at
    const uint8_t* end

cdef struct Span:
    const uint8_t* data
    uint32_t length


cdef inline uint64_t big_endian(const uint8_t* at, uint32_t size) noexcept nogil:
    cdef uint64_t number = 0
    cdef uint32_t i
    for i in range(size):
        number = number << 8 | at[i]
    return number


cdef bint skip(Reader* r, uint64_t values) noexcept nogil:
    # Past so many values of any kind, nested ones included; False when one of them is not whole or not msgpack.
    cdef const uint8_t* at = r.at
    cdef uint64_t room, size
    cdef uint32_t head, digits
    while values:
        room = <uint64_t>(r.end - at)
        if values > room:
            return False
        values -= 1
        head = at[0]
        at += 1
        room -= 1
        size = digits = 0
        if head <= 0x7f or head >= 0xe0 or head == 0xc0 or head == 0xc2 or head == 0xc3:
            continue
        elif head <= 0x8f:
            values += 2 * (head & 15)
        elif head <= 0x9f:
            values += head & 15
        elif head <= 0xbf:
            size = head & 31
        elif 0xc4 <= head <= 0xc6:
            digits = 1 << (head - 0xc4)
        elif 0xc7 <= head <= 0xc9:
            digits = 1 << (head - 0xc7)
            size = 1
        elif 0xca <= head <= 0xcb:
            size = 4 << (head - 0xca)
        elif 0xcc <= head <= 0xcf:
            size = 1 << (head - 0xcc)
        elif 0xd0 <= head <= 0xd3:
            size = 1 << (head - 0xd0)
        elif 0xd4 <= head <= 0xd8:
            size = 1 + (1 << (head - 0xd4))
        elif 0xd9 <= head <= 0xdb:
            digits = 1 << (head - 0xd9)
        elif 0xdc <= head <= 0xdf:
            digits = 2 if head == 0xdc or head == 0xde else 4
            if digits > room:
                return False
            values += big_endian(at, digits) << (head >= 0xde)
            at += digits
            continue
        else:
            return False
        if digits > room:
            return False
        size += big_endian(at, digits)
        if size > room - digits:
            return False
        at += digits + size
    r.at = at
    return True


cdef bint read_array(Reader* r, uint32_t* count) noexcept nogil:
    cdef const uint8_t* at = r.at
    cdef uint32_t digits
    if at == r.end:
        return False
    if 0x90 <= at[0] <= 0x9f:
        count[0] = at[0] & 15
        r.at += 1
        return True
    digits = 2 if at[0] == 0xdc else 4 if at[0] == 0xdd else 0
    if digits == 0 or digits > <uint64_t>(r.end - at) - 1:
        return False
    count[0] = <uint32_t>big_endian(at + 1, digits)
    r.at += 1 + digits
    return True


cdef bint read_uint(Reader* r, uint64_t* number) noexcept nogil:
    cdef const uint8_t* at = r.at
    cdef uint32_t digits
    if at == r.end:
        return False
    if at[0] <= 0x7f:
        number[0] = at[0]
        r.at += 1
        return True
    if not 0xcc <= at[0] <= 0xcf:
        return False
    digits = 1 << (at[0] - 0xcc)
    if digits > <uint64_t>(r.end - at) - 1:
        return False
    number[0] = big_endian(at + 1, digits)
    r.at += 1 + digits
    return True


cdef bint read_most(Reader* r, uint64_t most, uint64_t* number) noexcept nogil:
    return read_uint(r, number) and number[0] <= most


cdef bint read_bytes(Reader* r, uint64_t most, Span* out) noexcept nogil:
    cdef const uint8_t* at = r.at
    cdef uint64_t size, digits, room = <uint64_t>(r.end - at)
    if room == 0 or not 0xc4 <= at[0] <= 0xc6:
        return False
    digits = 1 << (at[0] - 0xc4)
    if digits + 1 > room:
        return False
    size = big_endian(at + 1, <uint32_t>digits)
    if size > room - 1 - digits or size > most:
        return False
    out.data = at + 1 + digits
    out.length = <uint32_t>size
    r.at = out.data + size
    return True


cdef inline bint same_span(const Span* a, const uint8_t* data, uint32_t length) noexcept nogil:
    return a.length == length and memcmp(a.data, data, length) == 0


cdef inline bytes span_bytes(const Span* span):
    return PyBytes_FromStringAndSize(<const char*>span.data, span.length)
