# What of the append cursor is not inline.

cdef void writer_init(Writer* w, uint8_t* memory, uint32_t capacity) noexcept nogil:
    w.start = memory
    w.at = memory
    w.end = memory + capacity
    w.overflow = 0

cdef void put_number(Writer* w, uint64_t number) noexcept nogil:
    cdef uint8_t digits[20]
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = <uint8_t>(c'0' + number % 10)
        number //= 10
        if number == 0:
            break
    put(w, digits + at, 20 - at)

cdef void put_hex(Writer* w, uint64_t number, uint32_t digits) noexcept nogil:
    cdef uint8_t text[16]
    cdef const char* letters = b"0123456789abcdef"
    cdef uint32_t i
    for i in range(digits):
        text[digits - 1 - i] = letters[number & 15]
        number >>= 4
    put(w, text, digits)
