# The answering side. A dialog is found by the tag we gave it, an INVITE and its CANCEL by their branch; everything outside
# a dialog is answered the same way however often it comes and leaves nothing behind.
#
# A record stays 64*T1 after its end, for what comes again (timers J and L): the delay is the same for all, so a list in
# order of time does, without a timer for each.

cdef uint64_t invite_key(const Load* l, const Message* m) noexcept nogil:
    # RFC 3261 17.2.3, Call-ID and CSeq added for peers whose branches do not tell calls apart. Same for CANCEL.
    cdef HashState state
    cdef uint64_t cseq = m.cseq
    siphash_start(&state, &l.key)
    siphash_add(&state, m.data + m.via.branch.start, slice_length(m.via.branch))
    siphash_add(&state, m.data + m.call_id.start, slice_length(m.call_id))
    siphash_add(&state, &cseq, sizeof(cseq))
    return siphash_finish(&state)


cdef void reply_flow(const Message* m, const Packet* packet, Flow* out) noexcept nogil:
    # RFC 3261 18.2.2 and RFC 3581: to where it came from, at the port of its Via unless rport asks for the source's.
    out[0] = packet.flow
    if not packet.flow.reliable and not m.via.has_rport:
        out.remote.port = m.via.port if m.via.port else 5060


cdef void put_top_via(Writer* w, const Message* m, const Packet* packet) noexcept nogil:
    # `received` where sent-by is not the source (18.2.1), the port behind a bare rport (RFC 3581 4).
    cdef const Header* line = &m.headers[m.first[<int>HDR_VIA]]
    cdef Address sent_by
    cdef char host[ADDRESS_TEXT]
    cdef uint32_t at = line.name
    if m.via.has_rport and m.via.rport.start == m.via.rport.end and m.via.rport.start:
        put(w, m.data + at, m.via.rport.start - at)
        if m.data[m.via.rport.start - 1] != c'=':
            put_text(w, b"=")
        put_number(w, packet.flow.remote.port)
        at = m.via.rport.end
    put(w, m.data + at, m.via.whole.end - at)
    if not m.via.received.start and not (
            address_parse(&sent_by, m.data + m.via.host.start, slice_length(m.via.host), 0)
            and address_same_ip(&sent_by, &packet.flow.remote)):
        put_text(w, b";received=")
        put(w, host, address_host(&packet.flow.remote, host, False))
    put(w, m.data + m.via.whole.end, line.end - m.via.whole.end)


cdef void put_reply(Writer* w, const Load* l, const Message* m, const Packet* packet, const char* tag_letter, uint32_t index,
                    uint32_t generation, bint routes) noexcept nogil:
    # All that a response copies (8.2.6.2), from behind the start line.
    cdef uint32_t i
    cdef const Header* line
    cdef bint top = True
    for i in range(m.header_count):
        line = &m.headers[i]
        if line.id == HDR_VIA:
            put_text(w, b"\r\n")
            if top:
                put_top_via(w, m, packet)
            else:
                put(w, m.data + line.name, line.end - line.name)
            top = False
        elif line.id in (HDR_FROM, HDR_TO, HDR_CALL_ID, HDR_CSEQ) or routes and line.id == HDR_RECORD_ROUTE:
            put_text(w, b"\r\n")
            put(w, m.data + line.name, line.end - line.name)
            if line.id == HDR_TO and not m.to_tag.start:
                put_text(w, b";tag=")
                put_text(w, tag_letter)
                put_token(w, l, index, generation)


cdef void put_own_contact(Writer* w, Load* l, const Packet* packet) noexcept nogil:
    cdef Address here
    cdef char host[ADDRESS_TEXT]
    transport_sent_by(l.transport, &packet.flow, &here)
    put_text(w, b"\r\nContact: <sip:")
    put(w, host, address_host(&here, host, True))
    put_text(w, b":")
    put_number(w, here.port)
    put_transport(w, packet.flow.transport)
    put_text(w, b">")


cdef void put_status(Writer* w, int status) noexcept nogil:
    put_text(w, b"SIP/2.0 ")
    put_number(w, status)
    put_text(w, b" ")
    put_text(w, reason_phrase(status))


cdef void send_away(Load* l, int lane, const Flow* flow, Buffer* buffer) noexcept nogil:
    # Without keeping it.
    if buffer != NULL:
        post(l, lane, flow, buffer)
        buffer_release(&l.pool, buffer)


cdef void reply(Load* l, const Message* m, const Packet* packet, int status) noexcept nogil:
    # Statelessly (8.2.7): the tag follows from the request, so it is the same each time.
    cdef Writer w
    cdef Flow flow
    cdef uint64_t key = invite_key(l, m)
    reply_flow(m, packet, &flow)
    begin(l, &w)
    put_status(&w, status)
    put_reply(&w, l, m, packet, b"o", <uint32_t>(key >> 32), <uint32_t>key, False)
    if m.method == METHOD_REGISTER and status == 200:
        put_line(&w, m, HDR_CONTACT)
        put_line(&w, m, HDR_EXPIRES)
    elif m.method == METHOD_OPTIONS:
        put_own_contact(&w, l, packet)
        put_text(&w, b"\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE\r\nAccept: application/sdp")
    put_end(&w)
    send_away(l, LANE_OTHER, &flow, finished(l, &w))


cdef Answered* answered_of(Load* l, const Message* m) noexcept nogil:
    cdef uint32_t index, generation
    cdef const uint8_t* tag = m.data + m.to_tag.start
    if slice_length(m.to_tag) != TAG_LENGTH or tag[0] != c's' or not read_token(l, tag + 1, &index, &generation):
        return NULL
    return answered_at(l, index, generation)


cdef Call* call_of(Load* l, const Message* m) noexcept nogil:
    # What we called, and what now sends a request itself.
    cdef uint32_t index, generation
    cdef const uint8_t* tag = m.data + m.to_tag.start
    if slice_length(m.to_tag) != TAG_LENGTH or tag[0] != c'c' or not read_token(l, tag + 1, &index, &generation):
        return NULL
    return call_at(l, index, generation)


cdef void on_request(Load* l, const Message* m, const Packet* packet) noexcept nogil:
    cdef Answered* a
    count(l, LOAD_requests_in)
    if m.method == METHOD_INVITE:
        if m.to_tag.start:
            on_reinvite(l, m, packet)
        else:
            on_invite(l, m, packet)
    elif m.method == METHOD_ACK:
        on_ack(l, answered_of(l, m), m)
    elif m.method == METHOD_BYE:
        on_bye(l, m, packet)
    elif m.method == METHOD_CANCEL:
        on_cancel(l, m, packet)
    elif m.method in (METHOD_OPTIONS, METHOD_MESSAGE, METHOD_REGISTER, METHOD_INFO, METHOD_UPDATE):
        reply(l, m, packet, 481 if m.to_tag.start and answered_of(l, m) == NULL and call_of(l, m) == NULL else 200)
    else:
        reply(l, m, packet, 501)


cdef void on_invite(Load* l, const Message* m, const Packet* packet) noexcept nogil:
    cdef uint64_t key = invite_key(l, m)
    cdef Answered* a = table_find(l, key)
    cdef bint busy
    if a != NULL:
        count(l, LOAD_again_in)
        if a.state == ANSWERED_RINGING and not l.silent:
            send_away(l, LANE_RINGING, &a.flow, like_final(l, a.answer, 180))
        elif a.state == ANSWERED_REFUSED:
            post(l, LANE_FINAL, &a.flow, a.answer)
        return
    if not l.answers or l.finishing or l.counters[<int>LOAD_dialogs] >= l.limit:
        reply(l, m, packet, 480)
        return
    a = answered_new(l)
    if a == NULL:
        reply(l, m, packet, 500)
        return
    a.key = key
    table_add(l, a)
    a.invite_cseq = m.cseq
    reply_flow(m, packet, &a.flow)
    busy = l.refuse > 0 and random_unit(&l.random) < l.refuse
    if busy:
        count(l, LOAD_refused_busy)
        a.answer = write_final(l, a, m, packet, 486)
        refuse(l, a)
        return
    a.answer = write_final(l, a, m, packet, 200)
    if a.answer == NULL:
        over(l, a)
        return
    a.state = ANSWERED_RINGING
    a.is_dialog = True
    count(l, LOAD_dialogs)
    if not l.silent:
        send_away(l, LANE_RINGING, &a.flow, like_final(l, a.answer, 180))
    if l.ring:
        timer_arm(l.wheel, &a.timer, l.now_ms, l.ring)
    else:
        pick_up(l, a)


cdef Buffer* write_final(Load* l, const Answered* a, const Message* m, const Packet* packet, int status) noexcept nogil:
    cdef Writer w
    begin(l, &w)
    put_status(&w, status)
    put_reply(&w, l, m, packet, b"s", a.index, a.generation, status < 300)
    if status < 300:
        put_own_contact(&w, l, packet)
        if l.answer_body.length:
            put_piece(&w, &l.answer_body)
            return finished(l, &w)
    put_end(&w)
    return finished(l, &w)


cdef Buffer* like_final(Load* l, const Buffer* final, int status) noexcept nogil:
    # Another answer of the same transaction: 180 before the 200, 487 instead of it.
    cdef Writer w
    cdef Message* m = &l.own
    cdef uint32_t i
    if parse_message(m, final.data, final.length, DATAGRAM) <= 0:
        return NULL
    begin(l, &w)
    put_status(&w, status)
    for i in range(m.header_count):
        if m.headers[i].id in (HDR_VIA, HDR_FROM, HDR_TO, HDR_CALL_ID, HDR_CSEQ) or status < 300 and (
                m.headers[i].id == HDR_RECORD_ROUTE or m.headers[i].id == HDR_CONTACT):
            put_text(&w, b"\r\n")
            put(&w, m.data + m.headers[i].name, m.headers[i].end - m.headers[i].name)
    put_end(&w)
    return finished(l, &w)


cdef void pick_up(Load* l, Answered* a) noexcept nogil:
    # 200, again and again until the ACK (13.3.1.4).
    count(l, LOAD_answered)
    a.state = ANSWERED_OK
    await_ack(l, a)


cdef void refuse(Load* l, Answered* a) noexcept nogil:
    a.state = ANSWERED_REFUSED
    if a.answer == NULL:
        over(l, a)
        return
    await_ack(l, a)


cdef void await_ack(Load* l, Answered* a) noexcept nogil:
    # A 200 comes again by whatever transport (13.3.1.4), a refusal only where it may get lost (17.2.1).
    a.interval = l.t1
    a.deadline = l.now_ms + ENDING * l.t1
    post(l, LANE_FINAL, &a.flow, a.answer)
    timer_arm(l.wheel, &a.timer, l.now_ms, ENDING * l.t1 if a.flow.reliable and a.state == ANSWERED_REFUSED else l.t1)


cdef void on_answered_timer(Load* l, Answered* a) noexcept nogil:
    if a.state == ANSWERED_RINGING:
        pick_up(l, a)
        return
    if l.now_ms >= a.deadline:
        # No ACK for 64*T1: a dialog without one is not worth keeping (13.3.1.4), nor a refusal (Timer H).
        count(l, LOAD_unacknowledged)
        over(l, a)
        return
    count(l, LOAD_again_answer)
    post(l, LANE_FINAL, &a.flow, a.answer)
    a.interval = min(2 * a.interval, l.t2)
    timer_arm(l.wheel, &a.timer, l.now_ms, <uint32_t>min(<uint64_t>a.interval, a.deadline - l.now_ms))


cdef void on_ack(Load* l, Answered* a, const Message* m) noexcept nogil:
    if a == NULL:
        count(l, LOAD_strays)
    elif a.state == ANSWERED_OK and m.cseq == a.invite_cseq:
        timer_cancel(l.wheel, &a.timer)
        drop(l, &a.answer)
        a.state = ANSWERED_CONFIRMED
    elif a.state == ANSWERED_REFUSED:
        over(l, a)
    else:
        count(l, LOAD_again_in)


cdef void on_reinvite(Load* l, const Message* m, const Packet* packet) noexcept nogil:
    cdef Answered* a = answered_of(l, m)
    if a == NULL or a.state == ANSWERED_OVER or a.state == ANSWERED_REFUSED:
        reply(l, m, packet, 481)
    elif m.cseq == a.invite_cseq and a.state >= ANSWERED_OK:
        count(l, LOAD_again_in)  # its 200 comes again by itself
    elif m.cseq < a.invite_cseq or a.state == ANSWERED_RINGING:
        reply(l, m, packet, 500)                 # 14.2
    else:
        drop(l, &a.answer)
        a.invite_cseq = m.cseq
        reply_flow(m, packet, &a.flow)
        a.answer = write_final(l, a, m, packet, 200)
        if a.answer != NULL:
            a.state = ANSWERED_OK
            await_ack(l, a)


cdef void on_bye(Load* l, const Message* m, const Packet* packet) noexcept nogil:
    cdef Answered* a = answered_of(l, m)
    cdef Call* c
    if a == NULL:
        c = call_of(l, m)
        reply(l, m, packet, 200 if c != NULL else 481)
        if c != NULL and c.state != CALL_ENDING:
            fail(l, c, CAUSE_UNEXPECTED)         # the other side hung up
        return
    if a.state == ANSWERED_OVER:
        count(l, LOAD_again_in)
        reply(l, m, packet, 200 if a.over_cseq == m.cseq else 481)
        return
    count(l, LOAD_ended)
    a.over_cseq = m.cseq
    reply(l, m, packet, 200)
    over(l, a)


cdef void on_cancel(Load* l, const Message* m, const Packet* packet) noexcept nogil:
    cdef Answered* a = table_find(l, invite_key(l, m))
    cdef Buffer* refusal
    reply(l, m, packet, 200 if a != NULL else 481)
    if a == NULL or a.state != ANSWERED_RINGING:
        return
    count(l, LOAD_cancelled_in)
    refusal = like_final(l, a.answer, 487)
    drop(l, &a.answer)
    a.answer = refusal
    hung_up(l, a)
    refuse(l, a)


cdef void on_unsent_response(Load* l, const Message* m) noexcept nogil:
    # Whoever called is gone, and so is his call.
    cdef Answered* a = answered_of(l, m)
    if a != NULL and a.state != ANSWERED_OVER:
        over(l, a)


cdef void hung_up(Load* l, Answered* a) noexcept nogil:
    if a.is_dialog:
        a.is_dialog = False
        count_down(l, LOAD_dialogs)


cdef void over(Load* l, Answered* a) noexcept nogil:
    hung_up(l, a)
    timer_cancel(l.wheel, &a.timer)
    drop(l, &a.answer)
    a.state = ANSWERED_OVER
    a.deadline = l.now_ms + ENDING * l.t1
    a.later = NULL
    if l.over_last != NULL:
        l.over_last.later = a
    else:
        l.over_first = a
    l.over_last = a


cdef void forget_over(Load* l, uint64_t now_ms) noexcept nogil:
    # Those whose time has come.
    cdef Answered* a
    while l.over_first != NULL and l.over_first.deadline <= now_ms:
        a = l.over_first
        l.over_first = a.later
        if l.over_first == NULL:
            l.over_last = NULL
        table_remove(l, a)
        a.state = ANSWERED_FREE
        a.chain = l.free_answered
        l.free_answered = a
