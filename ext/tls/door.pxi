# The door: a thread that accepts, connects and shakes hands, so that the hot thread never computes a signature.
#
#     taker's thread                                   door's thread
#     door_connect, door_listen   -> orders, bell ->   take_orders
#                                                      accept_some, advance, expire: a Knock goes from list to list
#     door_take                   <- news, chime <-    deliver
#
# A Knock is one connection on its way. It is in `arriving` or `leaving` (incoming and outgoing, each in the order of the
# deadlines, which is that of their coming) and at last in `ready` until there is room for its news.
cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN, EPOLLOUT, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags) noexcept
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept
    int epoll_wait(int epoll, epoll_event* events, int count, int ms) noexcept

cdef extern from "<sys/eventfd.h>" nogil:
    enum: EFD_NONBLOCK, EFD_CLOEXEC
    int eventfd(unsigned int value, int flags) noexcept
    int eventfd_read(int fd, uint64_t* value) noexcept
    int eventfd_write(int fd, uint64_t value) noexcept

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    enum: AF_INET, AF_INET6, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, SOL_SOCKET, SO_ERROR
    enum: MSG_NOSIGNAL, MSG_PEEK, MSG_DONTWAIT
    int accept4(int fd, sockaddr* address, socklen_t* length, int flags) noexcept
    int socket(int family, int kind, int protocol) noexcept
    int bind(int fd, const sockaddr* address, socklen_t length) noexcept
    int connect(int fd, const sockaddr* address, socklen_t length) noexcept
    ssize_t send(int fd, const void* data, size_t length, int flags) noexcept
    ssize_t recv(int fd, void* out, size_t size, int flags) noexcept
    int getsockname(int fd, sockaddr* address, socklen_t* length) noexcept
    int getsockopt(int fd, int level, int name, void* value, socklen_t* length) noexcept
    int setsockopt(int fd, int level, int name, const void* value, socklen_t length) noexcept

cdef extern from "<netinet/tcp.h>" nogil:
    enum: IPPROTO_TCP, TCP_NODELAY

cdef extern from "<fcntl.h>" nogil:
    enum: F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, ...) noexcept

cdef extern from "descriptors.h" nogil:
    int fd_most_opening(uint32_t under_way) noexcept
    int fd_lower(int fd) noexcept

cdef extern from "<unistd.h>" nogil:
    int close(int fd) noexcept

cdef extern from * nogil:
    """
    #define word_set(word, value) __atomic_store_n(word, value, __ATOMIC_RELEASE)
    #define word_get(word) __atomic_load_n(word, __ATOMIC_ACQUIRE)
    """
    void word_set(uint32_t* word, uint32_t value) noexcept
    uint32_t word_get(uint32_t* word) noexcept

cdef enum:
    ACCEPT_AT_ONCE = 32      # per listener and turn; handshakes go on between
    EVENTS = 64
    LOOKED_AT = 16           # knocks that may have to go, for one that may
    STARVED_SAID = 10000     # ms between two remarks about that
    STARVED_MS = 50          # without a free descriptor; and how soon room for news is looked for again
    FULL_MS = 5
    NEWS_ROOM = 1 << 20
    ORDERS_ROOM = 1 << 18

cdef const char* CROWDED = "too many handshakes from there are under way"

cdef enum:
    IS_BELL, IS_LISTENER, IS_KNOCK

cdef enum:
    ORDER_CONNECT, ORDER_LISTEN, ORDER_FORGET

cdef struct Listener:
    uint8_t kind             # IS_LISTENER
    bint used
    uint16_t index
    int fd                   # a duplicate of our own
    int given                # the number the taker knows it by

cdef struct Knock:
    uint8_t kind             # IS_KNOCK
    bint incoming
    bint connected           # TCP is there
    uint32_t events          # what epoll waits for
    uint64_t deadline
    Knock* next
    Knock* previous
    Knock* after             # of the same source, while hands are shaken
    Knock* before
    Source* source           # of one that comes in
    DoorNews news            # what will be said of it

cdef struct Knocks:
    Knock* first
    Knock* last

cdef struct Order:
    uint8_t kind
    int fd
    int given
    uint16_t index
    uint64_t tag
    Address remote
    Address local
    uint32_t length
    uint8_t name[DOOR_NAME]

cdef struct DoorState:
    DoorSetup setup
    DoorCounters counters
    Remarks remarks
    int epoll
    int bell                 # orders for the door
    int chime                # news for the taker
    uint32_t stopped
    uint8_t kind             # IS_BELL: what epoll says when the bell rings
    Queue* orders
    Queue* news
    Knocks arriving
    Knocks leaving
    Knocks ready
    uint32_t outgoing        # knocks in `leaving`
    uint64_t starved_until   # ms; listeners are not watched; 0: they are
    uint64_t starved_said    # ms; 0: never
    Listener listeners[DOOR_LISTENERS]
    Sources sources


cdef void knocks_add(Knocks* list, Knock* knock) noexcept nogil:
    knock.next = NULL
    knock.previous = list.last
    if list.last != NULL:
        list.last.next = knock
    else:
        list.first = knock
    list.last = knock


cdef void knocks_remove(Knocks* list, Knock* knock) noexcept nogil:
    if knock.previous != NULL:
        knock.previous.next = knock.next
    else:
        list.first = knock.next
    if knock.next != NULL:
        knock.next.previous = knock.previous
    else:
        list.last = knock.previous


cdef DoorState* door_new(const DoorSetup* setup) noexcept nogil:
    cdef DoorState* door = <DoorState*>calloc(1, sizeof(DoorState))
    cdef epoll_event event
    cdef int error
    if door == NULL:
        return NULL
    door.setup = setup[0]
    if door.setup.accept_ms == 0:
        door.setup.accept_ms = 5000
    if door.setup.connect_ms == 0:
        door.setup.connect_ms = 5000
    if door.setup.unfinished == 0:
        door.setup.unfinished = 4096
    if door.setup.per_source == 0:
        door.setup.per_source = 64
    if door.setup.transport == 0:
        door.setup.transport = TRANSPORT_TLS
    door.kind = IS_BELL
    door.epoll = epoll_create1(EPOLL_CLOEXEC)
    door.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    door.chime = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    door.orders = queue_new(ORDERS_ROOM)
    door.news = queue_new(NEWS_ROOM)
    if (door.epoll >= 0 and door.bell >= 0 and door.chime >= 0 and door.orders != NULL and door.news != NULL and
            remarks_open(&door.remarks) and sources_open(&door.sources, door.setup.unfinished, door.setup.per_source)):
        event.events = EPOLLIN
        event.data.ptr = &door.kind
        if epoll_ctl(door.epoll, EPOLL_CTL_ADD, door.bell, &event) == 0:
            return door
    error = errno
    door_free(door)
    say_errno(error if error else ENOMEM)
    return NULL


cdef void drop_news(DoorNews* news) noexcept nogil:
    tls_free(news.tls)
    if news.fd >= 0:
        close(news.fd)


cdef void drop_all(DoorState* door, Knocks* list) noexcept nogil:
    cdef Knock* knock
    while list.first != NULL:
        knock = list.first
        knocks_remove(list, knock)
        if knock.incoming:
            source_leave(&door.sources, knock.source)
        drop_news(&knock.news)
        free(knock)


cdef void door_free(DoorState* door) noexcept nogil:
    cdef DoorNews news
    cdef Order order
    cdef int i
    if door == NULL:
        return
    drop_all(door, &door.arriving)
    drop_all(door, &door.leaving)
    drop_all(door, &door.ready)
    sources_close(&door.sources)
    while door.news != NULL and queue_peek(door.news) >= 0:
        queue_take(door.news, &news, sizeof(news))
        drop_news(&news)
    while door.orders != NULL and queue_peek(door.orders) >= 0:
        queue_take(door.orders, &order, <uint32_t>queue_peek(door.orders))
        if order.kind == ORDER_LISTEN:
            close(order.fd)
    for i in range(DOOR_LISTENERS):
        if door.listeners[i].used:
            close(door.listeners[i].fd)
    if door.epoll >= 0:
        close(door.epoll)
    if door.bell >= 0:
        close(door.bell)
    if door.chime >= 0:
        close(door.chime)
    remarks_close(&door.remarks)
    queue_free(door.orders)
    queue_free(door.news)
    free(door)


# --- the taker's side --------------------------------------------------------------------------------------------------

cdef int give_order(DoorState* door, const Order* order) noexcept nogil:
    cdef uint32_t size = <uint32_t>(sizeof(Order) - DOOR_NAME + order.length)
    if not queue_put(door.orders, order, size):
        say_errno(EAGAIN)
        return -1
    eventfd_write(door.bell, 1)
    return 0


cdef int door_listen(DoorState* door, int fd, uint16_t index) noexcept nogil:
    cdef Order order
    memset(&order, 0, sizeof(order))
    order.kind = ORDER_LISTEN
    order.index = index
    order.given = fd
    order.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)
    if order.fd < 0:
        return -1
    if give_order(door, &order) < 0:
        close(order.fd)
        return -1
    return 0


cdef void door_forget(DoorState* door, int fd) noexcept nogil:
    cdef Order order
    memset(&order, 0, sizeof(order))
    order.kind = ORDER_FORGET
    order.given = fd
    give_order(door, &order)


cdef int door_connect(DoorState* door, const Address* remote, const Address* local, const uint8_t* name, uint32_t length,
                      uint64_t tag) noexcept nogil:
    cdef Order order
    if length > DOOR_NAME:
        say_errno(EINVAL)
        return -1
    memset(&order, 0, sizeof(order) - DOOR_NAME)
    order.kind = ORDER_CONNECT
    order.tag = tag
    order.remote = remote[0]
    if local != NULL:
        order.local = local[0]
    order.length = length
    memcpy(order.name, name, length)
    return give_order(door, &order)


cdef void door_stop(DoorState* door) noexcept nogil:
    word_set(&door.stopped, 1)
    eventfd_write(door.bell, 1)


cdef int door_fd(DoorState* door) noexcept nogil:
    return door.chime


cdef bint door_take(DoorState* door, DoorNews* news) noexcept nogil:
    cdef uint64_t rung
    if queue_peek(door.news) < 0:
        eventfd_read(door.chime, &rung)
        if queue_peek(door.news) < 0:
            return False
    queue_take(door.news, news, sizeof(DoorNews))
    return True


cdef DoorCounters* door_counters(DoorState* door) noexcept nogil:
    return &door.counters


cdef Remarks* door_remarks(DoorState* door) noexcept nogil:
    return &door.remarks


# --- the door's thread -------------------------------------------------------------------------------------------------

cdef int watch(DoorState* door, int operation, int fd, uint32_t events, void* what) noexcept nogil:
    cdef epoll_event event
    event.events = events
    event.data.ptr = what
    return epoll_ctl(door.epoll, operation, fd, &event)


cdef inline void door_says(DoorState* door, int way, const Address* remote, const char* text) noexcept nogil:
    remark(&door.remarks, tls_clock_ms(), door.setup.transport, way, remote, text)


cdef void finish(DoorState* door, Knock* knock, const char* reason) noexcept nogil:
    # It leaves its list: for `ready` if somebody wants to know, else for good. `reason` is why it failed, or NULL.
    cdef DoorNews* news = &knock.news
    knocks_remove(&door.arriving if knock.incoming else &door.leaving, knock)
    if knock.incoming:
        source_waits_no_more(knock)
    if reason != NULL:
        door_says(door, REMARK_FROM if knock.incoming else REMARK_TO, &news.remote, reason)
        snprintf(news.reason, DOOR_REASON, "%s", reason)
        tls_free(news.tls)
        if news.fd >= 0:
            close(news.fd)                                   # epoll forgets it
        news.tls = NULL
        news.fd = -1
        news.kind = DOOR_FAILED
    else:
        watch(door, EPOLL_CTL_DEL, news.fd, 0, NULL)
        news.kind = DOOR_ACCEPTED if knock.incoming else DOOR_CONNECTED
    if not knock.incoming:
        door.outgoing -= 1
    elif reason != NULL:
        source_leave(&door.sources, knock.source)
        door.counters.unfinished -= 1
        free(knock)
        return
    knocks_add(&door.ready, knock)


cdef void fail(DoorState* door, Knock* knock, const char* reason) noexcept nogil:
    if knock.incoming:
        door.counters.failed += 1
    else:
        door.counters.connect_failed += 1
    finish(door, knock, reason)


cdef void expire(DoorState* door, Knocks* list, uint64_t now) noexcept nogil:
    cdef Knock* knock
    while list.first != NULL and list.first.deadline <= now:
        knock = list.first
        if knock.incoming:
            door.counters.timed_out += 1
            finish(door, knock, "too slow")
        else:
            door.counters.connect_timed_out += 1
            fail(door, knock, "no TLS within the time" if knock.connected else "no TCP within the time")


cdef void await_events(DoorState* door, Knock* knock, uint32_t events) noexcept nogil:
    if knock.events != events:
        knock.events = events
        watch(door, EPOLL_CTL_MOD, knock.news.fd, events, knock)


cdef void advance(DoorState* door, Knock* knock) noexcept nogil:
    cdef DoorNews* news = &knock.news
    cdef int outcome, error = 0
    cdef socklen_t length = sizeof(error)
    cdef char text[DOOR_REASON]
    if not knock.connected:
        if getsockopt(news.fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0:
            error = errno
        if error:
            error_text(error, text, DOOR_REASON)
            fail(door, knock, text)
            return
        knock.connected = True
        local_address(news)
    outcome = tls_handshake(news.tls)
    if outcome == TLS_WANT_READ:
        await_events(door, knock, EPOLLIN)
    elif outcome == TLS_WANT_WRITE:
        await_events(door, knock, EPOLLOUT)
    elif outcome == TLS_DONE:
        if knock.incoming:
            door.counters.done += 1
        else:
            door.counters.connected += 1
        finish(door, knock, NULL)
    else:
        snprintf(text, DOOR_REASON, "%s", tls_reason(news.tls))
        fail(door, knock, text)


cdef void local_address(DoorNews* news) noexcept nogil:
    cdef sockaddr_storage storage
    cdef socklen_t length = sizeof(storage)
    if getsockname(news.fd, <sockaddr*>&storage, &length) == 0:
        address_from_sockaddr(&news.local, &storage)


cdef Knock* knock_new(DoorState* door, int fd, const Address* remote, bint incoming, uint64_t now) noexcept nogil:
    cdef Knock* knock = <Knock*>calloc(1, sizeof(Knock))
    if knock == NULL:
        return NULL
    knock.kind = IS_KNOCK
    knock.incoming = incoming
    knock.deadline = now + (door.setup.accept_ms if incoming else door.setup.connect_ms)
    knock.news.fd = fd
    knock.news.remote = remote[0]
    knocks_add(&door.arriving if incoming else &door.leaving, knock)
    if not incoming:
        door.outgoing += 1
    return knock


cdef bint is_stalled(const Knock* knock) noexcept nogil:
    # Nothing has come that we have not looked at, or it does not read: it is the peer who keeps us waiting.
    cdef uint8_t byte
    return knock.events & EPOLLOUT != 0 or recv(knock.news.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0


cdef bint send_away(DoorState* door, Source* source, int* looks, uint64_t* counter, const char* why) noexcept nogil:
    # The oldest stalled handshake of a source, if one is among those that may still be looked at. Who is not stalled waits
    # for us: if he had to go, we should finish nobody while more come than we can serve.
    cdef Knock* knock = source.first
    while knock != NULL and looks[0]:
        if is_stalled(knock):
            counter[0] += 1
            finish(door, knock, why)
            return True
        looks[0] -= 1
        knock = knock.after
    return False


cdef bint make_way(DoorState* door) noexcept nogil:
    # For another: the oldest stalled handshake goes, of the source that has most.
    cdef uint32_t rank = door.sources.top
    cdef Source* source
    cdef int looks = LOOKED_AT
    while rank:
        source = door.sources.ranks[rank].first
        while source != NULL:
            if send_away(door, source, &looks, &door.counters.refused_total, "had to go for another"):
                return True
            if not looks:
                return False
            source = source.after
        rank -= 1
    return False


cdef bint make_way_at_home(DoorState* door, const Address* remote) noexcept nogil:
    # For another of the same source, if that has as many as it may. So nobody is kept out for long by who says nothing
    # behind the same NAT.
    cdef Source* source = source_of(&door.sources, remote)
    cdef int looks = LOOKED_AT
    if source == NULL or source.count < door.setup.per_source:
        return True
    return send_away(door, source, &looks, &door.counters.refused_source, CROWDED)


cdef bint find_place(DoorState* door, int* fd) noexcept nogil:
    # A descriptor that is not left to others: perhaps one that became free after this one was given out.
    cdef int most = fd_most_opening(<uint32_t>door.counters.unfinished)
    if fd[0] >= most:
        fd[0] = fd_lower(fd[0])
    if fd[0] >= most and make_way(door):
        fd[0] = fd_lower(fd[0])
    return fd[0] < most


cdef void refuse(DoorState* door, Source* source, int fd, const Address* remote, const char* why) noexcept nogil:
    door.counters.refused_total += 1
    door_says(door, REMARK_FROM, remote, why)
    source_leave(&door.sources, source)
    close(fd)


cdef void welcome(DoorState* door, Listener* listener, int fd, const Address* remote, uint64_t now) noexcept nogil:
    # A connection that was just accepted: shake hands, or close it.
    cdef int one = 1
    cdef Knock* knock
    cdef Source* source
    if not make_way_at_home(door, remote):
        door.counters.refused_source += 1
        door_says(door, REMARK_FROM, remote, CROWDED)
        close(fd)
        return
    source = source_enter(&door.sources, remote)
    if source == NULL:
        door.counters.failed += 1
        close(fd)
        return
    if door.counters.unfinished >= door.setup.unfinished and not make_way(door):
        refuse(door, source, fd, remote, "too many handshakes are under way")
        return
    if not find_place(door, &fd):
        refuse(door, source, fd, remote, "no descriptor is free")
        return
    knock = knock_new(door, fd, remote, True, now)
    if knock == NULL:
        source_leave(&door.sources, source)
        door.counters.failed += 1
        close(fd)
        return
    source_waits(source, knock)
    door.counters.unfinished += 1
    knock.connected = True
    knock.events = EPOLLIN
    knock.news.listener = listener.index
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    local_address(&knock.news)
    knock.news.tls = tls_accept(door.setup.store, fd)
    if knock.news.tls == NULL or watch(door, EPOLL_CTL_ADD, fd, EPOLLIN, knock) < 0:
        fail(door, knock, "out of memory")


cdef void starve(DoorState* door, Listener* listener, uint64_t now) noexcept nogil:
    # Nobody can be accepted: who comes waits a little while.
    cdef sockaddr_storage storage
    cdef socklen_t length = sizeof(storage)
    cdef Address address
    door.counters.starved += 1
    door.starved_until = now + STARVED_MS
    watch_listeners(door, 0)
    if door.starved_said == 0 or now - door.starved_said >= STARVED_SAID:
        door.starved_said = now
        memset(&address, 0, sizeof(address))
        if getsockname(listener.fd, <sockaddr*>&storage, &length) == 0:
            address_from_sockaddr(&address, &storage)
        door_says(door, REMARK_AT, &address, "no descriptor is free: nobody is accepted")


cdef void accept_some(DoorState* door, Listener* listener, uint64_t now) noexcept nogil:
    cdef sockaddr_storage storage
    cdef socklen_t length
    cdef Address remote
    cdef int fd, i
    for i in range(ACCEPT_AT_ONCE):
        length = sizeof(storage)
        fd = accept4(listener.fd, <sockaddr*>&storage, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd >= 0:
            door.counters.accepted += 1
            address_from_sockaddr(&remote, &storage)
            welcome(door, listener, fd, &remote, now)
        elif errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
            starve(door, listener, now)
            return
        elif errno != ECONNABORTED and errno != EINTR and errno != EPROTO:
            return


cdef void watch_listeners(DoorState* door, uint32_t events) noexcept nogil:
    cdef int i
    for i in range(DOOR_LISTENERS):
        if door.listeners[i].used:
            watch(door, EPOLL_CTL_MOD, door.listeners[i].fd, events, &door.listeners[i])


cdef void begin_connect(DoorState* door, const Order* order, uint64_t now) noexcept nogil:
    cdef sockaddr_storage storage
    cdef socklen_t length
    cdef char text[DOOR_REASON]
    cdef int one = 1, fd
    cdef Knock* knock
    door.counters.ordered += 1
    fd = socket(AF_INET6 if order.remote.family == 6 else AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    error_text(errno if fd < 0 else EMFILE, text, DOOR_REASON)
    if fd >= 0 and not find_place(door, &fd):
        close(fd)
        fd = -1
    knock = knock_new(door, fd, &order.remote, False, now)
    if knock == NULL:                    # then nobody hears of it
        door.counters.connect_failed += 1
        if fd >= 0:
            close(fd)
        return
    knock.news.tag = order.tag
    if fd < 0:
        fail(door, knock, text)
        return
    if door.outgoing > door.setup.unfinished:
        fail(door, knock, "too many connections are being made")
        return
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    knock.news.tls = tls_connect(door.setup.store, fd, order.name, order.length)
    if knock.news.tls == NULL:
        fail(door, knock, "no TLS for this name")
        return
    if order.local.family:
        length = address_to_sockaddr(&order.local, &storage)
        if bind(fd, <sockaddr*>&storage, length) < 0:
            error_text(errno, text, DOOR_REASON)
            fail(door, knock, text)
            return
    length = address_to_sockaddr(&order.remote, &storage)
    if connect(fd, <sockaddr*>&storage, length) < 0 and errno != EINPROGRESS:
        error_text(errno, text, DOOR_REASON)
        fail(door, knock, text)
        return
    knock.events = EPOLLOUT
    if watch(door, EPOLL_CTL_ADD, fd, EPOLLOUT, knock) < 0:
        fail(door, knock, "out of memory")


cdef void begin_listen(DoorState* door, const Order* order) noexcept nogil:
    cdef Listener* listener = NULL
    cdef int i
    for i in range(DOOR_LISTENERS):
        if not door.listeners[i].used:
            listener = &door.listeners[i]
            break
    if listener == NULL:
        close(order.fd)
        return
    listener.kind = IS_LISTENER
    listener.index = order.index
    listener.fd = order.fd
    listener.given = order.given
    listener.used = watch(door, EPOLL_CTL_ADD, order.fd, 0 if door.starved_until else EPOLLIN, listener) == 0
    if not listener.used:
        close(order.fd)


cdef void end_listen(DoorState* door, int given) noexcept nogil:
    cdef int i
    for i in range(DOOR_LISTENERS):
        if door.listeners[i].used and door.listeners[i].given == given:
            # The duplicate may not be the last of its socket, so epoll has to be told.
            watch(door, EPOLL_CTL_DEL, door.listeners[i].fd, 0, NULL)
            close(door.listeners[i].fd)
            door.listeners[i].used = False


cdef void take_orders(DoorState* door, uint64_t now) noexcept nogil:
    cdef Order order
    cdef uint64_t rung
    eventfd_read(door.bell, &rung)
    while queue_peek(door.orders) >= 0:
        queue_take(door.orders, &order, <uint32_t>queue_peek(door.orders))
        if order.kind == ORDER_CONNECT:
            begin_connect(door, &order, now)
        elif order.kind == ORDER_LISTEN:
            begin_listen(door, &order)
        else:
            end_listen(door, order.given)


cdef void deliver(DoorState* door) noexcept nogil:
    cdef Knock* knock
    cdef bint said = False
    while door.ready.first != NULL:
        knock = door.ready.first
        if not queue_put(door.news, &knock.news, sizeof(DoorNews)):
            break
        said = True
        knocks_remove(&door.ready, knock)
        if knock.incoming:
            source_leave(&door.sources, knock.source)
            door.counters.unfinished -= 1
        free(knock)
    if said:
        eventfd_write(door.chime, 1)


cdef int patience(DoorState* door, uint64_t now) noexcept nogil:
    # How long epoll may sleep.
    cdef uint64_t until = now + 60000
    if door.ready.first != NULL:
        until = now + FULL_MS
    if door.starved_until and door.starved_until < until:
        until = door.starved_until
    if door.arriving.first != NULL and door.arriving.first.deadline < until:
        until = door.arriving.first.deadline
    if door.leaving.first != NULL and door.leaving.first.deadline < until:
        until = door.leaving.first.deadline
    return <int>(until - now) if until > now else 0


cdef void door_run(DoorState* door) noexcept nogil:
    cdef epoll_event events[EVENTS]
    cdef uint64_t now = tls_clock_ms()
    cdef uint8_t* kind
    cdef int count, i
    while not word_get(&door.stopped):
        count = epoll_wait(door.epoll, events, EVENTS, patience(door, now))
        now = tls_clock_ms()
        for i in range(count):
            kind = <uint8_t*>events[i].data.ptr
            if kind[0] == IS_KNOCK:
                advance(door, <Knock*>kind)
                events[i].data.ptr = NULL
        deliver(door)                        # who is done holds no place that somebody else would have to give up
        for i in range(count):               # now that nobody's event is left who may have to go
            kind = <uint8_t*>events[i].data.ptr
            if kind == NULL:
                continue
            if kind[0] == IS_LISTENER:
                if (<Listener*>kind).used and not door.starved_until:
                    accept_some(door, <Listener*>kind, now)
            else:
                take_orders(door, now)
        if door.starved_until and door.starved_until <= now:
            door.starved_until = 0
            watch_listeners(door, EPOLLIN)
        expire(door, &door.arriving, now)
        expire(door, &door.leaving, now)
        deliver(door)
