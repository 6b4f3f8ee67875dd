# Our branch: "z9hG4bK" owner slot generation check "." loop hash, all digits in base 32, of fixed width. The check is
# keyed and covers all the rest, so nobody makes a branch that leads to a transaction; letters may come back in either
# case, as RFC 3261 7.3.1 lets a peer do with a token.

cdef enum:
    COOKIE_LENGTH = 7
    OWNER_DIGITS = 2
    SLOT_DIGITS = 5
    GENERATION_DIGITS = 6
    CHECK_DIGITS = 6
    LOOP_DIGITS = 13
    DOT_AT = COOKIE_LENGTH + OWNER_DIGITS + SLOT_DIGITS + GENERATION_DIGITS + CHECK_DIGITS

cdef struct OwnBranch:
    uint32_t owner
    uint32_t slot
    uint32_t generation
    uint64_t loop_hash


cdef inline uint8_t* write_digits(uint8_t* at, uint64_t number, int digits) noexcept nogil:
    cdef int i
    for i in range(digits - 1, -1, -1):
        at[i] = b"0123456789abcdefghijklmnopqrstuv"[number & 31]
        number >>= 5
    return at + digits


cdef inline uint64_t read_digits(const uint8_t* at, int digits, uint32_t* bad) noexcept nogil:
    cdef uint64_t number = 0
    cdef uint32_t digit, letter
    cdef int i
    for i in range(digits):
        digit = <uint32_t>at[i] - 48
        letter = (<uint32_t>at[i] | 32) - 97
        if digit > 9:
            digit = letter + 10 if letter < 22 else 32
        bad[0] |= digit & 32
        number = number << 5 | digit
    return number


cdef inline uint32_t branch_check(const HashKey* key, const OwnBranch* b) noexcept nogil:
    cdef uint64_t[3] words
    words[0] = <uint64_t>b.owner << 32 | b.slot
    words[1] = b.generation
    words[2] = b.loop_hash
    return <uint32_t>siphash(key, words, sizeof(words)) & ((1 << 5 * CHECK_DIGITS) - 1)


cdef bint has_cookie(const uint8_t* data, Slice branch) noexcept nogil:
    # With something behind it: a bare cookie identifies nothing, and the rules of RFC 2543 do.
    return slice_length(branch) > COOKIE_LENGTH and strncasecmp(<const char*>data + branch.start, b"z9hG4bK", 7) == 0


cdef bint decode_branch(const HashKey* key, const uint8_t* data, Slice branch, OwnBranch* out) noexcept nogil:
    cdef const uint8_t* at = data + branch.start + COOKIE_LENGTH
    cdef uint32_t bad = 0, check
    if slice_length(branch) != BRANCH_LENGTH or data[branch.start + DOT_AT] != c".":
        return False
    if not has_cookie(data, branch):
        return False
    out.owner = <uint32_t>read_digits(at, OWNER_DIGITS, &bad)
    at += OWNER_DIGITS
    out.slot = <uint32_t>read_digits(at, SLOT_DIGITS, &bad)
    at += SLOT_DIGITS
    out.generation = <uint32_t>read_digits(at, GENERATION_DIGITS, &bad)
    at += GENERATION_DIGITS
    check = <uint32_t>read_digits(at, CHECK_DIGITS, &bad)
    at += CHECK_DIGITS + 1
    if read_digits(at, 1, &bad) > 15:    # thirteen digits have room for one bit more than the hash
        return False
    out.loop_hash = read_digits(at, LOOP_DIGITS, &bad)
    return not bad and check == branch_check(key, out)


cdef void write_branch(Transactions* layer, const Transaction* client, uint64_t loop_hash, uint8_t* out) noexcept nogil:
    cdef OwnBranch b
    b.owner = layer.setup.owner
    b.slot = client.index
    b.generation = client.generation
    b.loop_hash = loop_hash
    memcpy(out, b"z9hG4bK", COOKIE_LENGTH)
    out = write_digits(out + COOKIE_LENGTH, b.owner, OWNER_DIGITS)
    out = write_digits(out, b.slot, SLOT_DIGITS)
    out = write_digits(out, b.generation, GENERATION_DIGITS)
    out = write_digits(out, branch_check(&layer.setup.branch_key, &b), CHECK_DIGITS)
    out[0] = c"."
    write_digits(out + 1, loop_hash, LOOP_DIGITS)


cdef int read_branch(const HashKey* key, const uint8_t* data, Slice branch, uint32_t* owner, uint64_t* loop_hash) noexcept nogil:
    cdef OwnBranch b
    if not decode_branch(key, data, branch, &b):
        return 0
    owner[0] = b.owner
    loop_hash[0] = b.loop_hash
    return 1
