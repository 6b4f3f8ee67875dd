# The transaction user: RFC 3261 16 for proxied requests, 10.3 for REGISTER, 8.2 for requests to the server itself.
# One Proxy per worker, one thread. It executes route plans and knows no service: plans come from the location segment
# here, from services and users' Python later.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastsip._address cimport Address, Flow, Network
from fastsip._control cimport Control, WorkerBlock
from fastsip._digest cimport Digest
from fastsip._hash cimport HashKey
from fastsip._location cimport Segment
from fastsip._memory cimport Buffer, BufferPool
from fastsip._message cimport Message, Slice, Uri, Writer
from fastsip._queue cimport Queue
from fastsip._timer cimport Timer
from fastsip._transaction cimport Transaction, Transactions
from fastsip._transport cimport Packet, TransportState

cdef struct Text:                # bytes owned by the Settings they stand in
    uint8_t* data
    uint32_t length

cdef struct Endpoint:            # a name this server answers to, with its port
    Text host                    # lower case, IPv6 without brackets
    uint16_t port

cdef struct Settings:            # what SIGHUP may change; immutable once published, freed after the next is in use
    Text* domains                # lower case; the first one stands for the listen addresses
    uint32_t domain_count
    Endpoint* listen
    uint32_t listen_count
    Network* trusted
    uint32_t trusted_count
    Text realm                   # empty: the user's domain
    uint32_t required            # bit 1 << MethodId
    int algorithms               # DIGEST_* bits
    uint32_t nonce_lifetime      # seconds
    bint open_relay
    bint record_route
    uint32_t min_expires, max_expires, max_contacts
    uint32_t timer_c             # ms
    uint32_t t1
    uint32_t trying              # ms until a 100 is sent where no other answer was; 0: at the end of the turn
    Text server                  # the Server header's value, empty for none

cdef enum TargetState:
    TARGET_CANDIDATE = 0         # not tried yet
    TARGET_ACTIVE = 1            # its client transaction runs
    TARGET_DONE = 2              # a final answer, a timeout or a transport error

cdef enum Outcome:               # of a step, for Step.onward: which of them go on to the next step
    OUTCOME_BUSY = 1             # 486, 600
    OUTCOME_NO_ANSWER = 2        # ring time over, 408, 480
    OUTCOME_FAILURE = 4          # 5xx, 503, transport error
    OUTCOME_REJECTED = 8         # any other 4xx

cdef struct Target:              # one branch of a response context
    Timer timer_c                # RFC 3261 16.6 step 11
    ResponseContext* context
    Transaction* client          # while TARGET_ACTIVE
    Flow flow                    # next hop
    uint32_t uri_offset          # Request-URI in the plan's buffer
    uint32_t uri_length
    uint16_t q                   # thousandths
    uint16_t status              # last seen, 0 for none
    uint8_t state
    uint8_t cancel_pending       # CANCEL as soon as a provisional has come (9.1)
    uint8_t cancel_sent
    uint8_t rewrite              # the Request-URI is replaced by uri

cdef struct Step:                # targets tried at the same time
    uint16_t first
    uint16_t count
    uint32_t ring_time           # ms until the step is given up, 0 for Timer C alone
    uint32_t onward              # OUTCOME_* that go on to the next step

cdef struct Plan:                # lives in a Buffer: this head, then steps, targets, text
    Buffer* buffer
    Step* steps
    Target* targets
    uint16_t step_count
    uint16_t target_count

cdef enum ContextKind:
    CONTEXT_PROXY = 1
    CONTEXT_REGISTER = 2

cdef struct ResponseContext:     # RFC 3261 16.2
    Timer wait                   # REGISTER: how long the state process may take; INVITE: until its 100 (first: found
                                 # from its Timer)
    ResponseContext* next_free
    Transaction* server          # NULL once that transaction is gone
    Plan plan
    Buffer* best                 # the best final response so far, as it would go upstream
    uint16_t best_status
    uint16_t step                # the one being tried
    uint16_t active              # targets of it that run
    uint8_t kind
    uint8_t final_sent
    uint8_t cancelled            # upstream sent CANCEL
    uint8_t initial              # a request without To tag: counts as a call
    uint8_t method
    uint8_t used                 # 0 on the free list

cdef enum:
    MAX_ROUTES = 32              # Route values one request may carry; more is answered 400
    MAX_URI = 1024               # of a binding

cdef struct Routing:             # what 16.3 to 16.5 found out about one request
    Flow source                  # where it came from
    Flow answer                  # where its responses go (18.2.2, RFC 3581)
    Uri target                   # the Request-URI to go on with
    Slice routes[32]             # the Route values that remain, as they came
    uint16_t route_count
    bint rewrite_routes          # they differ from what came
    bint strict                  # the next hop is a strict router: it takes the Request-URI's place (16.6 step 6)
    Slice token                  # of our Record-Route URI it came with
    bint token_valid             # which, in its dialog, opens the way it wants to go
    bint trusted
    bint authenticated
    Uri next_hop                 # of the first remaining Route value, valid with route_count
    int own                      # own_host of `target`; 0 with routes
    bint hop_sought              # by find_hop, and what it found:
    bint hop_found
    Flow hop                     # the next hop
    uint32_t binding_length      # 0, or of the binding that takes the Request-URI's place
    uint8_t binding[1024]
    uint64_t call                # hash of the Call-ID: what stands for it in other hashes
    uint32_t loop_hash

cdef struct SentBy:              # how this server writes itself in Via and Record-Route: "host:port"
    Address address
    uint32_t length
    uint8_t text[80]

cdef struct Held:                # a 100 that was not sent yet
    Transaction* server
    uint32_t generation          # of its slot
    Buffer* response

cdef struct Proxy:
    Transactions* layer
    TransportState* transport
    BufferPool* pool
    Segment* segment
    Digest* digest
    Control* control
    WorkerBlock* block
    Settings* settings
    Queue* facts                 # to the service thread
    bint facts_urgent            # a REGISTER is among them: wake the service thread after this batch
    uint32_t worker
    uint64_t wall                # Unix ms, set once a turn
    bint draining
    ResponseContext* free_contexts
    void* context_chunks
    uint64_t contexts
    Message* request             # the message being worked on
    Message* stored              # a stored request, parsed again to answer it
    uint8_t* scratch             # SCRATCH_SIZE bytes for the message being written
    uint8_t* fact                # SCRATCH_SIZE bytes for the fact being written
    SentBy sent_by[32]           # by listener, as last written
    Held held[256]               # in this turn
    uint32_t held_count

cdef struct ProxySetup:
    Transactions* layer
    TransportState* transport
    BufferPool* pool
    Segment* segment
    Digest* digest
    Control* control
    Queue* facts
    uint32_t worker
    Settings* settings

cdef Proxy* proxy_new(const ProxySetup* setup) noexcept nogil      # NULL when memory is out
cdef void proxy_free(Proxy* proxy) noexcept nogil
# One received datagram, through parser, transaction layer and proxy core.
cdef void proxy_receive(Proxy* proxy, Packet* packet) noexcept nogil
# Once at the end of a turn, after receiving and timers and before the last flush: what was held back in the hope of
# something better is sent.
cdef void proxy_end_turn(Proxy* proxy) noexcept nogil
# What the state process said of the REGISTER fact with this token.
cdef void proxy_registered(Proxy* proxy, uint64_t token, int status, uint32_t retry_after) noexcept nogil
# End of a drain: answer whatever is still open with a final response (503, or 487 where the caller gave up).
cdef void proxy_finish(Proxy* proxy) noexcept nogil

# The callbacks for TransactionSetup.tu.
cdef void proxy_on_response(void* self, Transaction* client, const Message* response) noexcept nogil
cdef void proxy_on_timeout(void* self, Transaction* transaction) noexcept nogil
cdef void proxy_on_failure(void* self, Transaction* transaction) noexcept nogil
cdef void proxy_on_terminated(void* self, Transaction* transaction) noexcept nogil
cdef void proxy_on_timer(void* self, Timer* timer) noexcept nogil
cdef int proxy_send(void* self, const Flow* flow, Buffer* buffer) noexcept nogil

cdef Settings* settings_new(object settings) except NULL           # from launch.Settings; ValueError names the key
cdef void settings_free(Settings* settings) noexcept nogil
