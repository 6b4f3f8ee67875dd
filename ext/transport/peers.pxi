# Who has to be found at the other end of a connection with TLS: the domain that was looked for, whatever host and address
# its DNS led to (RFC 5922 4, RFC 3263 4.1). Until there is a connection, the flow says who by a number where the name of
# the connection will stand.
#
# A flow is a value and may be copied, so nobody knows when the last one with a number is gone. Numbers are therefore given
# out in a circle, and one that is in the older half of it is given out anew: a domain keeps its number for as long as it is
# asked for, and a number its domain until 32,768 others came after whoever had it last. Connections remember a keyed hash
# of their domain instead, for they may stay for days.

cdef enum:
    PEERS = FLOW_CONNECTIONS     # 0 is none
    PEER_BUCKETS = 4096
    PEER_LONGEST = 253           # bytes

cdef struct Peer:
    uint64_t hash                # never 0
    uint32_t length
    uint8_t name[1]              # and more; lower case

cdef struct Peers:
    uint16_t newest
    uint16_t first[4096]         # by hash
    uint16_t next[65536]
    Peer* known[65536]


cdef Peer* peer_numbered(const TransportState* t, uint32_t number) noexcept nogil:
    # NULL: it is to be its address.
    return t.peers.known[number] if t.peers != NULL and number < PEERS else NULL


cdef uint16_t peer_found(const Peers* all, uint64_t hash, const uint8_t* name, uint32_t length) noexcept nogil:
    cdef uint16_t number = all.first[hash % PEER_BUCKETS]
    cdef const Peer* peer
    while number:
        peer = all.known[number]
        if peer.hash == hash and peer.length == length and memcmp(peer.name, name, length) == 0:
            break
        number = all.next[number]
    return number


cdef void peer_drop(Peers* all, uint16_t number) noexcept nogil:
    cdef Peer* peer = all.known[number]
    cdef uint16_t* at
    if peer == NULL:
        return
    at = &all.first[peer.hash % PEER_BUCKETS]
    while at[0] != number:
        at = &all.next[at[0]]
    at[0] = all.next[number]
    free(peer)
    all.known[number] = NULL


cdef void peers_free(TransportState* t) noexcept nogil:
    cdef uint32_t number
    if t.peers == NULL:
        return
    for number in range(PEERS):
        free(t.peers.known[number])
    free(t.peers)


cdef bint transport_expect(TransportState* t, Flow* flow, const uint8_t* name, uint32_t length) noexcept nogil:
    cdef uint8_t lower[PEER_LONGEST]
    cdef uint64_t hash
    cdef uint16_t number
    cdef Peer* peer
    cdef uint32_t i
    if flow.transport != TRANSPORT_TLS:
        return True
    if length == 0 or length > PEER_LONGEST:
        return False
    if t.peers == NULL:
        t.peers = <Peers*>calloc(1, sizeof(Peers))
        if t.peers == NULL:
            return False
    for i in range(length):
        lower[i] = name[i] | 0x20 if c'A' <= name[i] <= c'Z' else name[i]
    hash = siphash(&t.control.branch_key, lower, length) | 1
    number = peer_found(t.peers, hash, lower, length)
    if number and <uint16_t>(t.peers.newest - number) < PEERS // 2:
        flow.connection = number
        return True
    peer = <Peer*>malloc(sizeof(Peer) + length)
    if peer == NULL:
        return False
    peer.hash, peer.length = hash, length
    memcpy(peer.name, lower, length)
    number = t.peers.newest + 1 if t.peers.newest != PEERS - 1 else 1
    peer_drop(t.peers, number)
    t.peers.newest = number
    t.peers.known[number] = peer
    t.peers.next[number] = t.peers.first[hash % PEER_BUCKETS]
    t.peers.first[hash % PEER_BUCKETS] = number
    flow.connection = number
    return True


cdef uint64_t peer_of(const TransportState* t, const Flow* flow) noexcept nogil:
    # Connection.peer of a connection for this flow.
    cdef const Peer* peer = peer_numbered(t, flow.connection) if flow.transport == TRANSPORT_TLS else NULL
    return peer.hash if peer != NULL else 0


cdef bint certificate_is_of(const TransportState* t, Connection* c, const Flow* flow) noexcept nogil:
    # Whether whoever accepted, or was accepted, has proved to be whom this flow is to lead to.
    cdef const Peer* peer = peer_numbered(t, flow.connection)
    cdef char address[ADDRESS_TEXT]
    if c.tls == NULL or not tls_peer_verified(c.tls):
        return False
    if peer != NULL:
        return tls_peer_is(c.tls, peer.name, peer.length)
    return tls_peer_is(c.tls, <const uint8_t*>address, address_host(&flow.remote, address, False))


# Connections that were accepted and go both ways (RFC 5923): the peer asked for it by `alias` in his Via, and both have
# shown a certificate, he one that we would take from a server. He is found by the port he gave there last, by requests
# to a name in his certificate; in the worker that accepted him, for the others open their own.

cdef void transport_alias(TransportState* t, const Flow* flow, uint16_t port) noexcept nogil:
    cdef Flow handed = flow[0]
    cdef Connection* c
    cdef uint32_t said = port
    if t.streams == NULL or flow.transport != TRANSPORT_TLS or flow.connection < FLOW_CONNECTIONS or port == 0:
        return
    if connection_worker(flow.connection) == t.worker:
        c = connection_named(t, flow)
        if c == NULL or c.finishing or c.tls == NULL or not tls_peer_serves(c.tls):
            return
        if c.offered and (c.alias == 0 or c.alias == port):
            return                   # we opened it, or it is known
        if c.offered:
            connection_withdraw(t.streams, c)
        c.alias = port
        connection_offer(t.streams, c)
    elif connection_worker(flow.connection) < t.workers:
        handed.listener = t.listeners[flow.listener].index
        hand_over(t, connection_worker(flow.connection), RING_ALIAS, &handed, &said, sizeof(said))
