# cython: language_level=3, auto_pickle=False
# A libFuzzer target: what the parser says of any bytes hangs together. tests/fuzz/build.py compiles this with the parser
# itself as one C file; nothing here needs an interpreter, and none is started.
#
# 1. Every offset lies in the message, and what the parser reads lies in the buffer (AddressSanitizer watches its ends).
# 2. What stands behind a message, and in the Message before, changes nothing.
# 3. A message cut off where the parser says it ends is the same message, for a datagram and a stream.
# 4. find_call_id finds the parser's Call-ID.
# 5. What the lazy parsers find lies within what they were given; URIs are equal to themselves, and equal either way
#    round; the canonical form of an address is its own canonical form.
# 6. With a Via on top, as a proxy forwards it, it is still that message.
include "_message.pyx"

from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort, free, malloc

cdef enum:
    ROOM = 1 << 17

cdef uint8_t behind[ROOM]            # the bytes with others behind them
cdef uint8_t forwarded[ROOM]

cdef void insist(bint holds, const char* what) noexcept nogil:
    if not holds:
        fprintf(stderr, b"fastsip: this does not hold: %s\n", what)
        abort()

cdef void within(Slice s, uint32_t begin, uint32_t end, const char* what) noexcept nogil:
    insist(s.start <= s.end and (s.end == 0 or (begin <= s.start and s.end <= end)), what)

cdef void all_within(const Slice* first, int count, uint32_t begin, uint32_t end, const char* what) noexcept nogil:
    # Slices that stand in their struct one after another.
    cdef int i
    for i in range(count):
        within(first[i], begin, end, what)

cdef bint same_bytes(const uint8_t* a, Slice sa, const uint8_t* b, Slice sb) noexcept nogil:
    return slice_length(sa) == slice_length(sb) and memcmp(a + sa.start, b + sb.start, slice_length(sa)) == 0

cdef Slice rest_of(const Message* m, uint32_t index) noexcept nogil:
    return make_slice(m.headers[index].value, m.headers[index].end)

cdef void check_offsets(const Message* m, int result, uint32_t length) noexcept nogil:
    cdef uint32_t i, size = m.size
    cdef const Header* h
    insist(size <= length and size <= MAX_MESSAGE, b"the size is no more than there is")
    insist(m.body_gap <= m.body and m.body <= size, b"gap, body and end stand in order")
    insist(m.header_count <= MAX_HEADERS, b"there are at most 256 headers")
    for i in range(m.header_count):
        h = &m.headers[i]
        insist(h.name <= h.value and h.value <= h.end and h.end <= line_end(m, i), b"a line stands in order")
        insist(h.name < line_end(m, i) and line_end(m, i) <= size, b"lines follow each other")
        insist(h.id < HDR_COUNT and has_header(m, h.id) and m.first[h.id] <= i, b"a header is known to be there")
        insist(m.headers[m.first[h.id]].id == h.id, b"the first of its name has that name")
    if m.error != NULL:
        insist(m.error_offset <= length and m.error_status >= 400, b"an error has a place and a status")
        insist(result == MALFORMED, b"what has an error is malformed")
    all_within(&m.method_text, 3, 0, size, b"the start line lies in the message")
    all_within(&m.call_id, 3, 0, size, b"Call-ID and tags lie in the message")
    within(m.cseq_method_text, 0, size, b"the method in CSeq lies in the message")
    all_within(&m.via.whole, 7, 0, size, b"a part of the Via lies in the message")
    if result <= 0:
        return
    insist(m.kind == KIND_REQUEST or m.kind == KIND_RESPONSE, b"a message is a request or a response")
    insist(m.headers[m.header_count].name == m.body_gap, b"the last line ends at the gap")
    insist(m.cseq <= 0x7FFFFFFF and m.max_forwards <= 255, b"numbers are in their range")
    insist(slice_length(m.call_id) > 0 and m.via.whole.end > m.via.whole.start, b"what must be there is there")
    insist(m.content_length < 0 or <uint32_t>m.content_length == size - m.body, b"Content-Length is the body's")
    if m.kind == KIND_REQUEST:
        insist(slice_length(m.method_text) > 0 and slice_length(m.uri) > 1, b"a request has a method and a URI")
    else:
        insist(m.status >= 100 and m.status <= 699, b"a response has a status")

cdef void check_same(const Message* a, const Message* b, const char* what) noexcept nogil:
    # All but `data` of what both say; headers field by field, for there is padding between.
    cdef uint32_t i
    insist(memcmp(&a.size, &b.size, <size_t>(<const char*>a.first - <const char*>&a.size)) == 0, what)
    insist(memcmp(&a.via, &b.via, <size_t>(<const char*>&a.error - <const char*>&a.via)) == 0, what)
    insist(a.error == b.error and a.answerable == b.answerable, what)
    for i in range(HDR_COUNT):
        insist(not has_header(a, i) or a.first[i] == b.first[i], what)
    for i in range(a.header_count):
        insist(a.headers[i].name == b.headers[i].name and a.headers[i].value == b.headers[i].value
               and a.headers[i].end == b.headers[i].end and a.headers[i].id == b.headers[i].id
               and a.headers[i].folded == b.headers[i].folded, what)
    insist(a.headers[a.header_count].name == b.headers[b.header_count].name, what)

cdef void check_uri(const uint8_t* data, Slice text) noexcept nogil:
    cdef Uri uri, again
    cdef uint8_t first[300]
    cdef uint8_t second[300]
    cdef Writer w
    cdef uint32_t length, once_more
    if not parse_uri(data, text, &uri):
        return
    all_within(&uri.whole, 7, text.start, text.end, b"a part of a URI lies in it")
    insist(uri_equal(data + text.start, slice_length(text), data + text.start, slice_length(text)),
           b"a URI is equal to itself")
    writer_init(&w, first, sizeof(first))
    put(&w, b"sip:", 4)
    length = canonical_aor(data, &uri, w.at, sizeof(first) - 4)
    if length:
        insist(parse_uri(first, make_slice(0, length + 4), &again), b"a canonical address is one")
        once_more = canonical_aor(first, &again, second, sizeof(second))
        insist(once_more == length and memcmp(first + 4, second, length) == 0,
               b"a canonical address is its own canonical form")

cdef void check_value(const uint8_t* data, Slice value) noexcept nogil:
    cdef Slice rest = value, name, found, before
    cdef Via via
    cdef NameAddr address
    cdef Credentials c
    cdef int q
    if parse_via(data, value, &via):
        all_within(&via.whole, 7, value.start, value.end, b"a part of a Via lies in it")
    check_uri(data, value)
    if parse_name_addr(data, value, &address):
        all_within(&address.whole, 5, value.start, value.end, b"a part of an address lies in it")
        if not address.star:
            check_uri(data, address.uri)
    if parse_credentials(data, value, &c):
        all_within(&c.username, 10, value.start, value.end, b"a part of credentials lies in them")
    if find_parameter(data, value, b"tag", &found):
        within(found, value.start, value.end, b"a parameter lies in its list")
    while True:
        before = rest
        if next_parameter(data, &rest, &name, &found) <= 0:
            break
        insist(rest.start > before.start and rest.end == value.end, b"a list of parameters gets shorter")
        within(name, before.start, rest.start, b"a name lies in its list")
        within(found, name.end, rest.start, b"a value lies behind its name")
    insist(parse_number(data, value) >> 32 <= 0, b"a number saturates")
    q = parse_qvalue(data, value)
    insist(-1 <= q <= 1000, b"q is at most one")
    parse_date(data, value)

cdef void check_values(const Message* m) noexcept nogil:
    cdef uint32_t i
    cdef uint16_t line
    cdef Slice rest, found, last
    cdef bint equal
    check_value(m.data, m.uri)
    for i in range(m.header_count):
        check_value(m.data, rest_of(m, i))
        if m.first[m.headers[i].id] != i:
            continue
        line = 0
        rest = last = make_slice(0, 0)
        while next_value(m, m.headers[i].id, &line, &rest, &found) > 0:
            within(found, m.headers[i].value, m.size, b"a value lies in its lines")
            insist(found.start >= last.end and found.start < found.end, b"values follow each other")
            last = found
            check_value(m.data, found)
            equal = uri_equal(m.data + m.uri.start, slice_length(m.uri), m.data + found.start, slice_length(found))
            insist(equal == uri_equal(m.data + found.start, slice_length(found), m.data + m.uri.start,
                                      slice_length(m.uri)), b"URIs are equal either way round")

cdef void check_call_id(const Message* m, int result, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef Slice found
    cdef uint32_t skipped = <uint32_t>(m.data - data)
    if length > 0xFFFF or result == NEED_MORE or m.body == m.body_gap:
        return
    find_call_id(data, length, &found)
    if slice_length(m.call_id) == 0:
        insist(slice_length(found) == 0, b"the scan finds no Call-ID where there is none")
    else:
        insist(found.start == m.call_id.start + skipped and found.end == m.call_id.end + skipped,
               b"the scan finds the parser's Call-ID")

cdef void check_forwarded(const Message* m) noexcept nogil:
    # As received, but for one Via above the topmost.
    cdef const uint8_t* data = m.data
    cdef Message again
    cdef Writer w
    cdef uint32_t at = m.headers[m.first[<int>HDR_VIA]].name
    cdef Slice rest, value
    cdef uint16_t line = 0
    writer_init(&w, forwarded, ROOM)
    put(&w, data, at)
    put_text(&w, b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKfuzz\r\n")
    put(&w, data + at, m.size - at)
    if w.at - w.start > MAX_MESSAGE or m.header_count == MAX_HEADERS:
        return
    insist(parse_message(&again, w.start, <uint32_t>(w.at - w.start), DATAGRAM) == w.at - w.start,
           b"what is forwarded is a message")
    insist(again.kind == m.kind and again.status == m.status and again.method == m.method and again.cseq == m.cseq
           and again.header_count == m.header_count + 1 and again.present == m.present
           and again.max_forwards == m.max_forwards, b"what is forwarded says the same")
    insist(same_bytes(again.data, again.call_id, data, m.call_id) and same_bytes(again.data, again.uri, data, m.uri)
           and same_bytes(again.data, again.from_tag, data, m.from_tag)
           and same_bytes(again.data, again.to_tag, data, m.to_tag), b"what is forwarded has the same values")
    insist(slice_length(again.via.branch) == 11, b"the new Via is on top")
    rest = make_slice(0, 0)
    insist(next_value(&again, HDR_VIA, &line, &rest, &value) == 1, b"the new Via is a value")
    insist(next_value(&again, HDR_VIA, &line, &rest, &value) == 1, b"the old Via is a value")
    insist(memcmp(again.data + value.start, data + m.via.whole.start, slice_length(m.via.whole)) == 0,
           b"the old Via follows")

cdef void check(const uint8_t* data, uint32_t length, int framing) noexcept nogil:
    cdef Message m, other
    cdef int result, again
    cdef uint32_t skipped
    memset(&m, 0, sizeof(m))
    memset(&other, 0xA5, sizeof(other))
    result = parse_message(&m, data, length, framing)
    skipped = <uint32_t>(m.data - data)
    insist(skipped <= length and (result <= 0 or <uint32_t>result == skipped + m.size), b"the result is an end")
    check_offsets(&m, result, length - skipped)
    check_call_id(&m, result, data, length)
    again = parse_message(&other, behind, length, framing)
    insist(again == result, b"what stands behind the bytes changes the result")
    check_same(&m, &other, b"what stands behind the bytes changes what is found")
    check_values(&m)
    if result <= 0:
        return
    again = parse_message(&other, behind, <uint32_t>result, framing)
    insist(again == result, b"the message alone is one")
    check_same(&m, &other, b"the message alone is the same")
    if m.content_length >= 0:
        again = parse_message(&other, behind, <uint32_t>result, DATAGRAM if framing == STREAM else STREAM)
        insist(again == result, b"datagram or stream makes no difference")
        check_same(&m, &other, b"datagram or stream makes no difference inside")
    if result > 1:
        again = parse_message(&other, behind, skipped + m.body - 1, framing)
        insist(again == NEED_MORE, b"without the end of its empty line it needs more")
    check_forwarded(&m)

cdef public int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) noexcept nogil:
    if size >= ROOM // 2:
        return 0
    memset(behind, c'Z', ROOM)
    memcpy(behind, data, size)
    check(data, <uint32_t>size, DATAGRAM)
    check(data, <uint32_t>size, STREAM)
    return 0
