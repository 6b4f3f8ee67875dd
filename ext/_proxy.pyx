# cython: language_level=3
"""The transaction user of a proxy, compiled (RFC 3261 16, 10.3, 8.2).

One function per section of chapter 16, in `ext/proxy/`: validation and Route preprocessing in route.pxi, rights in
admit.pxi, targets in target.pxi, next hops that are names in names.pxi, questions to the policy in ask.pxi, execution
of plans in plan.pxi, the table of gateways in gateway.pxi, what is not proxied with a transaction in role.pxi,
redirect.pxi and stateless.pxi, forwarding in forward.pxi, responses in response.pxi, branches that fail in failure.pxi
and what stands in for them in spares.pxi, CANCEL in cancel.pxi, the 100 in trying.pxi, responses that lead astray in
astray.pxi, REGISTER in register.pxi, what it may say beyond RFC 3261 in outbound.pxi and gruu.pxi, ways and connections
in flow.pxi, large requests in large.pxi, the answers made here in answer.pxi, and the context that joins them in
context.pxi.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strlen

from fastsip._address cimport *
from fastsip._control cimport *
from fastsip._digest cimport *
from fastsip._hash cimport *
from fastsip._location cimport *
from fastsip._memory cimport *
from fastsip._message cimport *
from fastsip._plan cimport *
from fastsip._queue cimport *
from fastsip._targets cimport *
from fastsip._timer cimport *
from fastsip._transaction cimport *
from fastsip._transport cimport *

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t length)

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t haystack_length, const void* needle, size_t needle_length)

cdef enum:
    SCRATCH_SIZE = 131072
    MAX_DATAGRAM = 65507
    AOR_SIZE = 512
    MAX_CONTACTS = 64            # in one REGISTER
    TOKEN_HALF = 12              # hexadecimal digits
    RECORDED_LENGTH = 5 + 7 + 2 * TOKEN_HALF + 1     # of a Record-Route value, but for host, port and transport
    TIMER_C = TIMER_USER
    TIMER_WAIT_STATE = TIMER_USER + 1
    TIMER_TRYING = TIMER_USER + 2
    TIMER_RING = TIMER_USER + 3
    TIMER_WAIT_POLICY = TIMER_USER + 4
    TIMER_WAIT_NAME = TIMER_USER + 6
    TIMER_ABANDONED = TIMER_USER + 5                 # in place of a client transaction's own
    MAX_CHALLENGES = 8192        # bytes of aggregated challenges
    MAX_HELD = 256

cdef uint64_t EDITED = ((<uint64_t>1 << <int>HDR_VIA) | (<uint64_t>1 << <int>HDR_MAX_FORWARDS)
                        | (<uint64_t>1 << <int>HDR_ROUTE) | (<uint64_t>1 << <int>HDR_PROXY_AUTHORIZATION)
                        | (<uint64_t>1 << <int>HDR_MAX_BREADTH) | (<uint64_t>1 << <int>HDR_P_ASSERTED_IDENTITY)
                        | (<uint64_t>1 << <int>HDR_P_PREFERRED_IDENTITY))

include "proxy/answer.pxi"
include "proxy/route.pxi"
include "proxy/admit.pxi"
include "proxy/context.pxi"
include "proxy/names.pxi"
include "proxy/flow.pxi"
include "proxy/forward.pxi"
include "proxy/target.pxi"
include "proxy/gateway.pxi"
include "proxy/ask.pxi"
include "proxy/role.pxi"
include "proxy/redirect.pxi"
include "proxy/stateless.pxi"
include "proxy/plan.pxi"
include "proxy/spares.pxi"
include "proxy/large.pxi"
include "proxy/response.pxi"
include "proxy/failure.pxi"
include "proxy/cancel.pxi"
include "proxy/trying.pxi"
include "proxy/astray.pxi"
include "proxy/outbound.pxi"
include "proxy/gruu.pxi"
include "proxy/register.pxi"
include "proxy/settings.pxi"


cdef Proxy* proxy_new(const ProxySetup* setup) noexcept nogil:
    cdef Proxy* p = <Proxy*>calloc(1, sizeof(Proxy))
    if p == NULL:
        return NULL
    p.layer = setup.layer
    p.transport = setup.transport
    p.pool = setup.pool
    p.segment = setup.segment
    p.digest = setup.digest
    p.control = setup.control
    p.block = &setup.control.worker[setup.worker]
    p.facts = setup.facts
    p.questions = setup.questions
    p.targets = setup.targets
    p.worker = setup.worker
    p.names_asked = setup.names
    proxy_follow(p, setup.settings)
    if setup.names != NULL:
        p.names = names_new(p)
    p.request = <Message*>malloc(sizeof(Message))
    p.stored = <Message*>malloc(sizeof(Message))
    p.scratch = <uint8_t*>malloc(SCRATCH_SIZE)
    p.fact = <uint8_t*>malloc(SCRATCH_SIZE)
    if (p.request == NULL or p.stored == NULL or p.scratch == NULL or p.fact == NULL
            or (setup.names != NULL and p.names == NULL)):
        proxy_free(p)
        return NULL
    return p


cdef void proxy_free(Proxy* p) noexcept nogil:
    cdef ContextChunk* chunk
    if p == NULL:
        return
    proxy_drop(p)
    chunk = <ContextChunk*>p.context_chunks
    while chunk != NULL:
        p.context_chunks = chunk.next
        free(chunk)
        chunk = <ContextChunk*>p.context_chunks
    names_free(p)
    free(p.called)
    free(p.request)
    free(p.stored)
    free(p.scratch)
    free(p.fact)
    free(p)


cdef void proxy_drop(Proxy* p) noexcept nogil:
    # Every context goes, unanswered.
    cdef ContextChunk* chunk = <ContextChunk*>p.context_chunks
    cdef uint32_t i
    for i in range(p.held_count):
        buffer_release(p.pool, p.held[i].response)
    p.held_count = 0
    while chunk != NULL:
        for i in range(CONTEXT_CHUNK):
            if chunk.contexts[i].used:
                context_free(p, &chunk.contexts[i])
        chunk = chunk.next


cdef void proxy_finish(Proxy* p) noexcept nogil:
    cdef ContextChunk* chunk = <ContextChunk*>p.context_chunks
    cdef ResponseContext* ctx
    cdef uint32_t i
    cdef int status
    while chunk != NULL:
        for i in range(CONTEXT_CHUNK):
            ctx = &chunk.contexts[i]
            if not ctx.used:
                continue
            cancel_all(p, ctx)
            if not ctx.final_sent:
                status = 487 if ctx.cancelled else 503
                if ctx.method == METHOD_INVITE and ctx.initial:
                    count_call(p, status)
                respond(p, ctx, NULL, status)
            context_free(p, ctx)
        chunk = chunk.next


cdef void on_malformed(Proxy* p, const Message* m, const Packet* packet) noexcept nogil:
    # An answer where one would go to its sender; a counted drop otherwise. Parameters of the Via may be unreadable, but
    # without its host nobody knows where to.
    cdef Flow flow
    cdef Slice via = header_value(m, HDR_VIA), host = via
    count_add(p.block, COUNT_dropped_malformed, 1)
    if m.kind != KIND_REQUEST or m.method == METHOD_ACK or m.error_status < 300:
        return
    if not parse_via(m.data, via, &p.request.via):
        host.end = host.start
        while host.end < via.end and memchr(b";,(", m.data[host.end], 3) == NULL:
            host.end += 1
        if not parse_via(m.data, host, &p.request.via):
            return
    answer_flow(&flow, &packet.flow, m)
    answer(p, m, &flow, m.error_status)


cdef void on_request(Proxy* p, const Message* m, const Packet* packet) noexcept nogil:
    cdef Routing r
    cdef Transaction* found
    cdef int matched, status
    r.source = packet.flow
    r.token_valid = r.authenticated = r.stateless = False
    r.trusted = TRUST_NOBODY
    r.token.start = r.token.end = 0
    r.aor_length = r.binding_length = r.bindings = r.servers = 0
    r.sender = SENDER_UNREAD
    p.missed = False
    answer_flow(&r.answer, &packet.flow, m)
    p.call = packet.call
    matched = match_request(p.layer, m, &r.answer, &found)
    if matched == MATCH_ABSORBED:
        if found != NULL and found.status == 0:
            repeat_trying(p, m, found)
        return
    p.call = r.call = packet.call if packet.call else call_hash(p, m)
    if m.method == METHOD_CANCEL:
        on_cancel(p, m, &r)
        return
    if packet.flow.transport == TRANSPORT_TLS:
        note_alias(p, m, &packet.flow)
    status = validate(p, m, &r)
    if status == 0:
        status = read_routes(p, m, &r)
    if status == 0:
        check_token(p, m, &r)
        settle_flow(&r)
    if p.detours and takes_detour(p, m, &r, status):
        return
    if m.method == METHOD_ACK:
        if status == 0:
            r.trusted = trust_of_sender(p, &r)
            forward_ack(p, m, &r)
        return
    if status:
        answer(p, m, &r.answer, status)
        return
    if m.method == METHOD_REGISTER and r.own:
        on_register(p, m, &r)
        return
    if has_header(m, HDR_PROXY_REQUIRE):
        answer_unsupported(p, m, &r.answer, HDR_PROXY_REQUIRE)
        return
    if admit(p, m, &r):
        proxy_request_on(p, m, &r)


cdef void proxy_receive(Proxy* p, Packet* packet) noexcept nogil:
    cdef Message* m = p.request
    p.call = 0
    if packet.kind != PACKET_RECEIVED:
        receive_other(p, m, packet)
        return
    if parse_message(m, packet.data, packet.length, DATAGRAM) <= 0:
        on_malformed(p, m, packet)
        return
    if m.kind == KIND_REQUEST and m.method == METHOD_REGISTER:
        p.registers += 1
    else:
        p.others += 1
    if m.kind == KIND_RESPONSE:
        if leads_astray(p, m, packet):
            count_add(p.block, COUNT_dropped_unsendable, 1)
            return
        if receive_response(p.layer, m):
            count_add(p.block, COUNT_responses_in, 1)    # with our branch on it, so no question whose it is
            return
    if not packet.claimed and not transport_claim(p.transport, packet, m.data + m.call_id.start, slice_length(m.call_id)):
        return
    if m.kind == KIND_REQUEST:
        count_add(p.block, COUNT_requests_in, 1)
        on_request(p, m, packet)
        return
    count_add(p.block, COUNT_responses_in, 1)
    if not pass_response(p, m, packet):
        # The answer to a ping (fastsip/process/pinging.py), whatever it says, or nobody's.
        if slice_length(m.via.branch) > 13 and memcmp(m.data + m.via.branch.start, b"z9hG4bK-ping-", 13) == 0:
            count_add(p.block, COUNT_pings_answered, 1)
        else:
            count_add(p.block, COUNT_dropped_stray, 1)
