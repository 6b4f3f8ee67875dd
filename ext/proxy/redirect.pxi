# The redirect server (RFC 3261 8.3): a request to one of our users is answered with where he is. The answer needs no
# transaction: the same request again gets it again, and its ACK is known by the To tag.
#
# Policy and services of users come first; what they leave alone is redirected. A request inside a dialog goes on as
# through a proxy: its dialog was not made through this server, or somebody put an address of ours into a Contact, and a
# 3xx would end what is well. Require, Proxy-Require and Max-Forwards are nothing to a redirect server.

cdef enum:
    MAX_LOCATIONS = 100          # more than one address-of-record may have

cdef uint32_t gather_locations(Proxy* p, const Message* m, const Routing* r, const Binding** found) noexcept nogil:
    # Every binding that holds, best q first, of one q the one registered last. Not the Request-URI itself.
    cdef const Binding* b = first_binding(p, m, r)
    cdef uint32_t count = 0, i
    while b != NULL and count < MAX_LOCATIONS:
        if b.expires > p.wall and not uri_equal(binding_uri(b), b.uri_length, m.data + m.uri.start, slice_length(m.uri)):
            i = count
            while i and (found[i - 1].q < b.q or (found[i - 1].q == b.q and found[i - 1].updated < b.updated)):
                found[i] = found[i - 1]
                i -= 1
            found[i] = b
            count += 1
        b = binding_next(b)
    return count


cdef Buffer* moved(Proxy* p, const Message* m, const Routing* r, int* status) noexcept nogil:
    # The answer: 302, or what a proxy would say that finds nobody.
    cdef const Binding* found[MAX_LOCATIONS]
    cdef uint32_t count = gather_locations(p, m, r, found), i
    cdef const Binding* b
    cdef Writer w
    status[0] = 302 if count else 480 if is_user(p, m, r) else 404
    response_begin(p, &w, m, &r.answer, status[0])
    for i in range(count):
        b = found[i]
        put(&w, b"Contact: <", 10)
        put(&w, binding_uri(b), b.uri_length)
        put(&w, b">;q=", 4)
        put_q(&w, b.q)
        put(&w, b";expires=", 9)
        put_number(&w, (b.expires - p.wall) // 1000)    # never more than is left
        put(&w, b"\r\n", 2)
    return response_end(p, &w)


cdef void put_q(Writer* w, uint32_t thousandths) noexcept nogil:
    if thousandths >= 1000:
        put(w, b"1", 1)
        return
    put(w, b"0.", 2)
    put_number(w, thousandths // 100)
    put_number(w, thousandths // 10 % 10)
    put_number(w, thousandths % 10)


cdef bint may_ask_where(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # 16.3 step 6 for a server that is no proxy: its challenge is a 401 (22.1). False when the request was answered.
    r.trusted = trust_of_sender(p, r)
    if r.trusted or not (p.settings.required >> m.method) & 1:
        return True
    if not read_sender(p, m, r):
        answer(p, m, &r.answer, 400)
        return False
    return r.aor_length == 0 or authenticate(p, m, r, False, r.aor, r.aor_length,
                                             domain_of(r.aor, r.aor_length)) == AUTH_OK


cdef bint redirect(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # False: it is not to be redirected.
    cdef Buffer* response
    cdef int status
    if m.method == METHOD_ACK or m.to_tag.end or r.target.user.end == r.target.user.start:
        return False
    if (p.settings.asks or control_services(p.control)) and must_ask(p, m, r):
        return False
    if not may_ask_where(p, m, r):
        return True
    response = moved(p, m, r, &status)
    count_final(p, m, status)
    send_buffer(p, &r.answer, response)
    return True


cdef bint redirect_asked(Proxy* p, ResponseContext* ctx, const Message* m, const Routing* r) noexcept nogil:
    # The same for a request the policy was asked about and left alone. False: it is not to be redirected.
    cdef Buffer* response
    cdef int status
    if role_of(p, m, r) != ROLE_REDIRECT or r.target.user.end == r.target.user.start:
        return False
    response = moved(p, m, r, &status)
    count_final(p, m, status)
    send_upstream(p, ctx.server, response, status)
    buffer_release(p.pool, response)
    context_free(p, ctx)
    return True
