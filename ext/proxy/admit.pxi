# Who may do what: trusted neighbours, Digest (RFC 3261 22), and the right to be relayed.

cdef int trust_of(const Proxy* p, const Address* address) noexcept nogil:
    cdef uint32_t i
    for i in range(p.settings.believed_count):
        if network_contains(&p.settings.trusted[i], address):
            return TRUST_NEIGHBOUR if i < p.settings.trusted_count else TRUST_GATEWAY
    return TRUST_NOBODY


cdef inline int trust_of_sender(const Proxy* p, const Routing* r) noexcept nogil:
    return TRUST_NEIGHBOUR if p.settings.open_relay else trust_of(p, &r.source.remote)


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


cdef Text realm_of(const Proxy* p, const uint8_t* aor, uint32_t length) noexcept nogil:
    # The realm a user is asked in: the configured one, else the domain of the address-of-record.
    cdef Text realm = p.settings.realm
    cdef uint32_t at
    if realm.length == 0:
        at = user_length(aor, length) + 1
        realm.data, realm.length = <uint8_t*>aor + at, length - at
    return realm


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


cdef enum:
    AUTH_ANSWERED = 0            # a challenge or an error went out
    AUTH_OK = 1
    AUTH_REPLAYED = 2            # right in all, but the nonce is spent: good for nothing but the same answer again


cdef int authenticate(Proxy* p, const Message* m, const Routing* r, bint proxy, const uint8_t* aor,
                      uint32_t aor_length) noexcept nogil:
    # Digest of `aor` (user@domain, the From or To of a local user), who must be the one who authenticates: 403 else.
    cdef int header = <int>HDR_PROXY_AUTHORIZATION if proxy else <int>HDR_AUTHORIZATION
    cdef Text realm = realm_of(p, aor, aor_length)
    cdef uint32_t at = user_length(aor, aor_length), i, length, key_length
    cdef uint8_t key[AOR_SIZE]
    cdef const uint8_t* value
    cdef const User* user
    cdef const char* ha1
    cdef Credentials c
    cdef Slice text
    cdef int result, algorithm
    for i in range(m.header_count):
        if m.headers[i].id != header:
            continue
        text.start, text.end = m.headers[i].value, m.headers[i].end
        if not parse_credentials(m.data, text, &c):
            answer(p, m, &r.answer, 400)
            return AUTH_ANSWERED
        if not c.digest or not bytes_equal(m.data + c.realm.start, slice_length(c.realm), realm.data, realm.length):
            continue
        algorithm = credentials_algorithm(m.data, &c)
        if not algorithm & p.settings.algorithms:
            continue
        # HA1 is over the bare name (22.4), so that is what a client must say; its domain is the address-of-record's.
        length = slice_length(c.username)
        key_length = length + aor_length - at
        if key_length > AOR_SIZE:
            continue
        memcpy(key, m.data + c.username.start, length)
        memcpy(key + length, aor + at, aor_length - at)
        if segment_find(p.segment, RECORD_USER, key, key_length, &value, &length) and length >= sizeof(User):
            user = <const User*>value
            ha1 = &user.ha1_sha256[0]
            if algorithm == DIGEST_MD5:
                ha1 = &user.ha1_md5[0]
            if ha1[0] == 0:
                result = digest_check_nobody(p.digest, m, &c, p.wall)
            else:
                result = digest_check(p.digest, m, &c, ha1, p.wall)
        else:
            result = digest_check_nobody(p.digest, m, &c, p.wall)
        if result == DIGEST_OK or result == DIGEST_REPLAY or result == DIGEST_FORGOTTEN or result == DIGEST_STALE:
            if not bytes_equal(key, key_length, aor, aor_length):
                count_add(p.block, COUNT_auth_failures, 1)
                answer(p, m, &r.answer, 403)
                return AUTH_ANSWERED
        if result == DIGEST_OK:
            return AUTH_OK
        if result == DIGEST_MALFORMED:
            answer(p, m, &r.answer, 400)
            return AUTH_ANSWERED
        if result == DIGEST_REPLAY or result == DIGEST_FORGOTTEN or result == DIGEST_STALE:
            if result == DIGEST_REPLAY:
                count_add(p.block, COUNT_auth_replays, 1)
            if m.method == METHOD_REGISTER and result != DIGEST_STALE:
                return AUTH_REPLAYED
            challenge(p, m, &r.answer, proxy, realm, True)
            return AUTH_ANSWERED
        if result == DIGEST_WRONG:
            count_add(p.block, COUNT_auth_failures, 1)
        break
    challenge(p, m, &r.answer, proxy, realm, False)
    return AUTH_ANSWERED


cdef bint admit(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.3 step 6: 0 when the request was answered (407, 403, 400). An ACK cannot be challenged; a request inside a
    # dialog this server recorded is not asked again.
    cdef NameAddr sender
    cdef Uri uri
    cdef uint8_t aor[AOR_SIZE]
    cdef uint32_t length
    cdef int result
    r.trusted = trust_of_sender(p, r)
    r.authenticated = False
    if m.method == METHOD_ACK or r.trusted or r.token_valid:
        return True
    if not (p.settings.required >> m.method) & 1:
        return True
    # A URI that cannot be read here might be one of our users to whoever reads it next.
    if not parse_name_addr(m.data, header_value(m, HDR_FROM), &sender) or not parse_uri(m.data, sender.uri, &uri):
        answer(p, m, &r.answer, 400)
        return False
    length = address_of_record(p, m.data, &uri, &r.source, aor, AOR_SIZE)
    if length == 0:
        return True              # somebody else's user: may call ours, and nothing more
    result = authenticate(p, m, r, True, aor, length)
    r.authenticated = result == AUTH_OK
    if r.authenticated:
        memcpy(r.aor, aor, length)
        r.aor_length = length
    return r.authenticated
