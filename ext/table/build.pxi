# Messages made here: a request with our Via on top, a response from the lines of its request (RFC 3261 8.2.6).

cdef bytes safe(object text, str what):
    # A line end in a value would begin a header the caller knows nothing of.
    if not isinstance(text, str):
        raise TypeError(f"{what} is text, not {type(text).__name__}")
    cdef bytes found = (<str>text).encode("utf-8", "surrogateescape")
    if b"\r" in found or b"\n" in found or b"\0" in found:
        raise ValueError(f"{what} has a line end in it: {text!r}")
    return found


cdef bytes with_via(object message, bytes via):
    cdef bytes data = bytes(message) if isinstance(message, MessageView) else bytes(memoryview(message))
    data = data.lstrip(b"\r\n")
    cdef Py_ssize_t at = data.find(b"\r\n") + 2
    if at < 2:
        raise ParseError("message ends before its header section does", offset=len(data), status=400)
    return data[:at] + via + data[at:]


cdef MessageView parse_built(bytes built, Py_ssize_t via):
    # Errors count in what the caller gave, which had no such Via.
    try:
        return parse_view(built)
    except ParseError as error:
        line = built.find(b"\r\n") + 2
        offset = error.offset if error.offset < line else max(line, error.offset - via)
        raise ParseError(error.reason, offset=offset, status=error.status, header=error.header) from None


cdef inline void put_line(Writer* w, const Message* m, uint32_t line) noexcept nogil:
    put(w, m.data + m.headers[line].name, line_end(m, line) - m.headers[line].name)


cdef bytes build_response(const Message* m, const Flow* answer, int status, bytes reason, bytes tag, bytes more,
                          bytes body):
    cdef bytearray memory = bytearray(m.size + len(reason) + len(more) + len(body) + 512)
    cdef Writer w
    cdef uint32_t i
    cdef const Header* h
    writer_init(&w, <uint8_t*>memory, <uint32_t>len(memory))
    put(&w, b"SIP/2.0 ", 8)
    put_number(&w, status)
    put(&w, b" ", 1)
    put(&w, <const char*>reason, <uint32_t>len(reason))
    put(&w, b"\r\n", 2)
    for i in range(m.header_count):
        h = &m.headers[i]
        if h.id == HDR_VIA and i == m.first[<int>HDR_VIA]:
            put(&w, b"Via: ", 5)
            put_top_via(&w, m, answer)
            put(&w, m.data + m.via.whole.end, line_end(m, i) - m.via.whole.end)
        elif h.id == HDR_VIA or h.id == HDR_FROM or h.id == HDR_CALL_ID or h.id == HDR_CSEQ:
            put_line(&w, m, i)
        elif h.id == HDR_RECORD_ROUTE and 100 < status < 300:    # 12.1.1
            put_line(&w, m, i)
        elif h.id == HDR_TO:
            put(&w, m.data + h.name, h.end - h.name)
            if status > 100 and not m.to_tag.end:
                put(&w, b";tag=", 5)
                put(&w, <const char*>tag, <uint32_t>len(tag))
            put(&w, b"\r\n", 2)
    put(&w, <const char*>more, <uint32_t>len(more))
    put(&w, b"Content-Length: ", 16)
    put_number(&w, len(body))
    put(&w, b"\r\n\r\n", 4)
    put(&w, <const char*>body, <uint32_t>len(body))
    if w.overflow or w.at - w.start > MAX_DATAGRAM:
        raise ValueError("the response is longer than 65507 bytes")
    return bytes(memory[:w.at - w.start])


cdef bytes header_lines(object headers):
    cdef list lines = []
    for name, value in headers:
        lines += [safe(name, "a header's name"), b": ", safe(value, "a header's value"), b"\r\n"]
    return b"".join(lines)
