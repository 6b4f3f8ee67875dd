# Questions to the policy thread: where a request goes that is not plain, what to do after a failure. The server
# transaction waits, the hot thread does not.

cdef enum:
    MAX_FAILURES = 8             # plans that may follow one another for one request


cdef bint has_services(Proxy* p, const uint8_t* aor, uint32_t length) noexcept nogil:
    cdef const uint8_t* value
    cdef uint32_t value_length
    return length and segment_find(p.segment, RECORD_SERVICES, aor, length, &value, &value_length)


cdef bint must_ask(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # Whether somebody wants to decide about this request, the first of its dialog.
    cdef uint8_t aor[AOR_SIZE]
    cdef uint32_t asks = p.settings.asks
    if asks & ASK_REQUESTS and (p.settings.ask_methods >> m.method) & 1:
        return True
    if control_services(p.control):
        if r.own and has_services(p, aor, own_address_of_record(p, m.data, &r.target, r.own, aor, AOR_SIZE)):
            return True
        read_sender(p, m, r)
        if has_services(p, r.aor, r.aor_length):
            return True
    if r.own:
        return asks & ASK_NUMBERS and (r.own == OWN_NUMBER or not is_user(p, m, r))
    return (asks & ASK_DOMAINS) != 0


cdef uint64_t token_of(const ResponseContext* ctx) noexcept nogil:
    return <uint64_t>ctx.server.index << 32 | ctx.server.generation


cdef void wait_for_policy(Proxy* p, ResponseContext* ctx, int kind) noexcept nogil:
    ctx.asking = <uint8_t>kind
    p.waiting += 1
    ctx.wait.kind = TIMER_WAIT_POLICY
    timer_arm(p.layer.wheel, &ctx.wait, p.layer.now, p.settings.policy_timeout)
    count_add(p.block, COUNT_policy_asked, 1)


cdef bint put_question(Proxy* p, Writer* w) noexcept nogil:
    if w.overflow or p.questions == NULL or not queue_put(p.questions, w.start, <uint32_t>(w.at - w.start)):
        return False
    p.questions_asked = True
    return True


cdef void begin_question(Proxy* p, Writer* w, Question* q, const Message* m, Routing* r) noexcept nogil:
    # Head, both addresses-of-record, the message.
    cdef uint8_t aor[AOR_SIZE]
    q.source = r.source.remote
    q.aor = <uint16_t>own_address_of_record(p, m.data, &r.target, r.own, aor, AOR_SIZE) if r.own else 0
    read_sender(p, m, r)
    q.caller = <uint16_t>r.aor_length
    q.length = m.size
    if r.own and is_user(p, m, r):
        q.rights |= RIGHT_KNOWN
    writer_init(w, p.fact, SCRATCH_SIZE)
    put(w, q, sizeof(Question))
    put(w, aor, q.aor)
    put(w, r.aor, q.caller)
    put(w, m.data, m.size)


cdef void ask_route(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    cdef ResponseContext* ctx
    cdef uint8_t* memory
    cdef Question q
    cdef Writer w
    if p.waiting >= p.settings.policy_waiting:
        count_add(p.block, COUNT_policy_refused, 1)
        answer(p, m, &r.answer, 503)
        return
    ctx = open_context(p, m, r)
    if ctx == NULL:
        return
    memset(&q, 0, sizeof(q))
    q.kind = QUESTION_ROUTE
    q.token = token_of(ctx)
    q.rights = ctx.rights & (RIGHT_OWN | RIGHT_TRUSTED | RIGHT_AUTHENTICATED)
    begin_question(p, &w, &q, m, r)
    if not put_question(p, &w):
        count_add(p.block, COUNT_policy_refused, 1)
        context_free(p, ctx)
        answer(p, m, &r.answer, 503)
        return
    memory = plan_new(p, ctx, 0, 0, kept_size(m))
    if memory != NULL:
        keep_request(ctx, memory, m)
    wait_for_policy(p, ctx, QUESTION_ROUTE)
    if m.method == METHOD_INVITE:
        hold_trying(p, ctx, m)


cdef bint ask_failure(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # 1 if the policy was asked what to do now that every branch of its plan has failed.
    cdef Routing r
    cdef Question q
    cdef QuestionResponse one
    cdef const Message* m
    cdef Target* target
    cdef Writer w
    cdef uint32_t i
    if ctx.server == NULL or p.waiting >= p.settings.policy_waiting or ctx.failures == MAX_FAILURES:
        return False
    m = reopen(p, ctx, &r)
    if m == NULL:
        return False
    memset(&q, 0, sizeof(q))
    q.kind = QUESTION_FAILURE
    q.token = token_of(ctx)
    q.rights = ctx.rights & (RIGHT_OWN | RIGHT_TRUSTED | RIGHT_AUTHENTICATED)
    for i in range(ctx.plan.target_count):
        q.responses += ctx.plan.targets[i].status >= 300
    begin_question(p, &w, &q, m, &r)
    for i in range(ctx.plan.target_count):
        target = &ctx.plan.targets[i]
        if target.status < 300:
            continue
        one.status = 408 if target.status == SILENCE else target.status
        one.target = target.lead if target.order != NULL and target.order.spare_of else <uint16_t>i
        one.length = target.response.length if target.response != NULL else 0
        put(&w, &one, sizeof(one))
        if one.length:
            put(&w, target.response.data, one.length)
    if not put_question(p, &w):
        return False
    ctx.failures += 1
    wait_for_policy(p, ctx, QUESTION_FAILURE)
    return True


cdef void abandon_question(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # Nobody waits for the answer any more.
    cdef Question q
    cdef Writer w
    memset(&q, 0, sizeof(q))
    q.kind = QUESTION_CANCELLED
    q.token = token_of(ctx)
    writer_init(&w, p.fact, SCRATCH_SIZE)
    put(&w, &q, sizeof(q))
    put_question(p, &w)


cdef void show_response(Proxy* p, const ResponseContext* ctx, const Buffer* response) noexcept nogil:
    # To whoever observes, after it went up; what finds no room is not seen.
    cdef Question q
    cdef Writer w
    if not p.settings.asks & ASK_RESPONSES or response == NULL or ctx.server == NULL:
        return
    memset(&q, 0, sizeof(q))
    q.kind = QUESTION_RESPONSE
    q.token = token_of(ctx)
    q.source = ctx.source.remote
    q.length = response.length
    writer_init(&w, p.fact, SCRATCH_SIZE)
    put(&w, &q, sizeof(q))
    put(&w, response.data, response.length)
    put_question(p, &w)


cdef void on_policy_late(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # The policy has missed its deadline: 500, or the best response there is.
    cdef int kind = ctx.asking
    count_add(p.block, COUNT_policy_late, 1)
    abandon_question(p, ctx)
    ctx.asking = 0
    p.waiting -= 1
    ctx.stopped = 1
    if kind == QUESTION_ROUTE:
        consider(p, ctx, NULL, 500, NULL)
    finish_plan(p, ctx)


cdef void proxy_planned(Proxy* p, uint64_t token, const PlanHead* plan) noexcept nogil:
    cdef Transaction* server = transaction_at(p.layer, <uint32_t>(token >> 32), <uint32_t>token)
    cdef ResponseContext* ctx
    cdef const Message* m
    cdef Transaction* silent[MAX_TARGETS]
    cdef uint32_t count
    cdef Routing r
    cdef int kind, status
    if server == NULL or server.user == NULL or server.branch == LINKED:
        return
    ctx = <ResponseContext*>server.user
    kind = ctx.asking
    if ctx.kind != CONTEXT_PROXY or kind == 0 or kind == QUESTION_NAME:
        return
    ctx.asking = 0
    p.waiting -= 1
    timer_cancel(p.layer.wheel, &ctx.wait)
    if ctx.final_sent:
        return                   # somebody who had been silent has answered meanwhile
    if plan != NULL and plan.status:
        respond_planned(p, ctx, plan)
        context_free(p, ctx)
        return
    if plan == NULL and kind == QUESTION_FAILURE:
        ctx.stopped = 1
        finish_plan(p, ctx)
        return
    m = reopen(p, ctx, &r)
    if m == NULL:
        status = 500
    elif plan != NULL:
        count = take_silent(ctx, silent)
        plan_drop(p, ctx)
        status = 0 if adopt_plan(p, ctx, plan, m, count) else 500
        if status == 0:
            put_silent(ctx, silent, count)
            enter_step(p, ctx, 0, m)
    elif redirect_asked(p, ctx, m, &r):
        return
    else:
        route_on(p, ctx, True)
        return
    if status:
        ctx.stopped = 1
        consider(p, ctx, NULL, status, NULL)
        finish_plan(p, ctx)
        return
    run_plan(p, ctx, m, &r)
