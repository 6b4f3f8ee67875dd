# Determining the target (RFC 3261 16.5): a Route value, the Request-URI, or a binding of the location service.

cdef bint find_binding(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # The binding to ring: highest q, then the one registered last, among those a message can be sent to. Its URI is
    # copied, for the record is only good within this turn.
    cdef uint8_t aor[AOR_SIZE]
    cdef uint32_t length = own_address_of_record(p, m.data, &r.target, r.own, aor, AOR_SIZE), value_length
    cdef const uint8_t* value
    cdef const BindingSet* bindings
    cdef const Binding* b
    cdef const Binding* best = NULL
    cdef Flow flow
    cdef Uri contact
    cdef Slice text
    if length == 0 or not segment_find(p.segment, RECORD_BINDINGS, aor, length, &value, &value_length):
        return False
    bindings = binding_set(value, value_length)
    if bindings == NULL:
        return False
    b = binding_first(bindings)
    while b != NULL:
        if (b.expires > p.wall and b.uri_length < MAX_URI
                and (best == NULL or b.q > best.q or (b.q == best.q and b.updated > best.updated))):
            text.start, text.end = 0, b.uri_length
            if parse_uri(binding_uri(b), text, &contact) and next_hop(p, binding_uri(b), &contact, &r.source, &flow):
                best = b
                r.hop = flow
                # Headers of a URI mean nothing in a Request-URI (19.1.1, table 1).
                r.binding_length = contact.headers.start - 1 if contact.headers.end else b.uri_length
        b = binding_next(b)
    if best == NULL:
        return False
    memcpy(r.binding, binding_uri(best), r.binding_length)
    return True


cdef bint find_hop(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # Where the request goes from here (16.5, 16.6 steps 6 and 7): looked for once, found in `hop` and `binding`.
    if not r.hop_sought:
        r.hop_sought = True
        r.binding_length = 0
        if r.own:
            r.hop_found = find_binding(p, m, r)
        else:
            r.hop_found = next_hop(p, m.data, &r.next_hop if r.route_count else &r.target, &r.source, &r.hop)
    return r.hop_found


cdef bint is_user(const Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # Somebody who may register here, now or once: 480 for them, 404 for nobody.
    cdef uint8_t aor[AOR_SIZE]
    cdef uint32_t length = own_address_of_record(p, m.data, &r.target, r.own, aor, AOR_SIZE), value_length
    cdef const uint8_t* value
    return length and (segment_find(p.segment, RECORD_USER, aor, length, &value, &value_length)
                       or segment_find(p.segment, RECORD_BINDINGS, aor, length, &value, &value_length))


cdef int make_plan(Proxy* p, ResponseContext* ctx, const Flow* hop, const uint8_t* uri,
                   uint32_t uri_length) noexcept nogil:
    # One step with one target. 1, or 0 when memory is out.
    cdef Target* target
    if not plan_new(p, ctx, 1, 1, uri_length):
        return 0
    ctx.plan.steps[0].first = 0
    ctx.plan.steps[0].count = 1
    target = &ctx.plan.targets[0]
    target.flow = hop[0]
    target.q = 1000
    if uri_length:
        plan_uri(ctx, target, uri, uri_length)
    return 1


cdef void start_step(Proxy* p, ResponseContext* ctx, const Message* m, const Routing* r) noexcept nogil:
    # Try every target of the current step. A branch that cannot even start counts as answered.
    cdef Step* step = &ctx.plan.steps[ctx.step]
    cdef Target* target
    cdef uint32_t i
    cdef int status
    ctx.active += 1              # so that a branch that fails at once does not end the step before all have started
    for i in range(step.first, step.first + step.count):
        target = &ctx.plan.targets[i]
        status = start_target(p, ctx, target, m, r)
        if status:
            target.state = TARGET_DONE
            consider(p, ctx, status, NULL)
    ctx.active -= 1
    if ctx.active == 0 and not ctx.final_sent:
        finish_step(p, ctx)


cdef void proxy_request_on(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.5 and 16.6 for everything but ACK and CANCEL: where to, may it go there, then a plan in a response context.
    cdef Transaction* server
    cdef ResponseContext* ctx
    cdef Buffer* request
    cdef bint may_relay = r.trusted or r.authenticated or r.token_valid
    if not r.own:
        if not may_relay:
            count_add(p.block, COUNT_relay_denied, 1)
            answer(p, m, &r.answer, 403)
            return
        if not find_hop(p, m, r):
            # No next hop is a transport error: 503 from below, 500 from us (16.6 step 7, 16.7 step 6).
            answer(p, m, &r.answer, 500)
            return
    elif r.target.user.end == r.target.user.start:
        if has_header(m, HDR_REQUIRE):
            answer_unsupported(p, m, &r.answer, HDR_REQUIRE)
        elif m.method == METHOD_OPTIONS:
            answer_options(p, m, &r.answer)
        else:
            answer(p, m, &r.answer, 405)
        return
    elif not find_hop(p, m, r):
        answer(p, m, &r.answer, 480 if is_user(p, m, r) else 404)
        return
    if m.max_forwards == 0:
        answer(p, m, &r.answer, 483)
        return
    request = buffer_copy(p.pool, m.data, m.size)
    server = server_transaction(p.layer, m, &r.answer, request) if request != NULL else NULL
    buffer_release(p.pool, request)
    ctx = context_new(p, CONTEXT_PROXY, server, m) if server != NULL else NULL
    if ctx == NULL or not make_plan(p, ctx, &r.hop, r.binding, r.binding_length):
        if ctx != NULL:
            context_free(p, ctx)
        elif server != NULL:
            transaction_end(p.layer, server)
        count_add(p.block, COUNT_rejected_full, 1)
        answer(p, m, &r.answer, 503)
        return
    if m.method == METHOD_INVITE:
        begin_trying(p, ctx, m)
    start_step(p, ctx, m, r)
