# A transaction as its user holds it: a slot and its generation, so that one kept too long is known to have ended.

@cython.final
@cython.no_gc_clear
cdef class TransactionView:
    cdef TransactionTable table
    cdef uint32_t slot
    cdef uint32_t generation
    cdef bint server
    cdef Flow answer             # server: where responses go
    cdef bytes to_tag
    cdef readonly MessageView request
    cdef public object user

    cdef Transaction* find(self) noexcept:
        return transaction_at(self.table.layer, self.slot, self.generation)

    cdef Transaction* live(self, str what) except NULL:
        cdef Transaction* t = self.find()
        if t == NULL:
            raise UsageError(f"cannot {what}: the {self.request.method} transaction has ended")
        return t

    @property
    def is_server(self):
        return self.server

    @property
    def method(self):
        return self.request.method

    @property
    def state(self):
        cdef Transaction* t = self.find()
        return STATE_NAMES[t.state if t != NULL else <int>STATE_TERMINATED].decode("ascii")

    @property
    def status(self):
        cdef Transaction* t = self.find()
        return t.status or None if t != NULL else None

    @property
    def address(self):
        return write_address(&self.answer.remote)

    @property
    def tag(self):
        if not self.server:
            return None
        return self.request.to_tag or self.to_tag.decode("ascii")

    def respond(self, response, double now, *, reason=None, headers=(), body=b""):
        cdef Transaction* t
        cdef MessageView view
        cdef Buffer* buffer
        cdef int status
        cdef bytes built
        if not self.server:
            raise UsageError("cannot respond: this is a client transaction, the other side responds")
        self.live("respond")
        if isinstance(response, int):
            status = response
            if not 100 <= status <= 699:
                raise ValueError(f"{status} is no status code: they go from 100 to 699")
            phrase = safe(reason, "the reason") if reason is not None else <bytes>reason_phrase(status)
            built = build_response(self.request.m, &self.answer, status, phrase, self.to_tag, header_lines(headers),
                                   bytes(body))
            view = parse_view(built)
        else:
            if reason is not None or headers or body:
                raise TypeError("reason, headers and body are for a status; a whole response has its own")
            view = response if isinstance(response, MessageView) else parse_view(response)
        self.check_answers(view)
        t = self.live("respond")
        status = view.m.status
        self.table.set_clock(now)
        buffer = buffer_copy(&self.table.pool, view.m.data, view.m.size)
        if buffer == NULL:
            raise MemoryError
        noted = self.table.notes.happened_count
        sent = server_respond(self.table.layer, t, buffer, status)
        buffer_release(&self.table.pool, buffer)
        if not sent and self.table.notes.happened_count == noted:
            raise UsageError(f"cannot send {status}: {t.status} was sent and the transaction is {self.state}")

    cdef int check_answers(self, MessageView view) except -1:
        if view.m.kind != KIND_RESPONSE:
            raise ValueError("a request is no response")
        if view.m.cseq != self.request.m.cseq or view.method != self.request.method \
                or view.call_id != self.request.call_id or view.branch != self.request.branch:
            raise ValueError(f"a response to another request: {view!r}")
        return 0

    def cancel(self, double now):
        cdef Transaction* t
        if self.server or self.request.m.method != METHOD_INVITE:
            raise UsageError("cannot cancel: only an INVITE that was sent can be cancelled")
        t = self.live("cancel")
        self.table.set_clock(now)
        return bool(client_cancel(self.table.layer, t))

    def end(self):
        cdef Transaction* t = self.find()
        if t != NULL:
            transaction_end(self.table.layer, t)
            self.table.alive.discard(self)

    def __repr__(self):
        return f"<Transaction {'server' if self.server else 'client'} {self.request.method} {self.state}>"


cdef TransactionView new_transaction(TransactionTable table, Transaction* t, MessageView request, const Flow* answer):
    cdef TransactionView made = TransactionView.__new__(TransactionView)
    made.table, made.slot, made.generation = table, t.index, t.generation
    made.request, made.server, made.answer = request, t.machine >= INVITE_SERVER, answer[0]
    if made.server:
        made.to_tag = os.urandom(8).hex().encode()
    t.user = <void*>made
    table.alive.add(made)
    return made
