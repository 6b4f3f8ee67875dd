# What every response needs: where it goes, and the Via it carries back.

cdef void answer_flow(Flow* out, const Flow* source, const Message* m) noexcept nogil:
    # 18.2.2 with RFC 3581: to the source address, and to its port when the client asked by rport. `maddr` is not
    # followed: it lets a stranger aim our answers.
    out[0] = source[0]
    if not source.reliable and not m.via.has_rport:
        out.remote.port = m.via.port if m.via.port else 5060


cdef bint is_value(const uint8_t* data, uint32_t at) noexcept nogil:
    # Whether a parameter's value stands there, or only the place for one.
    while data[at - 1] == c' ' or data[at - 1] == c'\t' or data[at - 1] == c'\r' or data[at - 1] == c'\n':
        at -= 1
    return data[at - 1] == c'='


cdef void put_top_via(Writer* w, const Message* m, const Flow* answer) noexcept nogil:
    # The topmost via-parm as it came, with `received` and the value of `rport` filled in (18.2.1, RFC 3581 4).
    cdef const Via* via = &m.via
    cdef const uint8_t* data = m.data
    cdef uint32_t at = via.whole.start, cut = 0, cut_end = 0, fill = 0, fill_end = 0, first
    cdef Address sent_by
    cdef char text[ADDRESS_TEXT]
    if via.received.end:
        cut = via.received.start
        while cut > at and data[cut] != c';':
            cut -= 1
        cut_end = via.received.end
    if via.has_rport and via.rport.end:
        fill, fill_end = via.rport.start, via.rport.end
    for first in range(2):
        if cut_end and (not fill_end or cut < fill):
            put(w, data + at, cut - at)
            at, cut_end = cut_end, 0
        elif fill_end:
            put(w, data + at, fill - at)
            if not is_value(data, fill):
                put(w, b"=", 1)
            put_number(w, answer.remote.port)
            at, fill_end = fill_end, 0
    put(w, data + at, via.whole.end - at)
    # With rport always, else where he writes another address than he has.
    if via.has_rport or not (address_parse(&sent_by, data + via.host.start, slice_length(via.host), 0)
                             and address_same_ip(&sent_by, &answer.remote)):
        put(w, b";received=", 10)
        put(w, text, address_host(&answer.remote, text, False))
