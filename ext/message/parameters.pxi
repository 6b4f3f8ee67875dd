# ";name=value" lists, of headers and of URIs.

# One parameter from behind its ";": its name and value, and the offset behind the white space that follows, or 0 for bad
# syntax. A value that is missing or empty is an empty slice with a place.
cdef inline uint32_t take_parameter(const uint8_t* data, uint32_t at, uint32_t end, uint32_t readable, Slice* name,
                                    Slice* value) noexcept nogil:
    cdef uint32_t start
    if at < end and is_blank(data[at]):
        at = skip_blank(data, at, end)
    start = at
    at = skip_class(data, at, end, CHAR_TOKEN)
    if at == start:
        return 0
    name[0] = make_slice(start, at)
    if at < end and is_blank(data[at]):
        at = skip_blank(data, at, end)
    if at == end or data[at] != c'=':
        value[0] = make_slice(name.end, name.end)
        return at
    return take_parameter_value(data, at + 1, end, readable, value)

# The value of a parameter from behind its "=".
cdef inline uint32_t take_parameter_value(const uint8_t* data, uint32_t at, uint32_t end, uint32_t readable,
                                          Slice* value) noexcept nogil:
    cdef uint32_t first = at, start
    if at < end and is_blank(data[at]):
        at = skip_blank(data, at, end)
    start = at
    if at < end and data[at] == c'"':
        at = skip_quoted(data, at, end)
        if at == 0:
            return 0
    else:
        at = scan_value_within(data, at, end, readable, 0)
        if at == start:
            start = at = first
    value[0] = make_slice(start, at)
    if at < end and is_blank(data[at]):
        at = skip_blank(data, at, end)
    return at

# As take_parameter, for a list that may be a URI's: names and values may have any character of a URI.
cdef inline uint32_t take_any_parameter(const uint8_t* data, uint32_t at, uint32_t end, Slice* name,
                                        Slice* value) noexcept nogil:
    cdef uint32_t start, stop
    start = at = skip_blank(data, at, end)
    at = skip_class(data, at, end, CHAR_TOKEN | CHAR_URI_PARAM)
    if at == start:
        return 0
    name[0] = value[0] = make_slice(start, at)
    value.start = value.end
    at = skip_blank(data, at, end)
    if at == end or data[at] != c'=':
        return at
    stop = at + 1
    start = at = skip_blank(data, stop, end)
    if at < end and data[at] == c'"':
        at = skip_quoted(data, at, end)
        if at == 0:
            return 0
    else:
        at = skip_class(data, at, end, CHAR_VALUE | CHAR_URI_PARAM)
        if at == start:
            start = at = stop
    value[0] = make_slice(start, at)
    return skip_blank(data, at, end)

cdef int next_parameter(const uint8_t* data, Slice* rest, Slice* name, Slice* value) noexcept nogil:
    cdef uint32_t at = skip_blank(data, rest.start, rest.end), end = rest.end
    if at >= end:
        rest.start = rest.end
        return 0
    at = take_any_parameter(data, at, end, name, value)
    if at == 0:
        return -1
    if at < end:
        if data[at] != c';':
            return -1
        at += 1
        if skip_blank(data, at, end) == end:
            return -1
    rest.start = <uint16_t>at
    return 1

cdef int find_parameter(const uint8_t* data, Slice parameters, const char* name, Slice* found) noexcept nogil:
    cdef uint32_t length = <uint32_t>strlen(name)
    cdef Slice rest = parameters
    cdef Slice this_name, value
    while next_parameter(data, &rest, &this_name, &value) > 0:
        if slice_length(this_name) == length and same_folded(data + this_name.start, <const uint8_t*>name, length):
            found[0] = value
            return 1
    found[0] = make_slice(0, 0)
    return 0
