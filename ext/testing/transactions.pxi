# A layer with a transaction user that writes down what it is told, a clock that stands still, and no network. Each
# event is a word or two ("send INVITE", "response 180", "timeout"); `on_event` may act on it while it happens.
from fastsip._address cimport Flow, address_parse
from fastsip._hash cimport HashKey
from fastsip._memory cimport Buffer, BufferPool, buffer_copy, buffer_release, pool_init, pool_live, pool_trim
from fastsip._message cimport DATAGRAM, Message, Slice, method_id, parse_message, slice_length
from fastsip._transaction cimport (
    BRANCH_LENGTH, MATCH_ABSORBED, MATCH_ACK_ACCEPTED, MATCH_NONE, TIMER_USER, Transaction, Transactions,
    TransactionSetup, client_cancel, client_discard, client_start, client_transaction, find_cancelled, match_request,
    read_branch, receive_response, run_timers, server_respond, server_transaction, transaction_at, transaction_end,
    transactions_free, transactions_new, write_branch,
)

SIZEOF_TRANSACTION = sizeof(Transaction)
MATCHES = {MATCH_NONE: "none", MATCH_ABSORBED: "absorbed", MATCH_ACK_ACCEPTED: "ACK for the TU"}


cdef class ManualTransaction:
    cdef readonly ManualLayer layer
    cdef readonly uint32_t slot
    cdef readonly uint32_t generation

    cdef Transaction* at(self):
        return transaction_at(self.layer.layer, self.slot, self.generation) if self.layer.layer != NULL else NULL

    cdef Transaction* live(self) except NULL:
        cdef Transaction* t = self.at()
        if t == NULL:
            raise LookupError("the transaction is gone")
        return t

    def __eq__(self, other):
        return isinstance(other, ManualTransaction) and \
            (self.slot, self.generation) == ((<ManualTransaction>other).slot, (<ManualTransaction>other).generation)

    def __hash__(self):
        return hash((self.slot, self.generation))

    @property
    def state(self):
        return STATE_NAMES[self.at().state].decode() if self.at() != NULL else None

    @property
    def status(self):
        return self.live().status

    @property
    def request(self):
        return text_of(self.live().request)

    @property
    def response(self):
        return text_of(self.live().response)

    @property
    def cancel(self):
        return handle(self.layer, self.live().cancel)


cdef text_of(Buffer* buffer):
    return None if buffer == NULL else (<char*>buffer.data)[:buffer.length]


cdef ManualTransaction handle(ManualLayer layer, const Transaction* t):
    cdef ManualTransaction found
    if t == NULL:
        return None
    found = ManualTransaction.__new__(ManualTransaction)
    found.layer = layer
    found.slot = t.index
    found.generation = t.generation
    return found


cdef class ManualLayer:
    cdef Transactions* layer
    cdef BufferPool pool
    cdef Timer user_timer
    cdef public bint fail_sends
    cdef public object on_event
    cdef list events
    cdef readonly list sent
    cdef object error

    def __cinit__(self, *, uint32_t limit=1000, uint32_t owner=3, uint32_t incarnation=1, uint32_t t1=500,
                  uint32_t t2=4000, uint32_t t4=5000, uint64_t now=1_000_000):
        cdef TransactionSetup setup
        memset(&setup, 0, sizeof(setup))
        pool_init(&self.pool)
        timer_init(&self.user_timer, TIMER_USER)
        self.events, self.sent, self.on_event, self.error = [], [], None, None
        setup.owner, setup.incarnation, setup.limit = owner, incarnation, limit
        setup.t1, setup.t2, setup.t4, setup.now = t1, t2, t4, now
        setup.branch_key.k0, setup.branch_key.k1 = 1, 2
        setup.table_key.k0, setup.table_key.k1 = 3, 4
        setup.pool = &self.pool
        setup.tu.self = <void*>self
        setup.tu.send = heard_send
        setup.tu.on_response = heard_response
        setup.tu.on_timeout = heard_timeout
        setup.tu.on_failure = heard_failure
        setup.tu.on_terminated = heard_terminated
        setup.tu.on_timer = heard_timer
        self.layer = transactions_new(&setup)
        if self.layer == NULL:
            raise MemoryError

    def __dealloc__(self):
        self.close()

    def close(self):
        cdef uint64_t live = 0
        if self.layer != NULL:
            live = transactions_free(self.layer)
            self.layer = NULL
            pool_trim(&self.pool)
        return live

    # What happened.

    cdef heard(self, str event, const Transaction* t):
        if self.error is not None:
            return
        self.events.append(event)
        if self.on_event is not None:
            try:
                self.on_event(event, handle(self, t))
            except BaseException as error:
                self.error = error

    def take(self):
        if self.error is not None:
            raise self.error
        events, self.events = self.events, []
        return events

    # The network.

    cdef Flow flow(self, bint reliable):
        cdef Flow flow
        memset(&flow, 0, sizeof(flow))
        address_parse(&flow.remote, b"192.0.2.1", 9, 5060)
        flow.transport = 2 if reliable else 1
        flow.reliable = reliable
        return flow

    def match(self, bytes data):
        cdef Message m
        cdef Flow flow = self.flow(False)
        cdef Transaction* found
        parse(&m, data)
        result = MATCHES[match_request(self.layer, &m, &flow, &found)]
        return result, handle(self, found)

    def serve(self, bytes data, bint reliable=False):
        cdef Message m
        cdef Flow flow = self.flow(reliable)
        cdef Buffer* buffer
        cdef Transaction* t
        parse(&m, data)
        buffer = buffer_copy(&self.pool, <char*>data, <uint32_t>len(data))
        t = server_transaction(self.layer, &m, &flow, buffer)
        buffer_release(&self.pool, buffer)
        return handle(self, t)

    def find_cancelled(self, bytes data):
        cdef Message m
        parse(&m, data)
        return handle(self, find_cancelled(self.layer, &m))

    def receive_response(self, bytes data):
        cdef Message m
        parse(&m, data)
        return bool(receive_response(self.layer, &m))

    # The transaction user.

    def respond(self, ManualTransaction server, bytes data):
        cdef Message m
        cdef Buffer* buffer
        cdef Transaction* t = server.live()
        parse(&m, data)
        buffer = buffer_copy(&self.pool, <char*>data, <uint32_t>len(data))
        sent = server_respond(self.layer, t, buffer, m.status)
        buffer_release(&self.pool, buffer)
        return bool(sent)

    def client(self, str method):
        name = method.encode()
        return handle(self, client_transaction(self.layer, method_id(<const uint8_t*><char*>name, <uint32_t>len(name))))

    def branch(self, ManualTransaction client, uint32_t loop_hash=0):
        cdef uint8_t[BRANCH_LENGTH] out
        write_branch(self.layer, client.live(), loop_hash, out)
        return (<char*>out)[:BRANCH_LENGTH].decode()

    def read_branch(self, str branch):
        cdef Slice whole
        cdef uint32_t owner
        cdef uint32_t loop_hash
        data = branch.encode()
        whole.start, whole.end = 0, <uint16_t>len(data)
        if not read_branch(&self.layer.setup.branch_key, <const uint8_t*><char*>data, whole, &owner, &loop_hash):
            return None
        return owner, loop_hash

    def start(self, ManualTransaction client, bytes data, bint reliable=False):
        cdef Flow flow = self.flow(reliable)
        cdef Transaction* t = client.live()
        cdef Buffer* buffer = buffer_copy(&self.pool, <char*>data, <uint32_t>len(data))
        started = client_start(self.layer, t, buffer, &flow)
        buffer_release(&self.pool, buffer)
        return bool(started)

    def discard(self, ManualTransaction client):
        client_discard(self.layer, client.live())

    def cancel(self, ManualTransaction client):
        return bool(client_cancel(self.layer, client.live()))

    def end(self, ManualTransaction transaction):
        transaction_end(self.layer, transaction.live())

    def arm(self, uint32_t delay):
        timer_arm(self.layer.wheel, &self.user_timer, self.layer.now, delay)

    # Time.

    def run(self, int limit=1_000_000):
        return run_timers(self.layer, limit)

    def advance(self, uint64_t ms):
        # As the hot loop would: asleep until something is due.
        cdef uint64_t end = self.layer.now + ms
        while True:
            while run_timers(self.layer, 1_000_000):
                pass
            if self.layer.now == end:
                return
            self.layer.now += wheel_wait(self.layer.wheel, self.layer.now, <uint32_t>(end - self.layer.now))

    @property
    def now(self):
        return self.layer.now

    # The books.

    @property
    def live(self):
        return self.layer.live

    @property
    def waiting(self):
        return self.layer.waiting

    @property
    def armed(self):
        return wheel_armed(self.layer.wheel)

    @property
    def buffers(self):
        return pool_live(&self.pool)

    @property
    def counters(self):
        return {
            "retransmissions_in": self.layer.retransmissions_in,
            "retransmissions_out": self.layer.retransmissions_out,
            "strays": self.layer.strays,
        }


cdef int parse(Message* m, bytes data) except -1:
    if parse_message(m, <const uint8_t*><char*>data, <uint32_t>len(data), DATAGRAM) <= 0:
        raise ValueError(f"not a message: {data!r}")
    return 0


cdef int heard_send(void* self, const Flow* flow, Buffer* buffer) noexcept nogil:
    with gil:
        layer = <ManualLayer>self
        data = text_of(buffer)
        words = data.split(None, 2)
        name = (words[1] if words[0] == b"SIP/2.0" else words[0]).decode()
        if layer.fail_sends:
            layer.heard(f"cannot send {name}", NULL)
            return -1
        layer.sent.append(data)
        layer.heard(f"send {name}", NULL)
        return 0


cdef void heard_response(void* self, Transaction* t, const Message* response) noexcept nogil:
    with gil:
        (<ManualLayer>self).heard(f"response {response.status}", t)


cdef void heard_timeout(void* self, Transaction* t) noexcept nogil:
    with gil:
        (<ManualLayer>self).heard("timeout", t)


cdef void heard_failure(void* self, Transaction* t) noexcept nogil:
    with gil:
        (<ManualLayer>self).heard("failure", t)


cdef void heard_terminated(void* self, Transaction* t) noexcept nogil:
    with gil:
        (<ManualLayer>self).heard("terminated", t)


cdef void heard_timer(void* self, Timer* timer) noexcept nogil:
    with gil:
        (<ManualLayer>self).heard("timer", NULL)
