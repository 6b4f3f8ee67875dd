# One step of a machine: look the arrow up, do what it says, in the order fsm.h gives. Everything that calls the
# transaction user may come back with this transaction ended, or ended and its slot taken by another one; chunks never
# move, so the generation tells, and whoever called up asks it before touching the transaction again.

cdef enum:
    FAILED = 1 << 30             # in what `advance` returns, beside the arrow's actions


cdef inline bint is_own_cancel(const Transaction* t) noexcept nogil:
    # The client transaction of a CANCEL built here: its INVITE hangs on `chain`, the TU does not know it.
    return t.machine == NON_INVITE_CLIENT and t.chain != NULL


cdef inline bint is_server(const Transaction* t) noexcept nogil:
    return t.machine >= INVITE_SERVER


cdef inline int event_of(int status) noexcept nogil:
    return EVENT_1XX if status < 200 else EVENT_2XX if status < 300 else EVENT_300_699


cdef void change_state(Transactions* layer, Transaction* t, int state) noexcept nogil:
    layer.waiting += is_waiting(state)
    layer.waiting -= is_waiting(t.state)
    t.state = <uint8_t>state
    if state == STATE_TERMINATED:
        timer_cancel(layer.wheel, &t.retransmit)
        timer_cancel(layer.wheel, &t.timeout)


cdef void change_timers(Transactions* layer, Transaction* t, uint32_t actions) noexcept nogil:
    cdef const TransactionSetup* setup = &layer.setup
    if actions & STOP_RETRANSMIT:
        timer_cancel(layer.wheel, &t.retransmit)
    if actions & STOP_TIMEOUT:
        timer_cancel(layer.wheel, &t.timeout)
    if actions & (START_RETRANSMIT | DOUBLE | DOUBLE_TO_T2 | AT_T2) and not t.flow.reliable:
        if actions & START_RETRANSMIT:
            t.interval = setup.t1
        elif actions & DOUBLE:
            t.interval *= 2
        else:
            t.interval = setup.t2 if actions & AT_T2 else min(2 * t.interval, setup.t2)
        timer_arm(layer.wheel, &t.retransmit, layer.now, t.interval)
    if actions & START_TIMEOUT:
        t.timeout.kind = TIMER_TIMEOUT
        timer_arm(layer.wheel, &t.timeout, layer.now, 64 * setup.t1)
    if actions & START_WAIT:
        t.timeout.kind = TIMER_WAIT
        timer_arm(layer.wheel, &t.timeout, layer.now,
                  wait_of(WAIT[t.machine][t.state], t.flow.reliable, setup.t1, setup.t4))


cdef inline bint send(Transactions* layer, Transaction* t, Buffer* buffer) noexcept nogil:
    return buffer != NULL and layer.setup.tu.send(layer.setup.tu.self, &t.flow, buffer) >= 0


cdef inline void keep_response(Transactions* layer, Transaction* t, Buffer* response) noexcept nogil:
    # `response` may be the one already kept.
    cdef Buffer* last = t.response
    t.response = buffer_hold(response)
    buffer_release(layer.pool, last)


cdef bint transmit(Transactions* layer, Transaction* t, int event, uint32_t actions, Buffer* response, const Message* m) noexcept nogil:
    # 1 if it was sent, or there was nothing to send.
    if actions & SEND_REQUEST:
        layer.retransmissions_out += event == EVENT_RETRANSMIT
        return send(layer, t, t.request)
    if actions & SEND_RESPONSE:
        if KEEPS[t.machine][t.state] & KEEP_RESPONSE:
            keep_response(layer, t, response)
        return send(layer, t, response)
    if actions & RESEND:
        if t.response == NULL:
            return True
        layer.retransmissions_out += 1
        return send(layer, t, t.response)
    if t.response != NULL:       # SEND_ACK for a final response that came again
        layer.retransmissions_out += 1
    else:
        t.response = build_from_invite(layer, t.request, METHOD_ACK, m)
    return send(layer, t, t.response)


cdef void tell(Transactions* layer, Transaction* t, uint32_t actions, const Message* m) noexcept nogil:
    cdef TransactionUser* tu = &layer.setup.tu
    if is_own_cancel(t):
        return
    if actions & PASS_RESPONSE:
        tu.on_response(tu.self, t, m)
    elif actions & TELL_TIMEOUT:
        tu.on_timeout(tu.self, t)
    elif actions & TELL_ERROR:
        tu.on_failure(tu.self, t)


cdef void give_back(Transactions* layer, Transaction* t) noexcept nogil:
    # The buffers this state does not need.
    cdef uint8_t keeps = KEEPS[t.machine][t.state]
    if t.machine == NON_INVITE_CLIENT and t.flow.reliable:
        keeps = 0
    if t.request != NULL and not keeps & KEEP_REQUEST:
        buffer_release(layer.pool, t.request)
        t.request = NULL
    if t.response != NULL and not keeps & KEEP_RESPONSE:
        buffer_release(layer.pool, t.response)
        t.response = NULL


cdef uint32_t advance(Transactions* layer, Transaction* t, int event, Buffer* response, const Message* m) noexcept nogil:
    # The actions of the arrow taken, 0 if there was none.
    cdef const Arrow* arrow = &FSM[t.machine][t.state][event]
    cdef uint32_t actions = arrow.actions, generation = t.generation
    cdef bint sent = True
    if arrow.next == STATE_FREE:
        return 0
    change_state(layer, t, arrow.next)
    if actions & (STOP_RETRANSMIT | STOP_TIMEOUT | START_RETRANSMIT | DOUBLE | DOUBLE_TO_T2 | AT_T2 | START_TIMEOUT | START_WAIT):
        change_timers(layer, t, actions)
    if actions & (SEND_REQUEST | SEND_RESPONSE | RESEND | SEND_ACK):
        sent = transmit(layer, t, event, actions, response, m)
        if not sent:
            actions |= FAILED
    if actions & (PASS_RESPONSE | TELL_TIMEOUT | TELL_ERROR):
        tell(layer, t, actions, m)
        if t.generation != generation:
            return actions
    if not sent:
        advance(layer, t, EVENT_ERROR, NULL, NULL)
        if t.generation != generation:
            return actions
    give_back(layer, t)
    if t.state == STATE_TERMINATED:
        terminate(layer, t)
    return actions


cdef void terminate(Transactions* layer, Transaction* t) noexcept nogil:
    cdef uint32_t generation = t.generation
    if not is_own_cancel(t):
        layer.setup.tu.on_terminated(layer.setup.tu.self, t)
    if t.generation == generation:
        release(layer, t)


cdef void release(Transactions* layer, Transaction* t) noexcept nogil:
    # Undo all that refers to the transaction and give its slot back, in whatever state it is.
    timer_cancel(layer.wheel, &t.retransmit)
    timer_cancel(layer.wheel, &t.timeout)
    layer.waiting -= is_waiting(t.state)
    if is_server(t):
        table_remove(<Table*>layer.table, t)
    elif t.cancel != NULL:       # it has no branch of its own: without the INVITE nothing would find it
        release(layer, t.cancel)
    elif t.chain != NULL:
        t.chain.cancel = NULL
    buffer_release(layer.pool, t.request)
    buffer_release(layer.pool, t.response)
    slab_give(layer, t)


cdef void transaction_end(Transactions* layer, Transaction* transaction) noexcept nogil:
    release(layer, transaction)


cdef void transaction_failed(Transactions* layer, Transaction* transaction) noexcept nogil:
    advance(layer, transaction, EVENT_ERROR, NULL, NULL)


cdef int run_timers(Transactions* layer, int limit) noexcept nogil:
    cdef Timer* timer
    cdef Transaction* t
    cdef int fired = 0
    while fired < limit:
        timer = wheel_expire(layer.wheel, layer.now)
        if timer == NULL:
            break
        fired += 1
        if timer.kind >= TIMER_USER:
            layer.setup.tu.on_timer(layer.setup.tu.self, timer)
        elif timer.kind == TIMER_RETRANSMIT:
            t = <Transaction*>timer
            advance(layer, t, EVENT_RETRANSMIT, NULL, NULL)
        else:
            t = <Transaction*>(timer - 1)        # `timeout` lies behind `retransmit`, the first field
            advance(layer, t, EVENT_TIMEOUT if timer.kind == TIMER_TIMEOUT else EVENT_WAITED, NULL, NULL)
    return fired
