# SipHash-2-4; see ext/siphash.h. Header only.
from libc.stdint cimport uint64_t

cdef extern from "siphash.h" nogil:
    ctypedef struct HashKey:
        uint64_t k0
        uint64_t k1

    ctypedef struct HashState:
        pass

    void siphash_start(HashState* s, const HashKey* key) noexcept
    void siphash_add(HashState* s, const void* data, size_t length) noexcept
    uint64_t siphash_finish(HashState* s) noexcept
    uint64_t siphash(const HashKey* key, const void* data, size_t length) noexcept
