# MD5 and SHA-256 by OpenSSL, found at run time; see ext/libcrypto.h. Header only.
from libc.stdint cimport uint8_t, uint32_t

cdef extern from "libcrypto.h" nogil:
    ctypedef struct Libcrypto:
        pass
    ctypedef struct Hash:
        uint32_t size
    int libcrypto_open(Libcrypto* crypto, const char* path) noexcept
    int hash_open(Hash* hash, Libcrypto* crypto, int sha256) noexcept
    void hash_close(Hash* hash) noexcept
    void hash_start(Hash* hash) noexcept
    void hash_add(Hash* hash, const void* data, uint32_t length) noexcept
    int hash_finish(Hash* hash, uint8_t* out) noexcept
