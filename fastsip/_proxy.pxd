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
from fastsip._plan cimport PlanHead, PlanStep, PlanTarget
from fastsip._queue cimport Queue
from fastsip._targets cimport Targets
from fastsip._timer cimport Timer
from fastsip._transaction cimport Transaction, Transactions
from fastsip._transport cimport Packet, TransportState

cdef struct Text:                # bytes owned by the Settings they stand in
    uint8_t* data
    uint32_t length

cdef struct Endpoint:            # a name this server answers to, with its port
    Text host                    # lower case, IPv6 without brackets
    uint16_t port

cdef struct GatewayAt:
    Address address
    uint32_t gateway             # slot in the target table + 1; 0: an empty place
    uint8_t transport            # by which it is called

cdef struct Settings:            # what SIGHUP may change; immutable once published, freed after the next is in use
    Text* domains                # lower case; the first one stands for the listen addresses
    uint32_t domain_count
    Endpoint* listen
    uint32_t listen_count
    Text* listen_names           # by listen address: what it is called, with its port; empty: its address
    uint32_t listen_name_count
    Network* trusted             # neighbours, then gateways
    uint32_t trusted_count       # neighbours
    uint32_t believed_count      # both
    uint8_t* believed_by         # of each gateway among them, the transport it is called by
    Text realm                   # empty: the user's domain
    uint32_t required            # bit 1 << MethodId
    int algorithms               # DIGEST_* bits
    uint32_t nonce_lifetime      # seconds
    bint open_relay
    bint record_route
    uint32_t min_expires, max_expires, max_contacts
    uint32_t udp_max             # bytes of a request that may be a datagram where TCP would do too
    bint tls_alias               # peers may send requests by connections opened here
    uint32_t timer_c             # ms
    uint32_t t1
    uint32_t trying              # ms until a 100 is sent where no other answer was; 0: at the end of the turn
    uint32_t asks                # ASK_*
    uint32_t ask_methods         # bit 1 << MethodId
    uint32_t policy_timeout      # ms
    uint32_t policy_waiting      # requests that may wait for the policy
    uint32_t ring_time           # ms of contacts of one q where there are others of a lower one
    bint recurse                 # follow a 3xx of registered contacts
    uint32_t dns_timeout         # ms a request may wait for what its next hop's name means
    uint32_t dns_try_time        # ms without any answer until the next server of a name is tried
    Text server                  # the Server header's value, empty for none
    int nat_contact              # NatContact
    uint32_t flow_timer, keep    # seconds between keep-alives that clients of connections, of UDP are told; 0 for none
    bint path_supported          # a Path without `Supported: path` is refused
    Text service_route           # whole lines of a REGISTER's 200
    uint8_t* roles               # of each domain, Role
    GatewayAt* gateways          # by place_of their addresses
    uint32_t gateway_room        # a power of two, more than there are; 0: there are none
    uint32_t stateless           # bit 1 << listen address: what comes there is forwarded statelessly

cdef enum NatContact:            # who registers by UDP is reached
    NAT_OFF = 0                  # at his Contact
    NAT_AUTO = 1                 # where his REGISTER came from, if he is himself somewhere else
    NAT_ALWAYS = 2               # where it came from

cdef enum Role:                  # what this server is to a domain
    ROLE_PROXY = 0
    ROLE_REDIRECT = 1            # RFC 3261 8.3
    ROLE_STATELESS = 2           # 16.11

cdef enum Trust:                 # in an address a request comes from
    TRUST_NOBODY = 0
    TRUST_GATEWAY = 1            # not challenged and believed who calls; relayed to our own users and by plans
    TRUST_NEIGHBOUR = 2          # may do what it likes

cdef enum Ask:                   # what the policy thread is asked about
    ASK_REQUESTS = 1             # every request outside a dialog
    ASK_NUMBERS = 2              # those to an own address nobody has, or to a tel URI
    ASK_DOMAINS = 4              # those to somebody else's domain
    ASK_RESPONSES = 8            # is shown every response that goes upstream

cdef enum QuestionKind:
    QUESTION_ROUTE = 1
    QUESTION_FAILURE = 2
    QUESTION_CANCELLED = 3
    QUESTION_RESPONSE = 4
    QUESTION_NAME = 5            # to the resolver's thread: NameQuestion

cdef struct Question:            # then aor, caller, the message; then for each response its head and bytes
    uint64_t token
    Address source
    uint32_t length              # of the message
    uint16_t aor
    uint16_t caller
    uint16_t responses
    uint8_t kind
    uint8_t rights

cdef struct QuestionResponse:
    uint32_t length              # 0: there was none
    uint16_t status
    uint16_t target

cdef enum NameQuestionKind:
    NAME_LOCATE = 1              # what are the servers of this hop?
    NAME_FAILED = 2              # this server did not answer: news, nothing is answered

cdef struct NameQuestion:
    uint64_t token               # of the request that waits
    uint64_t hash                # goes into the answer
    Address failed
    uint16_t port                # 0 where the URI has none
    uint8_t kind
    uint8_t waits                # there is such a request
    uint8_t transport            # TRANSPORT_*, as the URI names it
    uint8_t sips
    uint8_t length
    uint8_t host[253]

cdef struct NamedServer:
    Address address
    float weight                 # of its choice, above 0
    uint8_t transport
    uint8_t tier                 # by priority: those of the same are next to each other, the first ones first
    uint8_t choice               # SRV record, by number: its addresses stay together
    uint8_t leads                # the first of its choice

cdef enum:
    NAME_SERVERS = 8             # of one name, at most

cdef struct NameAnswer:
    uint64_t token
    uint64_t hash
    uint32_t lifetime            # ms
    uint32_t count               # 0: there is none
    uint8_t waits
    NamedServer servers[8]

cdef enum TargetState:
    TARGET_CANDIDATE = 0         # not tried yet
    TARGET_ACTIVE = 1            # its client transaction runs
    TARGET_DONE = 2              # a final answer, a timeout or a transport error
    TARGET_ANSWERED = 3          # a 2xx to INVITE went up while other branches ran: copies of it still find their way
    TARGET_SILENT = 4            # given up for its silence; should it speak after all, it is heard
    TARGET_SPARE = 5             # another flow of an instance that is tried already (RFC 5626 7)

cdef struct Target:              # one branch of a response context
    Timer timer_c                # RFC 3261 16.6 step 11, and try_time before it
    ResponseContext* context
    Transaction* client          # while its client transaction runs, and after a 2xx to INVITE as long as copies may come
    Buffer* response             # its final response, where the policy wants to see it
    const PlanTarget* order      # what else is different about its request; NULL for nothing
    const uint8_t* uri           # Request-URI in the plan's buffer; NULL: the one that came
    Flow flow                    # next hop
    Address datagrams            # of one that went by TCP for its size: where it would have gone by UDP
    const uint8_t* path          # Route values to go on by (RFC 3327), NULL for none
    uint32_t uri_length
    uint16_t path_length
    uint16_t lead                # TARGET_SPARE: the one it stands in for
    uint16_t step
    uint16_t q                   # thousandths
    uint16_t status              # last seen, 0 for none
    uint16_t breadth             # Max-Breadth it was given (RFC 5393 5)
    uint8_t state
    uint8_t cancel_pending       # CANCEL as soon as a provisional has come (9.1)
    uint8_t cancel_sent
    uint8_t counted              # among the calls of its gateway
    uint8_t large                # whether it went by TCP for its size, see ext/proxy/large.pxi
    uint16_t gateway             # slot in the target table + 1, 0 for none

cdef struct Plan:                # lives in a Buffer: targets (and room for those of a 3xx), then the encoded plan
    Buffer* buffer
    const PlanHead* head         # NULL: one step, made here
    const Message* request       # as it was parsed, for the branches that begin later; NULL: parse it again
    Target* targets
    uint16_t target_count
    uint16_t target_room

cdef enum ContextKind:
    CONTEXT_PROXY = 1
    CONTEXT_REGISTER = 2

cdef enum Right:                 # of a request's sender, in ResponseContext.rights and the policy's questions
    RIGHT_OWN = 1
    RIGHT_TRUSTED = 2
    RIGHT_AUTHENTICATED = 4
    RIGHT_KNOWN = 8
    RIGHT_TOKEN = 16
    RIGHT_GATEWAY = 32           # trusted as a gateway is

cdef struct ResponseContext:     # RFC 3261 16.2
    Timer wait                   # REGISTER: how long the state process may take; INVITE: until its 100; asked: how long
                                 # the policy may take (first: found from its Timer)
    Timer ring                   # how long this step may ring
    ResponseContext* next_free
    Transaction* server          # NULL once that transaction is gone
    Plan plan
    Buffer* best                 # the best final response so far, as it would go upstream
    Buffer* challenges           # header lines of the 401 and 407 that are not the best (16.7 step 7)
    Flow source                  # where the request came from
    uint16_t best_status
    uint16_t step_status         # the best of this step
    uint16_t step                # the one being tried
    uint16_t active              # targets that run
    uint16_t in_step             # of those, this step's
    uint16_t answered            # TARGET_ANSWERED
    uint16_t breadth             # of its Max-Breadth, what no branch has
    uint32_t loop_hash
    uint64_t call                # hash of the Call-ID
    uint8_t kind
    uint8_t final_sent
    uint8_t cancelled            # upstream sent CANCEL
    uint8_t stopped              # no new branch: a 6xx, or CANCEL (16.7 step 5, 16.10)
    uint8_t exhausted            # no step follows: it ends with its last branch
    uint8_t asking               # the question that waits for the policy, 0 for none
    uint8_t failures             # how often the policy was asked about one
    uint8_t unlocated            # contacts of a 3xx are names that were not looked for yet
    uint8_t rights               # RIGHT_*
    uint8_t initial              # a request without To tag: counts as a call
    uint8_t secure               # for a sips URI: every hop is to be secure
    uint8_t method
    uint8_t used                 # 0 on the free list
    uint8_t gruu                 # REGISTER: its 200 has GRUUs
    uint16_t aor_length          # REGISTER: plan.buffer ends with that much address-of-record
    uint16_t granted_length      # before it are that many bytes of lines for a 200 alone

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
    bint path_given              # it came by a Path of ours, which opens its flow
    bint flow_given              # `hop` is the flow in our Record-Route, for whoever has the token beside it
    bint forged                  # a flow token of ours that is not
    int trusted                  # Trust in the sender
    bint stateless               # there is no transaction that knows a request again
    bint authenticated
    Uri next_hop                 # of the first remaining Route value, valid with route_count
    int own                      # own_host of `target`; 0 with routes
    bint hop_sought              # by find_hop, and what it found:
    bint hop_found
    Flow hop                     # the next hop
    uint32_t servers             # that the name it came from has; 0: it is an address
    uint32_t bindings            # that could be rung
    uint32_t binding_length      # 0, or of the best one, which takes the Request-URI's place
    uint8_t binding[1024]
    const uint8_t* path          # of that one, in its record: Route values
    uint32_t path_length
    int gruu                     # Gruu: what `target` is
    uint64_t gruu_call           # of a temporary one: hash of its REGISTER's Call-ID
    uint32_t gruu_user           # bytes of the user part it stands for, behind the instance
    uint32_t instance_length     # whom a GRUU means
    uint8_t instance[512]
    uint64_t call                # hash of the Call-ID: what stands for it in other hashes
    uint32_t loop_hash
    uint8_t sender               # SENDER_*: whether From was read, and what it says:
    bint anonymous
    uint32_t aor_length          # of who he proved to be, else of who he says he is where that lives here; 0 for none
    uint8_t aor[512]

cdef struct SentBy:              # how this server writes itself: in Via "host:port", in Record-Route the transport behind it
    Address address
    uint8_t transport
    uint32_t length
    uint32_t route_length
    uint8_t text[288]

cdef struct Refusal:             # a peer that did not take a large request by TCP
    Address remote
    uint64_t until               # ms

cdef struct Held:                # a 100 that was not sent yet
    Transaction* server
    uint32_t generation          # of its slot
    Buffer* response

cdef enum Detour:               # what keeps a request from being simply proxied
    DETOUR_DRAIN = 1             # nothing new any more
    DETOUR_ROLES = 2             # a domain or a listen address has another role

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
    Queue* questions             # to the policy thread
    Targets* targets             # the gateways; NULL where there is no such table
    bint questions_asked         # in this turn: wake it
    void* names                  # what is known of them; NULL: names are no next hops
    Queue* names_asked           # to the resolver's thread
    bint names_wanted            # in this turn: wake it
    bint missed                  # since the next hop was looked for: a name that is not known
    uint32_t located             # servers of the name that was looked for last
    uint32_t locating            # requests that wait for a name
    uint32_t waiting             # for its answers
    uint32_t registers           # in this turn
    uint32_t others              # messages that are none
    uint32_t worker
    uint64_t wall                # Unix ms, set once a turn
    uint8_t detours              # DETOUR_*
    ResponseContext* free_contexts
    void* context_chunks
    uint64_t contexts
    Message* request             # the message being worked on
    uint64_t call                # its hash, 0 while that is not known
    Message* stored              # a stored request, parsed again to answer it
    uint8_t* scratch             # SCRATCH_SIZE bytes for the message being written
    uint8_t* fact                # SCRATCH_SIZE bytes for the fact being written
    SentBy sent_by[32]           # by listener, as last written
    Held held[256]               # in this turn
    Refusal refusals[64]         # by hash of the address
    uint32_t held_count
    void* called                 # gateways that have a name, by where they were found; NULL: none was called yet

cdef struct ProxySetup:
    Transactions* layer
    TransportState* transport
    BufferPool* pool
    Segment* segment
    Digest* digest
    Control* control
    Queue* facts
    Queue* questions
    Queue* names                 # NULL: no resolver
    Targets* targets
    uint32_t worker
    Settings* settings

cdef Proxy* proxy_new(const ProxySetup* setup) noexcept nogil      # NULL when memory is out
cdef void proxy_free(Proxy* proxy) noexcept nogil
# From now on these settings hold; the former are the caller's again.
cdef void proxy_follow(Proxy* proxy, Settings* settings) noexcept nogil
# From now on new dialogs, and other requests outside of one, are refused.
cdef void proxy_drain(Proxy* proxy) noexcept nogil
# One received datagram, through parser, transaction layer and proxy core.
cdef void proxy_receive(Proxy* proxy, Packet* packet) noexcept nogil
# Whether the next Via of a response leads where no request of ours can have come from.
cdef bint is_astray(Proxy* proxy, const Message* response, uint32_t line, const Packet* packet) noexcept nogil
# Once at the end of a turn, after receiving and timers and before the last flush: what was held back in the hope of
# something better is sent.
cdef void proxy_end_turn(Proxy* proxy) noexcept nogil
# What the state process said of the REGISTER fact with this token.
cdef void proxy_registered(Proxy* proxy, uint64_t token, int status, uint32_t retry_after) noexcept nogil
# What the policy said of the question with this token: an encoded plan that plan_check likes, or NULL for "as if there
# were no policy".
cdef void proxy_planned(Proxy* proxy, uint64_t token, const PlanHead* plan) noexcept nogil
# What the resolver's thread said of a name.
cdef void proxy_located(Proxy* proxy, const NameAnswer* said) noexcept nogil
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
