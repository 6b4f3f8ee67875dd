# A REGISTER fact, read in place: its texts are spans of the body it came in.

cdef struct Contact:
    Span uri, parameters
    uint64_t q, expires          # thousandths; seconds, 0 removes
    const Binding* binding       # that it is about, NULL for none
    bint repeated                # the same URI comes again later, and only that counts
    bint keyed                   # these two name its binding:
    Slice instance, reg_id


cdef class Register:
    cdef bytes body
    cdef readonly uint64_t index, token, cseq, flags
    cdef readonly bint readable
    cdef Span aor_text, call_id_text, path
    cdef uint64_t family, port, listener, transport, connection
    cdef Span ip
    cdef Contact* contacts
    cdef uint32_t contact_count

    def __dealloc__(self):
        free(self.contacts)

    @property
    def aor(self):
        return span_bytes(&self.aor_text)

    @property
    def call_id(self):
        return span_bytes(&self.call_id_text)

    @property
    def adds(self):
        cdef uint32_t i
        for i in range(self.contact_count):
            if self.contacts[i].expires:
                return True
        return False

    def decide(self, bytes current, uint64_t now, uint32_t max_contacts, uint64_t version):
        return decide(self, current, now, max_contacts, version)


cdef bint read_register(Register self, Reader* r) noexcept:
    # After kind and token. Every number fits its place in a Binding, or the fact is not readable.
    cdef uint32_t count, i
    cdef Contact* c
    if not (read_bytes(r, TEXT_LIMIT, &self.aor_text) and read_bytes(r, TEXT_LIMIT, &self.call_id_text) and
            read_most(r, 0xffffffff, &self.cseq) and read_uint(r, &self.flags)):
        return False
    if not (read_array(r, &count) and count == 6 and read_most(r, 6, &self.family) and read_bytes(r, 16, &self.ip) and
            read_most(r, 0xffff, &self.port) and read_most(r, 0xffff, &self.listener) and
            read_most(r, 0xff, &self.transport) and read_most(r, 0xffffffff, &self.connection)):
        return False
    if self.ip.length != 16 or (self.family != 0 and self.family != 4 and self.family != 6):
        return False
    if not read_bytes(r, TEXT_LIMIT, &self.path) or not read_array(r, &count):
        return False
    if count == 0:
        return True
    if self.flags & FLAG_STAR:
        return False
    if count > TEXT_LIMIT or count > <uint64_t>(r.end - r.at):
        return False
    self.contacts = <Contact*>calloc(count, sizeof(Contact))
    if self.contacts == NULL:
        return False
    self.contact_count = count
    for i in range(count):
        c = &self.contacts[i]
        if not (read_array(r, &count) and count == 4 and read_bytes(r, TEXT_LIMIT, &c.uri) and
                read_most(r, 0xffff, &c.q) and read_most(r, 0xffffffff, &c.expires) and
                read_bytes(r, TEXT_LIMIT, &c.parameters)):
            return False
    return True
