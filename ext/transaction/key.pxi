# Which server transaction a request belongs to (RFC 3261 17.2.3), as one keyed 64-bit hash of everything that must be
# equal. Two different requests meet by chance once in 2^64, and nobody without the key makes them meet.

cdef enum:
    BY_BRANCH = 3261             # marks of the two rules, so that no key of one is a key of the other
    BY_HEADERS = 2543
    ANSWERED_NOT = 1             # acked_tag of an RFC 2543 peer before its INVITE is refused; 0 for everyone else


cdef inline void add_slice(HashState* s, const Message* m, Slice text) noexcept nogil:
    tablehash_add(s, m.data + text.start, slice_length(text))


cdef inline void add_method(HashState* s, const Message* m, int rule, int method, uint64_t number) noexcept nogil:
    tablehash_word(s, <uint64_t>rule << 48 | <uint64_t>method << 32 | number)
    if method == METHOD_UNKNOWN:
        add_slice(s, m, m.method_text)


cdef uint64_t key_by_branch(Transactions* layer, const Message* m, int method) noexcept nogil:
    cdef HashState s
    cdef uint16_t port = m.via.port
    if port == 0:
        port = 5061 if m.via.transport == TRANSPORT_TLS else 5060
    siphash_start(&s, &layer.setup.table_key)
    add_slice(&s, m, m.via.branch)
    tablehash_add_folded(&s, m.data + m.via.host.start, slice_length(m.via.host))
    add_method(&s, m, BY_BRANCH, method, port)
    return tablehash_finish(&s)


cdef uint64_t key_by_headers(Transactions* layer, const Message* m, int method, Slice to_tag) noexcept nogil:
    cdef HashState s
    siphash_start(&s, &layer.setup.table_key)
    add_slice(&s, m, m.uri)
    add_slice(&s, m, to_tag)
    add_slice(&s, m, m.from_tag)
    add_slice(&s, m, m.call_id)
    add_slice(&s, m, m.via.whole)
    add_method(&s, m, BY_HEADERS, method, m.cseq)
    return tablehash_finish(&s)


cdef uint64_t tag_hash(Transactions* layer, const Message* m) noexcept nogil:
    return tablehash(&layer.setup.table_key, m.data + m.to_tag.start, slice_length(m.to_tag)) | 2


cdef uint64_t request_key(Transactions* layer, const Message* m, int method) noexcept nogil:
    if has_cookie(m.data, m.via.branch):
        return key_by_branch(layer, m, method)
    return key_by_headers(layer, m, method, m.to_tag)


cdef Transaction* find_ack(Transactions* layer, const Message* ack) noexcept nogil:
    # The INVITE an ACK may acknowledge. Without the cookie its To tag is the response's: the INVITE had the same one
    # (within a dialog) or none.
    cdef Table* table = <Table*>layer.table
    cdef Transaction* t
    cdef Slice none
    if has_cookie(ack.data, ack.via.branch):
        return table_find(table, key_by_branch(layer, ack, METHOD_INVITE))
    t = table_find(table, key_by_headers(layer, ack, METHOD_INVITE, ack.to_tag))
    if t == NULL and slice_length(ack.to_tag):
        none.start = none.end = 0
        t = table_find(table, key_by_headers(layer, ack, METHOD_INVITE, none))
    if t != NULL and t.acked_tag > ANSWERED_NOT and t.acked_tag != tag_hash(layer, ack):
        return NULL              # it acknowledges another response, a 2xx by another way
    return t
