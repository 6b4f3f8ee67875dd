# GRUUs (RFC 5627): URIs that mean one instance of a person, wherever it is registered. The public one carries the
# instance as it is. A temporary one carries it so that nobody else can read it, with person and Call-ID, and nothing
# about it is remembered: the user part is
#
#     tgruu. base64url( check(8), those of call(8) cseq(4) length(1) instance user, each xor'ed with a keyed stream )
#
# where the check is a keyed hash over all of it and the domain, and the stream begins with it. A length of 0 stands for
# a UUID in its 16 bytes. It is good as long as the instance is registered by the REGISTERs with that Call-ID.

cdef enum Gruu:
    GRUU_NONE = 0
    GRUU_PUBLIC = 1
    GRUU_TEMPORARY = 2
    GRUU_WRONG = 3               # a temporary one that is not ours

cdef enum:
    GRUU_HEAD = 8 + 4 + 1
    GRUU_MOST = 400              # bytes of what is hidden

cdef const char* BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


cdef bint instance_of(const uint8_t* data, Slice parameters, Slice* out) noexcept nogil:
    # The URN of +sip.instance="<...>".
    if not find_parameter(data, parameters, b"+sip.instance", out):
        return False
    if slice_length(out[0]) > 4 and data[out.start] == c'"' and data[out.end - 1] == c'"':
        out.start += 1
        out.end -= 1
    if slice_length(out[0]) > 2 and data[out.start] == c'<' and data[out.end - 1] == c'>':
        out.start += 1
        out.end -= 1
    return 0 < slice_length(out[0]) < 256


cdef bint binding_instance(const Binding* b, Slice* out) noexcept nogil:
    cdef Slice parameters
    parameters.start, parameters.end = 0, b.parameters_length
    return b.parameters_length and instance_of(binding_parameters(b), parameters, out)


cdef uint64_t gruu_check(const Proxy* p, const uint8_t* hidden, uint32_t length, const uint8_t* domain,
                         uint32_t domain_length) noexcept nogil:
    cdef HashState h
    siphash_start(&h, &p.control.route_key)
    siphash_word(&h, 0x67727575)
    siphash_add(&h, hidden, length)
    siphash_add(&h, domain, domain_length)
    return siphash_finish(&h)


cdef void gruu_stream(const Proxy* p, uint64_t check, uint8_t* text, uint32_t length) noexcept nogil:
    # There and back.
    cdef HashState h
    cdef uint64_t word = 0
    cdef uint32_t i
    for i in range(length):
        if i % 8 == 0:
            siphash_start(&h, &p.control.route_key)
            siphash_word(&h, 0x67727573)
            siphash_word(&h, check)
            siphash_word(&h, i)
            word = siphash_finish(&h)
        text[i] ^= <uint8_t>(word >> (8 * (i % 8)))


cdef uint64_t gruu_call(const Proxy* p, const Binding* b) noexcept nogil:
    return siphash(&p.control.route_key, binding_call_id(b), b.call_id_length)


cdef uint32_t pack_uuid(const uint8_t* urn, uint32_t length, uint8_t* out) noexcept nogil:
    # The 16 bytes of urn:uuid: in its usual spelling, 0 for anything else.
    cdef uint32_t at = 9, i
    cdef uint64_t value
    if length != 45 or memcmp(urn, b"urn:uuid:", 9) != 0:
        return 0
    for i in range(16):
        if i == 4 or i == 6 or i == 8 or i == 10:
            if urn[at] != c'-':
                return 0
            at += 1
        if not read_hex(urn + at, 2, &value):
            return 0
        out[i] = <uint8_t>value
        at += 2
    return 16


cdef void put_uuid(Writer* w, const uint8_t* uuid) noexcept nogil:
    cdef uint32_t i
    put(w, b"urn:uuid:", 9)
    for i in range(16):
        if i == 4 or i == 6 or i == 8 or i == 10:
            put(w, b"-", 1)
        put_hex(w, uuid[i], 2)


cdef void put_gruus(Proxy* p, Writer* w, const Binding* b, const uint8_t* aor, uint32_t aor_length) noexcept nogil:
    # Of a binding with an instance, with the scheme of its Contact (RFC 5630 5.2.1). The temporary one is another after
    # every REGISTER, and those before it stay good.
    cdef const uint8_t* instance
    cdef uint8_t hidden[GRUU_MOST + 8]
    cdef uint64_t check, call = gruu_call(p, b)
    cdef uint32_t user = user_length(aor, aor_length), i, length, word
    cdef uint8_t c
    cdef const char* scheme = b"sips:" if is_sips(binding_uri(b)) else b"sip:"
    cdef Slice urn
    cdef Writer h
    if user == aor_length or not binding_instance(b, &urn):
        return
    instance = binding_parameters(b) + urn.start
    put_text(w, b";pub-gruu=\"")
    put_text(w, scheme)
    put(w, aor, aor_length)
    put(w, b";gr=", 4)
    for i in range(slice_length(urn)):
        c = instance[i]
        if 48 <= c <= 58 or 97 <= (c | 32) <= 122 or c == c'-' or c == c'_' or c == c'.' or c == c'~':
            put(w, &c, 1)
        else:
            put(w, b"%", 1)
            put_hex(w, c, 2)
    put(w, b"\"", 1)
    writer_init(&h, hidden + 8, GRUU_MOST)
    put(&h, &call, 8)
    put(&h, &b.cseq, 4)
    put(&h, b"\0", 1)
    length = pack_uuid(instance, slice_length(urn), h.at) if not h.overflow else 0
    if length:
        h.at += length
    else:
        hidden[8 + GRUU_HEAD - 1] = <uint8_t>slice_length(urn)
        put(&h, instance, slice_length(urn))
    put(&h, aor, user)
    if h.overflow:
        return                   # nobody has a name that long
    length = <uint32_t>(h.at - h.start)
    check = gruu_check(p, hidden + 8, length, aor + user, aor_length - user)
    gruu_stream(p, check, hidden + 8, length)
    memcpy(hidden, &check, 8)
    length += 8
    put_text(w, b";temp-gruu=\"")
    put_text(w, scheme)
    put(w, b"tgruu.", 6)
    for i in range(0, length, 3):
        word = (<uint32_t>hidden[i] << 16 | (<uint32_t>hidden[i + 1] << 8 if i + 1 < length else 0)
                | (hidden[i + 2] if i + 2 < length else 0))
        put(w, &BASE64[word >> 18], 1)
        put(w, &BASE64[word >> 12 & 63], 1)
        if i + 1 < length:
            put(w, &BASE64[word >> 6 & 63], 1)
        if i + 2 < length:
            put(w, &BASE64[word & 63], 1)
    put(w, aor + user, aor_length - user)
    put(w, b";gr\"", 4)


cdef bint wants_gruus(const Message* m) noexcept nogil:
    return has_option(m, HDR_SUPPORTED, b"gruu", 4)


cdef uint32_t read_base64(const uint8_t* text, uint32_t length, uint8_t* out, uint32_t capacity) noexcept nogil:
    # Bytes written, 0 if it is none.
    cdef uint32_t i, count = 0, bits = 0, held = 0
    cdef uint8_t c
    for i in range(length):
        c = text[i]
        if 65 <= c <= 90:
            c -= 65
        elif 97 <= c <= 122:
            c -= 71
        elif 48 <= c <= 57:
            c += 4
        elif c == c'-':
            c = 62
        elif c == c'_':
            c = 63
        else:
            return 0
        held = held << 6 | c
        bits += 6
        if bits >= 8:
            bits -= 8
            if count == capacity:
                return 0
            out[count] = <uint8_t>(held >> bits)
            count += 1
    return count


cdef bint read_gruu(const Proxy* p, const Message* m, Routing* r) noexcept nogil:
    # Whether the target, which is in one of our domains, is a GRUU, and whose.
    cdef uint8_t domain[AOR_SIZE]
    cdef uint8_t hidden[GRUU_MOST + 8]
    cdef const uint8_t* user = m.data + r.target.user.start
    cdef uint32_t length = slice_length(r.target.user), i, at, rest
    cdef uint64_t check, value
    cdef Slice gr
    cdef Writer w
    if length == 0 or r.own == OWN_NUMBER or not find_parameter(m.data, r.target.parameters, b"gr", &gr):
        return False
    writer_init(&w, r.instance, sizeof(r.instance))
    if gr.end > gr.start:
        i = gr.start
        while i < gr.end:
            if m.data[i] == c'%' and i + 2 < gr.end and read_hex_any(m.data + i + 1, &value):
                w.at[0] = <uint8_t>value
                w.at += 1
                i += 3
            else:
                put(&w, m.data + i, 1)
                i += 1
            if w.at == w.end:
                w.overflow = True
                break
        r.gruu = GRUU_WRONG if w.overflow else GRUU_PUBLIC
        r.instance_length = <uint32_t>(w.at - w.start)
        return True
    r.gruu = GRUU_WRONG
    if length <= 6 or memcmp(user, b"tgruu.", 6) != 0:
        return True
    length = read_base64(user + 6, length - 6, hidden, GRUU_MOST + 8)
    if length < 8 + GRUU_HEAD + 1:
        return True
    memcpy(&check, hidden, 8)
    length -= 8
    gruu_stream(p, check, hidden + 8, length)
    at = own_address_of_record(p, m.data, &r.target, r.own, domain, AOR_SIZE)
    rest = user_length(domain, at)
    if check != gruu_check(p, hidden + 8, length, domain + rest, at - rest):
        return True
    memcpy(&r.gruu_call, hidden + 8, 8)
    at = 8 + GRUU_HEAD
    rest = hidden[at - 1]
    if rest == 0:
        put_uuid(&w, hidden + at)
        at += 16
    else:
        put(&w, hidden + at, rest)
        at += rest
    if at >= length + 8:
        return True
    r.instance_length = <uint32_t>(w.at - w.start)
    r.gruu_user = length + 8 - at
    put(&w, hidden + at, r.gruu_user)
    if not w.overflow:
        r.gruu = GRUU_TEMPORARY
    return True


cdef bint read_hex_any(const uint8_t* text, uint64_t* out) noexcept nogil:
    # Two digits of either case.
    cdef uint8_t folded[2]
    folded[0], folded[1] = text[0] | 0x20, text[1] | 0x20
    return read_hex(folded, 2, out)


cdef uint32_t target_aor(const Proxy* p, const Message* m, const Routing* r, uint8_t* out) noexcept nogil:
    # The address-of-record the target means, 0 for none of ours.
    cdef uint32_t length = own_address_of_record(p, m.data, &r.target, r.own, out, AOR_SIZE), user
    if r.gruu < GRUU_TEMPORARY or length == 0:
        return length
    user = user_length(out, length)
    if r.gruu == GRUU_WRONG or length - user + r.gruu_user > AOR_SIZE:
        return 0
    memmove(out + r.gruu_user, out + user, length - user)
    memcpy(out, r.instance + r.instance_length, r.gruu_user)
    return length - user + r.gruu_user


cdef bint is_instance(const Routing* r, const Binding* b) noexcept nogil:
    cdef Slice urn
    return (binding_instance(b, &urn) and slice_length(urn) == r.instance_length
            and strncasecmp(<const char*>binding_parameters(b) + urn.start, <const char*>r.instance, r.instance_length) == 0)


cdef bint is_meant(const Proxy* p, const Routing* r, const Binding* b) noexcept nogil:
    # Whether a GRUU is this binding's.
    return is_instance(r, b) and (r.gruu == GRUU_PUBLIC or (r.gruu == GRUU_TEMPORARY and gruu_call(p, b) == r.gruu_call))


cdef bint is_outdated(Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # A GRUU that nobody will ever be reached by: not ours, or of a Call-ID the instance uses no more (RFC 5627 5.1).
    cdef const Binding* b
    if r.gruu == GRUU_WRONG:
        return True
    if r.gruu == GRUU_TEMPORARY:
        b = first_binding(p, m, r)
        while b != NULL:
            if b.expires > p.wall and is_instance(r, b) and gruu_call(p, b) != r.gruu_call:
                return True
            b = binding_next(b)
    return False
