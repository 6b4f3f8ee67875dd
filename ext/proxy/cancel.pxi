# CANCEL (RFC 3261 9, 16.10): from the caller, to branches that still ring, and for those nobody waits for any more.

cdef void cancel_all(Proxy* p, ResponseContext* ctx) noexcept nogil:
    cdef uint32_t i
    for i in range(ctx.plan.target_count):
        cancel_target(p, &ctx.plan.targets[i])


cdef void cancel_target(Proxy* p, Target* target) noexcept nogil:
    # 9.1: not before a provisional response; and a branch that ignores it is given up after 64*T1.
    if target.state != TARGET_ACTIVE or target.client == NULL or target.cancel_sent:
        return
    if target.status == 0:
        target.cancel_pending = 1
        return
    target.cancel_pending = 0
    target.cancel_sent = 1
    target.client.cancelled = 1
    timer_arm(p.layer.wheel, &target.timer_c, p.layer.now, 64 * p.settings.t1)
    if client_cancel(p.layer, target.client):
        count_add(p.block, COUNT_requests_out, 1)


cdef void abandon(Proxy* p, Transaction* client) noexcept nogil:
    # A branch nobody waits for rings: CANCEL, which had to wait for that (9.1), and 64*T1 later it is over.
    if client.machine != INVITE_CLIENT or client.state != STATE_PROCEEDING or timer_is_armed(&client.timeout):
        return
    client.timeout.kind = TIMER_ABANDONED
    timer_arm(p.layer.wheel, &client.timeout, p.layer.now, 64 * p.settings.t1)
    if not client.cancelled:
        client.cancelled = 1
        if client_cancel(p.layer, client):
            count_add(p.block, COUNT_requests_out, 1)


cdef void on_abandoned(Proxy* p, Transaction* client) noexcept nogil:
    proxy_on_terminated(p, client)
    transaction_end(p.layer, client)


cdef void on_cancel(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.10 and 9.2. It is never challenged (22.1): who can name the transaction could have sent the INVITE.
    cdef Transaction* server = find_cancelled(p.layer, m)
    cdef ResponseContext* ctx
    if server == NULL:
        cancel_unknown(p, m, r)
        return
    answer(p, m, &r.answer, 200)
    if server.user == NULL or server.branch == LINKED:
        return                   # it has its final answer
    ctx = <ResponseContext*>server.user
    if ctx.final_sent or ctx.cancelled:
        return
    ctx.cancelled = ctx.stopped = 1
    if ctx.asking:
        if ctx.asking != QUESTION_NAME:
            abandon_question(p, ctx)
        if ctx.initial:
            count_call(p, 487)
        respond(p, ctx, NULL, 487)
        context_free(p, ctx)
        return
    cancel_all(p, ctx)
