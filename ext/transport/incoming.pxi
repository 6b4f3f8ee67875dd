# Connections that come in: accepted here or, with TLS, by the door; who has to go when there is no room.

cdef void stop_listening(TransportState* t, uint32_t number) noexcept nogil:
    epoll_ctl(t.epoll, EPOLL_CTL_DEL, t.listeners[number].fd, NULL)
    t.streams.deaf |= 1u << number
    t.streams.deaf_until = t.streams.now + DEAF
    if t.streams.deaf_said == 0 or t.streams.now - t.streams.deaf_said >= DEAF_SAID:
        t.streams.deaf_said = t.streams.now
        says(t, TRANSPORT_TCP, REMARK_AT, &t.listeners[number].address, b"no descriptor is free: nobody is accepted")


cdef void listen_again(TransportState* t) noexcept nogil:
    cdef epoll_event event
    cdef uint32_t i
    for i in range(t.listener_count):
        if t.streams.deaf >> i & 1:
            event.events = EPOLLIN
            event.data.u32 = i
            epoll_ctl(t.epoll, EPOLL_CTL_ADD, t.listeners[i].fd, &event)
    t.streams.deaf = 0


cdef bint evict(TransportState* t) noexcept nogil:
    # Make room: whoever has said nothing for longest goes, or else who is least missed. Nobody who is in use goes, nor who
    # can be reached by nothing else.
    cdef Streams* s = t.streams
    cdef Connection* c = NULL
    cdef int queue, i
    for queue in range(<int>QUEUE_SILENT, <int>QUEUE_OPEN):
        c = connection_in(s, s.first[queue])
        if c != NULL and (queue != QUEUE_PARTIAL or c.since + 1000 <= s.now):
            return dispense(t, c)
    c = connection_in(s, s.first[<int>QUEUE_OPEN])
    for i in range(16):
        if c == NULL or c.since + DISPENSABLE > s.now:
            return False
        if c.kept <= s.now:
            return dispense(t, c)
        c = connection_in(s, c.after)
    return False


cdef bint find_place(TransportState* t, int* fd) noexcept nogil:
    # A newcomer's descriptor has to be one for connections: for one that is not somebody goes, and it gets that number.
    cdef int i
    for i in range(2):                       # another thread may be quicker to take it
        if fd[0] < t.fd_most:
            return True
        if not evict(t):
            return False
        fd[0] = fd_lower(fd[0])
    return fd[0] < t.fd_most


cdef void refuse(TransportState* t, int transport, int fd, Tls* tls, const Address* remote) noexcept nogil:
    # A newcomer for whom there is no place.
    tls_free(tls)
    close(fd)
    count_add(t.block, COUNT_connections_refused, 1)
    if t.streams != NULL:
        says(t, transport, REMARK_FROM, remote,
             b"no descriptor is free" if fd >= t.fd_most else b"no room for more connections")


cdef bint dispense(TransportState* t, Connection* c) noexcept nogil:
    count_add(t.block, COUNT_connections_refused, 1)
    connection_close(t, c)
    return True


cdef Connection* received(TransportState* t, int* fd, uint32_t number, const Address* remote) noexcept nogil:
    # A connection that comes in; NULL if there is no place for it, which is still the caller's to refuse.
    cdef Connection* c = NULL
    if not find_place(t, fd):
        return NULL
    c = connection_new(t, fd[0], number, remote)
    if c == NULL and evict(t):
        c = connection_new(t, fd[0], number, remote)
    return c


cdef void accept_from(TransportState* t, uint32_t number) noexcept nogil:
    cdef Listener* listener = &t.listeners[number]
    cdef sockaddr_storage name
    cdef socklen_t length
    cdef Address remote
    cdef Connection* c
    cdef int fd, i, on = 1
    cdef bint evicted = False
    for i in range(ACCEPTS_PER_TURN):
        length = sizeof(name)
        fd = accept4(listener.fd, <sockaddr*>&name, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno != EMFILE and errno != ENFILE and errno != ENOBUFS and errno != ENOMEM:
                return
            if evicted or not evict(t):
                stop_listening(t, number)
                return
            evicted = True                   # that was one; if it does not help, others have taken more than their share
            continue
        evicted = False
        address_from_sockaddr(&remote, &name)
        c = received(t, &fd, number, &remote)
        if c == NULL:
            refuse(t, TRANSPORT_TCP, fd, NULL, &remote)
            continue
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
        if listener.wildcard:
            length = sizeof(name)
            if getsockname(fd, <sockaddr*>&name, &length) == 0:
                address_from_sockaddr(&c.local, &name)
        queue_enter(t.streams, c, QUEUE_SILENT)
        count_add(t.block, COUNT_connections_in, 1)


cdef void take_from_door(TransportState* t) noexcept nogil:
    # Connections whose handshake is done, either way.
    cdef DoorNews news
    cdef int i
    for i in range(NEWS_PER_TURN):
        if not door_take(t.door, &news):
            t.streams.news = 0
            return
        if news.kind == DOOR_ACCEPTED:
            accepted(t, &news)
        else:
            opened(t, &news)


cdef void accepted(TransportState* t, DoorNews* news) noexcept nogil:
    cdef Connection* c = received(t, &news.fd, news.listener, &news.remote)
    if c == NULL:
        refuse(t, TRANSPORT_TLS, news.fd, news.tls, &news.remote)
        return
    c.tls = news.tls
    tls_moved(c.tls, c.fd)
    if t.listeners[news.listener].wildcard:
        c.local = news.local
    queue_enter(t.streams, c, QUEUE_SILENT)
    count_add(t.block, COUNT_connections_in, 1)
    note_event(t, c.slot, EPOLLIN)           # its first request may have come with the handshake
