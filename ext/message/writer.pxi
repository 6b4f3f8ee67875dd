# What of the append cursor is not inline.

cdef void writer_init(Writer* w, uint8_t* memory, uint32_t capacity) noexcept nogil:
    w.start = memory
    w.at = memory
    w.end = memory + capacity
    w.overflow = 0

cdef void put_number(Writer* w, uint64_t number) noexcept nogil:
    # Hops and statuses are nearly all of it: those need no detour.
    cdef uint8_t digits[20]
    cdef uint32_t small
    cdef int at = 20
    if number < 1000 and not w.overflow and w.end - w.at >= 3:
        small = <uint32_t>number
        if small >= 100:
            w.at[0] = <uint8_t>(c'0' + small // 100)
            w.at += 1
        if small >= 10:
            w.at[0] = <uint8_t>(c'0' + small // 10 % 10)
            w.at += 1
        w.at[0] = <uint8_t>(c'0' + small % 10)
        w.at += 1
        return
    while number >> 32:
        at -= 1
        digits[at] = <uint8_t>(c'0' + number % 10)
        number //= 10
    small = <uint32_t>number
    while True:
        at -= 1
        digits[at] = <uint8_t>(c'0' + small % 10)
        small //= 10
        if small == 0:
            break
    put(w, digits + at, 20 - at)

cdef void put_hex(Writer* w, uint64_t number, uint32_t digits) noexcept nogil:
    cdef uint8_t text[16]
    hex_write(text, <uint32_t>(number >> 32))
    hex_write(text + 8, <uint32_t>number)
    put(w, text + 16 - digits, digits)
