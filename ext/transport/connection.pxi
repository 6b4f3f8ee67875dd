# Connections of one worker: how they come about, how long they may be silent, how they end.
#
# A connection belongs to the worker that accepted or opened it. Its name, Flow.connection, says which worker, which of
# its slots, and how often that slot was used; whoever has an old name finds nobody. A name is 32 bits, so after a
# thousand uses of a slot it comes again, and the peer's address, which is in every flow beside it, has to be right too.
#
# Every connection stands in one of the queues, ordered by when it entered or was last heard: those being opened, those
# that have yet to say something, those in use, those in the midst of a message, those whose peer has closed and still
# waits for answers, those that only have something left to send. The first of a queue is always the next whose time is
# up, so a look at these few places is all that idle connections ever cost; and when descriptors or memory are out, it is
# the one to do without.
#
# A peer that closed its side (shutdown) may still read, and one that closed altogether looks the same until it is written
# to. Whoever is owed an answer is kept for a while; what he was sent since is kept too, and if he turns out to be gone it
# is given back as undelivered, to go where his Via says (RFC 3261 18.2.2).
#
# With TLS a connection is accepted or opened, and hands are shaken, by the door (fastsip/_tls.pxd), on a thread of its own;
# one that is being opened has no descriptor here until then.

cdef enum:
    CONNECTIONS = 65535          # of one worker: 16 bits of the name
    CONNECTION_BUCKETS = 4096    # of those we opened, by peer
    ACCEPTS_PER_TURN = 64
    OUT_MOST = 1 << 20           # bytes that may wait for a peer that does not read
    OUT_EVER = 8 << 20           # and for one that does: what neighbours have answered comes by ring, all at once
    OUT_PATIENCE = 1000          # ms without reading
    OUT_PAUSE = OUT_MOST // 4    # while so many wait, nothing more is read from it
    PARTIAL_MOST = 64 << 20      # bytes of unfinished messages, of all connections of a worker
    SHORT = 2048                 # bytes of an unfinished message that are copied rather than read around
    NEWS_PER_TURN = 64           # connections taken from the door
    FREE = -1                    # Connection.fd of a slot nobody has
    AT_DOOR = -2                 # and of a connection that is being opened with TLS
    UNSURE = 8                   # messages to a peer that has closed, of which nobody knows whether he reads them
    DISPENSABLE = 10000          # ms of silence after which one may have to go for another
    DEAF = 50                    # ms until a listener without descriptors is tried again
    DEAF_SAID = 10000            # ms between two remarks about that
    AOR_MOST = 512               # bytes of an address-of-record
    BOUND_MOST = 65000           # and of all that are reached through one connection
    LINGER = 500                 # ms for answers that are on their way from other workers, and for the peer to read them

cdef enum ConnectionQueue:
    QUEUE_OPENING, QUEUE_SILENT, QUEUE_ENDING, QUEUE_LEAVING, QUEUE_PARTIAL, QUEUE_OPEN, QUEUE_STUCK, QUEUES

cdef enum:
    IS_LEAVING = 1               # Connection.leaving: the peer will say no more
    IS_GONE = 2                  # nor hear any more

cdef struct Connection:
    int fd                       # FREE, AT_DOOR
    uint32_t slot
    uint32_t generation          # 1 to 1023
    uint32_t next                # slot + 1: of the same bucket, or the next free
    uint32_t before, after       # slot + 1: neighbours in the queue
    uint8_t queue
    uint8_t transport
    uint8_t offered              # requests to its peer may take it: we opened it, or it has an alias
    uint8_t listed               # in `readable`
    uint8_t dirty                # in `writable`
    uint8_t blocked              # epoll tells when it can be written to
    uint8_t paused               # not read from, until its peer has read
    uint8_t crlf                 # CR and LF seen in a row between messages
    uint8_t finishing            # nothing more is read; it ends when everything is sent
    uint8_t leaving
    uint16_t listener
    uint16_t owed                # final answers its peer waits for, as far as can be told from what passes
    uint32_t events
    Address remote
    Address local
    uint64_t since               # ms: entered its queue, or was last heard
    uint64_t kept                # ms: may be silent until then, whatever the limit
    uint8_t* bound               # who is reached through it until then: addresses-of-record, each with a LF behind it
    uint32_t bound_length
    Tls* tls                     # NULL: none
    uint64_t peer                # of one we opened: who is at its other end, a keyed hash; 0: nothing but its address
    uint16_t alias               # of one we accepted: the port its peer is found at by others
    FrameReader frames           # of WebSocket
    Buffer* partial              # the beginning of a message
    uint32_t needed              # bytes of the whole message, 0 while unknown
    uint32_t scanned             # bytes without the end of the header section
    Buffer** out                 # a ring of what is to be sent
    uint32_t out_first
    uint32_t out_count
    uint32_t out_room
    uint32_t out_sent            # bytes of the first
    uint32_t out_bytes
    Unsure* unsure               # NULL: none
    Asked* asked                 # NULL: nothing

cdef struct Asked:               # requests it was given and nobody has answered: see asked.pxi
    uint32_t count
    uint32_t room
    uint8_t branches[0][BRANCH_LENGTH]

cdef struct Unsure:
    uint32_t count
    Buffer* buffers[UNSURE]

cdef struct Undelivered:
    Flow flow
    Buffer* buffer
    int kind                     # PACKET_UNDELIVERED, PACKET_UNANSWERED, PACKET_GONE

cdef struct Streams:
    uint32_t count               # slots ever used
    uint32_t room
    uint32_t live
    uint32_t free                # slot + 1
    Connection** slots
    uint32_t first[QUEUES]       # slot + 1, by queue
    uint32_t last[QUEUES]
    uint32_t limits[QUEUES]      # ms
    uint64_t now                 # ms
    uint64_t partial_bytes
    uint32_t* readable           # slots that epoll named and nobody has looked at
    uint32_t readable_first
    uint32_t readable_count
    uint32_t* writable           # slots that have something new to send
    uint32_t writable_count
    uint32_t accepting           # bit per listener
    uint32_t news                # 1: the door may have some
    uint32_t deaf                # bit per listener: not watched until a connection goes, or a little time has
    uint64_t deaf_until          # ms
    uint64_t deaf_said           # ms; 0: never
    Undelivered* undelivered
    uint32_t undelivered_count
    uint32_t undelivered_room
    Buffer* shown[RECEIVE_BATCH]
    uint32_t shown_count
    uint32_t buckets[CONNECTION_BUCKETS]


cdef void streams_init(Streams* s) noexcept nogil:
    s.limits[<int>QUEUE_OPENING] = 4000
    s.limits[<int>QUEUE_SILENT] = 10000
    s.limits[<int>QUEUE_PARTIAL] = 10000
    s.limits[<int>QUEUE_OPEN] = 600000
    s.limits[<int>QUEUE_STUCK] = OUT_PATIENCE
    s.limits[<int>QUEUE_LEAVING] = 32000
    s.limits[<int>QUEUE_ENDING] = LINGER


cdef inline void says(TransportState* t, int transport, int way, const Address* remote, const char* text) noexcept nogil:
    remark(&t.remarks, t.streams.now, transport, way, remote, text)


cdef inline Connection* connection_in(Streams* s, uint32_t place) noexcept nogil:
    # By slot + 1.
    return s.slots[place - 1] if place else NULL


cdef inline uint32_t connection_name(const TransportState* t, const Connection* c) noexcept nogil:
    return t.worker << 26 | c.generation << 16 | c.slot


cdef inline uint32_t connection_worker(uint32_t name) noexcept nogil:
    return name >> 26


cdef Connection* connection_named(TransportState* t, const Flow* flow) noexcept nogil:
    # The connection of a flow of this worker, NULL if it is gone.
    cdef uint32_t slot = flow.connection & 0xFFFF
    cdef Connection* c
    if slot >= t.streams.count:
        return NULL
    c = t.streams.slots[slot]
    if c.fd == FREE or c.generation != (flow.connection >> 16 & 0x3FF) or not address_equal(&c.remote, &flow.remote):
        return NULL
    return c


cdef void queue_leave(Streams* s, Connection* c) noexcept nogil:
    cdef Connection* before = connection_in(s, c.before)
    cdef Connection* after = connection_in(s, c.after)
    if before != NULL:
        before.after = c.after
    else:
        s.first[c.queue] = c.after
    if after != NULL:
        after.before = c.before
    else:
        s.last[c.queue] = c.before


cdef void queue_enter(Streams* s, Connection* c, int queue) noexcept nogil:
    cdef Connection* last = connection_in(s, s.last[queue])
    c.queue = <uint8_t>queue
    c.since = s.now
    c.before, c.after = s.last[queue], 0
    if last != NULL:
        last.after = c.slot + 1
    else:
        s.first[queue] = c.slot + 1
    s.last[queue] = c.slot + 1


cdef inline void queue_move(Streams* s, Connection* c, int queue) noexcept nogil:
    if c.queue == queue and (c.since == s.now or s.last[queue] == c.slot + 1):
        c.since = s.now
        return
    queue_leave(s, c)
    queue_enter(s, c, queue)


cdef bint make_room(Streams* s) noexcept nogil:
    # For twice as many slots, and for each of them in the lists.
    cdef uint32_t room = min(max(s.room * 2, 64u), <uint32_t>CONNECTIONS)
    cdef void* slots = realloc(s.slots, room * sizeof(Connection*))
    cdef void* readable
    cdef void* writable
    if slots == NULL:
        return False
    s.slots = <Connection**>slots
    writable = realloc(s.writable, room * sizeof(uint32_t))
    if writable == NULL:
        return False
    s.writable = <uint32_t*>writable
    readable = malloc(room * sizeof(uint32_t))
    if readable == NULL:
        return False
    if s.readable_count:                     # a ring: its two halves, in order
        copy_ring(<uint32_t*>readable, s)
    free(s.readable)
    s.readable = <uint32_t*>readable
    s.readable_first = 0
    s.room = room
    return True


cdef void copy_ring(uint32_t* out, const Streams* s) noexcept nogil:
    cdef uint32_t i
    for i in range(s.readable_count):
        out[i] = s.readable[(s.readable_first + i) % s.room]


cdef void give_slot(Streams* s, Connection* c) noexcept nogil:
    # For the next connection.
    c.fd = FREE
    c.next = s.free
    s.free = c.slot + 1


cdef Connection* connection_new(TransportState* t, int fd, uint32_t listener, const Address* remote) noexcept nogil:
    # With a descriptor or AT_DOOR. NULL when there is no room for it; then the descriptor is still the caller's.
    cdef Streams* s = t.streams
    cdef Connection* c
    if s.free:
        c = connection_in(s, s.free)
        s.free = c.next
    else:
        if s.count == CONNECTIONS or (s.count == s.room and not make_room(s)):
            return NULL
        c = <Connection*>calloc(1, sizeof(Connection))
        if c == NULL:
            return NULL
        c.slot = s.count
        c.generation = 1 + <uint32_t>(s.now & 0xFF)      # not those of a predecessor that used as few
        c.fd = FREE
        s.slots[s.count] = c
        s.count += 1
    c.next = 0
    c.transport = t.listeners[listener].transport
    c.offered = c.blocked = c.crlf = c.finishing = c.leaving = 0    # listed, dirty: the slot may still stand in those lists
    c.listener = <uint16_t>listener
    c.owed = 0
    c.events = 0
    c.remote = remote[0]
    c.local = t.listeners[listener].address
    c.kept = 0
    c.tls = NULL
    c.peer = 0
    c.alias = 0
    c.paused = 0
    if fd != AT_DOOR and not connection_has(t, c, fd):
        give_slot(s, c)
        return NULL
    c.fd = fd
    s.live += 1
    count_set(t.block, COUNT_connections, s.live)
    return c


cdef bint connection_has(TransportState* t, Connection* c, int fd) noexcept nogil:
    # Its descriptor, from now on in epoll.
    cdef epoll_event event
    event.events = EPOLLIN
    event.data.u32 = EVENT_CONNECTION + c.slot
    if epoll_ctl(t.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
        return False
    c.fd = fd
    return True


cdef void connection_watch(TransportState* t, Connection* c, bint writing) noexcept nogil:
    cdef epoll_event event
    event.events = (0 if c.leaving or c.paused else EPOLLIN) | (EPOLLOUT if writing else 0)
    event.data.u32 = EVENT_CONNECTION + c.slot
    c.blocked = writing
    epoll_ctl(t.epoll, EPOLL_CTL_MOD, c.fd, &event)


cdef inline uint32_t bucket_of(const Address* remote, int transport) noexcept nogil:
    cdef uint64_t word[2]
    memcpy(word, remote.ip, 16)
    word[0] = (word[0] ^ word[1] ^ <uint64_t>remote.port << 32 ^ <uint64_t>transport << 56) * <uint64_t>0x9E3779B97F4A7C15
    return <uint32_t>(word[0] >> 52)


cdef inline Address offered_at(const Connection* c) noexcept nogil:
    cdef Address at = c.remote
    if c.alias:
        at.port = c.alias
    return at


cdef void connection_offer(Streams* s, Connection* c) noexcept nogil:
    # Let requests to its peer find it.
    cdef Address at = offered_at(c)
    cdef uint32_t bucket = bucket_of(&at, c.transport)
    c.offered = 1
    c.next = s.buckets[bucket]
    s.buckets[bucket] = c.slot + 1


cdef void connection_withdraw(Streams* s, Connection* c) noexcept nogil:
    cdef Address offered = offered_at(c)
    cdef uint32_t* at = &s.buckets[bucket_of(&offered, c.transport)]
    while at[0] != c.slot + 1:
        at = &s.slots[at[0] - 1].next
    at[0] = c.next
    c.offered = 0


cdef Connection* connection_to(TransportState* t, const Flow* flow) noexcept nogil:
    # One that we opened there before, from the same listen address, to whom this is for; or one with such an alias.
    cdef Streams* s = t.streams
    cdef Connection* c = connection_in(s, s.buckets[bucket_of(&flow.remote, flow.transport)])
    cdef uint64_t peer = peer_of(t, flow)
    cdef Address at
    while c != NULL:
        at = offered_at(c)
        if (c.transport == flow.transport and c.listener == flow.listener and not c.finishing
                and address_equal(&at, &flow.remote)
                and (certificate_is_of(t, c, flow) if c.alias else c.peer == peer)):
            return c
        c = connection_in(s, c.next)
    return NULL


cdef void connection_close(TransportState* t, Connection* c) noexcept nogil:
    # It is over. What nobody has begun to send goes back to whoever wanted it sent.
    cdef Streams* s = t.streams
    cdef uint32_t i
    cdef Buffer* buffer
    cdef Buffer* message
    cdef Flow flow
    if c.offered:
        connection_withdraw(s, c)
    queue_leave(s, c)
    if c.tls != NULL:
        tls_shutdown(c.tls)
        tls_free(c.tls)
        c.tls = NULL
    if c.fd != AT_DOOR:
        close(c.fd)
    c.fd = FREE
    connection_flow(t, c, &flow)
    for i in range(c.out_count):
        buffer = c.out[(c.out_first + i) % c.out_room]
        if i or c.out_sent == 0:
            message = unframed(t, buffer) if is_framed(c) else buffer_hold(buffer)
            give_back(t, &flow, message)
            buffer_release(t.pool, message)
        buffer_release(t.pool, buffer)
    free(c.out)
    c.out = NULL
    c.out_first = c.out_count = c.out_room = c.out_sent = c.out_bytes = 0
    drop_unsure(t, c, &flow)
    asked_in_vain(t, c, &flow)
    drop_partial(t, c)
    connection_unbind(t, c)
    if is_framed(c):
        s.partial_bytes -= c.frames.capacity
        frame_reader_free(&c.frames)
    c.generation = c.generation + 1 if c.generation < 1023 else 1
    give_slot(s, c)
    s.live -= 1
    count_set(t.block, COUNT_connections, s.live)
    if s.deaf:
        listen_again(t)


cdef void drop_partial(TransportState* t, Connection* c) noexcept nogil:
    if c.partial != NULL:
        t.streams.partial_bytes -= c.partial.capacity
        buffer_release(t.pool, c.partial)
        c.partial = NULL
    c.needed = c.scanned = 0


cdef void connection_flow(const TransportState* t, const Connection* c, Flow* out) noexcept nogil:
    out.remote = c.remote
    out.local = c.local
    out.listener = c.listener
    out.transport = c.transport
    out.reliable = FLOW_RELIABLE | (FLOW_REGISTERED if c.kept else 0)
    out.connection = connection_name(t, c)


cdef void connection_finish(TransportState* t, Connection* c) noexcept nogil:
    # Nothing more is read from it; it ends when the peer has what there is to say.
    c.finishing = 1
    queue_move(t.streams, c, QUEUE_ENDING)
    soon(t, c)


cdef void connection_broken(TransportState* t, Connection* c) noexcept nogil:
    # Its peer is not there any more.
    if c.leaving:
        c.leaving = IS_GONE
    connection_close(t, c)


cdef void connection_ended(TransportState* t, Connection* c) noexcept nogil:
    # The peer closed, or at least will say no more.
    cdef Flow flow
    if c.owed == 0 and c.out_count == 0:
        connection_close(t, c)
        return
    drop_partial(t, c)
    connection_flow(t, c, &flow)
    asked_in_vain(t, c, &flow)
    connection_unbind(t, c)
    c.finishing = 1
    c.leaving = IS_LEAVING
    connection_watch(t, c, c.blocked)
    queue_move(t.streams, c, QUEUE_LEAVING if c.owed else QUEUE_ENDING)


cdef void remember_sent(TransportState* t, Connection* c, Buffer* buffer) noexcept nogil:
    # To a peer that has closed. The oldest is most likely to have reached him.
    cdef Unsure* unsure
    if c.unsure == NULL:
        c.unsure = <Unsure*>calloc(1, sizeof(Unsure))
        if c.unsure == NULL:
            return
    unsure = c.unsure
    if unsure.count == UNSURE:
        buffer_release(t.pool, unsure.buffers[0])
        unsure.count -= 1
        memmove(&unsure.buffers[0], &unsure.buffers[1], unsure.count * sizeof(Buffer*))
    unsure.buffers[unsure.count] = buffer_hold(buffer)
    unsure.count += 1


cdef void drop_unsure(TransportState* t, Connection* c, const Flow* flow) noexcept nogil:
    cdef uint32_t i
    if c.unsure == NULL:
        return
    for i in range(c.unsure.count):
        if c.leaving == IS_GONE:
            give_back(t, flow, c.unsure.buffers[i])
        buffer_release(t.pool, c.unsure.buffers[i])
    free(c.unsure)
    c.unsure = NULL


cdef inline void soon(TransportState* t, Connection* c) noexcept nogil:
    # Written to at the next flush.
    if not c.dirty:
        c.dirty = 1
        t.streams.writable[t.streams.writable_count] = c.slot
        t.streams.writable_count += 1


# Time.

cdef void expire_connections(TransportState* t) noexcept nogil:
    cdef Streams* s = t.streams
    cdef Connection* c
    cdef int queue
    if s.deaf and s.deaf_until <= s.now:
        listen_again(t)
    for queue in range(QUEUES):
        while s.first[queue]:
            c = connection_in(s, s.first[queue])
            if c.since + s.limits[queue] > s.now:
                break
            if queue == QUEUE_OPEN and c.kept > s.now:
                queue_move(s, c, QUEUE_OPEN)
                if s.first[queue] == c.slot + 1:
                    break
                continue
            if queue == QUEUE_STUCK:
                cut_off(t, c)
                continue
            if queue == QUEUE_OPENING:
                count_add(t.block, COUNT_connections_failed, 1)
                if c.transport == TRANSPORT_TCP:         # else the door says it
                    says(t, c.transport, REMARK_TO, &c.remote, b"no answer")
            elif queue == QUEUE_PARTIAL:
                count_add(t.block, COUNT_stream_errors, 1)
                says(t, c.transport, REMARK_FROM, &c.remote, b"half a message, and nothing more")
            elif queue != QUEUE_LEAVING and queue != QUEUE_ENDING:
                count_add(t.block, COUNT_connections_idle, 1)
            connection_close(t, c)


cdef void transport_keep(TransportState* t, const Flow* flow, uint32_t ms, const void* aor, uint32_t length) noexcept nogil:
    cdef Flow handed = flow[0]
    cdef Connection* c
    cdef uint8_t record[4 + AOR_MOST]
    if flow.connection < FLOW_CONNECTIONS or t.streams == NULL or length > AOR_MOST:
        return
    if connection_worker(flow.connection) == t.worker:
        c = connection_named(t, flow)
        if c != NULL:
            c.kept = max(c.kept, t.streams.now + ms)
            if length:
                connection_bind(t, c, aor, length)
        elif length:                         # it ended before its registration was through
            show_gone(t, flow, aor, length)
    elif connection_worker(flow.connection) < t.workers:
        handed.listener = t.listeners[flow.listener].index
        memcpy(record, &ms, 4)
        memcpy(record + 4, aor, length)
        hand_over(t, connection_worker(flow.connection), RING_KEEP, &handed, record, 4 + length)


cdef void connection_unbind(TransportState* t, Connection* c) noexcept nogil:
    # Nobody is reached through it any more, whatever answers its peer may still wait for.
    cdef Flow flow
    if c.bound == NULL:
        return
    if c.kept > t.streams.now:
        connection_flow(t, c, &flow)
        show_gone(t, &flow, c.bound, c.bound_length)
    free(c.bound)
    c.bound = NULL
    c.bound_length = 0
    c.kept = 0


cdef void show_gone(TransportState* t, const Flow* flow, const void* names, uint32_t length) noexcept nogil:
    cdef Buffer* buffer = buffer_copy(t.pool, names, length)
    if buffer != NULL:
        show_later(t, flow, buffer, PACKET_GONE)
    buffer_release(t.pool, buffer)


cdef void connection_bind(TransportState* t, Connection* c, const void* aor, uint32_t length) noexcept nogil:
    # One more who is reached through it. Those of a trunk for whom there is no room keep a dead binding until it is tried.
    cdef uint32_t at = 0, end
    cdef void* larger
    while at < c.bound_length:
        end = <uint32_t>(<uint8_t*>memchr(c.bound + at, c'\n', c.bound_length - at) - c.bound)
        if end - at == length and memcmp(c.bound + at, aor, length) == 0:
            return
        at = end + 1
    if at + length + 1 > BOUND_MOST:
        return
    larger = realloc(c.bound, at + length + 1)
    if larger == NULL:
        return
    c.bound = <uint8_t*>larger
    memcpy(c.bound + at, aor, length)
    c.bound[at + length] = c'\n'
    c.bound_length = at + length + 1


cdef void streams_free(TransportState* t) noexcept nogil:
    cdef Streams* s = t.streams
    cdef uint32_t i
    if s == NULL:
        return
    for i in range(s.count):
        if s.slots[i].fd != FREE:
            connection_close(t, s.slots[i])
    for i in range(s.count):
        free(s.slots[i])
    for i in range(s.undelivered_count):
        buffer_release(t.pool, s.undelivered[i].buffer)
    for i in range(s.shown_count):
        buffer_release(t.pool, s.shown[i])
    free(s.slots)
    free(s.readable)
    free(s.writable)
    free(s.undelivered)
    free(s)
