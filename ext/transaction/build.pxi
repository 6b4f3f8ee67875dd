# The two requests made from an INVITE that was sent: the ACK for a refusal (RFC 3261 17.1.1.3) and its CANCEL (9.1).
# Both go where it went: same Request-URI, top Via alone, From, Call-ID, Route and CSeq number.

cdef inline uint32_t line_length(const Message* m, uint32_t line) noexcept nogil:
    return line_end(m, line) - m.headers[line].name


cdef inline void put_line(Writer* w, const Message* m, uint32_t line) noexcept nogil:
    put(w, m.data + m.headers[line].name, line_length(m, line))


cdef inline bint is_copied(int header, int method) noexcept nogil:
    return header == HDR_ROUTE or header == HDR_FROM or header == HDR_CALL_ID or header == HDR_TO and method == METHOD_CANCEL


cdef Buffer* build_from_invite(Transactions* layer, Buffer* request, int method, const Message* response) noexcept nogil:
    # NULL when memory is out, or what was sent is no INVITE.
    cdef Message invite
    cdef Writer w
    cdef Buffer* built
    cdef const char* name = b"ACK" if method == METHOD_ACK else b"CANCEL"
    cdef uint32_t i, size
    if request == NULL or parse_message(&invite, request.data, request.length, DATAGRAM) <= 0:
        return NULL
    size = slice_length(invite.uri) + slice_length(invite.via.whole) + 128
    for i in range(invite.header_count):
        if is_copied(invite.headers[i].id, method):
            size += line_length(&invite, i)
    if response != NULL:
        size += line_length(response, response.first[<int>HDR_TO])
    built = buffer_new(layer.pool, size)
    if built == NULL:
        return NULL
    writer_init(&w, built.data, built.capacity)
    put_text(&w, name)
    put_text(&w, b" ")
    put_slice(&w, invite.data, invite.uri)
    put_text(&w, b" SIP/2.0\r\nVia: ")
    put_slice(&w, invite.data, invite.via.whole)
    put_text(&w, b"\r\n")
    for i in range(invite.header_count):
        if is_copied(invite.headers[i].id, method):
            put_line(&w, &invite, i)
    if response != NULL:
        put_line(&w, response, response.first[<int>HDR_TO])
    put_text(&w, b"Max-Forwards: 70\r\nCSeq: ")
    put_number(&w, invite.cseq)
    put_text(&w, b" ")
    put_text(&w, name)
    put_text(&w, b"\r\nContent-Length: 0\r\n\r\n")
    built.length = <uint32_t>(w.at - w.start)
    if w.overflow:
        buffer_release(layer.pool, built)
        return NULL
    return built
