# For tests and benchmarks only: the compiled functions over a buffer that is not copied, so that it may end at a page
# that cannot be read.

cdef dict spans(const Message* m):
    return {"method_text": m.method_text, "uri": m.uri, "reason": m.reason, "call_id": m.call_id,
            "from_tag": m.from_tag, "to_tag": m.to_tag, "cseq_method_text": m.cseq_method_text}

def _examine(const uint8_t[::1] data not None, int framing=DATAGRAM):
    cdef Message m
    cdef uint32_t index
    cdef const uint8_t* start = &data[0]
    result = parse_message(&m, start, <uint32_t>data.shape[0], framing)
    found = spans(&m)
    found.update(
        result=result, skipped=m.data - start, size=m.size, body_gap=m.body_gap, body=m.body, kind=m.kind,
        method=m.method, status=m.status, present=m.present, via=m.via, cseq=m.cseq, cseq_method=m.cseq_method,
        max_forwards=m.max_forwards, content_length=m.content_length, answerable=m.answerable,
        headers=[m.headers[index] for index in range(m.header_count)],
        sentinel=m.headers[m.header_count].name,
        first={index: m.first[index] for index in range(1, HDR_COUNT) if has_header(&m, index)})
    if m.error != NULL:
        found.update(error=(<bytes>m.error).decode(), error_offset=m.error_offset, error_status=m.error_status,
                     error_header=(<bytes>header_names[m.error_header]).decode())
    return found

def _find_call_id(const uint8_t[::1] data not None):
    cdef Slice found
    result = find_call_id(&data[0], <uint32_t>data.shape[0], &found)
    return (found.start, found.end) if result else None

def _via(const uint8_t[::1] data not None):
    cdef Via out
    return out if parse_via(&data[0], make_slice(0, data.shape[0]), &out) else None

def _uri(const uint8_t[::1] data not None):
    cdef Uri out
    return out if parse_uri(&data[0], make_slice(0, data.shape[0]), &out) else None

def _name_addr(const uint8_t[::1] data not None):
    cdef NameAddr out
    return out if parse_name_addr(&data[0], make_slice(0, data.shape[0]), &out) else None

def _credentials(const uint8_t[::1] data not None):
    cdef Credentials out
    return out if parse_credentials(&data[0], make_slice(0, data.shape[0]), &out) else None

def _parameters(const uint8_t[::1] data not None):
    cdef Slice rest = make_slice(0, data.shape[0]), name, value
    found = []
    while True:
        more = next_parameter(&data[0], &rest, &name, &value)
        if more <= 0:
            return found if more == 0 else None
        found.append(((name.start, name.end), (value.start, value.end)))

def _find_parameter(const uint8_t[::1] data not None, bytes name not None):
    cdef Slice found
    if not find_parameter(&data[0], make_slice(0, data.shape[0]), name, &found):
        return None
    return found.start, found.end

def _values(const uint8_t[::1] data not None, bytes header not None):
    cdef Message m
    cdef uint16_t line = 0
    cdef Slice rest = make_slice(0, 0), value
    parse_message(&m, &data[0], <uint32_t>data.shape[0], DATAGRAM)
    found = []
    while True:
        more = next_value(&m, header_id(header, <uint32_t>len(header)), &line, &rest, &value)
        if more <= 0:
            return found if more == 0 else None
        found.append((value.start, value.end))

def _number(const uint8_t[::1] data not None):
    return parse_number(&data[0], make_slice(0, data.shape[0]))

def _qvalue(const uint8_t[::1] data not None):
    return parse_qvalue(&data[0], make_slice(0, data.shape[0]))

def _date(const uint8_t[::1] data not None):
    return parse_date(&data[0], make_slice(0, data.shape[0]))

def _canonical_aor(const uint8_t[::1] data not None, uint32_t capacity):
    cdef Uri parsed
    cdef uint8_t[1024] out
    if not parse_uri(&data[0], make_slice(0, data.shape[0]), &parsed):
        return None
    length = canonical_aor(&data[0], &parsed, out, min(capacity, <uint32_t>sizeof(out)))
    return <bytes>out[:length]

def _header_id(bytes name not None):
    return header_id(name, <uint32_t>len(name))

def _method_id(bytes name not None):
    return method_id(name, <uint32_t>len(name))

def _reason_phrase(int status):
    return (<bytes>reason_phrase(status)).decode()

# What a Writer of `capacity` bytes holds, and whether it overflowed.
def _write(uint32_t capacity, list items):
    cdef Writer w
    cdef uint8_t[4096] memory
    cdef bytes text
    writer_init(&w, memory, min(capacity, <uint32_t>sizeof(memory)))
    for item in items:
        if isinstance(item, bytes):
            text = item
            put(&w, <const uint8_t*>text, <uint32_t>len(text))
        elif isinstance(item, tuple):
            put_hex(&w, item[0], item[1])
        else:
            put_number(&w, item)
    return <bytes>memory[:w.at - w.start], bool(w.overflow)

# Every lazy parser over one value.
cdef void exercise_value(const uint8_t* data, Slice value) noexcept nogil:
    cdef Slice rest = value, name, found
    cdef Via via
    cdef Uri uri
    cdef NameAddr address
    cdef Credentials credentials
    cdef uint8_t[256] out
    parse_via(data, value, &via)
    if parse_uri(data, value, &uri):
        canonical_aor(data, &uri, out, sizeof(out))
    if parse_name_addr(data, value, &address) and parse_uri(data, address.uri, &uri):
        canonical_aor(data, &uri, out, sizeof(out))
    uri_equal(data + value.start, slice_length(value), data + value.start, slice_length(value))
    parse_credentials(data, value, &credentials)
    find_parameter(data, value, b"tag", &found)
    while next_parameter(data, &rest, &name, &found) > 0:
        pass
    parse_number(data, value)
    parse_qvalue(data, value)
    parse_date(data, value)

def _exercise_value(const uint8_t[::1] data not None):
    exercise_value(&data[0], make_slice(0, data.shape[0]))

# All functions over a message, its Request-URI and the value of each of its header lines.
def _exercise(const uint8_t[::1] data not None):
    cdef Message m
    cdef Slice rest, found
    cdef uint32_t index
    cdef uint16_t line
    cdef int framing
    with nogil:
        find_call_id(&data[0], <uint32_t>data.shape[0], &found)
        for framing in range(DATAGRAM, STREAM + 1):
            parse_message(&m, &data[0], <uint32_t>data.shape[0], framing)
            exercise_value(m.data, m.uri)
            for index in range(m.header_count):
                exercise_value(m.data, make_slice(m.headers[index].value, m.headers[index].end))
                line = 0
                rest = make_slice(0, 0)
                while next_value(&m, m.headers[index].id, &line, &rest, &found) > 0:
                    exercise_value(m.data, found)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now)
    enum:
        CLOCK_MONOTONIC

cdef inline int64_t nanoseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec

# Nanoseconds for `rounds` calls of parse_message, or of find_call_id.
def _time(const uint8_t[::1] data not None, int rounds, bint scan=False):
    cdef Message m
    cdef Slice found
    cdef int64_t begun
    cdef int i
    cdef uint32_t length = <uint32_t>data.shape[0]
    cdef const uint8_t* start = &data[0]
    with nogil:
        begun = nanoseconds()
        if scan:
            for i in range(rounds):
                find_call_id(start, length, &found)
        else:
            for i in range(rounds):
                parse_message(&m, start, length, DATAGRAM)
        begun = nanoseconds() - begun
    return begun
