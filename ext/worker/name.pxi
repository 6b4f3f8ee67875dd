# Names of next hops, from the hot thread's records to what the resolver's thread reads, and back.

cdef dict NAMED_TRANSPORTS = {
    TRANSPORT_UDP: "udp", TRANSPORT_TCP: "tcp", TRANSPORT_TLS: "tls", TRANSPORT_SCTP: "sctp", TRANSPORT_WS: "ws",
    TRANSPORT_WSS: "wss",
}
cdef dict NUMBERED_TRANSPORTS = {name: number for number, name in NAMED_TRANSPORTS.items()}


cdef object read_name_question(const NameQuestion* q):
    cdef char text[ADDRESS_TEXT]
    transport = NAMED_TRANSPORTS.get(q.transport)
    if q.kind == NAME_FAILED:
        return None, text[:address_host(&q.failed, text, False)].decode(), q.failed.port, transport, False
    host = (<const char*>q.host)[:q.length].decode("ascii")
    return (q.hash, q.token, bool(q.waits)), host, q.port or None, transport, bool(q.sips)


cdef int write_name_answer(NameAnswer* out, tuple key, double lifetime, servers) except -1:
    cdef NamedServer* server
    cdef bytes host
    cdef int before = -1
    memset(out, 0, sizeof(NameAnswer))
    out.hash, out.token, out.waits = key
    out.lifetime = <uint32_t>max(1.0, min(lifetime * 1000, 86400000.0))
    for transport, address, port, tier, choice, weight in servers:
        if out.count == NAME_SERVERS:
            break
        server = &out.servers[out.count]
        host = address.encode("ascii")
        if not address_parse(&server.address, <const uint8_t*>host, <uint32_t>len(host), port):
            raise ValueError(f"{address!r} is not a numeric address")
        if not weight > 0 or not 0 <= choice < NAME_SERVERS:
            raise ValueError(f"choice {choice} of weight {weight}")
        server.transport = NUMBERED_TRANSPORTS[transport]
        server.tier, server.choice, server.weight = tier, choice, weight
        server.leads = choice != before
        before = choice
        out.count += 1
    return 0
