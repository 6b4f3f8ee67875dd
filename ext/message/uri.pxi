# SIP, SIPS and tel URIs (RFC 3261 19.1.1, RFC 3966).

# All of [at, end) in the class, and every "%" an escape.
cdef inline bint all_class(const uint8_t* data, uint32_t at, uint32_t end, uint8_t classes) noexcept nogil:
    while at < end:
        if not char_class[data[at]] & classes:
            return 0
        if data[at] == c'%':
            if end - at < 3 or hex_value(data[at + 1]) < 0 or hex_value(data[at + 2]) < 0:
                return 0
            at += 3
        else:
            at += 1
    return 1

cdef inline int uri_parameters(const uint8_t* data, Uri* out) noexcept nogil:
    cdef Slice rest = out.parameters, name, value
    cdef int more
    while True:
        more = next_parameter(data, &rest, &name, &value)
        if more <= 0:
            return more == 0
        if not all_class(data, name.start, name.end, CHAR_URI_PARAM):
            return 0
        if not all_class(data, value.start, value.end, CHAR_URI_PARAM):
            return 0
        if is_word(data, name, b"lr", 2):
            out.lr = 1
        elif is_word(data, name, b"transport", 9):
            out.transport = transport_of(data, value)

cdef inline int tel_number(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    cdef uint8_t c
    cdef uint32_t start = at
    while at < end:
        c = data[at]
        if hex_value(c) < 0 and c != c'+' and c != c'-' and c != c'.' and c != c'(' and c != c')' and c != c'*' \
                and c != c'#':
            return 0
        at += 1
    return at > start

cdef int parse_uri(const uint8_t* data, Slice text, Uri* out) noexcept nogil:
    cdef uint32_t at = text.start, end = text.end, stop, colon
    memset(out, 0, sizeof(Uri))
    out.whole = text
    if not has_scheme(data, at, end) or scan_blank(data, at, end) != end:
        return 0
    at = scan_byte(data, at, end, c':')
    out.scheme_text = make_slice(text.start, at)
    at += 1
    if is_word(data, out.scheme_text, b"sip", 3):
        out.scheme = SCHEME_SIP
    elif is_word(data, out.scheme_text, b"sips", 4):
        out.scheme = SCHEME_SIPS
    elif is_word(data, out.scheme_text, b"tel", 3):
        out.scheme = SCHEME_TEL
        stop = scan_byte(data, at, end, c';')
        out.user = make_slice(at, stop)
        if not tel_number(data, at, stop):
            return 0
        if stop < end:
            out.parameters = make_slice(stop + 1, end)
            return stop + 1 < end and uri_parameters(data, out)
        return 1
    else:
        return 1
    # "@" stands nowhere in a SIP URI but behind the user part.
    stop = scan_byte(data, at, end, c'@')
    if stop < end:
        colon = scan_byte(data, at, stop, c':')
        out.user = make_slice(at, colon)
        if colon == at or not all_class(data, at, colon, CHAR_USER):
            return 0
        if colon < stop:
            out.password = make_slice(colon + 1, stop)
            if not all_class(data, colon + 1, stop, CHAR_PASSWORD):
                return 0
        at = stop + 1
    stop = skip_host(data, at, end)
    if stop == 0:
        return 0
    out.host = make_slice(at, stop)
    at = stop
    if at < end and data[at] == c':':
        at = skip_port(data, at + 1, end, &out.port)
        if at == 0:
            return 0
    if at < end and data[at] == c';':
        stop = scan_byte(data, at, end, c'?')
        out.parameters = make_slice(at + 1, stop)
        if at + 1 == stop or not uri_parameters(data, out):
            return 0
        at = stop
    if at < end and data[at] == c'?':
        out.headers = make_slice(at + 1, end)
        return at + 1 < end and all_class(data, at + 1, end, CHAR_HEADERS)
    return at == end
