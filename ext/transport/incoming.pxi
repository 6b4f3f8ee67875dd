# Connections that come in: accepted here or, with TLS, by the door; who has to go when there is no room.

cdef void stop_listening(TransportState* t, uint32_t number) noexcept nogil:
    epoll_ctl(t.epoll, EPOLL_CTL_DEL, t.listeners[number].fd, NULL)
    t.streams.deaf |= 1u << number
    t.streams.deaf_until = t.streams.now + DEAF
    says(t, TRANSPORT_TCP, REMARK_FROM, &t.listeners[number].address, b"no descriptor is free for more connections here")


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


cdef bint dispense(TransportState* t, Connection* c) noexcept nogil:
    count_add(t.block, COUNT_connections_refused, 1)
    connection_close(t, c)
    return True


cdef void accept_from(TransportState* t, uint32_t number) noexcept nogil:
    cdef Listener* listener = &t.listeners[number]
    cdef sockaddr_storage name
    cdef socklen_t length
    cdef Address remote
    cdef Connection* c
    cdef int fd, i, on = 1
    for i in range(ACCEPTS_PER_TURN):
        length = sizeof(name)
        fd = accept4(listener.fd, <sockaddr*>&name, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno != EMFILE and errno != ENFILE and errno != ENOBUFS and errno != ENOMEM:
                return
            if not evict(t):
                stop_listening(t, number)
                return
            continue
        address_from_sockaddr(&remote, &name)
        if fd >= t.fd_most and not evict(t):
            close(fd)
            count_add(t.block, COUNT_connections_refused, 1)
            says(t, TRANSPORT_TCP, REMARK_FROM, &remote, b"no descriptor is free")
            continue
        c = connection_new(t, fd, number, &remote)
        if c == NULL and evict(t):
            c = connection_new(t, fd, number, &remote)
        if c == NULL:
            close(fd)
            count_add(t.block, COUNT_connections_refused, 1)
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


cdef void turn_away(TransportState* t, const DoorNews* news) noexcept nogil:
    tls_free(news.tls)
    close(news.fd)
    count_add(t.block, COUNT_connections_refused, 1)


cdef void accepted(TransportState* t, const DoorNews* news) noexcept nogil:
    cdef Connection* c = connection_new(t, news.fd, news.listener, &news.remote)
    if c == NULL and evict(t):
        c = connection_new(t, news.fd, news.listener, &news.remote)
    if c == NULL:
        turn_away(t, news)
        return
    c.tls = news.tls
    if t.listeners[news.listener].wildcard:
        c.local = news.local
    queue_enter(t.streams, c, QUEUE_SILENT)
    count_add(t.block, COUNT_connections_in, 1)
    note_event(t, c.slot, EPOLLIN)           # its first request may have come with the handshake
