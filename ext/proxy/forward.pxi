# Request forwarding (RFC 3261 16.6): the received bytes, copied once with the lines a proxy may touch exchanged.

cdef const SentBy* sent_by(Proxy* p, const Flow* flow) noexcept nogil:
    # What to write for messages by this flow. A listener's is nearly always the same.
    cdef SentBy* by = &p.sent_by[flow.listener & 31]
    cdef Address address
    cdef Writer w
    cdef char text[ADDRESS_TEXT]
    transport_sent_by(p.transport, flow, &address)
    if not address_equal(&address, &by.address):
        by.address = address
        writer_init(&w, by.text, sizeof(by.text))
        put(&w, text, address_host(&address, text, True))
        put(&w, b":", 1)
        put_number(&w, address.port)
        by.length = <uint32_t>(w.at - w.start)
    return by


cdef void put_record_route(Proxy* p, Writer* w, const Message* m, const Routing* r, const Flow* out,
                           const Flow* side) noexcept nogil:
    # What is_recorded knows again.
    cdef const SentBy* by = sent_by(p, side)
    put(w, b"Record-Route: <sip:", 19)
    put(w, by.text, by.length)
    put(w, b";lr;rt=", 7)
    put_token(p, w, m, r, out)
    put(w, b">\r\n", 3)


cdef bint same_sent_by(Proxy* p, const Flow* a, const Flow* b) noexcept nogil:
    cdef Address first, second
    transport_sent_by(p.transport, a, &first)
    transport_sent_by(p.transport, b, &second)
    return address_equal(&first, &second)


cdef void put_forwarded(Proxy* p, Writer* w, const Message* m, const Routing* r, const Flow* out, const uint8_t* uri,
                        uint32_t uri_length, const uint8_t* branch, uint32_t branch_length,
                        bint record_route) noexcept nogil:
    cdef const uint8_t* data = m.data
    cdef uint32_t at = m.headers[0].name, i, line, k
    cdef bint routes_done = False
    cdef const Header* h
    cdef const SentBy* by = sent_by(p, out)
    put(w, data + m.method_text.start, slice_length(m.method_text))
    put(w, b" ", 1)
    if r.strict:
        put_slice(w, data, r.next_hop.whole)
    else:
        put(w, uri, uri_length)
    put(w, b" SIP/2.0\r\nVia: SIP/2.0/UDP ", 27)
    put(w, by.text, by.length)
    put(w, b";branch=", 8)
    put(w, branch, branch_length)
    put(w, b"\r\n", 2)
    if record_route:
        # Each side is given an address it can reach; where that is not one and the same, both (RFC 5658 3).
        put_record_route(p, w, m, r, out, out)
        if not same_sent_by(p, out, &r.source):
            put_record_route(p, w, m, r, out, &r.source)
    if m.max_forwards < 0:
        put(w, b"Max-Forwards: 70\r\n", 18)
    for i in range(m.header_count):
        h = &m.headers[i]
        if not (EDITED >> h.id) & 1:
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
        elif h.id == HDR_PROXY_AUTHORIZATION and credentials_are_own(p, m, &r.source, h):
            put(w, data + at, h.name - at)
            at = line
    put(w, data + at, m.size - at)


cdef bint records_route(const Proxy* p, const Message* m) noexcept nogil:
    # Requests that may begin a dialog (16.6 step 4).
    return (p.settings.record_route and not m.to_tag.end
            and (m.method == METHOD_INVITE or m.method == METHOD_SUBSCRIBE or m.method == METHOD_REFER))


cdef int start_target(Proxy* p, ResponseContext* ctx, Target* target, const Message* m,
                      const Routing* r) noexcept nogil:
    # One branch: client transaction, request, Timer C. 0, or the status this branch failed with at once.
    cdef Transaction* client = client_transaction(p.layer, m.method)
    cdef uint8_t branch[BRANCH_LENGTH]
    cdef const uint8_t* uri = m.data + r.target.whole.start
    cdef uint32_t uri_length = slice_length(r.target.whole)
    cdef Buffer* request
    cdef Writer w
    if client == NULL:
        return 503
    write_branch(p.layer, client, r.loop_hash, branch)
    if target.rewrite:
        uri, uri_length = ctx.plan.buffer.data + target.uri_offset, target.uri_length
    writer_init(&w, p.scratch, SCRATCH_SIZE)
    put_forwarded(p, &w, m, r, &target.flow, uri, uri_length, branch, BRANCH_LENGTH, records_route(p, m))
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
    if m.method == METHOD_INVITE:
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
    if not r.token_valid and not r.trusted and (p.settings.record_route or not r.own):
        # Where routes are recorded the ACK of a 2xx to one of our users brings ours back; what comes without one is the
        # ACK of a refusal that somebody else's To tag hides from is_answer_tag.
        count_add(p.block, COUNT_dropped_stray if r.own else COUNT_relay_denied, 1)
        return
    if not find_hop(p, m, r):
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
    put_forwarded(p, &w, m, r, &r.hop, uri, uri_length, branch, 24, False)
    if w.overflow or w.at - w.start > MAX_DATAGRAM:
        count_add(p.block, COUNT_dropped_unsendable, 1)
        return
    buffer = buffer_copy(p.pool, w.start, <uint32_t>(w.at - w.start))
    if buffer == NULL:
        return
    if transport_send(p.transport, &r.hop, buffer) == 0:
        count_add(p.block, COUNT_requests_out, 1)
    buffer_release(p.pool, buffer)
