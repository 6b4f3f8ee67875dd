# Branches that end without a final response: nothing could be sent, nothing was heard in time, or nobody answers (16.8,
# 16.9, Timers B, C and F, and the patience of a plan).

cdef void branch_failed(Proxy* p, Transaction* client, int status) noexcept nogil:
    cdef ResponseContext* ctx
    cdef Target* target
    cdef Target* other = NULL
    if client.user == NULL:
        return
    if client.branch == LINKED:
        return
    ctx = <ResponseContext*>client.user
    target = &ctx.plan.targets[client.branch]
    if target.state == TARGET_SILENT:
        end_silent(p, ctx, target)
        return                   # and the plan may be gone
    if target.state != TARGET_ACTIVE:
        return
    if target.large == LARGE_STREAM and back_to_datagrams(p, ctx, target):
        return
    if status == SILENCE and target.status:
        status = 408             # something was heard, if not enough
    elif status == SILENCE or status == 503:
        other = server_lost(p, target)
    if status == 480:
        tell_flow_gone(p, ctx, &target.flow)
    if ctx.plan.head == NULL and status != 408 and try_next_flow(p, ctx, target):
        return
    if other != NULL:
        replace_server(p, ctx, target, other)
        return
    if not ctx.final_sent:
        consider(p, ctx, target, status, NULL)
    end_target(p, ctx, target)
    go_on(p, ctx)


cdef void proxy_on_timeout(void* self, Transaction* t) noexcept nogil:
    if t.machine == INVITE_CLIENT or t.machine == NON_INVITE_CLIENT:
        branch_failed(<Proxy*>self, t, SILENCE)


cdef inline int failure_of(const Transaction* client) noexcept nogil:
    # Nobody else is at a flow (RFC 5626 5.3): who was registered through it is away.
    return (430 if client.flow.reliable & FLOW_NAMED else 480 if client.flow.reliable & FLOW_REGISTERED else 503)


cdef void proxy_on_failure(void* self, Transaction* t) noexcept nogil:
    if t.machine == INVITE_CLIENT or t.machine == NON_INVITE_CLIENT:
        branch_failed(<Proxy*>self, t, failure_of(t))


cdef void on_unanswered(Proxy* p, const Packet* packet) noexcept nogil:
    # The connection that took a request has ended, and nothing was said to it. Who did say something may go on by another
    # connection (18.2.2), and so may this one: it is given up as one that is silent.
    cdef Transaction* client = client_of_branch(p.layer, packet.data, packet.length)
    cdef ResponseContext* ctx
    cdef Target* target
    cdef int status
    if client == NULL or client.user == NULL or client.branch == LINKED:
        return
    ctx = <ResponseContext*>client.user
    target = &ctx.plan.targets[client.branch]
    if target.state != TARGET_ACTIVE or target.status:
        return
    if large_failed(p, ctx, target, client):
        return
    status = failure_of(client)
    if status == 480:
        tell_flow_gone(p, ctx, &target.flow)
    if ctx.plan.head != NULL or not try_next_flow(p, ctx, target):
        give_up(p, ctx, target, client, status)


cdef bint large_failed(Proxy* p, ResponseContext* ctx, Target* target, Transaction* client) noexcept nogil:
    # A request that went by a stream for its size alone: it goes as a datagram, in another transaction.
    if target.large != LARGE_STREAM or target.status:
        return False
    client.user = NULL
    if back_to_datagrams(p, ctx, target):
        transaction_end(p.layer, client)
        return True
    client.user = ctx
    return False


cdef void end_silent(Proxy* p, ResponseContext* ctx, Target* target) noexcept nogil:
    # Who was given up for his silence will not answer any more.
    end_target(p, ctx, target)
    if ctx.final_sent and ctx.active == 0:
        settle(p, ctx)


cdef void on_timer_c(Proxy* p, Target* target) noexcept nogil:
    # 16.8: CANCEL a branch that rings for ever; if even that brings no final answer, act as if it were a 408. The same
    # timer is a planned target's patience for a first word.
    cdef Transaction* client = target.client
    cdef ResponseContext* ctx = target.context
    if target.state != TARGET_ACTIVE or client == NULL:
        return
    if large_failed(p, ctx, target, client):
        return
    if target.status == 0 and target.order != NULL and target.order.try_time:
        give_up(p, ctx, target, client, SILENCE)
        return
    if not target.cancel_sent and target.status:
        cancel_target(p, target)
        return
    branch_failed(p, client, 408)
    transaction_end(p.layer, client)


cdef void give_up(Proxy* p, ResponseContext* ctx, Target* target, Transaction* client, int status) noexcept nogil:
    # Not a word within try_time, or before its connection ended.
    cdef Target* other = NULL
    cdef uint32_t breadth = target.breadth
    if status == SILENCE or status == 503:
        other = server_lost(p, target)
    if not ctx.final_sent and other == NULL:
        consider(p, ctx, target, status, NULL)
    fall_silent(p, ctx, target, client)
    if other != NULL:
        start_server(p, ctx, other, breadth)
    else:
        go_on(p, ctx)


cdef void fall_silent(Proxy* p, ResponseContext* ctx, Target* target, Transaction* client) noexcept nogil:
    # Nobody waits for it, and its request is not sent again; but a late 2xx still goes up, and a late provisional to an
    # INVITE is answered with CANCEL, which must not be sent before one (9.1).
    end_target(p, ctx, target)
    timer_cancel(p.layer.wheel, &client.retransmit)
    target.state = TARGET_SILENT
    target.client = client
    client.user = ctx
    client.branch = <uint16_t>(target - ctx.plan.targets)


cdef uint32_t take_silent(ResponseContext* ctx, Transaction** out) noexcept nogil:
    # Out of a plan that another one takes the place of; up to MAX_TARGETS.
    cdef uint32_t i, count = 0
    cdef Target* target
    for i in range(ctx.plan.target_count):
        target = &ctx.plan.targets[i]
        if target.state == TARGET_SILENT and target.client != NULL and count < MAX_TARGETS:
            out[count] = target.client
            out[count].user = NULL
            target.client = NULL
            count += 1
    return count


cdef void put_silent(ResponseContext* ctx, Transaction** silent, uint32_t count) noexcept nogil:
    # Behind the targets of a plan that has room for them, in no step.
    cdef Target* target
    cdef uint32_t i
    for i in range(count):
        target = &ctx.plan.targets[ctx.plan.target_count]
        memset(target, 0, sizeof(Target))
        timer_init(&target.timer_c, TIMER_C)
        target.context = ctx
        target.state = TARGET_SILENT
        target.step = NO_STEP
        target.flow = silent[i].flow
        target.client = silent[i]
        silent[i].user = ctx
        silent[i].branch = ctx.plan.target_count
        ctx.plan.target_count += 1
