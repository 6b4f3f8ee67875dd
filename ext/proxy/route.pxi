# Request validation (RFC 3261 16.3) and Route preprocessing (16.4).

cdef enum:
    OWN_NUMBER = 3               # Routing.own of a tel URI: nobody's host, a number for the dial plan
    ASK_TEL = ASK_REQUESTS | ASK_NUMBERS

cdef int own_host(const Proxy* p, const uint8_t* data, const Uri* uri, const Flow* flow) noexcept nogil:
    # Whether this server is responsible for the URI's host: 2 for a domain (any port), 1 for a listen address (with its
    # port), 0 for somebody else's.
    cdef const uint8_t* host = data + uri.host.start
    cdef uint32_t length = slice_length(uri.host), i
    cdef uint16_t port = uri.port
    cdef Settings* s = p.settings
    cdef Address numeric
    cdef Listener* listener
    if length == 0:
        return 0
    for i in range(s.domain_count):
        if text_iequal(s.domains[i], host, length):
            return 2
    if host[0] == c'[' and domain_of_reference(p, host, length) != NULL:
        return 2
    if port == 0:
        port = 5061 if uri.scheme == SCHEME_SIPS else 5060
    if host[0] == c'[':
        host, length = host + 1, length - 2
    for i in range(s.listen_count):
        if s.listen[i].port == port and text_iequal(s.listen[i].host, host, length):
            return 1
    if flow.local.family and address_parse(&numeric, host, length, port) and address_same_ip(&numeric, &flow.local):
        listener = transport_listener(p.transport, flow.listener)
        return listener != NULL and listener.address.port == port
    return 0


cdef const Text* domain_of_reference(const Proxy* p, const uint8_t* host, uint32_t length) noexcept nogil:
    # The domain that is the same IPv6 address, in other words perhaps; NULL for none.
    cdef Address sought, domain
    cdef uint32_t i
    if address_parse(&sought, host, length, 0):
        for i in range(p.settings.domain_count):
            if (address_parse(&domain, p.settings.domains[i].data, p.settings.domains[i].length, 0)
                    and address_same_ip(&domain, &sought)):
                return &p.settings.domains[i]
    return NULL


cdef uint32_t address_of_record(const Proxy* p, const uint8_t* data, const Uri* uri, const Flow* flow,
                                uint8_t* out, uint32_t capacity) noexcept nogil:
    return own_address_of_record(p, data, uri, own_host(p, data, uri, flow), out, capacity)


cdef uint32_t own_address_of_record(const Proxy* p, const uint8_t* data, const Uri* uri, int own, uint8_t* out,
                                    uint32_t capacity) noexcept nogil:
    # Canonical user@domain (10.3 step 5), a listen address standing for the first domain, an IPv6 domain as it is
    # configured. 0 without a user or when the host is not ours, which own_host has said.
    cdef uint32_t length, at
    cdef const Text* domain = NULL
    if own == 0 or uri.user.end == uri.user.start:
        return 0
    length = canonical_aor(data, uri, out, capacity)
    if length and own == 1 and p.settings.domain_count:
        domain = &p.settings.domains[0]
    elif length and data[uri.host.start] == c'[':
        domain = domain_of_reference(p, data + uri.host.start, slice_length(uri.host))
    if domain != NULL:
        at = length
        while at and out[at - 1] != c'@':
            at -= 1
        if at + domain.length > capacity:
            return 0
        memcpy(out + at, domain.data, domain.length)
        length = at + domain.length
    return length


# The token in our Record-Route URIs, `rt`, says what the two ends of a dialog may have relayed without being asked who
# they are. Both ends see it, and either may be a stranger, so it opens only the ways the dialog began with. Two halves
# of 48 bits, for requests in the caller's direction and in the callee's, each a keyed hash over Call-ID, the caller's
# tag and one address:
#
#     caller, authenticated or trusted then: anywhere, but only from the address the first request came from
#     caller, a stranger:                    only to the address the first request was sent to
#     callee:                                only to the address the first request came from
#
# Whoever wants more is asked for a password like everybody, and without a To tag there is no dialog to have rights in.

cdef enum TokenKind:
    TOKEN_CALLER = 1
    TOKEN_STRANGER = 2
    TOKEN_CALLEE = 3


cdef inline void dialog_hash(const Proxy* p, const Message* m, uint64_t call, Slice caller_tag, HashState* h) noexcept nogil:
    # What both halves begin with.
    siphash_start(h, &p.control.route_key)
    siphash_word(h, call)
    siphash_add(h, m.data + caller_tag.start, slice_length(caller_tag))


cdef inline uint64_t route_token(const HashState* dialog, int kind, const Address* end) noexcept nogil:
    cdef HashState h = dialog[0]
    cdef uint64_t ip[2]
    memcpy(ip, end.ip, 16)
    siphash_word(&h, kind)
    siphash_word(&h, ip[0])
    siphash_word(&h, ip[1])
    return siphash_finish(&h) >> 16


cdef void put_token(const Proxy* p, Writer* w, const Message* m, const Routing* r, const Flow* out) noexcept nogil:
    cdef HashState dialog
    dialog_hash(p, m, r.call, m.from_tag, &dialog)
    if r.trusted or r.authenticated:
        put_hex(w, route_token(&dialog, TOKEN_CALLER, &r.source.remote), TOKEN_HALF)
    else:
        put_hex(w, route_token(&dialog, TOKEN_STRANGER, &out.remote), TOKEN_HALF)
    put_hex(w, route_token(&dialog, TOKEN_CALLEE, &r.source.remote), TOKEN_HALF)


cdef bint is_token(const uint8_t* half, const HashState* dialog, int kind, const Address* end) noexcept nogil:
    cdef uint8_t expected[TOKEN_HALF]
    cdef Writer w
    writer_init(&w, expected, TOKEN_HALF)
    put_hex(&w, route_token(dialog, kind, end), TOKEN_HALF)
    return memcmp(expected, half, TOKEN_HALF) == 0


cdef void check_token(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # After read_routes: whether the token that came with this request opens the way it wants to go.
    cdef const uint8_t* token = m.data + r.token.start
    cdef HashState dialog
    if r.token.end == 0 or m.to_tag.end == 0:
        return
    dialog_hash(p, m, r.call, m.from_tag, &dialog)
    if is_token(token, &dialog, TOKEN_CALLER, &r.source.remote):
        r.token_valid = True
        return
    if not find_hop(p, m, r) and not p.missed:
        return
    r.token_valid = token_leads(p, token, &dialog, TOKEN_STRANGER, r)
    if not r.token_valid:
        dialog_hash(p, m, r.call, m.to_tag, &dialog)
        r.token_valid = token_leads(p, token + TOKEN_HALF, &dialog, TOKEN_CALLEE, r)


cdef bint token_leads(Proxy* p, const uint8_t* half, const HashState* dialog, int kind, const Routing* r) noexcept nogil:
    # Whether it is for this way: for its hop, or any server of the name that leads there or, while that is looked for,
    # did when it was last known.
    cdef Address servers[8]
    cdef uint32_t i
    if r.hop_found and is_token(half, dialog, kind, &r.hop.remote):
        return True
    if p.located or p.missed:
        for i in range(named_addresses(p, servers)):
            if is_token(half, dialog, kind, &servers[i]):
                return True
    return False


cdef bint route_is_own(Proxy* p, const Message* m, const Uri* uri, Routing* r) noexcept nogil:
    # Whether a Route value names this server; its token is noted.
    cdef Slice token
    if not own_host(p, m.data, uri, &r.source):
        return False
    if find_parameter(m.data, uri.parameters, b"rt", &token) and slice_length(token) == 2 * TOKEN_HALF:
        if uri.user.end == uri.user.start or take_flow(p, m, uri, c'f', r):
            r.token = token
    elif uri.user.end > uri.user.start and take_flow(p, m, uri, c'p', r):
        r.path_given = True
    return True


cdef bint take_flow(Proxy* p, const Message* m, const Uri* uri, uint8_t kind, Routing* r) noexcept nogil:
    # The user part of our URI may say by which flow the request goes on; the last one counts. That of a Record-Route does
    # so inside a dialog only.
    if kind == c'f' and not m.to_tag.end:
        return False
    if not read_flow_token(p, m.data, uri.user, kind, &r.hop):
        r.forged |= looks_like_flow(m.data + uri.user.start, slice_length(uri.user))
        return False
    r.hop_sought = r.hop_found = True
    r.flow_given = kind == c'f'
    return True


cdef inline void settle_flow(Routing* r) noexcept nogil:
    # A flow was given for a dialog, or for a registrar elsewhere. In our domains it leads around nothing that is decided
    # there.
    if (r.flow_given or r.path_given) and r.own and not r.token_valid:
        r.hop_sought = r.hop_found = r.flow_given = r.path_given = False


cdef bint is_recorded(Proxy* p, const Message* m, const Header* h, Routing* r) noexcept nogil:
    # A Route line that is nothing but our Record-Route URI as put_record_route wrote it: known without parsing it.
    cdef const SentBy* own = sent_by(p, &r.source)
    cdef const uint8_t* value = m.data + h.value
    if (h.end - h.value != RECORDED_LENGTH + own.route_length or memcmp(value, b"<sip:", 5) != 0
            or memcmp(value + 5, own.text, own.route_length) != 0):
        return False
    value += 5 + own.route_length
    if memcmp(value, b";lr;rt=", 7) != 0 or value[7 + 2 * TOKEN_HALF] != c'>':
        return False
    if memchr(value + 7, c'>', 2 * TOKEN_HALF) != NULL:
        return False
    r.token.end = h.end - 1
    r.token.start = r.token.end - 2 * TOKEN_HALF
    return True


cdef void drop_route(Routing* r) noexcept nogil:
    r.route_count -= 1
    memmove(&r.routes[0], &r.routes[1], r.route_count * sizeof(Slice))
    r.rewrite_routes = True


cdef bint is_twin(Proxy* p, const Message* m, Routing* r, const Uri* uri) noexcept nogil:
    # The other one of two Record-Route URIs that went into one request (RFC 5658): it has the same token.
    cdef Slice token
    if (not r.token.end or not find_parameter(m.data, uri.parameters, b"rt", &token)
            or not bytes_equal(m.data + token.start, slice_length(token), m.data + r.token.start, slice_length(r.token))):
        return False
    if uri.user.end == uri.user.start:
        r.hop_sought = r.flow_given = False      # to the address the next one names
        return True
    return take_flow(p, m, uri, c'f', r)


cdef int read_routes(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.4. 0, or the status to answer.
    cdef uint16_t line = 0
    cdef Slice rest, value, token
    cdef NameAddr address
    cdef Uri uri
    cdef int more
    cdef bint recorded = False
    rest.start = rest.end = 0
    r.route_count = 0
    r.rewrite_routes = r.strict = r.hop_sought = r.path_given = r.flow_given = r.forged = False
    r.path_length = r.gruu = 0
    if not has_header(m, HDR_ROUTE):
        r.own = own_target(p, m, r)
        if r.target.parameters.end:
            if r.own == 0:
                strip_maddr(p, m, r)
            else:
                read_gruu(p, m, r)
        return 0
    if (r.target.user.end > r.target.user.start
            and is_recorded(p, m, &m.headers[m.first[<int>HDR_ROUTE]], r)):
        recorded = r.rewrite_routes = True
        line = m.first[<int>HDR_ROUTE] + 1
    while True:
        more = next_value(m, HDR_ROUTE, &line, &rest, &value)
        if more == 0:
            break
        if more < 0 or r.route_count == MAX_ROUTES:
            return 400
        r.routes[r.route_count] = value
        r.route_count += 1
    # A strict router before us put our Record-Route URI into the Request-URI: the last Route value is the real one.
    if (r.route_count and r.target.user.end == r.target.user.start
            and find_parameter(m.data, r.target.parameters, b"rt", &token) and route_is_own(p, m, &r.target, r)):
        r.route_count -= 1
        r.rewrite_routes = True
        if not parse_name_addr(m.data, r.routes[r.route_count], &address) or not parse_uri(m.data, address.uri, &r.target):
            return 400
        drop_headers(&r.target)
    if r.route_count and not recorded:
        if not parse_name_addr(m.data, r.routes[0], &address) or not parse_uri(m.data, address.uri, &uri):
            return 400
        if route_is_own(p, m, &uri, r):
            drop_route(r)
    while r.route_count:
        if not parse_name_addr(m.data, r.routes[0], &address) or not parse_uri(m.data, address.uri, &r.next_hop):
            return 400
        if not is_twin(p, m, r, &r.next_hop):
            break
        drop_route(r)
    if r.route_count:
        if not r.next_hop.lr:
            r.strict = True
            r.rewrite_routes = True
            drop_headers(&r.next_hop)
    if r.forged:
        return 403               # RFC 5626 5.3.1
    r.own = 0 if r.route_count else own_target(p, m, r)
    if r.target.parameters.end:
        if r.own == 0:
            strip_maddr(p, m, r)
        elif read_gruu(p, m, r):
            r.hop_sought = False # a GRUU leads to its own flow
    return 0


cdef void strip_maddr(const Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.4: a maddr of ours has done its work by bringing the request here. What is written next is the Request-URI without
    # it, and without a port that belonged to it.
    cdef Slice maddr, rest = r.target.parameters, name, value
    cdef Uri named = r.target
    cdef Writer w
    if r.target.scheme != SCHEME_SIP and r.target.scheme != SCHEME_SIPS:
        return
    if r.target.transport != TRANSPORT_UNKNOWN and not transport_has(p.transport, r.target.transport):
        return
    if not find_parameter(m.data, rest, b"maddr", &maddr) or maddr.end == maddr.start:
        return
    if m.data[maddr.start] == c'[' and (slice_length(maddr) < 3 or m.data[maddr.end - 1] != c']'):
        return                   # a parameter's value, which has not been read as a host is
    named.host = maddr
    if not own_host(p, m.data, &named, &r.source):
        return
    writer_init(&w, r.binding, MAX_URI)
    put(&w, m.data + r.target.whole.start, r.target.host.end - r.target.whole.start)
    if r.target.port == 5060:
        put(&w, b":5060", 5)
    while next_parameter(m.data, &rest, &name, &value) > 0:
        if is_name(m.data, name, b"maddr", 5):
            continue
        put(&w, b";", 1)
        put_slice(&w, m.data, name)
        if value.end > value.start:
            put(&w, b"=", 1)
            put_slice(&w, m.data, value)
    if w.overflow:
        return
    r.binding_length = <uint32_t>(w.at - w.start)
    r.target.port = 0
    r.target.parameters.start = r.target.parameters.end = 0
    if not r.route_count:
        r.own = own_target(p, m, r)


cdef inline int own_target(const Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    return OWN_NUMBER if r.target.scheme == SCHEME_TEL else own_host(p, m.data, &r.target, &r.source)


cdef uint32_t loop_hash(const Proxy* p, const Message* m, uint64_t call) noexcept nogil:
    # What decides where a request goes (RFC 5393 4.2.2): when it comes back with all of it unchanged, it loops; with
    # another Request-URI or Route it spirals.
    cdef HashState h
    cdef uint32_t i
    siphash_start(&h, &p.control.branch_key)
    tablehash_word(&h, call)
    tablehash_word(&h, <uint64_t>m.method << 32 | m.cseq)
    tablehash_add(&h, m.data + m.uri.start, slice_length(m.uri))
    tablehash_add(&h, m.data + m.from_tag.start, slice_length(m.from_tag))
    tablehash_add(&h, m.data + m.to_tag.start, slice_length(m.to_tag))
    if m.method == METHOD_UNKNOWN:
        tablehash_add(&h, m.data + m.method_text.start, slice_length(m.method_text))
    if has_header(m, HDR_ROUTE):
        for i in range(m.header_count):
            if m.headers[i].id == HDR_ROUTE:
                tablehash_add(&h, m.data + m.headers[i].value, m.headers[i].end - m.headers[i].value)
    return <uint32_t>tablehash_finish(&h)


cdef bint is_loop(const Proxy* p, const Message* m, uint32_t hash) noexcept nogil:
    # 16.3 step 4: one of our branches, with the hash this request has now.
    cdef uint32_t i, owner, seen
    cdef Slice value
    cdef Via via
    if read_branch(&p.control.branch_key, m.data, m.via.branch, &owner, &seen) and seen == hash:
        return True
    value = m.via.next
    i = m.first[<int>HDR_VIA]
    while True:
        while value.end > value.start and parse_via(m.data, value, &via):
            if read_branch(&p.control.branch_key, m.data, via.branch, &owner, &seen) and seen == hash:
                return True
            value = via.next
        i += 1
        while i < m.header_count and m.headers[i].id != HDR_VIA:
            i += 1
        if i == m.header_count:
            return False
        value.start, value.end = m.headers[i].value, m.headers[i].end


cdef inline void drop_headers(Uri* uri) noexcept nogil:
    # Headers mean nothing in a Request-URI (19.1.1, table 1), and must not go on in one (RFC 4475 3.1.2.11).
    if uri.headers.end:
        uri.whole.end = uri.headers.start - 1


cdef int validate(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.3 steps 1 to 5 for requests that are forwarded or served. 0, or the status to answer; 1 when answered.
    if not parse_uri(m.data, m.uri, &r.target):
        return 400
    drop_headers(&r.target)
    if (r.target.scheme != SCHEME_SIP and not (r.target.scheme == SCHEME_TEL and p.settings.asks & ASK_TEL)
            and not (r.target.scheme == SCHEME_SIPS and (transport_has(p.transport, TRANSPORT_TLS)
                                                         or transport_has(p.transport, TRANSPORT_WSS)))):
        return 416               # sips asks for TLS on every hop (RFC 5630 3)
    if m.to_tag.end and m.to_tag.start == m.to_tag.end:
        return 400               # a dialog to one reader, none to the next
    if m.max_forwards == 0 and m.method != METHOD_OPTIONS and m.method != METHOD_REGISTER:
        return 483               # those two may end here, and are asked again before they go on
    if m.method == METHOD_ACK:
        return 0
    r.loop_hash = loop_hash(p, m, r.call)
    if is_loop(p, m, r.loop_hash):
        count_add(p.block, COUNT_loops, 1)
        return 482
    return 0
