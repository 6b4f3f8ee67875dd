# What goes through connections: reading, writing, and what could not be delivered.

cdef inline void note_event(TransportState* t, uint32_t slot, uint32_t events) noexcept nogil:
    cdef Streams* s = t.streams
    cdef Connection* c = s.slots[slot]
    c.events |= events
    if not c.listed:
        c.listed = 1
        s.readable[(s.readable_first + s.readable_count) % s.room] = slot
        s.readable_count += 1


cdef int receive_streams(TransportState* t) noexcept nogil:
    # Messages of the connections that epoll named: one read of each, one receive slot a read.
    cdef Streams* s = t.streams
    cdef Connection* c
    cdef uint32_t kept = 0, slot = 0, events
    while s.readable_count and slot < RECEIVE_BATCH and kept < STREAM_PACKETS:
        c = s.slots[s.readable[s.readable_first]]
        s.readable_first = (s.readable_first + 1) % s.room
        s.readable_count -= 1
        c.listed = 0
        events = c.events
        c.events = 0
        if c.fd < 0 or events == 0:
            continue                         # gone, still at the door, or the slot is somebody else's by now
        if c.queue == QUEUE_OPENING:
            if not connection_opened(t, c):
                continue
        elif events & EPOLLOUT:
            soon(t, c)
        if c.leaving:
            if events & (EPOLLHUP | EPOLLERR):
                connection_broken(t, c)
        elif c.finishing:
            if events & (EPOLLIN | EPOLLHUP | EPOLLERR):
                discard(t, c)
        elif c.out_bytes > OUT_PAUSE and c.blocked and not events & (EPOLLHUP | EPOLLERR):
            c.paused = 1                     # who asks for more than he takes waits for himself
            connection_watch(t, c, True)
        elif events & (EPOLLIN | EPOLLHUP | EPOLLERR):
            kept = read_connection(t, c, slot, kept)
            slot += 1
    return <int>kept


cdef void discard(TransportState* t, Connection* c) noexcept nogil:
    # What a peer says that is not listened to any more; when it closes, so do we.
    cdef ssize_t got = read_some(t, c, t.pieces[0].iov_base, 65535)
    if got == 0 or (got < 0 and errno != EAGAIN and errno != EINTR):
        connection_close(t, c)


cdef ssize_t read_some(TransportState* t, Connection* c, void* target, uint32_t room) noexcept nogil:
    # As recv does.
    cdef ssize_t got
    if c.tls == NULL:
        return recv(c.fd, target, room, MSG_DONTWAIT)
    got = tls_read(c.tls, target, room)
    if got > 0 and tls_pending(c.tls):
        note_event(t, c.slot, EPOLLIN)       # epoll does not know of it
    if got == -TLS_WANT_WRITE and not c.blocked:
        connection_watch(t, c, True)
    if got < 0:
        (&errno)[0] = ECONNRESET if got == -TLS_FAILED else EAGAIN
        return -1
    return got


cdef bint dispense_partial(TransportState* t, const Connection* but) noexcept nogil:
    # Make room in memory: whoever has been in the midst of a message for longest.
    cdef Connection* c = connection_in(t.streams, t.streams.first[<int>QUEUE_PARTIAL])
    if c != NULL and c == but:
        c = connection_in(t.streams, c.after)
    if c == NULL:
        return False
    says(t, c.transport, REMARK_FROM, &c.remote, b"half a message, and too many of these")
    return dispense(t, c)


cdef bint make_memory(TransportState* t, const Connection* but) noexcept nogil:
    # For what is to be kept of its message; whether there is some.
    while t.streams.partial_bytes > <uint64_t>PARTIAL_MOST:
        if not dispense_partial(t, but):
            return False
    return True


cdef Buffer* enlarge_partial(TransportState* t, Connection* c, uint32_t size) noexcept nogil:
    # A buffer of at least that size with what there was; NULL when memory, or what is allowed, is out.
    cdef Buffer* larger
    if c.partial != NULL and c.partial.capacity >= size:
        return c.partial
    if not make_memory(t, c):
        return NULL
    larger = buffer_new(t.pool, size)
    if larger == NULL:
        return NULL
    t.streams.partial_bytes += larger.capacity
    if c.partial != NULL:
        memcpy(larger.data, c.partial.data, c.partial.length)
        larger.length = c.partial.length
        t.streams.partial_bytes -= c.partial.capacity
        buffer_release(t.pool, c.partial)
    c.partial = larger
    return larger


cdef uint32_t read_connection(TransportState* t, Connection* c, uint32_t slot, uint32_t kept) noexcept nogil:
    # One read, then every message that is whole by now; returns how many packets there are. The beginning of a message
    # goes in front of what is read, so that all of it is framed in the slot; a long one stays where it is.
    cdef uint8_t* target = <uint8_t*>t.pieces[slot].iov_base
    cdef Buffer* partial = c.partial
    cdef uint32_t room = 65535, before = 0
    cdef ssize_t got = 0
    if partial != NULL and (partial.length == 65535 or (c.needed and partial.length >= c.needed)):
        return frame_all(t, c, partial.data, partial.length, slot, kept, True)
    if partial != NULL and 0 < partial.length <= SHORT:
        before = partial.length
        target += before
        room -= before
    elif partial != NULL:
        partial = enlarge_partial(t, c, c.needed if c.needed else min(2 * partial.length + 512, 65535))
        if partial == NULL:
            count_add(t.block, COUNT_stream_errors, 1)
            connection_close(t, c)
            return kept
        target = partial.data + partial.length
        room = min(partial.capacity, 65535u) - partial.length
    got = read_some(t, c, target, room)
    if got <= 0:
        if got == 0:
            connection_ended(t, c)
        elif errno != EAGAIN and errno != EINTR:
            connection_close(t, c)
        elif partial != NULL:                # what there was no room for before
            return frame_all(t, c, partial.data, partial.length, slot, kept, True)
        return kept
    count_add(t.block, COUNT_bytes_in, <uint64_t>got)
    if partial == NULL or before:
        if before:
            memcpy(target - before, partial.data, before)
        return frame_all(t, c, target - before, before + <uint32_t>got, slot, kept, False)
    partial.length += <uint32_t>got
    return frame_all(t, c, partial.data, partial.length, slot, kept, True)


cdef uint32_t skip_blanks(TransportState* t, Connection* c, const uint8_t* data, uint32_t length) noexcept nogil:
    # CR and LF between messages. Two pairs are a ping, which one pair answers (RFC 5626 3.5.1, 4.4.1).
    cdef uint32_t at = 0
    cdef bint ping = False
    while at < length and (data[at] == c'\r' or data[at] == c'\n'):
        at += 1
        c.crlf += 1
        if c.crlf == 4:
            c.crlf = 0
            ping = True
            count_add(t.block, COUNT_keepalives, 1)
    if at < length:
        c.crlf = 0
    if ping:
        queue_move(t.streams, c, QUEUE_OPEN)
        send_pong(t, c)
    return at


cdef void send_pong(TransportState* t, Connection* c) noexcept nogil:
    cdef Buffer* buffer = buffer_copy(t.pool, b"\r\n", 2)
    if buffer != NULL:
        send_out(t, c, buffer)
        buffer_release(t.pool, buffer)


cdef uint32_t frame_all(TransportState* t, Connection* c, uint8_t* data, uint32_t length, uint32_t slot, uint32_t kept,
                        bint kept_apart) noexcept nogil:
    # `kept_apart`: the bytes are c.partial's, and a message has to be copied to the slot; else they are in the slot.
    cdef uint8_t* base = <uint8_t*>t.pieces[slot].iov_base
    cdef uint32_t at = 0, head = 0, copied = 0
    cdef int64_t size
    cdef bint spoke = False
    cdef Packet* packet
    if is_framed(c):
        return unframe_all(t, c, data, length, slot, kept, kept_apart)
    while True:
        if c.needed == 0:
            at += skip_blanks(t, c, data + at, length - at)
        if at == length or kept == STREAM_PACKETS:
            break
        size = c.needed if c.needed else frame_message(data + at, length - at, &c.scanned, &head)
        if size < 0:
            return refuse_stream(t, c, data + at, base + copied if kept_apart else data + at, head, size, slot, kept)
        if size == FRAME_MORE or size > length - at:
            c.needed = <uint32_t>size
            break
        packet = &t.packets[kept]
        packet.data = data + at
        if kept_apart:
            packet.data = base + copied
            memcpy(packet.data, data + at, <size_t>size)
            copied += <uint32_t>size
        at += <uint32_t>size
        c.needed = c.scanned = 0
        spoke = True
        kept = present(t, c, packet, <uint32_t>size, slot, kept)
    return keep_rest(t, c, data, at, length, kept, kept_apart, spoke)


cdef uint32_t keep_rest(TransportState* t, Connection* c, uint8_t* data, uint32_t at, uint32_t length, uint32_t kept,
                        bint kept_apart, bint spoke) noexcept nogil:
    # The beginning of a message, from `at` on, waits for more.
    cdef Buffer* rest
    cdef bint unfinished
    if kept_apart:
        if at == length:
            drop_partial(t, c)
        elif at:
            c.partial.length = length - at
            memmove(c.partial.data, data + at, length - at)
    elif at < length:
        rest = enlarge_partial(t, c, max(c.needed, length - at))
        if rest == NULL:
            count_add(t.block, COUNT_stream_errors, 1)
            connection_close(t, c)
            return kept
        memcpy(rest.data, data + at, length - at)
        rest.length = length - at
    elif c.partial != NULL:
        drop_partial(t, c)
    unfinished = c.partial != NULL or (is_framed(c) and c.frames.opcode != 0)
    if (spoke or unfinished != (c.queue == QUEUE_PARTIAL)) and not c.finishing:
        queue_move(t.streams, c, QUEUE_PARTIAL if unfinished else QUEUE_OPEN)
    if at < length and kept == STREAM_PACKETS:
        note_event(t, c.slot, EPOLLIN)       # there may be whole messages in it, and no more bytes to come
    return kept


cdef inline bint in_slot(const TransportState* t, uint32_t slot, const uint8_t* data) noexcept nogil:
    return <const uint8_t*>t.pieces[slot].iov_base <= data < <const uint8_t*>t.pieces[slot].iov_base + RECEIVE_SLOT


cdef uint32_t present(TransportState* t, Connection* c, Packet* packet, uint32_t size, uint32_t slot,
                      uint32_t kept) noexcept nogil:
    # A whole message: here, or at its owner's. Returns how many packets there are.
    cdef Slice call_id
    cdef uint32_t owner
    connection_flow(t, c, &packet.flow)
    packet.length = size
    packet.slot = slot + 1 if in_slot(t, slot, packet.data) else 0
    packet.call = 0
    packet.claimed = 1
    packet.kind = PACKET_RECEIVED
    count_add(t.block, COUNT_messages_in, 1)
    if is_asking(packet.data, size) and c.owed < 65535:
        c.owed += 1
    note_answered(c, packet.data, size)
    if t.workers > 1 and find_call_id(packet.data, size, &call_id):
        packet.call = siphash(&t.control.owner_key, packet.data + call_id.start, slice_length(call_id))
        owner = owner_by(t.control, packet.call)
        if owner != t.worker and owner < t.workers:
            packet.flow.listener = t.listeners[c.listener].index
            hand_over(t, owner, RING_RECEIVED, &packet.flow, packet.data, size)
            return kept
    return kept + 1


cdef inline bint is_asking(const uint8_t* data, uint32_t length) noexcept nogil:
    # A request that is answered.
    return length > 12 and memcmp(data, b"SIP/", 4) != 0 and memcmp(data, b"ACK ", 4) != 0


cdef inline bint is_final(const uint8_t* data, uint32_t length) noexcept nogil:
    # "SIP/2.0 200 ..."
    return length > 12 and memcmp(data, b"SIP/", 4) == 0 and data[8] != c'1'


cdef bint hand_over(TransportState* t, uint32_t worker, int kind, const Flow* flow, const void* data,
                    uint32_t length) noexcept nogil:
    # Into a neighbour's ring. The flow's listener is the listen address's index.
    if not ring_write(&t.writers[worker], kind, flow, data, length):
        count_add(t.block, COUNT_dropped_ring, 1)
        return False
    ring_publish(&t.writers[worker])
    t.touched |= 1ull << worker
    count_add(t.block, COUNT_handoffs_out, 1)
    return True


cdef uint32_t refuse_stream(TransportState* t, Connection* c, const uint8_t* data, uint8_t* place, uint32_t head,
                            int64_t why, uint32_t slot, uint32_t kept) noexcept nogil:
    # Nobody knows where the next message would begin: this one is answered as far as it can be, then it is over (18.3).
    # Its header section is shown at `place`. Returns how many packets there are.
    cdef Packet* packet = &t.packets[kept]
    count_add(t.block, COUNT_stream_errors, 1)
    says(t, c.transport, REMARK_FROM, &c.remote,
         b"no Content-Length, or a wrong one" if why == FRAME_NO_LENGTH else
         b"this is not SIP" if why == FRAME_NO_SIP else b"a message too large, or no SIP")
    if head == 0 or head > RING_MESSAGE:
        connection_close(t, c)
        return kept
    if place != data:
        memcpy(place, data, head)
    connection_flow(t, c, &packet.flow)
    packet.data = place
    packet.length = head
    packet.slot = slot + 1
    packet.call = 0
    packet.claimed = 1
    packet.kind = PACKET_NO_LENGTH if why == FRAME_NO_LENGTH else PACKET_TOO_LARGE
    drop_partial(t, c)
    connection_finish(t, c)
    return kept + 1


# Out.

cdef int stream_send(TransportState* t, const Flow* flow, Buffer* buffer) noexcept nogil:
    cdef Connection* c
    cdef Flow handed
    cdef uint32_t worker = connection_worker(flow.connection)
    if t.streams == NULL or buffer.length > RING_MESSAGE or flow.listener >= t.listener_count:
        count_add(t.block, COUNT_dropped_unsendable, 1)
        return -1
    if flow.connection < FLOW_CONNECTIONS:
        c = connection_to(t, flow)
        if c == NULL:
            c = connection_open(t, flow)
            if c != NULL:
                connection_offer(t.streams, c)
        if c == NULL:
            count_add(t.block, COUNT_connections_failed, 1)
            return -1
        return send_out(t, c, buffer)
    if worker != t.worker:
        if worker >= t.workers:
            return -1
        handed = flow[0]
        handed.listener = t.listeners[flow.listener].index
        return 0 if hand_over(t, worker, RING_TO_SEND, &handed, buffer.data, buffer.length) else -1
    c = connection_named(t, flow)
    if c == NULL or (c.leaving and is_asking(buffer.data, buffer.length)):
        give_back(t, flow, buffer)
        return 0
    return send_out(t, c, buffer)


cdef int send_out(TransportState* t, Connection* c, Buffer* buffer) noexcept nogil:
    # A message, to the end of what its peer is to get.
    cdef Buffer* frame
    cdef int result
    if c.owed and is_final(buffer.data, buffer.length):
        c.owed -= 1
    note_asked(t, c, buffer.data, buffer.length)
    if not is_framed(c):
        return queue_out(t, c, buffer)
    frame = framed_message(t, buffer)
    result = queue_out(t, c, frame) if frame != NULL else -1
    buffer_release(t.pool, frame)
    return result


cdef int queue_out(TransportState* t, Connection* c, Buffer* buffer) noexcept nogil:
    cdef Buffer** out
    cdef uint32_t room, i
    if c.finishing and c.out_bytes >= OUT_EVER:
        return -1                            # it was given up already
    if c.out_bytes + buffer.length > OUT_EVER:
        cut_off(t, c)
        return -1
    if c.out_count == c.out_room:
        room = max(2 * c.out_room, 4u)
        out = <Buffer**>malloc(room * sizeof(Buffer*))
        if out == NULL:
            return -1
        for i in range(c.out_count):
            out[i] = c.out[(c.out_first + i) % c.out_room]
        free(c.out)
        c.out = out
        c.out_first = 0
        c.out_room = room
    c.out[(c.out_first + c.out_count) % c.out_room] = buffer_hold(buffer)
    c.out_count += 1
    c.out_bytes += buffer.length
    if c.out_bytes > OUT_MOST and (c.queue == QUEUE_OPEN or c.queue == QUEUE_PARTIAL or c.queue == QUEUE_SILENT):
        queue_move(t.streams, c, QUEUE_STUCK)        # it has so long to read some of it
    if c.queue != QUEUE_OPENING and not c.blocked:
        soon(t, c)
    return 0


cdef void cut_off(TransportState* t, Connection* c) noexcept nogil:
    # A peer that does not read. Not closed here, where somebody may be in the midst of it, but by the next flush.
    count_add(t.block, COUNT_connections_slow, 1)
    says(t, c.transport, REMARK_FROM, &c.remote, b"does not read what it is sent")
    c.finishing = 1
    c.out_bytes = OUT_EVER
    queue_move(t.streams, c, QUEUE_ENDING)
    c.since = 0
    soon(t, c)


cdef void flush_streams(TransportState* t) noexcept nogil:
    cdef Streams* s = t.streams
    cdef uint32_t i
    cdef Connection* c
    cdef linger at_once
    at_once.l_onoff, at_once.l_linger = 1, 0     # what the kernel holds for it goes too
    for i in range(s.writable_count):
        c = s.slots[s.writable[i]]
        c.dirty = 0
        if c.fd >= 0:
            if c.queue == QUEUE_ENDING and c.since == 0:
                setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once))
                connection_close(t, c)
            else:
                flush_connection(t, c)
    s.writable_count = 0


cdef void flush_connection(TransportState* t, Connection* c) noexcept nogil:
    # As much as the socket takes, WRITE_PIECES messages a call.
    cdef iovec pieces[WRITE_PIECES]
    cdef uint32_t count, i
    cdef size_t whole
    cdef ssize_t sent
    cdef Buffer* buffer
    if c.queue == QUEUE_OPENING:
        return
    if c.tls != NULL:
        flush_tls(t, c)
        return
    while c.out_count:
        count = min(c.out_count, <uint32_t>WRITE_PIECES)
        whole = 0
        for i in range(count):
            buffer = c.out[(c.out_first + i) % c.out_room]
            pieces[i].iov_base = buffer.data
            pieces[i].iov_len = buffer.length
            whole += buffer.length
        pieces[0].iov_base = <uint8_t*>pieces[0].iov_base + c.out_sent
        pieces[0].iov_len -= c.out_sent
        whole -= c.out_sent
        sent = writev(c.fd, pieces, <int>count)
        if sent < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                if not c.blocked:
                    connection_watch(t, c, True)
                return
            connection_broken(t, c)
            return
        count_add(t.block, COUNT_bytes_out, <uint64_t>sent)
        took(t, c, <uint32_t>sent)
        if <size_t>sent < whole:
            if not c.blocked:
                connection_watch(t, c, True)
            return
    all_sent(t, c)


cdef void all_sent(TransportState* t, Connection* c) noexcept nogil:
    if c.blocked:
        connection_watch(t, c, False)
    if c.queue == QUEUE_LEAVING and c.owed == 0:
        queue_move(t.streams, c, QUEUE_ENDING)
    if c.out_room > 16:                      # a burst is over
        free(c.out)
        c.out = NULL
        c.out_room = c.out_first = 0


cdef void flush_tls(TransportState* t, Connection* c) noexcept nogil:
    # Small messages share a record: it costs more than they do.
    cdef uint32_t length
    cdef ssize_t sent
    while c.out_count:
        length = gather(c, t.record, sizeof(t.record))
        sent = tls_write(c.tls, t.record, length)
        if sent > 0:
            count_add(t.block, COUNT_bytes_out, <uint64_t>sent)
            took(t, c, <uint32_t>sent)
        if sent == -TLS_FAILED:
            connection_broken(t, c)
            return
        if sent < <ssize_t>length:           # the socket is full: the same again, or more, when it is not
            if not c.blocked and sent != -TLS_WANT_READ:
                connection_watch(t, c, True)
            return
    all_sent(t, c)


cdef uint32_t gather(const Connection* c, uint8_t* out, uint32_t room) noexcept nogil:
    # What is to be sent next, as much as fits.
    cdef uint32_t length = 0, i, skip = c.out_sent, part
    cdef Buffer* buffer
    for i in range(c.out_count):
        buffer = c.out[(c.out_first + i) % c.out_room]
        part = min(buffer.length - skip, room - length)
        memcpy(out + length, buffer.data + skip, part)
        length += part
        skip = 0
        if length == room:
            break
    return length


cdef void took(TransportState* t, Connection* c, uint32_t sent) noexcept nogil:
    # So many bytes are with the kernel.
    cdef Buffer* buffer
    cdef uint64_t messages = 0
    c.out_bytes -= sent
    if c.queue == QUEUE_STUCK:
        queue_move(t.streams, c, QUEUE_STUCK if c.out_bytes > OUT_MOST else QUEUE_OPEN)
    sent += c.out_sent
    while c.out_count:
        buffer = c.out[c.out_first]
        if sent < buffer.length:
            break
        sent -= buffer.length
        messages += buffer.length > 2
        if c.leaving:
            remember_sent(t, c, buffer)
        buffer_release(t.pool, buffer)
        c.out_first = (c.out_first + 1) % c.out_room
        c.out_count -= 1
    c.out_sent = sent
    count_add(t.block, COUNT_messages_out, messages)
    if c.paused and c.out_bytes <= OUT_PAUSE // 2:
        c.paused = 0
        connection_watch(t, c, c.blocked)
        note_event(t, c.slot, EPOLLIN)       # TLS may have something that epoll does not know of


# What could not be delivered comes back like a packet, to the owner of its call: a request's client transaction has failed
# (18.4), a response may have another way (18.2.2).

cdef void give_back(TransportState* t, const Flow* flow, Buffer* buffer) noexcept nogil:
    cdef Slice call_id
    cdef Flow handed
    cdef uint32_t owner
    if buffer == NULL or buffer.length <= 4:
        return                               # no message, a pong
    if t.workers > 1 and find_call_id(buffer.data, buffer.length, &call_id):
        owner = owner_by(t.control, siphash(&t.control.owner_key, buffer.data + call_id.start, slice_length(call_id)))
        if owner != t.worker and owner < t.workers:
            handed = flow[0]
            handed.listener = t.listeners[flow.listener].index
            hand_over(t, owner, RING_UNDELIVERED, &handed, buffer.data, buffer.length)
            return
    show_later(t, flow, buffer, PACKET_UNDELIVERED)


cdef void show_later(TransportState* t, const Flow* flow, Buffer* buffer, int kind) noexcept nogil:
    cdef Streams* s = t.streams
    cdef Undelivered* list
    cdef uint32_t room
    if s.undelivered_count == s.undelivered_room:
        room = max(2 * s.undelivered_room, 64u)
        list = <Undelivered*>realloc(s.undelivered, room * sizeof(Undelivered)) if room <= 65536 else NULL
        if list == NULL:
            count_add(t.block, COUNT_dropped_send, 1)
            return
        s.undelivered = list
        s.undelivered_room = room
    s.undelivered[s.undelivered_count].flow = flow[0]
    s.undelivered[s.undelivered_count].kind = kind
    s.undelivered[s.undelivered_count].buffer = buffer_hold(buffer)
    s.undelivered_count += 1


cdef int show_undelivered(TransportState* t) noexcept nogil:
    cdef Streams* s = t.streams
    cdef uint32_t count = min(s.undelivered_count, <uint32_t>RECEIVE_BATCH), i
    cdef Packet* packet
    for i in range(count):
        s.undelivered_count -= 1
        packet = &t.packets[i]
        packet.flow = s.undelivered[s.undelivered_count].flow
        packet.data = s.undelivered[s.undelivered_count].buffer.data
        packet.length = s.undelivered[s.undelivered_count].buffer.length
        packet.slot = 0
        packet.call = 0
        packet.claimed = 1
        packet.kind = <uint8_t>s.undelivered[s.undelivered_count].kind
        s.shown[i] = s.undelivered[s.undelivered_count].buffer
    s.shown_count = count
    return <int>count


cdef void forget_shown(TransportState* t) noexcept nogil:
    cdef uint32_t i
    for i in range(t.streams.shown_count):
        buffer_release(t.pool, t.streams.shown[i])
    t.streams.shown_count = 0
