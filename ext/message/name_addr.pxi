# name-addr and addr-spec with their parameters (RFC 3261 20.10, 25.1).

# As parse_name_addr over [at, end); *tag, if asked for, is the first "tag" parameter.
cdef inline int take_name_addr(const uint8_t* data, uint32_t at, uint32_t end, NameAddr* out, Slice* tag) noexcept nogil:
    cdef uint32_t start, stop, first, i
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
    else:
        # Tokens and white space (and UTF-8, which people leave unquoted) are a display name if "<" comes next.
        while at < end and (char_class[data[at]] & (CHAR_TOKEN | CHAR_BLANK) or data[at] >= 0x80):
            at += 1
        if at < end and data[at] == c'<':
            stop = at
            while stop > start and is_blank(data[stop - 1]):
                stop -= 1
            if stop > start:
                out.display = make_slice(start, stop)
    if at < end and data[at] == c'<':
        first = at + 1
        at = scan_byte(data, first, end, c'>')
        if at == end or at == first:
            return 0
        for i in range(first, at):
            if data[i] <= SP or data[i] == c'<' or data[i] == c'"':
                return 0
        out.bracketed = 1
        out.uri = make_slice(first, at)
        stop = at = at + 1
    elif data[start] == c'*' and skip_class(data, start, end, CHAR_TOKEN) == start + 1 and (
            at == end or data[at] == c';' or data[at] == c','):
        out.star = 1
        stop = at = start + 1
    else:
        # Without brackets a comma, a semicolon or a question mark is not the URI's.
        at = start
        while at < end and data[at] > SP and data[at] != c';' and data[at] != c',':
            if data[at] == c'?' or data[at] == c'<' or data[at] == c'>' or data[at] == c'"':
                return 0
            at += 1
        out.uri = make_slice(start, at)
        stop = at
    if not out.star and not has_scheme(data, out.uri):
        return 0
    out.whole.start = <uint16_t>start
    at = skip_blank(data, at, end)
    if at < end and data[at] == c';':
        out.parameters.start = <uint16_t>(at + 1)
        while at < end and data[at] == c';':
            at = take_parameter(data, at + 1, end, 0, &name, &value)
            if at == 0:
                return 0
            stop = value.end
            if tag != NULL and tag.end == 0 and is_word(data, name, b"tag", 3):
                tag[0] = value
        out.parameters.end = <uint16_t>stop
    out.whole.end = <uint16_t>stop
    return take_comma(data, at, end, &out.next)

# What may follow a value: nothing, or a comma and more.
cdef inline int take_comma(const uint8_t* data, uint32_t at, uint32_t end, Slice* next) noexcept nogil:
    if at == end:
        return 1
    if data[at] != c',':
        return 0
    at = skip_blank(data, at + 1, end)
    next[0] = make_slice(at, end)
    return at < end

# scheme ":" and at least one byte behind it.
cdef inline bint has_scheme(const uint8_t* data, Slice uri) noexcept nogil:
    cdef uint32_t at = uri.start, end = uri.end
    if at == end or <uint8_t>((data[at] | 0x20) - c'a') >= 26:
        return 0
    while at < end and (<uint8_t>((data[at] | 0x20) - c'a') < 26 or is_digit(data[at]) or data[at] == c'+'
                        or data[at] == c'-' or data[at] == c'.'):
        at += 1
    return at + 1 < end and data[at] == c':'

cdef int parse_name_addr(const uint8_t* data, Slice value, NameAddr* out) noexcept nogil:
    return take_name_addr(data, value.start, value.end, out, NULL)
