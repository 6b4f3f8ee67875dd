# Requests that a connection has taken and nobody has answered yet. A peer that closes with them, or breaks, was asked in
# vain: their client transactions are told, instead of waiting for Timer B or F (RFC 3263 4.3, RFC 5626 5.3). They are kept
# as branches, which lead to their transactions and to nobody else's; what answers first takes them off the list.

cdef enum:
    ASKED_MOST = 64              # of one connection; the newest are kept
    ASKED_FIRST = 4
    VIA_WITHIN = 512             # bytes of a message in which its topmost Via has its branch


cdef const uint8_t* topmost_branch(const uint8_t* data, uint32_t length) noexcept nogil:
    # So many bytes as one of ours has, NULL if there are not so many. Whose it is its check says.
    cdef const uint8_t* at = <const uint8_t*>memmem(data, min(length, <uint32_t>VIA_WITHIN), b"branch=z9hG4bK", 14)
    return at + 7 if at != NULL and at + 7 + BRANCH_LENGTH <= data + length else NULL


cdef bint is_own_branch(const TransportState* t, const uint8_t* at, uint32_t* owner) noexcept nogil:
    # Whether a worker of ours, and which, wrote it for a transaction.
    cdef uint32_t loop_hash
    cdef Slice branch
    branch.start, branch.end = 0, BRANCH_LENGTH
    return read_branch(&t.control.branch_key, at, branch, owner, &loop_hash) != 0


cdef void note_asked(TransportState* t, Connection* c, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef Asked* asked = c.asked
    cdef uint32_t owner, room
    cdef const uint8_t* branch
    if not is_asking(data, length) or memcmp(data, b"CANCEL ", 7) == 0:
        return
    branch = topmost_branch(data, length)
    if branch == NULL or not is_own_branch(t, branch, &owner):
        return
    if asked == NULL or (asked.count == asked.room and asked.room < ASKED_MOST):
        room = asked.room * 4 if asked != NULL else <uint32_t>ASKED_FIRST
        asked = <Asked*>realloc(asked, sizeof(Asked) + room * BRANCH_LENGTH)
        if asked == NULL:
            return
        if c.asked == NULL:
            asked.count = 0
        asked.room = room
        c.asked = asked
    elif asked.count == asked.room:
        memmove(&asked.branches[0], &asked.branches[1], (asked.count - 1) * BRANCH_LENGTH)
        asked.count -= 1
    memcpy(&asked.branches[asked.count], branch, BRANCH_LENGTH)
    asked.count += 1


cdef void note_answered(Connection* c, const uint8_t* data, uint32_t length) noexcept nogil:
    # Whatever it is that is said: from then on it is for the transaction to wait.
    cdef Asked* asked = c.asked
    cdef const uint8_t* branch
    cdef uint32_t i
    if asked == NULL or asked.count == 0 or length < 12 or memcmp(data, b"SIP/", 4) != 0:
        return
    branch = topmost_branch(data, length)
    if branch == NULL:
        return
    for i in range(asked.count):
        if memcmp(&asked.branches[i], branch, BRANCH_LENGTH) == 0:
            asked.count -= 1
            memmove(&asked.branches[i], &asked.branches[i + 1], (asked.count - i) * BRANCH_LENGTH)
            return


cdef void asked_in_vain(TransportState* t, Connection* c, const Flow* flow) noexcept nogil:
    # Its peer will not answer what it was asked: the owners of these transactions are told.
    cdef Asked* asked = c.asked
    cdef Flow handed = flow[0]
    cdef Buffer* buffer
    cdef uint32_t i, owner
    if asked == NULL:
        return
    c.asked = NULL
    handed.listener = t.listeners[flow.listener].index
    for i in range(asked.count):
        if not is_own_branch(t, &asked.branches[i][0], &owner):
            continue
        if owner != t.worker and owner < t.workers:
            hand_over(t, owner, RING_UNANSWERED, &handed, &asked.branches[i], BRANCH_LENGTH)
            continue
        buffer = buffer_copy(t.pool, &asked.branches[i][0], BRANCH_LENGTH)
        if buffer != NULL:
            show_later(t, flow, buffer, PACKET_UNANSWERED)
        buffer_release(t.pool, buffer)
    free(asked)
