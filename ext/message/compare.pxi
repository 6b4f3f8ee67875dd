# URI comparison (RFC 3261 19.1.4, RFC 3966 5) and the canonical address-of-record (10.3 step 5).

cdef enum:
    ESCAPED = 256            # added to a reserved character that stood as "%HH": it is not the bare character
    MAX_COMPONENTS = 64      # parameters or headers compared one with another; beyond, URIs are equal only byte for byte

cdef inline bint is_reserved(uint8_t c) noexcept nogil:
    return (c == c';' or c == c'/' or c == c'?' or c == c':' or c == c'@' or c == c'&' or c == c'=' or c == c'+'
            or c == c'$' or c == c',')

# The character at *at, its escape undone, and *at moved behind it. Escapes were checked by parse_uri.
cdef inline uint32_t take_character(const uint8_t* data, uint32_t* at, bint fold) noexcept nogil:
    cdef uint8_t c = data[at[0]]
    if c != c'%':
        at[0] += 1
        return lower(c) if fold else c
    c = <uint8_t>(hex_value(data[at[0] + 1]) << 4 | hex_value(data[at[0] + 2]))
    at[0] += 3
    if is_reserved(c):
        return <uint32_t>ESCAPED + c
    return lower(c) if fold else c

cdef inline bint same_text(const uint8_t* a, Slice sa, const uint8_t* b, Slice sb, bint fold) noexcept nogil:
    cdef uint32_t i = sa.start, j = sb.start
    while i < sa.end and j < sb.end:
        if take_character(a, &i, fold) != take_character(b, &j, fold):
            return 0
    return i == sa.end and j == sb.end

# One that must be in both URIs or in neither: its default is not the same as leaving it out.
cdef inline bint is_weighty(const uint8_t* data, Slice name) noexcept nogil:
    return (is_word(data, name, b"transport", 9) or is_word(data, name, b"user", 4) or is_word(data, name, b"ttl", 3)
            or is_word(data, name, b"method", 6) or is_word(data, name, b"maddr", 5))

# Every parameter of `a` that stands in `b` too has the same value there; one that does not is not weighty.
cdef int parameters_agree(const uint8_t* a, Slice pa, const uint8_t* b, Slice pb, bint all_weighty) noexcept nogil:
    cdef Slice rest_a = pa, rest_b, name_a, value_a, name_b, value_b
    cdef bint found
    while next_parameter(a, &rest_a, &name_a, &value_a) > 0:
        found = 0
        rest_b = pb
        while not found and next_parameter(b, &rest_b, &name_b, &value_b) > 0:
            found = same_text(a, name_a, b, name_b, 1)
        if found:
            if not same_text(a, value_a, b, value_b, 1):
                return 0
        elif all_weighty or is_weighty(a, name_a):
            return 0
    return 1

# The next of the "&"-separated headers of a URI; 0 at the end.
cdef inline bint next_uri_header(const uint8_t* data, Slice* rest, Slice* header) noexcept nogil:
    cdef uint32_t stop
    if rest.start >= rest.end:
        return 0
    stop = scan_byte(data, rest.start, rest.end, c'&')
    header[0] = make_slice(rest.start, stop)
    rest.start = <uint16_t>(stop + 1 if stop < rest.end else stop)
    return 1

cdef uint32_t count_uri_header(const uint8_t* a, Slice header, const uint8_t* b, Slice headers) noexcept nogil:
    cdef Slice other
    cdef uint32_t count = 0
    while next_uri_header(b, &headers, &other):
        count += same_text(a, header, b, other, 1)
    return count

# The same headers as often, in any order.
cdef int headers_agree(const uint8_t* a, Slice ha, const uint8_t* b, Slice hb) noexcept nogil:
    cdef Slice rest = ha, header
    cdef uint32_t here = 0, there = 0
    while next_uri_header(a, &rest, &header):
        here += 1
        if count_uri_header(a, header, a, ha) != count_uri_header(a, header, b, hb):
            return 0
    rest = hb
    while next_uri_header(b, &rest, &header):
        there += 1
    return here == there

cdef inline uint32_t count_byte(const uint8_t* data, Slice s, uint8_t byte) noexcept nogil:
    cdef uint32_t at, count = 0
    for at in range(s.start, s.end):
        count += data[at] == byte
    return count

# The numbers without visual separators, then all parameters both ways.
cdef int tel_equal(const uint8_t* a, const Uri* ua, const uint8_t* b, const Uri* ub) noexcept nogil:
    cdef uint32_t i = ua.user.start, j = ub.user.start
    while True:
        while i < ua.user.end and is_separator(a[i]):
            i += 1
        while j < ub.user.end and is_separator(b[j]):
            j += 1
        if i == ua.user.end or j == ub.user.end:
            break
        if lower(a[i]) != lower(b[j]):
            return 0
        i += 1
        j += 1
    if i != ua.user.end or j != ub.user.end:
        return 0
    return (parameters_agree(a, ua.parameters, b, ub.parameters, 1)
            and parameters_agree(b, ub.parameters, a, ua.parameters, 1))

cdef inline bint is_separator(uint8_t c) noexcept nogil:
    return c == c'-' or c == c'.' or c == c'(' or c == c')'

cdef inline bint is_absent(Slice s) noexcept nogil:
    return s.end == 0

cdef int uri_equal(const uint8_t* a, uint32_t a_length, const uint8_t* b, uint32_t b_length) noexcept nogil:
    cdef Uri ua, ub
    if a_length > 0xFFFF or b_length > 0xFFFF:
        return 0
    if not parse_uri(a, make_slice(0, a_length), &ua) or not parse_uri(b, make_slice(0, b_length), &ub):
        return 0
    if a_length == b_length and memcmp(a, b, a_length) == 0:
        return 1
    if ua.scheme != ub.scheme or not same_text(a, ua.scheme_text, b, ub.scheme_text, 1):
        return 0
    if (count_byte(a, ua.parameters, c';') >= MAX_COMPONENTS or count_byte(b, ub.parameters, c';') >= MAX_COMPONENTS
            or count_byte(a, ua.headers, c'&') >= MAX_COMPONENTS or count_byte(b, ub.headers, c'&') >= MAX_COMPONENTS):
        return 0
    if ua.scheme == SCHEME_TEL:
        return tel_equal(a, &ua, b, &ub)
    if ua.scheme == SCHEME_UNKNOWN:
        return (a_length == b_length
                and memcmp(a + ua.scheme_text.end, b + ub.scheme_text.end, a_length - ua.scheme_text.end) == 0)
    if is_absent(ua.user) != is_absent(ub.user) or is_absent(ua.password) != is_absent(ub.password):
        return 0
    if not same_text(a, ua.user, b, ub.user, 0) or not same_text(a, ua.password, b, ub.password, 0):
        return 0
    if ua.port != ub.port or slice_length(ua.host) != slice_length(ub.host):
        return 0
    if not same_folded(a + ua.host.start, b + ub.host.start, slice_length(ua.host)):
        return 0
    return (parameters_agree(a, ua.parameters, b, ub.parameters, 0)
            and parameters_agree(b, ub.parameters, a, ua.parameters, 0)
            and headers_agree(a, ua.headers, b, ub.headers))

cdef uint32_t canonical_aor(const uint8_t* data, const Uri* uri, uint8_t* out, uint32_t capacity) noexcept nogil:
    cdef const char* digits = b"0123456789ABCDEF"
    cdef uint32_t at, length = 0
    cdef uint8_t c
    if (uri.scheme != SCHEME_SIP and uri.scheme != SCHEME_SIPS) or uri.host.start == uri.host.end:
        return 0
    at = uri.user.start
    while at < uri.user.end:
        c = data[at]
        if c == c'%':
            c = <uint8_t>(hex_value(data[at + 1]) << 4 | hex_value(data[at + 2]))
            at += 3
            if not is_unreserved(c):
                if capacity - length < 3:
                    return 0
                out[length] = c'%'
                out[length + 1] = digits[c >> 4]
                out[length + 2] = digits[c & 15]
                length += 3
                continue
        else:
            at += 1
            if c == c'#':        # let in by CHAR_USER; the grammar has it escaped
                if capacity - length < 3:
                    return 0
                memcpy(out + length, b"%23", 3)
                length += 3
                continue
        if length == capacity:
            return 0
        out[length] = c
        length += 1
    if not is_absent(uri.user):
        if length == capacity:
            return 0
        out[length] = c'@'
        length += 1
    if capacity - length < slice_length(uri.host):
        return 0
    for at in range(uri.host.start, uri.host.end):
        out[length] = lower(data[at])
        length += 1
    return length

# unreserved of RFC 3261 25.1: what needs no escape anywhere. "%" has its bits in char_class but is none.
cdef inline bint is_unreserved(uint8_t c) noexcept nogil:
    return (<uint8_t>((c | 0x20) - c'a') < 26 or is_digit(c) or c == c'-' or c == c'_' or c == c'.' or c == c'!'
            or c == c'~' or c == c'*' or c == c'\'' or c == c'(' or c == c')')
