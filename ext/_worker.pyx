# cython: language_level=3
"""One worker's engine: the hot loop that joins transport, transactions and proxy core, and its two queues.

The hot thread runs `Worker.run` without the GIL from start to stop. The service thread (Python) takes facts out of one
queue and puts orders into the other: results of REGISTERs, new settings, a neighbour's sockets, drain, stop. Nothing
else is shared between them.
"""

import os

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from posix.unistd cimport close as close_fd
from posix.unistd cimport write as write_fd

from fastsip._address cimport *
from fastsip._control cimport *
from fastsip._digest cimport *
from fastsip._location cimport *
from fastsip._memory cimport *
from fastsip._message cimport TRANSPORT_SCTP, TRANSPORT_TCP, TRANSPORT_TLS, TRANSPORT_UDP, TRANSPORT_WS, TRANSPORT_WSS
from fastsip._plan cimport *
from fastsip._proxy cimport *
from fastsip._queue cimport *
from fastsip._remark cimport REMARK_AT, REMARK_TO, Remark, Remarks, remarks_take
from fastsip._targets cimport *
from fastsip._timer cimport *
from fastsip._tls cimport (
    DoorCounters, DoorSetup, DoorState, Tls, TlsContexts, door_counters, door_free, door_new, door_remarks, door_run,
    door_stop, tls_free)
from fastsip._transaction cimport *
from fastsip._transport cimport *

cdef extern from "<time.h>" nogil:
    int CLOCK_REALTIME_COARSE

cdef enum:
    TURN_BATCHES = 4             # receive batches before timers and the send queue get their turn
    TURN_TIMERS = 4096
    LONGEST_SLEEP = 200          # ms: the heartbeat must not look dead
    GATHER = 400000              # ns after a turn of nothing but REGISTERs, so that the next one has more of them: a
                                 # wake-up costs more than a REGISTER, and its 200 waits longer for the state process
    FACTS_SIZE = 1 << 22         # bytes
    QUESTIONS_SIZE = 1 << 22
    ORDERS_SIZE = 1 << 20
    NAMES_SIZE = 1 << 20

cdef enum OrderKind:
    ORDER_RESULT = 1             # the state process about a REGISTER
    ORDER_SETTINGS = 2
    ORDER_LISTEN = 3
    ORDER_DRAIN = 4
    ORDER_FINISH = 5
    ORDER_STOP = 6
    ORDER_RELEASE = 7            # a neighbour is back: its sockets are its own again
    ORDER_ACKNOWLEDGED = 8       # so many facts were applied; only counted
    ORDER_PLAN = 9               # the policy about a question
    ORDER_JOIN = 10              # a WebSocket connection whose opening handshake is done
    ORDER_NAME = 11              # the resolver about a name

cdef struct Order:
    uint32_t kind
    int32_t status
    uint64_t token
    uint32_t retry_after
    int32_t fd
    int32_t index
    int32_t transport
    Address advertise
    void* settings
    void* plan                   # PlanHead, the hot thread's to free; NULL: as without a policy. Of ORDER_NAME NameAnswer
    Tls* tls                     # of ORDER_JOIN, and what came behind the handshake
    void* rest
    uint32_t length


cdef extern from "flag.h" nogil:
    int flag_raise(int* flag) noexcept
    void flag_lower(int* flag) noexcept

cdef extern from "descriptors.h" nogil:
    int fd_most_opening(uint32_t under_way) noexcept

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t alignment, size_t size) noexcept


cdef uint64_t clock_ns(int clock) noexcept nogil:
    cdef timespec t
    clock_gettime(clock, &t)
    return <uint64_t>t.tv_sec * 1000000000u + <uint64_t>t.tv_nsec


cdef uint64_t clock_ms(int clock) noexcept nogil:
    return clock_ns(clock) // 1000000


cdef void* map_shared(int fd, size_t size) except NULL:
    cdef void* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if memory == MAP_FAILED:
        raise OSError(f"cannot map {size} bytes of shared memory")
    return memory


include "worker/question.pxi"
include "worker/name.pxi"

cdef dict TRANSPORTS = {
    "udp": TRANSPORT_UDP, "tcp": TRANSPORT_TCP, "tls": TRANSPORT_TLS, "ws": TRANSPORT_WS, "wss": TRANSPORT_WSS}
cdef dict TRANSPORT_NAMES = {number: name for name, number in TRANSPORTS.items()}


cdef class Worker:
    """The engine of one worker process.

    Built from a `fastsip.launch.WorkerSetup`. `run` blocks its thread until `stop`; every other method belongs to one
    other thread. Raises OSError when shared memory or a socket cannot be used and RuntimeError when libcrypto is not
    found.
    """

    cdef Control* control
    cdef WorkerBlock* block
    cdef BufferPool pool
    cdef Transactions* layer
    cdef TransportState* transport
    cdef TlsContexts contexts
    cdef DoorState* door
    cdef Segment* segment
    cdef Digest* digest
    cdef Proxy* proxy
    cdef Queue* facts
    cdef Queue* orders
    cdef int hot_wake
    cdef int service_wake
    cdef Queue* questions
    cdef Targets* targets
    cdef Queue* names
    cdef int names_wake
    cdef int policy_wake
    cdef int planned               # a plan was given, and the hot thread was woken for it
    cdef Bell* bell                # in a line of its own
    cdef Bell* policy_bell
    cdef uint32_t index
    cdef int running
    cdef int* wakes
    cdef uint64_t web_handshakes[3]              # by the reception's door: done, failed, refused
    cdef bytearray taken
    cdef bytearray asked
    cdef int64_t adopted_from[MAX_LISTENERS]     # the neighbour a listener belongs to, -1 for our own
    cdef void* maps[4]             # shared memory, to be unmapped
    cdef size_t map_sizes[4]
    cdef int map_count

    def __cinit__(self, setup):
        cdef TransportSetup transport
        cdef TransactionSetup layer
        cdef ProxySetup proxy
        cdef DoorSetup door
        cdef Settings* settings
        cdef const char* error = NULL
        cdef bytes key
        self.hot_wake = self.service_wake = self.policy_wake = self.names_wake = -1
        self.index = setup.index
        self.taken = bytearray(1 << 18)
        self.asked = bytearray(1 << 16)
        pool_init(&self.pool)
        for i in range(MAX_LISTENERS):
            self.adopted_from[i] = -1
        self.control = <Control*>self.map(setup.control_fd, sizeof(Control))
        self.block = &self.control.worker[self.index]
        self.wakes = <int*>calloc(setup.workers, sizeof(int))
        for i, fd in enumerate(setup.wake_fds):
            self.wakes[i] = fd
        self.hot_wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.service_wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.policy_wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.names_wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.facts = queue_new(FACTS_SIZE)
        self.questions = queue_new(QUESTIONS_SIZE)
        self.orders = queue_new(ORDERS_SIZE)
        self.bell = <Bell*>aligned_alloc(64, sizeof(Bell))
        self.policy_bell = <Bell*>aligned_alloc(64, sizeof(Bell))
        if (self.facts == NULL or self.questions == NULL or self.orders == NULL or self.wakes == NULL
                or self.bell == NULL or self.policy_bell == NULL):
            raise MemoryError
        memset(self.bell, 0, sizeof(Bell))
        memset(self.policy_bell, 0, sizeof(Bell))

        memset(&transport, 0, sizeof(transport))
        if setup.tls is not None:
            self.contexts = TlsContexts(setup.tls)
            memset(&door, 0, sizeof(door))
            door.store = self.contexts.store
            door.connect_ms = 4000
            self.door = door_new(&door)
            if self.door == NULL:
                raise OSError("cannot set up the door for TLS")
        transport.door = self.door
        transport.worker = self.index
        transport.workers = setup.workers
        transport.control = self.control
        transport.pool = &self.pool
        transport.slots = self.map(setup.slots_fd, RECEIVE_BATCH * RECEIVE_SLOT)
        transport.rings_size = os.fstat(setup.rings_fd).st_size
        transport.rings = self.map(setup.rings_fd, transport.rings_size) if transport.rings_size else NULL
        transport.wake = self.wakes[self.index]
        transport.wakes = self.wakes
        self.transport = transport_new(&transport)
        if self.transport == NULL:
            raise OSError("cannot set up the transport")
        if transport_watch(self.transport, self.hot_wake) < 0:
            raise OSError("cannot watch the service thread's eventfd")
        for listener in setup.listeners:
            self.add_listener(listener)

        self.segment = segment_open(setup.segment_fd, self.control)
        if self.segment == NULL:
            raise OSError("cannot map the location segment")
        settings = settings_new(setup.settings)
        self.digest = digest_new(self.map(setup.nonces_fd, nonce_table_size()), &self.control.nonce_key,
                                 setup.settings.nonce_lifetime, settings.algorithms, &error)
        if self.digest == NULL:
            raise RuntimeError((<bytes>error).decode())

        memset(&layer, 0, sizeof(layer))
        layer.owner = self.index
        layer.incarnation = setup.incarnation
        layer.limit = setup.settings.transactions
        layer.t1, layer.t2, layer.t4 = setup.settings.t1, setup.settings.t2, setup.settings.t4
        layer.branch_key = self.control.branch_key
        key = os.urandom(16)
        memcpy(&layer.table_key, <const uint8_t*>key, 16)
        layer.pool = &self.pool
        layer.now = clock_ms(CLOCK_MONOTONIC) if setup.clock is None else setup.clock
        layer.tu.on_response = proxy_on_response
        layer.tu.on_timeout = proxy_on_timeout
        layer.tu.on_failure = proxy_on_failure
        layer.tu.on_terminated = proxy_on_terminated
        layer.tu.on_timer = proxy_on_timer
        layer.tu.send = proxy_send
        self.layer = transactions_new(&layer)
        if self.layer == NULL:
            raise MemoryError

        memset(&proxy, 0, sizeof(proxy))
        proxy.layer = self.layer
        proxy.transport = self.transport
        proxy.pool = &self.pool
        proxy.segment = self.segment
        proxy.digest = self.digest
        proxy.control = self.control
        proxy.facts = self.facts
        proxy.questions = self.questions
        if setup.targets_fd >= 0:
            self.targets = targets_map(setup.targets_fd)
            if self.targets == NULL:
                raise OSError("cannot map the table of gateways")
            proxy.targets = self.targets
        if setup.policy.dns is not None:
            self.names = queue_new(NAMES_SIZE)
            if self.names == NULL:
                raise MemoryError
            proxy.names = self.names
        proxy.worker = self.index
        proxy.settings = settings
        self.proxy = proxy_new(&proxy)
        if self.proxy == NULL:
            raise MemoryError
        self.layer.setup.tu.self = self.proxy

    cdef void* map(self, int fd, size_t size) except NULL:
        self.maps[self.map_count] = map_shared(fd, size)
        self.map_sizes[self.map_count] = size
        self.map_count += 1
        return self.maps[self.map_count - 1]

    cdef int add_listener(self, listener) except -1:
        cdef Address advertise
        self.read_advertise(listener, &advertise)
        if transport_listen(self.transport, listener.fd, TRANSPORTS[listener.transport], listener.index, &advertise,
                            False) < 0:
            raise OSError(f"cannot use the socket of {listener.host}:{listener.port}")
        return 0

    cdef int read_advertise(self, listener, Address* out) except -1:
        cdef bytes host
        memset(out, 0, sizeof(Address))
        if listener.advertise:
            host = listener.advertise.encode()
            if not address_parse(out, <const uint8_t*>host, len(host), listener.port):
                raise ValueError(f"advertise: {listener.advertise!r} is not a numeric address")
        return 0

    @property
    def wake_fd(self) -> int:
        """Eventfd that is readable when facts are waiting for the service thread."""
        return self.service_wake

    @property
    def policy_fd(self) -> int:
        """Eventfd that is readable when questions are waiting for the policy thread."""
        return self.policy_wake

    @property
    def tls_contexts(self):
        """`_tls.TlsContexts` of this worker, None without TLS."""
        return self.contexts

    @property
    def has_door(self) -> bool:
        """Whether `run_door` is wanted."""
        return self.door != NULL

    def run_door(self) -> None:
        """Accept TLS connections and shake hands until `stop`, in a thread of its own."""
        with nogil:
            door_run(self.door)

    @property
    def names_fd(self) -> int:
        """Eventfd that is readable when names are waiting for the resolver."""
        return self.names_wake

    def run(self) -> None:
        """Serve until `stop`. Call it in a thread of its own; it holds the GIL only to enter and leave."""
        cdef uint64_t now
        cdef bint more
        cdef timespec gathering
        gathering.tv_sec, gathering.tv_nsec = 0, GATHER
        self.running = 1
        with nogil:
            while self.running:
                more = self.turn(clock_ms(CLOCK_MONOTONIC), clock_ms(CLOCK_REALTIME_COARSE))
                if self.proxy.registers and not self.proxy.others:
                    nanosleep(&gathering, NULL)
                now = clock_ns(CLOCK_MONOTONIC)
                transport_wait(self.transport, now,
                               0 if more else wheel_wait(self.layer.wheel, now // 1000000, LONGEST_SLEEP))

    def step(self, uint64_t now, uint64_t wall) -> int:
        """In place of `run`: one turn at `now` (ms, not going back) and `wall` (Unix ms), on whatever has come by then.
        The milliseconds until something is due, at most 200; 0 if it is to be called again at once."""
        cdef bint more
        with nogil:
            transport_wait(self.transport, clock_ns(CLOCK_MONOTONIC), 0)
            more = self.turn(now, wall)
        return 0 if more else wheel_wait(self.layer.wheel, now, LONGEST_SLEEP)

    cdef bint turn(self, uint64_t now, uint64_t wall) noexcept nogil:
        # True when there was more than one turn may do.
        cdef Packet* packets
        cdef int count, batches = 0
        cdef Proxy* p = self.proxy
        self.layer.now = now
        p.wall = wall
        p.registers = p.others = 0
        segment_enter(self.segment, self.index)
        self.take_orders()
        while batches < TURN_BATCHES:
            count = transport_receive(self.transport, &packets)
            if count == 0:
                break
            for i in range(count):
                transport_in_hand(self.transport, &packets[i])
                proxy_receive(p, &packets[i])
            transport_in_hand(self.transport, NULL)
            batches += 1
            transport_flush(self.transport)
        count = run_timers(self.layer, TURN_TIMERS)
        proxy_end_turn(p)
        transport_flush(self.transport)
        segment_leave(self.segment, self.index)
        if p.facts_urgent or queue_used(self.facts) > FACTS_SIZE // 2:
            p.facts_urgent = False
            if bell_ring(self.bell):
                count_add(self.block, COUNT_wakeups_service, 1)
                self.signal(self.service_wake)
        if p.questions_asked:
            p.questions_asked = False
            if bell_ring(self.policy_bell):
                count_add(self.block, COUNT_wakeups_policy, 1)
                self.signal(self.policy_wake)
        if p.names_wanted:
            p.names_wanted = False
            self.signal(self.names_wake)
        self.publish(now)
        return batches == TURN_BATCHES or count == TURN_TIMERS

    cdef void publish(self, uint64_t now) noexcept nogil:
        cdef DoorCounters* doors
        control_beat(self.block, now)
        count_set(self.block, COUNT_transactions, self.layer.live)
        count_set(self.block, COUNT_contexts, self.proxy.contexts)
        count_set(self.block, COUNT_buffers, pool_live(&self.pool))
        count_set(self.block, COUNT_timers, wheel_armed(self.layer.wheel))
        count_set(self.block, COUNT_retransmissions_in, self.layer.retransmissions_in)
        count_set(self.block, COUNT_retransmissions_out, self.layer.retransmissions_out)
        if self.door != NULL:
            doors = door_counters(self.door)
            count_set(self.block, COUNT_handshakes, doors.done + doors.connected + self.web_handshakes[0])
            count_set(self.block, COUNT_handshakes_failed,
                      doors.failed + doors.timed_out + doors.connect_failed + self.web_handshakes[1])
            count_set(self.block, COUNT_handshakes_refused,
                      doors.refused_source + doors.refused_total + self.web_handshakes[2])

    cdef void signal(self, int fd) noexcept nogil:
        cdef uint64_t one = 1
        write_fd(fd, &one, 8)

    cdef void take_orders(self) noexcept nogil:
        cdef Order order
        cdef Settings* old
        flag_lower(&self.planned)
        while queue_peek(self.orders) == sizeof(Order):
            queue_take(self.orders, &order, sizeof(Order))
            if order.kind == ORDER_RESULT:
                proxy_registered(self.proxy, order.token, order.status, order.retry_after)
            elif order.kind == ORDER_PLAN:
                proxy_planned(self.proxy, order.token, <const PlanHead*>order.plan)
                free(order.plan)
            elif order.kind == ORDER_NAME:
                proxy_located(self.proxy, <const NameAnswer*>order.plan)
                free(order.plan)
            elif order.kind == ORDER_SETTINGS:
                old = self.proxy.settings
                proxy_follow(self.proxy, <Settings*>order.settings)
                settings_free(old)
                digest_follow(self.digest, self.proxy.settings.nonce_lifetime, self.proxy.settings.algorithms)
            elif order.kind == ORDER_LISTEN:
                self.listen_too(&order)
            elif order.kind == ORDER_JOIN:
                transport_join(self.transport, order.fd, order.tls, <uint32_t>transport_numbered(self.transport, order.index),
                               &order.advertise, order.rest, order.length)
                free(order.rest)
            elif order.kind == ORDER_RELEASE:
                self.listen_no_more(<int64_t>order.token)
            elif order.kind == ORDER_ACKNOWLEDGED:
                count_add(self.block, COUNT_facts_acknowledged, order.token)
            elif order.kind == ORDER_DRAIN:
                proxy_drain(self.proxy)
            elif order.kind == ORDER_FINISH:
                proxy_finish(self.proxy)
            elif order.kind == ORDER_STOP:
                self.running = 0

    cdef void listen_too(self, const Order* order) noexcept nogil:
        cdef int number = transport_listen(self.transport, order.fd, order.transport, order.index, &order.advertise, True)
        if number < 0:
            close_fd(order.fd)
        elif transport_listener(self.transport, number).fd != order.fd:
            close_fd(order.fd)               # it is read already
        else:
            self.adopted_from[number] = <int64_t>order.token

    cdef void listen_no_more(self, int64_t neighbour) noexcept nogil:
        cdef int number, fd
        for number in range(MAX_LISTENERS):
            if self.adopted_from[number] == neighbour:
                self.adopted_from[number] = -1
                fd = transport_listener(self.transport, number).fd
                transport_forget(self.transport, number)
                close_fd(fd)

    cdef bint give(self, const Order* order):
        cdef bint given = queue_put(self.orders, order, sizeof(Order))
        self.signal(self.hot_wake)
        return given

    def hush(self) -> None:
        """Do not signal `wake_fd` until `listen`: `take_facts` will be called soon, whatever comes."""
        bell_hush(self.bell)

    def listen(self) -> bool:
        """Signal `wake_fd` for urgent facts again. False, and it is not, if there were some since `hush`: call that and
        `take_facts` now."""
        return bell_listen(self.bell)

    def take_facts(self, int limit = 4096) -> tuple[int, bytes]:
        """How many facts, at most `limit`, and they themselves: msgpack arrays one after another, oldest first."""
        cdef int64_t length
        cdef int count = 0
        cdef Py_ssize_t size = 0, room = len(self.taken)
        cdef uint8_t* out = <uint8_t*>self.taken
        while count < limit:
            length = queue_peek(self.facts)
            if length < 0 or size + length > room:
                break
            queue_take(self.facts, out + size, <uint32_t>length)
            size += length
            count += 1
        return count, out[:size]

    def take_remarks(self) -> list:
        """What there is to say of connections since the last time: (to a peer or from one, text) each."""
        found = []
        self.read_remarks(transport_remarks(self.transport), found)
        if self.door != NULL:
            self.read_remarks(door_remarks(self.door), found)
        return found

    cdef int read_remarks(self, Remarks* remarks, list out) except -1:
        cdef Remark r
        cdef char host[ADDRESS_TEXT]
        while remarks_take(remarks, &r):
            peer = (<bytes>host[:address_host(&r.remote, host, True)]).decode()
            outgoing = r.way == REMARK_TO
            text = f"{TRANSPORT_NAMES[r.transport]} {'to' if outgoing else 'at' if r.way == REMARK_AT else 'from'} "
            text += f"{peer}:{r.remote.port}: "
            text += (<bytes>r.text).decode("utf-8", "replace")
            out.append((outgoing, text + (f" ({r.unsaid} more before)" if r.unsaid else "")))
        return 0

    def hush_policy(self) -> None:
        """Do not signal `policy_fd` until `listen_policy`: `take_questions` will be called soon, whatever comes."""
        bell_hush(self.policy_bell)

    def listen_policy(self) -> bool:
        """Signal `policy_fd` again. False, and it is not, if there were questions since `hush_policy`: call that and
        `take_questions` now."""
        return bell_listen(self.policy_bell)

    def take_questions(self, int limit = 256) -> list:
        """At most `limit` questions, oldest first: fields of `fastsip.policy.request.Question`."""
        cdef int64_t length
        cdef list found = []
        while len(found) < limit:
            length = queue_peek(self.questions)
            if length < 0:
                break
            if length > len(self.asked):
                self.asked = bytearray(length)
            queue_take(self.questions, <uint8_t*>self.asked, <uint32_t>length)
            found.append(read_question(<uint8_t*>self.asked))
        return found

    def answer(self, uint64_t token, plan, bint more=False) -> None:
        """What the policy says of a question: bytes of `encode_plan`, or None for "as without a policy". An answer that
        finds no room is lost, and the request has its deadline. `more`: others come at once, and then `answered`."""
        cdef Order order
        cdef bytes data
        memset(&order, 0, sizeof(order))
        order.kind = ORDER_PLAN
        order.token = token
        if plan is not None:
            data = plan
            if not plan_check(<const PlanHead*><const char*>data, <uint32_t>len(data)):
                raise ValueError("these are no bytes of encode_plan")
            order.plan = malloc(len(data))
            if order.plan == NULL:
                raise MemoryError
            memcpy(order.plan, <const char*>data, len(data))
        if not queue_put(self.orders, &order, sizeof(Order)):
            free(order.plan)
        elif not more:
            self.answered()

    def answered(self) -> None:
        """Wake the hot thread for what it was answered, unless it was woken and has yet to look."""
        if not flag_raise(&self.planned):
            self.signal(self.hot_wake)

    def take_names(self, int limit = 256) -> list:
        """At most `limit` of what the hot thread wants to know about next hops, or has to say of them, oldest first:
        `fastsip.process.naming.Wanted` and `Failed`, as tuples."""
        cdef NameQuestion q
        cdef list found = []
        while len(found) < limit and self.names != NULL and queue_peek(self.names) == sizeof(NameQuestion):
            queue_take(self.names, &q, sizeof(NameQuestion))
            found.append(read_name_question(&q))
        return found

    def located(self, tuple key, double lifetime, servers) -> None:
        """What is to be known of a name for `lifetime` seconds; `key` is what `take_names` gave with it. `servers`:
        transport, address, port, tier, choice and weight of each, those of a tier and of a choice next to each other;
        none: there are none. An answer that finds no room is lost, and the request has its deadline."""
        cdef Order order
        cdef NameAnswer* said
        if self.orders == NULL:
            return                           # it was closed
        said = <NameAnswer*>malloc(sizeof(NameAnswer))
        if said == NULL:
            raise MemoryError
        memset(&order, 0, sizeof(order))
        order.kind = ORDER_NAME
        order.plan = said
        try:
            write_name_answer(said, key, lifetime, servers)
        except BaseException:
            free(said)
            raise
        if not self.give(&order):
            free(said)

    def give_results(self, results) -> None:
        """What the state process said of REGISTER facts: (token, status, retry_after) each. A result that finds no room
        is lost, and its client asks again."""
        cdef Order order
        memset(&order, 0, sizeof(order))
        order.kind = ORDER_RESULT
        for token, status, retry_after in results:
            order.token, order.status, order.retry_after = token, status, retry_after
            queue_put(self.orders, &order, sizeof(Order))
        self.signal(self.hot_wake)

    def reload(self, settings) -> None:
        """Follow new `launch.Settings` from the next turn on. Raises ValueError if they make no sense."""
        cdef Order order
        memset(&order, 0, sizeof(order))
        order.kind = ORDER_SETTINGS
        order.settings = settings_new(settings)
        if not self.give(&order):
            settings_free(<Settings*>order.settings)
            raise RuntimeError("the worker does not take orders")

    def renew(self, tls) -> None:
        """New certificates and rules, of `launch.TlsSetup`, for TLS connections yet to come. ValueError if something is
        wrong with them: then the former stay."""
        if self.contexts is not None and tls is not None:
            self.contexts.reload(tls)

    def acknowledged(self, uint64_t count) -> None:
        """Count facts that the state process has applied."""
        cdef Order order
        memset(&order, 0, sizeof(order))
        order.kind = ORDER_ACKNOWLEDGED
        order.token = count
        queue_put(self.orders, &order, sizeof(Order))

    def adopt(self, uint64_t neighbour, listener) -> None:
        """Read a dead neighbour's socket too. The descriptor is the engine's from now on."""
        cdef Order order
        memset(&order, 0, sizeof(order))
        order.kind = ORDER_LISTEN
        order.token = neighbour
        order.fd = listener.fd
        order.index = listener.index
        order.transport = TRANSPORTS[listener.transport]
        self.read_advertise(listener, &order.advertise)
        self.give(&order)

    def fd_most(self, uint32_t openings) -> int:
        """Descriptors from this one on are not for one more opening where so many are under way."""
        return fd_most_opening(openings)

    def count_openings(self, uint64_t refused, tuple handshakes) -> None:
        """What the reception of WebSocket has counted: refused openings; handshakes done, failed and refused."""
        count_set(self.block, COUNT_openings_refused, refused)
        for i in range(3):
            self.web_handshakes[i] = handshakes[i]

    def join(self, int fd, size_t tls, int index, remote, bytes rest not None) -> bool:
        """Take over a WebSocket connection: descriptor, address of its Tls (`_tls.Connection.give`, 0 for none), the
        listen address it came to, host and port of the peer, and what came behind the opening handshake.
        False, and it is closed, if there are too many orders already."""
        cdef Order order
        cdef bytes host = remote[0].encode()
        memset(&order, 0, sizeof(order))
        order.kind = ORDER_JOIN
        order.fd, order.index, order.tls = fd, index, <Tls*>tls
        address_parse(&order.advertise, <const uint8_t*>host, <uint32_t>len(host), remote[1])
        order.length = <uint32_t>len(rest)
        order.rest = malloc(len(rest) + 1)
        if order.rest == NULL:
            raise MemoryError
        memcpy(order.rest, <const char*>rest, len(rest))
        if self.give(&order):
            return True
        self.undo_join(&order)
        return False

    cdef void undo_join(self, Order* order):
        tls_free(order.tls)
        close_fd(order.fd)
        free(order.rest)

    def release(self, uint64_t neighbour) -> None:
        """The neighbour is back: leave its sockets to it."""
        self.order(ORDER_RELEASE, neighbour)

    cdef void order(self, int kind, uint64_t token=0):
        cdef Order order
        memset(&order, 0, sizeof(order))
        order.kind = kind
        order.token = token
        self.give(&order)

    def drain(self) -> None:
        """Refuse new dialogs with 503 from now on."""
        self.order(ORDER_DRAIN)

    def finish(self) -> None:
        """Answer everything still open with a final response."""
        self.order(ORDER_FINISH)

    def stop(self) -> None:
        """Leave `run` after this turn, and `run_door`."""
        if self.door != NULL:
            door_stop(self.door)
        self.order(ORDER_STOP)

    @property
    def open_contexts(self) -> int:
        """Requests that still wait for a final answer."""
        return self.proxy.contexts

    def close(self) -> dict[str, int]:
        """Free everything once `run` has returned, and say what was still live: all zero when nothing leaked but the
        transactions that linger. A second time there is nothing left."""
        cdef dict left = {"contexts": self.proxy.contexts if self.proxy != NULL else 0}
        left["transactions"], left["buffers"] = self.free_all()
        return left

    def __dealloc__(self):
        self.free_all()

    cdef void drop_plans(self):
        # Those the hot thread did not come to.
        cdef Order order
        while self.orders != NULL and queue_peek(self.orders) == sizeof(Order):
            queue_take(self.orders, &order, sizeof(Order))
            if order.kind == ORDER_PLAN or order.kind == ORDER_NAME:
                free(order.plan)
            elif order.kind == ORDER_SETTINGS:
                settings_free(<Settings*>order.settings)
            elif order.kind == ORDER_JOIN:
                self.undo_join(&order)

    cdef tuple free_all(self):
        # Also of an engine that could not be built to its end.
        cdef uint64_t transactions = 0, buffers
        cdef int i
        if self.proxy != NULL:
            settings_free(self.proxy.settings)
            proxy_free(self.proxy)
        if self.layer != NULL:
            transactions = transactions_free(self.layer)
        transport_free(self.transport)
        if self.door != NULL:
            door_free(self.door)
            self.door = NULL
        self.contexts = None
        buffers = pool_live(&self.pool)
        pool_trim(&self.pool)
        digest_free(self.digest)
        segment_close(self.segment)
        self.drop_plans()
        if self.targets != NULL:
            targets_unmap(self.targets)
            self.targets = NULL
        queue_free(self.facts)
        queue_free(self.questions)
        queue_free(self.names)
        self.names = NULL
        queue_free(self.orders)
        free(self.bell)
        free(self.policy_bell)
        free(self.wakes)
        for i in range(self.map_count):
            munmap(self.maps[i], self.map_sizes[i])
        for fd in (self.hot_wake, self.service_wake, self.policy_wake, self.names_wake):
            if fd >= 0:
                close_fd(fd)
        self.proxy, self.layer, self.transport, self.digest, self.segment = NULL, NULL, NULL, NULL, NULL
        self.facts, self.orders, self.bell, self.wakes, self.map_count = NULL, NULL, NULL, NULL, 0
        self.questions, self.policy_bell = NULL, NULL
        self.hot_wake = self.service_wake = self.policy_wake = self.names_wake = -1
        return transactions, buffers
