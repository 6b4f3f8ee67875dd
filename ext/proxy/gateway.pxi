# Gateways, as far as the hot thread is concerned: a target of a plan may have a slot of the target table (ext/targets.h),
# where its calls are counted and its silence is known to every worker. Who is chosen is the dial plan's to say.

cdef inline uint32_t slot_of(const Target* target) noexcept nogil:
    return target.order.gateway - 1


cdef inline bint is_gateway(const Proxy* p, const Target* target) noexcept nogil:
    return target.order != NULL and target.order.gateway and p.targets != NULL


cdef bint gateway_admits(Proxy* p, const ResponseContext* ctx, Target* target) noexcept nogil:
    # False if it has as many calls as it may.
    if is_gateway(p, target) and ctx.method == METHOD_INVITE and ctx.initial:
        if not targets_admit(p.targets, slot_of(target), p.worker):
            return False
        target.counted = 1
    return True


cdef void gateway_heard(Proxy* p, const Target* target, const Message* m) noexcept nogil:
    # Any response says that it lives; a 503, for how long it wants nothing more.
    cdef long retry = 0
    cdef Slice value
    if m.status == 503:
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
    targets_timeout(p.targets, slot_of(target), p.layer.now)


cdef void gateway_done(Proxy* p, Target* target, bint confirmed) noexcept nogil:
    # Its call is over before it began; or it is up, and the fact of that on its way.
    if target.counted:
        target.counted = 0
        if confirmed:
            targets_confirmed(p.targets, slot_of(target), p.worker)
        else:
            targets_end(p.targets, slot_of(target), p.worker)
