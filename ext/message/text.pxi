# The small things: white space, quoted strings, words without case.

cdef inline bint is_blank(uint8_t c) noexcept nogil:
    return char_class[c] & CHAR_BLANK

cdef inline bint is_digit(uint8_t c) noexcept nogil:
    return <uint8_t>(c - c'0') < 10

cdef inline uint8_t lower(uint8_t c) noexcept nogil:
    return c | 0x20 if <uint8_t>(c - c'A') < 26 else c

cdef inline int hex_value(uint8_t c) noexcept nogil:
    if is_digit(c):
        return c - c'0'
    c |= 0x20
    return c - c'a' + 10 if c'a' <= c <= c'f' else -1

cdef inline Slice make_slice(uint32_t start, uint32_t end) noexcept nogil:
    cdef Slice s
    s.start = <uint16_t>start
    s.end = <uint16_t>end
    return s

cdef inline uint32_t skip_blank(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    while at < end and is_blank(data[at]):
        at += 1
    return at

cdef inline uint32_t skip_class(const uint8_t* data, uint32_t at, uint32_t end, uint8_t classes) noexcept nogil:
    while at < end and char_class[data[at]] & classes:
        at += 1
    return at

# Behind the closing quote of the quoted string that begins at `at`, or 0 if it does not close.
cdef inline uint32_t skip_quoted(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    cdef uint32_t close
    at += 1
    close = scan_byte(data, at, end, c'"')
    if scan_byte(data, at, close, c'\\') == close:
        return close + 1 if close < end else 0
    while at < end:
        if data[at] == c'"':
            return at + 1
        at += 2 if data[at] == c'\\' else 1
    return 0

# Behind the comment that begins at `at` (they nest), or 0 if it does not close.
cdef inline uint32_t skip_comment(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    cdef uint32_t depth = 0
    while at < end:
        if data[at] == c'\\':
            at += 1
        elif data[at] == c'(':
            depth += 1
        elif data[at] == c')':
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return 0

# `word` is lower case.
cdef inline bint is_word(const uint8_t* data, Slice s, const char* word, uint32_t length) noexcept nogil:
    cdef uint32_t i
    if slice_length(s) != length:
        return 0
    if memcmp(data + s.start, word, length) == 0:      # nearly always; a compare or two, for the length is known
        return 1
    for i in range(length):
        if lower(data[s.start + i]) != <uint8_t>word[i]:
            return 0
    return 1

cdef inline bint same_folded(const uint8_t* a, const uint8_t* b, uint32_t length) noexcept nogil:
    cdef uint32_t i
    for i in range(length):
        if lower(a[i]) != lower(b[i]):
            return 0
    return 1

cdef inline uint8_t transport_of(const uint8_t* data, Slice s) noexcept nogil:
    cdef uint32_t length = slice_length(s)
    if length == 3:
        if is_word(data, s, b"udp", 3):
            return TRANSPORT_UDP
        if is_word(data, s, b"tcp", 3):
            return TRANSPORT_TCP
        if is_word(data, s, b"tls", 3):
            return TRANSPORT_TLS
        if is_word(data, s, b"wss", 3):
            return TRANSPORT_WSS
    elif length == 2 and is_word(data, s, b"ws", 2):
        return TRANSPORT_WS
    elif length == 4 and is_word(data, s, b"sctp", 4):
        return TRANSPORT_SCTP
    return TRANSPORT_UNKNOWN

# A host ("[" IPv6address "]", hostname or IPv4address) from `at` on: behind it, or 0.
cdef inline uint32_t skip_host(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    cdef uint32_t start = at
    if at < end and data[at] == c'[':
        at += 1
        while at < end and (hex_value(data[at]) >= 0 or data[at] == c':' or data[at] == c'.'):
            at += 1
        return at + 1 if at < end and data[at] == c']' and at - start > 2 else 0
    at = skip_class(data, at, end, CHAR_HOST)
    return at if at > start else 0

# Digits of a port from `at` on: behind them, or 0 if there are none or they are not in 1..65535.
cdef inline uint32_t skip_port(const uint8_t* data, uint32_t at, uint32_t end, uint16_t* port) noexcept nogil:
    cdef uint32_t value = 0
    while at < end and is_digit(data[at]):
        value = value * 10 + (data[at] - c'0')
        if value > 65535:
            return 0
        at += 1
    port[0] = <uint16_t>value
    return at if value else 0
