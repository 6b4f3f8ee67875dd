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
    cdef uint32_t i
    cdef Target* target
    timer_cancel(p.layer.wheel, &ctx.wait)
    if ctx.server != NULL:
        ctx.server.user = NULL
        if ctx.server.state == STATE_TRYING or ctx.server.state == STATE_PROCEEDING:
            transaction_end(p.layer, ctx.server)
    for i in range(ctx.plan.target_count):
        target = &ctx.plan.targets[i]
        timer_cancel(p.layer.wheel, &target.timer_c)
        if target.client != NULL:
            target.client.user = NULL
    buffer_release(p.pool, ctx.plan.buffer)
    buffer_release(p.pool, ctx.best)
    ctx.used = 0
    ctx.next_free = p.free_contexts
    p.free_contexts = ctx
    p.contexts -= 1


cdef bint plan_new(Proxy* p, ResponseContext* ctx, uint32_t steps, uint32_t targets, uint32_t text) noexcept nogil:
    # Room for that many steps, targets and bytes of Request-URIs, in one buffer; all zero.
    cdef uint32_t head = steps * sizeof(Step) + targets * sizeof(Target)
    cdef uint8_t* memory
    cdef Buffer* buffer = buffer_new(p.pool, head + text + 8)
    if buffer == NULL:
        return False
    memory = <uint8_t*>((<uintptr_t>buffer.data + 7) & ~<uintptr_t>7)
    memset(memory, 0, head)
    buffer.length = <uint32_t>(memory - buffer.data) + head
    ctx.plan.buffer = buffer
    ctx.plan.targets = <Target*>memory
    ctx.plan.steps = <Step*>(memory + targets * sizeof(Target))
    ctx.plan.step_count = steps
    ctx.plan.target_count = targets
    for i in range(targets):
        timer_init(&ctx.plan.targets[i].timer_c, TIMER_C)
        ctx.plan.targets[i].context = ctx
    return True


cdef void plan_uri(ResponseContext* ctx, Target* target, const uint8_t* uri, uint32_t length) noexcept nogil:
    cdef Buffer* buffer = ctx.plan.buffer
    memcpy(buffer.data + buffer.length, uri, length)
    target.uri_offset = buffer.length
    target.uri_length = length
    target.rewrite = 1
    buffer.length += length


cdef bint next_hop(Proxy* p, const uint8_t* data, const Uri* uri, const Flow* like, Flow* out) noexcept nogil:
    # The address a URI names, as far as it can be told without DNS: a numeric host or maddr, over UDP (RFC 3263 4).
    cdef Slice maddr
    cdef Address remote
    cdef uint16_t port = uri.port if uri.port else 5060
    if uri.scheme != SCHEME_SIP or (uri.transport != TRANSPORT_UNKNOWN and uri.transport != TRANSPORT_UDP):
        return False
    if find_parameter(data, uri.parameters, b"maddr", &maddr) and maddr.end > maddr.start:
        if not address_parse(&remote, data + maddr.start, slice_length(maddr), port):
            return False
    elif not address_parse(&remote, data + uri.host.start, slice_length(uri.host), port):
        return False
    return address_is_sendable(&remote) and transport_route(p.transport, like, &remote, out)
