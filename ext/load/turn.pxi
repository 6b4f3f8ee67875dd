# One turn of an engine.
#
# `now` is read once a receive batch, behind the recvmmsg: a datagram's time is at most what the batch before it took to work
# through too late. What is begun or sent again reads it once more.

cdef inline void look_at_clock(Load* l) noexcept nogil:
    l.now = load_clock_ns(CLOCK_MONOTONIC)
    l.now_ms = l.now // 1000000


cdef inline double seconds(const Load* l, uint64_t now) noexcept nogil:
    return <double>(now - l.started) * 1e-9


cdef void on_packet(Load* l, const Packet* packet) noexcept nogil:
    cdef Message* m = &l.message
    if packet.kind == PACKET_UNDELIVERED:
        on_undelivered(l, packet.data, packet.length)
    elif packet.kind != PACKET_RECEIVED or parse_message(m, packet.data, packet.length, DATAGRAM) <= 0:
        count(l, LOAD_malformed)
    elif m.kind == KIND_REQUEST:
        on_request(l, m, packet)
    else:
        on_response(l, m, packet)


cdef void on_undelivered(Load* l, const uint8_t* data, uint32_t length) noexcept nogil:
    # One of ours that no connection takes: its call has failed (RFC 3261 18.4).
    cdef Message* m = &l.message
    if parse_message(m, data, length, DATAGRAM) <= 0:
        return
    if m.kind == KIND_REQUEST:
        on_unsent_request(l, m)
    else:
        on_unsent_response(l, m)


cdef void fail_unsent(Load* l) noexcept nogil:
    cdef uint32_t i
    for i in range(l.unsent.count):
        on_undelivered(l, l.unsent.entry[i].buffer.data, l.unsent.entry[i].buffer.length)
        buffer_release(&l.pool, l.unsent.entry[i].buffer)
    l.unsent.count = 0


cdef int receive_all(Load* l) noexcept nogil:
    cdef Packet* packets
    cdef int batches = 0, count, i
    while batches < TURN_BATCHES:
        count = transport_receive(l.transport, &packets)
        if count == 0:
            break
        look_at_clock(l)
        for i in range(count):
            on_packet(l, &packets[i])
        flush(l)
        batches += 1
    return batches


cdef int fire(Load* l) noexcept nogil:
    cdef Timer* timer
    cdef int fired = 0
    while fired < TURN_TIMERS:
        timer = wheel_expire(l.wheel, l.now_ms)
        if timer == NULL:
            break
        fired += 1
        if timer.kind == TIMER_CALL:
            on_call_timer(l, <Call*>timer)       # the timer is the record's first field
        else:
            on_answered_timer(l, <Answered*>timer)
    forget_over(l, l.now_ms)
    return fired


cdef int begin_due(Load* l) noexcept nogil:
    # What should have begun by now, in order. Nothing is left out: what is late begins late, and by how much is recorded.
    cdef Arrivals* a = &l.arrivals
    cdef uint64_t due
    cdef int begun = 0
    arrivals_follow(a, seconds(l, l.now))
    while begun < TURN_ARRIVALS and a.due <= seconds(l, l.now):
        due = l.started + <uint64_t>(a.due * 1e9)
        if l.finishing or (l.until and due >= l.until) or (l.count and begun_so_far(l) >= l.count):
            l.ended = True
            break
        record(l, LATENESS, due)
        begin_work(l)
        arrivals_draw(a, &l.random)
        begun += 1
    if l.finishing or (l.until and l.now >= l.until) or (l.count and begun_so_far(l) >= l.count):
        l.ended = True
    return begun


cdef inline uint64_t begun_so_far(const Load* l) noexcept nogil:
    return l.counters[<int>LOAD_offered]


cdef bint is_over(Load* l) noexcept nogil:
    if l.generates and not l.ended:
        return False
    if l.counters[<int>LOAD_in_flight]:
        return False
    if l.generates and not l.answers:
        return True
    if (l.stays or not l.generates) and not l.finishing:
        return False
    return l.counters[<int>LOAD_dialogs] == 0 or l.now_ms >= l.give_up


cdef void publish(Load* l) noexcept nogil:
    store_word(&l.counters[<int>LOAD_turns], l.counters[<int>LOAD_turns] + 1)
    store_word(&l.counters[<int>LOAD_elapsed_us], (l.now - l.started) // 1000)
    store_word(&l.counters[<int>LOAD_datagrams_in],
               l.block.counters[<int>COUNT_datagrams_in] + l.block.counters[<int>COUNT_messages_in])
    store_word(&l.counters[<int>LOAD_datagrams_out],
               l.block.counters[<int>COUNT_datagrams_out] + l.block.counters[<int>COUNT_messages_out])
    store_word(&l.counters[<int>LOAD_dropped_socket], l.block.counters[<int>COUNT_dropped_socket])
    store_word(&l.counters[<int>LOAD_dropped_send],
               l.block.counters[<int>COUNT_dropped_send] + l.block.counters[<int>COUNT_dropped_unsendable])


cdef uint64_t sleep_for(Load* l) noexcept nogil:
    # ns until something is due; both timers and arrivals are looked at with a fresh clock.
    cdef uint64_t now = load_clock_ns(CLOCK_MONOTONIC), wait = LONGEST_SLEEP
    cdef uint64_t timers = <uint64_t>wheel_wait(l.wheel, now // 1000000, LONGEST_SLEEP // 1000000) * 1000000
    cdef double arrival
    if timers:
        timers -= now % 1000000              # the wheel counts whole ms: to the beginning of that one
    wait = min(wait, timers)
    if l.generates and not l.ended:
        arrival = (l.arrivals.due - seconds(l, now)) * 1e9
        if arrival <= 0:
            return 0
        if arrival < wait:
            wait = <uint64_t>arrival
    return wait


cdef void end_held(Load* l) noexcept nogil:
    cdef uint32_t i
    cdef Call* c
    for i in range(l.call_slab.count << CHUNK_BITS):
        c = <Call*>slab_at(&l.call_slab, i)
        if c.state == CALL_HELD:
            c.will_reinvite = False
            hang_up(l, c)


cdef void rest(Load* l, bint worked) noexcept nogil:
    # With `gather`, a turn that had work is followed by the next one that much later, not by the next datagram: waking up
    # costs more than a datagram does, and what has come together leaves together. After a turn without work the first
    # datagram, timer or arrival wakes.
    cdef uint64_t now, until
    if l.gather and worked:
        until = l.turned + l.gather
        now = load_clock_ns(CLOCK_MONOTONIC)
        if now < until:
            load_sleep_until(until)
        transport_wait_ns(l.transport, 0)
    else:
        transport_wait_ns(l.transport, sleep_for(l))
    l.turned = load_clock_ns(CLOCK_MONOTONIC)


cdef bint turn(Load* l) noexcept nogil:
    # False when the work is over.
    cdef int batches = receive_all(l), begun = 0, fired
    look_at_clock(l)
    fail_unsent(l)
    fired = fire(l)
    if l.generates and not l.ended:
        begun = begin_due(l)
    if l.finish_asked and not l.finishing:
        l.finishing = True
        l.ended = True
        l.give_up = l.now_ms + ENDING * l.t1
        end_held(l)
    flush(l)
    publish(l)
    if l.unsent.count:
        return True
    if is_over(l):
        return False
    if batches == TURN_BATCHES or fired == TURN_TIMERS or begun == TURN_ARRIVALS:
        transport_wait_ns(l.transport, 0)
    else:
        rest(l, batches or fired or begun)
    return True
