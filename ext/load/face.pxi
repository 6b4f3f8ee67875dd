# The Python face; fastsip/_load.pyi says what it promises.

COUNTERS = tuple([LOAD_COUNTER_NAMES[i].decode() for i in range(LOAD_COUNTERS_END)])
HISTOGRAMS = ("invite_100", "invite_180", "invite_200", "bye_200", "register", "options", "message", "lateness")
LOWEST, HIGHEST, DIGITS = HISTOGRAM_LOWEST, HISTOGRAM_HIGHEST, HISTOGRAM_DIGITS

cdef dict CAUSE_NAMES = {
    CAUSE_TIMEOUT: "timeout", CAUSE_TRANSPORT: "transport", CAUSE_UNEXPECTED: "unexpected",
    CAUSE_CREDENTIALS: "credentials", CAUSE_CHALLENGED: "challenged"}


cdef class Recorded:
    cdef readonly bytes counts
    cdef readonly object total, minimum, maximum


cdef class Snapshot:
    cdef readonly dict counters, failures, histograms


cdef class Engine:
    cdef Load* l
    cdef void* slots
    cdef uint8_t* arena
    cdef TlsContexts contexts
    cdef DoorState* door
    cdef bytes peer
    cdef int wake
    cdef bint running
    cdef bint stopped
    cdef uint64_t cpu_started
    cdef uint64_t cpu_next

    def __cinit__(self, setup):
        cdef TransportSetup transport
        cdef Address advertise
        cdef bytes random, host
        cdef int number
        cdef list texts = [], numbers = []
        self.wake = -1
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.l = <Load*>table_of(1, sizeof(Load))
        if posix_memalign(<void**>&self.l.control, 64, sizeof(Control)):
            raise MemoryError
        memset(self.l.control, 0, sizeof(Control))
        self.l.block = &self.l.control.worker[0]
        self.slots = table_of(RECEIVE_BATCH, RECEIVE_SLOT)
        pool_init(&self.l.pool)
        memset(&transport, 0, sizeof(transport))
        transport.workers = 1
        transport.control = self.l.control
        transport.pool = &self.l.pool
        transport.slots = self.slots
        transport.wake = self.wake
        if setup.tls is not None:
            self.open_door(setup, &transport)
        self.l.transport = transport_new(&transport)
        if self.l.transport == NULL or transport_watch(self.l.transport, self.wake) < 0:
            raise OSError(errno, "cannot set up the transport")
        if not setup.sources:
            raise ValueError("sources: at least one socket")
        for index, source in enumerate(setup.sources):
            if source.advertise is not None:
                host = source.advertise[0].encode()
                if not address_parse(&advertise, host, <uint32_t>len(host), source.advertise[1]):
                    raise ValueError(f"advertise: {source.advertise[0]!r} is not a numeric address")
            number = transport_listen(
                self.l.transport, source.fd, TRANSPORTS[source.transport], min(index, 255),
                &advertise if source.advertise is not None else NULL, False)
            if number < 0:
                raise OSError(errno, f"cannot use the socket of {host_port(source.host, source.port)}")
            numbers.append(number)
        self.read(setup, texts, numbers)
        if self.l.gather and transport_pack(self.l.transport) < 0:
            raise MemoryError
        self.arena = settle_texts(texts)
        if any([caller.password is not None for caller in setup.callers]):
            if not open_libcrypto(&self.l.hashes.crypto):
                raise RuntimeError("no libcrypto (OpenSSL 1.1.1 or 3) found, so no Digest")
            open_hashes(&self.l.hashes)
        random = os.urandom(12).hex().encode()
        memcpy(&self.l.key, <const uint8_t*>random, 16)
        memcpy(self.l.salt, <const uint8_t*>random + 16, 8)
        random_seed(&self.l.random, setup.seed)
        random_seed(&self.l.secrets, int.from_bytes(os.urandom(8)))
        self.l.now = load_clock_ns(CLOCK_MONOTONIC)
        self.l.now_ms = self.l.now // 1000000
        self.l.wheel = wheel_new(self.l.now_ms)
        self.l.readings = <Histogram*>table_of(READINGS, sizeof(Histogram))
        self.l.call_slab.size = sizeof(Call)
        self.l.answered_slab.size = sizeof(Answered)
        self.l.mask = 1023
        self.l.buckets = <Answered**>table_of(1024, sizeof(Answered*))
        if self.l.wheel == NULL:
            raise MemoryError

    cdef int open_door(self, setup, TransportSetup* transport) except -1:
        # A load comes from few addresses, which may shake as many hands at once as they like.
        cdef DoorSetup door
        self.contexts = TlsContexts(setup.tls)
        memset(&door, 0, sizeof(door))
        door.store = self.contexts.store
        door.connect_ms = DOOR_PATIENCE
        door.unfinished = door.per_source = DOOR_ROOM
        self.door = transport.door = door_new(&door)
        if self.door == NULL:
            raise OSError(errno, "cannot set up the door for TLS")
        if setup.peer:
            self.peer = setup.peer.encode()
            transport.peer, transport.peer_length = self.peer, <uint32_t>len(self.peer)
        return 0

    cdef int read(self, setup, list texts, list numbers) except -1:
        cdef Load* l = self.l
        read_places(l, setup, numbers)
        read_work(l, setup, texts)
        l.generates = l.jobs > 0
        if l.generates and (setup.target is None or not setup.callers):
            raise ValueError("to generate, an engine needs a target and callers")
        l.answers = setup.answer is not None
        l.stays = setup.stay
        keep_text(texts, &l.answer_body,
                  body_text("application/sdp", sdp(setup.sources[0].host, setup.answer.body)) if l.answers else b"")
        if l.answers:
            l.ring, l.refuse, l.silent = setup.answer.ring, setup.answer.busy, setup.answer.silent
        l.arrivals.poisson = setup.poisson
        l.arrivals.due = INFINITY
        l.limit, l.count = setup.in_flight, setup.count
        l.until = <uint64_t>(setup.duration * 1e9)
        l.t1, l.t2, l.t4 = setup.t1, setup.t2, setup.t4
        return 0

    def run(self):
        cdef Load* l = self.l
        if l == NULL or l.started:
            raise RuntimeError("an engine runs once")
        l.started = l.now = load_clock_ns(CLOCK_MONOTONIC)
        l.now_ms = l.now // 1000000
        if l.until:
            l.until += l.started
        self.cpu_started = load_clock_ns(CLOCK_THREAD_CPUTIME_ID)
        arrivals_start(&l.arrivals, &l.random)
        self.running = True
        shaking = None
        if self.door != NULL:
            shaking = threading.Thread(target=self.shake_hands, name="door", daemon=True)
            shaking.start()
        with nogil:
            while not self.stopped and turn(l):
                if l.now >= self.cpu_next:
                    self.cpu_next = l.now + CPU_EVERY
                    self.note_cpu()
            self.note_cpu()
        if shaking is not None:
            door_stop(self.door)
            shaking.join()
        self.running = False

    def shake_hands(self):
        # TLS connections are accepted and opened in a thread of their own, which `run` begins and ends.
        if self.door != NULL:
            with nogil:
                door_run(self.door)

    cdef void note_cpu(self) noexcept nogil:
        store_word(&self.l.counters[<int>LOAD_cpu_us],
                   (load_clock_ns(CLOCK_THREAD_CPUTIME_ID) - self.cpu_started) // 1000)

    def set_rate(self, double rate, double slope=0.0):
        if not rate >= 0:
            raise ValueError(f"a rate of {rate} per second")
        self.check_open()
        arrivals_want(&self.l.arrivals, rate, slope)
        self.nudge()

    def finish(self):
        self.check_open()
        self.l.finish_asked = True
        self.nudge()

    def stop(self):
        self.stopped = True
        self.nudge()

    cdef int nudge(self) except -1:
        cdef uint64_t one = 1
        write_fd(self.wake, &one, 8)
        return 0

    def idle(self):
        self.check_open()
        return bool(self.l.ended and not load_word(&self.l.counters[<int>LOAD_in_flight]))

    def snapshot(self, bint histograms=True):
        cdef Snapshot shot = Snapshot.__new__(Snapshot)
        cdef uint64_t times
        cdef int i
        self.check_open()
        shot.counters = {name: load_word(&self.l.counters[i]) for i, name in enumerate(COUNTERS)}
        shot.failures = {}
        for i in range(<int>CAUSES):
            times = load_word(&self.l.failures[i])
            if times:
                shot.failures[CAUSE_NAMES.get(i) or str(i)] = times
        shot.histograms = {}
        if histograms:
            for i, name in enumerate(HISTOGRAMS):
                shot.histograms[name] = self.recorded(&self.l.readings[i])
        return shot

    cdef Recorded recorded(self, const Histogram* h):
        cdef Recorded made = Recorded.__new__(Recorded)
        made.total = load_word(&h.total)
        made.counts = (<const char*>h.counts)[:8 * load_word(&h.used)]
        made.minimum, made.maximum = load_word(&h.minimum), load_word(&h.maximum)
        return made

    cdef int check_open(self) except -1:
        if self.l == NULL:
            raise RuntimeError("the engine is closed")
        return 0

    def close(self):
        if self.running:
            raise RuntimeError("the engine runs")
        left = {"calls": 0, "dialogs": 0, "timers": 0, "buffers": 0}
        if self.l != NULL and self.l.readings != NULL:
            left["calls"] = self.l.counters[<int>LOAD_in_flight]
            left["dialogs"] = self.l.counters[<int>LOAD_dialogs]
            left["timers"] = wheel_armed(self.l.wheel)
            left["buffers"] = pool_live(&self.l.pool)
        self.free_all()
        return left

    cdef void free_all(self):
        cdef Load* l = self.l
        if l == NULL:
            return
        self.l = NULL
        free_records(l)
        hash_close(&l.hashes.md5)
        hash_close(&l.hashes.sha256)
        transport_free(l.transport)
        if self.door != NULL:
            door_free(self.door)
            self.door = NULL
        self.contexts = None
        pool_trim(&l.pool)
        wheel_free(l.wheel)
        for memory in (<size_t>l.control, <size_t>l.place, <size_t>l.person, <size_t>l.callee, <size_t>l.job,
                       <size_t>l.arrivals.plan, <size_t>l.readings, <size_t>l.buckets, <size_t>self.slots,
                       <size_t>self.arena, <size_t>l):
            free(<void*><size_t>memory)
        self.slots = self.arena = NULL

    def __dealloc__(self):
        self.free_all()
        if self.wake >= 0:
            close_fd(self.wake)
