# The start line, and the values every hop needs.

# The first fault found is the one reported.
cdef inline void fault(Message* m, uint32_t offset, int header, int status, const char* text) noexcept nogil:
    if m.error == NULL:
        m.error = text
        m.error_offset = offset
        m.error_header = <uint8_t>header
        m.error_status = <uint16_t>status

cdef inline int find_method(const uint8_t* data, uint32_t at, uint32_t end, uint32_t readable) noexcept nogil:
    if readable - at >= 8:
        return method_id_padded(data + at, end - at)
    return method_id(data + at, end - at)

# "SIP/2.0" over 7 bytes; the version is a word without case (7.1).
cdef inline bint is_sip2(const uint8_t* at) noexcept nogil:
    if memcmp(at, b"SIP/2.0", 7) == 0:
        return 1
    return same_folded(at, <const uint8_t*>b"sip/2.0", 7)

# SIP "/" 1*DIGIT "." 1*DIGIT that is not 2.0 is another version (505); anything else is no SIP (400).
cdef inline int version_status(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    cdef uint32_t dot
    if end - at < 7 or not same_folded(data + at, <const uint8_t*>b"sip/", 4):
        return 400
    dot = scan_byte(data, at, end, c'.')
    if dot < end and parse_number(data, make_slice(at + 4, dot)) >= 0 \
            and parse_number(data, make_slice(dot + 1, end)) >= 0:
        return 505
    return 400

cdef inline void status_line(Message* m, const uint8_t* data, uint32_t end) noexcept nogil:
    cdef uint32_t at = scan_blank(data, 0, end)
    cdef long status
    m.kind = KIND_RESPONSE
    if at != 7 or not is_sip2(data):
        fault(m, 0, HDR_UNKNOWN, version_status(data, 0, at), b"status line without SIP/2.0")
        return
    if end - at < 4 or data[at] != SP:
        fault(m, at, HDR_UNKNOWN, 400, b"status code is missing")
        return
    status = parse_number(data, make_slice(at + 1, at + 4))
    at += 4
    if status < 100 or status > 699 or (at < end and data[at] != SP):
        fault(m, at - 3, HDR_UNKNOWN, 400, b"status code is not three digits from 100 to 699")
        return
    m.status = <uint16_t>status
    # The space is there even before an empty reason; some leave both out.
    m.reason = make_slice(at + 1 if at < end else at, end)

cdef inline void request_line(Message* m, const uint8_t* data, uint32_t end, uint32_t readable) noexcept nogil:
    cdef uint32_t at, start
    at = skip_class(data, 0, end, CHAR_TOKEN)
    if at == 0 or at == end or data[at] != SP:
        fault(m, at, HDR_UNKNOWN, 400, b"request line does not begin with a method and a space")
        return
    m.kind = KIND_REQUEST
    m.method_text = make_slice(0, at)
    m.method = <uint8_t>find_method(data, 0, at, readable)
    start = at = at + 1
    at = scan_blank_within(data, at, end, readable, 0)
    m.uri = make_slice(start, at)
    if at == start:
        fault(m, at, HDR_UNKNOWN, 400, b"request line with more than one space")
        return
    if data[start] == c'<' or data[at - 1] == c'>' or data[start] == c'"':
        fault(m, start, HDR_UNKNOWN, 400, b"Request-URI in brackets")
        return
    if at == end or data[at] != SP:
        fault(m, at, HDR_UNKNOWN, 400, b"request line without a version")
        return
    at += 1
    if end - at != 7 or not is_sip2(data + at):
        fault(m, at, HDR_UNKNOWN, version_status(data, at, end), b"request line does not end with SIP/2.0")
        return
    if not has_scheme(data, m.uri.start, m.uri.end):
        fault(m, start, HDR_UNKNOWN, 400, b"Request-URI without a scheme")

cdef inline void start_line(Message* m, const uint8_t* data, uint32_t end, uint32_t readable) noexcept nogil:
    if end >= 4 and (memcmp(data, b"SIP/", 4) == 0 or same_folded(data, <const uint8_t*>b"sip/", 4)):
        status_line(m, data, end)
    else:
        request_line(m, data, end, readable)

cdef inline void read_cseq(Message* m, const uint8_t* data, Slice value, uint32_t readable) noexcept nogil:
    cdef uint32_t at = value.start, end = value.end, start
    cdef uint64_t number = 0
    while at < end and is_digit(data[at]):
        number = number * 10 + (data[at] - c'0')
        if number > 0x7FFFFFFF:
            fault(m, value.start, HDR_CSEQ, 400, b"CSeq number above 2^31-1")
            return
        at += 1
    start = skip_blank(data, at, end)
    if at == value.start or start == at:
        fault(m, value.start, HDR_CSEQ, 400, b"CSeq is not a number and a method")
        return
    at = skip_class(data, start, end, CHAR_TOKEN)
    if at != end or at == start:
        fault(m, at, HDR_CSEQ, 400, b"CSeq is not a number and a method")
        return
    m.cseq = <uint32_t>number
    m.cseq_method_text = make_slice(start, at)
    m.cseq_method = <uint8_t>find_method(data, start, at, readable)
    if m.kind == KIND_RESPONSE:
        m.method = m.cseq_method
    elif m.kind == KIND_REQUEST and (m.method != m.cseq_method or m.method == METHOD_UNKNOWN and (
            slice_length(m.method_text) != at - start
            or memcmp(data + m.method_text.start, data + start, at - start) != 0)):
        # An unknown method is not understood, whatever rules of its own it has about CSeq (RFC 4475 3.1.2.18).
        fault(m, start, HDR_CSEQ, 501 if m.method == METHOD_UNKNOWN else 400, b"CSeq method is not the request's")

# Most are `<uri>`, `"name" <uri>` or `name <uri>` with at most a tag behind: 1 then, and *tag; 0 says to look closer.
cdef inline bint take_plain_party(const uint8_t* data, uint32_t at, uint32_t end, uint32_t readable,
                                  Slice* tag) noexcept nogil:
    cdef uint32_t start
    if data[at] == c'"':
        at = scan_byte_within(data, at + 1, end, readable, c'"')
        if end - at < 8 or data[at - 1] == c'\\' or data[at + 1] != SP:
            return 0
        at += 2
    else:
        while at < end and char_class[data[at]] & CHAR_TOKEN:
            at += 1
        if at < end and data[at] == SP:
            at += 1
    if end - at < 7 or memcmp(data + at, b"<sip:", 5) != 0:
        return 0
    at = scan_bracket_within(data, at + 5, end, readable, 0)
    if end - at < 6 or memcmp(data + at, b">;tag=", 6) != 0:
        return at + 1 == end and data[at] == c'>' and data[at - 1] != c':'
    start = at + 6
    at = scan_value_within(data, start, end, readable, 0)
    tag[0] = make_slice(start, at)
    return at == end and at > start and data[start - 7] != c':'

cdef inline void read_party(Message* m, const uint8_t* data, Slice value, uint32_t readable, int header,
                            Slice* tag) noexcept nogil:
    cdef NameAddr party
    if take_plain_party(data, value.start, value.end, readable, tag):
        return
    tag[0] = make_slice(0, 0)
    if not take_name_addr(data, value.start, value.end, readable, &party, tag) or party.star or party.next.end != 0:
        fault(m, value.start, header, 400, b"not an address with parameters")

cdef inline void read_numbers(Message* m, const uint8_t* data) noexcept nogil:
    cdef long number
    cdef Slice value
    if has_header(m, HDR_MAX_FORWARDS):
        value = header_value(m, HDR_MAX_FORWARDS)
        number = parse_number(data, value)
        if number < 0 or number > 255:
            fault(m, value.start, HDR_MAX_FORWARDS, 400, b"Max-Forwards is not a number from 0 to 255")
        else:
            m.max_forwards = <int16_t>number
    if has_header(m, HDR_CONTENT_LENGTH):
        value = header_value(m, HDR_CONTENT_LENGTH)
        number = parse_number(data, value)
        if number < 0 or number > 0x7FFFFFFF:
            fault(m, value.start, HDR_CONTENT_LENGTH, 400, b"Content-Length is not a number")
        else:
            m.content_length = <int32_t>number

cdef inline int missing_header(const Message* m) noexcept nogil:
    if not has_header(m, HDR_VIA):
        return HDR_VIA
    if not has_header(m, HDR_FROM):
        return HDR_FROM
    if not has_header(m, HDR_TO):
        return HDR_TO
    if not has_header(m, HDR_CALL_ID):
        return HDR_CALL_ID
    if not has_header(m, HDR_CSEQ):
        return HDR_CSEQ
    return HDR_UNKNOWN

# Everything each hop needs, once the header lines are known.
cdef inline void read_values(Message* m, const uint8_t* data, uint32_t readable) noexcept nogil:
    cdef Slice value
    cdef int missing = missing_header(m)
    m.answerable = missing == HDR_UNKNOWN and m.kind == KIND_REQUEST
    if missing != HDR_UNKNOWN:
        fault(m, m.body_gap, missing, 400, b"required header is missing")
    if has_header(m, HDR_CALL_ID):
        m.call_id = value = header_value(m, HDR_CALL_ID)
        if value.start == value.end or scan_blank_within(data, value.start, value.end, readable, 0) != value.end:
            fault(m, value.start, HDR_CALL_ID, 400, b"Call-ID is empty or has white space in it")
    if has_header(m, HDR_CSEQ):
        read_cseq(m, data, header_value(m, HDR_CSEQ), readable)
    if has_header(m, HDR_VIA):
        value = header_value(m, HDR_VIA)
        if not take_via(data, value.start, value.end, readable, &m.via):
            fault(m, value.start, HDR_VIA, 400, b"topmost Via is malformed")
    if has_header(m, HDR_FROM):
        read_party(m, data, header_value(m, HDR_FROM), readable, HDR_FROM, &m.from_tag)
    if has_header(m, HDR_TO):
        read_party(m, data, header_value(m, HDR_TO), readable, HDR_TO, &m.to_tag)
    read_numbers(m, data)
