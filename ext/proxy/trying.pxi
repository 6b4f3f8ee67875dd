# The 100 (17.2.1) is owed unless another response goes up within 200 ms. It is held until the turn ends, and by `trying`
# for longer: on a fast network nearly every INVITE is rung or refused before that, and what is not sent costs neither
# side anything. An INVITE that comes again gets its 100 at once.

cdef void begin_trying(Proxy* p, ResponseContext* ctx, const Message* m) noexcept nogil:
    if p.settings.trying:
        ctx.wait.kind = TIMER_TRYING
        timer_arm(p.layer.wheel, &ctx.wait, p.layer.now, p.settings.trying)
    else:
        hold_trying(p, ctx, m)


cdef void hold_trying(Proxy* p, ResponseContext* ctx, const Message* m) noexcept nogil:
    cdef Writer w
    cdef Held* held
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
    if ctx == NULL or server.branch == LINKED:
        return
    if server.machine == NON_INVITE_SERVER:
        # Not before the client's Timer E has reached T2, and then it is owed (RFC 4320 4.1).
        if p.layer.now - server.started >= p.layer.setup.t2 - p.layer.setup.t1:
            respond(p, ctx, m, 100)
    elif ctx.wait.kind == TIMER_TRYING and timer_is_armed(&ctx.wait):
        timer_cancel(p.layer.wheel, &ctx.wait)
        respond(p, ctx, m, 100)


cdef void on_trying(Proxy* p, ResponseContext* ctx) noexcept nogil:
    if ctx.server != NULL and ctx.server.status == 0:
        respond(p, ctx, NULL, 100)
