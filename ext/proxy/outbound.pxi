# What a REGISTER may say beyond RFC 3261: Path (RFC 3327), outbound (RFC 5626), keep (RFC 6223), and addresses that are
# not where a client is (RFC 3581). All of it is looked at only where it is there.

cdef enum Outbound:
    OUTBOUND_UNKNOWN = 0         # nobody asked
    OUTBOUND_IGNORED = 1         # this server is not the first hop, and that one does not know of it
    OUTBOUND_REFUSED = 2         # the same, and the client counts on it: 439
    OUTBOUND_APPLIED = 3         # reg-id and instance name the binding
    OUTBOUND_ASKED = 4           # and the client is told so

cdef uint64_t NO_TOKEN = 0xFFFFFFFFFFFFFFFF      # of a fact whose result nobody waits for

cdef struct Extensions:          # of one REGISTER
    int outbound
    bint keyed                   # a Contact has instance and reg-id, and these name its binding
    bint instance                # a Contact has an instance
    uint32_t adding              # contacts that are no removals
    uint32_t granted             # bytes of lines for a 200 alone


cdef bint is_first_hop(const Message* m) noexcept nogil:
    # Whether the topmost Via is the only one: nobody stands between the client and this server.
    cdef uint32_t i
    if m.via.next.end:
        return False
    for i in range(m.first[<int>HDR_VIA] + 1, m.header_count):
        if m.headers[i].id == HDR_VIA:
            return False
    return True


cdef bint may_have(const uint8_t* data, Slice text, const char* name, uint32_t length) noexcept nogil:
    # A quick look whether there may be a parameter that begins so; mostly there is none at all.
    cdef const uint8_t* at = data + text.start
    cdef const uint8_t* end = data + text.end
    while True:
        at = <const uint8_t*>memchr(at, c';', end - at)
        if at == NULL:
            return False
        at += 1
        if <size_t>(end - at) >= length and at[0] == <uint8_t>name[0] and memcmp(at, name, length) == 0:
            return True


cdef bint next_option(const Message* m, int header, uint32_t* line, uint32_t* at, Slice* tag) noexcept nogil:
    # Walk the option tags of every line of a header. `line` and `at` are the cursor, both 0 to begin.
    cdef uint32_t end
    while line[0] < m.header_count:
        if m.headers[line[0]].id == header:
            end = m.headers[line[0]].end
            at[0] = max(at[0], <uint32_t>m.headers[line[0]].value)
            while at[0] < end and (m.data[at[0]] == c',' or m.data[at[0]] <= c' '):
                at[0] += 1
            if at[0] < end:
                tag.start = <uint16_t>at[0]
                while at[0] < end and m.data[at[0]] != c',' and m.data[at[0]] > c' ':
                    at[0] += 1
                tag.end = <uint16_t>at[0]
                return True
        line[0] += 1
        at[0] = 0
    return False


cdef bint has_option(const Message* m, int header, const char* name, uint32_t length) noexcept nogil:
    cdef uint32_t line = 0, at = 0
    cdef Slice tag
    if has_header(m, header):
        while next_option(m, header, &line, &at, &tag):
            if is_name(m.data, tag, name, length):
                return True
    return False


cdef inline bint is_known_option(const uint8_t* data, Slice tag) noexcept nogil:
    return is_name(data, tag, b"path", 4) or is_name(data, tag, b"outbound", 8) or is_name(data, tag, b"gruu", 4)


cdef bint requires_more(const Message* m) noexcept nogil:
    # Whether a REGISTER requires what this registrar does not have.
    cdef uint32_t line = 0, at = 0
    cdef Slice tag
    while next_option(m, HDR_REQUIRE, &line, &at, &tag):
        if not is_known_option(m.data, tag):
            return True
    return False


cdef void put_unsupported(Writer* w, const Message* m) noexcept nogil:
    cdef uint32_t line = 0, at = 0
    cdef Slice tag
    while next_option(m, HDR_REQUIRE, &line, &at, &tag):
        if not is_known_option(m.data, tag):
            put_text(w, b"Unsupported: ")
            put_slice(w, m.data, tag)
            put(w, b"\r\n", 2)


cdef int outbound_of(const Message* m) noexcept nogil:
    # RFC 5626 6: what a reg-id is worth here.
    cdef bint asked = has_option(m, HDR_SUPPORTED, b"outbound", 8)
    cdef uint16_t line = 0
    cdef Slice rest, value, ob
    cdef NameAddr first
    cdef Uri uri
    rest.start = rest.end = 0
    if is_first_hop(m) or (has_header(m, HDR_PATH) and next_value(m, HDR_PATH, &line, &rest, &value) > 0
                           and parse_name_addr(m.data, value, &first) and parse_uri(m.data, first.uri, &uri)
                           and find_parameter(m.data, uri.parameters, b"ob", &ob)):
        return OUTBOUND_ASKED if asked else OUTBOUND_APPLIED
    return OUTBOUND_REFUSED if asked else OUTBOUND_IGNORED


cdef bint put_values(Writer* w, const Message* m, int header) noexcept nogil:
    # All values of a header, one after another; False if they are malformed.
    cdef uint16_t line = 0
    cdef Slice rest, value
    cdef bint first = True
    cdef int more
    rest.start = rest.end = 0
    while True:
        more = next_value(m, header, &line, &rest, &value)
        if more <= 0:
            return more == 0
        if not first:
            put(w, b", ", 2)
        first = False
        put_slice(w, m.data, value)


cdef bint pack_path(Writer* w, const Message* m) noexcept nogil:
    # False if it is malformed or longer than anybody's.
    cdef uint8_t* head = w.at
    cdef size_t length
    pack_bytes(w, b"", 0)
    if not has_header(m, HDR_PATH):
        return True
    if not put_values(w, m, HDR_PATH):
        return False
    if w.overflow:
        return True
    length = w.at - head - 3
    head[1], head[2] = <uint8_t>(length >> 8), <uint8_t>length
    return length <= <size_t>MAX_PATH


cdef bint path_is_secure(const Message* m) noexcept nogil:
    # All of it, if there is one.
    cdef uint16_t line = 0
    cdef Slice rest, value
    cdef NameAddr hop
    rest.start = rest.end = 0
    while next_value(m, HDR_PATH, &line, &rest, &value) > 0:
        if not parse_name_addr(m.data, value, &hop) or not is_sips(m.data + hop.uri.start):
            return False
    return True


cdef void put_granted(Proxy* p, Writer* w, const Message* m, const Extensions* x) noexcept nogil:
    # The lines of a 200: the Path that was stored, and that outbound was applied.
    if has_header(m, HDR_PATH):
        put(w, b"Path: ", 6)
        put_values(w, m, HDR_PATH)
        put(w, b"\r\n", 2)
    if x.keyed and x.outbound == OUTBOUND_ASKED:
        put_text(w, b"Require: outbound\r\nSupported: path, outbound, gruu\r\n")
        if p.settings.flow_timer and is_first_hop(m):
            put_text(w, b"Flow-Timer: ")
            put_number(w, p.settings.flow_timer)
            put(w, b"\r\n", 2)


cdef void answer_keep(Proxy* p, Writer* w, const Flow* answer) noexcept nogil:
    # RFC 6223 4.3: a client that is ready to send keep-alives (`keep` in its Via, which is the first of these lines) is
    # told how often.
    cdef uint8_t* line = <uint8_t*>memchr(w.start, c'\n', w.at - w.start)
    cdef uint8_t* found = <uint8_t*>memmem(w.start, line - w.start, b";keep", 5) if line != NULL else NULL
    cdef uint8_t text[16]
    cdef uint32_t length
    cdef Writer value
    if found == NULL or p.settings.keep == 0 or w.overflow:
        return
    found += 5
    if found[0] != c';' and found[0] != c'\r' and found[0] != c',':
        return
    writer_init(&value, text, 16)
    put(&value, b"=", 1)
    put_number(&value, p.settings.keep if answer.transport == TRANSPORT_UDP else p.settings.flow_timer)
    length = <uint32_t>(value.at - value.start)
    if <size_t>(w.end - w.at) < length:
        return
    memmove(found + length, found, w.at - found)
    memcpy(found, text, length)
    w.at += length


cdef bint is_elsewhere(const Proxy* p, const Message* m, const Flow* source) noexcept nogil:
    # Whether what came by UDP names another place than it came from: its sender is behind a NAT, which does not tell him.
    # Another port alone says so only of those who are ready for it (rport): others may send from one and listen at
    # another.
    cdef Address via
    cdef uint16_t port = m.via.port if m.via.port else 5060
    if p.settings.nat_contact != NAT_AUTO:
        return p.settings.nat_contact == NAT_ALWAYS
    if not address_parse(&via, m.data + m.via.host.start, slice_length(m.via.host), port):
        return False
    if address_same_ip(&via, &source.remote):
        return port != source.remote.port and m.via.has_rport
    return True


cdef bint is_own_place(const Proxy* p, const Message* m, const NameAddr* contact) noexcept nogil:
    # Whether a Contact is where its sender says that he is himself; it may as well be somebody else's.
    cdef Uri uri
    if p.settings.nat_contact == NAT_ALWAYS:
        return True
    return (parse_uri(m.data, contact.uri, &uri) and uri.scheme == SCHEME_SIP
            and bytes_equal(m.data + uri.host.start, slice_length(uri.host),
                            m.data + m.via.host.start, slice_length(m.via.host))
            and (uri.port if uri.port else 5060) == (m.via.port if m.via.port else 5060))


cdef void note_sender_flow(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # A dialog begins: whether its sender is to be reached by the flow this request came by, whatever his Contact says. He
    # is behind a NAT, or asks for it (`ob`, RFC 5626 5.3.2). Of connections only those that may be somebody's.
    cdef NameAddr contact
    cdef Slice value = header_value(m, HDR_CONTACT), ob
    cdef Uri uri
    if r.source.connection and (is_recorded_flow(&r.source) or r.source.transport == TRANSPORT_UDP):
        return
    if not value.end:
        return
    if r.source.transport == TRANSPORT_UDP and is_elsewhere(p, m, &r.source):
        if parse_name_addr(m.data, value, &contact) and is_own_place(p, m, &contact) and is_first_hop(m):
            r.source.connection = FLOW_DATAGRAM
            return
    if (not may_have(m.data, value, b"ob", 2) or not is_first_hop(m) or not parse_name_addr(m.data, value, &contact) or not parse_uri(m.data, contact.uri, &uri)
            or not find_parameter(m.data, uri.parameters, b"ob", &ob)):
        return
    if r.source.transport == TRANSPORT_UDP:
        r.source.connection = FLOW_DATAGRAM
    elif r.source.connection:
        r.source.reliable |= FLOW_REGISTERED


cdef Slice via_parameters(const uint8_t* data, const Via* via) noexcept nogil:
    # Without the first ";".
    cdef Slice parameters
    cdef const uint8_t* at = <const uint8_t*>memchr(data + via.host.end, c';', via.whole.end - via.host.end)
    parameters.start = parameters.end = via.whole.end
    if at != NULL:
        parameters.start = <uint16_t>(at + 1 - data)
    return parameters


cdef void note_alias(Proxy* p, const Message* m, const Flow* source) noexcept nogil:
    # RFC 5923 8: its sender offers this connection for requests to him, and says at which port he would else be found.
    cdef Slice found
    if m.to_tag.end or not may_have(m.data, m.via.whole, b"alias", 5):
        return
    if find_parameter(m.data, via_parameters(m.data, &m.via), b"alias", &found):
        transport_alias(p.transport, source, m.via.port if m.via.port else 5061)


cdef void tell_flow_gone(Proxy* p, ResponseContext* ctx, const Flow* flow) noexcept nogil:
    # Nothing could be sent by it, or a 430 came.
    cdef const Message* m
    cdef uint8_t aor[AOR_SIZE]
    cdef Routing r
    m = reopen(p, ctx, &r) if ctx.rights & RIGHT_OWN else NULL
    if m != NULL:
        unbind_flow(p, aor, target_aor(p, m, &r, aor), flow)


cdef void on_flow_gone(Proxy* p, const Packet* packet) noexcept nogil:
    # The connection of somebody's registration has ended.
    cdef const uint8_t* at = packet.data
    cdef const uint8_t* end = at + packet.length
    cdef const uint8_t* stop
    while at < end:
        stop = <const uint8_t*>memchr(at, c'\n', end - at)
        if stop == NULL:
            stop = end
        unbind_flow(p, at, <uint32_t>(stop - at), &packet.flow)
        at = stop + 1


cdef void unbind_flow(Proxy* p, const uint8_t* aor, uint32_t length, const Flow* flow) noexcept nogil:
    # RFC 5626 7: what is bound to a flow that is no more is removed, and nothing that was registered meanwhile.
    cdef uint16_t listener = transport_listener(p.transport, flow.listener).index
    cdef uint32_t value_length
    cdef const uint8_t* value
    cdef const BindingSet* bindings
    cdef const Binding* b
    if length == 0 or not segment_find(p.segment, RECORD_BINDINGS, aor, length, &value, &value_length):
        return
    bindings = binding_set(value, value_length)
    b = binding_first(bindings) if bindings != NULL else NULL
    while b != NULL:
        if (b.connection == flow.connection and b.listener == listener and b.source_port == flow.remote.port
                and memcmp(b.source_ip, flow.remote.ip, 16) == 0):
            unbind(p, aor, length, b)
        b = binding_next(b)


cdef void unbind(Proxy* p, const uint8_t* aor, uint32_t length, const Binding* b) noexcept nogil:
    # A fact like a REGISTER that does so; nobody waits for what becomes of it.
    cdef Writer w
    writer_init(&w, p.fact, SCRATCH_SIZE)
    pack_array(&w, 9)
    pack_uint(&w, FACT_REGISTER)
    pack_uint(&w, NO_TOKEN)
    pack_bytes(&w, aor, length)
    pack_bytes(&w, b"", 0)
    pack_uint(&w, 0)
    pack_uint(&w, FLAG_FLOW_GONE)
    pack_array(&w, 6)
    pack_uint(&w, b.source_family)
    pack_bytes(&w, b.source_ip, 16)
    pack_uint(&w, b.source_port)
    pack_uint(&w, b.listener)
    pack_uint(&w, b.transport)
    pack_uint(&w, b.connection)
    pack_bytes(&w, b"", 0)
    pack_array(&w, 1)
    pack_array(&w, 4)
    pack_bytes(&w, binding_uri(b), b.uri_length)
    pack_uint(&w, b.q)
    pack_uint(&w, 0)
    pack_bytes(&w, binding_parameters(b), b.parameters_length)
    send_fact(p, &w, True)


cdef void add_path(Proxy* p, Writer* w, const Message* m, const Routing* r, const Flow* out) noexcept nogil:
    # A REGISTER on its way to somebody else's registrar, from a client that speaks to this server directly: it is to come
    # back through here, by the flow it came by (RFC 5626 5.1). The token is one of its own, which nobody but client and
    # registrar sees.
    cdef const SentBy* by
    cdef Flow flow = r.source
    cdef bint secure
    if not is_first_hop(m) or not has_option(m, HDR_SUPPORTED, b"path", 4):
        return
    if flow.transport == TRANSPORT_UDP:
        flow.connection = FLOW_DATAGRAM
    by = sent_by(p, out)
    secure = is_sips(m.data + m.uri.start)
    put_text(w, b"Path: <sips:" if secure else b"Path: <sip:")   # RFC 5630 5.2
    put_flow_token(p, w, &flow, c'p')
    put(w, b"@", 1)
    put(w, by.text, by.length if secure and out.transport == TRANSPORT_TLS else by.route_length)
    put(w, b";lr;ob>\r\n", 9)
