# What threads without a log have to say; see ext/remark.h. Header only.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastsip._address cimport Address

cdef extern from "remark.h" nogil:
    enum: REMARK_AT, REMARK_FROM, REMARK_TO

    ctypedef struct Remark:
        Address remote
        uint8_t transport
        uint8_t way
        uint32_t unsaid
        char* text

    ctypedef struct Remarks:
        pass

    bint remarks_open(Remarks* remarks) noexcept
    void remarks_close(Remarks* remarks) noexcept
    void remark(Remarks* remarks, uint64_t now, int transport, int way, const Address* remote, const char* text) noexcept
    void remark_error(Remarks* remarks, uint64_t now, int transport, int way, const Address* remote, int error) noexcept
    bint remarks_take(Remarks* remarks, Remark* out) noexcept
