# The transaction user: what it is told is noted, what it is to send is queued. The functions above call it, through the
# layer, and they hold the GIL: references may be counted here.

cdef bint make_room(void** items, uint32_t count, uint32_t* room, size_t size) noexcept nogil:
    cdef uint32_t wanted = room[0] * 2 if room[0] else 16
    cdef void* memory
    if count < room[0]:
        return True
    memory = realloc(items[0], wanted * size)
    if memory == NULL:
        return False
    items[0], room[0] = memory, wanted
    return True


cdef void note(void* self, int kind, Transaction* t) noexcept nogil:
    cdef Notes* notes = <Notes*>self
    cdef Happening* happening
    if t.user == NULL:
        return
    if not make_room(<void**>&notes.happened, notes.happened_count, &notes.happened_room, sizeof(Happening)):
        notes.no_memory = True
        return
    happening = &notes.happened[notes.happened_count]
    happening.kind, happening.transaction = kind, <PyObject*>t.user
    Py_INCREF(happening.transaction)
    notes.happened_count += 1


cdef int on_send(void* self, const Flow* flow, Buffer* buffer) noexcept nogil:
    cdef Notes* notes = <Notes*>self
    cdef Outgoing* outgoing
    if not address_is_sendable(&flow.remote):
        return -1
    if notes.outgoing_count >= notes.outgoing_limit \
            or not make_room(<void**>&notes.outgoing, notes.outgoing_count, &notes.outgoing_room, sizeof(Outgoing)):
        notes.dropped += 1       # as the network might; a retransmission follows
        return 0
    outgoing = &notes.outgoing[notes.outgoing_count]
    outgoing.buffer, outgoing.to = buffer_hold(buffer), flow.remote
    notes.outgoing_count += 1
    return 0


cdef void on_response(void* self, Transaction* t, const Message* response) noexcept nogil:
    note(self, HAPPENED_RESPONSE, t)


cdef void on_timeout(void* self, Transaction* t) noexcept nogil:
    note(self, HAPPENED_TIMEOUT, t)


cdef void on_failure(void* self, Transaction* t) noexcept nogil:
    note(self, HAPPENED_FAILURE, t)


cdef void on_terminated(void* self, Transaction* t) noexcept nogil:
    note(self, HAPPENED_TERMINATED, t)


cdef void on_timer(void* self, Timer* timer) noexcept nogil:
    pass                         # no timer here is the user's own
