# The transaction layer of one worker: RFC 3261 chapter 17 with RFC 6026. What the machines do is data in fsm.h; here is
# where transactions live (slab), how messages find them (table, key, branch), and the one function that moves them
# (machine). Nothing takes a lock: a transaction belongs to one worker, and so does every message that concerns it.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from fastsip._address cimport ADDRESS_TEXT, Address, Flow, address_host, address_parse, address_same_ip
from fastsip._hash cimport (
    HashKey, HashState, siphash, siphash_add, siphash_finish, siphash_start, siphash_word, tablehash, tablehash_add,
    tablehash_add_folded, tablehash_finish, tablehash_word,
)
from fastsip._memory cimport Buffer, buffer_hold, buffer_new, buffer_release
from fastsip._message cimport (
    DATAGRAM, HDR_CALL_ID, HDR_FROM, HDR_ROUTE, HDR_TO, METHOD_ACK, METHOD_CANCEL, METHOD_INVITE, METHOD_UNKNOWN,
    TRANSPORT_TLS, Message, Slice, Via, Writer, line_end, parse_message, put, put_number, put_slice, put_text, slice_length,
    writer_init,
)
from fastsip._timer cimport Timer, timer_arm, timer_cancel, wheel_expire, wheel_free, wheel_new

cdef extern from "check.h" nogil:
    void CHECK(bint condition) noexcept
    void poison(void* memory, size_t size) noexcept

cdef extern from "fsm.h" nogil:
    enum Event:
        EVENT_REQUEST, EVENT_1XX, EVENT_2XX, EVENT_300_699, EVENT_ACK
        EVENT_RETRANSMIT, EVENT_TIMEOUT, EVENT_WAITED, EVENT_ERROR
    enum Action:
        STOP_RETRANSMIT, STOP_TIMEOUT, START_RETRANSMIT, DOUBLE, DOUBLE_TO_T2, AT_T2, START_TIMEOUT, START_WAIT
        SEND_REQUEST, SEND_RESPONSE, RESEND, SEND_ACK, PASS_REQUEST, PASS_RESPONSE, PASS_ACK, TELL_TIMEOUT, TELL_ERROR
    enum Keep:
        KEEP_REQUEST, KEEP_RESPONSE
    ctypedef struct Arrow:
        uint8_t next
        uint32_t actions
    const Arrow[4][8][9] FSM
    const uint8_t[4][8] KEEPS
    const char[4][8] WAIT
    bint is_waiting(int state) noexcept
    uint32_t wait_of(char letter, bint reliable, uint32_t t1, uint32_t t4) noexcept

cdef enum:
    WAITING_PER_ACTIVE = 16      # waiting transactions are small, but bounded as well

include "transaction/slab.pxi"
include "transaction/table.pxi"
include "transaction/branch.pxi"
include "transaction/stateless.pxi"
include "transaction/key.pxi"
include "transaction/answer.pxi"
include "transaction/build.pxi"
include "transaction/machine.pxi"
include "transaction/server.pxi"
include "transaction/client.pxi"


cdef Transactions* transactions_new(const TransactionSetup* setup) noexcept nogil:
    cdef Transactions* layer = <Transactions*>calloc(1, sizeof(Transactions))
    if layer == NULL:
        return NULL
    layer.setup = setup[0]
    layer.pool = setup.pool
    layer.now = setup.now
    layer.wheel = wheel_new(setup.now)
    layer.slab = calloc(1, sizeof(Slab))
    layer.table = calloc(1, sizeof(Table))
    if layer.wheel == NULL or layer.slab == NULL or layer.table == NULL or not table_init(<Table*>layer.table):
        transactions_free(layer)
        return NULL
    return layer


cdef uint64_t transactions_free(Transactions* layer) noexcept nogil:
    cdef uint64_t live = layer.live
    cdef Slab* slab = <Slab*>layer.slab
    cdef Transaction* t
    cdef uint32_t i
    if live:
        for i in range(slab.count << CHUNK_BITS):
            t = &slab.chunks[i >> CHUNK_BITS][i & (CHUNK - 1)]
            if t.retransmit.kind != NOT_TAKEN:
                release(layer, t)
    CHECK(layer.live == 0 and layer.waiting == 0)
    if slab != NULL:
        slab_free(slab)
    if layer.table != NULL:
        table_free(<Table*>layer.table)
    free(slab)
    free(layer.table)
    wheel_free(layer.wheel)
    free(layer)
    return live


cdef inline bint is_full(Transactions* layer, uint64_t limit) noexcept nogil:
    return layer.live - layer.waiting >= limit or layer.waiting >= WAITING_PER_ACTIVE * limit


cdef Transaction* take(Transactions* layer, int machine, int method) noexcept nogil:
    cdef Transaction* t = slab_take(layer)
    if t == NULL:
        return NULL
    t.retransmit.kind = TIMER_RETRANSMIT     # the rest of both timers is zero: not armed
    t.timeout.kind = TIMER_TIMEOUT
    t.machine = <uint8_t>machine
    t.method = <uint8_t>method
    t.started = layer.now
    return t
