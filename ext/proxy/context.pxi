# Response contexts (RFC 3261 16.2) and the plans they execute.
#
# A context lives while its server transaction waits for a final answer or one of its branches runs. After that nothing
# of it is needed: a 2xx that is sent again (RFC 6026) only has to find its way from the client transaction to the
# server transaction, and those two then point at each other (LINKED) for as long as they linger.

cdef enum:
    CONTEXT_CHUNK = 256
    LINKED = 0xFFFF              # Transaction.branch: `user` is the transaction on the other side

cdef struct ContextChunk:
    ContextChunk* next
    ResponseContext contexts[256]


cdef ResponseContext* context_new(Proxy* p, int kind, Transaction* server, const Message* m) noexcept nogil:
    cdef ContextChunk* chunk
    cdef ResponseContext* ctx
    cdef uint32_t i
    if p.free_contexts == NULL:
        chunk = <ContextChunk*>calloc(1, sizeof(ContextChunk))
        if chunk == NULL:
            return NULL
        chunk.next = <ContextChunk*>p.context_chunks
        p.context_chunks = chunk
        for i in range(CONTEXT_CHUNK):
            chunk.contexts[i].next_free = p.free_contexts
            p.free_contexts = &chunk.contexts[i]
    ctx = p.free_contexts
    p.free_contexts = ctx.next_free
    memset(ctx, 0, sizeof(ResponseContext))
    timer_init(&ctx.wait, TIMER_WAIT_STATE)
    timer_init(&ctx.ring, TIMER_RING)
    ctx.used = 1
    ctx.kind = kind
    ctx.method = m.method
    ctx.initial = not m.to_tag.end
    ctx.server = server
    server.user = ctx
    server.branch = 0
    p.contexts += 1
    return ctx


cdef void context_free(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # Let go of everything that points here and give the context back. A server transaction that has had no final answer
    # by now will never have one, and nothing else would end it.
    timer_cancel(p.layer.wheel, &ctx.wait)
    timer_cancel(p.layer.wheel, &ctx.ring)
    if ctx.asking:
        if ctx.asking == QUESTION_NAME:
            p.locating -= 1
        else:
            p.waiting -= 1
        ctx.asking = 0
    if ctx.server != NULL:
        ctx.server.user = NULL
        if ctx.server.state == STATE_TRYING or ctx.server.state == STATE_PROCEEDING:
            transaction_end(p.layer, ctx.server)
    plan_drop(p, ctx)
    buffer_release(p.pool, ctx.best)
    buffer_release(p.pool, ctx.challenges)
    ctx.used = 0
    ctx.next_free = p.free_contexts
    p.free_contexts = ctx
    p.contexts -= 1


cdef void plan_drop(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # The plan goes. Branches that still run do so without anybody listening; `abandon` sees to those that ring, now or later.
    cdef Target* target
    cdef Transaction* client
    cdef uint32_t i
    for i in range(ctx.plan.target_count):
        target = &ctx.plan.targets[i]
        timer_cancel(p.layer.wheel, &target.timer_c)
        buffer_release(p.pool, target.response)
        gateway_done(p, target, False)
        client = target.client
        if client != NULL:
            target.client = NULL
            client.user = NULL
            abandon(p, client)
    buffer_release(p.pool, ctx.plan.buffer)
    memset(&ctx.plan, 0, sizeof(Plan))


cdef uint8_t* plan_new(Proxy* p, ResponseContext* ctx, uint32_t targets, uint32_t room, uint32_t size) noexcept nogil:
    # A plan of that many targets with room for so many altogether, in one buffer with `size` bytes behind them, which are
    # returned; NULL when memory is out.
    cdef uint32_t head = room * sizeof(Target), i
    cdef uint8_t* memory
    cdef Target* target
    cdef Buffer* buffer = buffer_new(p.pool, head + size + 8)
    if buffer == NULL:
        return NULL
    memory = <uint8_t*>((<uintptr_t>buffer.data + 7) & ~<uintptr_t>7)
    memset(memory, 0, targets * sizeof(Target))
    buffer.length = <uint32_t>(memory - buffer.data) + head + size
    ctx.plan.buffer = buffer
    ctx.plan.head = NULL
    ctx.plan.request = NULL
    ctx.plan.targets = <Target*>memory
    ctx.plan.target_count = <uint16_t>targets
    ctx.plan.target_room = <uint16_t>room
    for i in range(targets):
        target = &ctx.plan.targets[i]
        timer_init(&target.timer_c, TIMER_C)
        target.context = ctx
        target.q = 1000
    return memory + head
