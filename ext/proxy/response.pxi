# Response processing (RFC 3261 16.7), Timer C (16.8) and CANCEL (16.10).

cdef const Message* stored_request(Proxy* p, const Transaction* server) noexcept nogil:
    # The request a server transaction holds, parsed again: only answers made here need it.
    if server == NULL or server.request == NULL:
        return NULL
    if parse_message(p.stored, server.request.data, server.request.length, DATAGRAM) <= 0:
        return NULL
    return p.stored


cdef void respond(Proxy* p, ResponseContext* ctx, const Message* m, int status) noexcept nogil:
    # An answer made here, through the server transaction. `m` is its request, NULL to parse it again.
    cdef Writer w
    cdef Buffer* buffer
    if ctx.server == NULL:
        return
    if m == NULL:
        m = stored_request(p, ctx.server)
        if m == NULL:
            return
    response_begin(p, &w, m, &ctx.server.flow, status)
    if status == 100:
        put_timestamp(&w, m)
    elif status == 503:
        put_text(&w, b"Retry-After: 5\r\n")
    buffer = response_end(p, &w)
    if buffer == NULL:
        return
    if server_respond(p.layer, ctx.server, buffer, status):
        count_add(p.block, COUNT_responses_out, 1)
    buffer_release(p.pool, buffer)


cdef Buffer* upstream_copy(Proxy* p, const Message* m) noexcept nogil:
    # A response without its topmost via-parm (16.7 step 3); NULL if that was the only one: it was for us.
    cdef const Header* top = &m.headers[m.first[<int>HDR_VIA]]
    cdef uint32_t cut, cut_end, i, later = 0
    cdef Buffer* buffer
    if m.via.next.end:
        cut, cut_end = top.value, m.via.next.start
    else:
        for i in range(m.first[<int>HDR_VIA] + 1, m.header_count):
            if m.headers[i].id == HDR_VIA:
                later = i
                break
        if later == 0:
            return NULL
        cut, cut_end = top.name, line_end(m, m.first[<int>HDR_VIA])
    buffer = buffer_new(p.pool, m.size - (cut_end - cut))
    if buffer == NULL:
        return NULL
    memcpy(buffer.data, m.data, cut)
    memcpy(buffer.data + cut, m.data + cut_end, m.size - cut_end)
    buffer.length = m.size - (cut_end - cut)
    return buffer


cdef bint send_upstream(Proxy* p, Transaction* server, Buffer* response, int status) noexcept nogil:
    if server == NULL or response == NULL or not server_respond(p.layer, server, response, status):
        return False
    count_add(p.block, COUNT_responses_out, 1)
    return True


cdef int preference(int status) noexcept nogil:
    # Order of 16.7 step 6, smallest first: 6xx, then the lowest class; within 4xx those that tell how to go on.
    if status >= 600:
        return 0
    if status < 400:
        return 100
    if status == 401 or status == 407 or status == 415 or status == 420 or status == 484:
        return 200
    if status < 500:
        return 300 if status != 408 else 350
    return 400 if status != 503 else 450


cdef void consider(Proxy* p, ResponseContext* ctx, int status, const Message* m) noexcept nogil:
    # A branch ended with this final status: keep it if it is the best so far (16.7 step 4).
    if ctx.best_status and preference(status) >= preference(ctx.best_status):
        return
    ctx.best_status = status
    buffer_release(p.pool, ctx.best)
    ctx.best = upstream_copy(p, m) if m != NULL else NULL
    if m != NULL and ctx.best == NULL:
        ctx.best_status = 502    # without a Via line for the way up (16.7 step 3)


cdef void finish_step(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # Every branch of the step has ended without a 2xx: the best answer goes upstream (16.7 step 6) and the context ends.
    cdef int status = ctx.best_status
    ctx.final_sent = 1
    if ctx.cancelled and ctx.best == NULL:
        status = 487
    if status == 408 and ctx.method != METHOD_INVITE:
        # RFC 4320 4.2: by now the client has given up by itself, and a 408 would reach it as a stray.
        context_free(p, ctx)
        return
    if status == 503:
        # 503 says "send nothing more to this server": true of the one below, not of us.
        status = 500
        buffer_release(p.pool, ctx.best)
        ctx.best = NULL
    if ctx.method == METHOD_INVITE and ctx.initial:
        count_call(p, status)
    if ctx.best != NULL:
        send_upstream(p, ctx.server, ctx.best, status)
    else:
        respond(p, ctx, NULL, status)
    context_free(p, ctx)


cdef void end_target(Proxy* p, ResponseContext* ctx, Target* target) noexcept nogil:
    timer_cancel(p.layer.wheel, &target.timer_c)
    target.state = TARGET_DONE
    if target.client != NULL:
        target.client.user = NULL
        target.client = NULL
    ctx.active -= 1


cdef void link(Transaction* client, Transaction* server) noexcept nogil:
    # What is left of a context after a 2xx to an INVITE: later copies of it find the way up (RFC 6026 7.1, 8.5).
    client.user = server
    client.branch = LINKED
    server.user = client
    server.branch = LINKED


cdef void proxy_on_response(void* self, Transaction* client, const Message* m) noexcept nogil:
    cdef Proxy* p = <Proxy*>self
    cdef ResponseContext* ctx
    cdef Target* target
    cdef Transaction* server
    cdef Buffer* response
    if client.user == NULL:
        return                   # to our CANCEL, or to a branch whose caller has its answer
    if client.branch == LINKED:
        if 200 <= m.status < 300:
            response = upstream_copy(p, m)
            send_upstream(p, <Transaction*>client.user, response, m.status)
            buffer_release(p.pool, response)
        return
    ctx = <ResponseContext*>client.user
    target = &ctx.plan.targets[client.branch]
    if m.status < 200:
        on_provisional(p, ctx, target, client, m)
        return
    end_target(p, ctx, target)
    response = upstream_copy(p, m) if m.status < 300 else NULL
    if response == NULL:
        if ctx.method == METHOD_BYE and (m.status == 481 or m.status == 408):
            dialog_ended(p, m)                   # so does a BYE that finds nothing to end (RFC 3261 15.1.1)
        if m.status == 487 and not ctx.cancelled and target.cancel_sent:
            consider(p, ctx, 408, NULL)          # Timer C gave up this branch, not the caller
        else:
            consider(p, ctx, m.status, m)
        if ctx.active == 0:
            finish_step(p, ctx)
        return
    send_upstream(p, ctx.server, response, m.status)
    buffer_release(p.pool, response)
    ctx.final_sent = 1
    if ctx.method == METHOD_INVITE and ctx.initial:
        count_call(p, m.status)
        dialog_confirmed(p, m)
    elif ctx.method == METHOD_BYE:
        dialog_ended(p, m)
    server = ctx.server          # as it is after the sending, which may have ended it
    if server != NULL and server.state != STATE_ACCEPTED:
        server = NULL
    context_free(p, ctx)
    if server != NULL:
        link(client, server)


cdef void on_provisional(Proxy* p, ResponseContext* ctx, Target* target, Transaction* client,
                         const Message* m) noexcept nogil:
    cdef Buffer* response
    target.status = m.status
    if target.cancel_pending:
        cancel_target(p, target)
    if m.status == 100 or ctx.method != METHOD_INVITE:
        return                   # RFC 4320 4.1: to other requests no provisional response but 100
    if not target.cancel_sent:
        timer_arm(p.layer.wheel, &target.timer_c, p.layer.now, p.settings.timer_c)
    response = upstream_copy(p, m)
    send_upstream(p, ctx.server, response, m.status)
    buffer_release(p.pool, response)


cdef void branch_failed(Proxy* p, Transaction* client, int status) noexcept nogil:
    cdef ResponseContext* ctx
    if client.user == NULL:
        return
    if client.branch == LINKED:
        return
    ctx = <ResponseContext*>client.user
    end_target(p, ctx, &ctx.plan.targets[client.branch])
    consider(p, ctx, status, NULL)
    if ctx.active == 0:
        finish_step(p, ctx)


cdef void proxy_on_timeout(void* self, Transaction* t) noexcept nogil:
    if t.machine == INVITE_CLIENT or t.machine == NON_INVITE_CLIENT:
        branch_failed(<Proxy*>self, t, 408)


cdef void proxy_on_failure(void* self, Transaction* t) noexcept nogil:
    if t.machine == INVITE_CLIENT or t.machine == NON_INVITE_CLIENT:
        branch_failed(<Proxy*>self, t, 503)


cdef void proxy_on_terminated(void* self, Transaction* t) noexcept nogil:
    cdef ResponseContext* ctx
    if t.user == NULL:
        return
    if t.branch == LINKED:
        (<Transaction*>t.user).user = NULL
        (<Transaction*>t.user).branch = 0
        return
    ctx = <ResponseContext*>t.user
    if t == ctx.server:
        ctx.server = NULL
    else:
        ctx.plan.targets[t.branch].client = NULL


cdef void cancel_target(Proxy* p, Target* target) noexcept nogil:
    # 9.1: not before a provisional response; and a branch that ignores it is given up after 64*T1.
    if target.state != TARGET_ACTIVE or target.client == NULL or target.cancel_sent:
        return
    if target.status == 0:
        target.cancel_pending = 1
        return
    target.cancel_pending = 0
    target.cancel_sent = 1
    timer_arm(p.layer.wheel, &target.timer_c, p.layer.now, 64 * p.settings.t1)
    if client_cancel(p.layer, target.client):
        count_add(p.block, COUNT_requests_out, 1)


cdef void on_timer_c(Proxy* p, Target* target) noexcept nogil:
    # 16.8: CANCEL a branch that rings for ever; if even that brings no final answer, act as if it were a 408.
    cdef Transaction* client = target.client
    if target.state != TARGET_ACTIVE or client == NULL:
        return
    if not target.cancel_sent and target.status:
        cancel_target(p, target)
        return
    branch_failed(p, client, 408)
    transaction_end(p.layer, client)


# The 100 (17.2.1) is owed unless another response goes up within 200 ms. It is held until the turn ends, and by `trying`
# for longer: on a fast network nearly every INVITE is rung or refused before that, and what is not sent costs neither
# side anything. An INVITE that comes again gets its 100 at once.

cdef void begin_trying(Proxy* p, ResponseContext* ctx, const Message* m) noexcept nogil:
    cdef Writer w
    cdef Held* held
    if p.settings.trying:
        ctx.wait.kind = TIMER_TRYING
        timer_arm(p.layer.wheel, &ctx.wait, p.layer.now, p.settings.trying)
        return
    if p.held_count == MAX_HELD:
        proxy_end_turn(p)
    response_begin(p, &w, m, &ctx.server.flow, 100)
    put_timestamp(&w, m)
    held = &p.held[p.held_count]
    held.response = response_end(p, &w)
    if held.response != NULL:
        held.server = ctx.server
        held.generation = ctx.server.generation
        p.held_count += 1


cdef void proxy_end_turn(Proxy* p) noexcept nogil:
    cdef Held* held
    cdef uint32_t i
    for i in range(p.held_count):
        held = &p.held[i]
        if held.server.generation == held.generation and held.server.status == 0:
            send_upstream(p, held.server, held.response, 100)
        buffer_release(p.pool, held.response)
    p.held_count = 0


cdef void repeat_trying(Proxy* p, const Message* m, Transaction* server) noexcept nogil:
    cdef ResponseContext* ctx = <ResponseContext*>server.user
    if ctx != NULL and server.branch != LINKED and timer_is_armed(&ctx.wait):
        timer_cancel(p.layer.wheel, &ctx.wait)
        respond(p, ctx, m, 100)


cdef void on_trying(Proxy* p, ResponseContext* ctx) noexcept nogil:
    if ctx.server != NULL and ctx.server.status == 0:
        respond(p, ctx, NULL, 100)


cdef void proxy_on_timer(void* self, Timer* timer) noexcept nogil:
    if timer.kind == TIMER_C:
        on_timer_c(<Proxy*>self, <Target*>timer)
    elif timer.kind == TIMER_WAIT_STATE:
        on_state_late(<Proxy*>self, <ResponseContext*>timer)
    elif timer.kind == TIMER_TRYING:
        on_trying(<Proxy*>self, <ResponseContext*>timer)


cdef int proxy_send(void* self, const Flow* flow, Buffer* buffer) noexcept nogil:
    return transport_send((<Proxy*>self).transport, flow, buffer)


cdef void on_cancel(Proxy* p, const Message* m, const Flow* flow) noexcept nogil:
    # 16.10 and 9.2. It is never challenged (22.1): who can name the transaction could have sent the INVITE.
    cdef Transaction* server = find_cancelled(p.layer, m)
    cdef ResponseContext* ctx
    cdef uint32_t i
    if server == NULL:
        answer(p, m, flow, 481)
        return
    answer(p, m, flow, 200)
    if server.user == NULL or server.branch == LINKED:
        return                   # it has its final answer
    ctx = <ResponseContext*>server.user
    if ctx.final_sent or ctx.cancelled:
        return
    ctx.cancelled = 1
    for i in range(ctx.plan.target_count):
        cancel_target(p, &ctx.plan.targets[i])
