# Transactions: the four machines of RFC 3261 17 with RFC 6026, as tables (ext/fsm.h). No sockets, no clock of its own:
# what it sends goes through TransactionUser.send, what time it is stands in Transactions.now.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastsip._address cimport Address, Flow
from fastsip._hash cimport HashKey
from fastsip._memory cimport Buffer, BufferPool
from fastsip._message cimport Message, Slice, Writer
from fastsip._timer cimport Timer, Wheel

cdef extern from "fsm.h" nogil:
    enum Machine:
        INVITE_CLIENT, NON_INVITE_CLIENT, INVITE_SERVER, NON_INVITE_SERVER
    enum TransactionState:
        STATE_FREE, STATE_CALLING, STATE_TRYING, STATE_PROCEEDING, STATE_ACCEPTED, STATE_COMPLETED, STATE_CONFIRMED
        STATE_TERMINATED

cdef enum TimerKind:         # Timer.kind on the shared wheel
    TIMER_RETRANSMIT = 1     # A, E or G by machine
    TIMER_TIMEOUT = 2        # B, F or H
    TIMER_WAIT = 3           # D, I, J, K, L or M
    TIMER_USER = 16          # this and above belong to the transaction user (Timer C is one)

cdef enum:
    # Bytes write_branch writes: "z9hG4bK" owner(2) slot(5) generation(6) check(6) "." loop hash(7), digits in base 32.
    BRANCH_LENGTH = 34

cdef struct Transaction:
    Timer retransmit
    Timer timeout            # B, F, H, then the waiting timer of the state
    uint32_t index           # slot in the slab
    uint32_t generation      # of the slot: a late answer never meets a reused slot
    uint8_t machine
    uint8_t state
    uint8_t method           # MethodId of the request
    uint8_t cancelled        # TU's: a CANCEL was sent (client) or received (server)
    uint16_t status          # last status passed up (client) or sent (server), 0 for none
    uint16_t branch          # TU's: which target of its response context (client)
    uint32_t interval        # ms of the running retransmission timer
    uint64_t key             # server: of the matching table
    Transaction* chain       # server: next in its bucket
    Transaction* cancel      # INVITE client: the client transaction of its CANCEL, which shares the branch
    Buffer* request          # server: as received, until the final response; client: as sent, while it may be resent
    Buffer* response         # server: last sent, while it may be asked for again; INVITE client: the ACK sent
    void* user               # TU's response context; NULL once the TU has let go
    uint64_t started         # ms
    uint64_t acked_tag       # server INVITE, RFC 2543 peers: hash of the To tag we answered with
    Flow flow                # server: where responses go; client: where the request goes

# What the transaction user provides. All are called from the worker's one thread.
cdef struct TransactionUser:
    void* self
    # Queue a buffer for sending (takes its own reference). 0, or -1 when it can never be sent: a transport error.
    int (*send)(void* self, const Flow* flow, Buffer* buffer) noexcept nogil
    # A response for the TU: every 1xx in Calling/Trying/Proceeding, the first final one, each 2xx to INVITE in Accepted.
    void (*on_response)(void* self, Transaction* client, const Message* response) noexcept nogil
    # B or F fired: client transaction timed out (then it terminates). H fired for a server: no ACK came.
    void (*on_timeout)(void* self, Transaction* transaction) noexcept nogil
    # send said -1 (client: then it terminates).
    void (*on_failure)(void* self, Transaction* transaction) noexcept nogil
    # The slot goes back right after this call: forget every pointer to it.
    void (*on_terminated)(void* self, Transaction* transaction) noexcept nogil
    # A timer of kind >= TIMER_USER is due.
    void (*on_timer)(void* self, Timer* timer) noexcept nogil

cdef struct TransactionSetup:
    uint32_t owner           # worker index, in our branches (0..1023)
    uint32_t incarnation     # seeds the generations
    uint32_t limit           # active (not merely waiting) transactions
    uint32_t t1, t2, t4      # ms
    HashKey branch_key
    HashKey table_key
    TransactionUser tu
    BufferPool* pool
    uint64_t now             # ms, monotonic

cdef struct Transactions:    # the layer of one worker
    Wheel* wheel
    BufferPool* pool
    uint64_t now             # ms; the caller sets it once a turn
    uint64_t live            # every slot in use
    uint64_t waiting         # of those, in Accepted, Completed or Confirmed with the TU done
    uint64_t retransmissions_in
    uint64_t retransmissions_out
    uint64_t strays
    TransactionSetup setup
    void* slab               # private
    void* table              # private

cdef enum Match:
    MATCH_NONE = 0           # no transaction: the TU decides
    MATCH_ABSORBED = 1       # a retransmission (answered again where there is an answer) or the ACK of a non-2xx: done
    MATCH_ACK_ACCEPTED = 2   # an ACK that meets an INVITE server transaction in Accepted: the TU forwards it (RFC 6026)

cdef Transactions* transactions_new(const TransactionSetup* setup) noexcept nogil     # NULL when memory is out
# Ends every transaction without events and frees all; returns how many were live.
cdef uint64_t transactions_free(Transactions* layer) noexcept nogil

# Server side. match_request looks for the request's transaction (17.2.3, RFC 2543 rules without the cookie).
cdef int match_request(Transactions* layer, const Message* m, const Flow* flow, Transaction** found) noexcept nogil
# A new server transaction in Proceeding/Trying that keeps `request` (takes a reference; NULL: the TU needs it no more) and
# answers to `flow`. NULL when the limit is reached. Not for ACK. Call after match_request said MATCH_NONE.
cdef Transaction* server_transaction(Transactions* layer, const Message* m, const Flow* flow, Buffer* request) noexcept nogil
# The INVITE server transaction a CANCEL names (9.2), or NULL.
cdef Transaction* find_cancelled(Transactions* layer, const Message* cancel) noexcept nogil
# Send a response (takes its own reference; resent as the machine says). A provisional after a final one is dropped.
# A 2xx to INVITE in Accepted is sent and not kept. Returns 1 if it was sent.
cdef int server_respond(Transactions* layer, Transaction* server, Buffer* response, int status) noexcept nogil

# Client side: take a slot, write its branch into the request being built, then start it.
cdef Transaction* client_transaction(Transactions* layer, int method) noexcept nogil   # NULL when full
cdef void write_branch(Transactions* layer, const Transaction* client, uint32_t loop_hash, uint8_t* out) noexcept nogil
# Sends `request` (takes a reference) and arms the timers. After a transport error on_failure was called and the
# transaction is gone: returns 0 then, else 1.
cdef int client_start(Transactions* layer, Transaction* client, Buffer* request, const Flow* flow) noexcept nogil
# Give back a slot that was never started.
cdef void client_discard(Transactions* layer, Transaction* client) noexcept nogil
# The CANCEL of an INVITE client transaction that has had a provisional (9.1): built, sent, its own machine. 1 if sent.
cdef int client_cancel(Transactions* layer, Transaction* client) noexcept nogil
# A response: found by its branch alone and run through its machine. 1 if one matched, 0 for a stray (count and drop).
cdef int receive_response(Transactions* layer, const Message* m) noexcept nogil
# The client transaction a response is for, if it is one of this worker's, else NULL.
cdef Transaction* answered_client(Transactions* layer, const Message* m) noexcept nogil
# And the one that wrote this branch, while it runs.
cdef Transaction* client_of_branch(Transactions* layer, const uint8_t* branch, uint32_t length) noexcept nogil
# Our branch: 1 and owner/loop hash if `branch` is one of ours with a valid check, else 0.
cdef int read_branch(const HashKey* key, const uint8_t* data, Slice branch, uint32_t* owner, uint32_t* loop_hash) noexcept nogil
# The branch of what is forwarded without a transaction (16.11): whose it is, then its check, then its text.
cdef struct StatelessBranch:
    uint64_t identity        # the same for the same request, its CANCEL, and the ACK of its refusal
    uint32_t loop_hash
    uint32_t listener        # by which the request came, 0 to 31
    uint32_t check           # what stateless_check says of the rest, or what came

cdef void stateless_identity(const HashKey* key, const Message* m, uint64_t call, StatelessBranch* out) noexcept nogil
cdef uint32_t stateless_check(const HashKey* key, const StatelessBranch* b, uint64_t call, const Address* sender) noexcept nogil
cdef void write_stateless_branch(const StatelessBranch* b, uint8_t* out) noexcept nogil          # BRANCH_LENGTH bytes
# 1 if it looks like one; only its check tells whether it is.
cdef int read_stateless_branch(const uint8_t* data, Slice branch, StatelessBranch* out) noexcept nogil
# What was sent for it could not be delivered after all: as if `send` had said -1.
cdef void transaction_failed(Transactions* layer, Transaction* transaction) noexcept nogil
# End a transaction now, without telling the TU, whatever its state.
cdef void transaction_end(Transactions* layer, Transaction* transaction) noexcept nogil
# Fire what is due at layer.now. At most `limit` timers a call; returns how many fired.
cdef int run_timers(Transactions* layer, int limit) noexcept nogil
cdef Transaction* transaction_at(Transactions* layer, uint32_t index, uint32_t generation) noexcept nogil  # NULL if gone

# Where the response to a request goes that came by `source` (18.2.2, RFC 3581).
cdef void answer_flow(Flow* out, const Flow* source, const Message* m) noexcept nogil
# The topmost via-parm of a request as its response carries it (18.2.1, RFC 3581 4).
cdef void put_top_via(Writer* w, const Message* m, const Flow* answer) noexcept nogil
