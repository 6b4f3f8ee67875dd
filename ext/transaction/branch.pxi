# Our branch: "z9hG4bK" owner slot generation check "." loop hash, all digits in base 32, of fixed width. The check is
# keyed and covers all the rest, so nobody makes a branch that leads to a transaction; letters may come back in either
# case, as RFC 3261 7.3.1 lets a peer do with a token.

cdef enum:
    COOKIE_LENGTH = 7
    OWNER_DIGITS = 2
    SLOT_DIGITS = 5
    GENERATION_DIGITS = 6
    CHECK_DIGITS = 6
    LOOP_DIGITS = 7
    DOT_AT = COOKIE_LENGTH + OWNER_DIGITS + SLOT_DIGITS + GENERATION_DIGITS + CHECK_DIGITS

cdef struct OwnBranch:
    uint32_t owner
    uint32_t slot
    uint32_t generation
    uint32_t loop_hash


cdef inline uint8_t* write_digits(uint8_t* at, uint64_t number, int digits) noexcept nogil:
    cdef int i
    for i in range(digits - 1, -1, -1):
        at[i] = b"0123456789abcdefghijklmnopqrstuv"[number & 31]
        number >>= 5
    return at + digits


cdef extern from *:
    """
    /* The digits in either case; 32 for what is none. */
    static const uint8_t DIGITS[256] = {
        [0 ... 255] = 32,
        ['0'] = 0, ['1'] = 1, ['2'] = 2, ['3'] = 3, ['4'] = 4, ['5'] = 5, ['6'] = 6, ['7'] = 7, ['8'] = 8, ['9'] = 9,
    #define DIGIT(letter, value) [letter] = value, [letter - 32] = value
        DIGIT('a', 10), DIGIT('b', 11), DIGIT('c', 12), DIGIT('d', 13), DIGIT('e', 14), DIGIT('f', 15), DIGIT('g', 16),
        DIGIT('h', 17), DIGIT('i', 18), DIGIT('j', 19), DIGIT('k', 20), DIGIT('l', 21), DIGIT('m', 22), DIGIT('n', 23),
        DIGIT('o', 24), DIGIT('p', 25), DIGIT('q', 26), DIGIT('r', 27), DIGIT('s', 28), DIGIT('t', 29), DIGIT('u', 30),
        DIGIT('v', 31),
    };
    """
    const uint8_t DIGITS[256]


cdef inline uint64_t read_digits(const uint8_t* at, int digits, uint32_t* bad) noexcept nogil:
    cdef uint64_t number = 0
    cdef uint32_t digit
    cdef int i
    for i in range(digits):
        digit = DIGITS[at[i]]
        bad[0] |= digit
        number = number << 5 | digit
    return number


cdef inline uint32_t branch_check(const HashKey* key, const OwnBranch* b) noexcept nogil:
    cdef HashState h
    siphash_start(&h, key)
    siphash_word(&h, <uint64_t>b.owner << 32 | b.slot)
    siphash_word(&h, <uint64_t>b.generation << 32 | b.loop_hash)
    return <uint32_t>siphash_finish(&h) & ((1 << 5 * CHECK_DIGITS) - 1)


cdef inline bint has_cookie(const uint8_t* data, Slice branch) noexcept nogil:
    # With something behind it: a bare cookie identifies nothing, and the rules of RFC 2543 do. So there are eight bytes,
    # all above 0x20, and setting that bit makes letters small and changes no digit.
    cdef uint64_t word
    if slice_length(branch) <= COOKIE_LENGTH:
        return False
    memcpy(&word, data + branch.start, 8)
    return (word | <uint64_t>0x2020202020202020) << 8 == <uint64_t>0x6B62346768397A << 8     # "z9hg4bk"


cdef bint decode_branch(const HashKey* key, const uint8_t* data, Slice branch, OwnBranch* out) noexcept nogil:
    cdef const uint8_t* at = data + branch.start + COOKIE_LENGTH
    cdef uint32_t bad = 0, check
    cdef uint64_t loop_hash
    if slice_length(branch) != BRANCH_LENGTH or data[branch.start + DOT_AT] != c".":
        return False
    if not has_cookie(data, branch):
        return False
    out.owner = <uint32_t>read_digits(at, OWNER_DIGITS, &bad)
    out.slot = <uint32_t>read_digits(at + OWNER_DIGITS, SLOT_DIGITS, &bad)
    at += OWNER_DIGITS + SLOT_DIGITS
    out.generation = <uint32_t>read_digits(at, GENERATION_DIGITS, &bad)
    check = <uint32_t>read_digits(at + GENERATION_DIGITS, CHECK_DIGITS, &bad)
    loop_hash = read_digits(at + GENERATION_DIGITS + CHECK_DIGITS + 1, LOOP_DIGITS, &bad)
    out.loop_hash = <uint32_t>loop_hash
    # Seven digits have room for three bits more than the hash.
    return not bad & 32 and loop_hash == out.loop_hash and check == branch_check(key, out)


cdef void write_branch(Transactions* layer, const Transaction* client, uint32_t loop_hash, uint8_t* out) noexcept nogil:
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


cdef int read_branch(const HashKey* key, const uint8_t* data, Slice branch, uint32_t* owner, uint32_t* loop_hash) noexcept nogil:
    cdef OwnBranch b
    if not decode_branch(key, data, branch, &b):
        return 0
    owner[0] = b.owner
    loop_hash[0] = b.loop_hash
    return 1
