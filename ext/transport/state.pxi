# The transport of one worker: what it listens on, what it received last, what it is about to send.

cdef enum:
    SEND_QUEUE = 512         # datagrams one socket holds back until the flush; one more flushes early
    BATCHES_PER_TURN = 4     # of one socket, before the others, the rings and the timers get their turn
    RING_BATCHES_PER_TURN = 8
    CONTROL_BYTES = 128      # ancillary data of one datagram: packet info and the drop counter
    EVENT_WAKE = 64          # epoll tags; below are listener numbers
    EVENT_WATCHED = 65
    EVENT_ALARM = 66
    EVENT_DOOR = 67
    EVENT_CONNECTION = 128   # and above: slots of connections
    EVENTS = 256             # of one wait
    CROWDED_MOST = 500       # ms that streams wait for a neighbour
    STREAM_PACKETS = 256     # of one batch; one read may bring many
    WRITE_PIECES = 32
    ALARM_SLACK = 1000000    # ns
    TRUST = 256              # datagrams in a row that were this worker's own
    PACK_SEGMENTS = 64       # what every kernel that segments takes at once
    PACK_BYTES = 65000

cdef uint64_t FOREVER = <uint64_t>-1

cdef struct SendQueue:       # of one listener; wired once, so that queueing fills in lengths and addresses only
    uint32_t count
    mmsghdr headers[SEND_QUEUE]
    iovec pieces[SEND_QUEUE]
    sockaddr_storage names[SEND_QUEUE]
    uint64_t controls[SEND_QUEUE][6]     # CMSG_SPACE(sizeof in6_pktinfo) is 40
    Buffer* buffers[SEND_QUEUE]

cdef struct SendPacks:       # runs of a send queue, each as one message with pieces
    mmsghdr headers[SEND_QUEUE]
    uint64_t controls[SEND_QUEUE][10]
    uint32_t first[SEND_QUEUE + 1]

cdef struct TransportState:
    uint32_t worker
    uint32_t workers
    Control* control
    WorkerBlock* block
    BufferPool* pool
    uint8_t* slots
    int* wakes
    int epoll
    int watched
    int probes[2]            # sockets that ask the kernel for its choice of source address, IPv4 and IPv6; -1 unopened
    uint32_t listener_count
    uint8_t burst            # datagrams came since their drops were last asked for
    uint32_t ready           # bit per listener: epoll said readable and it is not drained
    uint32_t next_listener   # whose turn it is
    uint32_t next_ring
    uint32_t ring_batches    # this turn
    int alarm                # timerfd: the next time at which there is something to do without any event
    uint64_t alarm_at        # ns, when it goes off; in the past once it has
    uint32_t own_in_a_row    # datagrams since one was somebody else's
    uint64_t touched         # bit per worker: its ring got something since the last flush
    int16_t by_index[256]    # own listener of a listen address, -1 if none
    uint8_t batches[MAX_LISTENERS]
    Listener listeners[MAX_LISTENERS]    # fd -1: forgotten, its place is free
    uint64_t cookies[MAX_LISTENERS]      # the kernel's name of the socket, the same for every descriptor of it
    SendQueue* queues[MAX_LISTENERS]
    SendPacks* packs         # NULL: every datagram leaves by itself
    Streams* streams         # NULL: nothing but datagrams
    uint64_t crowded_since   # ms: a ring was more than half full ever since; 0: none is
    DoorState* door          # NULL: no TLS
    Remarks remarks
    int fd_most              # descriptors from this one on are not for connections
    Peers* peers             # NULL: none yet
    const uint8_t* peer      # see TransportSetup
    uint32_t peer_length
    uint8_t record[16384]    # the next TLS record
    RingWriter writers[64]   # by target worker
    RingReader readers[64]   # by source worker
    # the receive batch, wired to the slots once
    mmsghdr headers[RECEIVE_BATCH]
    iovec pieces[RECEIVE_BATCH]
    sockaddr_storage names[RECEIVE_BATCH]
    uint64_t controls[RECEIVE_BATCH][16]
    Packet packets[STREAM_PACKETS]


cpdef size_t rings_size(uint32_t workers, size_t budget) noexcept nogil:
    return rings_block_size(workers, budget)


cdef TransportState* transport_new(const TransportSetup* setup) noexcept nogil:
    cdef TransportState* t
    cdef RingBlock* rings = <RingBlock*>setup.rings
    cdef uint64_t capacity
    cdef uint32_t i
    cdef int error
    cdef epoll_event event
    if setup.workers < 1 or setup.workers > 64 or setup.worker >= setup.workers:
        (&errno)[0] = EINVAL
        return NULL
    if setup.workers > 1:
        error = rings_attach(rings, setup.rings_size, setup.workers)
        if error:
            (&errno)[0] = error
            return NULL
    t = <TransportState*>calloc(1, sizeof(TransportState))
    if t == NULL:
        return NULL
    t.worker = setup.worker
    t.workers = setup.workers
    t.control = setup.control
    t.block = &setup.control.worker[setup.worker]
    t.pool = setup.pool
    t.slots = <uint8_t*>setup.slots
    t.wakes = setup.wakes
    t.door = setup.door
    t.peer, t.peer_length = setup.peer, setup.peer_length
    t.watched = -1
    t.alarm = -1
    t.fd_most = fd_most_connected()
    t.probes[0] = t.probes[1] = -1
    memset(t.by_index, 0xff, sizeof(t.by_index))
    t.epoll = epoll_create1(EPOLL_CLOEXEC)
    if t.epoll < 0:
        free(t)
        return NULL
    # Edge-triggered, so that the counter need not be read: every write is an event of its own.
    event.events = EPOLLIN | EPOLLET
    event.data.u32 = EVENT_WAKE
    if setup.workers > 1 and epoll_ctl(t.epoll, EPOLL_CTL_ADD, setup.wake, &event) < 0:
        transport_free(t)
        return NULL
    t.alarm = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)
    event.data.u32 = EVENT_ALARM
    if t.alarm < 0 or epoll_ctl(t.epoll, EPOLL_CTL_ADD, t.alarm, &event) < 0:
        transport_free(t)
        return NULL
    capacity = ring_capacity(t.workers, setup.rings_size)
    for i in range(t.workers):
        if i != t.worker:
            ring_writer(&t.writers[i], rings_at(rings, setup.rings_size, t.workers, t.worker, i), capacity)
            ring_reader(&t.readers[i], rings_at(rings, setup.rings_size, t.workers, i, t.worker), capacity)
    for i in range(<uint32_t>RECEIVE_BATCH):
        t.pieces[i].iov_base = t.slots + i * RECEIVE_SLOT
        t.pieces[i].iov_len = 65535          # no datagram is longer, and the parser may read a little past the end
        t.headers[i].msg_hdr.msg_iov = &t.pieces[i]
        t.headers[i].msg_hdr.msg_iovlen = 1
        t.headers[i].msg_hdr.msg_name = &t.names[i]
        t.headers[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
        t.headers[i].msg_hdr.msg_control = t.controls[i]
        t.headers[i].msg_hdr.msg_controllen = CONTROL_BYTES
    mark_in_hand(t.block, 0, 0)              # what the predecessor left
    wake_clear(t.block)
    return t


cdef Remarks* transport_remarks(TransportState* t) noexcept nogil:
    return &t.remarks


cdef void transport_free(TransportState* t) noexcept nogil:
    # Sockets and eventfds are the caller's; what was queued and not flushed is given back unsent.
    cdef uint32_t i, k
    if t == NULL:
        return
    streams_free(t)
    peers_free(t)
    for i in range(MAX_LISTENERS):
        if t.queues[i] == NULL:
            continue
        for k in range(t.queues[i].count):
            buffer_release(t.pool, t.queues[i].buffers[k])
        free(t.queues[i])
    for i in range(2):
        if t.probes[i] >= 0:
            close(t.probes[i])
    if t.alarm >= 0:
        close(t.alarm)
    close(t.epoll)
    remarks_close(&t.remarks)
    free(t.packs)
    free(t)


cdef SendQueue* send_queue_new() noexcept nogil:
    cdef SendQueue* queue = <SendQueue*>calloc(1, sizeof(SendQueue))
    cdef uint32_t i
    if queue == NULL:
        return NULL
    for i in range(<uint32_t>SEND_QUEUE):
        queue.headers[i].msg_hdr.msg_iov = &queue.pieces[i]
        queue.headers[i].msg_hdr.msg_iovlen = 1
        queue.headers[i].msg_hdr.msg_name = &queue.names[i]
    return queue


cdef bint streams_new(TransportState* t) noexcept nogil:
    cdef epoll_event event
    t.streams = <Streams*>calloc(1, sizeof(Streams))
    if t.streams == NULL:
        return False
    t.streams.now = clock_ns(CLOCK_MONOTONIC) // 1000000
    streams_init(t.streams)
    remarks_open(&t.remarks)
    if t.door != NULL:
        event.events = EPOLLIN
        event.data.u32 = EVENT_DOOR
        return epoll_ctl(t.epoll, EPOLL_CTL_ADD, door_fd(t.door), &event) == 0
    return True


cdef bint is_unspecified(const Address* address) noexcept nogil:
    cdef uint32_t i
    for i in range(16):
        if address.ip[i]:
            return False
    return True


cdef int transport_listen(TransportState* t, int fd, int transport, int index, const Address* advertise,
                          bint adopted) noexcept nogil:
    cdef uint32_t i, number = t.listener_count
    cdef Listener* listener
    cdef sockaddr_storage name
    cdef socklen_t length = sizeof(int)
    cdef uint64_t cookie = 0
    cdef int kind = 0, on = 1
    cdef epoll_event event
    if getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length) < 0:
        return -1
    if kind != (SOCK_DGRAM if transport == TRANSPORT_UDP else SOCK_STREAM):
        (&errno)[0] = EPROTOTYPE
        return -1
    if transport != TRANSPORT_UDP and t.streams == NULL and not streams_new(t):
        return -1
    if transport == TRANSPORT_TLS and t.door == NULL:
        (&errno)[0] = EPROTONOSUPPORT
        return -1
    length = sizeof(cookie)
    if getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0:
        return -1
    for i in range(t.listener_count):
        if t.listeners[i].fd < 0:
            number = i
        elif t.cookies[i] == cookie:
            return <int>i
    if number == MAX_LISTENERS or index < 0 or index > 255:
        (&errno)[0] = ENOSPC
        return -1
    listener = &t.listeners[number]
    memset(listener, 0, sizeof(Listener))
    listener.fd = -1                         # until all went well
    length = sizeof(name)
    if getsockname(fd, <sockaddr*>&name, &length) < 0:
        return -1
    address_from_sockaddr(&listener.address, &name)
    if listener.address.family == 0:
        (&errno)[0] = EPROTOTYPE
        return -1
    listener.index = <uint8_t>index
    listener.adopted = adopted
    listener.transport = <uint8_t>transport
    listener.wildcard = is_unspecified(&listener.address)
    if advertise != NULL:
        listener.advertise = advertise[0]
        if listener.advertise.family and not listener.advertise.port:
            listener.advertise.port = listener.address.port
    if listener.wildcard and transport == TRANSPORT_UDP:
        if listener.address.family == 4:
            if setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0:
                return -1
        elif setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) < 0:
            return -1
    if transport == TRANSPORT_UDP:
        setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on))
        listener.overflow = socket_drops(fd)     # what came before is counted by whoever had the socket then
        if t.queues[number] == NULL:
            t.queues[number] = send_queue_new()
    event.events = EPOLLIN
    event.data.u32 = number
    if transport == TRANSPORT_UDP and t.queues[number] == NULL:
        return -1
    if transport == TRANSPORT_TLS:
        if door_listen(t.door, fd, <uint16_t>number) < 0:
            return -1
    elif transport >= TRANSPORT_WS:
        pass                                 # whoever does the opening handshake accepts
    elif epoll_ctl(t.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
        return -1
    listener.fd = fd
    t.cookies[number] = cookie
    if number == t.listener_count:
        t.listener_count += 1
    if not adopted or t.by_index[index] < 0:
        t.by_index[index] = <int16_t>number
    return <int>number


cdef void transport_forget(TransportState* t, uint32_t number) noexcept nogil:
    cdef Listener* listener
    if number >= t.listener_count or not t.listeners[number].adopted or t.listeners[number].fd < 0:
        return
    listener = &t.listeners[number]
    if listener.transport == TRANSPORT_UDP:
        flush_queue(t, listener, t.queues[number])
    else:
        t.streams.accepting &= ~(1u << number)
        t.streams.deaf &= ~(1u << number)
    if listener.transport == TRANSPORT_TLS:
        door_forget(t.door, listener.fd)
    elif listener.transport < TRANSPORT_WS:
        epoll_ctl(t.epoll, EPOLL_CTL_DEL, listener.fd, NULL)
    t.ready &= ~(1u << number)
    if t.by_index[listener.index] == <int16_t>number:
        t.by_index[listener.index] = -1
    listener.fd = -1


cdef uint32_t transport_listeners(TransportState* t) noexcept nogil:
    return t.listener_count


cdef Listener* transport_listener(TransportState* t, uint32_t number) noexcept nogil:
    return &t.listeners[number] if number < t.listener_count else NULL


cdef int transport_numbered(const TransportState* t, int index) noexcept nogil:
    return t.by_index[index] if 0 <= index < 256 else -1


cdef bint transport_has(const TransportState* t, int transport) noexcept nogil:
    cdef uint32_t i
    for i in range(t.listener_count):
        if t.listeners[i].transport == transport:
            return True
    return False


cdef int transport_watch(TransportState* t, int fd) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN
    event.data.u32 = EVENT_WATCHED
    if epoll_ctl(t.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
        return -1
    t.watched = fd
    return 0
