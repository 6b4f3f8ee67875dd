# What an engine holds: where it sends from, whom it is, what it does, and the records of what is in flight.

cdef enum Work:
    WORK_CALL = 0
    WORK_REGISTER = 1
    WORK_OPTIONS = 2
    WORK_MESSAGE = 3

cdef enum Reading:
    INVITE_100, INVITE_180, INVITE_200, BYE_200, REGISTER_FINAL, OPTIONS_FINAL, MESSAGE_FINAL, LATENESS
    READINGS

cdef enum Cause:                 # of a failure that has no status; below MAX_STATUS they are statuses
    CAUSE_TIMEOUT = 700
    CAUSE_TRANSPORT
    CAUSE_UNEXPECTED
    CAUSE_CREDENTIALS
    CAUSE_CHALLENGED
    CAUSES

cdef enum:
    CHUNK_BITS = 10
    NAME_ROOM = 72               # host:port, IPv6 in brackets
    ENDING = 64                  # times T1: B, F, H, J, L
    RING_PATIENCE = 180000       # ms a call may ring before the caller gives up, as Timer C does

cdef struct Text:
    const uint8_t* at
    uint32_t length

cdef struct Place:               # an address that work leaves from, or a connection
    Flow flow                    # to the target
    uint8_t name[NAME_ROOM]      # as in Via and Contact
    uint32_t name_length

cdef struct Hashes:
    uint8_t able                 # DIGEST_MD5, DIGEST_SHA256
    Libcrypto crypto
    Hash md5
    Hash sha256

cdef struct Auth:                # what answers one challenger
    uint8_t algorithm
    uint8_t auth                 # qop=auth
    uint8_t inside               # asked for by other than a REGISTER
    uint32_t nc                  # last used
    uint32_t room                # bytes behind this struct
    uint16_t realm, nonce, opaque                # lengths of what lies there, in this order
    uint8_t ha1[64]

cdef struct Person:              # a caller
    Text aor
    Text name                    # of the credentials
    Text password
    Auth* auth[2]                # for 401 and for 407; NULL until challenged
    uint32_t cseq                # of REGISTER
    uint8_t registered
    uint8_t registering          # RFC 3261 10.2.4: one REGISTER at a time
    uint8_t has_password

cdef struct Job:                 # a scenario
    uint8_t kind
    uint8_t hold_kind
    uint8_t busy
    uint8_t fresh
    double upto                  # cumulative weight, the last one's is 1
    double hold                  # ms, mean
    double hold_least
    double reinvite
    double cancel
    double remove
    uint32_t cancel_after
    uint32_t expires
    Text contact
    Text body                    # Content-Type, Content-Length, empty line and body

cdef enum CallState:
    CALL_FREE = 0
    CALL_INVITING                # Calling or Proceeding; a CANCEL may be under way
    CALL_HELD
    CALL_REINVITING
    CALL_ENDING                  # BYE
    CALL_ASKING                  # REGISTER, OPTIONS, MESSAGE

cdef struct Call:                # one piece of work
    Timer timer                  # retransmission, hold, patience: by state
    uint32_t index
    uint32_t generation          # of the slot, in branch, tag and Call-ID: a late answer never meets a reused slot
    uint8_t state
    uint8_t job
    uint8_t sequence             # of the client transaction, in its branch
    uint8_t challenged           # times the current request was
    uint8_t proceeding           # a provisional response came
    uint8_t ringing
    uint8_t will_cancel
    uint8_t cancelling           # the CANCEL was sent: `next` is it
    uint8_t will_reinvite
    uint8_t removing
    uint8_t credited             # the current request carries credentials: 1 for 401, 2 for 407
    uint8_t strict               # the first route has no lr
    uint16_t failure             # status of the re-INVITE that failed
    uint32_t person
    uint32_t place
    uint32_t cseq
    uint32_t interval            # ms, of the retransmission timer
    uint32_t left                # ms of the hold time behind the re-INVITE
    uint64_t begun               # ns: first sending of the first request
    uint64_t sent                # ns: first sending of the current request and its challenged forerunners
    uint64_t deadline            # ms: B or F
    Call* free
    Buffer* request              # what is sent again
    Buffer* next                 # BYE while held; CANCEL
    Buffer* ack                  # of a 2xx, where it carries credentials and cannot be made from the 2xx alone
    Flow flow

cdef enum AnsweredState:
    ANSWERED_FREE = 0
    ANSWERED_RINGING
    ANSWERED_OK                  # 2xx sent again and again until the ACK
    ANSWERED_CONFIRMED
    ANSWERED_REFUSED             # 300-699 sent until the ACK
    ANSWERED_OVER                # only absorbs what comes again

cdef struct Answered:            # a dialog of the answering side, from its INVITE
    Timer timer
    uint32_t index
    uint32_t generation
    uint8_t state
    uint8_t is_dialog            # counted as one
    uint32_t invite_cseq
    uint32_t over_cseq           # of the BYE
    uint32_t interval
    uint64_t key                 # of the INVITE transaction, in the table
    uint64_t deadline            # ms
    Answered* chain              # in its bucket; in the free list
    Answered* later              # in the list of those that are over, by time
    Buffer* answer               # the final response
    Flow flow

cdef enum Lane:                  # in this order a batch leaves. Messages of one kind have one length, more or less, so that
                                 # runs of them can leave in one piece; those of one call stay in order.
    LANE_BEGIN                   # requests that begin something, and ACKs of refused ones
    LANE_RINGING                 # 180
    LANE_OTHER                   # what is answered without a record
    LANE_FINAL                   # final responses to INVITE
    LANE_DIALOG                  # ACK, BYE, re-INVITE, CANCEL
    LANES

cdef enum:
    LANE_ROOM = 256

cdef struct Outgoing:
    Buffer* buffer
    Flow flow

cdef struct Outbox:
    uint32_t count
    Outgoing entry[LANE_ROOM]

cdef struct Slab:
    uint8_t** chunks
    uint32_t count               # of chunks
    uint32_t size                # of a record

cdef struct Load:
    TransportState* transport
    Control* control
    WorkerBlock* block
    BufferPool pool
    Wheel* wheel
    uint64_t now                 # ns, monotonic: of this batch
    uint64_t now_ms
    uint64_t started             # ns
    uint64_t counters[64]
    uint64_t failures[CAUSES]
    Histogram* readings
    Random random                # what the seed decides
    Random secrets               # what it must not: cnonces
    Arrivals arrivals
    HashKey key
    uint8_t salt[8]              # of all names this engine makes, so that two engines' never meet
    # work
    uint32_t places
    Place* place
    uint32_t persons
    Person* person
    uint32_t callees
    Text* callee
    uint32_t jobs
    Job* job
    Text target                  # host:port
    Text agent
    uint32_t next_place
    uint32_t next_person
    uint32_t limit
    uint64_t count
    uint64_t until               # ns, 0 for none
    uint32_t t1, t2, t4
    uint8_t generates
    uint8_t answers
    uint8_t finish_asked         # by another thread
    uint8_t finishing
    uint8_t ended                # nothing new is begun any more
    uint8_t stays                # answers on when its own work is done
    uint8_t settled              # a caller's work leaves from one place
    uint64_t give_up             # ms: finishing does not wait longer for dialogs of others
    # answering
    uint32_t ring
    double refuse
    uint8_t silent
    Text answer_body
    # records
    Slab call_slab
    Call* free_calls
    Slab answered_slab
    Answered* free_answered
    Answered** buckets
    uint64_t mask
    uint64_t in_table
    Answered* over_first
    Answered* over_last
    Hashes hashes
    Outbox outbox[LANES]
    Outbox unsent                # what a stream refused
    uint64_t gather              # ns between turns while there is work
    uint64_t turned              # ns: when this turn began
    uint32_t widest_aor          # with `gather`, messages of a kind are made equally long
    uint32_t widest_callee
    Message message              # what came
    Message own                  # one of ours, read again
    uint8_t scratch[65536]


cdef inline void count(Load* l, int counter) noexcept nogil:
    store_word(&l.counters[counter], l.counters[counter] + 1)


cdef inline void count_down(Load* l, int counter) noexcept nogil:
    store_word(&l.counters[counter], l.counters[counter] - 1)


cdef inline void* slab_at(Slab* slab, uint32_t index) noexcept nogil:
    if index >> CHUNK_BITS >= slab.count:
        return NULL
    return slab.chunks[index >> CHUNK_BITS] + <size_t>(index & ((1 << CHUNK_BITS) - 1)) * slab.size


cdef uint8_t* slab_grow(Slab* slab) noexcept nogil:
    # A chunk more, zeroed; NULL when memory is out.
    cdef uint8_t** chunks
    cdef uint8_t* chunk
    if slab.count & (slab.count - 1) == 0:
        chunks = <uint8_t**>realloc(slab.chunks, (2 * slab.count + 1) * sizeof(void*))
        if chunks == NULL:
            return NULL
        slab.chunks = chunks
    chunk = <uint8_t*>calloc(1 << CHUNK_BITS, slab.size)
    if chunk != NULL:
        slab.chunks[slab.count] = chunk
        slab.count += 1
    return chunk


cdef void slab_free(Slab* slab) noexcept nogil:
    cdef uint32_t i
    for i in range(slab.count):
        free(slab.chunks[i])
    free(slab.chunks)
    slab.count = 0
    slab.chunks = NULL


cdef Call* call_new(Load* l) noexcept nogil:
    cdef Call* c = l.free_calls
    cdef uint8_t* chunk
    cdef uint32_t i, generation, first
    if c == NULL:
        first = l.call_slab.count << CHUNK_BITS
        chunk = slab_grow(&l.call_slab)
        if chunk == NULL:
            return NULL
        for i in range((1 << CHUNK_BITS) - 1, -1, -1):
            c = <Call*>(chunk + <size_t>i * sizeof(Call))
            c.index = first + i
            c.free = l.free_calls
            l.free_calls = c
    c = l.free_calls
    l.free_calls = c.free
    i, generation = c.index, c.generation
    memset(c, 0, sizeof(Call))
    c.index, c.generation = i, generation + 1
    timer_init(&c.timer, TIMER_CALL)
    count(l, LOAD_in_flight)
    return c


cdef void call_free(Load* l, Call* c) noexcept nogil:
    timer_cancel(l.wheel, &c.timer)
    drop(l, &c.request)
    drop(l, &c.next)
    drop(l, &c.ack)
    c.state = CALL_FREE
    c.free = l.free_calls
    l.free_calls = c
    count_down(l, LOAD_in_flight)


cdef inline void drop(Load* l, Buffer** buffer) noexcept nogil:
    if buffer[0] != NULL:
        buffer_release(&l.pool, buffer[0])
        buffer[0] = NULL


cdef inline Call* call_at(Load* l, uint32_t index, uint32_t generation) noexcept nogil:
    cdef Call* c = <Call*>slab_at(&l.call_slab, index)
    return c if c != NULL and c.generation == generation and c.state != CALL_FREE else NULL


cdef Answered* answered_new(Load* l) noexcept nogil:
    cdef Answered* a = l.free_answered
    cdef uint8_t* chunk
    cdef uint32_t i, generation, first
    if a == NULL:
        first = l.answered_slab.count << CHUNK_BITS
        chunk = slab_grow(&l.answered_slab)
        if chunk == NULL:
            return NULL
        for i in range((1 << CHUNK_BITS) - 1, -1, -1):
            a = <Answered*>(chunk + <size_t>i * sizeof(Answered))
            a.index = first + i
            a.chain = l.free_answered
            l.free_answered = a
    a = l.free_answered
    l.free_answered = a.chain
    i, generation = a.index, a.generation
    memset(a, 0, sizeof(Answered))
    a.index, a.generation = i, generation + 1
    timer_init(&a.timer, TIMER_ANSWERED)
    return a


cdef inline Answered* answered_at(Load* l, uint32_t index, uint32_t generation) noexcept nogil:
    cdef Answered* a = <Answered*>slab_at(&l.answered_slab, index)
    return a if a != NULL and a.generation == generation and a.state != ANSWERED_FREE else NULL


# --- the table of INVITE server transactions -------------------------------------------------------------------------

cdef Answered* table_find(Load* l, uint64_t key) noexcept nogil:
    cdef Answered* a = l.buckets[key & l.mask]
    while a != NULL and a.key != key:
        a = a.chain
    return a


cdef void table_add(Load* l, Answered* a) noexcept nogil:
    cdef Answered** bucket
    if l.in_table > l.mask:
        table_double(l)
    bucket = &l.buckets[a.key & l.mask]
    a.chain = bucket[0]
    bucket[0] = a
    l.in_table += 1


cdef void table_double(Load* l) noexcept nogil:
    # Out of memory: chains get longer, nothing else.
    cdef uint64_t size = 2 * (l.mask + 1), i
    cdef Answered** buckets = <Answered**>calloc(size, sizeof(Answered*))
    cdef Answered* a
    cdef Answered* following
    if buckets == NULL:
        return
    for i in range(l.mask + 1):
        a = l.buckets[i]
        while a != NULL:
            following = a.chain
            a.chain = buckets[a.key & (size - 1)]
            buckets[a.key & (size - 1)] = a
            a = following
    free(l.buckets)
    l.buckets = buckets
    l.mask = size - 1


cdef void table_remove(Load* l, Answered* a) noexcept nogil:
    cdef Answered** at = &l.buckets[a.key & l.mask]
    while at[0] != a:
        at = &at[0].chain
    at[0] = a.chain
    l.in_table -= 1


cdef void free_records(Load* l) noexcept nogil:
    # With all they hold.
    cdef uint32_t i
    cdef Call* c
    cdef Answered* a
    for i in range(l.call_slab.count << CHUNK_BITS):
        c = <Call*>slab_at(&l.call_slab, i)
        drop(l, &c.request)
        drop(l, &c.next)
        drop(l, &c.ack)
    for i in range(l.answered_slab.count << CHUNK_BITS):
        a = <Answered*>slab_at(&l.answered_slab, i)
        drop(l, &a.answer)
    for i in range(l.unsent.count):
        buffer_release(&l.pool, l.unsent.entry[i].buffer)
    slab_free(&l.call_slab)
    slab_free(&l.answered_slab)
    for i in range(l.persons):
        free(l.person[i].auth[0])
        free(l.person[i].auth[1])


cdef bint post(Load* l, int lane, const Flow* flow, Buffer* buffer) noexcept nogil:
    # Leaves with the next flush; holds the buffer until then. False if it can never leave.
    cdef Outbox* box = &l.outbox[lane]
    if not address_is_sendable(&flow.remote) or flow.local.family != flow.remote.family:
        return False
    if box.count == LANE_ROOM:
        flush(l)
    box.entry[box.count].buffer = buffer_hold(buffer)
    box.entry[box.count].flow = flow[0]
    box.count += 1
    return True


cdef void flush(Load* l) noexcept nogil:
    cdef int lane
    cdef uint32_t i
    cdef Outbox* box
    for lane in range(LANES):
        box = &l.outbox[lane]
        for i in range(box.count):
            if transport_send(l.transport, &box.entry[i].flow, box.entry[i].buffer) < 0 and box.entry[i].flow.reliable:
                keep_unsent(l, &box.entry[i])
            buffer_release(&l.pool, box.entry[i].buffer)
        box.count = 0
    transport_flush(l.transport)


cdef void keep_unsent(Load* l, const Outgoing* entry) noexcept nogil:
    # Its call fails, though not here, where somebody may be in the midst of it. What finds no room has its timer.
    if l.unsent.count < LANE_ROOM:
        l.unsent.entry[l.unsent.count] = entry[0]
        buffer_hold(entry.buffer)
        l.unsent.count += 1
