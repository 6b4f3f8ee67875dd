# Forwarding without a transaction (RFC 3261 16.11): for domains and listen addresses with that role, and a CANCEL that
# meets no response context.
#
# No 100, no retransmission, no fork: the binding with the highest q, of several the one whose URI sorts first, so that a
# refreshed registration changes nothing and CANCEL and ACK go where their INVITE went. Passwords are asked for as ever, but
# a request that comes again has credentials that were used before, and only a transaction knows that this is no replay:
# so as long as a nonce holds, what was sent with it may be sent again. ACK and CANCEL cannot be asked, and leave our
# domains for the trusted and in dialogs only. Nobody decides but the segment: no services, no dial plan, no gateway.

cdef bint find_stable(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # The one target, by what is in the message and the segment alone.
    cdef const Binding* b = first_binding(p, m, r)
    cdef const Binding* best = NULL
    cdef uint32_t length
    cdef Flow flow
    cdef int order
    while b != NULL:
        length = ringable(p, r, b, &flow)
        if length:
            order = 0
            if best != NULL:
                order = <int>best.q - <int>b.q
                if order == 0:
                    order = memcmp(binding_uri(b), binding_uri(best), min(b.uri_length, best.uri_length))
            if best == NULL or order < 0:
                best = b
                r.hop = flow
                r.binding_length = length
        b = binding_next(b)
    if best == NULL:
        return False
    memcpy(r.binding, binding_uri(best), r.binding_length)
    r.path, r.path_length = binding_path(best), best.path_length
    return True


cdef uint32_t stateless_loop_hash(const Proxy* p, const Message* m, uint64_t call) noexcept nogil:
    # As loop_hash, without what a CANCEL or an ACK does not share with its INVITE: method and To tag (16.6 step 8).
    cdef HashState h
    cdef uint32_t i
    siphash_start(&h, &p.control.branch_key)
    tablehash_word(&h, call)
    tablehash_word(&h, m.cseq)
    tablehash_add(&h, m.data + m.uri.start, slice_length(m.uri))
    tablehash_add(&h, m.data + m.from_tag.start, slice_length(m.from_tag))
    for i in range(m.header_count):
        if m.headers[i].id == HDR_ROUTE:
            tablehash_add(&h, m.data + m.headers[i].value, m.headers[i].end - m.headers[i].value)
    return <uint32_t>tablehash_finish(&h)


cdef bint is_stateless_loop(const Message* m, uint32_t hash) noexcept nogil:
    # 16.3 step 4. The hash is keyed, so a branch that has it is one of ours.
    cdef uint16_t line = 0
    cdef Slice rest, value
    cdef StatelessBranch seen
    cdef Via via
    rest.start = rest.end = 0
    while next_value(m, HDR_VIA, &line, &rest, &value) > 0:
        if parse_via(m.data, value, &via) and read_stateless_branch(m.data, via.branch, &seen) and seen.loop_hash == hash:
            return True
    return False


cdef int stateless_target(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.5 and 16.6 steps 6 and 7. 0, or the status to answer.
    if has_header(m, HDR_MAX_BREADTH) and max_breadth(m) == 0:
        return 400
    if not r.own:
        if not may_relay(r):
            return 403
        if not find_hop(p, m, r):
            return 500
    elif not find_stable(p, m, r) and not p.missed:
        return 480 if is_user(p, m, r) else 404
    if not r.token_valid and r.trusted != TRUST_NEIGHBOUR and gateway_at(p.settings, &r.hop.remote, r.hop.transport):
        return 403               # its calls are counted, and nothing is here
    return 483 if m.max_forwards == 0 else 0


cdef void forward_stateless(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # After 16.3 and 16.4. What an ACK could not be told is dropped, and a CANCEL that goes nowhere matches nothing.
    cdef StatelessBranch branch
    cdef uint32_t hash = stateless_loop_hash(p, m, r.call)
    cdef bint alone = m.method != METHOD_ACK and m.method != METHOD_CANCEL
    cdef int status = 0
    r.stateless = True
    r.trusted = trust_of_sender(p, r)
    if is_stateless_loop(m, hash):
        count_add(p.block, COUNT_loops, 1)
        status = 482
    elif m.method == METHOD_ACK and is_answer_tag(p, m, r.call):
        return                   # of an answer made here
    elif alone and has_header(m, HDR_PROXY_REQUIRE):
        answer_unsupported(p, m, &r.answer, HDR_PROXY_REQUIRE)
        return
    elif alone and not admit(p, m, r):
        return
    elif alone and not r.own and not may_relay(r):
        refuse_relay(p, m, r)
        return
    elif alone and is_for_us(p, m, r):
        return
    if status == 0:
        set_stable(p, True)
        status = stateless_target(p, m, r)
        set_stable(p, False)
        if p.missed and (status == 0 or status == 500) and delay(p, m, r):
            return
    if status:
        count_add(p.block, COUNT_relay_denied, status == 403)
        if m.method == METHOD_ACK:
            count_add(p.block, COUNT_dropped_stray, 1)
        answer(p, m, &r.answer, 481 if m.method == METHOD_CANCEL and status != 482 else status)
        return
    stateless_identity(&p.control.branch_key, m, r.call, &branch)
    branch.loop_hash = hash
    branch.listener = transport_listener(p.transport, r.source.listener).index
    branch.check = stateless_check(&p.control.branch_key, &branch, r.call, &r.answer.remote)
    send_stateless(p, m, r, &branch)


cdef void send_stateless(Proxy* p, const Message* m, const Routing* r, const StatelessBranch* branch) noexcept nogil:
    cdef uint8_t text[BRANCH_LENGTH]
    cdef const uint8_t* uri = m.data + r.target.whole.start
    cdef uint32_t uri_length = slice_length(r.target.whole)
    cdef Buffer* buffer
    cdef Writer w
    if r.binding_length:
        uri, uri_length = r.binding, r.binding_length
    write_stateless_branch(branch, text)
    writer_init(&w, p.scratch, SCRATCH_SIZE)
    put_forwarded(p, &w, m, r, &r.hop, uri, uri_length, text, BRANCH_LENGTH, records_route(p, m), max_breadth(m), NULL)
    if w.overflow or w.at - w.start > MAX_DATAGRAM:
        answer(p, m, &r.answer, 513)
        return
    buffer = buffer_copy(p.pool, w.start, <uint32_t>(w.at - w.start))
    if buffer == NULL:
        return                   # it comes again
    if transport_send(p.transport, &r.hop, buffer) == 0:
        count_add(p.block, COUNT_requests_out, 1)
    buffer_release(p.pool, buffer)


cdef bint second_via(const Message* m, Via* out) noexcept nogil:
    cdef uint16_t line = 0
    cdef Slice rest, value
    rest.start = rest.end = 0
    return (next_value(m, HDR_VIA, &line, &rest, &value) > 0 and next_value(m, HDR_VIA, &line, &rest, &value) > 0
            and parse_via(m.data, value, out))


cdef bint answer_address(const uint8_t* data, const Via* via, Address* out) noexcept nogil:
    # Where a response with this Via on top goes (18.2.2, RFC 3581 4); nobody gets here whose request put_top_via did not
    # give an address. `maddr` is not followed.
    cdef Slice host = via.received if via.received.end > via.received.start else via.host
    cdef long port = via.port if via.port else 5060
    if via.has_rport and via.rport.end > via.rport.start:
        port = parse_number(data, via.rport)
    return (0 < port <= 65535 and address_parse(out, data + host.start, slice_length(host), <uint16_t>port)
            and address_is_sendable(out))


cdef bint pass_response(Proxy* p, const Message* m, const Packet* packet) noexcept nogil:
    # A response that belongs to no transaction: on to where its request came from, if that was forwarded statelessly. The
    # check stands for "a value this proxy has inserted"; a next Via with another address than the request had, be it
    # broadcast or a loopback that is somebody else's, does not pass it.
    cdef StatelessBranch branch
    cdef Address sender
    cdef Listener* listener
    cdef Flow came, flow
    cdef Buffer* buffer
    cdef uint64_t call
    cdef uint32_t i
    cdef Slice text
    cdef Via via
    if not read_stateless_branch(m.data, m.via.branch, &branch) or not second_via(m, &via):
        return False
    if not answer_address(m.data, &via, &sender):
        return False
    call = packet.call if packet.call else call_hash(p, m)
    if branch.check != stateless_check(&p.control.branch_key, &branch, call, &sender):
        return False
    came = packet.flow
    for i in range(transport_listeners(p.transport)):
        # By the address the request came to (RFC 3581 4).
        listener = transport_listener(p.transport, i)
        if listener.index == branch.listener and listener.fd >= 0 and not listener.adopted:
            if i != came.listener:
                came.listener = <uint16_t>i
                came.local = listener.address
            break
    if find_parameter(m.data, via_parameters(m.data, &m.via), b"flow", &text):
        if not read_flow_token(p, m.data, text, c'v', &flow) or not address_same_ip(&flow.remote, &sender):
            return False
        flow.reliable = FLOW_RELIABLE
    elif not transport_route(p.transport, &came, &sender, TRANSPORT_UDP, &flow):
        return False
    buffer = upstream_copy(p, m, &packet.flow, &flow)
    if buffer != NULL and transport_send(p.transport, &flow, buffer) == 0:
        count_add(p.block, COUNT_responses_out, 1)
    buffer_release(p.pool, buffer)
    return True
