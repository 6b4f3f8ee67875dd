# SipHash-2-4, and SipHash-1-3 for tables; see ext/siphash.h. Header only.
from libc.stdint cimport uint64_t

cdef extern from "siphash.h" nogil:
    ctypedef struct HashKey:
        uint64_t k0
        uint64_t k1

    ctypedef struct HashState:
        pass

    void siphash_start(HashState* s, const HashKey* key) noexcept
    void siphash_add(HashState* s, const void* data, size_t length) noexcept
    void siphash_word(HashState* s, uint64_t word) noexcept
    uint64_t siphash_finish(HashState* s) noexcept
    uint64_t siphash(const HashKey* key, const void* data, size_t length) noexcept
    void tablehash_add(HashState* s, const void* data, size_t length) noexcept
    void tablehash_add_folded(HashState* s, const void* data, size_t length) noexcept
    void tablehash_word(HashState* s, uint64_t word) noexcept
    uint64_t tablehash_finish(HashState* s) noexcept
    uint64_t tablehash(const HashKey* key, const void* data, size_t length) noexcept
