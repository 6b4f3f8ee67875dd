# Determining the target (RFC 3261 16.5): a Route value, the Request-URI, or a binding of the location service.

cdef const Binding* first_binding(Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # Of the Request-URI's address-of-record, NULL if there is none. Good within this turn.
    cdef uint8_t aor[AOR_SIZE]
    cdef uint32_t length = target_aor(p, m, r, aor), value_length
    cdef const uint8_t* value
    cdef const BindingSet* bindings
    if length == 0 or not segment_find(p.segment, RECORD_BINDINGS, aor, length, &value, &value_length):
        return NULL
    bindings = binding_set(value, value_length)
    return binding_first(bindings) if bindings != NULL else NULL


cdef uint32_t ringable(Proxy* p, const Routing* r, const Binding* b, Flow* flow) noexcept nogil:
    # The length of a binding's URI as a Request-URI and how to reach it; 0 if nothing can be sent there.
    cdef Uri contact
    cdef Slice text
    if b.expires <= p.wall or b.uri_length >= MAX_URI or (r.gruu and not is_meant(p, r, b)):
        return 0
    text.start, text.end = 0, b.uri_length
    if not parse_uri(binding_uri(b), text, &contact) or not binding_flow(p, b, &contact, &r.source, flow):
        return 0
    if contact.scheme == SCHEME_SIPS:
        if not is_secure(flow.transport):
            return 0             # RFC 5630 5.3: nobody is reached less safely than he, or the caller, asked for
    elif r.target.scheme == SCHEME_SIPS:
        return 0
    # Headers of a URI mean nothing in a Request-URI (19.1.1, table 1).
    return contact.headers.start - 1 if contact.headers.end else b.uri_length


cdef bint find_binding(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # The bindings to ring: how many, and the best of them: highest q, then the one registered last. Its URI is copied,
    # for the record is only good within this turn.
    cdef const Binding* b = first_binding(p, m, r)
    cdef const Binding* best = NULL
    cdef Flow flow
    cdef uint32_t length
    r.bindings = 0
    while b != NULL:
        length = ringable(p, r, b, &flow)
        if length:
            r.bindings += 1
            if best == NULL or b.q > best.q or (b.q == best.q and b.updated > best.updated):
                best = b
                r.hop = flow
                r.binding_length = length
        b = binding_next(b)
    if best == NULL:
        return False
    memcpy(r.binding, binding_uri(best), r.binding_length)
    r.path, r.path_length = binding_path(best), best.path_length
    return True


cdef bint find_hop(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # Where the request goes from here (16.5, 16.6 steps 6 and 7): looked for once, found in `hop` and `binding`.
    if not r.hop_sought:
        r.hop_sought = True
        p.located = 0
        if r.own:
            r.binding_length = r.path_length = 0
            r.hop_found = find_binding(p, m, r)
        else:
            r.hop_found = hop_to(p, r.target.scheme == SCHEME_SIPS, m.data, &r.next_hop if r.route_count else &r.target,
                                 &r.source, &r.hop)
        r.servers = p.located if r.bindings <= 1 else 0
    return r.hop_found and (r.target.scheme != SCHEME_SIPS or is_secure(r.hop.transport))


cdef bint is_user(const Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # Somebody who may register here, now or once: 480 for them, 404 for nobody.
    cdef uint8_t aor[AOR_SIZE]
    cdef uint32_t length = target_aor(p, m, r, aor), value_length
    cdef const uint8_t* value
    return length and (segment_find(p.segment, RECORD_USER, aor, length, &value, &value_length)
                       or segment_find(p.segment, RECORD_BINDINGS, aor, length, &value, &value_length))


cdef bint make_plan(Proxy* p, ResponseContext* ctx, const Message* m, const Routing* r) noexcept nogil:
    # One step: the next hop, or every binding (16.5). False when memory is out.
    cdef uint32_t room = 0, spare = MAX_RECURSION if p.settings.recurse and r.own else 0
    cdef uint8_t* text
    cdef Target* target
    if r.own and r.bindings > 1:
        return plan_bindings(p, ctx, m, r, spare)
    if r.servers > 1:
        return plan_servers(p, ctx, m, r, spare)
    text = plan_new(p, ctx, 1, 1 + spare, r.binding_length + r.path_length + spare * MAX_URI)
    if text == NULL:
        return False
    target = &ctx.plan.targets[0]
    target.flow = r.hop
    if r.binding_length:
        memcpy(text, r.binding, r.binding_length)
        target.uri = text
        target.uri_length = r.binding_length
    if r.path_length:
        keep_path(target, text + r.binding_length, r.path, r.path_length)
    return True


cdef void keep_path(Target* target, uint8_t* text, const uint8_t* path, uint32_t length) noexcept nogil:
    memcpy(text, path, length)
    target.path, target.path_length = text, <uint16_t>length


cdef bint plan_bindings(Proxy* p, ResponseContext* ctx, const Message* m, const Routing* r,
                        uint32_t spare) noexcept nogil:
    cdef const Binding* b = first_binding(p, m, r)
    cdef const Binding* bindings[MAX_TARGETS]
    cdef uint32_t count = 0, size = 0, length, instances = 0
    cdef uint8_t* text
    cdef Target* target
    while b != NULL and count < MAX_TARGETS:
        count += 1
        size += b.uri_length + b.path_length
        b = binding_next(b)
    text = plan_new(p, ctx, count, count + spare, size + kept_size(m) + spare * MAX_URI) if count else NULL
    if text == NULL:
        return False
    text = keep_request(ctx, text, m)
    b = first_binding(p, m, r)
    target = ctx.plan.targets
    while b != NULL and target < ctx.plan.targets + count:
        length = ringable(p, r, b, &target.flow)
        if length:
            memcpy(text, binding_uri(b), length)
            target.uri = text
            target.uri_length = length
            target.q = b.q
            text += length
            if b.path_length:
                keep_path(target, text, binding_path(b), b.path_length)
                text += b.path_length
            instances += b.parameters_length != 0
            bindings[target - ctx.plan.targets] = b
            target += 1
        b = binding_next(b)
    ctx.plan.target_count = <uint16_t>(target - ctx.plan.targets)
    ctx.plan.target_room = <uint16_t>(ctx.plan.target_count + spare)
    if instances > 1:
        set_spares_apart(ctx, bindings, ctx.plan.target_count)
    return True


cdef int destination(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.5 and 16.6 without a policy: 0 with a next hop in `r`, else the status to answer.
    if not r.own:
        if not may_relay(r):
            count_add(p.block, COUNT_relay_denied, 1)
            return 403           # a gateway, for which nobody has a plan
        # No next hop is a transport error: 503 from below, 500 from us (16.6 step 7, 16.7 step 6).
        if not find_hop(p, m, r):
            return 500
        seek_stream(p, m, r)
        return 0
    if find_hop(p, m, r):
        return 0
    if r.gruu and is_outdated(p, m, r):
        return 404
    return 480 if is_user(p, m, r) else 404


cdef void answer_status(Proxy* p, const Message* m, const Routing* r, int status) noexcept nogil:
    # Somebody who is there, but not for sips, is told apart from nobody (RFC 5630 5.3).
    cdef Writer w
    if status != 480 or r.target.scheme != SCHEME_SIPS or first_binding(p, m, r) == NULL:
        answer(p, m, &r.answer, status)
        return
    response_begin(p, &w, m, &r.answer, status)
    put_text(&w, NOT_ALLOWED)
    send_buffer(p, &r.answer, response_end(p, &w))


cdef bint is_for_us(Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # A request for the server itself (8.2), answered.
    if r.own == 0 or r.own == OWN_NUMBER or r.target.user.end > r.target.user.start:
        return False
    if has_header(m, HDR_REQUIRE):
        answer_unsupported(p, m, &r.answer, HDR_REQUIRE)
    elif m.method == METHOD_OPTIONS:
        answer_options(p, m, &r.answer)
    else:
        answer(p, m, &r.answer, 501 if m.method == METHOD_UNKNOWN else 405)
    return True


cdef ResponseContext* open_context(Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # A server transaction and its context; NULL, and 503 was answered, when there is no room.
    cdef Buffer* request = buffer_copy(p.pool, m.data, m.size)
    cdef Transaction* server = server_transaction(p.layer, m, &r.answer, request) if request != NULL else NULL
    cdef ResponseContext* ctx
    buffer_release(p.pool, request)
    if server == NULL:
        refuse_full(p, m, r, NULL)
        return NULL
    ctx = context_new(p, CONTEXT_PROXY, server, m)
    if ctx == NULL:
        transaction_end(p.layer, server)
        refuse_full(p, m, r, NULL)
        return NULL
    ctx.source = r.source
    ctx.secure = r.target.scheme == SCHEME_SIPS
    ctx.call, ctx.loop_hash = r.call, r.loop_hash
    ctx.breadth = <uint16_t>max_breadth(m)
    ctx.rights = ((RIGHT_OWN if r.own else 0) | (RIGHT_TRUSTED if r.trusted else 0)
                  | (RIGHT_AUTHENTICATED if r.authenticated else 0) | (RIGHT_TOKEN if r.token_valid else 0)
                  | (RIGHT_GATEWAY if r.trusted == TRUST_GATEWAY else 0))
    return ctx


cdef void refuse_full(Proxy* p, const Message* m, const Routing* r, ResponseContext* ctx) noexcept nogil:
    if ctx != NULL:
        context_free(p, ctx)
    count_add(p.block, COUNT_rejected_full, 1)
    answer(p, m, &r.answer, 503)


cdef void proxy_request_on(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.5 and 16.6 for everything but ACK and CANCEL: where to, may it go there, then a plan in a response context.
    cdef ResponseContext* ctx
    cdef int status
    if not r.own and not may_relay(r) and not r.trusted and not (r.path_given and not r.route_count):
        refuse_relay(p, m, r)
        return
    if is_for_us(p, m, r):
        return
    if has_header(m, HDR_MAX_BREADTH) and max_breadth(m) == 0:
        answer(p, m, &r.answer, 400)
        return
    if records_route(p, m):
        note_sender_flow(p, m, r)
    if not m.to_tag.end and not r.gruu and (p.settings.asks or control_services(p.control)) and must_ask(p, m, r):
        if m.max_forwards == 0:
            answer(p, m, &r.answer, 483)
        else:
            ask_route(p, m, r)
        return
    status = destination(p, m, r)
    if status == 0 and m.max_forwards == 0:
        status = 483
    if p.missed and status != 483:
        ask_name(p, m, r)
        return
    if status:
        answer_status(p, m, r, status)
        return
    ctx = open_context(p, m, r)
    if ctx == NULL:
        return
    if not make_plan(p, ctx, m, r):
        refuse_full(p, m, r, ctx)
        return
    if m.method == METHOD_INVITE:
        begin_trying(p, ctx, m)
    run_plan(p, ctx, m, r)
