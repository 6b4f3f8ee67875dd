# Flows: which way leads to a URI, to a binding, and back to whoever can only be reached through the connection he opened
# (RFC 5626). Such a flow stands as a token in the user part of our Record-Route URI: all of Flow that is needed to find it
# again, and a keyed hash, for it opens a way that its bearer could not open himself.

cdef enum:
    FLOW_MAC = 12                # hexadecimal digits
    FLOW_HEAD = 8 + 2 + 1 + 4    # connection, listen address, transport, port
    FLOW_TOKEN = 1 + FLOW_HEAD + 32 + FLOW_MAC       # the longest: with an IPv6 address


cdef inline bint is_recorded_flow(const Flow* flow) noexcept nogil:
    # A peer who is found by nothing else: browsers, who registered through this connection, who is behind a NAT.
    return flow.connection and (flow.reliable & FLOW_REGISTERED or flow.transport >= TRANSPORT_WS
                                or flow.transport == TRANSPORT_UDP)


cdef uint64_t flow_mac(const Proxy* p, const uint8_t* text, uint32_t length) noexcept nogil:
    cdef HashState h
    siphash_start(&h, &p.control.route_key)
    siphash_word(&h, 0x666C6F77)
    siphash_add(&h, text, length)
    return siphash_finish(&h) >> (64 - 4 * FLOW_MAC)


cdef void put_flow_token(const Proxy* p, Writer* w, const Flow* flow, uint8_t kind) noexcept nogil:
    # `f` in a Record-Route, `p` in a Path, `v` in a Via: none is another, for a Path's opens its way to whoever has it.
    cdef uint8_t* start = w.at
    cdef uint32_t i
    put(w, &kind, 1)
    put_hex(w, flow.connection, 8)
    put_hex(w, transport_listener(p.transport, flow.listener).index, 2)
    put_hex(w, flow.transport, 1)
    put_hex(w, flow.remote.port, 4)
    for i in range(4 if flow.remote.family == 4 else 16):
        put_hex(w, flow.remote.ip[i], 2)
    if not w.overflow:
        put_hex(w, flow_mac(p, start, <uint32_t>(w.at - start)), FLOW_MAC)


cdef bint read_hex(const uint8_t* text, uint32_t digits, uint64_t* out) noexcept nogil:
    cdef uint32_t i
    cdef uint8_t c
    out[0] = 0
    for i in range(digits):
        c = text[i]
        if 48 <= c <= 57:
            out[0] = out[0] << 4 | (c - 48)
        elif 97 <= c <= 102:
            out[0] = out[0] << 4 | (c - 87)
        else:
            return False
    return True


cdef bint looks_like_flow(const uint8_t* text, uint32_t length) noexcept nogil:
    cdef uint64_t value
    cdef uint32_t i
    if length != 1 + FLOW_HEAD + 8 + FLOW_MAC and length != FLOW_TOKEN:
        return False
    for i in range(1, length):
        if not read_hex(text + i, 1, &value):
            return False
    return text[0] == c'f' or text[0] == c'p'


cdef bint read_flow_token(const Proxy* p, const uint8_t* data, Slice user, uint8_t kind, Flow* out) noexcept nogil:
    # 1 if it is one that this server wrote.
    cdef const uint8_t* text = data + user.start
    cdef uint32_t length = slice_length(user), bytes, i
    cdef uint64_t value, mac
    cdef int number
    if length < 1 + FLOW_HEAD + 8 + FLOW_MAC or text[0] != kind:
        return False
    bytes = (length - 1 - FLOW_HEAD - FLOW_MAC) // 2
    if (bytes != 4 and bytes != 16) or length != 1 + FLOW_HEAD + 2 * bytes + FLOW_MAC:
        return False
    if not read_hex(text + length - FLOW_MAC, FLOW_MAC, &mac) or mac != flow_mac(p, text, length - FLOW_MAC):
        return False
    memset(out, 0, sizeof(Flow))
    read_hex(text + 1, 8, &value)
    out.connection = <uint32_t>value
    read_hex(text + 9, 2, &value)
    number = transport_numbered(p.transport, <int>value)
    if number < 0:
        return False
    out.listener = <uint16_t>number
    out.local = transport_listener(p.transport, number).address
    read_hex(text + 11, 1, &value)
    out.transport = <uint8_t>value
    out.reliable = FLOW_RELIABLE | FLOW_REGISTERED | FLOW_NAMED if out.transport != TRANSPORT_UDP else 0
    read_hex(text + 12, 4, &value)
    out.remote.port = <uint16_t>value
    out.remote.family = 4 if bytes == 4 else 6
    for i in range(bytes):
        read_hex(text + 1 + FLOW_HEAD + 2 * i, 2, &value)
        out.remote.ip[i] = <uint8_t>value
    return True


cdef int wanted_transport(const Uri* uri) noexcept nogil:
    # What a URI asks for (RFC 3263 4.1, RFC 5630 3.1.3): TRANSPORT_UNKNOWN if it leaves that to us.
    if uri.scheme == SCHEME_SIPS:
        return TRANSPORT_WSS if uri.transport == TRANSPORT_WS or uri.transport == TRANSPORT_WSS else TRANSPORT_TLS
    return uri.transport


cdef inline Slice uri_host(const uint8_t* data, const Uri* uri) noexcept nogil:
    cdef Slice maddr
    return maddr if find_parameter(data, uri.parameters, b"maddr", &maddr) and maddr.end > maddr.start else uri.host


cdef inline bint uri_address(const uint8_t* data, const Uri* uri, Address* out) noexcept nogil:
    # The address a URI names (RFC 3263 4), if that is numeric.
    cdef Slice host = uri_host(data, uri)
    cdef uint16_t port = uri.port if uri.port else (5061 if wanted_transport(uri) == TRANSPORT_TLS else 5060)
    return address_parse(out, data + host.start, slice_length(host), port)


cdef bint expect_host(Proxy* p, const uint8_t* data, const Uri* uri, Flow* flow) noexcept nogil:
    # At the address of a `maddr` has to be who the URI names; that is also how plans write the servers of a domain.
    if uri_host(data, uri).start == uri.host.start:
        return expect_called(p, flow)
    return transport_expect(p.transport, flow, data + uri.host.start, slice_length(uri.host))


cdef bint next_hop(Proxy* p, const uint8_t* data, const Uri* uri, const Flow* like, Flow* out) noexcept nogil:
    # Where a URI leads.
    cdef Address remote
    cdef int transport = wanted_transport(uri)
    if (uri.scheme != SCHEME_SIP and uri.scheme != SCHEME_SIPS) or transport >= TRANSPORT_WS:
        return False             # nobody connects to a browser
    if not uri_address(data, uri, &remote):
        return named_hop(p, data, uri_host(data, uri), uri, like, out)
    if not address_is_sendable(&remote):
        return False
    if transport == TRANSPORT_TLS:
        return transport_route(p.transport, like, &remote, transport, out) and expect_host(p, data, uri, out)
    if transport != TRANSPORT_UNKNOWN:
        return transport_route(p.transport, like, &remote, transport, out)
    return (transport_route(p.transport, like, &remote, TRANSPORT_UDP, out)
            or (like != NULL and like.transport == TRANSPORT_TCP
                and transport_route(p.transport, like, &remote, TRANSPORT_TCP, out)))


cdef inline bint hop_to(Proxy* p, bint secure, const uint8_t* data, Uri* uri, const Flow* like, Flow* out) noexcept nogil:
    # The same for a request; where that has a sips URI, whatever leads to it counts as one (16.6 step 7).
    if secure and uri.scheme == SCHEME_SIP:
        uri.scheme = SCHEME_SIPS
    return next_hop(p, data, uri, like, out)


cdef bint binding_flow(Proxy* p, const Binding* b, const Uri* contact, const Flow* like, Flow* out) noexcept nogil:
    # How to reach a binding: through the flow it was registered by, by its Path, or by its URI.
    cdef int number
    if b.path_length:
        return path_flow(p, b, like, out)
    if b.connection == 0:
        return next_hop(p, binding_uri(b), contact, like, out)
    number = transport_numbered(p.transport, b.listener)
    if number < 0:
        return False
    memset(out, 0, sizeof(Flow))
    memcpy(out.remote.ip, b.source_ip, 16)
    out.remote.family = b.source_family
    out.remote.port = b.source_port
    out.local = transport_listener(p.transport, number).address
    out.listener = <uint16_t>number
    out.transport = b.transport
    out.reliable = FLOW_RELIABLE | FLOW_REGISTERED if b.transport != TRANSPORT_UDP else 0
    out.connection = b.connection
    return True


cdef bint written_flow(const Proxy* p, const uint8_t* text, uint32_t length, Flow* out) noexcept nogil:
    # The hop of a planned target that is a device here, as fastsip/services/people.py writes it: digits of connection (8),
    # listen address (2), transport (1), port (4), then the address. Plans are made here, so nobody signs them.
    cdef uint64_t value
    cdef uint32_t i
    cdef int number
    if (length != FLOW_HEAD + 8 and length != FLOW_HEAD + 32) or not read_hex(text + 8, 2, &value):
        return False
    number = transport_numbered(p.transport, <int>value)
    if number < 0:
        return False
    memset(out, 0, sizeof(Flow))
    out.listener = <uint16_t>number
    out.local = transport_listener(p.transport, number).address
    read_hex(text, 8, &value)
    out.connection = <uint32_t>value
    read_hex(text + 10, 1, &value)
    out.transport = <uint8_t>value
    out.reliable = FLOW_RELIABLE | FLOW_REGISTERED if out.transport != TRANSPORT_UDP else 0
    read_hex(text + 11, 4, &value)
    out.remote.port = <uint16_t>value
    out.remote.family = 4 if length == FLOW_HEAD + 8 else 6
    for i in range((length - FLOW_HEAD) // 2):
        read_hex(text + FLOW_HEAD + 2 * i, 2, &value)
        out.remote.ip[i] = <uint8_t>value
    return True


cdef bint path_flow(Proxy* p, const Binding* b, const Flow* like, Flow* out) noexcept nogil:
    # The next hop is the first of its Path (RFC 3327 5.4).
    cdef Slice values
    cdef NameAddr first
    cdef Uri uri
    values.start, values.end = 0, b.path_length
    return (parse_name_addr(binding_path(b), values, &first) and parse_uri(binding_path(b), first.uri, &uri)
            and next_hop(p, binding_path(b), &uri, like, out))


cdef inline bint is_secure(int transport) noexcept nogil:
    return transport == TRANSPORT_TLS or transport == TRANSPORT_WSS


# What the transport brings that was not received as it should have been.

cdef void on_broken(Proxy* p, const Message* m, const Packet* packet) noexcept nogil:
    # The header section of a message whose end nobody knows (18.3); its connection ends with this answer.
    cdef Flow flow
    count_add(p.block, COUNT_dropped_malformed, 1)
    if m.kind != KIND_REQUEST or m.method == METHOD_ACK:
        return
    answer_flow(&flow, &packet.flow, m)
    answer(p, m, &flow, 400 if packet.kind == PACKET_NO_LENGTH else 513)


cdef void on_undelivered(Proxy* p, const Message* m, const Packet* packet) noexcept nogil:
    # 18.4: a request's client transaction learns that it failed. A response whose connection is gone goes where its Via
    # says, by a new one (18.2.2), once.
    cdef Transaction* client
    cdef Address remote
    cdef Buffer* buffer
    cdef Flow flow
    cdef uint16_t port
    if m.kind == KIND_REQUEST:
        client = answered_client(p.layer, m)
        if client != NULL:
            transaction_failed(p.layer, client)
        return
    count_add(p.block, COUNT_dropped_send, 1)
    if packet.flow.connection == 0 or packet.flow.transport >= TRANSPORT_WS or not m.via.host.end:
        return
    port = m.via.port if m.via.port else (5061 if packet.flow.transport == TRANSPORT_TLS else 5060)
    remote = packet.flow.remote
    remote.port = port
    if address_equal(&remote, &packet.flow.remote):
        return                   # that is where it was
    if not transport_route(p.transport, &packet.flow, &remote, packet.flow.transport, &flow):
        return
    if not address_parse(&remote, m.data + m.via.host.start, slice_length(m.via.host), port):
        transport_expect(p.transport, &flow, m.data + m.via.host.start, slice_length(m.via.host))
    buffer = buffer_copy(p.pool, m.data, m.size)
    if buffer != NULL:
        transport_send(p.transport, &flow, buffer)
    buffer_release(p.pool, buffer)


cdef void receive_other(Proxy* p, Message* m, const Packet* packet) noexcept nogil:
    # A packet that is none of those that were simply received.
    if packet.kind == PACKET_GONE:
        on_flow_gone(p, packet)
    elif packet.kind == PACKET_UNANSWERED:
        on_unanswered(p, packet)
    elif parse_message(m, packet.data, packet.length, DATAGRAM) <= 0 and packet.kind != PACKET_UNDELIVERED:
        if packet.kind == PACKET_TOO_LARGE:
            m.error_status = 513
        on_malformed(p, m, packet)
    elif packet.kind == PACKET_UNDELIVERED:
        if m.error == NULL:
            on_undelivered(p, m, packet)
    else:
        on_broken(p, m, packet)
