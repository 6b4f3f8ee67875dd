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
        server_failed(p, target)
        if is_gateway(p, target):
            gateway_silent(p, target)
        other = next_server(target)
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


cdef void proxy_on_failure(void* self, Transaction* t) noexcept nogil:
    if t.machine == INVITE_CLIENT or t.machine == NON_INVITE_CLIENT:
        # Nobody else is at a flow (RFC 5626 5.3): who was registered through it is away.
        branch_failed(<Proxy*>self, t, 430 if t.flow.reliable & FLOW_NAMED
                      else 480 if t.flow.reliable & FLOW_REGISTERED else 503)


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
    if target.large == LARGE_STREAM and target.status == 0:
        client.user = NULL
        if back_to_datagrams(p, ctx, target):
            transaction_end(p.layer, client)
            return
        client.user = ctx
    if target.status == 0 and target.order != NULL and target.order.try_time:
        on_silence(p, ctx, target, client)
        return
    if not target.cancel_sent and target.status:
        cancel_target(p, target)
        return
    branch_failed(p, client, 408)
    transaction_end(p.layer, client)


cdef void on_silence(Proxy* p, ResponseContext* ctx, Target* target, Transaction* client) noexcept nogil:
    # Not a word within try_time. An INVITE is not sent again, but a late 2xx still goes up, and a late provisional is
    # answered with CANCEL, which must not be sent before one (9.1).
    cdef Target* other = next_server(target)
    cdef uint32_t breadth = target.breadth
    server_failed(p, target)
    if is_gateway(p, target):
        gateway_silent(p, target)
    if not ctx.final_sent and other == NULL:
        consider(p, ctx, target, SILENCE, NULL)
    end_target(p, ctx, target)
    if ctx.method == METHOD_INVITE:
        timer_cancel(p.layer.wheel, &client.retransmit)
        target.state = TARGET_SILENT
        target.client = client
        client.user = ctx
        client.branch = <uint16_t>(target - ctx.plan.targets)
    else:
        transaction_end(p.layer, client)
    if other != NULL:
        start_server(p, ctx, other, breadth)
    else:
        go_on(p, ctx)
