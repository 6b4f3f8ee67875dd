# Response processing (RFC 3261 16.7).

cdef enum:
    LENGTH_LINE = 23             # "Content-Length: 65535" and its end


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
    if ctx.kind == CONTEXT_REGISTER:
        registered_begin(p, &w, ctx, status)
    else:
        if m == NULL:
            m = stored_request(p, ctx.server)
            if m == NULL:
                return
        response_begin(p, &w, m, &ctx.server.flow, status)
    if status == 100:
        put_timestamp(&w, m)
    elif status == 407:
        put_anybody(p, &w, &ctx.source)
    elif status == 503:
        put_text(&w, b"Retry-After: 5\r\n")
    elif status == 480 and ctx.secure:
        put_text(&w, NOT_ALLOWED)
    buffer = response_end(p, &w)
    send_upstream(p, ctx.server, buffer, status)
    buffer_release(p.pool, buffer)


cdef int refusal(const Proxy* p, const ResponseContext* ctx) noexcept nogil:
    # The status for a sender who lacks a right.
    return 407 if can_prove(p, ctx.method, ctx.rights & RIGHT_TRUSTED, (ctx.rights & RIGHT_AUTHENTICATED) != 0) else 403


cdef void respond_planned(Proxy* p, ResponseContext* ctx, const PlanHead* plan) noexcept nogil:
    # An answer the policy wrote. A 407 of no words asks for a password where that is of use.
    cdef int status = plan.status
    cdef Writer w
    cdef Buffer* buffer
    cdef const Message* m
    if plan.status == 408 and ctx.method != METHOD_INVITE:
        respond(p, ctx, NULL, 504)                   # RFC 4320 4.2: no 408
        return
    m = stored_request(p, ctx.server)
    if m == NULL:
        return
    if status == 407 and plan.headers.length == 0:
        status = refusal(p, ctx)
    status_line(p, &w, status, plan_text(plan, plan.reason), plan.reason.length if status == plan.status else 0)
    put_own_lines(p, &w, m, &ctx.server.flow, True)
    put(&w, plan_text(plan, plan.headers), plan.headers.length)
    if status == 407 and plan.headers.length == 0:
        put_anybody(p, &w, &ctx.source)
    buffer = response_end(p, &w)
    if ctx.method == METHOD_INVITE and ctx.initial:
        count_call(p, status)
    send_upstream(p, ctx.server, buffer, status)
    buffer_release(p.pool, buffer)


cdef Buffer* upstream_copy(Proxy* p, const Message* m, const Flow* below, const Flow* above) noexcept nogil:
    # A response without its topmost via-parm (16.7 step 3); NULL if that was the only one: it was for us. It came by
    # `below` and goes by `above`.
    cdef const Header* top = &m.headers[m.first[<int>HDR_VIA]]
    cdef uint32_t cut, cut_end, i, later = 0, room = LENGTH_LINE if lacks_length(m, above) else 0
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
    buffer = buffer_new(p.pool, m.size - (cut_end - cut) + room)
    if buffer == NULL:
        return NULL
    memcpy(buffer.data, m.data, cut)
    memcpy(buffer.data + cut, m.data + cut_end, m.size - cut_end)
    buffer.length = m.size - (cut_end - cut)
    if room:
        add_length(buffer, m, m.body_gap - (cut_end - cut))
    if has_header(m, HDR_P_ASSERTED_IDENTITY) and hides_identity(p, m, below, above):
        drop_identity(buffer, m, cut_end, cut_end - cut)
    return buffer


cdef void add_length(Buffer* buffer, const Message* m, uint32_t gap) noexcept nogil:
    # As the last header line of a copy that has room for it.
    cdef uint8_t text[LENGTH_LINE]
    cdef uint32_t length
    cdef Writer w
    writer_init(&w, text, LENGTH_LINE)
    put_length(&w, m)
    length = <uint32_t>(w.at - w.start)
    memmove(buffer.data + gap + length, buffer.data + gap, buffer.length - gap)
    memcpy(buffer.data + gap, text, length)
    buffer.length += length


cdef bint hides_identity(const Proxy* p, const Message* m, const Flow* below, const Flow* above) noexcept nogil:
    # RFC 3325 5: of nobody is believed who he says he is unless the sender is trusted, and who wants to be hidden is
    # hidden from whom that is not.
    if p.settings.open_relay:
        return False
    return not trust_of(p, below) or (asks_privacy(m, b"id", 2) and not trust_of(p, above))


cdef void drop_identity(Buffer* buffer, const Message* m, uint32_t cut_end, uint32_t gone) noexcept nogil:
    # Out of a copy that lacks `gone` bytes before `cut_end`.
    cdef uint32_t i, start, end
    for i in range(m.header_count, 0, -1):
        if m.headers[i - 1].id != HDR_P_ASSERTED_IDENTITY:
            continue
        start, end = m.headers[i - 1].name, line_end(m, i - 1)
        if start >= cut_end:
            start, end = start - gone, end - gone
        memmove(buffer.data + start, buffer.data + end, buffer.length - end)
        buffer.length -= end - start


cdef bint send_upstream(Proxy* p, Transaction* server, Buffer* response, int status) noexcept nogil:
    if server == NULL or response == NULL or not server_respond(p.layer, server, response, status):
        return False
    count_add(p.block, COUNT_responses_out, 1)
    return True


cdef int preference(int status) noexcept nogil:
    # Order of 16.7 step 6, smallest first: 6xx, then the lowest class; within 4xx those that tell how to go on.
    if status == SILENCE:
        return 360               # a step in which somebody rang has no timeout
    if status == ALL_TRIED:
        return 500
    if status >= 600:
        return 0
    if status < 400:
        return 100
    if status == 401 or status == 407 or status == 415 or status == 420 or status == 484:
        return 200
    if status < 500:
        return 300 if status != 408 else 350
    return 400 if status != 503 else 450


cdef void consider(Proxy* p, ResponseContext* ctx, Target* target, int status, const Message* m) noexcept nogil:
    # A branch ended with this final status, or the ring time did (no target): keep it if it is the best so far (16.7
    # step 4), of the step and of all.
    if ctx.step_status == 0 or preference(status) < preference(ctx.step_status):
        if target == NULL or target.step != NO_STEP:
            ctx.step_status = <uint16_t>status
    if target != NULL:
        target.status = <uint16_t>status
        if m != NULL and ctx.plan.head != NULL and ctx.plan.head.flags & PLAN_ON_FAILURE and target.response == NULL:
            target.response = buffer_copy(p.pool, m.data, m.size)
    if ctx.best_status and preference(status) >= preference(ctx.best_status):
        if m != NULL and (status == 401 or status == 407):
            gather_challenges(p, ctx, m)
        return
    if status == SILENCE:
        status = 408
    ctx.best_status = <uint16_t>status
    buffer_release(p.pool, ctx.best)
    ctx.best = upstream_copy(p, m, &target.flow, &ctx.source) if m != NULL else NULL
    if m != NULL and ctx.best == NULL:
        ctx.best_status = 502    # without a Via line for the way up (16.7 step 3)


cdef void gather_challenges(Proxy* p, ResponseContext* ctx, const Message* m) noexcept nogil:
    # The challenges of a 401 or 407 that is not the best one (16.7 step 7).
    cdef Buffer* more
    cdef Writer w
    cdef uint32_t i
    writer_init(&w, p.scratch, SCRATCH_SIZE)
    if ctx.challenges != NULL:
        put(&w, ctx.challenges.data, ctx.challenges.length)
    for i in range(m.header_count):
        if m.headers[i].id == HDR_WWW_AUTHENTICATE or m.headers[i].id == HDR_PROXY_AUTHENTICATE:
            put(&w, m.data + m.headers[i].name, line_end(m, i) - m.headers[i].name)
    if w.overflow or w.at - w.start > MAX_CHALLENGES:
        return
    more = buffer_copy(p.pool, w.start, <uint32_t>(w.at - w.start))
    if more != NULL:
        buffer_release(p.pool, ctx.challenges)
        ctx.challenges = more


cdef void add_challenges(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # Into the best response, where that is a challenge.
    cdef const uint8_t* gap
    cdef uint32_t head, total
    cdef Buffer* buffer
    if ctx.challenges == NULL or ctx.best == NULL or (ctx.best_status != 401 and ctx.best_status != 407):
        return
    gap = <const uint8_t*>memmem(ctx.best.data, ctx.best.length, b"\r\n\r\n", 4)
    total = ctx.best.length + ctx.challenges.length
    buffer = buffer_new(p.pool, total) if gap != NULL else NULL
    if buffer == NULL:
        return
    head = <uint32_t>(gap - ctx.best.data) + 2
    memcpy(buffer.data, ctx.best.data, head)
    memcpy(buffer.data + head, ctx.challenges.data, ctx.challenges.length)
    memcpy(buffer.data + head + ctx.challenges.length, ctx.best.data + head, ctx.best.length - head)
    buffer.length = total
    buffer_release(p.pool, ctx.best)
    ctx.best = buffer


cdef void finish_plan(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # Nothing is left to try and nothing runs, without a 2xx: the best answer goes upstream (16.7 step 6) and the context
    # ends, unless the policy wants to have a word first.
    cdef int status = ctx.best_status
    if ctx.plan.head != NULL and ctx.plan.head.flags & PLAN_ON_FAILURE and not ctx.stopped and ask_failure(p, ctx):
        return
    ctx.final_sent = 1
    if ctx.cancelled and ctx.best_status == 503:     # of a server, whose next one was not asked any more
        buffer_release(p.pool, ctx.best)
        ctx.best = NULL
    if ctx.cancelled and ctx.best == NULL:
        status = 487
    elif status == 0:
        status = 408 if ctx.step_status == ALL_TRIED else 500        # 16.7 step 6: no response to choose from
    if status == 408 and ctx.method != METHOD_INVITE:
        # RFC 4320 4.2: no 408. By now the client has mostly given up by itself; one that has not yet would send its
        # request once more, to a server that knows nothing of it any more.
        if ctx.server == NULL or p.layer.now - ctx.server.started >= 64 * p.settings.t1:
            context_free(p, ctx)
            return
        status = 504
        buffer_release(p.pool, ctx.best)
        ctx.best = NULL
    if status == 503:
        # 503 says "send nothing more to this server": true of the one below, not of us.
        status = 500
        buffer_release(p.pool, ctx.best)
        ctx.best = NULL
    add_challenges(p, ctx)
    if ctx.method == METHOD_INVITE and ctx.initial:
        count_call(p, status)
    if ctx.best != NULL:
        send_upstream(p, ctx.server, ctx.best, status)
        show_response(p, ctx, ctx.best)
    else:
        respond(p, ctx, NULL, status)
    context_free(p, ctx)


cdef void end_target(Proxy* p, ResponseContext* ctx, Target* target) noexcept nogil:
    # It runs no more; what it had of Max-Breadth is free again (RFC 5393 5.3.3.1).
    timer_cancel(p.layer.wheel, &target.timer_c)
    gateway_done(p, target, False)
    if target.client != NULL:
        target.client.user = NULL
        target.client = NULL
    if target.state == TARGET_ACTIVE:
        ctx.active -= 1
        ctx.breadth += target.breadth
        if target.step == ctx.step:
            ctx.in_step -= 1
    target.state = TARGET_DONE


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
    if client.user == NULL:
        if m.status < 200:
            abandon(p, client)
        return                   # of a branch whose caller has its answer
    if client.branch == LINKED:
        if 200 <= m.status < 300:
            pass_copy(p, client, <Transaction*>client.user, m)
        return
    ctx = <ResponseContext*>client.user
    target = &ctx.plan.targets[client.branch]
    if target.state == TARGET_ANSWERED:
        if 200 <= m.status < 300 and ctx.server != NULL:
            pass_copy(p, client, ctx.server, m)
        return
    if is_gateway(p, target):
        gateway_heard(p, target, m)
    if m.status < 200:
        on_provisional(p, ctx, target, client, m)
    elif m.status < 300:
        on_success(p, ctx, target, client, m)
    else:
        on_refusal(p, ctx, target, m)


cdef void pass_copy(Proxy* p, const Transaction* client, Transaction* server, const Message* m) noexcept nogil:
    # A 2xx that was sent again goes up again (RFC 6026 7.1).
    cdef Buffer* response = upstream_copy(p, m, &client.flow, &server.flow)
    send_upstream(p, server, response, m.status)
    buffer_release(p.pool, response)


cdef void on_success(Proxy* p, ResponseContext* ctx, Target* target, Transaction* client,
                     const Message* m) noexcept nogil:
    # Every 2xx to an INVITE goes up at once; to other requests the first one (16.7 step 5).
    cdef Buffer* response = upstream_copy(p, m, &target.flow, &ctx.source)
    cdef bint first = not ctx.final_sent, counted = target.counted, told
    target.counted = 0           # still a call of its gateway, until that is handed over
    end_target(p, ctx, target)
    target.counted = counted
    if response == NULL:
        if first:
            consider(p, ctx, target, m.status, m)
        gateway_done(p, target, False)
        go_on(p, ctx)
        return
    target.status = m.status
    if first or ctx.method == METHOD_INVITE:
        send_upstream(p, ctx.server, response, m.status)
        show_response(p, ctx, response)
    buffer_release(p.pool, response)
    ctx.final_sent = 1
    if ctx.method == METHOD_INVITE and ctx.initial:
        if first:
            count_call(p, m.status)
        told = dialog_confirmed(p, m, slot_of(target) + 1 if counted else 0)
        gateway_done(p, target, told)
    elif ctx.method == METHOD_BYE:
        dialog_ended(p, m)
    elif ctx.method == METHOD_REGISTER and ctx.source.connection and ctx.source.transport != TRANSPORT_UDP:
        transport_keep(p.transport, &ctx.source, p.settings.max_expires * 1000, NULL, 0)     # a Path may lead through it
    if ctx.method != METHOD_INVITE:
        context_free(p, ctx)
        return
    target.state = TARGET_ANSWERED
    target.client = client
    client.user = ctx
    client.branch = <uint16_t>(target - ctx.plan.targets)
    ctx.answered += 1
    if first and ctx.active:
        cancel_all(p, ctx)
    if ctx.active == 0:
        settle(p, ctx)


cdef void settle(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # The caller has a 2xx and no branch runs any more. What is left to do is to send copies of a 2xx up: one link is
    # enough where one branch answered, the context stays where there were more or silent ones may answer yet.
    cdef Transaction* server = ctx.server
    cdef Transaction* client = NULL
    cdef uint32_t i, waiting = ctx.answered
    if server != NULL and server.state != STATE_ACCEPTED:
        server = NULL
    for i in range(ctx.plan.target_count):
        if ctx.plan.targets[i].state == TARGET_ANSWERED:
            if ctx.plan.targets[i].client != NULL:
                client = ctx.plan.targets[i].client
        elif ctx.plan.targets[i].state == TARGET_SILENT:
            waiting += 1
    if server != NULL and waiting > 1:
        timer_cancel(p.layer.wheel, &ctx.wait)
        timer_cancel(p.layer.wheel, &ctx.ring)
        return
    context_free(p, ctx)
    if server != NULL and client != NULL:
        link(client, server)


cdef inline bint recurses(const Proxy* p, const ResponseContext* ctx) noexcept nogil:
    if ctx.plan.head != NULL:
        return (ctx.plan.head.flags & PLAN_RECURSE) != 0
    return p.settings.recurse and (ctx.rights & RIGHT_OWN) != 0


cdef void on_refusal(Proxy* p, ResponseContext* ctx, Target* target, const Message* m) noexcept nogil:
    # A final response that is no 2xx.
    cdef int recursed
    cdef Target* other
    if target.state == TARGET_SILENT:
        end_silent(p, ctx, target)
        return
    if ctx.final_sent:
        end_target(p, ctx, target)
        go_on(p, ctx)
        return
    if ctx.method == METHOD_BYE and (m.status == 481 or m.status == 408):
        dialog_ended(p, m)       # so does a BYE that finds nothing to end (RFC 3261 15.1.1)
    if m.status < 400 and recurses(p, ctx) and not ctx.stopped and target.step == ctx.step:
        recursed = recurse(p, ctx, m)
        if recursed:
            target.status = m.status
            if recursed == RECURSED_BEFORE and ctx.step_status == 0:
                ctx.step_status = ALL_TRIED
            end_target(p, ctx, target)
            go_on(p, ctx)
            return
    if m.status == 430 and ctx.rights & RIGHT_OWN and (target.path_length or flow_is_fixed(&target.flow)):
        if ctx.plan.head == NULL and try_next_flow(p, ctx, target):
            return
        consider(p, ctx, target, 480, NULL)          # somebody else's flow, which tells nobody above anything
    elif m.status == 487 and not ctx.cancelled and target.cancel_sent:
        consider(p, ctx, target, 408, NULL)          # the ring time or Timer C gave up this branch, not the caller
    elif m.status == 503:
        server_failed(p, target)
        other = next_server(target)
        if other != NULL:
            replace_server(p, ctx, target, other)
            return
        consider(p, ctx, target, m.status, m)
    else:
        consider(p, ctx, target, m.status, m)
    end_target(p, ctx, target)
    if m.status >= 600 and not ctx.stopped:
        ctx.stopped = 1                              # 16.7 step 5
        cancel_all(p, ctx)
    go_on(p, ctx)


cdef void on_provisional(Proxy* p, ResponseContext* ctx, Target* target, Transaction* client,
                         const Message* m) noexcept nogil:
    cdef Buffer* response
    target.status = m.status
    if target.state == TARGET_SILENT:
        abandon(p, client)       # too late; a 2xx that crosses the CANCEL goes up all the same
        return
    if target.cancel_pending:
        cancel_target(p, target)
    if ctx.method != METHOD_INVITE:
        if target.large == LARGE_STREAM or (target.order != NULL and target.order.try_time):
            timer_cancel(p.layer.wheel, &target.timer_c)
        return                   # RFC 4320 4.1: to other requests no provisional response but 100
    if not target.cancel_sent and (m.status > 100 or target.large == LARGE_STREAM
                                   or (target.order != NULL and target.order.try_time)):
        timer_arm(p.layer.wheel, &target.timer_c, p.layer.now, p.settings.timer_c)
    if m.status == 100 or ctx.final_sent or (target.cancel_sent and target.step == NO_STEP):
        return
    response = upstream_copy(p, m, &target.flow, &ctx.source)
    send_upstream(p, ctx.server, response, m.status)
    show_response(p, ctx, response)
    buffer_release(p.pool, response)


cdef void proxy_on_terminated(void* self, Transaction* t) noexcept nogil:
    cdef Proxy* p = <Proxy*>self
    cdef ResponseContext* ctx
    cdef Target* target
    if t.user == NULL:
        return
    if t.branch == LINKED:
        (<Transaction*>t.user).user = NULL
        (<Transaction*>t.user).branch = 0
        return
    ctx = <ResponseContext*>t.user
    if t == ctx.server:
        ctx.server = NULL
        if ctx.final_sent and ctx.active == 0:
            context_free(p, ctx)
        return
    target = &ctx.plan.targets[t.branch]
    if target.state == TARGET_SILENT:
        end_silent(p, ctx, target)
        return
    target.client = NULL
    if target.state == TARGET_ANSWERED:
        target.state = TARGET_DONE
        ctx.answered -= 1
        if ctx.active == 0:
            settle(p, ctx)


cdef void proxy_on_timer(void* self, Timer* timer) noexcept nogil:
    if timer.kind == TIMER_C:
        on_timer_c(<Proxy*>self, <Target*>timer)
    elif timer.kind == TIMER_WAIT_STATE:
        on_state_late(<Proxy*>self, <ResponseContext*>timer)
    elif timer.kind == TIMER_TRYING:
        on_trying(<Proxy*>self, <ResponseContext*>timer)
    elif timer.kind == TIMER_WAIT_POLICY:
        on_policy_late(<Proxy*>self, <ResponseContext*>timer)
    elif timer.kind == TIMER_WAIT_NAME:
        on_name_late(<Proxy*>self, <ResponseContext*>timer)
    elif timer.kind == TIMER_ABANDONED:
        on_abandoned(<Proxy*>self, <Transaction*>(<uint8_t*>timer - <size_t>&(<Transaction*>NULL).timeout))
    elif timer.kind == TIMER_RING:
        on_ring_time(<Proxy*>self, <ResponseContext*>(<uint8_t*>timer - <size_t>&(<ResponseContext*>NULL).ring))


cdef int proxy_send(void* self, const Flow* flow, Buffer* buffer) noexcept nogil:
    return transport_send((<Proxy*>self).transport, flow, buffer)
