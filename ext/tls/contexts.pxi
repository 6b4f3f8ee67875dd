# One generation of certificates and rules, the store that has the current one, and the sessions of its clients.
cdef enum:
    SESSIONS = 256           # names of servers whose last session is kept
    NAME = 256               # bytes of a server's name, with a NUL
    SECRET = 64
    POLICY = 32

cdef struct TlsSet:
    TlsStore* store
    uint64_t references
    void** servers           # SSL_CTX, one per certificate
    Names* hosts             # what each certificate is for
    uint32_t count
    void* client
    bint verify_server
    bint verify_client
    uint64_t lifetime        # seconds, of a ticket
    uint32_t secret_length
    uint8_t secret[SECRET]
    TicketKey keys[2]        # of even and odd periods; under the mutex

cdef struct Session:
    void* session
    uint64_t used
    uint32_t length
    uint8_t name[NAME]

cdef struct TlsStore:
    pthread_mutex_t mutex
    uint64_t references
    uint64_t live            # connections
    uint64_t clock           # of uses of sessions
    TlsSet* current
    Session* sessions


cdef TlsStore* store_new() noexcept nogil:
    cdef TlsStore* store = <TlsStore*>calloc(1, sizeof(TlsStore))
    if store != NULL:
        store.sessions = <Session*>calloc(SESSIONS, sizeof(Session))
        if store.sessions == NULL:
            free(store)
            return NULL
        store.references = 1
        pthread_mutex_init(&store.mutex, NULL)
    return store


cdef TlsSet* set_borrow(TlsStore* store) noexcept nogil:
    # The current one, for a look at it.
    cdef TlsSet* one
    pthread_mutex_lock(&store.mutex)
    one = store.current
    one.references += 1
    pthread_mutex_unlock(&store.mutex)
    return one


cdef void set_give_back(TlsSet* one) noexcept nogil:
    cdef TlsStore* store = one.store
    cdef bint last
    pthread_mutex_lock(&store.mutex)
    one.references -= 1
    last = one.references == 0
    pthread_mutex_unlock(&store.mutex)
    if last:
        set_free(one)


cdef void set_free(TlsSet* one) noexcept nogil:
    cdef uint32_t i
    for i in range(one.count):
        if one.servers[i] != NULL:
            libssl.SSL_CTX_free(one.servers[i])
        names_free(&one.hosts[i])
    if one.client != NULL:
        libssl.SSL_CTX_free(one.client)
    free(one.servers)
    free(one.hosts)
    memset(one, 0, sizeof(TlsSet))
    free(one)


cdef void forget_sessions(TlsStore* store) noexcept nogil:
    # Under the mutex.
    cdef int i
    for i in range(SESSIONS):
        if store.sessions[i].session != NULL:
            libssl.SSL_SESSION_free(store.sessions[i].session)
            store.sessions[i].session = NULL
            store.sessions[i].length = 0
            store.sessions[i].used = 0


cdef void store_release(TlsStore* store) noexcept nogil:
    cdef bint last
    pthread_mutex_lock(&store.mutex)
    store.references -= 1
    last = store.references == 0
    pthread_mutex_unlock(&store.mutex)
    if last:
        forget_sessions(store)
        if store.current != NULL:
            set_free(store.current)
        pthread_mutex_destroy(&store.mutex)
        free(store.sessions)
        free(store)


cdef void store_follow(TlsStore* store, TlsSet* one) noexcept nogil:
    # From now on new connections are made by `one`. What the old rules let in is not resumed under the new ones.
    cdef TlsSet* old
    pthread_mutex_lock(&store.mutex)
    old = store.current
    one.references = 1
    store.current = one
    forget_sessions(store)
    if old != NULL:
        old.references -= 1
        if old.references:
            old = NULL
    pthread_mutex_unlock(&store.mutex)
    if old != NULL:
        set_free(old)


cdef TlsSet* set_hold(TlsStore* store) noexcept nogil:
    # For one connection, which is counted.
    cdef TlsSet* one
    pthread_mutex_lock(&store.mutex)
    one = store.current
    one.references += 1
    store.references += 1
    store.live += 1
    pthread_mutex_unlock(&store.mutex)
    return one


cdef void set_release(TlsSet* one) noexcept nogil:
    cdef TlsStore* store = one.store
    set_give_back(one)
    pthread_mutex_lock(&store.mutex)
    store.live -= 1
    pthread_mutex_unlock(&store.mutex)
    store_release(store)


cdef uint64_t tls_live(TlsStore* store) noexcept nogil:
    cdef uint64_t live
    pthread_mutex_lock(&store.mutex)
    live = store.live
    pthread_mutex_unlock(&store.mutex)
    return live


cdef bint ticket_keys(TlsSet* one, TicketKey* now, TicketKey* before) noexcept nogil:
    cdef uint64_t period = tls_wall() // one.lifetime
    cdef TicketKey* keys = one.keys
    cdef bint fine
    pthread_mutex_lock(&one.store.mutex)
    fine = (ticket_key(&libssl, one.secret, one.secret_length, period, &keys[period & 1]) and
            ticket_key(&libssl, one.secret, one.secret_length, period - 1, &keys[~period & 1]))
    now[0] = keys[period & 1]
    before[0] = keys[~period & 1]
    pthread_mutex_unlock(&one.store.mutex)
    return fine


# --- sessions of a client: the last of each server's name, the longest unused gives way --------------------------------

cdef Session* session_of(TlsStore* store, const uint8_t* name, uint32_t length) noexcept nogil:
    cdef int i
    for i in range(SESSIONS):
        if store.sessions[i].length == length and memcmp(store.sessions[i].name, name, length) == 0:
            return &store.sessions[i]
    return NULL


cdef void session_put(TlsSet* one, const uint8_t* name, uint32_t length, void* session) noexcept nogil:
    # Takes the reference.
    cdef TlsStore* store = one.store
    cdef Session* slot
    cdef void* old = session
    cdef int i
    pthread_mutex_lock(&store.mutex)
    if one == store.current:
        slot = session_of(store, name, length)
        if slot == NULL:
            slot = store.sessions
            for i in range(1, SESSIONS):
                if store.sessions[i].used < slot.used:
                    slot = &store.sessions[i]
        old = slot.session
        slot.session = session
        memcpy(slot.name, name, length)
        slot.length = length
        store.clock += 1
        slot.used = store.clock
    pthread_mutex_unlock(&store.mutex)
    if old != NULL:
        libssl.SSL_SESSION_free(old)


cdef void* session_get(TlsSet* one, const uint8_t* name, uint32_t length) noexcept nogil:
    # With a reference for the caller; NULL if there is none.
    cdef TlsStore* store = one.store
    cdef Session* slot
    cdef void* session = NULL
    pthread_mutex_lock(&store.mutex)
    if one == store.current:
        slot = session_of(store, name, length)
        if slot != NULL and slot.session != NULL and libssl.SSL_SESSION_is_resumable(slot.session):
            session = slot.session
            libssl.SSL_SESSION_up_ref(session)
            store.clock += 1
            slot.used = store.clock
    pthread_mutex_unlock(&store.mutex)
    return session


cdef void session_forget(TlsSet* one, const uint8_t* name, uint32_t length) noexcept nogil:
    cdef Session* slot
    cdef void* old = NULL
    pthread_mutex_lock(&one.store.mutex)
    slot = session_of(one.store, name, length)
    if slot != NULL:
        old = slot.session
        slot.session = NULL
        slot.length = 0
        slot.used = 0
    pthread_mutex_unlock(&one.store.mutex)
    if old != NULL:
        libssl.SSL_SESSION_free(old)
