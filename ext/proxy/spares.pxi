# What stands in for a target that failed as a flow or a server does, not as somebody who was asked: another flow of the
# same instance (RFC 5626 7), or the next server of the same name (RFC 3263 4.3). Nobody above hears of it, and what the
# target had of Max-Breadth is handed on.

cdef void set_spares_apart(ResponseContext* ctx, const Binding** bindings, uint32_t count) noexcept nogil:
    # Of several flows of one instance the one registered last is tried, and then those that are left, as long as these
    # fail (RFC 5626 7).
    cdef Slice urns[MAX_TARGETS]
    cdef const uint8_t* own
    cdef uint32_t i, k, best
    for i in range(count):
        if not binding_instance(bindings[i], &urns[i]):
            urns[i].start = urns[i].end = 0
    for i in range(count):
        best = i
        own = binding_parameters(bindings[i]) + urns[i].start
        for k in range(count):
            if (urns[k].end and slice_length(urns[k]) == slice_length(urns[i]) and k != i
                    and strncasecmp(<const char*>binding_parameters(bindings[k]) + urns[k].start, <const char*>own,
                                    slice_length(urns[i])) == 0
                    and (bindings[k].updated > bindings[best].updated
                         or (bindings[k].updated == bindings[best].updated and k > best))):
                best = k
        if best != i:
            ctx.plan.targets[i].state = TARGET_SPARE
            ctx.plan.targets[i].lead = <uint16_t>best


cdef bint try_next_flow(Proxy* p, ResponseContext* ctx, Target* target) noexcept nogil:
    # A flow has failed, not who is behind it: 1 if it is tried by another one he has.
    cdef uint32_t i, lead = <uint32_t>(target - ctx.plan.targets), breadth = target.breadth
    cdef Target* spare = NULL
    cdef Target* other
    cdef const Message* m
    cdef Routing r
    for i in range(ctx.plan.target_count):
        other = &ctx.plan.targets[i]
        if other.state == TARGET_SPARE and other.lead == lead:
            spare = other
            break
    if spare == NULL or ctx.final_sent or ctx.stopped or target.step != ctx.step:
        return False
    m = reopen(p, ctx, &r)
    if m == NULL:
        return False
    ctx.in_step += 1             # the group does not end meanwhile
    end_target(p, ctx, target)
    spare.state = TARGET_DONE
    target.flow = spare.flow
    target.uri, target.uri_length = spare.uri, spare.uri_length
    target.path, target.path_length = spare.path, spare.path_length
    target.status = 0
    target.cancel_pending = target.cancel_sent = 0
    target.breadth = <uint16_t>breadth
    i = start_target(p, ctx, target, m, &r)
    ctx.in_step -= 1
    if i:
        target.breadth = 0
        if not try_next_flow(p, ctx, target):
            target.state = TARGET_DONE
            consider(p, ctx, target, i, NULL)
            go_on(p, ctx)
    elif target.state == TARGET_DONE:
        go_on(p, ctx)
    return True


cdef void adopt_spares(ResponseContext* ctx) noexcept nogil:
    cdef const PlanTarget* order
    cdef Target* target
    cdef uint32_t k
    for k in range(ctx.plan.head.targets):
        order = plan_targets(ctx.plan.head) + k
        if order.spare_of == 0:
            continue
        target = &ctx.plan.targets[k]
        target.lead = <uint16_t>(order.spare_of - 1)
        target.order = order
        target.state = TARGET_SPARE
        target.gateway = ctx.plan.targets[target.lead].gateway
        target.uri, target.uri_length = ctx.plan.targets[target.lead].uri, ctx.plan.targets[target.lead].uri_length
        target.step = ctx.plan.targets[target.lead].step


cdef Target* next_server(const Target* target) noexcept nogil:
    # What is tried in its place where it fails as a server does (RFC 3263 4.3); NULL for nothing.
    cdef ResponseContext* ctx = target.context
    cdef uint32_t i, lead
    cdef Target* other
    if target.order == NULL or ctx.final_sent or ctx.stopped or target.step != ctx.step:
        return NULL
    lead = target.lead if target.order.spare_of else <uint32_t>(target - ctx.plan.targets)
    for i in range(ctx.plan.target_count):
        other = &ctx.plan.targets[i]
        if other.state == TARGET_SPARE and other.lead == lead:
            return other
    return NULL


cdef Target* server_lost(Proxy* p, const Target* target) noexcept nogil:
    # Nothing was heard from it, or could be sent there; what is tried in its place.
    server_failed(p, target)
    if is_gateway(p, target):
        gateway_silent(p, target)
    return next_server(target)


cdef void start_server(Proxy* p, ResponseContext* ctx, Target* target, uint32_t breadth) noexcept nogil:
    # In place of one that has ended, and that nobody is told of.
    cdef uint32_t count, left, ring
    cdef const Message* m
    cdef Target* other
    cdef Routing r
    cdef int status = 503
    ctx.in_step += 1             # the group does not end meanwhile
    target.state = TARGET_DONE
    m = reopen(p, ctx, &r)
    if m != NULL:
        target.breadth = <uint16_t>breadth
        status = start_target(p, ctx, target, m, &r)
    ctx.in_step -= 1
    if status == 0:
        if target.state == TARGET_DONE:
            go_on(p, ctx)        # it has failed at once, and who follows it may run
        elif ctx.in_step == 1:
            next_candidate(ctx, &count, &left)
            ring = ring_time(p, ctx, left)
            if ring:             # who is alone rings as long as he would have without those before him
                timer_arm(p.layer.wheel, &ctx.ring, p.layer.now, ring)
        return
    target.breadth = 0
    gateway_done(p, target, False)
    other = next_server(target) if status == 503 else NULL
    if other != NULL:
        start_server(p, ctx, other, breadth)
        return
    consider(p, ctx, target, status, NULL)
    go_on(p, ctx)


cdef void replace_server(Proxy* p, ResponseContext* ctx, Target* target, Target* other) noexcept nogil:
    # One server of a target has failed, and nobody is told.
    cdef uint32_t breadth = target.breadth
    target.status = 0
    end_target(p, ctx, target)
    start_server(p, ctx, other, breadth)
