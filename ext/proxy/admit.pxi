# Who may do what: trusted neighbours, Digest (RFC 3261 22), and the right to be relayed.

cdef inline int trust_of(const Proxy* p, const Flow* flow) noexcept nogil:
    # Whose address that is. A gateway called by TCP or TLS has none that a datagram could pretend to come from.
    cdef uint32_t i
    for i in range(p.settings.believed_count):
        if network_contains(&p.settings.trusted[i], &flow.remote):
            if i < p.settings.trusted_count:
                return TRUST_NEIGHBOUR
            if is_as_safe(flow.transport, p.settings.believed_by[i - p.settings.trusted_count]):
                return TRUST_GATEWAY
    return TRUST_NOBODY


cdef inline bint is_as_safe(int transport, int least) noexcept nogil:
    # Whether a request by this transport may be of a gateway that is called by that one.
    if least == TRANSPORT_TLS:
        return is_secure(transport)
    return least == TRANSPORT_UDP or transport != TRANSPORT_UDP


cdef inline int trust_of_sender(const Proxy* p, const Routing* r) noexcept nogil:
    return TRUST_NEIGHBOUR if p.settings.open_relay else trust_of(p, &r.source)


cdef inline bint may_relay(const Routing* r) noexcept nogil:
    # Whether a sender may go to somebody else's domain.
    return r.token_valid or r.authenticated or r.trusted == TRUST_NEIGHBOUR


cdef bint realm_is_own(const Proxy* p, const Flow* source, const uint8_t* realm, uint32_t length) noexcept nogil:
    # Whether a challenge of this server may have named it: the realm it is told, a domain, an address it is reached at.
    cdef Settings* s = p.settings
    cdef Address numeric
    cdef uint32_t i
    if s.realm.length:
        return bytes_equal(realm, length, s.realm.data, s.realm.length)
    for i in range(s.domain_count):
        if text_iequal(s.domains[i], realm, length):
            return True
    if length > 2 and realm[0] == c'[':
        realm, length = realm + 1, length - 2
    for i in range(s.listen_count):
        if text_iequal(s.listen[i].host, realm, length):
            return True
    return address_parse(&numeric, realm, length, 0) and address_same_ip(&numeric, &source.local)


cdef bint credentials_are_own(const Proxy* p, const Message* m, const Flow* source, const Header* h) noexcept nogil:
    # A Proxy-Authorization line for our realm: taken out before forwarding (22.3).
    cdef Credentials c
    cdef Slice value
    value.start, value.end = h.value, h.end
    return (parse_credentials(m.data, value, &c) and c.digest
            and realm_is_own(p, source, m.data + c.realm.start, slice_length(c.realm)))


cdef Text realm_of(const Proxy* p, Text domain) noexcept nogil:
    # The realm the users of a domain are asked in.
    return p.settings.realm if p.settings.realm.length else domain


cdef Text domain_of(const uint8_t* aor, uint32_t length) noexcept nogil:
    cdef Text domain
    cdef uint32_t at = user_length(aor, length) + 1
    domain.data, domain.length = <uint8_t*>aor + at, length - at
    return domain


cdef Text home_domain(const Proxy* p, const Flow* source, char* room) noexcept nogil:
    # Where somebody lives who does not say so: in the first domain, or at the address he came to. `room` is ADDRESS_TEXT.
    cdef Text domain
    cdef Address address
    if p.settings.domain_count:
        return p.settings.domains[0]
    transport_sent_by(p.transport, source, &address)
    domain.length = address_host(&address, room, True)
    domain.data = <uint8_t*>room
    return domain


cdef uint32_t user_length(const uint8_t* aor, uint32_t length) noexcept nogil:
    cdef uint32_t at = 0
    while at < length and aor[at] != c'@':
        at += 1
    return at


cdef void challenge(Proxy* p, const Message* m, const Flow* flow, bint proxy, Text realm, bint stale) noexcept nogil:
    cdef Writer w
    cdef int status = 407 if proxy else 401
    count_add(p.block, COUNT_auth_challenges, 1)
    response_begin(p, &w, m, flow, status)
    put_challenge(p.digest, &w, proxy, realm.data, realm.length, stale, p.wall)
    send_buffer(p, flow, response_end(p, &w))


cdef bint can_prove(const Proxy* p, int method, int trusted, bint authenticated) noexcept nogil:
    # Whether a sender without rights is asked who he is, and not simply refused.
    return not trusted and not authenticated and method != METHOD_ACK and (p.settings.required >> method) & 1


cdef void put_anybody(Proxy* p, Writer* w, const Flow* source) noexcept nogil:
    # The challenge to a sender of whom nothing is known.
    cdef char room[ADDRESS_TEXT]
    cdef Text realm = realm_of(p, home_domain(p, source, room))
    count_add(p.block, COUNT_auth_challenges, 1)
    put_challenge(p.digest, w, True, realm.data, realm.length, False, p.wall)


cdef void refuse_relay(Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # What it asks for takes rights: 407 for who can still prove to be somebody, 403 for the others.
    cdef Writer w
    if can_prove(p, m.method, r.trusted, r.authenticated):
        response_begin(p, &w, m, &r.answer, 407)
        put_anybody(p, &w, &r.source)
        send_buffer(p, &r.answer, response_end(p, &w))
        return
    count_add(p.block, COUNT_relay_denied, 1)
    answer(p, m, &r.answer, 403)


cdef enum:
    SENDER_UNREAD = 0            # Routing.sender
    SENDER_READ = 1
    SENDER_UNREADABLE = 2

cdef bint read_sender(const Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # From, once: the address-of-record in it where that is one of ours, and whether it names nobody (RFC 3323 4.1.1.3).
    # False if it cannot be read.
    cdef NameAddr sender
    cdef Slice end
    cdef Uri uri
    if r.sender == SENDER_UNREAD:
        r.sender = SENDER_UNREADABLE
        r.aor_length = 0
        if parse_name_addr(m.data, header_value(m, HDR_FROM), &sender) and parse_uri(m.data, sender.uri, &uri):
            r.sender = SENDER_READ
            r.aor_length = address_of_record(p, m.data, &uri, &r.source, r.aor, AOR_SIZE)
            end.start, end.end = <uint16_t>(uri.host.end - 17), uri.host.end
            r.anonymous = uri.host.end - uri.host.start >= 17 and is_name(m.data, end, b"anonymous.invalid", 17)
    return r.sender == SENDER_READ


cdef int find_credentials(const Proxy* p, const Message* m, int header, Text realm, Credentials* c) noexcept nogil:
    # Those that answer a challenge in this realm. 0 if there are none, -1 if what is there cannot be read.
    cdef Slice value
    cdef uint32_t i
    for i in range(m.header_count):
        if m.headers[i].id != header:
            continue
        value.start, value.end = m.headers[i].value, m.headers[i].end
        if not parse_credentials(m.data, value, c):
            return -1
        if (c.digest and bytes_equal(m.data + c.realm.start, slice_length(c.realm), realm.data, realm.length)
                and credentials_algorithm(m.data, c) & p.settings.algorithms):
            return 1
    return 0


cdef uint32_t credentials_aor(const Message* m, const Credentials* c, Text domain, uint8_t* out) noexcept nogil:
    # HA1 is over the bare name (22.4), so that is what a client must say. 0 if it is nobody's.
    cdef uint32_t length = slice_length(c.username)
    if length == 0 or length + 1 + domain.length > AOR_SIZE:
        return 0
    memcpy(out, m.data + c.username.start, length)
    out[length] = c'@'
    memcpy(out + length + 1, domain.data, domain.length)
    return length + 1 + domain.length


cdef enum:
    AUTH_ANSWERED = 0            # a challenge or an error went out
    AUTH_OK = 1
    AUTH_REPLAYED = 2            # right in all, but the nonce is spent: good for nothing but the same answer again


cdef int check_password(Proxy* p, const Message* m, const Credentials* c, const uint8_t* aor,
                        uint32_t length) noexcept nogil:
    # A DigestResult.
    cdef const uint8_t* value
    cdef const User* user
    cdef const char* ha1
    if length and segment_find(p.segment, RECORD_USER, aor, length, &value, &length) and length >= sizeof(User):
        user = <const User*>value
        ha1 = &user.ha1_sha256[0]
        if credentials_algorithm(m.data, c) == DIGEST_MD5:
            ha1 = &user.ha1_md5[0]
        if ha1[0]:
            return digest_check(p.digest, m, c, ha1, p.wall)
    return digest_check_nobody(p.digest, m, c, p.wall)


cdef int authenticate(Proxy* p, const Message* m, Routing* r, bint proxy, const uint8_t* aor, uint32_t aor_length,
                      Text domain) noexcept nogil:
    # Digest of `aor` (user@domain, the From or To of a local user), who must be the one who authenticates: 403 else; of
    # anybody in the domain where it is NULL, and then he is the sender.
    cdef Text realm = realm_of(p, domain)
    cdef uint8_t key[AOR_SIZE]
    cdef uint32_t length
    cdef Credentials c
    cdef int result = find_credentials(p, m, <int>HDR_PROXY_AUTHORIZATION if proxy else <int>HDR_AUTHORIZATION, realm, &c)
    if result < 0:
        answer(p, m, &r.answer, 400)
        return AUTH_ANSWERED
    if result == 0:
        challenge(p, m, &r.answer, proxy, realm, False)
        return AUTH_ANSWERED
    length = credentials_aor(m, &c, domain, key)
    result = check_password(p, m, &c, key, length)
    if result == DIGEST_MALFORMED:
        answer(p, m, &r.answer, 400)
        return AUTH_ANSWERED
    if result == DIGEST_OK or result == DIGEST_REPLAY or result == DIGEST_FORGOTTEN or result == DIGEST_STALE:
        if aor != NULL and not bytes_equal(key, length, aor, aor_length):
            count_add(p.block, COUNT_auth_failures, 1)
            answer(p, m, &r.answer, 403)
            return AUTH_ANSWERED
        if result == DIGEST_OK or (result == DIGEST_REPLAY and r.stateless):
            if aor == NULL:
                memcpy(r.aor, key, length)
                r.aor_length = length
            return AUTH_OK
        if result == DIGEST_REPLAY:
            count_add(p.block, COUNT_auth_replays, 1)
        if not proxy and m.method == METHOD_REGISTER and result != DIGEST_STALE:
            return AUTH_REPLAYED
        challenge(p, m, &r.answer, proxy, realm, True)
        return AUTH_ANSWERED
    if result == DIGEST_WRONG:
        count_add(p.block, COUNT_auth_failures, 1)
    challenge(p, m, &r.answer, proxy, realm, False)
    return AUTH_ANSWERED


cdef inline bint admit(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.3 step 6: 0 when the request was answered (407, 403, 400). An ACK cannot be challenged; a request inside a
    # dialog this server recorded is not asked again.
    r.trusted = trust_of_sender(p, r)
    r.authenticated = False
    if m.method == METHOD_ACK or r.trusted or r.token_valid or not (p.settings.required >> m.method) & 1:
        return True
    return prove_sender(p, m, r)


cdef bint prove_sender(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # Who lives here proves it; who does not say so, be he anonymous or somebody else's user, may call ours, and is asked
    # who he is when he wants more. 0 when the request was answered.
    cdef char room[ADDRESS_TEXT]
    cdef Credentials c
    cdef Text home
    # A URI that cannot be read here might be one of our users to whoever reads it next.
    if not read_sender(p, m, r):
        answer(p, m, &r.answer, 400)
        return False
    if r.aor_length:
        r.authenticated = authenticate(p, m, r, True, r.aor, r.aor_length, domain_of(r.aor, r.aor_length)) == AUTH_OK
        return r.authenticated
    if has_header(m, HDR_PROXY_AUTHORIZATION):
        home = home_domain(p, &r.source, room)
        if find_credentials(p, m, HDR_PROXY_AUTHORIZATION, realm_of(p, home), &c) == 1:
            r.authenticated = authenticate(p, m, r, True, NULL, 0, home) == AUTH_OK
            return r.authenticated
    return True


cdef void read_sender_again(const Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # Of a request that was admitted before.
    cdef char room[ADDRESS_TEXT]
    cdef Credentials c
    cdef Text home
    read_sender(p, m, r)
    if r.authenticated and r.aor_length == 0:
        home = home_domain(p, &r.source, room)
        if find_credentials(p, m, HDR_PROXY_AUTHORIZATION, realm_of(p, home), &c) == 1:
            r.aor_length = credentials_aor(m, &c, home, r.aor)
