# The worker's half of the registrar (RFC 3261 10.3): who, what and whether it is well formed. The state process decides
# about the bindings; its answer comes back as a token and a status, and the 200 is written from the segment.

cdef enum:
    STATE_PATIENCE = 5000        # ms a REGISTER waits for the state process before its 503
    FACT_REGISTER = 1
    FACT_DIALOG_CONFIRMED = 2
    FACT_DIALOG_ENDED = 3
    FLAG_STAR = 1
    FLAG_ONLY_IF_APPLIED = 2
    FLAG_FLOW_GONE = 4           # only what was registered by this very flow
    MAX_PATH = 4096              # bytes of one REGISTER's
    REG_ID_MOST = 0x7FFFFFFF     # RFC 5626 4.2


cdef extern from "<endian.h>" nogil:
    uint64_t htobe64(uint64_t number)


cdef void pack_array(Writer* w, uint32_t count) noexcept nogil:
    cdef uint8_t head[3]
    head[0], head[1], head[2] = 0xdc, <uint8_t>(count >> 8), <uint8_t>count
    put(w, head, 3)


cdef void pack_uint(Writer* w, uint64_t number) noexcept nogil:
    cdef uint8_t head[9]
    head[0] = 0xcf
    number = htobe64(number)
    memcpy(head + 1, &number, 8)
    put(w, head, 9)


cdef void pack_bytes(Writer* w, const void* data, uint32_t length) noexcept nogil:
    cdef uint8_t head[3]
    head[0], head[1], head[2] = 0xc5, <uint8_t>(length >> 8), <uint8_t>length
    put(w, head, 3)
    put(w, data, length)


cdef void pack_slice(Writer* w, const Message* m, Slice s) noexcept nogil:
    pack_bytes(w, m.data + s.start, slice_length(s))


cdef bint send_fact(Proxy* p, Writer* w, bint urgent) noexcept nogil:
    if w.overflow or not queue_put(p.facts, w.start, <uint32_t>(w.at - w.start)):
        count_add(p.block, COUNT_dropped_facts, 1)
        return False
    count_add(p.block, COUNT_facts_sent, 1)
    if urgent:
        p.facts_urgent = True
    return True


cdef bint dialog_confirmed(Proxy* p, const Message* m, uint32_t gateway) noexcept nogil:
    # From the 2xx: it has both tags, and perhaps a gateway (slot + 1). May be lost; nothing depends on it but what
    # operators see, and for how long a call counts at its gateway. True if it is on its way.
    cdef Writer w
    cdef NameAddr caller, callee
    if (not parse_name_addr(m.data, header_value(m, HDR_FROM), &caller)
            or not parse_name_addr(m.data, header_value(m, HDR_TO), &callee)):
        return False
    writer_init(&w, p.fact, SCRATCH_SIZE)
    pack_array(&w, 8 if gateway else 7)
    pack_uint(&w, FACT_DIALOG_CONFIRMED)
    pack_slice(&w, m, m.call_id)
    pack_slice(&w, m, m.from_tag)
    pack_slice(&w, m, m.to_tag)
    pack_slice(&w, m, caller.uri)
    pack_slice(&w, m, callee.uri)
    pack_uint(&w, p.wall)
    if gateway:
        pack_uint(&w, gateway)
    return send_fact(p, &w, False)


cdef void dialog_ended(Proxy* p, const Message* m) noexcept nogil:
    cdef Writer w
    writer_init(&w, p.fact, SCRATCH_SIZE)
    pack_array(&w, 4)
    pack_uint(&w, FACT_DIALOG_ENDED)
    pack_slice(&w, m, m.call_id)
    pack_slice(&w, m, m.from_tag)
    pack_slice(&w, m, m.to_tag)
    send_fact(p, &w, False)


cdef long requested_expiry(const Proxy* p, const uint8_t* data, Slice value) noexcept nogil:
    # Seconds, or -1 when too brief (423). A date is an absolute time and is taken as near to it as the limits allow;
    # anything malformed counts as an hour (20.19).
    cdef long seconds, date
    if value.end > value.start:
        seconds = parse_number(data, value)
        if seconds < 0:
            date = parse_date(data, value)
            if date < 0:
                seconds = 3600
            elif date <= <long>(p.wall // 1000):
                return 0
            else:
                seconds = max(date - <long>(p.wall // 1000), <long>p.settings.min_expires)
    else:
        seconds = 3600
    if seconds > <long>p.settings.max_expires:
        return p.settings.max_expires
    if seconds and seconds < <long>p.settings.min_expires:
        return -1
    return seconds


cdef int pack_contact(Proxy* p, Writer* w, const Message* m, const Routing* r, const NameAddr* contact, Slice expires,
                      Extensions* x) noexcept nogil:
    # [uri, q, expires, other parameters]; 0, or the status to answer.
    cdef Slice rest = contact.parameters, name, value
    cdef int q = 1000, more
    cdef uint8_t* head
    cdef bint first = True, instance = False, reg_id = False
    cdef long seconds
    cdef Address address
    cdef Uri uri
    while True:
        more = next_parameter(m.data, &rest, &name, &value)
        if more <= 0:
            break
        if is_name(m.data, name, b"expires", 7):
            expires = value
        elif is_name(m.data, name, b"q", 1):
            q = parse_qvalue(m.data, value)
            if q < 0:
                return 400
        elif is_name(m.data, name, b"reg-id", 6):
            if not 1 <= parse_number(m.data, value) <= REG_ID_MOST:
                return 400
            reg_id = True
        elif is_name(m.data, name, b"+sip.instance", 13):
            instance = value.end > value.start
    if more < 0:
        return 400
    seconds = requested_expiry(p, m.data, expires)
    if seconds < 0:
        return 423
    x.adding += seconds != 0
    x.instance |= instance
    if reg_id:
        if x.outbound == OUTBOUND_UNKNOWN:
            x.outbound = outbound_of(m)
        if x.outbound == OUTBOUND_REFUSED:
            return 439
        reg_id = instance and x.outbound != OUTBOUND_IGNORED
        x.keyed |= reg_id
    if slice_length(contact.uri) >= MAX_URI:
        return 400               # nobody could be sent there
    if (seconds and is_sips(m.data + contact.uri.start)
            and (r.target.scheme != SCHEME_SIPS or not path_is_secure(m)
                 or (is_first_hop(m) and not is_secure(r.source.transport)))):
        return 400               # RFC 5630 5.2; and where nothing is safe nobody is reached safely
    if (p.settings.gateway_room and seconds and not r.trusted and parse_uri(m.data, contact.uri, &uri)
            and uri_address(m.data, &uri, &address)
            and gateway_at(p.settings, &address, wanted_transport(&uri))):
        return 403               # it would stand for him whoever calls
    pack_array(w, 4)
    pack_slice(w, m, contact.uri)
    pack_uint(w, q)
    pack_uint(w, seconds)
    head = w.at
    pack_bytes(w, b"", 0)
    rest = contact.parameters
    while next_parameter(m.data, &rest, &name, &value) > 0:
        if is_name(m.data, name, b"expires", 7) or is_name(m.data, name, b"q", 1):
            continue
        if not reg_id and is_name(m.data, name, b"reg-id", 6):
            continue             # where it is kept it names the binding, in place of the URI
        if not first:
            put(w, b";", 1)
        first = False
        put_slice(w, m.data, name)
        if value.end > value.start:
            put(w, b"=", 1)
            put_slice(w, m.data, value)
    if not w.overflow:
        head[1], head[2] = <uint8_t>((w.at - head - 3) >> 8), <uint8_t>(w.at - head - 3)
    return 0


cdef bint is_name(const uint8_t* data, Slice name, const char* lower, uint32_t length) noexcept nogil:
    cdef uint32_t i
    if slice_length(name) != length:
        return False
    for i in range(length):
        if (data[name.start + i] | 0x20) != <uint8_t>lower[i]:
            return False
    return True


cdef int pack_register(Proxy* p, Writer* w, const Message* m, const Routing* r, uint64_t token, const uint8_t* aor,
                       uint32_t aor_length, int flags, Extensions* x) noexcept nogil:
    # The whole fact. 0, or the status to answer. -1: no Contact at all, a query (10.3 step 6).
    cdef uint16_t line = 0
    cdef Slice rest, value, expires = header_value(m, HDR_EXPIRES)
    cdef NameAddr contact
    cdef uint8_t* flags_at
    cdef uint8_t* connection_at
    cdef uint8_t* head
    cdef uint32_t count = 0
    cdef int more, status
    cdef bint direct, apart
    memset(x, 0, sizeof(Extensions))
    if not has_header(m, HDR_CONTACT):
        return -1
    direct = is_first_hop(m) and not has_header(m, HDR_PATH)
    apart = direct and r.source.transport == TRANSPORT_UDP and is_elsewhere(p, m, &r.source)
    rest.start = rest.end = 0
    writer_init(w, p.fact, SCRATCH_SIZE)
    pack_array(w, 9)
    pack_uint(w, FACT_REGISTER)
    pack_uint(w, token)
    pack_bytes(w, aor, aor_length)
    pack_slice(w, m, m.call_id)
    pack_uint(w, m.cseq)
    flags_at = w.at
    pack_uint(w, flags)
    pack_array(w, 6)
    pack_uint(w, r.source.remote.family)
    pack_bytes(w, r.source.remote.ip, 16)
    pack_uint(w, r.source.remote.port)
    pack_uint(w, transport_listener(p.transport, r.source.listener).index)
    pack_uint(w, r.source.transport)
    connection_at = w.at
    pack_uint(w, r.source.connection if direct else 0)
    if not pack_path(w, m):
        return 400
    head = w.at
    pack_array(w, 0)
    while True:
        more = next_value(m, HDR_CONTACT, &line, &rest, &value)
        if more == 0:
            break
        if more < 0 or not parse_name_addr(m.data, value, &contact):
            return 400
        count += 1
        if count > MAX_CONTACTS:
            return 403
        if contact.star:
            flags |= FLAG_STAR
            continue
        status = pack_contact(p, w, m, r, &contact, expires, x)
        if status:
            return status
        if apart and not is_own_place(p, m, &contact):
            apart = False
    if x.keyed and x.adding > 1:
        return 400               # RFC 5626 6
    if w.overflow:
        return 413
    if direct and r.source.transport == TRANSPORT_UDP and (apart or x.keyed):
        connection_at[8] = <uint8_t>FLOW_DATAGRAM
    if flags & FLAG_STAR:
        # 10.3 step 6: `*` stands alone and only with Expires: 0.
        if count != 1 or parse_number(m.data, expires) != 0:
            return 400
        count = 0
        flags_at[8] = <uint8_t>flags
    head[1], head[2] = <uint8_t>(count >> 8), <uint8_t>count
    return 0


cdef void put_bindings(Proxy* p, Writer* w, const uint8_t* aor, uint32_t aor_length, bint gruu) noexcept nogil:
    # The Contact lines of a 200: every binding there is (10.3 step 8).
    cdef const uint8_t* value
    cdef uint32_t length
    cdef uint64_t now
    cdef const BindingSet* bindings
    cdef const Binding* b
    if not segment_find(p.segment, RECORD_BINDINGS, aor, aor_length, &value, &length):
        return
    bindings = binding_set(value, length)
    b = binding_first(bindings) if bindings != NULL else NULL
    while b != NULL:
        if b.expires > p.wall:
            put(w, b"Contact: <", 10)
            put(w, binding_uri(b), b.uri_length)
            put(w, b">", 1)
            if b.q != 1000:
                put(w, b";q=0.", 5)
                put_number(w, b.q // 100)
                put_number(w, b.q // 10 % 10)
                put_number(w, b.q % 10)
            put(w, b";expires=", 9)
            now = max(p.wall, b.updated)     # our clock is coarser, and nobody is given more than was asked for
            put_number(w, (b.expires - now + 999) // 1000)
            if b.parameters_length:
                put(w, b";", 1)
                put(w, binding_parameters(b), b.parameters_length)
                if gruu:
                    put_gruus(p, w, b, aor, aor_length)
            put(w, b"\r\n", 2)
        b = binding_next(b)


cdef uint32_t register_aor(const Proxy* p, const Message* m, const Flow* source, uint8_t* out, Slice* who) noexcept nogil:
    # The To header's address-of-record, 0 when it is none of this domain's (404) and AOR_SIZE+1 when it is no SIP URI
    # (400). `who` is the URI it stands in.
    cdef NameAddr to
    cdef Uri uri
    who.start = who.end = 0
    if not parse_name_addr(m.data, header_value(m, HDR_TO), &to) or not parse_uri(m.data, to.uri, &uri):
        return AOR_SIZE + 1
    if uri.scheme != SCHEME_SIP and uri.scheme != SCHEME_SIPS:
        return AOR_SIZE + 1      # 10.3 step 5, RFC 4475 3.3.4
    who[0] = to.uri
    return address_of_record(p, m.data, &uri, source, out, AOR_SIZE)


cdef bint sender_is(const Proxy* p, const Message* m, const Flow* source, const uint8_t* aor, uint32_t length,
                    Slice who) noexcept nogil:
    # Nearly everybody registers himself, and writes himself the same way in both headers.
    cdef NameAddr sender
    cdef Uri uri
    cdef uint8_t own[AOR_SIZE]
    if not parse_name_addr(m.data, header_value(m, HDR_FROM), &sender):
        return False
    if bytes_equal(m.data + sender.uri.start, slice_length(sender.uri), m.data + who.start, slice_length(who)):
        return True
    if not parse_uri(m.data, sender.uri, &uri):
        return False
    return bytes_equal(own, address_of_record(p, m.data, &uri, source, own, AOR_SIZE), aor, length)


cdef void answer_registered(Proxy* p, const Message* m, const Flow* flow, const uint8_t* aor,
                            uint32_t length) noexcept nogil:
    # A query's 200: nothing to decide, nothing to remember.
    cdef Writer w
    response_begin(p, &w, m, flow, 200)
    put_bindings(p, &w, aor, length, wants_gruus(m))
    put(&w, p.settings.service_route.data, p.settings.service_route.length)
    send_buffer(p, flow, response_end(p, &w))


cdef void on_register(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    cdef uint8_t aor[AOR_SIZE + 2]
    cdef uint32_t length
    cdef int flags = 0, status
    cdef Transaction* server
    cdef ResponseContext* ctx
    cdef Buffer* lines
    cdef Writer w
    cdef Slice who
    cdef Extensions x
    if has_header(m, HDR_REQUIRE) and requires_more(m):
        answer_unsupported(p, m, &r.answer, HDR_REQUIRE)
        return
    if p.settings.path_supported and has_header(m, HDR_PATH) and not has_option(m, HDR_SUPPORTED, b"path", 4):
        answer_unsupported(p, m, &r.answer, HDR_PATH)
        return
    length = register_aor(p, m, &r.source, aor, &who)
    if length == 0 or length > AOR_SIZE:
        count_add(p.block, COUNT_registers_failed, 1)
        answer(p, m, &r.answer, 400 if length else 404)
        return
    r.trusted = trust_of_sender(p, r)
    if r.trusted != TRUST_NEIGHBOUR and (p.settings.required >> METHOD_REGISTER) & 1:
        status = authenticate(p, m, r, False, aor, length, domain_of(aor, length))
        if status == AUTH_ANSWERED:
            return
        if status == AUTH_REPLAYED:
            flags = FLAG_ONLY_IF_APPLIED
        if not sender_is(p, m, &r.source, aor, length, who):
            count_add(p.block, COUNT_registers_failed, 1)
            answer(p, m, &r.answer, 403)
            return
    status = pack_register(p, &w, m, r, 0, aor, length, flags, &x)
    if status == -1:
        if flags:
            challenge(p, m, &r.answer, False, realm_of(p, domain_of(aor, length)), True)
        else:
            answer_registered(p, m, &r.answer, aor, length)
        return
    if status:
        count_add(p.block, COUNT_registers_failed, 1)
        answer(p, m, &r.answer, status)
        return
    lines = lines_to_come(p, m, &r.answer, aor, length, &x)
    server = server_transaction(p.layer, m, &r.answer, NULL) if lines != NULL else NULL
    ctx = context_new(p, CONTEXT_REGISTER, server, m) if server != NULL else NULL
    if ctx != NULL:
        ctx.plan.buffer, ctx.aor_length, ctx.granted_length, ctx.gruu = lines, length, x.granted, x.instance
        patch_token(&w, (<uint64_t>server.index << 32) | server.generation)
        if send_fact(p, &w, True):
            timer_arm(p.layer.wheel, &ctx.wait, p.layer.now, STATE_PATIENCE)
            return
        context_free(p, ctx)
    else:
        buffer_release(p.pool, lines)
        if server != NULL:
            transaction_end(p.layer, server)
    count_add(p.block, COUNT_rejected_full, 1)
    answer(p, m, &r.answer, 503)


cdef Buffer* lines_to_come(Proxy* p, const Message* m, const Flow* answer, const uint8_t* aor, uint32_t length,
                           Extensions* x) noexcept nogil:
    # What the answer will need of the request, so that nobody reads that again: its lines, those of a 200 alone, then the
    # address-of-record.
    cdef Writer w
    cdef uint8_t* granted
    writer_init(&w, p.scratch, SCRATCH_SIZE)
    put_own_lines(p, &w, m, answer, True)
    if may_have(m.data, m.via.whole, b"keep", 4):
        answer_keep(p, &w, answer)
    granted = w.at
    x.instance = x.instance and wants_gruus(m)
    if has_header(m, HDR_PATH) or x.keyed:
        put_granted(p, &w, m, x)
    x.granted = <uint32_t>(w.at - granted)
    put(&w, aor, length)
    return buffer_copy(p.pool, w.start, <uint32_t>(w.at - w.start)) if not w.overflow and x.granted <= 0xFFFF else NULL


cdef void registered_begin(Proxy* p, Writer* w, const ResponseContext* ctx, int status) noexcept nogil:
    status_line(p, w, status, NULL, 0)
    put(w, ctx.plan.buffer.data,
        ctx.plan.buffer.length - ctx.aor_length - (0 if status == 200 else ctx.granted_length))


cdef void patch_token(Writer* w, uint64_t token) noexcept nogil:
    # array head (3), type (9), then the token's own head byte.
    cdef int i
    for i in range(8):
        w.start[13 + i] = <uint8_t>(token >> (56 - 8 * i))


cdef void proxy_registered(Proxy* p, uint64_t token, int status, uint32_t retry_after) noexcept nogil:
    cdef Transaction* server = transaction_at(p.layer, <uint32_t>(token >> 32), <uint32_t>token)
    cdef const uint8_t* aor
    cdef uint32_t length
    cdef Text realm
    cdef ResponseContext* ctx
    cdef Buffer* buffer
    cdef Writer w
    if server == NULL or server.user == NULL or server.branch == LINKED:
        return
    ctx = <ResponseContext*>server.user
    if ctx.kind != CONTEXT_REGISTER:
        return
    length = ctx.aor_length
    aor = ctx.plan.buffer.data + ctx.plan.buffer.length - length
    registered_begin(p, &w, ctx, status)
    if status == 200:
        put_bindings(p, &w, aor, length, ctx.gruu)
        put(&w, p.settings.service_route.data, p.settings.service_route.length)
        count_add(p.block, COUNT_registers_ok, 1)
        if server.flow.connection:
            transport_keep(p.transport, &server.flow, p.settings.max_expires * 1000, aor, length)
    else:
        count_add(p.block, COUNT_registers_failed, 1)
    if status == 503:
        put_text(&w, b"Retry-After: ")
        put_number(&w, retry_after if retry_after else 5)
        put(&w, b"\r\n", 2)
    elif status == 401:
        realm = realm_of(p, domain_of(aor, length))
        put_challenge(p.digest, &w, False, realm.data, realm.length, True, p.wall)
    buffer = response_end(p, &w)
    if buffer != NULL and server_respond(p.layer, server, buffer, status):
        count_add(p.block, COUNT_responses_out, 1)
    buffer_release(p.pool, buffer)
    context_free(p, ctx)


cdef void on_state_late(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # The state process is away: 503 with Retry-After, and the fact, if it is applied later, changes nothing for a client
    # that comes again.
    count_add(p.block, COUNT_registers_failed, 1)
    respond(p, ctx, NULL, 503)
    context_free(p, ctx)
