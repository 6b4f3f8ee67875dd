def _length(data: bytes, int framing = DATAGRAM):
    cdef Message m
    n = parse_message(&m, data, len(data), framing)
    return n, (<bytes>m.error if m.error != NULL else None), m.header_count
