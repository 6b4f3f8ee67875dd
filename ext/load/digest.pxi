# stub
cdef Buffer* credited(Load* l, Call* c, Buffer* request) noexcept nogil:
    return request

cdef void answer_challenge(Load* l, Call* c, const Message* m) noexcept nogil:
    fail(l, c, CAUSE_CREDENTIALS)

cdef void put_credentials_of(Writer* w, Load* l, const Buffer* request) noexcept nogil:
    pass
