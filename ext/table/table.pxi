# The table itself: one per transport and local address.

@cython.final
@cython.no_gc_clear
cdef class TransactionTable:
    # Transactions refer to their table and `alive` to them; clearing the set breaks that ring, and nothing else of a
    # table may be taken from it while the layer points to its transactions.
    cdef Transactions* layer
    cdef BufferPool pool
    cdef Buffer* nothing         # what the layer keeps as a server's request: the view has the bytes
    cdef set alive
    cdef bytes via
    cdef readonly str sent_by
    cdef readonly str transport
    cdef bint reliable
    cdef bint begun
    cdef double base             # the caller's time at START
    cdef Notes notes

    def __cinit__(self, str sent_by not None, str transport="UDP", *, double t1=0.5, double t2=4.0, double t4=5.0,
                  limit=100_000, queue=100_000):
        cdef TransactionSetup setup
        cdef bytes keys = os.urandom(36)
        if transport.upper() not in TRANSPORTS:
            raise ValueError(f"{transport!r} is none of {', '.join(TRANSPORTS)}")
        for name, seconds in (("t1", t1), ("t2", t2), ("t4", t4)):
            if not 0.001 <= seconds <= 1000:
                raise ValueError(f"{name} is {seconds:g}: expected 0.001 to 1000 seconds")
        for name, number in (("limit", limit), ("queue", queue)):
            if not 1 <= number <= MAX_LIMIT:
                raise ValueError(f"{name} is {number}: expected 1 to {MAX_LIMIT}")
        self.alive, self.sent_by, self.transport = set(), sent_by, transport.upper()
        self.reliable = self.transport != "UDP"
        self.notes.outgoing_limit = queue
        self.via = b"Via: SIP/2.0/%s %s;branch=" % (self.transport.encode(), safe(sent_by, "sent_by"))
        parse_view(b"OPTIONS sip:a SIP/2.0\r\n" + self.via + b"z9hG4bKx\r\nFrom: <sip:a>\r\nTo: <sip:a>\r\n"
                   b"Call-ID: a\r\nCSeq: 1 OPTIONS\r\n\r\n")     # what sent_by has to stand
        pool_init(&self.pool)
        memset(&setup, 0, sizeof(setup))
        setup.limit = limit
        setup.t1, setup.t2, setup.t4 = <uint32_t>(t1 * 1000), <uint32_t>(t2 * 1000), <uint32_t>(t4 * 1000)
        setup.now = START
        memcpy(&setup.branch_key, <const char*>keys, 16)
        memcpy(&setup.table_key, <const char*>keys + 16, 16)
        memcpy(&setup.incarnation, <const char*>keys + 32, 4)
        setup.pool = &self.pool
        setup.tu.self = &self.notes
        setup.tu.send = on_send
        setup.tu.on_response = on_response
        setup.tu.on_timeout = on_timeout
        setup.tu.on_failure = on_failure
        setup.tu.on_terminated = on_terminated
        setup.tu.on_timer = on_timer
        self.layer = transactions_new(&setup)
        self.nothing = buffer_new(&self.pool, 0)
        if self.layer == NULL or self.nothing == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint32_t i
        if self.layer != NULL:
            transactions_free(self.layer)
        for i in range(self.notes.happened_count):
            Py_DECREF(self.notes.happened[i].transaction)
        for i in range(self.notes.outgoing_count):
            buffer_release(&self.pool, self.notes.outgoing[i].buffer)
        free(self.notes.happened)
        free(self.notes.outgoing)
        buffer_release(&self.pool, self.nothing)
        pool_trim(&self.pool)

    # Time.

    cdef int set_clock(self, double now) except -1:
        cdef double elapsed
        if not isfinite(now):
            raise ValueError("now is a finite number of seconds")
        if not self.begun:
            self.base, self.begun = now, True
        # Seconds to milliseconds and back must not lose the one a timer waits for.
        elapsed = (now - self.base) * 1000 + 1e-3
        if elapsed >= LATEST:
            raise ValueError("now is too far ahead of the first time this table was given")
        if elapsed > 0 and START + <uint64_t>elapsed > self.layer.now:
            self.layer.now = START + <uint64_t>elapsed
        return 0

    def next_timeout(self, double now):
        cdef uint32_t wait
        self.set_clock(now)
        if self.notes.happened_count:
            return 0.0
        if not wheel_armed(self.layer.wheel):
            return None
        wait = wheel_wait(self.layer.wheel, self.layer.now, LONGEST_WAIT)
        # From `now` itself, which may lie within the layer's millisecond, or behind it.
        return max(0.0, (self.layer.now - START + wait) / 1000.0 + self.base - now) if wait else 0.0

    def advance(self, double now):
        self.set_clock(now)
        while run_timers(self.layer, 10_000) == 10_000:
            pass
        return self.take_events(None, None)

    # In.

    def receive(self, data, source, double now):
        cdef Flow flow
        cdef MessageView view
        self.flow_to(source, &flow)
        self.set_clock(now)
        if isinstance(data, MessageView):
            view = data
        else:
            try:
                view = parse_view(data)
            except ParseError as error:
                return [*self.take_events(None, None), events.Malformed(error, source)]
        if view.m.kind == KIND_REQUEST:
            return self.receive_request(view, source, &flow)
        if receive_response(self.layer, view.m):
            return self.take_events(view, source)
        return [*self.take_events(None, None), events.StrayResponse(view, source)]

    cdef list receive_request(self, MessageView view, object source, Flow* flow):
        cdef Transaction* found = NULL
        cdef Transaction* t
        cdef TransactionView made, other = None
        cdef Flow answer
        cdef int match = match_request(self.layer, view.m, flow, &found)
        cdef list told
        if match == MATCH_ACK_ACCEPTED and found.user != NULL:
            other = <TransactionView>found.user
        told = self.take_events(None, None)
        if match == MATCH_ABSORBED:
            return told
        if view.m.method == METHOD_ACK:
            told.append(events.AckReceived(view, other, source))
            return told
        answer_flow(&answer, flow, view.m)
        t = server_transaction(self.layer, view.m, &answer, self.nothing)
        if t == NULL:
            told.append(events.RequestRefused(view, source))
            return told
        made = new_transaction(self, t, view, &answer)
        if view.m.method != METHOD_CANCEL:
            told.append(events.RequestReceived(view, made, source))
            return told
        t = find_cancelled(self.layer, view.m)
        if t != NULL and t.user != NULL:
            other = <TransactionView>t.user
        told.append(events.CancelReceived(view, made, source, other))
        return told

    # Out.

    def request(self, message, destination, double now):
        cdef Flow flow
        cdef Transaction* t
        cdef TransactionView made
        cdef MessageView view
        cdef Buffer* buffer
        cdef uint8_t[BRANCH_LENGTH] branch
        cdef bytes via = self.via + b"z9hG4bK-to-be\r\n"
        self.flow_to(destination, &flow)
        if not address_is_sendable(&flow.remote):
            raise ValueError(f"nothing can be sent to {destination!r}")
        view = parse_built(with_via(message, via), len(via))
        if view.m.kind != KIND_REQUEST:
            raise ValueError("a response is no request")
        if view.m.method == METHOD_ACK:
            raise UsageError("an ACK is no transaction: that of a 2xx goes by `send`, others are sent by the table")
        if view.m.method == METHOD_CANCEL:
            raise UsageError("a CANCEL belongs to its INVITE: use the transaction's `cancel`")
        self.set_clock(now)
        t = client_transaction(self.layer, view.m.method)
        if t == NULL:
            raise LimitReached(f"{self.layer.live - self.layer.waiting} transactions are active, the limit is reached")
        write_branch(self.layer, t, 0, branch)
        slot, generation = t.index, t.generation
        try:
            view = parse_view(with_via(message, b"%s%s%s\r\n" % (
                self.via, (<char*>branch)[:BRANCH_LENGTH], b"" if self.reliable else b";rport")))
            buffer = buffer_copy(&self.pool, view.m.data, view.m.size)
            if buffer == NULL:
                raise MemoryError
        except BaseException:
            t = transaction_at(self.layer, slot, generation)
            if t != NULL:
                client_discard(self.layer, t)
            raise
        t = transaction_at(self.layer, slot, generation)
        made = new_transaction(self, t, view, &flow)
        client_start(self.layer, t, buffer, &flow)
        buffer_release(&self.pool, buffer)
        return made

    def send(self, message, destination, double now):
        cdef Flow flow
        cdef MessageView view
        cdef Buffer* buffer
        cdef bytes via = b"%sz9hG4bK%s%s\r\n" % (self.via, os.urandom(12).hex().encode(),
                                                  b"" if self.reliable else b";rport")
        self.flow_to(destination, &flow)
        view = parse_built(with_via(message, via), len(via))
        if view.m.kind != KIND_REQUEST:
            raise ValueError("a response is no request")
        self.set_clock(now)
        buffer = buffer_copy(&self.pool, view.m.data, view.m.size)
        if buffer == NULL:
            raise MemoryError
        failed = on_send(&self.notes, &flow, buffer)
        buffer_release(&self.pool, buffer)
        if failed:
            raise ValueError(f"nothing can be sent to {destination!r}")

    def to_send(self):
        cdef Outgoing* taken = self.notes.outgoing
        cdef uint32_t count = self.notes.outgoing_count, i
        cdef list result = []
        self.notes.outgoing = NULL
        self.notes.outgoing_count = self.notes.outgoing_room = 0
        try:
            for i in range(count):
                data = (<char*>taken[i].buffer.data)[:taken[i].buffer.length]
                result.append((data, write_address(&taken[i].to)))
        finally:
            for i in range(count):
                buffer_release(&self.pool, taken[i].buffer)
            free(taken)
        return result

    def failed(self, address, double now):
        cdef Flow flow
        cdef Transaction* t
        cdef TransactionView each
        self.flow_to(address, &flow)
        self.set_clock(now)
        for each in list(self.alive):
            t = each.find()
            if t != NULL and address_equal(&t.flow.remote, &flow.remote):
                transaction_failed(self.layer, t)
        return self.take_events(None, None)

    cdef int flow_to(self, object address, Flow* flow) except -1:
        memset(flow, 0, sizeof(Flow))
        read_address(address, &flow.remote)
        flow.reliable = self.reliable
        flow.transport = <uint8_t>(TRANSPORTS.index(self.transport) + 1)
        return 0

    # What the layer noted, as events. Making objects may run anything, so it is taken away first.

    cdef list take_events(self, MessageView message, object source):
        cdef Happening* taken = self.notes.happened
        cdef uint32_t count = self.notes.happened_count, i
        cdef TransactionView transaction
        cdef list result = []
        self.notes.happened = NULL
        self.notes.happened_count = self.notes.happened_room = 0
        try:
            for i in range(count):
                transaction = <TransactionView>taken[i].transaction
                if taken[i].kind == HAPPENED_RESPONSE:
                    result.append(events.ResponseReceived(message, transaction, source))
                elif taken[i].kind == HAPPENED_TIMEOUT:
                    result.append(events.Timeout(transaction))
                elif taken[i].kind == HAPPENED_FAILURE:
                    result.append(events.TransportError(transaction))
                else:
                    self.alive.discard(transaction)
                    result.append(events.Terminated(transaction))
        finally:
            transaction = None
            for i in range(count):
                Py_DECREF(taken[i].transaction)
            free(taken)
        if self.notes.no_memory:
            self.notes.no_memory = False
            raise MemoryError
        return result

    # The books.

    def __len__(self):
        return self.layer.live

    @property
    def counters(self):
        return {
            "transactions": self.layer.live, "waiting": self.layer.waiting,
            "retransmissions_in": self.layer.retransmissions_in,
            "retransmissions_out": self.layer.retransmissions_out,
            "strays": self.layer.strays, "dropped": self.notes.dropped,
        }

    def __repr__(self):
        return f"<TransactionTable {self.transport} {self.sent_by}, {self.layer.live} transactions>"


seal_type(TransactionView, b"fastsip._table.Transaction")
globals()["Transaction"] = TransactionView
