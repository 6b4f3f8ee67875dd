# Digest authentication (RFC 3261 22, RFC 7616, RFC 8760) without Python: keyed nonces, a shared table of nc windows
# (ext/nonce.h), hashing by libcrypto found at run time.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastsip._hash cimport HashKey
from fastsip._libcrypto cimport Libcrypto
from fastsip._message cimport Credentials, Message, Slice, Writer

cdef enum DigestAlgorithm:
    DIGEST_MD5 = 1
    DIGEST_SHA256 = 2

cdef enum DigestResult:
    DIGEST_OK = 1
    DIGEST_WRONG = 2         # response does not match: challenge again, no stale
    DIGEST_STALE = 3         # our nonce, out of its time, response right: challenge with stale=true
    DIGEST_REPLAY = 4        # right in all, but this nc was seen, or is too far behind: challenge with stale=true
    DIGEST_MALFORMED = 5     # 400: missing field, unknown qop, nc no hex, uri not the Request-URI
    DIGEST_UNKNOWN = 6       # not our nonce, or an algorithm we did not offer: challenge
    DIGEST_FORGOTTEN = 7     # right and in time, but the table cannot vouch for its nc (evicted, or a new table): stale=true

cdef struct Digest           # opaque: one per worker, made by digest_new

# `table` is the shared mapping (nonce_table_size() bytes, zeroed by the master once); lifetime in seconds.
# NULL with a static message in *error if libcrypto is not found.
cdef size_t nonce_table_size() noexcept nogil
cdef Digest* digest_new(void* table, const HashKey* key, uint32_t lifetime, int algorithms, const char** error) noexcept
# Follow new settings. Algorithms that libcrypto refuses stay out.
cdef void digest_follow(Digest* digest, uint32_t lifetime, int algorithms) noexcept nogil
cdef void digest_free(Digest* digest) noexcept nogil
# The libcrypto this Python uses, or else the system's. False if there is none. Needs the GIL.
cdef bint open_libcrypto(Libcrypto* crypto) noexcept
# Which of the user's hashes a client chose: DIGEST_MD5, DIGEST_SHA256, or 0 for something else.
cdef int credentials_algorithm(const uint8_t* data, const Credentials* credentials) noexcept nogil
# Check credentials against the user's HA1 (hex, 32 or 64 bytes by algorithm). Comparison in constant time. The nonce's
# nc is spent only if the response is right. now_ms is wall clock.
cdef int digest_check(Digest* digest, const Message* m, const Credentials* credentials, const char* ha1,
                      uint64_t now_ms) noexcept nogil
# Work as long as digest_check for a user that does not exist, and say what a wrong password would be told: DIGEST_WRONG,
# MALFORMED or UNKNOWN.
cdef int digest_check_nobody(Digest* digest, const Message* m, const Credentials* credentials, uint64_t now_ms) noexcept nogil
# Append one "WWW-Authenticate: Digest ..." (or Proxy-Authenticate) line per algorithm offered, SHA-256 first, each with
# the same fresh nonce.
cdef void put_challenge(Digest* digest, Writer* w, bint proxy, const uint8_t* realm, uint32_t realm_length, bint stale,
                        uint64_t now_ms) noexcept nogil
