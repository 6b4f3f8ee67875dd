# Digest credentials (RFC 3261 25.1 credentials, RFC 7616 3.4).

# Where the value of a known field goes, NULL for others.
cdef inline Slice* credentials_field(const uint8_t* data, Slice name, Credentials* out) noexcept nogil:
    if is_word(data, name, b"username", 8):
        return &out.username
    if is_word(data, name, b"realm", 5):
        return &out.realm
    if is_word(data, name, b"nonce", 5):
        return &out.nonce
    if is_word(data, name, b"uri", 3):
        return &out.uri
    if is_word(data, name, b"response", 8):
        return &out.response
    if is_word(data, name, b"algorithm", 9):
        return &out.algorithm
    if is_word(data, name, b"cnonce", 6):
        return &out.cnonce
    if is_word(data, name, b"opaque", 6):
        return &out.opaque
    if is_word(data, name, b"qop", 3):
        return &out.qop
    if is_word(data, name, b"nc", 2):
        return &out.nc
    return NULL

# A field that stands twice is bad syntax: who checks one and hashes the other can be fooled.
cdef int parse_credentials(const uint8_t* data, Slice value, Credentials* out) noexcept nogil:
    cdef uint32_t at, end = value.end, start
    cdef Slice name, text
    cdef Slice* field
    memset(out, 0, sizeof(Credentials))
    start = at = skip_blank(data, value.start, end)
    at = skip_class(data, at, end, CHAR_TOKEN)
    if at == start or (at < end and not is_blank(data[at])):
        return 0
    if not is_word(data, make_slice(start, at), b"digest", 6):
        return 1
    out.digest = 1
    while True:
        start = at = skip_blank(data, at, end)
        at = skip_class(data, at, end, CHAR_TOKEN)
        name = make_slice(start, at)
        at = skip_blank(data, at, end)
        if start == name.end or at == end or data[at] != c'=':
            return 0
        start = at = skip_blank(data, at + 1, end)
        if at < end and data[at] == c'"':
            at = skip_quoted(data, at, end)
            if at == 0:
                return 0
            text = make_slice(start + 1, at - 1)
        else:
            at = skip_class(data, at, end, CHAR_VALUE)
            if at == start:
                return 0
            text = make_slice(start, at)
        field = credentials_field(data, name, out)
        if field != NULL:
            if field.end != 0:
                return 0
            field[0] = text
        at = skip_blank(data, at, end)
        if at == end:
            return 1
        if data[at] != c',':
            return 0
        at += 1
