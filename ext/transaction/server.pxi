# Server transactions (RFC 3261 17.2): found by their key, driven by requests that come again and by the TU's responses.

cdef int match_request(Transactions* layer, const Message* m, const Flow* flow, Transaction** found) noexcept nogil:
    cdef Transaction* t
    cdef uint32_t generation
    found[0] = NULL
    if m.method == METHOD_ACK:
        t = find_ack(layer, m)
        if t == NULL:
            return MATCH_NONE
        found[0] = t
        return MATCH_ACK_ACCEPTED if advance(layer, t, EVENT_ACK, NULL, NULL) & PASS_ACK else MATCH_ABSORBED
    t = table_find(<Table*>layer.table, request_key(layer, m, m.method))
    if t == NULL:
        return MATCH_NONE
    layer.retransmissions_in += 1
    generation = t.generation
    advance(layer, t, EVENT_REQUEST, NULL, NULL)
    if t.generation == generation:
        found[0] = t
    return MATCH_ABSORBED


cdef Transaction* server_transaction(Transactions* layer, const Message* m, const Flow* flow, Buffer* request) noexcept nogil:
    cdef Transaction* t
    CHECK(m.method != METHOD_ACK)
    if is_full(layer, layer.setup.limit):
        return NULL
    t = take(layer, INVITE_SERVER if m.method == METHOD_INVITE else NON_INVITE_SERVER, m.method)
    if t == NULL:
        return NULL
    t.key = request_key(layer, m, m.method)
    if t.machine == INVITE_SERVER and not has_cookie(m.data, m.via.branch):
        t.acked_tag = ANSWERED_NOT
    t.request = buffer_hold(request) if request != NULL else NULL
    t.flow = flow[0]
    table_add(<Table*>layer.table, t)
    advance(layer, t, EVENT_REQUEST, NULL, NULL)
    return t


cdef Transaction* find_cancelled(Transactions* layer, const Message* cancel) noexcept nogil:
    return table_find(<Table*>layer.table, request_key(layer, cancel, METHOD_INVITE))


cdef void note_to_tag(Transactions* layer, Transaction* t, Buffer* response) noexcept nogil:
    # The ACK of an RFC 2543 peer is told from others by the To tag of the response it acknowledges.
    cdef Message m
    if parse_message(&m, response.data, response.length, DATAGRAM) > 0:
        t.acked_tag = tag_hash(layer, &m)


cdef int server_respond(Transactions* layer, Transaction* server, Buffer* response, int status) noexcept nogil:
    cdef int event = event_of(status)
    cdef uint32_t actions
    CHECK(is_server(server))
    if FSM[server.machine][server.state][event].next == STATE_FREE:
        return 0
    server.status = <uint16_t>status
    if server.acked_tag and event == EVENT_300_699:
        note_to_tag(layer, server, response)
    actions = advance(layer, server, event, response, NULL)
    return not actions & FAILED
