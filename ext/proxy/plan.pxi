# Executing a plan (RFC 3261 16.6, 16.7): groups of targets, one after another, until one answers.
#
# The targets of a step that have the same q are a group and are tried at once; the next group follows when none of this
# one runs any more or their ring time is over. Then the step's outcome, the class of its best response, says which step
# follows. Whoever still runs in a group that was given up is late: it gets CANCEL, and if it answers 2xx all the same
# that goes up like any other. The context ends when nothing is left to try and nothing runs.

cdef enum:
    NO_STEP = 0xFFFF             # Target.step of who is late
    MAX_BREADTH = 60             # RFC 5393 5.3.3
    MAX_RECURSION = 8            # contacts of 3xx one plan follows
    SILENCE = 999                # stands for a status where nothing was heard: a 408 upstream, a timeout to the plan
    ALL_TRIED = 998              # for that of a 3xx that leads nowhere new: nothing to tell, redirected to the plan

cdef enum Started:
    STARTED_NONE = 0             # nobody is left in this step
    STARTED_SOME = 1
    STARTED_LATER = 2            # late branches hold the Max-Breadth they need

cdef enum Recursed:
    RECURSED_NOT = 0             # it is for the caller
    RECURSED = 1                 # there is somebody new to try
    RECURSED_BEFORE = 2          # all its contacts were tried


cdef int outcome_of(int status) noexcept nogil:
    if status == SILENCE:
        return OUTCOME_TIMEOUT
    if status < 400 or status == ALL_TRIED:
        return OUTCOME_REDIRECTED
    if status == 486 or status == 600:
        return OUTCOME_BUSY
    if status == 408 or status == 480 or status == 487:
        return OUTCOME_NO_ANSWER
    if status == 503:
        return OUTCOME_UNAVAILABLE
    if status < 500:
        return OUTCOME_REJECTED
    return OUTCOME_FAILURE if status < 600 else OUTCOME_DECLINED


cdef inline const PlanStep* current_step(const ResponseContext* ctx) noexcept nogil:
    return plan_steps(ctx.plan.head) + ctx.step if ctx.plan.head != NULL else NULL


cdef uint32_t step_after(const ResponseContext* ctx) noexcept nogil:
    # The step that follows this one, 0 for none.
    cdef const PlanStep* step = current_step(ctx)
    if step == NULL or ctx.stopped or ctx.step_status == 0:
        return 0
    return step.onward[outcome_of(ctx.step_status)]


cdef Target* next_candidate(const ResponseContext* ctx, uint32_t* group, uint32_t* left) noexcept nogil:
    # The first of the targets with the highest q that were not tried yet in this step, how many have it, how many not.
    cdef Target* best = NULL
    cdef Target* target
    cdef uint32_t i
    group[0] = left[0] = 0
    for i in range(ctx.plan.target_count):
        target = &ctx.plan.targets[i]
        if target.state != TARGET_CANDIDATE or target.step != ctx.step:
            continue
        if best == NULL or target.q > best.q:
            left[0] += group[0]
            group[0] = 1
            best = target
        elif target.q == best.q:
            group[0] += 1
        else:
            left[0] += 1
    return best


cdef bint has_onward(const PlanStep* step, int outcome) noexcept nogil:
    return step != NULL and step.onward[outcome] != 0


cdef uint32_t ring_time(const Proxy* p, const ResponseContext* ctx, uint32_t left) noexcept nogil:
    # ms the group that starts may ring; 0 for as long as Timer C allows.
    cdef const PlanStep* step = current_step(ctx)
    if ctx.method != METHOD_INVITE:
        return 0
    if step != NULL and step.ring_time:
        return step.ring_time
    return p.settings.ring_time if left else 0


cdef int start_group(Proxy* p, ResponseContext* ctx, const Message* m, const Routing* r) noexcept nogil:
    # Try the next group of this step. A branch that cannot even start counts as answered.
    cdef uint32_t count, left, share, spare, i, ring
    cdef uint16_t q
    cdef Target* target = next_candidate(ctx, &count, &left)
    cdef Target* other
    cdef int status
    if target == NULL:
        return STARTED_NONE
    q = target.q
    ring = ring_time(p, ctx, left)
    if count > ctx.breadth:
        if ctx.active:
            return STARTED_LATER
        give_up_candidates(ctx)
        consider(p, ctx, NULL, 440, NULL)
        return STARTED_NONE
    # All of the breadth, unless who comes next may have to begin while these are late.
    share = ctx.breadth
    if ring and share > 2 * count and (left or has_onward(current_step(ctx), OUTCOME_NO_ANSWER)):
        share //= 2
    spare = share % count
    share //= count
    ctx.in_step += 1             # so that a branch that fails at once does not end the group before all have started
    if ring:
        timer_arm(p.layer.wheel, &ctx.ring, p.layer.now, ring)
    for i in range(ctx.plan.target_count):
        target = &ctx.plan.targets[i]
        if target.state != TARGET_CANDIDATE or target.step != ctx.step or target.q != q:
            continue
        target.breadth = <uint16_t>(share + (spare > 0))
        spare -= spare > 0
        status = start_target(p, ctx, target, m, r)
        if status:
            target.state = TARGET_DONE
            gateway_done(p, target, False)
            other = next_server(target) if status == 503 else NULL
            if other != NULL:
                start_server(p, ctx, other, target.breadth)
            else:
                consider(p, ctx, target, status, NULL)
            target.breadth = 0
    ctx.in_step -= 1
    return STARTED_SOME


cdef void give_up_candidates(ResponseContext* ctx) noexcept nogil:
    # Nobody else of this step is tried.
    cdef uint32_t i
    for i in range(ctx.plan.target_count):
        if ctx.plan.targets[i].state == TARGET_CANDIDATE and ctx.plan.targets[i].step == ctx.step:
            ctx.plan.targets[i].state = TARGET_DONE


cdef void enter_step(Proxy* p, ResponseContext* ctx, uint32_t step, const Message* m) noexcept nogil:
    cdef uint32_t notify
    ctx.step = <uint16_t>step
    ctx.step_status = 0
    notify = plan_steps(ctx.plan.head)[step].notify
    if notify and ctx.method == METHOD_INVITE:
        respond(p, ctx, m, notify)


cdef void run_plan(Proxy* p, ResponseContext* ctx, const Message* m, const Routing* r) noexcept nogil:
    # Start what is to be tried next, until something runs or nothing is left; the end may be the context's.
    cdef uint32_t next
    cdef int started
    while ctx.in_step == 0 and not ctx.final_sent:
        timer_cancel(p.layer.wheel, &ctx.ring)
        if not ctx.stopped:
            if ctx.unlocated and not locate_candidates(p, ctx):
                return
            started = start_group(p, ctx, m, r)
            if started == STARTED_SOME:
                continue
            if started == STARTED_LATER:
                return
        next = step_after(ctx)
        if next == 0:
            ctx.exhausted = 1
            if ctx.active == 0:
                finish_plan(p, ctx)
            return
        enter_step(p, ctx, next, m)


cdef void go_on(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # A branch has ended without a 2xx.
    cdef Routing r
    cdef uint32_t count, left
    cdef const Message* m
    if ctx.final_sent:
        if ctx.active == 0:
            settle(p, ctx)
        return
    if ctx.in_step or ctx.asking:
        return
    if ctx.exhausted or (ctx.plan.head == NULL and (ctx.stopped or next_candidate(ctx, &count, &left) == NULL)):
        ctx.exhausted = 1
        if ctx.active == 0:
            finish_plan(p, ctx)
        return
    m = reopen(p, ctx, &r)
    if m == NULL:
        ctx.stopped = ctx.exhausted = 1
        if ctx.active == 0:
            finish_plan(p, ctx)
        return
    run_plan(p, ctx, m, &r)


cdef inline uint32_t kept_size(const Message* m) noexcept nogil:
    return (<uint32_t><size_t>&(<Message*>NULL).headers + (m.header_count + 1) * <uint32_t>sizeof(Header) + 7) & ~7


cdef uint8_t* keep_request(ResponseContext* ctx, uint8_t* memory, const Message* m) noexcept nogil:
    # What the parser found goes into the plan, for it may be needed again; what is behind it.
    memcpy(memory, m, kept_size(m))
    ctx.plan.request = <const Message*>memory
    return memory + kept_size(m)


cdef const Message* kept_request(Proxy* p, const ResponseContext* ctx) noexcept nogil:
    # The request of a context, as parsed; NULL when it is gone.
    if ctx.server == NULL or ctx.server.request == NULL or ctx.plan.request == NULL:
        return stored_request(p, ctx.server)
    memcpy(p.stored, ctx.plan.request, kept_size(ctx.plan.request))
    p.stored.data = ctx.server.request.data
    return p.stored


cdef const Message* reopen(Proxy* p, ResponseContext* ctx, Routing* r) noexcept nogil:
    # The request a context waits with, and what 16.3 and 16.4 found out about it, once more. NULL when it is gone.
    cdef const Message* m = kept_request(p, ctx)
    if m == NULL:
        return NULL
    r.source = ctx.source
    r.answer = ctx.server.flow
    r.trusted = (TRUST_NOBODY if not ctx.rights & RIGHT_TRUSTED else
                 TRUST_GATEWAY if ctx.rights & RIGHT_GATEWAY else TRUST_NEIGHBOUR)
    r.authenticated = (ctx.rights & RIGHT_AUTHENTICATED) != 0
    r.token_valid = (ctx.rights & RIGHT_TOKEN) != 0
    r.stateless = False
    r.token.start = r.token.end = 0
    r.call, r.loop_hash = ctx.call, ctx.loop_hash
    r.aor_length = r.binding_length = r.bindings = r.servers = 0
    r.sender = SENDER_UNREAD
    p.missed = False
    if not parse_uri(m.data, m.uri, &r.target) or read_routes(p, m, r):
        return NULL
    settle_flow(r)
    if r.authenticated:
        read_sender_again(p, m, r)
    return m


cdef void on_ring_time(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # This group has rung for long enough: no answer, whoever comes next.
    cdef Target* target
    cdef uint32_t i
    if ctx.final_sent or ctx.asking or ctx.in_step == 0:
        return
    for i in range(ctx.plan.target_count):
        target = &ctx.plan.targets[i]
        if target.state == TARGET_ACTIVE and target.step == ctx.step:
            target.step = NO_STEP
            if target.status:
                cancel_target(p, target)
            else:
                fall_silent(p, ctx, target, target.client)
                target.status = SILENCE
    ctx.in_step = 0
    consider(p, ctx, NULL, 408, NULL)
    go_on(p, ctx)


cdef bint adopt_plan(Proxy* p, ResponseContext* ctx, const PlanHead* plan, const Message* m, uint32_t more) noexcept nogil:
    # Take over a plan that was written elsewhere, with room for so many `more` targets. False when memory is out.
    cdef uint32_t spare = MAX_RECURSION if plan.flags & PLAN_RECURSE else 0, i, k
    cdef uint32_t size = (plan.size + 7) & ~7
    cdef const PlanStep* step
    cdef const PlanTarget* order
    cdef Target* target
    cdef uint8_t* memory = plan_new(p, ctx, plan.targets, plan.targets + spare + more, size + kept_size(m) + spare * MAX_URI)
    if memory == NULL:
        return False
    memory = keep_request(ctx, memory, m)
    memcpy(memory, plan, plan.size)
    ctx.plan.head = <const PlanHead*>memory
    for i in range(plan.steps):
        step = plan_steps(ctx.plan.head) + i
        for k in range(step.first, step.first + step.count):
            order = plan_targets(ctx.plan.head) + k
            target = &ctx.plan.targets[k]
            target.order = order
            target.gateway = planned_gateway(p, order)
            target.uri = plan_text(ctx.plan.head, order.uri)
            target.uri_length = order.uri.length
            target.step = <uint16_t>i
    adopt_spares(ctx)
    ctx.step = ctx.step_status = 0
    ctx.exhausted = 0
    return True


cdef const uint8_t* leading_uri(const ResponseContext* ctx, const Target* target, Slice* text) noexcept nogil:
    # Which URI says where a planned target is, as a slice of what is returned: its hop, its first Route, or its
    # Request-URI (16.6 steps 6 and 7). NULL if that is malformed.
    cdef const uint8_t* data = target.uri
    cdef NameAddr route
    text.start, text.end = 0, <uint16_t>target.uri_length
    if target.order != NULL and target.order.hop.length:
        data = plan_text(ctx.plan.head, target.order.hop)
        text.end = <uint16_t>target.order.hop.length
    elif target.order != NULL and target.order.routes.length:
        data = plan_text(ctx.plan.head, target.order.routes) + 7          # "Route: "
        text.end = 0
        while data[text.end] != c'\r':
            text.end += 1
        if not parse_name_addr(data, text[0], &route):
            return NULL
        text[0] = route.uri
    return data


cdef bint hop_of(Proxy* p, ResponseContext* ctx, Target* target) noexcept nogil:
    # The flow to where a planned target is.
    cdef const uint8_t* data
    cdef Slice text
    cdef Uri uri
    if target.flow.transport:
        return True
    data = leading_uri(ctx, target, &text)
    if data == NULL:
        return False
    if data[0] == c'f' and text.end > 5 and memcmp(data, b"flow:", 5) == 0:
        if not written_flow(p, data + 5, text.end - 5, &target.flow):
            return False
    elif not parse_uri(data, text, &uri) or not hop_to(p, ctx.secure, data, &uri, &ctx.source, &target.flow):
        return False
    elif target.gateway and target.flow.transport == TRANSPORT_TLS:
        note_called(p, data, &uri, &target.flow)
    if not is_secure(target.flow.transport) and (ctx.secure or (target.uri != NULL and is_sips(target.uri))):
        memset(&target.flow, 0, sizeof(Flow))
        return False
    return True


cdef int recurse(Proxy* p, ResponseContext* ctx, const Message* m) noexcept nogil:
    # A 3xx whose contacts are followed here (16.5): those that can be reached and nobody was sent to yet become candidates
    # of this step. The caller is told of it (16.7 step 4) where there are none, but others that nobody was sent to.
    cdef uint16_t line = 0, before = ctx.plan.target_count
    cdef Slice rest, value
    cdef NameAddr contact
    cdef Target* target
    cdef uint8_t* text = ctx.plan.buffer.data + ctx.plan.buffer.length - MAX_RECURSION * MAX_URI
    cdef uint32_t length, i, tried = 0, left = 0
    cdef Flow flow
    cdef Uri uri
    cdef bint known
    rest.start = rest.end = 0
    while next_value(m, HDR_CONTACT, &line, &rest, &value) > 0:
        left += 1
        if not parse_name_addr(m.data, value, &contact) or contact.star or not parse_uri(m.data, contact.uri, &uri):
            continue
        length = uri.headers.start - 1 - contact.uri.start if uri.headers.end else slice_length(contact.uri)
        if (uri.scheme == SCHEME_SIPS) != ctx.secure:
            continue             # RFC 5630 5.3
        known = False
        for i in range(ctx.plan.target_count):
            target = &ctx.plan.targets[i]
            if target.uri != NULL and uri_equal(target.uri, target.uri_length, m.data + contact.uri.start, length):
                known = True
        if known:
            left -= 1
            tried += 1
            continue
        if own_host(p, m.data, &uri, &ctx.source):
            continue             # the caller himself shall: services, dial plan and his rights then have a say
        if length >= MAX_URI or ctx.plan.target_count >= ctx.plan.target_room:
            continue
        p.missed = False
        if not hop_to(p, ctx.secure, m.data, &uri, &ctx.source, &flow):
            if not p.missed:
                continue
            memset(&flow, 0, sizeof(Flow))
            ctx.unlocated = 1
        elif not ctx.rights & (RIGHT_TRUSTED | RIGHT_AUTHENTICATED) and gateway_at(p.settings, &flow.remote, flow.transport):
            continue             # not on a stranger's behalf
        i = ctx.plan.target_count - (ctx.plan.target_room - MAX_RECURSION)
        target = &ctx.plan.targets[ctx.plan.target_count]
        memset(target, 0, sizeof(Target))
        timer_init(&target.timer_c, TIMER_C)
        target.context = ctx
        target.flow = flow
        memcpy(text + i * MAX_URI, m.data + contact.uri.start, length)
        target.uri = text + i * MAX_URI
        target.uri_length = length
        target.step = ctx.step
        target.q = contact_q(m.data, contact.parameters)
        ctx.plan.target_count += 1
    if ctx.plan.target_count > before:
        return RECURSED
    return RECURSED_BEFORE if tried and not left else RECURSED_NOT


cdef uint16_t contact_q(const uint8_t* data, Slice parameters) noexcept nogil:
    cdef Slice value
    cdef int q = -1
    if find_parameter(data, parameters, b"q", &value):
        q = parse_qvalue(data, value)
    return <uint16_t>q if q >= 0 else 1000
