# cython: language_level=3
"""An extension outside of fastsip: parses without the GIL, and runs transactions with a transaction user in C.

setup.py builds it. `import_fastsip()` refuses a fastsip whose contracts are not those it was built against.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from fastsip._address cimport Flow, address_parse
from fastsip._layout cimport import_fastsip
from fastsip._memory cimport Buffer, BufferPool, buffer_copy, buffer_release, pool_init, pool_live, pool_trim
from fastsip._message cimport (
    DATAGRAM, HDR_ROUTE, METHOD_INVITE, Message, MessageView, Slice, find_parameter, next_value, parse_message,
    slice_length,
)
from fastsip._timer cimport Timer
from fastsip._transaction cimport (
    MATCH_NONE, Transaction, Transactions, TransactionSetup, match_request, run_timers, server_respond,
    server_transaction, transactions_free, transactions_new,
)

import_fastsip()


def routes(list messages):
    """How many Route values all these messages have together, counted in C."""
    cdef Message m
    cdef const uint8_t* data
    cdef uint32_t length
    cdef uint64_t total = 0
    cdef uint16_t line
    cdef Slice rest, value
    for each in messages:
        data, length = <const uint8_t*><char*>(<bytes>each), <uint32_t>len(<bytes>each)
        with nogil:
            if parse_message(&m, data, length, DATAGRAM) > 0:
                line = 0
                rest.start = rest.end = 0
                while next_value(&m, HDR_ROUTE, &line, &rest, &value) > 0:
                    total += 1
    return total


def branch_of(MessageView message not None):
    """The struct behind a fastsip.Message."""
    return (<const char*>message.m.data)[message.m.via.branch.start:message.m.via.branch.end]


cdef struct Log:
    int sent
    int timeouts
    int terminated


cdef int on_send(void* self, const Flow* flow, Buffer* buffer) noexcept nogil:
    (<Log*>self).sent += 1
    return 0


cdef void on_response(void* self, Transaction* client, const Message* response) noexcept nogil:
    pass


cdef void on_timeout(void* self, Transaction* transaction) noexcept nogil:
    (<Log*>self).timeouts += 1


cdef void on_terminated(void* self, Transaction* transaction) noexcept nogil:
    (<Log*>self).terminated += 1


cdef void on_timer(void* self, Timer* timer) noexcept nogil:
    pass


def refuse(bytes invite):
    """A server transaction that answers an INVITE and never gets an ACK: (sent, timeouts, terminated, live buffers)."""
    cdef Message m
    cdef Log log
    cdef BufferPool pool
    cdef TransactionSetup setup
    cdef Transactions* layer
    cdef Transaction* found
    cdef Flow flow
    cdef Buffer* request
    cdef Buffer* response
    cdef bytes answer = b"SIP/2.0 486 Busy Here\r\n" + invite.partition(b"\r\n")[2]
    memset(&log, 0, sizeof(log))
    memset(&setup, 0, sizeof(setup))
    memset(&flow, 0, sizeof(flow))
    pool_init(&pool)
    address_parse(&flow.remote, <const uint8_t*>b"192.0.2.1", 9, 5060)
    setup.limit, setup.t1, setup.t2, setup.t4, setup.now, setup.pool = 10, 500, 4000, 5000, 1, &pool
    setup.tu.self = &log
    setup.tu.send, setup.tu.on_response, setup.tu.on_timer = on_send, on_response, on_timer
    setup.tu.on_timeout = setup.tu.on_failure = on_timeout
    setup.tu.on_terminated = on_terminated
    layer = transactions_new(&setup)
    parse_message(&m, <const uint8_t*><char*>invite, <uint32_t>len(invite), DATAGRAM)
    assert match_request(layer, &m, &flow, &found) == MATCH_NONE
    request = buffer_copy(&pool, <char*>invite, <uint32_t>len(invite))
    found = server_transaction(layer, &m, &flow, request)
    response = buffer_copy(&pool, <char*>answer, <uint32_t>len(answer))
    server_respond(layer, found, response, 486)
    buffer_release(&pool, request)
    buffer_release(&pool, response)
    with nogil:
        while layer.live:
            layer.now += 1
            run_timers(layer, 100)
    transactions_free(layer)
    live = pool_live(&pool)
    pool_trim(&pool)
    return log.sent, log.timeouts, log.terminated, live
