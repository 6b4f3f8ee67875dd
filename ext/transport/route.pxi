# Which socket and which source address lead to a peer.

cdef bint ask_kernel(TransportState* t, const Address* remote, Address* local) noexcept nogil:
    # The source address routing would choose: what a socket connected there is bound to. Connecting sends nothing.
    cdef int which = 0 if remote.family == 4 else 1
    cdef sockaddr_storage name
    cdef socklen_t length
    if t.probes[which] < 0:
        t.probes[which] = socket(AF_INET if which == 0 else AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    length = address_to_sockaddr(remote, &name)
    if t.probes[which] < 0 or connect(t.probes[which], <sockaddr*>&name, length) < 0:
        return False
    length = sizeof(name)
    if getsockname(t.probes[which], <sockaddr*>&name, &length) < 0:
        return False
    address_from_sockaddr(local, &name)
    return local.family == remote.family


cdef bint listener_reaches(const Listener* listener, const Address* remote, int transport) noexcept nogil:
    # A socket bound to loopback reaches loopback only.
    return (listener.fd >= 0 and listener.transport == transport and listener.address.family == remote.family
            and (listener.wildcard or not address_is_loopback(&listener.address) or address_is_loopback(remote)))


cdef int transport_route(TransportState* t, const Flow* like, const Address* remote, int transport, Flow* out) noexcept nogil:
    cdef const Listener* listener = NULL
    cdef Address local, target = remote[0]
    cdef uint32_t i, number = 0
    if like != NULL and like.listener < t.listener_count:
        number = like.listener
        if listener_reaches(&t.listeners[number], remote, transport):
            listener = &t.listeners[number]
    if listener == NULL:
        # The first that fits, but rather one at the address the request came to.
        for i in range(t.listener_count):
            if t.listeners[i].adopted or not listener_reaches(&t.listeners[i], remote, transport):
                continue
            if listener == NULL or (like != NULL and address_same_ip(&t.listeners[i].address, &like.local)
                                    and not address_same_ip(&listener.address, &like.local)):
                number = i
                listener = &t.listeners[i]
    if listener == NULL:
        return 0
    local = listener.address
    if listener.wildcard:
        # The address the request came to, unless it cannot lead there: no one answers 127.0.0.1 from outside.
        if (like != NULL and like.local.family == remote.family
                and not is_unspecified(&like.local)
                and address_is_loopback(&like.local) == address_is_loopback(remote)):
            local = like.local
        elif not ask_kernel(t, remote, &local):
            local.family = 0
        local.port = listener.address.port
    memset(out, 0, sizeof(Flow))
    out.remote = target
    out.local = local
    out.listener = <uint16_t>number
    out.transport = listener.transport
    out.reliable = FLOW_RELIABLE if listener.transport != TRANSPORT_UDP else 0
    return 1


cdef void transport_sent_by(TransportState* t, const Flow* flow, Address* out) noexcept nogil:
    cdef const Listener* listener
    if flow.listener >= t.listener_count:
        out[0] = flow.local
        return
    listener = &t.listeners[flow.listener]
    if listener.advertise.family:
        out[0] = listener.advertise
    elif flow.local.family and not is_unspecified(&flow.local):
        out[0] = flow.local
    elif not listener.wildcard or not ask_kernel(t, &flow.remote, out):
        out[0] = listener.address
    if not listener.advertise.family:
        out.port = listener.address.port
