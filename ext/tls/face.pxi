# The Python face. A server needs TlsContexts; the rest is for tests, benchmarks and tools.
DONE, WANT_READ, WANT_WRITE, FAILED = TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_FAILED


def library() -> str:
    open_libssl()
    return libssl.OpenSSL_version(0).decode(errors="replace")


cdef list names_of(const Names* names):
    cdef const uint8_t* name
    cdef uint32_t i, length
    found = []
    for i in range(names.count):
        length = names_get(names, i, &name)
        found.append((<const char*>name)[:length].decode())
    return found


cdef class TlsContexts:
    def __cinit__(self, setup):
        open_libssl()
        self.store = store_new()
        if self.store == NULL:
            raise MemoryError
        self.reload(setup)

    def __dealloc__(self):
        if self.store != NULL:
            store_release(self.store)

    def reload(self, setup):
        store_follow(self.store, build_set(self.store, setup))

    @property
    def live(self):
        return tls_live(self.store)

    @property
    def certificates(self):
        cdef TlsSet* one = set_borrow(self.store)
        cdef const void* certificate
        cdef uint32_t i
        found = []
        try:
            for i in range(one.count):
                certificate = libssl.SSL_CTX_get0_certificate(one.servers[i])
                found.append((names_of(&one.hosts[i]), certificate_begin(&libssl, certificate),
                              certificate_end(&libssl, certificate)))
            return found
        finally:
            set_give_back(one)

    def accept(self, int fd):
        return made(self, tls_accept(self.store, fd), fd)

    def connect(self, int fd, str server_name=None):
        cdef bytes name = (server_name or "").encode()
        return made(self, tls_connect(self.store, fd, <const uint8_t*><const char*>name, <uint32_t>len(name)), fd)


cdef Connection made(TlsContexts contexts, Tls* tls, int fd):
    cdef Connection connection
    if tls == NULL:
        raise OSError(errno, "no TLS for this descriptor")
    connection = Connection.__new__(Connection)
    connection.tls = tls
    connection.fd = fd
    return connection


cdef class Connection:
    cdef Tls* tls
    cdef int fd

    def __dealloc__(self):
        tls_free(self.tls)

    cdef int check(self) except -1:
        if self.tls == NULL:
            raise ValueError("it was freed")
        return 0

    def fileno(self):
        return self.fd

    def free(self):
        tls_free(self.tls)
        self.tls = NULL

    def give(self):
        """The address of the Tls, which is the taker's from now on."""
        cdef size_t address = <size_t>self.tls
        self.check()
        self.tls = NULL
        return address

    def handshake(self):
        cdef int outcome
        self.check()
        with nogil:
            outcome = tls_handshake(self.tls)
        return outcome

    def read(self, size_t size):
        cdef bytearray out = bytearray(size)
        cdef char* at = out
        cdef ssize_t n
        self.check()
        with nogil:
            n = tls_read(self.tls, at, size)
        return <int>n if n < 0 else bytes(out[:n])

    def write(self, const uint8_t[::1] data not None):
        cdef ssize_t n
        cdef const uint8_t* at = &data[0] if data.shape[0] else NULL
        self.check()
        with nogil:
            n = tls_write(self.tls, at, <size_t>data.shape[0])
        return n

    def pending(self):
        self.check()
        return tls_pending(self.tls)

    def moved(self, int fd):
        self.check()
        tls_moved(self.tls, fd)
        self.fd = fd

    def shutdown(self):
        self.check()
        tls_shutdown(self.tls)

    def peer_is(self, str domain not None):
        cdef bytes text = domain.encode()
        self.check()
        return bool(tls_peer_is(self.tls, <const uint8_t*><const char*>text, <uint32_t>len(text)))

    @property
    def peer_names(self):
        self.check()
        return names_of(&self.tls.names)

    @property
    def peer_verified(self):
        self.check()
        return bool(tls_peer_verified(self.tls))

    @property
    def resumed(self):
        self.check()
        return bool(tls_resumed(self.tls))

    @property
    def reason(self):
        self.check()
        return tls_reason(self.tls).decode(errors="replace")

    @property
    def version(self):
        self.check()
        return libssl.SSL_get_version(self.tls.ssl).decode()

    @property
    def cipher(self):
        cdef const void* cipher
        self.check()
        cipher = libssl.SSL_get_current_cipher(self.tls.ssl)
        return libssl.SSL_CIPHER_get_name(cipher).decode() if cipher != NULL else ""

    @property
    def system_calls(self):
        self.check()
        return self.tls.wire.reads, self.tls.wire.writes

    def time_echo(self, Connection other not None, uint32_t size, int rounds, bint plain=False):
        # Write here, read there, and back: nanoseconds of each half.
        cdef bytearray data = bytearray(b"x" * size)
        cdef char* at = data
        cdef uint64_t start
        cdef int i
        cdef Tls* a = self.tls
        cdef Tls* b = other.tls
        self.check()
        other.check()
        with nogil:
            start = tls_clock_ns()
            for i in range(rounds):
                if plain:
                    send(a.wire.fd, at, size, MSG_NOSIGNAL)
                    recv(b.wire.fd, at, size, 0)
                else:
                    tls_write(a, at, size)
                    tls_read(b, at, size)
                a, b = b, a
            start = tls_clock_ns() - start
        return start / <double>rounds


# --- the door ----------------------------------------------------------------------------------------------------------

ACCEPTED, CONNECTED, NOT_CONNECTED = DOOR_ACCEPTED, DOOR_CONNECTED, DOOR_FAILED


cdef Address address_of(object pair) except *:
    cdef Address address
    cdef bytes host = pair[0].encode()
    if not address_parse(&address, host, <uint32_t>len(host), pair[1]):
        raise ValueError(f"not a numeric address: {pair[0]!r}")
    return address


cdef object pair_of(const Address* address):
    cdef char text[ADDRESS_TEXT]
    if address.family == 0:
        return None
    return text[:address_host(address, text, False)].decode(), address.port


cdef class Door:
    cdef DoorState* state
    cdef readonly TlsContexts contexts
    cdef bint running

    def __cinit__(self, TlsContexts contexts not None, *, uint32_t accept_ms=0, uint32_t connect_ms=0,
                  uint32_t unfinished=0, uint32_t per_source=0, bint web=False):
        cdef DoorSetup setup
        setup.transport = TRANSPORT_WSS if web else TRANSPORT_TLS
        self.contexts = contexts
        setup.store = contexts.store
        setup.accept_ms = accept_ms
        setup.connect_ms = connect_ms
        setup.unfinished = unfinished
        setup.per_source = per_source
        self.state = door_new(&setup)
        if self.state == NULL:
            raise OSError(errno, "door_new")

    def __dealloc__(self):
        door_free(self.state)

    def run(self):
        if self.running:
            raise RuntimeError("a thread is in it already")
        self.running = True
        with nogil:
            door_run(self.state)
        self.running = False

    def stop(self):
        door_stop(self.state)

    def listen(self, int fd, uint16_t index=0):
        if door_listen(self.state, fd, index) < 0:
            raise OSError(errno, "door_listen")

    def forget(self, int fd):
        door_forget(self.state, fd)

    def connect(self, remote, str name="", uint64_t tag=0, local=None):
        cdef bytes text = name.encode()
        cdef Address there = address_of(remote), here
        if local is not None:
            here = address_of(local)
        if door_connect(self.state, &there, &here if local is not None else NULL, <const uint8_t*><const char*>text,
                        <uint32_t>len(text), tag) < 0:
            raise OSError(errno, "door_connect")

    def fileno(self):
        return door_fd(self.state)

    def take(self):
        cdef DoorNews news
        found = []
        while door_take(self.state, &news):
            found.append({
                "kind": news.kind, "listener": news.listener, "tag": news.tag, "remote": pair_of(&news.remote),
                "local": pair_of(&news.local), "reason": news.reason.decode(errors="replace"), "fd": news.fd,
                "connection": made(self.contexts, news.tls, news.fd) if news.tls != NULL else None})
        return found

    def remarks(self):
        cdef Remark r
        cdef char host[ADDRESS_TEXT]
        found = []
        while remarks_take(door_remarks(self.state), &r):
            where = "to" if r.way == REMARK_TO else "at" if r.way == REMARK_AT else "from"
            text = f"{'wss' if r.transport == TRANSPORT_WSS else 'tls'} {where} "
            text += f"{host[:address_host(&r.remote, host, True)].decode()}:{r.remote.port}: "
            text += (<bytes>r.text).decode("utf-8", "replace")
            found.append(text + (f" ({r.unsaid} more before)" if r.unsaid else ""))
        return found

    def counters(self):
        cdef DoorCounters* c = door_counters(self.state)
        return {"accepted": c.accepted, "done": c.done, "failed": c.failed, "timed_out": c.timed_out,
                "refused_source": c.refused_source, "refused_total": c.refused_total, "ordered": c.ordered,
                "connected": c.connected, "connect_failed": c.connect_failed, "connect_timed_out": c.connect_timed_out,
                "starved": c.starved, "unfinished": c.unfinished}
