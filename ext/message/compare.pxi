# Comparing URIs.
cdef int uri_equal(const uint8_t* a, uint32_t a_length, const uint8_t* b, uint32_t b_length) noexcept nogil:
    return a_length == b_length and memcmp(a, b, a_length) == 0

cdef uint32_t canonical_aor(const uint8_t* data, const Uri* uri, uint8_t* out, uint32_t capacity) noexcept nogil:
    return 0

cdef int parse_credentials(const uint8_t* data, Slice value, Credentials* out) noexcept nogil:
    return 0
