# The branch of a request that is forwarded without a transaction (RFC 3261 16.11): "z9hG4bK" listener(1) identity(12)
# check(6) "-" loop hash(7), in the digits and the length of the others. All of it is a function of the request, so that
# the same request gets the same branch. The check covers the Call-ID and the address the request came from: a response
# goes back to that address or nowhere, whatever its Via lines say.

cdef enum:
    LISTENER_DIGITS = 1
    IDENTITY_DIGITS = 12         # of them and LISTENER_DIGITS as many as OWNER, SLOT and GENERATION have


cdef void stateless_identity(const HashKey* key, const Message* m, uint64_t call, StatelessBranch* out) noexcept nogil:
    # With the cookie a branch says all. Without it what 16.11 lists, but for the To tag of an INVITE, which is in its ACK
    # and was not in itself.
    cdef HashState h
    siphash_start(&h, key)
    siphash_word(&h, call)
    if has_cookie(m.data, m.via.branch):
        siphash_add(&h, m.data + m.via.branch.start, slice_length(m.via.branch))
    else:
        siphash_word(&h, m.cseq)
        siphash_add(&h, m.data + m.via.whole.start, slice_length(m.via.whole))
        siphash_add(&h, m.data + m.from_tag.start, slice_length(m.from_tag))
        siphash_add(&h, m.data + m.uri.start, slice_length(m.uri))
        if m.method != METHOD_INVITE and m.method != METHOD_CANCEL and m.method != METHOD_ACK:
            siphash_add(&h, m.data + m.to_tag.start, slice_length(m.to_tag))
    out.identity = siphash_finish(&h) >> (64 - 5 * IDENTITY_DIGITS)


cdef uint32_t stateless_check(const HashKey* key, const StatelessBranch* b, uint64_t call, const Address* sender) noexcept nogil:
    cdef HashState h
    cdef uint64_t ip[2]
    memcpy(ip, sender.ip, 16)
    siphash_start(&h, key)
    siphash_word(&h, call)
    siphash_word(&h, <uint64_t>b.listener << 32 | b.loop_hash)
    siphash_word(&h, b.identity)
    siphash_word(&h, ip[0])
    siphash_word(&h, ip[1])
    return <uint32_t>siphash_finish(&h) & ((1 << 5 * CHECK_DIGITS) - 1)


cdef void write_stateless_branch(const StatelessBranch* b, uint8_t* out) noexcept nogil:
    memcpy(out, b"z9hG4bK", COOKIE_LENGTH)
    out = write_digits(out + COOKIE_LENGTH, b.listener, LISTENER_DIGITS)
    out = write_digits(out, b.identity, IDENTITY_DIGITS)
    out = write_digits(out, b.check, CHECK_DIGITS)
    out[0] = c"-"
    write_digits(out + 1, b.loop_hash, LOOP_DIGITS)


cdef int read_stateless_branch(const uint8_t* data, Slice branch, StatelessBranch* out) noexcept nogil:
    cdef const uint8_t* at = data + branch.start + COOKIE_LENGTH
    cdef uint32_t bad = 0
    cdef uint64_t loop_hash
    if slice_length(branch) != BRANCH_LENGTH or data[branch.start + DOT_AT] != c"-" or not has_cookie(data, branch):
        return 0
    out.listener = <uint32_t>read_digits(at, LISTENER_DIGITS, &bad)
    out.identity = read_digits(at + LISTENER_DIGITS, IDENTITY_DIGITS, &bad)
    at += LISTENER_DIGITS + IDENTITY_DIGITS
    out.check = <uint32_t>read_digits(at, CHECK_DIGITS, &bad)
    loop_hash = read_digits(at + CHECK_DIGITS + 1, LOOP_DIGITS, &bad)
    out.loop_hash = <uint32_t>loop_hash
    return not bad & 32 and loop_hash == out.loop_hash
