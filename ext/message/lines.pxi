# Finding the header lines: one pass over 64-byte blocks, a bit for each control character; nearly all of them are the
# CRLF of a line.
#
# A line ends at a line feed that SP or HT does not follow (7.3.1), so it is complete when one byte behind it is known.
# RFC 2543 let a bare LF or CR end a line; here it is 400. Elements that disagree on where a line, or the header section,
# ends see different headers in the same bytes, and a P-Asserted-Identity could slip past the one that must take it out.
# The lines are found all the same, so that the 400 can be built. Control characters are 400 too, but in quoted pairs.

# Headers that may stand only once and that every element reads: with two of them each could believe another one.
cdef inline uint64_t single_headers() noexcept nogil:
    return (<uint64_t>1 << HDR_CALL_ID | <uint64_t>1 << HDR_CONTENT_LENGTH | <uint64_t>1 << HDR_CSEQ
            | <uint64_t>1 << HDR_FROM | <uint64_t>1 << HDR_MAX_FORWARDS | <uint64_t>1 << HDR_TO)

# The header line [at, end) whose name or value is not as plain as most: its id, and where the value is.
cdef int take_odd_line(Message* m, const uint8_t* data, uint32_t at, uint32_t end, uint32_t* value,
                       uint32_t* value_end) noexcept nogil:
    cdef uint32_t colon = scan_byte(data, at, end, c':'), name_end = colon
    cdef int ident
    # RFC 2543 let a fold stand before the colon too.
    while name_end > at and (data[name_end - 1] == SP or data[name_end - 1] == HT or data[name_end - 1] == LF
                             or data[name_end - 1] == CR):
        name_end -= 1
    ident = header_id(data + at, name_end - at)
    if colon == end or ident == HDR_UNKNOWN and (
            name_end == at or skip_class(data, at, name_end, CHAR_TOKEN) != name_end):
        ident = HDR_UNKNOWN
        fault(m, at, HDR_UNKNOWN, 400, b"header line does not begin with a name and a colon")
    colon += colon < end
    while end > colon and is_blank(data[end - 1]):
        end -= 1
    value[0] = skip_blank(data, colon, end)
    value_end[0] = end
    return ident

# The header line [at, end) as number `index`, its CRLF left out; `readable` is how far there are bytes. `present` as it
# is with it.
cdef inline uint64_t take_line(Message* m, const uint8_t* data, uint32_t at, uint32_t end, uint32_t readable,
                               uint32_t index, uint64_t present, uint8_t folded) noexcept nogil:
    cdef uint32_t length, value = end, value_end = end, ident = HDR_UNKNOWN
    cdef Header* header = &m.headers[index]
    cdef uint64_t bit
    if readable - at >= SCAN_STEP:
        length = scan_near(data + at, c':')
        if length == SCAN_STEP and readable - at >= 2 * SCAN_STEP:
            length += scan_near(data + at + SCAN_STEP, c':')
        if length & (SCAN_STEP - 1):
            ident = header_id_padded(data + at, length)
            if ident != HDR_UNKNOWN or skip_class(data, at, at + length, CHAR_TOKEN) == at + length:
                value = at + length + 2
    # "Name: value": a good name, its colon, one space, and no white space around the value.
    if value >= end or data[value - 1] != SP or data[value] <= SP or data[end - 1] <= SP:
        ident = take_odd_line(m, data, at, end, &value, &value_end)
    header.name = <uint16_t>at
    header.value = <uint16_t>value
    header.end = <uint16_t>value_end
    header.id = <uint8_t>ident
    header.folded = folded
    bit = <uint64_t>1 << ident
    if not present & bit:
        m.first[ident] = <uint8_t>index
    elif bit & single_headers():
        fault(m, at, ident, 400, b"header may stand only once")
    return present | bit

# A control character that is not the CR of a CRLF, nor LF, HT or in a quoted pair.
cdef void check_control(Message* m, const uint8_t* data, uint32_t at, uint32_t limit) noexcept nogil:
    if data[at] == CR:
        if at + 1 < limit:
            fault(m, at, HDR_UNKNOWN, 400, b"CR without LF")
    elif data[at] != HT and (at == 0 or data[at - 1] != c'\\'):
        fault(m, at, HDR_UNKNOWN, 400, b"control character")

# Find the header lines of [0, limit). The offset of the empty line's end, or 0 if it is not there yet. -1: too many.
cdef inline int take_lines(Message* m, const uint8_t* data, uint32_t limit) noexcept nogil:
    cdef uint32_t block = 0, line = 0, end, next, count = 0
    cdef uint64_t controls, present = 0
    cdef uint8_t folded = 0
    cdef int found = 0
    while block < limit:
        if limit - block >= SCAN_BLOCK:
            controls = scan_controls(data + block)
        else:
            controls = scan_controls_tail(data + block, limit - block)
        while controls:
            end = block + scan_first(controls)
            controls &= controls - 1
            next = end + 1
            if data[end] == CR and next < limit and data[next] == LF:
                next += 1
                controls &= controls - 1
            elif data[end] == LF:
                if end and data[end - 1] == CR:
                    continue                 # the line ended with the last byte of the block before
                fault(m, end, HDR_UNKNOWN, 400, b"LF without CR")
            else:
                check_control(m, data, end, limit)
                continue
            if end == line:
                m.body_gap = <uint16_t>line
                m.body = <uint16_t>next
                found = <int>next
                block = limit
                break
            if next == limit:
                break
            if line == 0:
                start_line(m, data, end, limit)
                line = next
                continue
            if data[next] == SP or data[next] == HT:
                folded = 1
                continue
            if count == MAX_HEADERS:
                fault(m, line, HDR_UNKNOWN, 400, b"more than 256 header lines")
                found = -1
                block = limit
                break
            present = take_line(m, data, line, end, limit, count, present, folded)
            count += 1
            folded = 0
            line = next
        block += SCAN_BLOCK
    m.present = present
    m.header_count = <uint16_t>count
    m.headers[count].name = <uint16_t>line
    return found

cdef int parse_message(Message* m, const uint8_t* data, uint32_t length, int framing) noexcept nogil:
    cdef uint32_t skipped = 0, limit, left
    cdef int end
    memset(m, 0, <size_t>(<uint8_t*>m.headers - <uint8_t*>m))
    m.max_forwards = -1
    m.content_length = -1
    while skipped < length and (data[skipped] == CR or data[skipped] == LF):
        skipped += 1
    data += skipped
    length -= skipped
    limit = length if length < MAX_MESSAGE else MAX_MESSAGE
    m.data = data
    m.size = limit
    end = take_lines(m, data, limit)
    if end == 0:
        if limit == MAX_MESSAGE:
            fault(m, limit, HDR_UNKNOWN, 513, b"header section above 65507 bytes")
        m.body_gap = m.body = m.headers[m.header_count].name
        return NEED_MORE if m.error == NULL else MALFORMED
    if end < 0:
        m.body_gap = m.body = m.headers[m.header_count].name
        read_values(m, data, limit)
        return MALFORMED
    read_values(m, data, limit)
    left = length - m.body
    if m.content_length >= 0:
        if <uint32_t>m.content_length > left:
            if framing == DATAGRAM:
                fault(m, m.body, HDR_CONTENT_LENGTH, 400, b"body shorter than Content-Length")
            elif <uint32_t>m.content_length > <uint32_t>(MAX_MESSAGE - m.body):
                fault(m, m.body, HDR_CONTENT_LENGTH, 413, b"Content-Length above what a message may have")
            elif m.error == NULL:
                return NEED_MORE
        else:
            left = <uint32_t>m.content_length
    elif framing == STREAM:
        fault(m, m.body_gap, HDR_CONTENT_LENGTH, 400, b"no Content-Length on a stream")
    if left > <uint32_t>(MAX_MESSAGE - m.body):
        fault(m, m.body, HDR_UNKNOWN, 513, b"message above 65507 bytes")
    if m.error != NULL:
        return MALFORMED
    m.size = m.body + left
    return <int>(skipped + m.size)

# "call-id" as name_word reads it.
cdef inline uint64_t call_id_word() noexcept nogil:
    return 0x64692D6C6C6163

# Is this the name of a Call-ID line: "Call-ID" or "i", white space, colon?  Where its value may begin, or 0.
cdef inline uint32_t call_id_value(const uint8_t* data, uint32_t at, uint32_t stop) noexcept nogil:
    if (data[at] | 0x20) == c'i':
        at += 1
    elif stop - at > 7 and name_short(name_fold(name_word(data + at)), 7) == call_id_word():
        at += 7
    else:
        return 0
    while at < stop and is_blank(data[at]):
        at += 1
    return at + 1 if at < stop and data[at] == c':' else 0

cdef int find_call_id(const uint8_t* data, uint32_t length, Slice* call_id) noexcept nogil:
    cdef uint32_t block = 0, line = 0, at, value, skipped = 0, limit, lines = 0
    cdef uint64_t feeds
    cdef bint started = 0
    call_id[0] = make_slice(0, 0)
    while skipped < length and (data[skipped] == CR or data[skipped] == LF):
        skipped += 1
    limit = length if length - skipped < MAX_MESSAGE else skipped + MAX_MESSAGE
    block = line = skipped
    while block < limit:
        if limit - block >= SCAN_BLOCK:
            feeds = scan_lines(data + block)
        else:
            feeds = scan_lines_tail(data + block, limit - block)
        while feeds:
            at = block + scan_first(feeds)
            feeds &= feeds - 1
            if at + 1 == limit or (at - line < 2 and (at == line or data[line] == CR)):
                return 0
            if not started:
                started = 1
            elif data[at + 1] == SP or data[at + 1] == HT:
                continue
            else:
                if lines == MAX_HEADERS:
                    return 0
                lines += 1
                value = call_id_value(data, line, at)
                if value:
                    while at > value and is_blank(data[at - 1]):
                        at -= 1
                    value = skip_blank(data, value, at)
                    call_id[0] = make_slice(value, at)
                    return at > value
            line = at + 1
        block += SCAN_BLOCK
    return 0

# Behind the next comma of [at, end) that is in no quotes and no brackets, or end + 1 if there is none; 0 if a quote or
# bracket does not close.
cdef inline uint32_t skip_value(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    while at < end:
        if data[at] == c'"':
            at = skip_quoted(data, at, end)
            if at == 0:
                return 0
            continue
        if data[at] == c'<':
            at = scan_byte(data, at, end, c'>')
            if at == end:
                return 0
        elif data[at] == c',':
            return at + 1
        at += 1
    return end + 1

# The same of Vias, which have no brackets but may have comments (RFC 2543 6.47).
cdef inline uint32_t skip_via(const uint8_t* data, uint32_t at, uint32_t end) noexcept nogil:
    while at < end:
        if data[at] == c'"' or data[at] == c'(':
            at = skip_quoted(data, at, end) if data[at] == c'"' else skip_comment(data, at, end)
            if at == 0:
                return 0
            continue
        at += 1
        if data[at - 1] == c',':
            return at
    return end + 1

cdef int next_value(const Message* m, int header, uint16_t* line, Slice* rest, Slice* value) noexcept nogil:
    cdef const uint8_t* data = m.data
    cdef uint32_t at, end, stop, behind, index = line[0]
    if header <= HDR_UNKNOWN or header >= HDR_COUNT or not has_header(m, header):
        return 0
    while rest.end == 0:
        # `line` is one more than the index of the line last begun.
        if index == 0:
            index = m.first[header]
        while index < m.header_count and m.headers[index].id != header:
            index += 1
        if index == m.header_count:
            line[0] = <uint16_t>index
            return 0
        if m.headers[index].value < m.headers[index].end:
            rest[0] = make_slice(m.headers[index].value, m.headers[index].end)
        index += 1
        line[0] = <uint16_t>index
    at = skip_blank(data, rest.start, rest.end)
    behind = skip_via(data, at, rest.end) if header == HDR_VIA else skip_value(data, at, rest.end)
    if behind == 0:
        return -1
    stop = behind - 1
    end = rest.end
    while stop > at and is_blank(data[stop - 1]):
        stop -= 1
    if stop == at:
        return -1
    value[0] = make_slice(at, stop)
    if behind > end:
        rest[0] = make_slice(0, 0)
    else:
        rest[0] = make_slice(behind, end)
    return 1
