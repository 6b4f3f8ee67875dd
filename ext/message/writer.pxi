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

# The lowest 32 bits as eight digits in the order of memory, each half spread out until a digit has a byte of its own.
cdef inline uint64_t hex_digits(uint64_t number) noexcept nogil:
    cdef uint64_t x = (number & 0xFFFF) << 32 | (number >> 16 & 0xFFFF)
    x = (x & <uint64_t>0x000000FF000000FF) << 16 | (x >> 8 & <uint64_t>0x000000FF000000FF)
    x = (x & <uint64_t>0x000F000F000F000F) << 8 | (x >> 4 & <uint64_t>0x000F000F000F000F)
    # A carry into bit 4 says 10 or more, and those letters begin 39 above where the digits would go on.
    return x + <uint64_t>0x3030303030303030 + (x + <uint64_t>0x0606060606060606 >> 4 & <uint64_t>0x0101010101010101) * 39

cdef void put_hex(Writer* w, uint64_t number, uint32_t digits) noexcept nogil:
    cdef uint64_t text[2]
    text[0] = hex_digits(number >> 32)
    text[1] = hex_digits(number)
    put(w, <uint8_t*>text + 16 - digits, digits)
