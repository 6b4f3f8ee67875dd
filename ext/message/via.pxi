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

# protocol-name "/" protocol-version "/" transport and the white space behind it: the host's offset, or 0.
cdef inline uint32_t take_protocol(const uint8_t* data, uint32_t at, uint32_t end, uint8_t* transport) noexcept nogil:
    cdef uint32_t start, part
    if end - at > 12 and memcmp(data + at, b"SIP/2.0/UDP ", 12) == 0:
        transport[0] = TRANSPORT_UDP
        return skip_blank(data, at + 12, end)
    for part in range(2):
        start = at
        at = skip_class(data, at, end, CHAR_TOKEN)
        if at == start:
            return 0
        at = skip_blank(data, at, end)
        if at == end or data[at] != c'/':
            return 0
        at = skip_blank(data, at + 1, end)
    start = at
    at = skip_class(data, at, end, CHAR_TOKEN)
    if at == start or at == end or not is_blank(data[at]):
        return 0
    transport[0] = transport_of(data, make_slice(start, at))
    return skip_blank(data, at, end)

cdef inline int take_via(const uint8_t* data, uint32_t at, uint32_t end, uint32_t readable, Via* out) noexcept nogil:
    cdef uint32_t start, stop
    cdef Slice name, value
    memset(out, 0, sizeof(Via))
    start = at = skip_blank(data, at, end)
    at = take_protocol(data, at, end, &out.transport)
    if at == 0:
        return 0
    stop = skip_host(data, at, end)
    if stop == 0:
        return 0
    out.host = make_slice(at, stop)
    at = stop
    if at < end and is_blank(data[at]):
        at = skip_blank(data, at, end)
    if at < end and data[at] == c':':
        stop = at = skip_port(data, skip_blank(data, at + 1, end), end, &out.port)
        if at == 0:
            return 0
        if at < end and is_blank(data[at]):
            at = skip_blank(data, at, end)
    if end - at > 8 and memcmp(data + at, b";branch=", 8) == 0:
        at = take_parameter_value(data, at + 8, end, readable, &out.branch)
        if at == 0:
            return 0
        stop = out.branch.end
    while at < end and data[at] == c';':
        at = take_parameter(data, at + 1, end, readable, &name, &value)
        if at == 0:
            return 0
        stop = value.end
        via_parameter(data, name, value, out)
    out.whole = make_slice(start, stop)
    if at < end and data[at] == c'(':
        at = skip_comment(data, at, end)
        if at == 0:
            return 0
        at = skip_blank(data, at, end)
    return take_comma(data, at, end, &out.next)

cdef int parse_via(const uint8_t* data, Slice value, Via* out) noexcept nogil:
    return take_via(data, value.start, value.end, value.end, out)
