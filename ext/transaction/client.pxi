# Client transactions (RFC 3261 17.1): found by the branch they wrote, an index into the slab.

cdef Transaction* client_transaction(Transactions* layer, int method) noexcept nogil:
    # A quarter more than for new work from outside, so that what was let in can be forwarded.
    if is_full(layer, <uint64_t>layer.setup.limit + layer.setup.limit // 4 + 1):
        return NULL
    return take(layer, INVITE_CLIENT if method == METHOD_INVITE else NON_INVITE_CLIENT, method)


cdef void client_discard(Transactions* layer, Transaction* client) noexcept nogil:
    CHECK(client.state == STATE_FREE)
    release(layer, client)


cdef int client_start(Transactions* layer, Transaction* client, Buffer* request, const Flow* flow) noexcept nogil:
    CHECK(not is_server(client) and client.state == STATE_FREE)
    client.request = buffer_hold(request)
    client.flow = flow[0]
    return not advance(layer, client, EVENT_REQUEST, NULL, NULL) & FAILED


cdef int client_cancel(Transactions* layer, Transaction* client) noexcept nogil:
    # Not bounded by the limit: it makes room, and there is at most one for an INVITE.
    cdef Transaction* t
    cdef Buffer* cancel
    cdef int sent
    if client.machine != INVITE_CLIENT or client.state != STATE_PROCEEDING or client.cancel != NULL:
        return 0
    cancel = build_from_invite(layer, client.request, METHOD_CANCEL, NULL)
    if cancel == NULL:
        return 0
    t = take(layer, NON_INVITE_CLIENT, METHOD_CANCEL)
    if t == NULL:
        buffer_release(layer.pool, cancel)
        return 0
    t.chain = client
    client.cancel = t
    sent = client_start(layer, t, cancel, &client.flow)
    buffer_release(layer.pool, cancel)
    return sent


cdef inline Transaction* find_client(Transactions* layer, const Message* m) noexcept nogil:
    # By branch and CSeq method (17.1.3): the response to a CANCEL has its INVITE's branch.
    cdef OwnBranch b
    cdef Transaction* t
    if not decode_branch(&layer.setup.branch_key, m.data, m.via.branch, &b) or b.owner != layer.setup.owner:
        return NULL
    t = transaction_at(layer, b.slot, b.generation)
    if t == NULL or t.state == STATE_FREE or is_server(t) or is_own_cancel(t):
        return NULL
    if m.cseq_method == METHOD_CANCEL and t.machine == INVITE_CLIENT:
        return t.cancel
    return t if m.cseq_method == t.method else NULL


cdef Transaction* client_of_branch(Transactions* layer, const uint8_t* branch, uint32_t length) noexcept nogil:
    # The one that wrote it, while it runs; NULL if there is none.
    cdef OwnBranch b
    cdef Slice text
    cdef Transaction* t
    text.start, text.end = 0, <uint16_t>min(length, 65535u)
    if not decode_branch(&layer.setup.branch_key, branch, text, &b) or b.owner != layer.setup.owner:
        return NULL
    t = transaction_at(layer, b.slot, b.generation)
    return NULL if t == NULL or t.state == STATE_FREE or is_server(t) or is_own_cancel(t) else t


cdef Transaction* answered_client(Transactions* layer, const Message* m) noexcept nogil:
    return find_client(layer, m)


cdef int receive_response(Transactions* layer, const Message* m) noexcept nogil:
    cdef Transaction* t = find_client(layer, m)
    cdef int event = event_of(m.status)
    if t == NULL or m.status < 100 or m.status > 699:
        layer.strays += 1
        return 0
    if FSM[t.machine][t.state][event].actions & PASS_RESPONSE:
        t.status = m.status
    elif event != EVENT_1XX:
        layer.retransmissions_in += 1
    advance(layer, t, event, NULL, m)
    return 1
