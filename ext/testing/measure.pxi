# What a transaction costs: a layer that sends nowhere, one request and one response whose branch is rewritten in place,
# compiled loops around each call. Clocks are read around a whole loop.

cdef enum:
    STEPS = 9

STEP_NAMES = (
    "request: no match", "server: create", "request: matched, answered again", "server: final response",
    "server: Timer J, end", "client: create, branch", "client: start", "client: final response", "client: Timer K, end",
)


cdef int no_send(void* self, const Flow* flow, Buffer* buffer) noexcept nogil:
    return 0


cdef void no_response(void* self, Transaction* t, const Message* response) noexcept nogil:
    pass


cdef void no_event(void* self, Transaction* t) noexcept nogil:
    pass


cdef void no_timer(void* self, Timer* timer) noexcept nogil:
    pass


cdef inline uint32_t shuffled(uint32_t i, uint32_t count) noexcept nogil:
    # Each number below `count` once, in no order a cache likes.
    return <uint32_t>(<uint64_t>i * 1000003 % count)


cdef inline void number_branch(uint8_t* branch, uint32_t number) noexcept nogil:
    cdef int i
    for i in range(8):
        branch[i] = c"a" + (number >> 4 * i & 15)


cdef inline double lap(uint64_t* last, uint32_t count) noexcept nogil:
    cdef uint64_t now = nanoseconds()
    cdef double each = <double>(now - last[0]) / count
    last[0] = now
    return each


def measure_transactions(bytes request, bytes answer, uint32_t count):
    cdef TransactionSetup setup
    cdef BufferPool pool
    cdef Transactions* layer
    cdef Message m, r
    cdef Flow flow
    cdef Buffer* asked
    cdef Buffer* answered
    cdef Transaction* found
    cdef Transaction** all = <Transaction**>calloc(count, sizeof(Transaction*))
    cdef uint8_t* branches = <uint8_t*>calloc(count, BRANCH_LENGTH)
    cdef uint8_t* branch
    cdef uint64_t last
    cdef uint32_t i, bad = 0
    cdef double[STEPS] costs
    memset(&setup, 0, sizeof(setup))
    memset(&flow, 0, sizeof(flow))
    pool_init(&pool)
    setup.limit, setup.t1, setup.t2, setup.t4, setup.pool = 2 * count, 500, 4000, 5000, &pool
    setup.tu.send, setup.tu.on_response, setup.tu.on_timeout = no_send, no_response, no_event
    setup.tu.on_failure, setup.tu.on_terminated, setup.tu.on_timer = no_event, no_event, no_timer
    layer = transactions_new(&setup)
    asked = buffer_copy(&pool, <char*>request, <uint32_t>len(request))
    answered = buffer_copy(&pool, <char*>answer, <uint32_t>len(answer))
    if parse_message(&m, asked.data, asked.length, DATAGRAM) <= 0 or \
            parse_message(&r, answered.data, answered.length, DATAGRAM) <= 0:
        raise ValueError("not messages")
    if slice_length(r.via.branch) != BRANCH_LENGTH or slice_length(m.via.branch) < 16:
        raise ValueError("branches too short")
    with nogil:
        branch = asked.data + m.via.branch.start + 7
        last = nanoseconds()
        for i in range(count):
            number_branch(branch, i)
            bad += match_request(layer, &m, &flow, &found) != MATCH_NONE
        costs[0] = lap(&last, count)
        for i in range(count):
            number_branch(branch, i)
            all[i] = server_transaction(layer, &m, &flow, asked)
            bad += all[i] == NULL
        costs[1] = lap(&last, count)
        for i in range(count):
            bad += server_respond(layer, all[shuffled(i, count)], answered, 100) != 1
        last = nanoseconds()
        for i in range(count):
            number_branch(branch, shuffled(i, count))
            bad += match_request(layer, &m, &flow, &found) != MATCH_ABSORBED
        costs[2] = lap(&last, count)
        for i in range(count):
            bad += server_respond(layer, all[shuffled(i, count)], answered, 200) != 1
        costs[3] = lap(&last, count)
        layer.now += 32000
        bad += run_timers(layer, 1 << 30) != <int>count
        costs[4] = lap(&last, count)
        for i in range(count):
            all[i] = client_transaction(layer, m.method)
            write_branch(layer, all[i], i, branches + i * BRANCH_LENGTH)
        costs[5] = lap(&last, count)
        for i in range(count):
            bad += client_start(layer, all[i], asked, &flow) != 1
        costs[6] = lap(&last, count)
        for i in range(count):
            memcpy(answered.data + r.via.branch.start, branches + shuffled(i, count) * BRANCH_LENGTH, BRANCH_LENGTH)
            bad += receive_response(layer, &r) != 1
        costs[7] = lap(&last, count)
        layer.now += 5000
        bad += run_timers(layer, 1 << 30) != <int>count
        costs[8] = lap(&last, count)
    buffer_release(&pool, asked)
    buffer_release(&pool, answered)
    bad += transactions_free(layer) != 0
    bad += pool_live(&pool) != 0
    pool_trim(&pool)
    free(all)
    free(branches)
    if bad:
        raise AssertionError(f"{bad} steps went another way")
    return dict(zip(STEP_NAMES, costs, strict=True))
