# Requests that a connection has taken and nobody has answered yet. A peer that closes with them, or breaks, was asked in
# vain: their client transactions are told, instead of waiting for Timer B or F (RFC 3263 4.3, RFC 5626 5.3). They are kept
# as branches, which lead to their transactions and to nobody else's; what answers first takes them off the list.

cdef enum:
    ASKED_MOST = 64              # of one connection; the newest are kept
    ASKED_FIRST = 4
    VIA_WITHIN = 512             # bytes of a message in which its topmost Via has its branch


cdef const uint8_t* own_branch(const TransportState* t, const uint8_t* data, uint32_t length, uint32_t* owner) noexcept nogil:
    # The branch of a message's topmost Via, if a worker of ours wrote it for a transaction; else NULL.
    cdef const uint8_t* at = <const uint8_t*>memmem(data, min(length, <uint32_t>VIA_WITHIN), b"branch=z9hG4bK", 14)
    cdef uint32_t loop_hash
    cdef Slice branch
    if at == NULL or at + 7 + BRANCH_LENGTH > data + length:
        return NULL
    branch.start, branch.end = 0, BRANCH_LENGTH
    return at + 7 if read_branch(&t.control.branch_key, at + 7, branch, owner, &loop_hash) else NULL


cdef void note_asked(TransportState* t, Connection* c, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef Asked* asked = c.asked
    cdef uint32_t owner, room
    cdef const uint8_t* branch
    if not is_asking(data, length) or memcmp(data, b"CANCEL ", 7) == 0:
        return
    branch = own_branch(t, data, length, &owner)
    if branch == NULL:
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
    branch = <const uint8_t*>memmem(data, min(length, <uint32_t>VIA_WITHIN), b"branch=z9hG4bK", 14)
    if branch == NULL or branch + 7 + BRANCH_LENGTH > data + length:
        return
    for i in range(asked.count):
        if memcmp(&asked.branches[i], branch + 7, BRANCH_LENGTH) == 0:
            asked.count -= 1
            memmove(&asked.branches[i], &asked.branches[i + 1], (asked.count - i) * BRANCH_LENGTH)
            return


cdef void asked_in_vain(TransportState* t, Connection* c, const Flow* flow) noexcept nogil:
    # Its peer will not answer what it was asked: the owners of these transactions are told.
    cdef Asked* asked = c.asked
    cdef Flow handed = flow[0]
    cdef Buffer* buffer
    cdef uint32_t i, owner, loop_hash
    cdef Slice branch
    if asked == NULL:
        return
    c.asked = NULL
    handed.listener = t.listeners[flow.listener].index
    branch.start, branch.end = 0, BRANCH_LENGTH
    for i in range(asked.count):
        if not read_branch(&t.control.branch_key, &asked.branches[i][0], branch, &owner, &loop_hash):
            continue
        if owner != t.worker and owner < t.workers:
            hand_over(t, owner, RING_UNANSWERED, &handed, &asked.branches[i], BRANCH_LENGTH)
            continue
        buffer = buffer_copy(t.pool, &asked.branches[i][0], BRANCH_LENGTH)
        if buffer != NULL:
            show_later(t, flow, buffer, PACKET_UNANSWERED)
        buffer_release(t.pool, buffer)
    free(asked)
