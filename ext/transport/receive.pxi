# From sockets and rings to packets. A datagram is looked at just enough to know whose it is.

cdef uint32_t socket_drops(int fd) noexcept nogil:
    cdef uint32_t info[64]
    cdef socklen_t length = sizeof(info)
    if getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &length) < 0 or length < (SK_MEMINFO_DROPS + 1) * sizeof(uint32_t):
        return 0
    return info[<int>SK_MEMINFO_DROPS]


cdef void note_drops(TransportState* t, Listener* listener, uint32_t drops) noexcept nogil:
    # The kernel's count is 32 bits wide and never goes back, but datagrams carry the value of when they were queued.
    cdef uint32_t more = drops - <uint32_t>listener.overflow
    if more and more < 0x80000000u:
        count_add(t.block, COUNT_dropped_socket, more)
        listener.overflow = drops


cdef bint rings_pending(TransportState* t) noexcept nogil:
    cdef uint32_t i
    for i in range(t.workers):
        if i != t.worker and ring_pending(&t.readers[i]):
            return True
    return False


cdef bint rings_crowded(TransportState* t) noexcept nogil:
    # A neighbour is behind with what it was handed. A datagram that finds no room comes again, what a stream brought does
    # not: so nothing more is read from streams until there is room, and the answers to what was read have the other half.
    # For a while only: the neighbour may be dead, and its calls another's by now.
    cdef uint32_t i
    for i in range(t.workers):
        if i != t.worker and ring_crowded(&t.writers[i]):
            if t.crowded_since == 0:
                t.crowded_since = t.streams.now
            return t.streams.now < t.crowded_since + CROWDED_MOST
    t.crowded_since = 0
    return False


cdef void set_alarm(TransportState* t, uint64_t now, uint64_t due) noexcept nogil:
    # One timer that stays armed through many waits, where a timeout would be armed and disarmed with each. It may go off
    # a little late rather than be moved all the time: the timer wheel is ten times as coarse.
    cdef itimerspec when
    if now < t.alarm_at and t.alarm_at <= due + ALARM_SLACK:
        return
    memset(&when, 0, sizeof(when))
    when.it_value.tv_sec = <time_t>(due // 1000000000u)
    when.it_value.tv_nsec = <long>(due % 1000000000u)
    timerfd_settime(t.alarm, TFD_TIMER_ABSTIME, &when, NULL)
    t.alarm_at = due


cdef int transport_wait(TransportState* t, uint64_t now, uint32_t ms) noexcept nogil:
    if ms == 0:
        return wait_for(t, 0)
    set_alarm(t, now, now + <uint64_t>ms * 1000000)
    return wait_for(t, FOREVER)


cdef int transport_wait_ns(TransportState* t, uint64_t ns) noexcept nogil:
    return wait_for(t, ns)


cdef int wait_for(TransportState* t, uint64_t ns) noexcept nogil:
    cdef epoll_event events[EVENTS]
    cdef uint32_t tag
    cdef bint announced = False
    cdef int found, i, watched = 0
    cdef uint64_t value
    if t.streams != NULL and (t.streams.undelivered_count or t.streams.readable_count or t.streams.news):
        ns = 0
    if ns and t.workers > 1:
        wake_announce(t.block)
        announced = True
        if rings_pending(t):
            ns = 0
    if ns == 0:
        found = epoll_wait(t.epoll, events, EVENTS, 0)
    else:
        count_add(t.block, COUNT_waits, 1)
        found = (epoll_wait(t.epoll, events, EVENTS, -1) if ns == <uint64_t>FOREVER
                 else epoll_wait_ns(t.epoll, events, EVENTS, ns))
    if announced:
        wake_clear(t.block)
    t.ring_batches = 0
    t.ready = 0
    for i in range(found):
        tag = events[i].data.u32
        if tag >= EVENT_CONNECTION:
            note_event(t, tag - EVENT_CONNECTION, events[i].events)
        elif tag < MAX_LISTENERS:
            if t.queues[tag] == NULL or t.listeners[tag].transport != TRANSPORT_UDP:
                t.streams.accepting |= 1u << tag
                continue
            t.ready |= 1u << tag
            t.batches[tag] = 0
        elif tag == EVENT_DOOR:
            t.streams.news = 1
        elif tag == EVENT_WATCHED:
            watched = 1
            read(t.watched, &value, sizeof(value))
    if t.streams != NULL:
        t.streams.now = clock_ns(CLOCK_MONOTONIC) // 1000000
        expire_connections(t)
    if t.burst and t.ready == 0 and ns >= 1000000 and not watched:
        # No datagram came: the drops at the end of a burst, which no later one will report.
        t.burst = 0
        for i in range(<int>t.listener_count):
            if t.listeners[i].fd >= 0 and t.listeners[i].transport == TRANSPORT_UDP:
                note_drops(t, &t.listeners[i], socket_drops(t.listeners[i].fd))
    return watched


cdef void read_control(TransportState* t, Listener* listener, msghdr* message, Address* local) noexcept nogil:
    cdef cmsghdr* item = CMSG_FIRSTHDR(message)
    cdef in_pktinfo info4
    cdef in6_pktinfo info6
    cdef uint32_t drops
    while item != NULL:
        if item.cmsg_level == SOL_SOCKET and item.cmsg_type == SO_RXQ_OVFL:
            memcpy(&drops, CMSG_DATA(item), sizeof(drops))
            note_drops(t, listener, drops)
        elif item.cmsg_level == IPPROTO_IP and item.cmsg_type == IP_PKTINFO:
            # spec_dst, not addr: for a broadcast it is the address of ours to answer from.
            memcpy(&info4, CMSG_DATA(item), sizeof(info4))
            memcpy(local.ip, &info4.ipi_spec_dst, 4)
        elif item.cmsg_level == IPPROTO_IPV6 and item.cmsg_type == IPV6_PKTINFO:
            memcpy(&info6, CMSG_DATA(item), sizeof(info6))
            memcpy(local.ip, &info6.ipi6_addr, 16)
            if local.ip[0] == 0xfe and (local.ip[1] & 0xc0) == 0x80:
                local.scope = info6.ipi6_ifindex
        item = CMSG_NXTHDR(message, item)


cdef inline bint is_keepalive(const uint8_t* data, uint32_t length) noexcept nogil:
    # CRLF CRLF (RFC 5626 3.5.1, and what phones send before it): nothing but CR, LF and NUL, or nothing at all.
    cdef uint32_t i
    for i in range(length):
        if data[i] != c'\r' and data[i] != c'\n' and data[i] != 0:
            return False
    return True


cdef void answer_stun(TransportState* t, const Flow* flow, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef uint8_t answer[STUN_ANSWER]
    cdef uint32_t size = stun_answer(data, length, flow.remote.ip, flow.remote.family, flow.remote.port, answer)
    cdef Buffer* buffer = buffer_copy(t.pool, answer, size) if size else NULL
    if buffer == NULL:
        count_add(t.block, COUNT_dropped_malformed, 1)
        return
    count_add(t.block, COUNT_stun, 1)
    transport_send(t, flow, buffer)
    buffer_release(t.pool, buffer)


cdef int receive_batch(TransportState* t, uint32_t number) noexcept nogil:
    # One recvmmsg. The owner's packets are kept, the others go to their owner's ring; returns how many were kept.
    cdef Listener* listener = &t.listeners[number]
    cdef uint16_t own_number = <uint16_t>t.by_index[listener.index]
    cdef uint32_t i, length, owner, kept = 0
    cdef uint64_t bytes_in = 0, keepalives = 0, unanswerable = 0, handoffs = 0, refused = 0, written = 0
    cdef uint8_t* data
    cdef msghdr* message
    cdef Packet* packet
    cdef Slice call_id
    cdef int count = recvmmsg(listener.fd, t.headers, RECEIVE_BATCH, MSG_DONTWAIT, NULL)
    t.batches[number] += 1
    if count < RECEIVE_BATCH or t.batches[number] == BATCHES_PER_TURN:
        t.ready &= ~(1u << number)           # drained, or the others' turn: epoll will say so again
    if count <= 0:
        return 0
    t.burst = 1
    for i in range(<uint32_t>count):
        message = &t.headers[i].msg_hdr
        length = t.headers[i].msg_len
        data = <uint8_t*>t.pieces[i].iov_base
        bytes_in += length
        packet = &t.packets[kept]
        address_from_sockaddr(&packet.flow.remote, &t.names[i])
        packet.flow.local = listener.address
        packet.flow.listener = own_number
        packet.flow.transport = TRANSPORT_UDP
        packet.flow.reliable = 0
        packet.flow.connection = 0
        if message.msg_controllen:
            read_control(t, listener, message, &packet.flow.local)
        message.msg_namelen = sizeof(sockaddr_storage)
        message.msg_controllen = CONTROL_BYTES
        if not address_is_sendable(&packet.flow.remote):
            unanswerable += 1
            continue
        if length == 0:
            keepalives += 1
            continue
        if data[0] < c' ':
            if is_keepalive(data, length):
                keepalives += 1
                continue
            if stun_is_one(data, length):
                answer_stun(t, &packet.flow, data, length)
                continue
        packet.kind = PACKET_RECEIVED
        packet.call = 0
        packet.claimed = t.workers == 1 or t.own_in_a_row < TRUST
        if t.workers > 1 and packet.claimed and find_call_id(data, length, &call_id):
            packet.call = siphash(&t.control.owner_key, data + call_id.start, slice_length(call_id))
            owner = owner_by(t.control, packet.call)
            if owner != t.worker and owner < t.workers:
                t.own_in_a_row = 0
                packet.flow.listener = listener.index
                if ring_write(&t.writers[owner], RING_RECEIVED, &packet.flow, data, length):
                    handoffs += 1
                    written |= 1ull << owner
                else:
                    refused += 1
                continue
            t.own_in_a_row += 1
        packet.data = data
        packet.length = length
        packet.slot = i + 1
        kept += 1
    t.touched |= written
    for owner in range(t.workers):
        if written >> owner & 1:
            ring_publish(&t.writers[owner])
    count_add(t.block, COUNT_datagrams_in, <uint64_t>count)
    count_add(t.block, COUNT_bytes_in, bytes_in)
    if keepalives:
        count_add(t.block, COUNT_keepalives, keepalives)
    if unanswerable:
        count_add(t.block, COUNT_dropped_unsendable, unanswerable)
    if handoffs:
        count_add(t.block, COUNT_handoffs_out, handoffs)
    if refused:
        count_add(t.block, COUNT_dropped_ring, refused)
    return <int>kept


# Finding the Call-ID to see whose a datagram is costs a quarter of parsing it. Where the kernel steers, or only one worker
# is spoken to, nearly everything is the receiver's own, and the question can wait until the parser has found the Call-ID
# anyway. A single datagram of somebody else's, which was then parsed in vain, ends that for the next TRUST datagrams.

cdef bint transport_claim(TransportState* t, Packet* packet, const uint8_t* call_id, uint32_t length) noexcept nogil:
    cdef uint32_t owner
    packet.claimed = 1
    packet.call = siphash(&t.control.owner_key, call_id, length)
    owner = owner_by(t.control, packet.call)
    if owner == t.worker or owner >= t.workers:
        return True
    t.own_in_a_row = 0
    packet.flow.listener = t.listeners[packet.flow.listener].index
    if ring_write(&t.writers[owner], RING_RECEIVED, &packet.flow, packet.data, packet.length):
        ring_publish(&t.writers[owner])
        t.touched |= 1ull << owner
        count_add(t.block, COUNT_handoffs_out, 1)
    else:
        count_add(t.block, COUNT_dropped_ring, 1)
    return False


cdef int drain_rings(TransportState* t) noexcept nogil:
    # One batch from all rings, each in turn the first; copied to the receive slots, so that the crash file covers them.
    cdef uint32_t i, source, length = 0, kept = 0, lost = 0, kind = 0
    cdef RingReader* reader
    cdef Packet* packet
    cdef int got
    for i in range(t.workers):
        source = (t.next_ring + i) % t.workers
        if source == t.worker:
            continue
        reader = &t.readers[source]
        got = 0
        while kept < RECEIVE_BATCH:
            packet = &t.packets[kept]
            got = ring_read(reader, &kind, &packet.flow, t.pieces[kept].iov_base, &length)
            if got <= 0:
                break
            if packet.flow.listener > 255 or t.by_index[packet.flow.listener] < 0:
                lost += 1
                continue
            packet.flow.listener = <uint16_t>t.by_index[packet.flow.listener]
            if kind == RING_TO_SEND:
                send_for_neighbour(t, &packet.flow, t.pieces[kept].iov_base, length)
                continue
            if kind == RING_KEEP:
                if length >= sizeof(uint32_t) and connection_worker(packet.flow.connection) == t.worker:
                    transport_keep(t, &packet.flow, (<uint32_t*>t.pieces[kept].iov_base)[0],
                                   <uint8_t*>t.pieces[kept].iov_base + 4, length - 4)
                continue
            if kind == RING_ALIAS:
                if length == sizeof(uint32_t) and connection_worker(packet.flow.connection) == t.worker:
                    transport_alias(t, &packet.flow, <uint16_t>(<uint32_t*>t.pieces[kept].iov_base)[0])
                continue
            packet.kind = (PACKET_UNDELIVERED if kind == RING_UNDELIVERED else
                           PACKET_UNANSWERED if kind == RING_UNANSWERED else PACKET_RECEIVED)
            packet.data = <uint8_t*>t.pieces[kept].iov_base
            packet.length = length
            packet.slot = kept + 1
            packet.claimed = 1
            packet.call = 0
            kept += 1
        if got < 0:
            lost += 1
        ring_release(reader)
        if kept == RECEIVE_BATCH:
            break
    t.next_ring = (t.next_ring + 1) % t.workers
    if kept:
        count_add(t.block, COUNT_handoffs_in, kept)
    if lost:
        count_add(t.block, COUNT_dropped_ring, lost)
    return <int>kept


cdef void send_for_neighbour(TransportState* t, const Flow* flow, const void* data, uint32_t length) noexcept nogil:
    # The connection is ours, the call another worker's.
    cdef Buffer* buffer
    if connection_worker(flow.connection) != t.worker:
        return                               # nobody's: rings are shared memory, and records may be damaged
    buffer = buffer_copy(t.pool, data, length)
    if buffer == NULL or stream_send(t, flow, buffer) < 0:
        count_add(t.block, COUNT_dropped_send, 1)
    buffer_release(t.pool, buffer)


cdef int transport_receive(TransportState* t, Packet** packets) noexcept nogil:
    cdef int kept
    cdef uint32_t i
    packets[0] = t.packets
    if t.streams != NULL:
        forget_shown(t)
        if t.streams.undelivered_count:
            return show_undelivered(t)
    while t.ready:
        while not (t.ready >> t.next_listener & 1):
            t.next_listener = (t.next_listener + 1) % MAX_LISTENERS
        kept = receive_batch(t, t.next_listener)
        t.next_listener = (t.next_listener + 1) % MAX_LISTENERS
        if kept:
            return kept
    if t.streams != NULL:
        if t.streams.news:
            take_from_door(t)
        while t.streams.accepting:
            for i in range(t.listener_count):
                if t.streams.accepting >> i & 1:
                    t.streams.accepting &= ~(1u << i)
                    accept_from(t, i)
        while t.streams.readable_count and not rings_crowded(t):
            kept = receive_streams(t)
            if kept:
                return kept
        if t.streams.undelivered_count:
            return show_undelivered(t)
    if t.workers > 1 and t.ring_batches < RING_BATCHES_PER_TURN:
        t.ring_batches += 1
        return drain_rings(t)
    return 0


cdef void transport_in_hand(TransportState* t, const Packet* packet) noexcept nogil:
    if packet == NULL:
        mark_in_hand(t.block, 0, 0)
    else:
        # Of a read that brought several messages, all to the end of this one.
        mark_in_hand(t.block, packet.slot, packet.length + <uint32_t>(packet.data - <uint8_t*>t.pieces[packet.slot - 1].iov_base)
                     if packet.slot else 0)
