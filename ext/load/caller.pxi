# The calling side. One record a call, one client transaction at a time in it (a CANCEL beside its INVITE), one timer: what
# it is for follows from the state.
#
# A record is free again as soon as its call is over. What comes later is found out by the generation in its branch, and
# what RFC 3261 wants for it, an ACK, is made from the response alone.

cdef void fail(Load* l, Call* c, uint32_t cause) noexcept nogil:
    count(l, LOAD_failed)
    store_word(&l.failures[cause], l.failures[cause] + 1)
    finish_call(l, c)


cdef void succeed(Load* l, Call* c) noexcept nogil:
    cdef int kind = l.job[c.job].kind
    count(l, LOAD_done)
    count(l, LOAD_calls_done if kind == WORK_CALL else LOAD_registers_done if kind == WORK_REGISTER
          else LOAD_options_done if kind == WORK_OPTIONS else LOAD_messages_done)
    finish_call(l, c)


cdef void finish_call(Load* l, Call* c) noexcept nogil:
    if l.job[c.job].kind == WORK_REGISTER:
        l.person[c.person].registering = False
    call_free(l, c)


cdef inline void record(Load* l, int reading, uint64_t since) noexcept nogil:
    histogram_record(&l.readings[reading], (l.now - since) // 1000 if l.now > since else 0)


cdef bint transmit(Load* l, Call* c, Buffer* buffer) noexcept nogil:
    # The first INVITE, REGISTER and so on, and ACKs of what refused it, in one lane; what a dialog sends in another.
    return post(l, LANE_DIALOG if c.state in (CALL_HELD, CALL_REINVITING, CALL_ENDING) or c.next != NULL else LANE_BEGIN,
                &c.flow, buffer)


cdef bint start(Load* l, Call* c, Buffer* request) noexcept nogil:
    # A new client transaction, which takes over the reference. False: the call is over.
    drop(l, &c.request)
    c.request = request
    c.proceeding = False
    c.interval = l.t1
    c.deadline = l.now_ms + ENDING * l.t1
    if request == NULL or not transmit(l, c, request):
        fail(l, c, CAUSE_TRANSPORT)
        return False
    timer_arm(l.wheel, &c.timer, l.now_ms, ENDING * l.t1 if c.flow.reliable else l.t1)
    return True


cdef bint begin_work(Load* l) noexcept nogil:
    # One arrival. False: it found no room.
    cdef uint32_t which = 0
    cdef double draw = random_unit(&l.random) if l.jobs > 1 else 0
    cdef const Job* job
    cdef Call* c
    cdef Person* person = NULL
    while which + 1 < l.jobs and draw >= l.job[which].upto:
        which += 1
    job = &l.job[which]
    if l.counters[<int>LOAD_in_flight] >= l.limit or (job.kind == WORK_REGISTER and not next_unregistering(l)):
        count(l, LOAD_not_begun)
        return False
    c = call_new(l)
    if c == NULL:
        count(l, LOAD_not_begun)
        return False
    c.job = <uint8_t>which
    c.person = l.next_person if job.kind == WORK_REGISTER else random_below(&l.random, l.persons)
    c.place = next_place(l, c.person)
    c.flow = l.place[c.place].flow
    c.cseq = 1
    c.begun = c.sent = l.now
    count(l, LOAD_offered)
    store_word(&l.counters[<int>LOAD_begun_us], (l.now - l.started) // 1000)
    if job.kind == WORK_REGISTER:
        begin_register(l, c, job)
        return True
    if job.kind == WORK_CALL:
        count(l, LOAD_calls)
        c.state = CALL_INVITING
        c.will_cancel = job.cancel > 0 and random_unit(&l.random) < job.cancel
        c.will_reinvite = job.reinvite > 0 and random_unit(&l.random) < job.reinvite
        start(l, c, credited(l, c, write_invite(l, c, job)))
    elif job.kind == WORK_OPTIONS:
        count(l, LOAD_options)
        c.state = CALL_ASKING
        start(l, c, credited(l, c, write_options(l, c)))
    else:
        count(l, LOAD_messages)
        c.state = CALL_ASKING
        start(l, c, credited(l, c, write_message(l, c, job)))
    return True


cdef uint32_t next_place(Load* l, uint32_t person) noexcept nogil:
    # A caller keeps to one connection where there are callers enough; else places take turns. A connection that is gone
    # is opened again; where that fails, so does sending.
    cdef uint32_t which = l.next_place
    if l.settled:
        which = person % l.places
    else:
        l.next_place = l.next_place + 1 if l.next_place + 1 < l.places else 0
    if l.place[which].flow.reliable:
        transport_connect(l.transport, &l.place[which].flow)
    return which


cdef bint next_unregistering(Load* l) noexcept nogil:
    # The next user in turn with no REGISTER under way. They finish in about the order in which they began.
    cdef uint32_t i
    for i in range(64):
        l.next_person = l.next_person + 1 if l.next_person + 1 < l.persons else 0
        if not l.person[l.next_person].registering:
            return True
    return False


cdef void begin_register(Load* l, Call* c, const Job* job) noexcept nogil:
    cdef Person* person = &l.person[c.person]
    count(l, LOAD_registers)
    c.state = CALL_ASKING
    person.registering = True
    person.cseq += 1
    c.cseq = person.cseq
    c.removing = job.remove >= 1 or person.registered and job.remove > 0 and random_unit(&l.random) < job.remove
    start(l, c, credited(l, c, write_register(l, c, job)))


# --- responses -------------------------------------------------------------------------------------------------------

cdef void on_response(Load* l, const Message* m, const Packet* packet) noexcept nogil:
    cdef uint32_t index, generation, sequence
    cdef Call* c
    if not read_call_branch(l, m, &index, &generation, &sequence):
        count(l, LOAD_strays)
        return
    c = call_at(l, index, generation)
    if c == NULL or c.sequence != sequence:
        on_late(l, m, packet, index, generation, sequence)
    elif m.cseq_method == METHOD_CANCEL:
        if c.cancelling and c.state == CALL_INVITING and m.status >= 200:
            # Whatever it says: the INVITE's own final response decides, and is waited for as long again (9.1).
            c.cancelling = 2
            timer_arm(l.wheel, &c.timer, l.now_ms, ENDING * l.t1)
    elif m.status < 200:
        on_provisional(l, c, m)
    elif c.state == CALL_INVITING or c.state == CALL_REINVITING:
        on_invite_final(l, c, m)
    elif c.state == CALL_HELD:
        on_late(l, m, packet, index, generation, sequence)
    else:
        on_final(l, c, m)


cdef void on_provisional(Load* l, Call* c, const Message* m) noexcept nogil:
    if c.state == CALL_HELD:
        return
    if c.state == CALL_INVITING:
        if m.status == 100 and not c.proceeding:
            record(l, INVITE_100, c.begun)
        elif m.status == 180 and not c.ringing:
            record(l, INVITE_180, c.begun)
        if not c.proceeding:
            timer_arm(l.wheel, &c.timer, l.now_ms, RING_PATIENCE)
        if m.status >= 180 and not c.ringing:
            c.ringing = True
            if c.will_cancel:
                timer_arm(l.wheel, &c.timer, l.now_ms, l.job[c.job].cancel_after)
    elif c.state == CALL_REINVITING:
        if not c.proceeding:
            timer_arm(l.wheel, &c.timer, l.now_ms, RING_PATIENCE)
    else:
        c.interval = l.t2        # Timer E in Proceeding
    c.proceeding = True


cdef void on_invite_final(Load* l, Call* c, const Message* m) noexcept nogil:
    cdef const Job* job = &l.job[c.job]
    if m.status >= 300:
        acknowledge_failed(l, c, m)
        if is_challenge(m) and not c.cancelling:
            answer_challenge(l, c, m)
        elif c.state == CALL_REINVITING and m.status not in (408, 481):
            # The dialog goes on as it was (14.1); the BYE has its place in it.
            c.failure = m.status
            replace(l, &c.next, write_like(l, c, c.next, b"BYE", NULL, c.cseq + 1, c.sequence + 1))
            hang_up(l, c)
        elif m.status == 487 and c.cancelling:
            count(l, LOAD_cancelled)
            succeed(l, c)
        elif job.busy and (m.status == 486 or m.status == 600):
            count(l, LOAD_busy)
            succeed(l, c)
        else:
            fail(l, c, m.status)
        return
    if c.state == CALL_INVITING:
        record(l, INVITE_200, c.begun)
    confirm(l, c, m)


cdef void acknowledge_failed(Load* l, Call* c, const Message* m) noexcept nogil:
    cdef Buffer* ack
    if c.state == CALL_REINVITING:
        ack = write_like(l, c, c.request, b"ACK", NULL, c.cseq, c.sequence)
    else:
        ack = write_ack_failed(l, c, m)
    if ack != NULL:
        transmit(l, c, ack)
        buffer_release(&l.pool, ack)


cdef void confirm(Load* l, Call* c, const Message* m) noexcept nogil:
    # A 2xx: ACK it, and write what ends the call while all of it is at hand.
    cdef Dialog d
    cdef Buffer* ack
    cdef Buffer* bye
    cdef uint32_t hold = 0
    if c.state == CALL_INVITING:
        if not read_dialog(m, &d):
            fail(l, c, CAUSE_UNEXPECTED)
            return
        c.strict = d.strict
        next_hop(l, m, &d, &l.place[c.place].flow, &c.flow)
        ack = write_ack_2xx(l, c, m, &d)
        bye = write_bye(l, c, m, &d)
        hold = draw_hold(l, &l.job[c.job])
        if c.will_reinvite:
            c.left = hold // 2
            hold -= c.left
    else:
        ack = write_like(l, c, c.request, b"ACK", m, c.cseq, ACK_SEQUENCE)
        bye = write_like(l, c, c.next, b"BYE", m, c.cseq + 1, c.sequence + 1)
        hold = c.left
    drop(l, &c.ack)
    drop(l, &c.request)
    drop(l, &c.next)
    c.ack = ack
    c.next = bye
    if ack == NULL or not transmit(l, c, ack):
        fail(l, c, CAUSE_TRANSPORT)
        return
    if not c.credited:
        drop(l, &c.ack)
    c.state = CALL_HELD
    if c.cancelling or l.finishing:
        hold = 0                 # the CANCEL came too late: hang up
        c.will_reinvite = False
    if hold == 0:
        hold_over(l, c)
    else:
        timer_arm(l.wheel, &c.timer, l.now_ms, hold)


cdef uint32_t draw_hold(Load* l, const Job* job) noexcept nogil:
    cdef double rest = job.hold - job.hold_least
    if job.hold == 0:
        return 0
    if job.hold_kind == HOLD_EXPONENTIAL:
        rest *= random_exponential(&l.random)
    elif job.hold_kind == HOLD_UNIFORM:
        rest *= 2 * random_unit(&l.random)
    return <uint32_t>min(job.hold_least + rest + 0.5, 4e9)


cdef void hold_over(Load* l, Call* c) noexcept nogil:
    if c.will_reinvite:
        c.will_reinvite = False
        c.state = CALL_REINVITING
        begin_inside(l, c, write_like(l, c, c.next, b"INVITE", NULL, c.cseq + 1, c.sequence + 1))
    else:
        hang_up(l, c)


cdef void hang_up(Load* l, Call* c) noexcept nogil:
    cdef Buffer* bye = c.next
    c.next = NULL
    c.state = CALL_ENDING
    begin_inside(l, c, bye)


cdef void begin_inside(Load* l, Call* c, Buffer* request) noexcept nogil:
    # The next client transaction of the dialog.
    c.cseq += 1
    c.sequence += 1
    c.challenged = 0
    c.sent = l.now
    start(l, c, credited(l, c, request))


cdef void on_final(Load* l, Call* c, const Message* m) noexcept nogil:
    # Of a BYE, REGISTER, OPTIONS or MESSAGE.
    cdef int kind = l.job[c.job].kind
    if is_challenge(m):
        answer_challenge(l, c, m)
        return
    if kind == WORK_CALL:
        record(l, BYE_200, c.sent)
    elif kind == WORK_REGISTER:
        record(l, REGISTER_FINAL, c.sent)
        l.person[c.person].registered = m.status < 300 and not c.removing
    else:
        record(l, OPTIONS_FINAL if kind == WORK_OPTIONS else MESSAGE_FINAL, c.sent)
    if c.failure:
        fail(l, c, c.failure)
    elif m.status < 300:
        succeed(l, c)
    else:
        fail(l, c, m.status)


cdef void replace(Load* l, Buffer** place, Buffer* buffer) noexcept nogil:
    drop(l, place)
    place[0] = buffer


cdef void on_late(Load* l, const Message* m, const Packet* packet, uint32_t index, uint32_t generation,
                  uint32_t sequence) noexcept nogil:
    # A response of a transaction that has had its own. To an INVITE it comes again until it is acknowledged.
    cdef Call gone
    cdef Call* c = call_at(l, index, generation)
    cdef Dialog d
    cdef Flow flow = packet.flow
    cdef Buffer* ack
    count(l, LOAD_again_in)
    if m.status < 200 or m.cseq_method != METHOD_INVITE:
        return
    count(l, LOAD_again_ack)
    if c != NULL and c.ack != NULL and m.status < 300:
        transmit(l, c, c.ack)
        return
    if c != NULL and m.status < 300 and c.state >= CALL_HELD:
        # The dialog's own route set: the 2xx of a re-INVITE need not have it.
        ack = write_like(l, c, c.request if c.next == NULL else c.next, b"ACK", NULL, m.cseq, ACK_SEQUENCE)
        if ack != NULL:
            transmit(l, c, ack)
            buffer_release(&l.pool, ack)
        return
    memset(&gone, 0, sizeof(gone))
    gone.index, gone.generation, gone.sequence = index, generation, <uint8_t>sequence
    gone.place = place_of(l, &packet.flow)
    if m.status >= 300:
        ack = write_ack_failed(l, &gone, m)
    else:
        if not read_dialog(m, &d):
            return
        next_hop(l, m, &d, &l.place[gone.place].flow, &flow)
        ack = write_ack_2xx(l, &gone, m, &d)
    if ack != NULL:
        post(l, LANE_DIALOG, &flow, ack)
        buffer_release(&l.pool, ack)


cdef void on_unsent_request(Load* l, const Message* m) noexcept nogil:
    cdef uint32_t index, generation, sequence
    cdef Call* c
    if not read_call_branch(l, m, &index, &generation, &sequence):
        return
    c = call_at(l, index, generation)
    if c != NULL and (c.sequence == sequence or sequence == ACK_SEQUENCE):
        fail(l, c, CAUSE_TRANSPORT)


cdef uint32_t place_of(Load* l, const Flow* flow) noexcept nogil:
    cdef uint32_t i
    for i in range(l.places):
        if l.place[i].flow.listener == flow.listener and address_same_ip(&l.place[i].flow.local, &flow.local):
            return i
    return 0


# --- time ------------------------------------------------------------------------------------------------------------

cdef void on_call_timer(Load* l, Call* c) noexcept nogil:
    if c.state == CALL_HELD:
        hold_over(l, c)
    elif c.state == CALL_INVITING and c.proceeding:
        if c.will_cancel and not c.cancelling and c.ringing:
            send_cancel(l, c)
        elif c.cancelling == 1:
            again(l, c, c.next)  # Timer E of the CANCEL
        else:
            fail(l, c, CAUSE_TIMEOUT)
    elif c.state == CALL_REINVITING and c.proceeding:
        fail(l, c, CAUSE_TIMEOUT)
    else:
        again(l, c, c.request)


cdef void again(Load* l, Call* c, Buffer* request) noexcept nogil:
    # Timers A and E, or B and F (RFC 3261 17.1.1.2, 17.1.2.2).
    cdef uint64_t left
    cdef int kind = l.job[c.job].kind
    cdef bint inviting = (c.state == CALL_INVITING or c.state == CALL_REINVITING) and request == c.request
    if l.now_ms >= c.deadline or c.flow.reliable:
        fail(l, c, CAUSE_TIMEOUT)
        return
    count(l, LOAD_again_invite if inviting else LOAD_again_bye if c.state == CALL_ENDING
          else LOAD_again_register if kind == WORK_REGISTER else LOAD_again_other)
    transmit(l, c, request)
    c.interval *= 2
    if not inviting and c.interval > l.t2:
        c.interval = l.t2
    left = c.deadline - l.now_ms
    timer_arm(l.wheel, &c.timer, l.now_ms, <uint32_t>min(<uint64_t>c.interval, left))


cdef void send_cancel(Load* l, Call* c) noexcept nogil:
    c.next = write_like(l, c, c.request, b"CANCEL", NULL, c.cseq, c.sequence)
    c.cancelling = 1
    c.interval = l.t1
    c.deadline = l.now_ms + ENDING * l.t1
    if c.next == NULL or not transmit(l, c, c.next):
        fail(l, c, CAUSE_TRANSPORT)
        return
    timer_arm(l.wheel, &c.timer, l.now_ms, ENDING * l.t1 if c.flow.reliable else l.t1)
