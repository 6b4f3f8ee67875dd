# Connections that are opened, and who is to be found at their other end.

cdef Connection* connection_open(TransportState* t, const Flow* flow) noexcept nogil:
    # On its way to flow.remote, from the address a peer knows us by; NULL with errno if it cannot even be tried. Who
    # sends by its name finds it; others only once it is offered.
    cdef Listener* listener = &t.listeners[flow.listener]
    cdef sockaddr_storage name
    cdef socklen_t length
    cdef Address local = flow.local if flow.local.family == flow.remote.family else listener.address
    cdef Connection* c
    cdef int on = 1, fd
    if flow.transport != TRANSPORT_TCP:
        return open_at_door(t, flow, &local)
    fd = socket(AF_INET if flow.remote.family == 4 else AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    if fd < 0 or not find_place(t, &fd):
        remark_error(&t.remarks, t.streams.now, TRANSPORT_TCP, REMARK_TO, &flow.remote, errno if fd < 0 else EMFILE)
        if fd >= 0:
            close(fd)
        return NULL
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
    if not is_unspecified(&local):
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on))
        local.port = 0
        length = address_to_sockaddr(&local, &name)
        if bind(fd, <sockaddr*>&name, length) < 0:
            remark_error(&t.remarks, t.streams.now, TRANSPORT_TCP, REMARK_TO, &flow.remote, errno)
            close(fd)
            return NULL
    length = address_to_sockaddr(&flow.remote, &name)
    if connect(fd, <sockaddr*>&name, length) < 0 and errno != EINPROGRESS:
        remark_error(&t.remarks, t.streams.now, TRANSPORT_TCP, REMARK_TO, &flow.remote, errno)
        close(fd)
        return NULL
    c = connection_new(t, fd, flow.listener, &flow.remote)
    if c == NULL:
        close(fd)
        return NULL
    if flow.local.family == flow.remote.family:
        c.local = flow.local
    queue_enter(t.streams, c, QUEUE_OPENING)
    connection_watch(t, c, True)
    count_add(t.block, COUNT_connections_out, 1)
    return c


cdef Connection* open_at_door(TransportState* t, const Flow* flow, const Address* local) noexcept nogil:
    # The same with TLS. Its certificate has to be for the address where the flow says no more and nobody was told who
    # everyone is.
    cdef Address source = local[0]
    cdef char name[ADDRESS_TEXT]
    cdef uint32_t length = address_host(&flow.remote, name, False)
    cdef const uint8_t* peer = <const uint8_t*>name
    cdef const Peer* wanted = peer_numbered(t, flow.connection)
    cdef Connection* c
    if wanted != NULL:
        peer, length = wanted.name, wanted.length
    elif t.peer != NULL:
        peer, length = t.peer, t.peer_length
    if flow.transport != TRANSPORT_TLS or t.door == NULL:
        return NULL
    c = connection_new(t, AT_DOOR, flow.listener, &flow.remote)
    if c == NULL:
        return NULL
    source.port = 0
    if door_connect(t.door, &flow.remote, NULL if is_unspecified(local) else &source, peer, length,
                    connection_name(t, c)) < 0:
        give_slot(t.streams, c)
        t.streams.live -= 1
        count_set(t.block, COUNT_connections, t.streams.live)
        return NULL
    if flow.local.family == flow.remote.family:
        c.local = flow.local
    c.peer = peer_of(t, flow)
    queue_enter(t.streams, c, QUEUE_OPENING)
    count_add(t.block, COUNT_connections_out, 1)
    return c


cdef int transport_connect(TransportState* t, Flow* flow) noexcept nogil:
    cdef Connection* c
    if t.streams == NULL or flow.listener >= t.listener_count:
        (&errno)[0] = EINVAL
        return -1
    c = connection_named(t, flow) if flow.connection >= FLOW_CONNECTIONS else NULL
    if c != NULL and not c.finishing:
        return 0
    if flow.connection >= FLOW_CONNECTIONS:
        flow.connection = 0
    c = connection_open(t, flow)
    if c == NULL:
        count_add(t.block, COUNT_connections_failed, 1)
        return -1
    flow.connection = connection_name(t, c)
    return 0


cdef bint connection_opened(TransportState* t, Connection* c) noexcept nogil:
    # epoll says that it can be written to, or that something is wrong.
    cdef int error = 0
    cdef socklen_t length = sizeof(error)
    if getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 or error:
        remark_error(&t.remarks, t.streams.now, c.transport, REMARK_TO, &c.remote, error)
        count_add(t.block, COUNT_connections_failed, 1)
        connection_close(t, c)
        return False
    queue_move(t.streams, c, QUEUE_OPEN)
    connection_watch(t, c, False)
    soon(t, c)
    return True


cdef void opened(TransportState* t, DoorNews* news) noexcept nogil:
    # By the name it was ordered under, if that still waits for it.
    cdef uint32_t slot = <uint32_t>news.tag & 0xFFFF
    cdef Connection* c = t.streams.slots[slot] if slot < t.streams.count else NULL
    if c == NULL or c.fd != AT_DOOR or connection_name(t, c) != <uint32_t>news.tag:
        if news.kind == DOOR_CONNECTED:      # nobody wants it any more
            tls_free(news.tls)
            close(news.fd)
        return
    if news.kind == DOOR_FAILED or not find_place(t, &news.fd) or not connection_has(t, c, news.fd):
        count_add(t.block, COUNT_connections_failed, 1)
        if news.kind == DOOR_CONNECTED:
            says(t, TRANSPORT_TLS, REMARK_TO, &news.remote, b"no descriptor is free")
            tls_free(news.tls)
            close(news.fd)
        connection_close(t, c)
        return
    c.tls = news.tls
    tls_moved(c.tls, c.fd)
    queue_move(t.streams, c, QUEUE_OPEN)
    note_event(t, c.slot, EPOLLIN)
    soon(t, c)
