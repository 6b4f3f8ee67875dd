# What one transaction costs: a layer that sends nowhere, messages made once, compiled loops around one call.
from libc.stdio cimport snprintf

cdef struct Costs:
    double create, match, miss, answer, retransmit, confirm, expire, start, response, terminate


cdef int no_send(void* self, const Flow* flow, Buffer* buffer) noexcept nogil:
    return 0


cdef void no_response(void* self, Transaction* t, const Message* response) noexcept nogil:
    pass


cdef void no_event(void* self, Transaction* t) noexcept nogil:
    pass


cdef void no_timer(void* self, Timer* timer) noexcept nogil:
    pass


cdef inline double per(uint64_t start, uint32_t count) noexcept nogil:
    return <double>(nanoseconds() - start) / count
