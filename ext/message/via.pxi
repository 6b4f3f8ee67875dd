# Via (RFC 3261 20.42, RFC 3581), with what RFC 2543 6.47 allowed: ";hidden" and a comment at the end.

cdef inline void via_parameter(const uint8_t* data, Slice name, Slice value, Via* out) noexcept nogil:
    cdef long ttl
    cdef uint32_t length = slice_length(name)
    cdef uint8_t c = data[name.start] | 0x20
    if c == c'b' and length == 6:
        if out.branch.end == 0 and is_word(data, name, b"branch", 6):
            out.branch = value
    elif c == c'r' and length == 5:
        if not out.has_rport and is_word(data, name, b"rport", 5):
            out.has_rport = 1
            out.rport = value
    elif c == c'r' and length == 8:
        if out.received.end == 0 and is_word(data, name, b"received", 8):
            out.received = value
    elif c == c'm' and length == 5:
        if out.maddr.end == 0 and is_word(data, name, b"maddr", 5):
            out.maddr = value
    elif c == c't' and length == 3 and is_word(data, name, b"ttl", 3):
        ttl = parse_number(data, value)
        if 0 < ttl <= 255:
            out.ttl = <uint8_t>ttl

cdef inline int take_via(const uint8_t* data, uint32_t at, uint32_t end, Via* out) noexcept nogil:
    cdef uint32_t start, part
    cdef Slice name, value
    memset(out, 0, sizeof(Via))
    start = at = skip_blank(data, at, end)
    if end - at >= 8 and memcmp(data + at, b"SIP/2.0/", 8) == 0:
        at += 8
    else:
        for part in range(2):
            name.start = <uint16_t>at
            at = skip_class(data, at, end, CHAR_TOKEN)
            if at == name.start:
                return 0
            at = skip_blank(data, at, end)
            if at == end or data[at] != c'/':
                return 0
            at = skip_blank(data, at + 1, end)
    at = skip_blank(data, at, end)
    name.start = <uint16_t>at
    at = skip_class(data, at, end, CHAR_TOKEN)
    name.end = <uint16_t>at
    if name.start == name.end or at == end or not is_blank(data[at]):
        return 0
    out.transport = transport_of(data, name)
    at = skip_blank(data, at, end)
    out.host.start = <uint16_t>at
    at = skip_host(data, at, end)
    if at == 0:
        return 0
    out.host.end = <uint16_t>at
    out.whole = make_slice(start, at)
    at = skip_blank(data, at, end)
    if at < end and data[at] == c':':
        at = skip_port(data, skip_blank(data, at + 1, end), end, &out.port)
        if at == 0:
            return 0
        out.whole.end = <uint16_t>at
        at = skip_blank(data, at, end)
    while at < end and data[at] == c';':
        at = take_parameter(data, at + 1, end, 0, &name, &value)
        if at == 0:
            return 0
        out.whole.end = value.end
        via_parameter(data, name, value, out)
    if at < end and data[at] == c'(':
        at = skip_comment(data, at, end)
        if at == 0:
            return 0
        at = skip_blank(data, at, end)
    return take_comma(data, at, end, &out.next)

cdef int parse_via(const uint8_t* data, Slice value, Via* out) noexcept nogil:
    return take_via(data, value.start, value.end, out)
