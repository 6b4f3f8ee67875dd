# The client's half of Digest (RFC 3261 22, RFC 7616, RFC 8760), for two challengers at once: who says 401 and who says 407.
#
# What a person was told last is kept: the next request carries credentials at once, with the next nc, until the server says
# that the nonce is stale. A scenario that wants each request challenged (`fresh`) forgets it.

cdef enum:
    HA_ROOM = 64                 # hex of the longer hash


cdef void open_hashes(Hashes* h) noexcept nogil:
    if hash_open(&h.sha256, &h.crypto, 1):
        h.able |= DIGEST_SHA256
    if hash_open(&h.md5, &h.crypto, 0):
        h.able |= DIGEST_MD5


cdef inline bint is_challenge(const Message* m) noexcept nogil:
    return m.status == 401 or m.status == 407


cdef inline bint hash_hex(Hash* hash, uint8_t* out) noexcept nogil:
    # The digest of what was added, in hex: 2 * hash.size characters.
    cdef uint8_t raw[32]
    cdef uint32_t i
    if not hash_finish(hash, raw):
        return False
    for i in range(hash.size):
        out[2 * i] = <uint8_t>HEX[raw[i] >> 4]
        out[2 * i + 1] = <uint8_t>HEX[raw[i] & 15]
    return True


cdef inline bint same_letters(const uint8_t* at, const char* word, uint32_t length) noexcept nogil:
    # `word` is lower case.
    cdef uint32_t i
    for i in range(length):
        if (at[i] | 0x20 if at[i] >= c'A' and at[i] <= c'Z' else at[i]) != <uint8_t>word[i]:
            return False
    return True


cdef bint is_stale(const uint8_t* data, Slice value) noexcept nogil:
    # stale=true (RFC 7616 3.3), with or without quotes.
    cdef uint32_t at = value.start, behind
    while at + 10 <= value.end:
        if same_letters(data + at, b"stale=", 6):
            behind = at + 6 + (data[at + 6] == c'"')
            if behind + 4 <= value.end and same_letters(data + behind, b"true", 4):
                return True
        at += 1
    return False


cdef int offers_auth(const uint8_t* data, Slice qop) noexcept nogil:
    # 1 if qop has "auth" in its list, 0 if there is no qop (RFC 2069), -1 if it wants only what we do not do.
    cdef uint32_t at = qop.start, end
    if qop.end == 0:
        return 0
    while at < qop.end:
        while at < qop.end and (data[at] == c' ' or data[at] == c',' or data[at] == c'\t'):
            at += 1
        end = at
        while end < qop.end and data[end] != c',' and data[end] != c' ':
            end += 1
        if end - at == 4 and same_letters(data + at, b"auth", 4):
            return 1
        at = end + 1
    return -1


cdef inline uint8_t* realm_of(Auth* a) noexcept nogil:
    return <uint8_t*>(a + 1)


cdef bint learn(Load* l, Call* c, const Message* m, int which, bint* stale) noexcept nogil:
    # From the first challenge we can answer: servers put what they like best on top (RFC 8760 2.4). False if there is none.
    cdef Person* person = &l.person[c.person]
    cdef int header = HDR_PROXY_AUTHENTICATE if which else HDR_WWW_AUTHENTICATE
    cdef Credentials asked
    cdef Slice value
    cdef int algorithm, qop
    cdef uint32_t i
    stale[0] = False
    for i in range(m.header_count):
        if m.headers[i].id != header:
            continue
        value.start, value.end = m.headers[i].value, m.headers[i].end
        if not parse_credentials(m.data, value, &asked) or not asked.digest or not asked.realm.end or not asked.nonce.end:
            continue
        algorithm = credentials_algorithm(m.data, &asked)
        qop = offers_auth(m.data, asked.qop)
        if not algorithm & l.hashes.able or qop < 0:
            continue
        stale[0] = is_stale(m.data, value)
        return remember(l, person, m, &asked, which, algorithm, qop)
    return False


cdef bint remember(Load* l, Person* person, const Message* m, const Credentials* asked, int which, int algorithm,
                   int qop) noexcept nogil:
    cdef Auth* a = person.auth[which]
    cdef uint32_t realm = slice_length(asked.realm), nonce = slice_length(asked.nonce), opaque = slice_length(asked.opaque)
    cdef bint same = (a != NULL and a.algorithm == algorithm and a.realm == realm
                      and memcmp(realm_of(a), m.data + asked.realm.start, realm) == 0)
    cdef uint8_t inside = a.inside if a != NULL else 0
    cdef Hash* hash = &l.hashes.sha256 if algorithm == DIGEST_SHA256 else &l.hashes.md5
    if a == NULL or a.room < realm + nonce + opaque:
        a = <Auth*>realloc(a, sizeof(Auth) + realm + nonce + opaque + 32)
        if a == NULL:
            return False
        a.room = realm + nonce + opaque + 32
        person.auth[which] = a
    a.algorithm, a.auth, a.inside, a.nc = <uint8_t>algorithm, <uint8_t>qop, inside, 0
    a.realm, a.nonce, a.opaque = <uint16_t>realm, <uint16_t>nonce, <uint16_t>opaque
    if m.cseq_method != METHOD_REGISTER:
        a.inside = True
    memcpy(realm_of(a), m.data + asked.realm.start, realm)
    memcpy(realm_of(a) + realm, m.data + asked.nonce.start, nonce)
    memcpy(realm_of(a) + realm + nonce, m.data + asked.opaque.start, opaque)
    if same:
        return True
    hash_start(hash)
    hash_add(hash, person.name.at, person.name.length)
    hash_add(hash, b":", 1)
    hash_add(hash, realm_of(a), realm)
    hash_add(hash, b":", 1)
    hash_add(hash, person.password.at, person.password.length)
    return hash_hex(hash, a.ha1)


cdef bint put_credentials(Writer* w, Load* l, const Person* person, Auth* a, int which, const uint8_t* method,
                          uint32_t method_length, const uint8_t* uri, uint32_t uri_length) noexcept nogil:
    cdef Hash* hash = &l.hashes.sha256 if a.algorithm == DIGEST_SHA256 else &l.hashes.md5
    cdef uint8_t ha2[HA_ROOM]
    cdef uint8_t response[HA_ROOM]
    cdef uint8_t cnonce[16]
    cdef uint8_t nc[8]
    cdef const uint8_t* nonce = realm_of(a) + a.realm
    a.nc += 1
    write_hex8(nc, a.nc)
    write_hex8(cnonce, <uint32_t>(random_word(&l.secrets) >> 32))
    write_hex8(cnonce + 8, a.nc)
    hash_start(hash)
    hash_add(hash, method, method_length)
    hash_add(hash, b":", 1)
    hash_add(hash, uri, uri_length)
    if not hash_hex(hash, ha2):
        return False
    hash_start(hash)
    hash_add(hash, a.ha1, 2 * hash.size)
    hash_add(hash, b":", 1)
    hash_add(hash, nonce, a.nonce)
    if a.auth:
        hash_add(hash, b":", 1)
        hash_add(hash, nc, 8)
        hash_add(hash, b":", 1)
        hash_add(hash, cnonce, 16)
        hash_add(hash, b":auth", 5)
    hash_add(hash, b":", 1)
    hash_add(hash, ha2, 2 * hash.size)
    if not hash_hex(hash, response):
        return False
    put_text(w, b"\r\nProxy-Authorization: Digest username=\"" if which else b"\r\nAuthorization: Digest username=\"")
    put_piece(w, &person.name)
    put_text(w, b"\", realm=\"")
    put(w, realm_of(a), a.realm)
    put_text(w, b"\", nonce=\"")
    put(w, nonce, a.nonce)
    put_text(w, b"\", uri=\"")
    put(w, uri, uri_length)
    put_text(w, b"\", response=\"")
    put(w, response, 2 * hash.size)
    put_text(w, b"\", algorithm=SHA-256" if a.algorithm == DIGEST_SHA256 else b"\", algorithm=MD5")
    if a.auth:
        put_text(w, b", qop=auth, nc=")
        put(w, nc, 8)
        put_text(w, b", cnonce=\"")
        put(w, cnonce, 16)
        put_text(w, b"\"")
    if a.opaque:
        put_text(w, b", opaque=\"")
        put(w, nonce + a.nonce, a.opaque)
        put_text(w, b"\"")
    return True


cdef Buffer* write_credited(Load* l, const Call* c, const Buffer* base, uint32_t which) noexcept nogil:
    # The same request with the call's present CSeq and branch, and with credentials instead of those it had.
    cdef Writer w
    cdef Message* m = &l.own
    cdef const Person* person = &l.person[c.person]
    cdef uint32_t i, slot
    if parse_message(m, base.data, base.length, DATAGRAM) <= 0:
        return NULL
    begin(l, &w)
    put(&w, m.data, m.headers[0].name - 2)
    put_via(&w, l, c, c.sequence)
    for i in range(m.header_count):
        if m.headers[i].id == HDR_CSEQ:
            put_text(&w, b"\r\nCSeq: ")
            put_number(&w, c.cseq)
            put_text(&w, b" ")
            put_slice(&w, m.data, m.method_text)
            for slot in range(2):
                if which >> slot & 1 and not put_credentials(
                        &w, l, person, person.auth[slot], slot, m.data + m.method_text.start,
                        slice_length(m.method_text), m.data + m.uri.start, slice_length(m.uri)):
                    return NULL
        elif m.headers[i].id not in (HDR_VIA, HDR_AUTHORIZATION, HDR_PROXY_AUTHORIZATION):
            put_text(&w, b"\r\n")
            put(&w, m.data + m.headers[i].name, m.headers[i].end - m.headers[i].name)
    put_text(&w, b"\r\n\r\n")
    put(&w, m.data + m.body, m.size - m.body)
    return finished(l, &w)


cdef Buffer* credited(Load* l, Call* c, Buffer* request) noexcept nogil:
    # With the credentials that are known already, if there are any; takes over the reference. A REGISTER is between user
    # and registrar: a proxy's nonce is not for it, nor the registrar's for others unless one of them was asked.
    cdef const Person* person = &l.person[c.person]
    cdef uint32_t which = 0
    cdef Buffer* made
    c.credited = 0
    if request == NULL or l.job[c.job].fresh or person.auth[0] == NULL and person.auth[1] == NULL:
        return request
    if person.auth[0] != NULL and (l.job[c.job].kind == WORK_REGISTER or person.auth[0].inside):
        which = 1
    if person.auth[1] != NULL and l.job[c.job].kind != WORK_REGISTER:
        which |= 2
    if which == 0:
        return request
    made = write_credited(l, c, request, which)
    buffer_release(&l.pool, request)
    c.credited = <uint8_t>which
    return made


cdef void answer_challenge(Load* l, Call* c, const Message* m) noexcept nogil:
    # The first challenge is answered, and what says that only the nonce was too old; another one means that the password
    # is wrong.
    cdef int which = 1 if m.status == 407 else 0
    cdef bint stale
    cdef bint known = c.challenged and c.credited >> which & 1
    count(l, LOAD_challenges)
    if not l.person[c.person].has_password or not learn(l, c, m, which, &stale):
        fail(l, c, CAUSE_CREDENTIALS)
        return
    if stale:
        count(l, LOAD_stale)
    if c.challenged == 8 or (known and not stale):
        fail(l, c, CAUSE_CHALLENGED)
        return
    c.challenged += 1
    c.credited |= 1 << which
    c.cseq += 1
    c.sequence += 1
    if l.job[c.job].kind == WORK_REGISTER:
        l.person[c.person].cseq = c.cseq
    start(l, c, write_credited(l, c, c.request, c.credited))


cdef void put_credentials_of(Writer* w, Load* l, const Buffer* request) noexcept nogil:
    # The ACK of a 2xx carries those of its INVITE (13.2.2.4).
    cdef Message* m = &l.own
    cdef uint32_t i
    if request == NULL or parse_message(m, request.data, request.length, DATAGRAM) <= 0:
        return
    for i in range(m.header_count):
        if m.headers[i].id == HDR_AUTHORIZATION or m.headers[i].id == HDR_PROXY_AUTHORIZATION:
            put_text(w, b"\r\n")
            put(w, m.data + m.headers[i].name, m.headers[i].end - m.headers[i].name)
