# Messages, written in one go into the engine's scratch and then copied to a buffer of their size.
#
# Names of ours are fixed in width: "index generation salt" in hex. A branch adds the number of the transaction in its
# call, a To tag of the answering side begins with "s", a From tag with "c": what comes back is found without a search.

cdef enum:
    TOKEN_LENGTH = 24            # index(8) generation(8) salt(8)
    CALL_BRANCH = 7 + TOKEN_LENGTH + 2
    TAG_LENGTH = 1 + TOKEN_LENGTH

cdef const char* HEX = b"0123456789abcdef"


cdef inline void put_piece(Writer* w, const Text* text) noexcept nogil:
    put(w, text.at, text.length)


cdef inline void write_hex8(uint8_t* at, uint32_t number) noexcept nogil:
    cdef int i
    for i in range(7, -1, -1):
        at[i] = <uint8_t>HEX[number & 15]
        number >>= 4


cdef inline bint read_hex8(const uint8_t* at, uint32_t* number) noexcept nogil:
    cdef uint32_t i, c
    number[0] = 0
    for i in range(8):
        c = at[i]
        if c >= c'0' and c <= c'9':
            c -= c'0'
        elif (c | 32) >= c'a' and (c | 32) <= c'f':
            c = (c | 32) - c'a' + 10
        else:
            return False
        number[0] = number[0] << 4 | c
    return True


cdef inline void put_token(Writer* w, const Load* l, uint32_t index, uint32_t generation) noexcept nogil:
    cdef uint8_t text[TOKEN_LENGTH]
    write_hex8(text, index)
    write_hex8(text + 8, generation)
    memcpy(text + 16, l.salt, 8)
    put(w, text, TOKEN_LENGTH)


cdef inline bint read_token(const Load* l, const uint8_t* at, uint32_t* index, uint32_t* generation) noexcept nogil:
    return memcmp(at + 16, l.salt, 8) == 0 and read_hex8(at, index) and read_hex8(at + 8, generation)


cdef bint read_call_branch(const Load* l, const Message* m, uint32_t* index, uint32_t* generation, uint32_t* sequence) noexcept nogil:
    cdef const uint8_t* at = m.data + m.via.branch.start
    cdef uint8_t digits[8]
    if slice_length(m.via.branch) != CALL_BRANCH or not read_token(l, at + 7, index, generation):
        return False
    memset(digits, c'0', 8)
    memcpy(digits + 6, at + 7 + TOKEN_LENGTH, 2)
    return read_hex8(digits, sequence)


cdef inline void put_via(Writer* w, const Load* l, const Call* c, uint32_t sequence) noexcept nogil:
    cdef const Place* p = &l.place[c.place]
    if p.flow.transport == TRANSPORT_TCP:
        put_text(w, b"\r\nVia: SIP/2.0/TCP ")
    elif p.flow.transport == TRANSPORT_TLS:
        put_text(w, b"\r\nVia: SIP/2.0/TLS ")
    else:
        put_text(w, b"\r\nVia: SIP/2.0/UDP ")
    put(w, p.name, p.name_length)
    put_text(w, b";branch=z9hG4bK")
    put_token(w, l, c.index, c.generation)
    put_hex(w, sequence, 2)


cdef inline void put_cseq(Writer* w, uint32_t cseq, const char* method) noexcept nogil:
    put_text(w, b"\r\nCSeq: ")
    put_number(w, cseq)
    put_text(w, b" ")
    put_text(w, method)


cdef inline void put_line(Writer* w, const Message* m, int header) noexcept nogil:
    # The first line of a header, as it came, behind a line end.
    cdef const Header* line
    if has_header(m, header):
        line = &m.headers[m.first[header]]
        put_text(w, b"\r\n")
        put(w, m.data + line.name, line.end - line.name)


cdef inline Buffer* finished(Load* l, Writer* w) noexcept nogil:
    if w.overflow:
        return NULL
    return buffer_copy(&l.pool, w.start, <uint32_t>(w.at - w.start))


cdef inline void begin(Load* l, Writer* w) noexcept nogil:
    writer_init(w, l.scratch, sizeof(l.scratch))


cdef inline void put_spaces(Writer* w, uint32_t number) noexcept nogil:
    cdef uint32_t i
    for i in range(number):
        put_text(w, b" ")


cdef inline void put_identity(Writer* w, Load* l, const Call* c, const Text* to) noexcept nogil:
    # Max-Forwards, From, To and Call-ID of what begins something. Blanks behind the colon make up for a short name, here
    # and in the Request-URI, where messages are to be equally long.
    put_text(w, b"\r\nMax-Forwards: ")
    if l.widest_callee > to.length:
        put_spaces(w, l.widest_callee - to.length)
    put_text(w, b"70\r\nFrom: ")
    if l.widest_aor > l.person[c.person].aor.length:
        put_spaces(w, l.widest_aor - l.person[c.person].aor.length)
    put_text(w, b"<")
    put_piece(w, &l.person[c.person].aor)
    put_text(w, b">;tag=c")
    put_token(w, l, c.index, c.generation)
    put_text(w, b"\r\nTo: ")
    if l.widest_callee > to.length:
        put_spaces(w, l.widest_callee - to.length)
    put_text(w, b"<")
    put_piece(w, to)
    put_text(w, b">\r\nCall-ID: ")
    put_token(w, l, c.index, c.generation)


cdef inline void put_contact(Writer* w, const Place* p) noexcept nogil:
    put_text(w, b"\r\nContact: <sip:")
    put(w, p.name, p.name_length)
    put_transport(w, p.flow.transport)
    put_text(w, b">")


cdef inline void put_transport(Writer* w, int transport) noexcept nogil:
    # Of a URI of ours.
    if transport == TRANSPORT_TCP:
        put_text(w, b";transport=tcp")
    elif transport == TRANSPORT_TLS:
        put_text(w, b";transport=tls")


cdef inline void put_body(Writer* w, Load* l, const Text* body) noexcept nogil:
    put_text(w, b"\r\nUser-Agent: ")
    put_piece(w, &l.agent)
    if body.length:
        put_piece(w, body)
    else:
        put_end(w)


cdef inline void put_end(Writer* w) noexcept nogil:
    put_text(w, b"\r\nContent-Length: 0\r\n\r\n")


cdef Text callee_of(Load* l, const Call* c, uint32_t which) noexcept nogil:
    if l.callees:
        return l.callee[which % l.callees]
    return l.target


cdef Buffer* write_invite(Load* l, const Call* c, const Job* job) noexcept nogil:
    cdef Writer w
    cdef const Place* p = &l.place[c.place]
    cdef Text callee = callee_of(l, c, random_below(&l.random, l.callees) if l.callees else 0)
    begin(l, &w)
    put_text(&w, b"INVITE ")
    put_piece(&w, &callee)
    put_text(&w, b" SIP/2.0")
    put_via(&w, l, c, c.sequence)
    put_identity(&w, l, c, &callee)
    put_cseq(&w, c.cseq, b"INVITE")
    put_contact(&w, p)
    put_body(&w, l, &job.body)
    return finished(l, &w)


cdef Buffer* write_options(Load* l, const Call* c) noexcept nogil:
    cdef Writer w
    begin(l, &w)
    put_text(&w, b"OPTIONS ")
    put_piece(&w, &l.target)
    put_text(&w, b" SIP/2.0")
    put_via(&w, l, c, c.sequence)
    put_identity(&w, l, c, &l.target)
    put_cseq(&w, c.cseq, b"OPTIONS")
    put_contact(&w, &l.place[c.place])
    put_text(&w, b"\r\nAccept: application/sdp")
    put_end(&w)
    return finished(l, &w)


cdef Buffer* write_message(Load* l, const Call* c, const Job* job) noexcept nogil:
    cdef Writer w
    cdef Text callee = callee_of(l, c, random_below(&l.random, l.callees) if l.callees else 0)
    begin(l, &w)
    put_text(&w, b"MESSAGE ")
    put_piece(&w, &callee)
    put_text(&w, b" SIP/2.0")
    put_via(&w, l, c, c.sequence)
    put_identity(&w, l, c, &callee)
    put_cseq(&w, c.cseq, b"MESSAGE")
    put_body(&w, l, &job.body)
    return finished(l, &w)


cdef Buffer* write_register(Load* l, const Call* c, const Job* job) noexcept nogil:
    # Request-URI: the AoR's host without its user part (RFC 3261 10.2). Call-ID and From tag are the user's for good.
    cdef Writer w
    cdef const Place* p = &l.place[c.place]
    cdef const Person* person = &l.person[c.person]
    cdef uint32_t at = 0
    while at < person.aor.length and person.aor.at[at] != c'@':
        at += 1
    begin(l, &w)
    put_text(&w, b"REGISTER sip:")
    if at < person.aor.length:
        put(&w, person.aor.at + at + 1, person.aor.length - at - 1)
    else:
        put(&w, person.aor.at + 4, person.aor.length - 4)
    put_text(&w, b" SIP/2.0")
    put_via(&w, l, c, c.sequence)
    put_text(&w, b"\r\nMax-Forwards: 70\r\nFrom: ")
    if l.widest_aor > person.aor.length:
        put_spaces(&w, 4 * (l.widest_aor - person.aor.length))
    put_text(&w, b"<")
    put_piece(&w, &person.aor)
    put_text(&w, b">;tag=r")
    put_token(&w, l, c.person, 0)
    put_text(&w, b"\r\nTo: <")
    put_piece(&w, &person.aor)
    put_text(&w, b">\r\nCall-ID: r")
    put_token(&w, l, c.person, 0)
    put_cseq(&w, c.cseq, b"REGISTER")
    put_text(&w, b"\r\nContact: <sip:")
    if at < person.aor.length and at > 4:
        put(&w, person.aor.at + 4, at - 3)
    if job.contact.length:
        put_piece(&w, &job.contact)
    else:
        put(&w, p.name, p.name_length)
    put_transport(&w, p.flow.transport)
    put_text(&w, b">\r\nExpires: ")
    put_number(&w, 0 if c.removing else job.expires)
    put_end(&w)
    return finished(l, &w)


# --- inside a dialog -------------------------------------------------------------------------------------------------

cdef enum:
    MAX_ROUTES = 32
    ACK_SEQUENCE = 0xff          # of no client transaction


cdef int read_routes(const Message* m, Slice* routes) noexcept nogil:
    # The route set of the side that called: Record-Route backwards (RFC 3261 12.1.2). -1 for more than anyone has.
    cdef uint16_t line = 0
    cdef Slice rest, value
    cdef int n = 0, i
    if not has_header(m, HDR_RECORD_ROUTE):
        return 0
    rest.start = rest.end = 0
    while next_value(m, HDR_RECORD_ROUTE, &line, &rest, &value) == 1:
        if n == MAX_ROUTES:
            return -1
        routes[n] = value
        n += 1
    for i in range(n // 2):
        value = routes[i]
        routes[i] = routes[n - 1 - i]
        routes[n - 1 - i] = value
    return n


cdef struct Dialog:              # read from a response; slices into it
    int routes
    Slice route[MAX_ROUTES]
    Slice target                 # URI of the Contact
    Slice next_uri               # where requests go: the first route, or the target
    uint8_t strict               # the first route has no lr


cdef bint read_dialog(const Message* m, Dialog* d) noexcept nogil:
    cdef uint16_t line = 0
    cdef Slice rest, value
    cdef NameAddr address
    cdef Uri uri
    d.strict = False
    d.routes = read_routes(m, d.route)
    rest.start = rest.end = 0
    if d.routes < 0 or next_value(m, HDR_CONTACT, &line, &rest, &value) != 1 or not parse_name_addr(m.data, value, &address):
        return False
    d.target = address.uri
    d.next_uri = address.uri
    if d.routes:
        if not parse_name_addr(m.data, d.route[0], &address) or not parse_uri(m.data, address.uri, &uri):
            return False
        d.next_uri = address.uri
        d.strict = not uri.lr
    return True


cdef void next_hop(Load* l, const Message* m, const Dialog* d, const Flow* like, Flow* out) noexcept nogil:
    # Where a URI says, if it says so in numbers; a name is the target's business. To the same place by the same connection.
    cdef Uri uri
    cdef uint32_t usual = 5061 if like.transport == TRANSPORT_TLS else 5060
    out[0] = like[0]
    if parse_uri(m.data, d.next_uri, &uri):
        address_parse(&out.remote, m.data + uri.host.start, slice_length(uri.host), uri.port if uri.port else usual)
    if out.remote.family == 0:
        out.remote = like.remote
    if not address_equal(&out.remote, &like.remote):
        out.connection = 0


cdef void put_dialog_request(Writer* w, Load* l, const Call* c, const Message* m, const Dialog* d, const char* method,
                             uint32_t cseq, uint32_t sequence) noexcept nogil:
    # Up to the CSeq. From, To and Call-ID are those of the response (12.2.1.1), the Route set and the Request-URI too.
    cdef int i
    put_text(w, method)
    put_text(w, b" ")
    put_slice(w, m.data, d.next_uri if d.strict else d.target)
    put_text(w, b" SIP/2.0")
    put_via(w, l, c, sequence)
    put_text(w, b"\r\nMax-Forwards: 70")
    for i in range(1 if d.strict else 0, d.routes):
        put_text(w, b"\r\nRoute: ")
        put_slice(w, m.data, d.route[i])
    if d.strict:
        put_text(w, b"\r\nRoute: <")
        put_slice(w, m.data, d.target)
        put_text(w, b">")
    put_line(w, m, HDR_FROM)
    put_line(w, m, HDR_TO)
    put_line(w, m, HDR_CALL_ID)
    put_cseq(w, cseq, method)


cdef Buffer* write_ack_2xx(Load* l, const Call* c, const Message* m, const Dialog* d) noexcept nogil:
    # A transaction of its own (13.2.2.4).
    cdef Writer w
    begin(l, &w)
    put_dialog_request(&w, l, c, m, d, b"ACK", m.cseq, ACK_SEQUENCE)
    if c.credited:
        put_credentials_of(&w, l, c.request)
    put_end(&w)
    return finished(l, &w)


cdef Buffer* write_bye(Load* l, const Call* c, const Message* m, const Dialog* d) noexcept nogil:
    cdef Writer w
    begin(l, &w)
    put_dialog_request(&w, l, c, m, d, b"BYE", c.cseq + 1, c.sequence + 1)
    put_end(&w)
    return finished(l, &w)


cdef Buffer* write_ack_failed(Load* l, const Call* c, const Message* m) noexcept nogil:
    # Of a 300-699 (17.1.1.3). The Request-URI of an INVITE of ours that begins a call is what stands in To.
    cdef Writer w
    cdef NameAddr to
    cdef const Header* line = &m.headers[m.first[<int>HDR_TO]]
    cdef Slice value
    value.start, value.end = line.value, line.end
    if not parse_name_addr(m.data, value, &to):
        return NULL
    begin(l, &w)
    put_text(&w, b"ACK ")
    put_slice(&w, m.data, to.uri)
    put_text(&w, b" SIP/2.0")
    put_via(&w, l, c, c.sequence)
    put_text(&w, b"\r\nMax-Forwards: 70")
    put_line(&w, m, HDR_FROM)
    put_line(&w, m, HDR_TO)
    put_line(&w, m, HDR_CALL_ID)
    put_cseq(&w, m.cseq, b"ACK")
    put_end(&w)
    return finished(l, &w)


cdef Buffer* write_like(Load* l, const Call* c, const Buffer* base, const char* method, const Message* refresh,
                        uint32_t cseq, uint32_t sequence) noexcept nogil:
    # A request like one of ours, without body or credentials: the CANCEL of an INVITE (9.1), and what follows in a dialog.
    # A 2xx in `refresh` may move the remote target (12.2.1.2); where the first route is strict it stays what it is.
    cdef Writer w
    cdef Message* m = &l.own
    cdef uint16_t line = 0
    cdef Slice rest, value
    cdef NameAddr contact
    cdef uint32_t i
    cdef bint inviting = method[0] == c'I'
    if base == NULL or parse_message(m, base.data, base.length, DATAGRAM) <= 0:
        return NULL
    begin(l, &w)
    put_text(&w, method)
    put_text(&w, b" ")
    rest.start = rest.end = 0
    if (refresh != NULL and not c.strict and next_value(refresh, HDR_CONTACT, &line, &rest, &value) == 1
            and parse_name_addr(refresh.data, value, &contact)):
        put_slice(&w, refresh.data, contact.uri)
    else:
        put_slice(&w, m.data, m.uri)
    put_text(&w, b" SIP/2.0")
    put_via(&w, l, c, sequence)
    for i in range(m.header_count):
        if m.headers[i].id in (HDR_MAX_FORWARDS, HDR_ROUTE, HDR_FROM, HDR_TO, HDR_CALL_ID):
            put_text(&w, b"\r\n")
            put(&w, m.data + m.headers[i].name, m.headers[i].end - m.headers[i].name)
    put_cseq(&w, cseq, method)
    if inviting:
        put_contact(&w, &l.place[c.place])
        put_body(&w, l, &l.job[c.job].body)
    else:
        put_end(&w)
    return finished(l, &w)
