# RFC 3261 10.3 steps 6 to 8 as a function of the current record and one REGISTER: no I/O, no clock, no state.

cdef class Change:
    cdef readonly bytes value
    cdef readonly uint64_t before, count             # bindings
    cdef readonly uint64_t earliest_before, earliest # Unix ms, 0 for none
    cdef readonly list removed


cdef inline bint same_uri(const uint8_t* a, uint32_t a_length, const uint8_t* b, uint32_t b_length) noexcept:
    return (a_length == b_length and memcmp(a, b, a_length) == 0) or uri_equal(a, a_length, b, b_length)


cdef bint read_key(const uint8_t* data, uint32_t length, Slice* instance, Slice* reg_id) noexcept:
    # What names a binding in place of its URI (RFC 5626 6): instance and reg-id, where a Contact has both.
    cdef Slice parameters
    if length == 0 or memmem(data, length, b"reg-id", 6) == NULL:
        return False
    parameters.start, parameters.end = 0, <uint16_t>length
    return (find_parameter(data, parameters, b"reg-id", reg_id) and find_parameter(data, parameters, b"+sip.instance", instance)
            and reg_id.end > reg_id.start and instance.end > instance.start)


cdef bint same_key(const Contact* c, const uint8_t* other, uint32_t length) noexcept:
    cdef Slice instance, reg_id
    return (read_key(other, length, &instance, &reg_id)
            and slice_length(reg_id) == slice_length(c.reg_id) and slice_length(instance) == slice_length(c.instance)
            and memcmp(other + reg_id.start, c.parameters.data + c.reg_id.start, slice_length(reg_id)) == 0
            and memcmp(other + instance.start, c.parameters.data + c.instance.start, slice_length(instance)) == 0)


cdef bint names(Register register, const Contact* c, const Binding* b) noexcept:
    # Whether a Contact is about this binding.
    if register.flags & FLAG_FLOW_GONE and (
            b.connection != register.connection or b.source_port != register.port
            or memcmp(b.source_ip, register.ip.data, 16) != 0):
        return False
    if c.keyed:
        return same_key(c, binding_parameters(b), b.parameters_length)
    return same_uri(binding_uri(b), b.uri_length, c.uri.data, c.uri.length)


cdef bint same_contact(const Contact* a, const Contact* b) noexcept:
    if a.keyed or b.keyed:
        return a.keyed and b.keyed and same_key(a, b.parameters.data, b.parameters.length)
    return same_uri(a.uri.data, a.uri.length, b.uri.data, b.uri.length)


cdef inline bint of_call(const Binding* b, Register register) noexcept:
    return same_span(&register.call_id_text, binding_call_id(b), b.call_id_length)


cdef const BindingSet* read_set(bytes value) except? NULL:
    cdef const BindingSet* held
    if value is None:
        return NULL
    held = binding_set(<const uint8_t*><const char*>value, <uint32_t>len(value))
    if held == NULL:
        raise ValueError("not a set of bindings")
    return held


cdef const Binding* next_live(const Binding* b, uint64_t now) noexcept:
    # From `b` on. A binding whose time has passed is gone.
    while b != NULL and b.expires <= now:
        b = binding_next(b)
    return b


cdef const Binding* first_live(const BindingSet* held, uint64_t now) noexcept:
    if held == NULL:
        return NULL
    return next_live(binding_first(held), now)


cdef void find_contacts(Register register, const BindingSet* held, uint64_t now) noexcept:
    cdef Contact* c
    cdef const Binding* b
    cdef uint32_t i, j
    for i in range(register.contact_count):
        c = &register.contacts[i]
        c.binding = NULL
        c.repeated = False
        c.keyed = read_key(c.parameters.data, c.parameters.length, &c.instance, &c.reg_id)
        for j in range(i + 1, register.contact_count):
            if same_contact(c, &register.contacts[j]):
                c.repeated = True
                break
        if c.repeated:
            continue
        b = first_live(held, now)
        while b != NULL and not names(register, c, b):
            b = next_live(binding_next(b), now)
        c.binding = b
        # Equality of URIs does not carry over: two contacts that differ may both be this binding. The last one counts.
        for j in range(i if b != NULL else 0):
            if register.contacts[j].binding == b:
                register.contacts[j].repeated = True


cdef bint is_applied(Register register) noexcept:
    # A REGISTER comes again when its answer was lost, or when the worker that sent the fact did not hear that it was
    # applied. Call-ID and CSeq name the request, so bindings that carry both and removals with nothing left to remove
    # are its work.
    cdef const Contact* c
    cdef uint32_t i
    for i in range(register.contact_count):
        c = &register.contacts[i]
        if c.repeated:
            continue
        if c.binding == NULL:
            if c.expires:
                return False
        elif c.expires == 0 or c.binding.cseq != register.cseq or not of_call(c.binding, register):
            return False
    return True


cdef int judge(Register register, const BindingSet* held, uint64_t now, uint32_t max_contacts, bint* changes) noexcept:
    # The status; `changes` only together with 200.
    cdef const Binding* b
    cdef const Contact* c
    cdef uint64_t live = 0, after
    cdef uint32_t i
    changes[0] = False
    b = first_live(held, now)
    while b != NULL:
        live += 1
        if register.flags & FLAG_STAR and not register.flags & FLAG_ONLY_IF_APPLIED:
            if register.cseq <= b.cseq and of_call(b, register):
                return 500
        b = next_live(binding_next(b), now)
    if register.flags & FLAG_STAR:
        if live == 0:
            return 200
        if register.flags & FLAG_ONLY_IF_APPLIED:
            return 401
        changes[0] = True
        return 200
    find_contacts(register, held, now)
    if is_applied(register):
        return 200
    if register.flags & FLAG_ONLY_IF_APPLIED:
        return 401
    after = live
    for i in range(register.contact_count):
        c = &register.contacts[i]
        if c.repeated:
            continue
        if c.binding != NULL:
            if register.cseq <= c.binding.cseq and of_call(c.binding, register):
                return 500
            after -= c.expires == 0
        else:
            after += c.expires != 0
    if after > max_contacts and after > live:
        return 403
    changes[0] = True
    return 200


cdef uint32_t size_of(uint32_t texts) noexcept:
    return <uint32_t>((sizeof(Binding) + texts + 7) & ~7)


cdef uint32_t contact_size(Register register, const Contact* c) noexcept:
    return size_of(c.uri.length + register.call_id_text.length + c.parameters.length + register.path.length)


cdef const Contact* contact_of(Register register, const Binding* b) noexcept:
    # What the REGISTER says of this binding, NULL for nothing.
    cdef uint32_t i
    for i in range(register.contact_count):
        if register.contacts[i].binding == b and not register.contacts[i].repeated:
            return &register.contacts[i]
    return NULL


cdef uint8_t* put_contact(uint8_t* at, Register register, const Contact* c, uint64_t now) noexcept:
    cdef Binding* b = <Binding*>at
    cdef uint32_t size = contact_size(register, c)
    memset(at + size - 8, 0, 8)
    memset(b, 0, sizeof(Binding))
    b.size = size
    b.uri_length = <uint16_t>c.uri.length
    b.call_id_length = <uint16_t>register.call_id_text.length
    b.parameters_length = <uint16_t>c.parameters.length
    b.path_length = <uint16_t>register.path.length
    b.q = <uint16_t>c.q
    b.transport = <uint8_t>register.transport
    b.source_family = <uint8_t>register.family
    b.cseq = <uint32_t>register.cseq
    b.listener = <uint16_t>register.listener
    b.source_port = <uint16_t>register.port
    b.expires = now + c.expires * 1000
    memcpy(b.source_ip, register.ip.data, 16)
    b.updated = now
    b.connection = <uint32_t>register.connection
    memcpy(<void*>binding_uri(b), c.uri.data, c.uri.length)
    memcpy(<void*>binding_call_id(b), register.call_id_text.data, b.call_id_length)
    memcpy(<void*>binding_parameters(b), c.parameters.data, c.parameters.length)
    memcpy(<void*>binding_path(b), register.path.data, b.path_length)
    return at + size


cdef void count_before(Change change, const BindingSet* held) noexcept:
    cdef const Binding* b = binding_first(held) if held != NULL else NULL
    while b != NULL:
        change.before += 1
        if change.earliest_before == 0 or b.expires < change.earliest_before:
            change.earliest_before = b.expires
        b = binding_next(b)


cdef Change written(Register register, const BindingSet* held, uint64_t now, uint64_t version):
    # The set after the REGISTER, which changes it; without one (None), the set without what expired. A star has no
    # contacts.
    cdef Change change = Change.__new__(Change)
    cdef bint star = register is not None and register.flags & FLAG_STAR
    cdef uint64_t length = sizeof(BindingSet)
    cdef const Contact* c
    cdef const Binding* b
    cdef BindingSet* head
    cdef Binding* after
    cdef uint8_t* at
    cdef uint32_t i, following
    count_before(change, held)
    if star:
        held = NULL
    # Sizes first, in the order of what follows: bindings there are, each kept or replaced, then those that are new.
    b = first_live(held, now)
    while b != NULL:
        c = contact_of(register, b) if register is not None else NULL
        if c == NULL or c.expires:
            length += b.size if c == NULL else contact_size(register, c)
            change.count += 1
        b = next_live(binding_next(b), now)
    if register is not None:
        for i in range(register.contact_count):
            c = &register.contacts[i]
            if c.binding == NULL and not c.repeated and c.expires:
                length += contact_size(register, c)
                change.count += 1
    if change.count > 0xffff or length > 0x7fffffff:
        raise ValueError(f"{change.count} bindings of {length} bytes are too much for one address-of-record")
    change.value = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
    at = <uint8_t*><char*>change.value
    head = <BindingSet*>at
    memset(head, 0, sizeof(BindingSet))
    head.version = version
    head.count = <uint16_t>change.count
    at += sizeof(BindingSet)
    b = first_live(held, now)
    while b != NULL:
        c = contact_of(register, b) if register is not None else NULL
        if c == NULL:
            memcpy(at, b, b.size)
            at += b.size
        elif c.expires:
            at = put_contact(at, register, c, now)
        b = next_live(binding_next(b), now)
    if register is not None:
        for i in range(register.contact_count):
            c = &register.contacts[i]
            if c.binding == NULL and not c.repeated and c.expires:
                at = put_contact(at, register, c, now)
    at = <uint8_t*><char*>change.value + sizeof(BindingSet)
    following = <uint32_t>change.count
    while following:
        following -= 1
        after = <Binding*>at
        after.following = following
        if change.earliest == 0 or after.expires < change.earliest:
            change.earliest = after.expires
        at += after.size
    return change


cdef bint keeps(Change change, const Binding* old) noexcept:
    # Whether a binding of exactly this URI, or of this flow, is there afterwards.
    cdef const Binding* b = binding_first(<const BindingSet*><const char*>change.value)
    cdef Contact key
    key.parameters.data, key.parameters.length = binding_parameters(old), old.parameters_length
    key.keyed = read_key(key.parameters.data, key.parameters.length, &key.instance, &key.reg_id)
    while b != NULL:
        if b.uri_length == old.uri_length and memcmp(binding_uri(b), binding_uri(old), b.uri_length) == 0:
            if not key.keyed or same_key(&key, binding_parameters(b), b.parameters_length):
                return True
        elif key.keyed and same_key(&key, binding_parameters(b), b.parameters_length):
            return True
        b = binding_next(b)
    return False


cdef list gone_with(Register register, const BindingSet* held, Change change):
    # (Call-ID, CSeq) of every binding the REGISTER removed, or None.
    cdef list found = None
    cdef const Binding* b
    cdef bint removes = change.count < change.before
    cdef uint32_t i
    for i in range(register.contact_count):
        removes = removes or register.contacts[i].expires == 0
    b = binding_first(held) if removes and held != NULL else NULL
    while b != NULL:
        if not keeps(change, b):
            if found is None:
                found = []
            found.append((PyBytes_FromStringAndSize(<const char*>binding_call_id(b), b.call_id_length), b.cseq))
        b = binding_next(b)
    return found


cdef tuple decide(Register register, bytes current, uint64_t now, uint32_t max_contacts, uint64_t version):
    cdef const BindingSet* held = read_set(current)
    cdef Change change
    cdef bint changes
    cdef int status
    if not register.readable:
        raise ValueError("not a REGISTER")
    status = judge(register, held, now, max_contacts, &changes)
    if not changes:
        return status, None
    change = written(register, held, now, version)
    change.removed = gone_with(register, held, change)
    return status, change


def without_expired(bytes value not None, uint64_t now, uint64_t version):
    return written(None, read_set(value), now, version)
