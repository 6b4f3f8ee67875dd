# name-addr and addr-spec with their parameters (RFC 3261 20.10, 25.1).

# scheme ":" and at least one byte behind it.
cdef inline bint has_scheme(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    if end - at > 4 and memcmp(data + at, b"sip:", 4) == 0:
        return 1
    if at >= end or <uint8_t>((data[at] | 0x20) - c'a') >= 26:
        return 0
    while at < end and (<uint8_t>((data[at] | 0x20) - c'a') < 26 or is_digit(data[at]) or data[at] == c'+'
                        or data[at] == c'-' or data[at] == c'.'):
        at += 1
    return at + 1 < end and data[at] == c':'

# What may follow a value: nothing, or a comma and more.
cdef inline int take_comma(const uint8_t* data, uint32_t at, uint32_t end, Slice* next) noexcept nogil:
    if at == end:
        return 1
    if data[at] != c',':
        return 0
    at = skip_blank(data, at + 1, end)
    next[0] = make_slice(at, end)
    return at < end

# Without brackets a comma, a semicolon or a question mark is not the URI's. Behind the URI, or 0.
cdef inline uint32_t skip_addr_spec(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    while at < end and data[at] > SP and data[at] != c';' and data[at] != c',':
        if data[at] == c'?' or data[at] == c'<' or data[at] == c'>' or data[at] == c'"':
            return 0
        at += 1
    return at

# As parse_name_addr over [at, end); *tag, if asked for, is the first "tag" parameter.
cdef inline int take_name_addr(const uint8_t* data, uint32_t at, uint32_t end, uint32_t readable, NameAddr* out,
                               Slice* tag) noexcept nogil:
    cdef uint32_t start, stop
    cdef Slice name, value
    memset(out, 0, sizeof(NameAddr))
    start = at = skip_blank(data, at, end)
    if at == end:
        return 0
    if data[at] == c'"':
        stop = skip_quoted(data, at, end)
        if stop == 0:
            return 0
        at = skip_blank(data, stop, end)
        if at == end or data[at] != c'<':
            return 0
        out.display = make_slice(start, stop)
    elif data[at] != c'<':
        # Tokens and white space (and UTF-8, which people leave unquoted) are a display name if "<" comes next.
        while at < end and (char_class[data[at]] & (CHAR_TOKEN | CHAR_BLANK) or data[at] >= 0x80):
            at += 1
        if at < end and data[at] == c'<':
            stop = at
            while is_blank(data[stop - 1]):
                stop -= 1
            out.display = make_slice(start, stop)
    if at < end and data[at] == c'<':
        stop = scan_bracket_within(data, at + 1, end, readable, 0)
        if stop == end or data[stop] != c'>':
            return 0
        out.bracketed = 1
        out.uri = make_slice(at + 1, stop)
        stop += 1
    elif data[start] == c'*' and (start + 1 == end or char_class[data[start + 1]] & CHAR_BLANK
                                  or data[start + 1] == c';' or data[start + 1] == c','):
        out.star = 1
        stop = start + 1
    else:
        stop = skip_addr_spec(data, start, end)
        if stop == 0:
            return 0
        out.uri = make_slice(start, stop)
    if not out.star and not has_scheme(data, out.uri.start, out.uri.end):
        return 0
    at = stop
    if at < end and is_blank(data[at]):
        at = skip_blank(data, at, end)
    if at < end and data[at] == c';':
        out.parameters.start = <uint16_t>(at + 1)
        if tag != NULL and end - at > 5 and memcmp(data + at, b";tag=", 5) == 0:
            at = take_parameter_value(data, at + 5, end, readable, tag)
            if at == 0:
                return 0
            stop = tag.end
        while at < end and data[at] == c';':
            at = take_parameter(data, at + 1, end, readable, &name, &value)
            if at == 0:
                return 0
            stop = value.end
            if tag != NULL and tag.end == 0 and is_word(data, name, b"tag", 3):
                tag[0] = value
        out.parameters.end = <uint16_t>stop
    out.whole = make_slice(start, stop)
    return take_comma(data, at, end, &out.next)

cdef int parse_name_addr(const uint8_t* data, Slice value, NameAddr* out) noexcept nogil:
    return take_name_addr(data, value.start, value.end, value.end, out, NULL)
