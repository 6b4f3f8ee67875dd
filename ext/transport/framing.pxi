# From bytes of a stream to messages (RFC 3261 18.3): a header section, then as many bytes as Content-Length says.

cdef enum:
    FRAME_MORE = 0               # not all of the header section is there
    FRAME_NO_LENGTH = -1         # none, or one that is no number: where the next message begins nobody knows
    FRAME_TOO_LARGE = -2
    FRAME_NO_SIP = -3
    FIRST_LINE = 8192            # bytes without any line end: this is not SIP


cdef inline bint is_name_of_length(const uint8_t* line, const uint8_t* end, const uint8_t** value) noexcept nogil:
    # Content-Length, or its short form: `value` is what stands behind the colon.
    if (line[0] | 0x20) == c'l':
        line += 1
    elif end - line > 14 and (line[0] | 0x20) == c'c' and strncasecmp(<const char*>line, b"content-length", 14) == 0:
        line += 14
    else:
        return False
    while line < end and (line[0] == c' ' or line[0] == c'\t'):
        line += 1
    if line >= end or line[0] != c':':
        return False
    value[0] = line + 1
    return True


cdef int64_t content_length(const uint8_t* data, uint32_t head) noexcept nogil:
    # What the header section says, -1 if it says nothing or several things.
    cdef const uint8_t* at = data
    cdef const uint8_t* end = data + head
    cdef const uint8_t* value
    cdef int64_t found = -1, number
    cdef bint digits
    while True:
        at = <const uint8_t*>memchr(at, c'\n', end - at)
        if at == NULL or at + 1 >= end:
            return found
        at += 1
        if not is_name_of_length(at, end, &value):
            continue
        while value < end and (value[0] == c' ' or value[0] == c'\t' or value[0] == c'\r' or value[0] == c'\n'):
            value += 1
        number = 0
        digits = False
        while value < end and 48 <= value[0] <= 57 and number < 100000000:
            number = number * 10 + value[0] - 48
            digits = True
            value += 1
        while value < end and (value[0] == c' ' or value[0] == c'\t'):
            value += 1
        if not digits or value >= end or value[0] != c'\r' or (found >= 0 and found != number):
            return -1
        found = number


cdef int64_t frame_message(const uint8_t* data, uint32_t length, uint32_t* scanned, uint32_t* head) noexcept nogil:
    # Bytes of the message that begins at `data`, which may be more than there are, or why that is unknown. `scanned` is
    # how far it was looked at in vain before. `head`: bytes of the header section, once that is whole.
    cdef uint32_t start = scanned[0] - 3 if scanned[0] > 3 else 0
    cdef const uint8_t* end = <const uint8_t*>memmem(data + start, length - start, b"\r\n\r\n", 4)
    cdef int64_t content
    head[0] = 0
    if not 0x20 < data[0] < 0x7f:
        return FRAME_NO_SIP                  # no message begins like this, but a TLS handshake does
    if end == NULL:
        scanned[0] = length
        if length >= RING_MESSAGE or (length >= FIRST_LINE and memchr(data, c'\n', FIRST_LINE) == NULL):
            return FRAME_TOO_LARGE
        return FRAME_MORE
    head[0] = <uint32_t>(end - data) + 4
    content = content_length(data, head[0])
    if content < 0:
        return FRAME_NO_LENGTH
    return head[0] + content if head[0] + content <= RING_MESSAGE else FRAME_TOO_LARGE
