# Requests too large for a datagram (RFC 3261 18.1.1): they go by TCP, where who is reached leaves the transport to us. A
# peer that refuses, or says nothing for a while, gets the datagram after all, and for some time no more attempts.

cdef enum Large:
    LARGE_NO = 0
    LARGE_STREAM = 1             # Target.large: it went by TCP because of its size
    LARGE_DATAGRAM = 2           # and then by UDP all the same

cdef enum:
    LARGE_SILENCE = 2000         # ms
    LARGE_MEMORY = 600000        # ms without another attempt
    LARGE_PLACES = 64
    LARGE_ROOM = 200             # what a request may grow by on its way through: Via, Record-Route


cdef inline Refusal* refusal_of(Proxy* p, const Address* remote) noexcept nogil:
    return &p.refusals[address_hash(remote) >> 58]


cdef bint leaves_transport_open(Proxy* p, const ResponseContext* ctx, const Target* target, const Message* m,
                                const Routing* r, Flow* flow) noexcept nogil:
    # Whether the URI that led to the target names none, and the way by TCP then.
    cdef const uint8_t* data = m.data
    cdef const Uri* uri = &r.next_hop if r.route_count else &r.target
    cdef Slice text
    cdef Uri own
    if target.order != NULL and (target.order.hop.length or target.order.routes.length):
        data, uri = leading_uri(ctx, target, &text), &own
        if data == NULL or not parse_uri(data, text, &own) or own.scheme == SCHEME_UNKNOWN:
            return False             # or it is a flow
    elif not r.route_count and target.uri != NULL:
        data, uri = target.uri, &own
        text.start, text.end = 0, <uint16_t>target.uri_length
        if not parse_uri(data, text, &own):
            return False
    if uri.transport != TRANSPORT_UNKNOWN:
        return False
    own = uri[0]
    own.transport = TRANSPORT_TCP
    if uri.port == 0 and not address_parse(&flow.remote, data + uri.host.start, slice_length(uri.host), 0):
        return named_stream(p, ctx, target, data, &own, flow)
    return transport_route(p.transport, &ctx.source, &target.flow.remote, TRANSPORT_TCP, flow)


cdef bint named_stream(Proxy* p, const ResponseContext* ctx, const Target* target, const uint8_t* data, const Uri* uri,
                       Flow* flow) noexcept nogil:
    # A domain says who has TCP for it, and whether anybody (RFC 3263 4.1). Where that is not known after all a datagram
    # goes.
    cdef Names* n = <Names*>p.names
    cdef const Name* name
    if n == NULL or not read_name(p, data, uri_host(data, uri), uri, &n.missed):
        return False
    name = name_find(n, n.missed.hash, p.layer.now)
    if name == NULL:
        ask_where(p, NULL)
        return False
    return name.count != 0 and transport_route(p.transport, &ctx.source, &name.servers[0].address, TRANSPORT_TCP, flow)


cdef void seek_stream(Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # A request that may be too large for a datagram to a domain, of which it is not known whether it has TCP: that is
    # missed then, as the domain itself would be.
    cdef const Uri* uri = &r.next_hop if r.route_count else &r.target
    cdef Names* n = <Names*>p.names
    cdef Uri stream
    if (m.size + LARGE_ROOM <= p.settings.udp_max or p.located == 0 or p.missed or r.hop.transport != TRANSPORT_UDP
            or uri.transport != TRANSPORT_UNKNOWN or uri.port):
        return
    stream = uri[0]
    stream.transport = TRANSPORT_TCP
    if read_name(p, m.data, uri_host(m.data, uri), &stream, &n.missed):
        p.missed = name_find(n, n.missed.hash, p.layer.now) == NULL


cdef bint takes_stream(Proxy* p, const ResponseContext* ctx, Target* target, const Message* m, const Routing* r,
                       uint32_t length) noexcept nogil:
    # 1: it is to be written again, for the flow the target has now.
    cdef const Refusal* refusal
    cdef Flow flow
    if (length <= p.settings.udp_max or target.flow.transport != TRANSPORT_UDP
            or target.large != LARGE_NO or flow_is_fixed(&target.flow)):
        return False
    if not leaves_transport_open(p, ctx, target, m, r, &flow):
        return False
    refusal = refusal_of(p, &flow.remote)
    if p.layer.now < refusal.until and address_equal(&refusal.remote, &flow.remote):
        return False
    target.datagrams = target.flow.remote
    target.flow = flow
    target.large = LARGE_STREAM
    return True


cdef bint back_to_datagrams(Proxy* p, ResponseContext* ctx, Target* target) noexcept nogil:
    # Nothing came of TCP: the branch begins anew. 0 if that is not what happened.
    cdef Refusal* refusal
    cdef const Message* m
    cdef Routing r
    cdef Flow flow
    cdef int status
    if target.large != LARGE_STREAM or target.status or ctx.final_sent or ctx.stopped or target.step != ctx.step:
        return False
    refusal = refusal_of(p, &target.flow.remote)
    refusal.remote = target.flow.remote
    refusal.until = p.layer.now + LARGE_MEMORY
    if not transport_route(p.transport, &ctx.source, &target.datagrams, TRANSPORT_UDP, &flow):
        return False
    m = reopen(p, ctx, &r)
    if m == NULL:
        return False
    end_target(p, ctx, target)
    target.flow = flow
    target.large = LARGE_DATAGRAM
    status = start_target(p, ctx, target, m, &r)
    if status:
        target.state = TARGET_DONE
        target.breadth = 0
        gateway_done(p, target, False)
        consider(p, ctx, target, status, NULL)
        go_on(p, ctx)
    return True
