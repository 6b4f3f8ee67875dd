# Gateways, as far as the hot thread is concerned: a branch may have a slot of the target table (ext/targets.h), where its
# calls are counted and its silence is known to every worker. Who is chosen is the dial plan's to say. What goes to the
# address of one by any other way (a Request-URI, a Route, a binding, a Contact of a 3xx) has its slot too, and takes rights.

cdef inline uint32_t slot_of(const Target* target) noexcept nogil:
    return target.gateway - 1


cdef inline bint is_gateway(const Proxy* p, const Target* target) noexcept nogil:
    return target.gateway and p.targets != NULL


cdef inline uint16_t planned_gateway(const Proxy* p, const PlanTarget* order) noexcept nogil:
    # A slot that is nobody's is none: the address then says whether there is a gateway.
    if order.gateway and p.targets != NULL and targets_known(p.targets, order.gateway - 1):
        return order.gateway
    return 0


cdef inline uint32_t place_of(const Settings* s, const Address* address) noexcept nogil:
    # Where in Settings.gateways to begin looking.
    cdef uint32_t word[4]
    memcpy(word, address.ip, 16)
    return ((word[0] ^ word[1] ^ word[2] ^ word[3] ^ address.port) * <uint32_t>0x9E3779B1 >> 16) & (s.gateway_room - 1)


cdef uint32_t gateway_at(const Settings* s, const Address* address, int transport) noexcept nogil:
    # The slot + 1 of the gateway that is there, 0 for none. By whatever transport it is itself; where several share the
    # address the first of this one.
    cdef uint32_t at, other = 0
    if s.gateway_room == 0:
        return 0
    at = place_of(s, address)
    while s.gateways[at].gateway:
        if address_equal(&s.gateways[at].address, address):
            if s.gateways[at].transport == transport:
                return s.gateways[at].gateway
            if other == 0:
                other = s.gateways[at].gateway
        at = (at + 1) & (s.gateway_room - 1)
    return other


cdef int meet_gateway(Proxy* p, const ResponseContext* ctx, Target* target) noexcept nogil:
    # A branch nobody gave a slot. 0, or the status it failed with, if it leads to a gateway all the same.
    cdef uint32_t gateway = gateway_at(p.settings, &target.flow.remote, target.flow.transport)
    cdef int status = 0
    if gateway == 0 or ctx.rights & RIGHT_TOKEN:
        return 0
    if not ctx.rights & (RIGHT_TRUSTED | RIGHT_AUTHENTICATED):
        status = refusal(p, ctx)
    elif not ctx.initial and p.settings.record_route and not ctx.rights & RIGHT_TRUSTED:
        status = 403             # of no dialog that began here, or it would have our token
    if status:
        count_add(p.block, COUNT_relay_denied, status == 403)
        return status
    target.gateway = <uint16_t>gateway
    if p.targets != NULL and targets_state(p.targets, slot_of(target), p.layer.now) == TARGET_WAITING:
        return 503
    return 0


cdef bint gateway_admits(Proxy* p, const ResponseContext* ctx, Target* target) noexcept nogil:
    # False if it has as many calls as it may.
    if is_gateway(p, target) and ctx.method == METHOD_INVITE and ctx.initial:
        if not targets_admit(p.targets, slot_of(target), p.worker):
            return False
        if target.order != NULL and target.order.spare_of:
            targets_same_call(p.targets, slot_of(target), p.worker)
        target.counted = 1
    return True


cdef void gateway_heard(Proxy* p, const Target* target, const Message* m) noexcept nogil:
    # Any response says that it lives; a 503, for how long it wants nothing more.
    cdef long retry = 0
    cdef Slice value
    if m.status == 503:
        if next_server(target) != NULL:
            return               # a gateway that is a name: its next server is asked
        value = header_value(m, HDR_RETRY_AFTER)
        retry = parse_number(m.data, leading_digits(m.data, value))
        targets_unavailable(p.targets, slot_of(target), p.layer.now, <uint32_t>max(retry, 0))
        return
    targets_answered(p.targets, slot_of(target), p.layer.now)
    if 500 <= m.status < 600:
        targets_failed(p.targets, slot_of(target))


cdef Slice leading_digits(const uint8_t* data, Slice value) noexcept nogil:
    # Retry-After may have a comment and parameters behind its number (20.33).
    cdef Slice digits = value
    digits.end = digits.start
    while digits.end < value.end and 48 <= data[digits.end] <= 57:
        digits.end += 1
    return digits


cdef void gateway_silent(Proxy* p, const Target* target) noexcept nogil:
    # No answer in time, or nothing could be sent there.
    if next_server(target) == NULL:
        targets_timeout(p.targets, slot_of(target), p.layer.now)


cdef void gateway_done(Proxy* p, Target* target, bint confirmed) noexcept nogil:
    # Its call is over before it began; or it is up, and the fact of that on its way.
    if target.counted:
        target.counted = 0
        if confirmed:
            targets_confirmed(p.targets, slot_of(target), p.worker)
        else:
            targets_end(p.targets, slot_of(target), p.worker)


# Gateways with a name, called by TLS: what is sent to their address all the same, for their Contact says it, finds who was
# called there (RFC 5922 4), and not who has a certificate for an address.

cdef enum:
    CALLED_PLACES = 256
    CALLED_NEAR = 8              # places one may stand in; where others are in all of them the first makes room

cdef struct Called:
    Address address
    uint8_t length               # 0: an empty place
    uint8_t name[253]


cdef Called* called_at(const Proxy* p, const Address* address) noexcept nogil:
    # Where that stands, or would.
    cdef Called* all = <Called*>p.called
    cdef Called* one
    cdef uint32_t i, place = <uint32_t>(address_hash(address) >> 56)
    for i in range(CALLED_NEAR):
        one = &all[(place + i) % CALLED_PLACES]
        if one.length == 0 or address_equal(&one.address, address):
            return one
    return &all[place]


cdef void note_called(Proxy* p, const uint8_t* data, const Uri* uri, Flow* flow) noexcept nogil:
    cdef uint32_t length = slice_length(uri.host)
    cdef Address address
    cdef Called* one
    if uri_host(data, uri).start == uri.host.start and address_parse(&address, data + uri.host.start, length, 0):
        flow.connection = 0      # the certificate is to be for that address, as its operator wants it
        return
    if p.called == NULL:
        p.called = calloc(CALLED_PLACES, sizeof(Called))
    if p.called == NULL or length == 0 or length > sizeof(one.name):
        return
    one = called_at(p, &flow.remote)
    one.address, one.length = flow.remote, <uint8_t>length
    memcpy(one.name, data + uri.host.start, length)


cdef bint expect_called(Proxy* p, Flow* flow) noexcept nogil:
    # False when memory is out.
    cdef Called* one
    if p.called == NULL:
        return True
    one = called_at(p, &flow.remote)
    if one.length == 0 or not address_equal(&one.address, &flow.remote):
        return True
    return transport_expect(p.transport, flow, one.name, one.length)
