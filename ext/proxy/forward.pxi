# Request forwarding (RFC 3261 16.6): the received bytes, copied once with the lines a proxy may touch exchanged.

cdef const char** TRANSPORT_NAME = [b"UDP", b"UDP", b"TCP", b"TLS", b"SCTP", b"WS", b"WSS"]
cdef const char** TRANSPORT_VALUE = [b"udp", b"udp", b"tcp", b"tls", b"sctp", b"ws", b"ws"]


cdef const Text* name_of_listener(const Proxy* p, uint32_t number) noexcept nogil:
    # What is advertised of it, if that is a name.
    cdef const Listener* listener = transport_listener(p.transport, number)
    if listener == NULL or listener.index >= p.settings.listen_name_count:
        return NULL
    return &p.settings.listen_names[listener.index] if p.settings.listen_names[listener.index].length else NULL


cdef const SentBy* sent_by(Proxy* p, const Flow* flow) noexcept nogil:
    # What to write for messages by this flow. A listener's is nearly always the same.
    cdef SentBy* by = &p.sent_by[flow.listener & 31]
    cdef Address address
    cdef Writer w
    cdef char text[ADDRESS_TEXT]
    cdef const Text* name
    transport_sent_by(p.transport, flow, &address)
    if not address_equal(&address, &by.address) or by.transport != flow.transport:
        by.address, by.transport = address, flow.transport
        writer_init(&w, by.text, sizeof(by.text))
        name = name_of_listener(p, flow.listener)
        if name != NULL:
            put(&w, name.data, name.length)
        else:
            put(&w, text, address_host(&address, text, True))
            put(&w, b":", 1)
            put_number(&w, address.port)
        by.length = by.route_length = <uint32_t>(w.at - w.start)
        if flow.transport > TRANSPORT_UDP:
            put_text(&w, b";transport=")
            put_text(&w, TRANSPORT_VALUE[flow.transport])
            by.route_length = <uint32_t>(w.at - w.start)
    return by


cdef void put_record_route(Proxy* p, Writer* w, const Message* m, const Routing* r, const Flow* out,
                           const Flow* side) noexcept nogil:
    # What is_recorded knows again, but for those with a flow.
    cdef const SentBy* by = sent_by(p, side)
    cdef bint secure = is_sips(m.data + m.uri.start)
    put_text(w, b"Record-Route: <sips:" if secure else b"Record-Route: <sip:")
    if is_recorded_flow(side):
        put_flow_token(p, w, side, c'f')
        put(w, b"@", 1)
    put(w, by.text, by.length if secure and side.transport == TRANSPORT_TLS else by.route_length)
    put(w, b";lr;rt=", 7)
    put_token(p, w, m, r, out)
    put(w, b">\r\n", 3)


cdef bint same_sent_by(Proxy* p, const Flow* a, const Flow* b) noexcept nogil:
    cdef Address first, second
    transport_sent_by(p.transport, a, &first)
    transport_sent_by(p.transport, b, &second)
    return address_equal(&first, &second) and a.transport == b.transport


cdef bint is_listed(const PlanHead* head, PlanText names, const uint8_t* name, uint32_t length) noexcept nogil:
    # Whether one of the names, each with a LF behind it, is this one.
    cdef const uint8_t* at = plan_text(head, names)
    cdef const uint8_t* end = at + names.length
    cdef uint32_t i
    while at < end:
        i = 0
        while i < length and at[i] != c'\n' and (at[i] | 0x20) == (name[i] | 0x20):
            i += 1
        if i == length and at[i] == c'\n':
            return True
        while at[0] != c'\n':
            at += 1
        at += 1
    return False


cdef bint asks_privacy(const Message* m, const char* word, uint32_t length) noexcept nogil:
    # Whether Privacy (RFC 3323 4.2) has that value among its own.
    cdef Slice value
    cdef uint32_t i, start
    cdef Slice one
    for i in range(m.header_count):
        if m.headers[i].id != HDR_PRIVACY:
            continue
        value.start, value.end = m.headers[i].value, m.headers[i].end
        start = value.start
        while start < value.end:
            one.start = <uint16_t>start
            while start < value.end and m.data[start] != c';' and m.data[start] != c',':
                start += 1
            one.end = <uint16_t>start
            start += 1
            while one.start < one.end and m.data[one.start] <= 32:
                one.start += 1
            while one.end > one.start and m.data[one.end - 1] <= 32:
                one.end -= 1
            if is_name(m.data, one, word, length):
                return True
    return False


cdef bint put_added(Proxy* p, Writer* w, const Message* m, const Routing* r, const Target* target,
                    const Flow* out) noexcept nogil:
    # The lines of a plan, and who the sender is known to be (RFC 3325 5). 1 if that is to be hidden from the next hop: he
    # asked for it, or has no name in From.
    cdef bint hide = (((has_header(m, HDR_PRIVACY) and asks_privacy(m, b"id", 2)) or (r.authenticated and r.anonymous))
                      and not trust_of(p, out))
    cdef const PlanHead* head = NULL
    cdef const PlanTarget* order = NULL
    if target != NULL and target.order != NULL:
        head, order = target.context.plan.head, target.order
        put(w, plan_text(head, order.routes), order.routes.length)
        put(w, plan_text(head, order.headers), order.headers.length)
    if r.authenticated and not hide and (order == NULL or not is_listed(head, order.remove, b"P-Asserted-Identity", 19)):
        put(w, b"P-Asserted-Identity: <sip:", 26)
        put(w, r.aor, r.aor_length)
        put(w, b">\r\n", 3)
    return hide


cdef inline bint lacks_length(const Message* m, const Flow* out) noexcept nogil:
    # A datagram ends where it ends; on a stream only Content-Length says where a message does (RFC 3261 20.14).
    return m.content_length < 0 and out.transport > TRANSPORT_UDP


cdef void put_length(Writer* w, const Message* m) noexcept nogil:
    put(w, b"Content-Length: ", 16)
    put_number(w, m.size - m.body)
    put(w, b"\r\n", 2)


cdef void put_forwarded(Proxy* p, Writer* w, const Message* m, const Routing* r, const Flow* out, const uint8_t* uri,
                        uint32_t uri_length, const uint8_t* branch, uint32_t branch_length, bint record_route,
                        uint32_t breadth, const Target* target) noexcept nogil:
    cdef const uint8_t* data = m.data
    cdef uint32_t at = m.headers[0].name, i, line, k
    cdef bint routes_done = False, hide = False
    cdef const Header* h
    cdef const SentBy* by = sent_by(p, out)
    cdef const PlanTarget* order = target.order if target != NULL else NULL
    cdef uint64_t edited = EDITED
    put(w, data + m.method_text.start, slice_length(m.method_text))
    put(w, b" ", 1)
    if r.strict:
        put_slice(w, data, r.next_hop.whole)
    elif is_sips(uri) and r.target.scheme != SCHEME_SIPS:
        put(w, b"sip", 3)        # RFC 5630 5.3: safe is the way there, but nobody has asked for that
        put(w, uri + 4, uri_length - 4)
    else:
        put(w, uri, uri_length)
    if out.transport == TRANSPORT_UDP:
        put(w, b" SIP/2.0\r\nVia: SIP/2.0/UDP ", 27)
    else:
        put(w, b" SIP/2.0\r\nVia: SIP/2.0/", 23)
        put_text(w, TRANSPORT_NAME[out.transport])
        put(w, b" ", 1)
    put(w, by.text, by.length)
    put(w, b";branch=", 8)
    put(w, branch, branch_length)
    if out.transport == TRANSPORT_TLS and p.settings.tls_alias and not flow_is_fixed(out):
        put(w, b";alias", 6)     # its peer may answer with requests (RFC 5923 5)
    if r.stateless and r.source.reliable:
        put(w, b";flow=", 6)     # nobody else remembers which connection its answer belongs to
        put_flow_token(p, w, &r.source, c'v')
    put(w, b"\r\n", 2)
    if record_route:
        # Each side is given an address it can reach; where that is not one and the same, both (RFC 5658 3). Of two the
        # one a request comes to last says by which flow it goes on.
        put_record_route(p, w, m, r, out, out)
        if not same_sent_by(p, out, &r.source) or is_recorded_flow(out) or is_recorded_flow(&r.source):
            put_record_route(p, w, m, r, out, &r.source)
    if target != NULL and target.path_length:
        put(w, b"Route: ", 7)
        put(w, target.path, target.path_length)
        put(w, b"\r\n", 2)
    elif target == NULL and r.path_length:
        put(w, b"Route: ", 7)
        put(w, r.path, r.path_length)
        put(w, b"\r\n", 2)
    if m.method == METHOD_REGISTER and has_header(m, HDR_SUPPORTED):
        add_path(p, w, m, r, out)
    if m.max_forwards < 0:
        put(w, b"Max-Forwards: 70\r\n", 18)
    if has_header(m, HDR_MAX_BREADTH):
        pass
    elif breadth == MAX_BREADTH:
        put(w, b"Max-Breadth: 60\r\n", 17)
    else:
        put(w, b"Max-Breadth: ", 13)
        put_number(w, breadth)
        put(w, b"\r\n", 2)
    if lacks_length(m, out):
        put_length(w, m)
    if order != NULL or r.authenticated or has_header(m, HDR_PRIVACY):
        hide = put_added(p, w, m, r, target, out)
    if order != NULL and order.remove.length:
        edited = 0xFFFFFFFFFFFFFFFF
    for i in range(m.header_count):
        h = &m.headers[i]
        if not (edited >> h.id) & 1:
            continue
        line = line_end(m, i)
        if h.id == HDR_VIA:
            if i != m.first[<int>HDR_VIA]:
                continue
            put(w, data + at, m.via.whole.start - at)
            put_top_via(w, m, &r.answer)
            at = m.via.whole.end
        elif h.id == HDR_MAX_FORWARDS:
            put(w, data + at, h.value - at)
            put_number(w, m.max_forwards - 1)
            at = h.end
        elif h.id == HDR_ROUTE:
            if not r.rewrite_routes:
                continue
            put(w, data + at, h.name - at)
            at = line
            if not routes_done:
                routes_done = True
                for k in range(1 if r.strict else 0, r.route_count):
                    put(w, b"Route: ", 7)
                    put_slice(w, data, r.routes[k])
                    put(w, b"\r\n", 2)
                if r.strict:
                    put(w, b"Route: <", 8)
                    put(w, uri, uri_length)
                    put(w, b">\r\n", 3)
        elif h.id == HDR_PROXY_AUTHORIZATION:
            if credentials_are_own(p, m, &r.source, h):
                put(w, data + at, h.name - at)
                at = line
        elif h.id == HDR_MAX_BREADTH:
            if i == m.first[<int>HDR_MAX_BREADTH]:
                put(w, data + at, h.value - at)
                put_number(w, breadth)
                at = h.end
            else:
                put(w, data + at, h.name - at)
                at = line
        elif (h.id == HDR_P_ASSERTED_IDENTITY and (hide or not r.trusted)) or (
                h.id == HDR_P_PREFERRED_IDENTITY and not r.trusted):
            put(w, data + at, h.name - at)
            at = line
        elif (order != NULL and order.remove.length
                and is_listed(target.context.plan.head, order.remove, data + h.name, name_length(m, h))):
            put(w, data + at, h.name - at)
            at = line
    put(w, data + at, m.size - at)


cdef uint32_t name_length(const Message* m, const Header* h) noexcept nogil:
    cdef uint32_t at = h.name
    while at < h.value and m.data[at] != c':' and m.data[at] != c' ' and m.data[at] != c'\t':
        at += 1
    return at - h.name


cdef inline uint32_t max_breadth(const Message* m) noexcept nogil:
    # What came, what is assumed where nothing came, and never more than a proxy may accept (RFC 5393 5.3.3). 0: malformed.
    cdef long value
    if not has_header(m, HDR_MAX_BREADTH):
        return MAX_BREADTH
    value = parse_number(m.data, header_value(m, HDR_MAX_BREADTH))
    return <uint32_t>min(max(value, 0), <long>MAX_BREADTH)


cdef bint records_route(const Proxy* p, const Message* m) noexcept nogil:
    # Requests that may begin a dialog (16.6 step 4).
    return (p.settings.record_route and not m.to_tag.end
            and (m.method == METHOD_INVITE or m.method == METHOD_SUBSCRIBE or m.method == METHOD_REFER))


cdef int start_target(Proxy* p, ResponseContext* ctx, Target* target, const Message* m,
                      const Routing* r) noexcept nogil:
    # One branch: client transaction, request, Timer C. 0, or the status this branch failed with at once.
    cdef Transaction* client
    cdef uint8_t branch[BRANCH_LENGTH]
    cdef const uint8_t* uri = m.data + r.target.whole.start
    cdef uint32_t uri_length = slice_length(r.target.whole), try_time
    cdef Buffer* request
    cdef Writer w
    cdef int status
    if ctx.secure and target.uri != NULL and not is_sips(target.uri):
        return 480               # RFC 5630 5.3
    if not hop_of(p, ctx, target):
        return 503
    if p.settings.gateway_room and not target.gateway:
        status = meet_gateway(p, ctx, target)
        if status:
            return status
    if not gateway_admits(p, ctx, target):
        return 503
    client = client_transaction(p.layer, m.method)
    if client == NULL:
        return 503
    write_branch(p.layer, client, r.loop_hash, branch)
    if target.uri != NULL:
        uri, uri_length = target.uri, target.uri_length
    writer_init(&w, p.scratch, SCRATCH_SIZE)
    put_forwarded(p, &w, m, r, &target.flow, uri, uri_length, branch, BRANCH_LENGTH, records_route(p, m),
                  target.breadth, target)
    if w.at - w.start > p.settings.udp_max and takes_stream(p, ctx, target, m, r, <uint32_t>(w.at - w.start)):
        writer_init(&w, p.scratch, SCRATCH_SIZE)
        put_forwarded(p, &w, m, r, &target.flow, uri, uri_length, branch, BRANCH_LENGTH, records_route(p, m),
                      target.breadth, target)
    if w.overflow or w.at - w.start > MAX_DATAGRAM:
        client_discard(p.layer, client)
        return 513
    request = buffer_copy(p.pool, w.start, <uint32_t>(w.at - w.start))
    if request == NULL:
        client_discard(p.layer, client)
        return 503
    client.user = ctx
    client.branch = <uint16_t>(target - ctx.plan.targets)
    target.client = client
    target.state = TARGET_ACTIVE
    ctx.active += 1
    ctx.in_step += 1
    ctx.breadth -= target.breadth
    try_time = target.order.try_time if target.order != NULL else 0
    if target.large == LARGE_STREAM:
        try_time = LARGE_SILENCE
    if try_time:
        timer_arm(p.layer.wheel, &target.timer_c, p.layer.now, try_time)
    elif m.method == METHOD_INVITE:
        timer_arm(p.layer.wheel, &target.timer_c, p.layer.now, p.settings.timer_c)
    count_add(p.block, COUNT_requests_out, 1)
    client_start(p.layer, client, request, &target.flow)      # on failure proxy_on_failure has run
    buffer_release(p.pool, request)
    return 0


cdef void forward_ack(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # The ACK of a 2xx goes end to end without a transaction (16.11); its branch is a function of the one it came with.
    cdef Writer w
    cdef HashState h
    cdef uint8_t branch[24]
    cdef const uint8_t* uri = m.data + r.target.whole.start
    cdef uint32_t uri_length = slice_length(r.target.whole)
    cdef Buffer* buffer
    if is_answer_tag(p, m, r.call):
        return                   # of an answer made here without a transaction: it ends here
    if (not r.token_valid and r.trusted < (TRUST_GATEWAY if r.own else TRUST_NEIGHBOUR)
            and (p.settings.record_route or not r.own)):
        # Where routes are recorded the ACK of a 2xx to one of our users brings ours back; what comes without one is the
        # ACK of a refusal that somebody else's To tag hides from is_answer_tag.
        count_add(p.block, COUNT_dropped_stray if r.own else COUNT_relay_denied, 1)
        return
    if not find_hop(p, m, r):
        if p.missed and delay(p, m, r):
            return
        count_add(p.block, COUNT_dropped_stray if r.own else COUNT_dropped_unsendable, 1)
        return
    if r.binding_length:
        uri, uri_length = r.binding, r.binding_length
    siphash_start(&h, &p.control.branch_key)
    siphash_word(&h, r.call)
    siphash_add(&h, m.data + m.via.branch.start, slice_length(m.via.branch))
    writer_init(&w, branch, 24)
    put(&w, b"z9hG4bK-", 8)
    put_hex(&w, siphash_finish(&h), 16)
    writer_init(&w, p.scratch, SCRATCH_SIZE)
    put_forwarded(p, &w, m, r, &r.hop, uri, uri_length, branch, 24, False, max_breadth(m), NULL)
    if w.overflow or w.at - w.start > MAX_DATAGRAM:
        count_add(p.block, COUNT_dropped_unsendable, 1)
        return
    buffer = buffer_copy(p.pool, w.start, <uint32_t>(w.at - w.start))
    if buffer == NULL:
        return
    if transport_send(p.transport, &r.hop, buffer) == 0:
        count_add(p.block, COUNT_requests_out, 1)
    buffer_release(p.pool, buffer)
