# What this server is to whom: a stateful proxy, unless it drains, or a domain or a listen address has another role. A
# server without roles that does not drain has no `detours` and never comes here.

cdef void proxy_follow(Proxy* p, Settings* settings) noexcept nogil:
    cdef uint32_t i
    cdef bint roles = settings.stateless != 0
    for i in range(settings.domain_count):
        roles |= settings.roles[i] != ROLE_PROXY
    p.settings = settings
    names_forget(p)
    p.detours = (p.detours & DETOUR_DRAIN) | (DETOUR_ROLES if roles else 0)


cdef void proxy_drain(Proxy* p) noexcept nogil:
    p.detours |= DETOUR_DRAIN


cdef int domain_role(const Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # Of the domain the target is in; listen addresses stand for the first one.
    cdef const uint8_t* host = m.data + r.target.host.start
    cdef uint32_t length = slice_length(r.target.host), i
    if r.own != 1 and r.own != 2:
        return ROLE_PROXY
    for i in range(p.settings.domain_count):
        if r.own == 1 or text_iequal(p.settings.domains[i], host, length):
            return p.settings.roles[i]
    for i in range(p.settings.domain_count):
        if &p.settings.domains[i] == domain_of_reference(p, host, length):
            return p.settings.roles[i]
    return ROLE_PROXY


cdef int role_of(const Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # A domain's role comes first: what a listen address has does not make a redirect server a proxy.
    cdef const Listener* listener
    cdef int role
    if not p.detours & DETOUR_ROLES:
        return ROLE_PROXY
    role = domain_role(p, m, r)
    if role == ROLE_PROXY and p.settings.stateless:
        listener = transport_listener(p.transport, r.source.listener)
        if listener != NULL and (p.settings.stateless >> listener.index) & 1:
            role = ROLE_STATELESS
    return role


cdef bint takes_detour(Proxy* p, const Message* m, Routing* r, int status) noexcept nogil:
    # After 16.3 and 16.4, which said `status`: whether this request is dealt with here.
    cdef int role
    if p.detours & DETOUR_DRAIN and status == 0 and not m.to_tag.end and m.method != METHOD_REGISTER \
            and m.method != METHOD_ACK:
        answer(p, m, &r.answer, 503)
        return True
    # Max-Forwards limits forwarding, and a redirect server forwards nothing.
    if status == 483:
        if read_routes(p, m, r) or role_of(p, m, r) != ROLE_REDIRECT:
            return False
    elif status:
        return False
    role = role_of(p, m, r)
    if role == ROLE_PROXY or (m.method == METHOD_REGISTER and r.own):
        return False
    if role == ROLE_REDIRECT:
        return redirect(p, m, r)
    forward_stateless(p, m, r)
    return True


cdef void cancel_unknown(Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # A CANCEL without a response context (16.10): the INVITE may have been forwarded statelessly, by this server or by what
    # it was before it was told another role. Who has nowhere to send it is where it ends: 481.
    cdef int status = validate(p, m, r)
    if status == 0:
        status = read_routes(p, m, r)
    if status:
        answer(p, m, &r.answer, 400 if status == 400 else 481)
        return
    check_token(p, m, r)
    if role_of(p, m, r) == ROLE_REDIRECT:
        answer(p, m, &r.answer, 200)             # 8.3; its INVITE has had its answer
        return
    forward_stateless(p, m, r)
