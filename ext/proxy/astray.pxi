# Responses whose next Via leads to everybody, to nobody, or to this very machine when the request came from elsewhere
# (draft-ietf-sip-call-flows 8.14, RFC 4475 3.3.10). We send by the transaction and never by that Via, but what comes
# with one answers no request of ours, and whoever waits for the answer should go on waiting.

cdef inline bint leads_astray(Proxy* p, const Message* m, const Packet* packet) noexcept nogil:
    # Nearly all next Vias are seen to be harmless by the first characters of a host.
    cdef uint32_t line = m.first[<int>HDR_VIA] + 1
    cdef const Header* h
    cdef const uint8_t* at
    while line < m.header_count and m.headers[line].id != HDR_VIA:
        line += 1
    h = &m.headers[line]
    at = m.data + h.value
    if (line < m.header_count and h.end - h.value > 16 and memcmp(at, b"SIP/2.0/UDP ", 12) == 0
            and not m.via.next.end):
        if at[12] == c'1':
            if memcmp(at + 12, b"127.", 4) != 0 or address_is_loopback(&packet.flow.remote):
                return False
        elif at[12] > c'0' and (at[12] != c'2' or at[13] < c'2') and at[12] != c'[':
            return False                     # names, and addresses but 0.x, and 22.x to 29.x and 220.x to 255.x
    return is_astray(p, m, line, packet)


cdef bint is_astray(Proxy* p, const Message* m, uint32_t line, const Packet* packet) noexcept nogil:
    # `line` is the next with a Via, or behind the last.
    cdef Slice value = m.via.next, host
    cdef const Transaction* server
    cdef Address address
    cdef Via via
    if not value.end:
        if line == m.header_count:
            return False
        value.start, value.end = m.headers[line].value, m.headers[line].end
    if not parse_via(m.data, value, &via):
        return False
    host = via.received if via.received.end > via.received.start else via.host
    if not address_parse(&address, m.data + host.start, slice_length(host), 5060):
        return False
    if not address_is_sendable(&address):
        return True
    if not address_is_loopback(&address) or address_is_loopback(&packet.flow.remote):
        return False
    server = answered_by(answered_client(p.layer, m))
    return server != NULL and not address_same_ip(&address, &server.flow.remote)


cdef const Transaction* answered_by(const Transaction* client) noexcept nogil:
    # The server transaction whose request this client transaction carries on, NULL if that is over.
    if client == NULL or client.user == NULL:
        return NULL
    return <const Transaction*>client.user if client.branch == LINKED else (<ResponseContext*>client.user).server
