# SIP over WebSocket (RFC 7118): one message is one frame's payload, or that of several. The opening handshake is Python's
# (fastsip.websocket); a connection comes here when it is done.

cdef int transport_join(TransportState* t, int fd, Tls* tls, uint32_t number, const Address* remote, const void* rest,
                        uint32_t length) noexcept nogil:
    cdef Connection* c = NULL
    if t.streams != NULL and number < t.listener_count and length <= 65535:
        c = received(t, &fd, number, remote)
    if c == NULL:
        refuse(t, TRANSPORT_WSS if tls != NULL else TRANSPORT_WS, fd, tls, remote)
        return -1
    c.tls = tls
    if tls != NULL:
        tls_moved(tls, fd)
    memset(&c.frames, 0, sizeof(FrameReader))
    c.frames.masked = 1
    queue_enter(t.streams, c, QUEUE_SILENT)
    count_add(t.block, COUNT_connections_in, 1)
    if length and enlarge_partial(t, c, length) != NULL:
        memcpy(c.partial.data, rest, length)
        c.partial.length = length
    note_event(t, c.slot, EPOLLIN)
    return 0


cdef inline bint is_framed(const Connection* c) noexcept nogil:
    return c.transport >= TRANSPORT_WS


cdef Buffer* framed(TransportState* t, int opcode, const void* data, uint32_t length) noexcept nogil:
    cdef Buffer* frame = buffer_new(t.pool, length + FRAME_HEAD_MAX)
    if frame != NULL:
        frame.length = frame_head(frame.data, opcode, length, NULL)
        memcpy(frame.data + frame.length, data, length)
        frame.length += length
    return frame


cdef Buffer* framed_message(TransportState* t, const Buffer* message) noexcept nogil:
    return framed(t, FRAME_TEXT if utf8_valid(message.data, message.length) else FRAME_BINARY, message.data, message.length)


cdef Buffer* unframed(TransportState* t, const Buffer* frame) noexcept nogil:
    # The message in a frame of ours; NULL if it has none.
    cdef uint32_t head = 2 if (frame.data[1] & 0x7F) < 126 else 4
    if (frame.data[0] & 0x0F) >= FRAME_CLOSE or frame.length <= head + 4:
        return NULL
    return buffer_copy(t.pool, frame.data + head, frame.length - head)


cdef void send_frame(TransportState* t, Connection* c, int opcode, const void* data, uint32_t length) noexcept nogil:
    cdef Buffer* frame = framed(t, opcode, data, length)
    if frame != NULL:
        queue_out(t, c, frame)
    buffer_release(t.pool, frame)


cdef void close_frames(TransportState* t, Connection* c, uint16_t code) noexcept nogil:
    # Say so, and listen no more (RFC 6455 5.5.1, 7.1.7).
    cdef Buffer* frame = buffer_new(t.pool, FRAME_HEAD_MAX + FRAME_CONTROL_MAX)
    if frame != NULL:
        frame.length = frame_close(frame.data, code, NULL)
        queue_out(t, c, frame)
    buffer_release(t.pool, frame)
    drop_partial(t, c)
    connection_finish(t, c)


cdef uint8_t* place_of(TransportState* t, const FrameSpan* span, uint32_t slot, bint kept_apart,
                       uint32_t* copied) noexcept nogil:
    # Where the message can stay until the next batch: in the slot, if it is there or the slot has room, else in a buffer of
    # its own. NULL if there are too many of those.
    cdef uint8_t* base = <uint8_t*>t.pieces[slot].iov_base
    cdef Buffer* copy
    if in_slot(t, slot, span.data):
        return <uint8_t*>span.data
    if kept_apart and copied[0] + span.length <= 65535:
        memcpy(base + copied[0], span.data, span.length)
        copied[0] += span.length
        return base + copied[0] - span.length
    if t.streams.shown_count == RECEIVE_BATCH:
        return NULL
    copy = buffer_new(t.pool, span.length + 64)          # the parser may read a little past the end
    if copy == NULL:
        return NULL
    memcpy(copy.data, span.data, span.length)
    t.streams.shown[t.streams.shown_count] = copy
    t.streams.shown_count += 1
    return copy.data


cdef inline int next_frame(TransportState* t, Connection* c, uint8_t* data, uint32_t length, uint32_t* used,
                           FrameSpan* span) noexcept nogil:
    # frame_next, with an account of what it keeps of an unfinished message.
    cdef uint32_t before = c.frames.capacity
    cdef int found = frame_next(&c.frames, data, length, used, span)
    t.streams.partial_bytes += c.frames.capacity
    t.streams.partial_bytes -= before
    return found


cdef uint32_t unframe_all(TransportState* t, Connection* c, uint8_t* data, uint32_t length, uint32_t slot, uint32_t kept,
                          bint kept_apart) noexcept nogil:
    # As frame_all.
    cdef uint32_t at = 0, used = 0, copied = 0
    cdef FrameSpan span
    cdef Packet* packet
    cdef int found
    c.needed = 0
    while kept < STREAM_PACKETS and not c.finishing:
        found = next_frame(t, c, data + at, length - at, &used, &span)
        at += used
        if found == FRAME_WAIT:
            c.needed = span.length
            break
        if found == FRAME_PINGED:
            count_add(t.block, COUNT_keepalives, 1)
            if c.frames.opcode == 0:         # else its message has so long to be finished, whatever comes between
                queue_move(t.streams, c, QUEUE_OPEN)
            send_frame(t, c, FRAME_PONG, span.data, span.length)
        elif found == FRAME_CLOSED or found == FRAME_FAILED:
            if found == FRAME_FAILED:
                count_add(t.block, COUNT_stream_errors, 1)
            close_frames(t, c, span.code)
            return kept
        elif found == FRAME_MESSAGE and is_keepalive(span.data, span.length):
            count_add(t.block, COUNT_keepalives, 1)
            queue_move(t.streams, c, QUEUE_OPEN)
            if span.length >= 4:
                send_frame(t, c, FRAME_TEXT, b"\r\n", 2)
        elif found == FRAME_MESSAGE:
            packet = &t.packets[kept]
            packet.data = place_of(t, &span, slot, kept_apart, &copied)
            if packet.data == NULL:
                count_add(t.block, COUNT_stream_errors, 1)
                continue
            queue_move(t.streams, c, QUEUE_OPEN)
            kept = present(t, c, packet, span.length, slot, kept)
    if c.frames.capacity and not make_memory(t, c):
        count_add(t.block, COUNT_stream_errors, 1)
        connection_close(t, c)
        return kept
    return keep_rest(t, c, data, at, length, kept, kept_apart, False)
