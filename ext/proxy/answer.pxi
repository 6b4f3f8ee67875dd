# Responses made here (RFC 3261 8.2.6): from the request's own lines, without a transaction wherever that will do.

cdef const char* NOT_ALLOWED = b"Warning: 380 fastsip \"SIPS Not Allowed\"\r\n"       # RFC 5630 5.3


cdef inline bint bytes_equal(const uint8_t* a, uint32_t a_length, const uint8_t* b, uint32_t b_length) noexcept nogil:
    return a_length == b_length and memcmp(a, b, a_length) == 0


cdef inline bint is_sips(const uint8_t* uri) noexcept nogil:
    # By its scheme alone; five bytes can be read there.
    cdef uint32_t word
    memcpy(&word, uri, 4)
    return word | 0x20202020 == 0x73706973 and uri[4] == c':'    # "sips", in either case


cdef bint text_iequal(Text text, const uint8_t* data, uint32_t length) noexcept nogil:
    # `text` is lower case already.
    cdef uint32_t i
    cdef uint8_t c
    if text.length != length:
        return False
    for i in range(length):
        c = data[i]
        if 65 <= c <= 90:
            c += 32
        if c != text.data[i]:
            return False
    return True


cdef inline uint64_t call_hash(const Proxy* p, const Message* m) noexcept nogil:
    return siphash(&p.control.owner_key, m.data + m.call_id.start, slice_length(m.call_id))


cdef uint64_t answer_tag(const Proxy* p, const Message* m, uint64_t call) noexcept nogil:
    # The same for every answer to the same request, with no memory of it (8.2.7), so that the ACK of an answer that
    # had no transaction is known by its To tag.
    cdef HashState h
    siphash_start(&h, &p.control.branch_key)
    siphash_word(&h, call)
    siphash_word(&h, m.cseq)
    siphash_add(&h, m.data + m.from_tag.start, slice_length(m.from_tag))
    return siphash_finish(&h)


cdef bint is_answer_tag(const Proxy* p, const Message* m, uint64_t call) noexcept nogil:
    cdef Writer w
    cdef uint8_t text[18]
    if slice_length(m.to_tag) != 18:
        return False
    writer_init(&w, text, 18)
    put(&w, b"fs", 2)
    put_hex(&w, answer_tag(p, m, call), 16)
    return memcmp(text, m.data + m.to_tag.start, 18) == 0


cdef void response_begin(Proxy* p, Writer* w, const Message* m, const Flow* answer, int status) noexcept nogil:
    status_line(p, w, status, NULL, 0)
    put_own_lines(p, w, m, answer, status > 100)


cdef void status_line(Proxy* p, Writer* w, int status, const uint8_t* reason, uint32_t reason_length) noexcept nogil:
    # With the RFC's phrase where there is none.
    writer_init(w, p.scratch, SCRATCH_SIZE)
    put(w, b"SIP/2.0 ", 8)
    put_number(w, status)
    put(w, b" ", 1)
    if reason_length:
        put(w, reason, reason_length)
    else:
        put_text(w, reason_phrase(status))
    put(w, b"\r\n", 2)


cdef void put_own_lines(Proxy* p, Writer* w, const Message* m, const Flow* answer, bint tagged) noexcept nogil:
    # What every response repeats of its request: Via lines, From, To with a tag (but in a 100), Call-ID, CSeq, as far as
    # these are there.
    cdef uint32_t i
    cdef const Header* h
    for i in range(m.header_count):
        h = &m.headers[i]
        if h.id == HDR_VIA:
            put(w, b"Via: ", 5)
            if i == m.first[<int>HDR_VIA]:
                put_top_via(w, m, answer)
                put(w, m.data + m.via.whole.end, h.end - m.via.whole.end)
            else:
                put(w, m.data + h.value, h.end - h.value)
            put(w, b"\r\n", 2)
    put_header(w, m, HDR_FROM, b"From: ")
    if has_header(m, HDR_TO):
        put(w, b"To: ", 4)
        put_slice(w, m.data, header_value(m, HDR_TO))
        if tagged and not m.to_tag.end:
            put(w, b";tag=fs", 7)
            put_hex(w, answer_tag(p, m, p.call if p.call and m == p.request else call_hash(p, m)), 16)
        put(w, b"\r\n", 2)
    put_header(w, m, HDR_CALL_ID, b"Call-ID: ")
    put_header(w, m, HDR_CSEQ, b"CSeq: ")


cdef void put_header(Writer* w, const Message* m, int header, const char* name) noexcept nogil:
    if not has_header(m, header):
        return
    put_text(w, name)
    put_slice(w, m.data, header_value(m, header))
    put(w, b"\r\n", 2)


cdef void blank_controls(Writer* w) noexcept nogil:
    # The answer to a malformed request repeats its lines: what the parser would refuse in them is not sent on, least of
    # all a CR or LF alone, which somebody else may take for a line's end.
    cdef uint8_t* at = w.start
    while at < w.at:
        if at[0] == c'\r' and at + 1 < w.at and at[1] == c'\n':
            at += 1
        elif at[0] < c' ' and at[0] != c'\t':
            at[0] = c' '
        at += 1


cdef void put_timestamp(Writer* w, const Message* m) noexcept nogil:
    # A 100 brings the client's Timestamp back, so that it can tell the time to the next hop (8.2.6.1).
    cdef const Header* h
    cdef Slice name
    cdef uint32_t i
    for i in range(m.header_count):
        h = &m.headers[i]
        name.start, name.end = h.name, h.name + 9
        if (h.id == HDR_UNKNOWN and h.value > name.end and is_name(m.data, name, b"timestamp", 9)
                and (m.data[name.end] == c':' or m.data[name.end] == c' ' or m.data[name.end] == c'\t')):
            put_text(w, b"Timestamp: ")
            put(w, m.data + h.value, h.end - h.value)
            put(w, b"\r\n", 2)
            return


cdef Buffer* response_end(Proxy* p, Writer* w) noexcept nogil:
    if p.settings.server.length:
        put(w, b"Server: ", 8)
        put(w, p.settings.server.data, p.settings.server.length)
        put(w, b"\r\n", 2)
    put(w, b"Content-Length: 0\r\n\r\n", 21)
    if w.overflow:
        return NULL
    return buffer_copy(p.pool, w.start, <uint32_t>(w.at - w.start))


cdef void send_buffer(Proxy* p, const Flow* flow, Buffer* buffer) noexcept nogil:
    # Send and let go, for what nobody will ask for again.
    if buffer == NULL:
        return
    if transport_send(p.transport, flow, buffer) == 0:
        count_add(p.block, COUNT_responses_out, 1)
    buffer_release(p.pool, buffer)


cdef void count_final(Proxy* p, const Message* m, int status) noexcept nogil:
    # A call is an INVITE outside a dialog.
    if m.method == METHOD_INVITE and not m.to_tag.end:
        count_call(p, status)


cdef void count_call(Proxy* p, int status) noexcept nogil:
    if status < 300:
        count_add(p.block, COUNT_calls_set_up, 1)
    elif status == 401 or status == 407:
        pass
    elif status == 487:
        count_add(p.block, COUNT_calls_cancelled, 1)
    elif status < 400:
        count_add(p.block, COUNT_calls_failed_3xx, 1)
    elif status < 500:
        count_add(p.block, COUNT_calls_failed_4xx, 1)
    elif status < 600:
        count_add(p.block, COUNT_calls_failed_5xx, 1)
    else:
        count_add(p.block, COUNT_calls_failed_6xx, 1)


cdef void answer(Proxy* p, const Message* m, const Flow* flow, int status) noexcept nogil:
    # A final answer without a transaction: the same request again gets the same answer again. Never to an ACK.
    cdef Writer w
    if m.method == METHOD_ACK:
        return
    count_final(p, m, status)
    response_begin(p, &w, m, flow, status)
    if m.error != NULL:
        blank_controls(&w)
    if status == 405 or status == 501:
        put_text(&w, b"Allow: OPTIONS, REGISTER\r\n")
    elif status == 503:
        put_text(&w, b"Retry-After: 5\r\n")
    elif status == 423:
        put_text(&w, b"Min-Expires: ")
        put_number(&w, p.settings.min_expires)
        put(&w, b"\r\n", 2)
    send_buffer(p, flow, response_end(p, &w))


cdef void answer_unsupported(Proxy* p, const Message* m, const Flow* flow, int header) noexcept nogil:
    # 420 with the option tags asked for that are not supported here (8.2.2.3, 16.3 step 5); a Path nobody asked for is
    # refused by its own (RFC 3327 5.3).
    cdef Writer w
    cdef uint32_t i
    count_final(p, m, 420)
    response_begin(p, &w, m, flow, 420)
    if header == HDR_PATH:
        put_text(&w, b"Unsupported: path\r\n")
    elif m.method == METHOD_REGISTER and header == HDR_REQUIRE:
        put_unsupported(&w, m)
    for i in range(m.header_count if not (header == HDR_PATH or m.method == METHOD_REGISTER) else 0):
        if m.headers[i].id == header:
            put_text(&w, b"Unsupported: ")
            put(&w, m.data + m.headers[i].value, m.headers[i].end - m.headers[i].value)
            put(&w, b"\r\n", 2)
    send_buffer(p, flow, response_end(p, &w))


cdef void answer_options(Proxy* p, const Message* m, const Flow* flow) noexcept nogil:
    # 11.2, for the server itself.
    cdef Writer w
    response_begin(p, &w, m, flow, 200)
    put_text(&w, b"Allow: OPTIONS, REGISTER\r\nAccept: application/sdp\r\n")
    send_buffer(p, flow, response_end(p, &w))
