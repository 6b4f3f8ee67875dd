# Digest authentication: what fastsip/_digest.pxd promises.
#
# The nonce is 40 hex digits: serial (16), issue time in Unix seconds (8), SipHash of both under Control.nonce_key (16).
# A worker needs no memory to know its own nonces, or another worker's. What must be remembered, the counts already
# spent, is in the shared table (ext/nonce.h), and only for nonces that were used with a right password.
#
# A response without qop (RFC 2069, which RFC 3261 22.4 still asks servers to understand) carries no count, so nothing
# in it differs from its replay. It is accepted once per nonce: it spends count 0, which no client with qop may use. The
# client is asked again, with stale=true, for every further request. If a count and a cnonce are there and qop is not,
# RFC 8760 2.6 (8) says it meant "auth".
#
# MD5 serves security here. A libcrypto in FIPS mode refuses it, and then it cannot be offered: digest_new says so.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from fastsip._hash cimport HashKey, siphash
from fastsip._libcrypto cimport (
    Hash, Libcrypto, hash_add, hash_close, hash_finish, hash_open, hash_start, libcrypto_open)
from fastsip._message cimport (
    DATAGRAM, HDR_AUTHORIZATION, HDR_PROXY_AUTHORIZATION, SCHEME_SIP, SCHEME_SIPS,
    Credentials, Message, Slice, Uri, Writer,
    has_header, header_value, parse_credentials, parse_message, parse_uri, put, put_text, slice_length, uri_equal,
    writer_init)

cdef extern from "<endian.h>" nogil:
    uint32_t be32toh(uint32_t number)

cdef extern from "hex.h" nogil:
    void hex_write(uint8_t* out, uint32_t number) noexcept
    int hex_read(const uint8_t* text, uint32_t* number) noexcept

cdef extern from "nonce.h" nogil:
    enum: NONCE_FRESH, NONCE_SEEN, NONCE_EVICTED, NONCE_SLOTS
    ctypedef struct NonceTable:
        pass
    void nonce_attach(NonceTable* table, uint64_t now_ms) noexcept
    uint64_t nonce_issue(NonceTable* table) noexcept
    int nonce_spend(NonceTable* table, uint64_t serial, uint32_t nc) noexcept

cdef extern from *:
    """
    #include <time.h>
    static inline uint64_t clock_ms(clockid_t clock) {
        struct timespec t;
        clock_gettime(clock, &t);
        return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    }
    static inline uint64_t wall_ms(void) { return clock_ms(CLOCK_REALTIME); }
    static inline uint64_t ticks_ns(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    static const char NOBODY[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    """
    uint64_t wall_ms() noexcept nogil
    uint64_t ticks_ns() noexcept nogil
    const char* NOBODY

cdef enum:
    NONCE_TEXT = 40
    CLOCK_SLACK = 5          # seconds a nonce may come from the future: the wall clock was set back a little

cdef struct Digest:
    NonceTable* table
    HashKey key
    uint64_t lifetime        # seconds
    int algorithms
    int able                 # algorithms libcrypto lets us use
    Libcrypto crypto
    Hash md5
    Hash sha256

cdef struct Nonce:
    uint64_t serial
    uint64_t issued          # Unix seconds, 32 bits of them


cdef size_t nonce_table_size() noexcept nogil:
    return sizeof_table()


cdef extern from *:
    """
    #define sizeof_table() sizeof(NonceTable)
    """
    size_t sizeof_table() noexcept nogil


# --- libcrypto -------------------------------------------------------------------------------------------------------

cdef bint open_libcrypto(Libcrypto* crypto) noexcept:
    # The one `_hashlib` is linked with first: it is in memory already, and it is the one this Python was tested with.
    cdef list paths = []
    try:
        import _hashlib  # noqa: F401  (for its effect on the process's maps)
        with open("/proc/self/maps", "rb") as maps:
            paths = sorted({line.split(None, 5)[5].rstrip(b"\n") for line in maps if b"/libcrypto" in line})
    except Exception:
        pass
    for path in paths + [b"libcrypto.so.3", b"libcrypto.so.1.1"]:
        if libcrypto_open(crypto, <const char*><bytes>path):
            return True
    return False


cdef Digest* digest_new(void* table, const HashKey* key, uint32_t lifetime, int algorithms, const char** error) noexcept:
    cdef Digest* digest = <Digest*>calloc(1, sizeof(Digest))
    if digest == NULL:
        error[0] = "out of memory"
        return NULL
    if not open_libcrypto(&digest.crypto):
        error[0] = "no libcrypto (OpenSSL 1.1.1 or 3) found: install libssl3, or a Python that is linked with one"
        digest_free(digest)
        return NULL
    digest.able |= DIGEST_SHA256 if hash_open(&digest.sha256, &digest.crypto, 1) else 0
    digest.able |= DIGEST_MD5 if hash_open(&digest.md5, &digest.crypto, 0) else 0
    if algorithms & DIGEST_SHA256 & ~digest.able:
        error[0] = "libcrypto has no SHA-256"
    elif algorithms & DIGEST_MD5 & ~digest.able:
        error[0] = "libcrypto refuses MD5 (FIPS mode): set algorithms = [\"SHA-256\"] in [auth]"
    else:
        digest.table = <NonceTable*>table
        digest.key = key[0]
        digest.lifetime = lifetime
        digest.algorithms = algorithms
        nonce_attach(digest.table, wall_ms())
        return digest
    digest_free(digest)
    return NULL


cdef void digest_follow(Digest* digest, uint32_t lifetime, int algorithms) noexcept nogil:
    digest.lifetime = lifetime
    digest.algorithms = algorithms & digest.able


cdef void digest_free(Digest* digest) noexcept nogil:
    if digest != NULL:
        hash_close(&digest.md5)
        hash_close(&digest.sha256)
        free(digest)


# --- small things ----------------------------------------------------------------------------------------------------

cdef inline bint present(Slice s) noexcept nogil:
    return s.start | s.end


cdef inline bint token_is(const uint8_t* data, Slice s, const char* text, uint32_t length) noexcept nogil:
    # Equal without regard to case; `text` is lower case.
    cdef uint32_t i
    cdef uint8_t c
    if slice_length(s) != length:
        return False
    for i in range(length):
        c = data[s.start + i]
        if c >= b"A" and c <= b"Z":
            c |= 0x20
        if c != <uint8_t>text[i]:
            return False
    return True


cdef inline int hex_value(uint8_t c) noexcept nogil:
    if c >= b"0" and c <= b"9":
        return c - 48
    c |= 0x20
    if c >= b"a" and c <= b"f":
        return c - 87
    return -1


cdef inline int read_hex(const uint8_t* text, uint32_t length, uint64_t* number) noexcept nogil:
    # Up to 16 digits; 0 if there is none or one is not hex.
    cdef uint32_t i
    cdef int digit
    number[0] = 0
    for i in range(length):
        digit = hex_value(text[i])
        if digit < 0:
            return 0
        number[0] = number[0] << 4 | <uint64_t>digit
    return length > 0


cdef inline int read_hex_16(const uint8_t* text, uint64_t* number) noexcept nogil:
    cdef uint32_t high, low
    if not hex_read(text, &high) or not hex_read(text + 8, &low):
        return 0
    number[0] = <uint64_t>high << 32 | low
    return 1


cdef inline void write_hex_16(uint8_t* out, uint64_t number) noexcept nogil:
    hex_write(out, <uint32_t>(number >> 32))
    hex_write(out + 8, <uint32_t>number)


cdef inline void bytes_to_hex(uint8_t* out, const uint8_t* data, uint32_t length) noexcept nogil:
    # `length` is a multiple of 4.
    cdef uint32_t i, number
    for i in range(0, length, 4):
        memcpy(&number, data + i, 4)
        hex_write(out + 2 * i, be32toh(number))


cdef bint same_response(const uint8_t* expected, uint32_t length, const uint8_t* text, uint32_t text_length) noexcept nogil:
    # `expected` is lower-case hex, `text` any case. No branch on either, so the time tells nothing.
    cdef uint32_t i, difference = 0
    if text_length != length:
        return False
    for i in range(length):
        difference |= expected[i] ^ (text[i] | (text[i] & 0x40) >> 1)
    return difference == 0


# --- nonces ----------------------------------------------------------------------------------------------------------

cdef inline uint64_t nonce_mac(Digest* digest, const Nonce* nonce) noexcept nogil:
    return siphash(&digest.key, nonce, sizeof(Nonce))


cdef void write_nonce(Digest* digest, uint64_t now_ms, uint8_t* out) noexcept nogil:
    cdef Nonce nonce
    nonce.serial = nonce_issue(digest.table)
    nonce.issued = <uint32_t>(now_ms // 1000)
    write_hex_16(out, nonce.serial)
    hex_write(out + 16, <uint32_t>nonce.issued)
    write_hex_16(out + 24, nonce_mac(digest, &nonce))


cdef bint read_nonce(Digest* digest, const uint8_t* text, uint32_t length, Nonce* nonce) noexcept nogil:
    cdef uint64_t mac
    cdef uint32_t issued
    if length != NONCE_TEXT:
        return False
    if not (read_hex_16(text, &nonce.serial) and hex_read(text + 16, &issued) and read_hex_16(text + 24, &mac)):
        return False
    nonce.issued = issued
    return mac == nonce_mac(digest, nonce)


# --- credentials -----------------------------------------------------------------------------------------------------

cdef int credentials_algorithm(const uint8_t* data, const Credentials* credentials) noexcept nogil:
    if not present(credentials.algorithm) or token_is(data, credentials.algorithm, b"md5", 3):
        return DIGEST_MD5
    if token_is(data, credentials.algorithm, b"sha-256", 7):
        return DIGEST_SHA256
    return 0


cdef inline bint same_text(const uint8_t* data, Slice a, Slice b) noexcept nogil:
    return slice_length(a) == slice_length(b) and memcmp(data + a.start, data + b.start, slice_length(a)) == 0


cdef bint same_host(const uint8_t* data, Slice a, Slice b) noexcept nogil:
    cdef uint32_t i
    cdef uint8_t c, d
    if slice_length(a) != slice_length(b):
        return False
    for i in range(slice_length(a)):
        c = data[a.start + i]
        d = data[b.start + i]
        if c != d and (c ^ d != 0x20 or (c | 0x20) < b"a" or (c | 0x20) > b"z"):
            return False
    return True


cdef inline uint16_t effective_port(const Uri* uri) noexcept nogil:
    if uri.port:
        return uri.port
    return 5061 if uri.scheme == SCHEME_SIPS else 5060


cdef bint same_resource(const Message* m, Slice uri) noexcept nogil:
    # RFC 3261 22.4 (6) and RFC 8760 2.6 (6): the two may differ. Who is called must not, or whoever relays a request
    # could turn its credentials to another number: user, host and port are compared, parameters are not (outbound
    # proxies add transport=, phones leave out :5060).
    cdef Uri a, b
    if same_text(m.data, m.uri, uri):
        return True
    if uri_equal(m.data + m.uri.start, slice_length(m.uri), m.data + uri.start, slice_length(uri)):
        return True
    if not parse_uri(m.data, m.uri, &a) or not parse_uri(m.data, uri, &b):
        return False
    return (a.scheme == b.scheme and (a.scheme == SCHEME_SIP or a.scheme == SCHEME_SIPS) and
            same_text(m.data, a.user, b.user) and same_host(m.data, a.host, b.host) and
            effective_port(&a) == effective_port(&b))


cdef inline void add_slice(Hash* hash, const uint8_t* data, Slice s) noexcept nogil:
    hash_add(hash, data + s.start, slice_length(s))


cdef int check(Digest* digest, const Message* m, const Credentials* c, const char* ha1, uint64_t now_ms) noexcept nogil:
    cdef const uint8_t* data = m.data
    cdef Nonce nonce
    cdef Hash* hash
    cdef uint64_t nc = 0, now = now_ms // <uint64_t>1000
    cdef uint8_t raw[32]
    cdef uint8_t text[64]
    cdef bint auth
    cdef int algorithm, spent

    if not c.digest or not (present(c.username) and present(c.realm) and present(c.nonce) and present(c.uri) and
                            present(c.response)):
        return DIGEST_MALFORMED
    algorithm = credentials_algorithm(data, c)
    if algorithm & digest.algorithms == 0:
        return DIGEST_UNKNOWN
    hash = &digest.sha256 if algorithm == DIGEST_SHA256 else &digest.md5

    if present(c.qop) and not token_is(data, c.qop, b"auth", 4):
        return DIGEST_MALFORMED
    auth = present(c.qop) or (present(c.nc) and present(c.cnonce))
    if auth:
        if not present(c.cnonce) or slice_length(c.nc) > 8 or not read_hex(data + c.nc.start, slice_length(c.nc), &nc):
            return DIGEST_MALFORMED
        if nc == 0:
            return DIGEST_MALFORMED
    if not same_resource(m, c.uri):
        return DIGEST_MALFORMED
    if not read_nonce(digest, data + c.nonce.start, slice_length(c.nonce), &nonce):
        return DIGEST_UNKNOWN

    hash_start(hash)
    add_slice(hash, data, m.method_text)
    hash_add(hash, b":", 1)
    add_slice(hash, data, c.uri)
    if not hash_finish(hash, raw):
        return DIGEST_WRONG
    bytes_to_hex(text, raw, hash.size)

    hash_start(hash)
    hash_add(hash, ha1 if ha1 != NULL else NOBODY, 2 * hash.size)
    hash_add(hash, b":", 1)
    add_slice(hash, data, c.nonce)
    if auth:
        hash_add(hash, b":", 1)
        add_slice(hash, data, c.nc)
        hash_add(hash, b":", 1)
        add_slice(hash, data, c.cnonce)
        if present(c.qop):
            hash_add(hash, b":", 1)
            add_slice(hash, data, c.qop)
        else:
            hash_add(hash, b":auth", 5)
    hash_add(hash, b":", 1)
    hash_add(hash, text, 2 * hash.size)
    if not hash_finish(hash, raw):
        return DIGEST_WRONG
    bytes_to_hex(text, raw, hash.size)
    if not same_response(text, 2 * hash.size, data + c.response.start, slice_length(c.response)) or ha1 == NULL:
        return DIGEST_WRONG

    if nonce.issued > now + CLOCK_SLACK or now > nonce.issued + digest.lifetime:
        return DIGEST_STALE
    spent = nonce_spend(digest.table, nonce.serial, <uint32_t>nc)
    if spent == NONCE_FRESH:
        return DIGEST_OK
    return DIGEST_REPLAY if spent == NONCE_SEEN else DIGEST_FORGOTTEN


cdef int digest_check(Digest* digest, const Message* m, const Credentials* credentials, const char* ha1,
                      uint64_t now_ms) noexcept nogil:
    return check(digest, m, credentials, ha1 if ha1 != NULL else NOBODY, now_ms)


cdef int digest_check_nobody(Digest* digest, const Message* m, const Credentials* credentials, uint64_t now_ms) noexcept nogil:
    return check(digest, m, credentials, NULL, now_ms)


# --- challenges ------------------------------------------------------------------------------------------------------

cdef void put_quoted(Writer* w, const uint8_t* text, uint32_t length) noexcept nogil:
    # The inside of a quoted-string (RFC 3261 25.1); control characters cannot stand in a realm and are left out.
    cdef uint32_t i, start = 0
    for i in range(length):
        if text[i] >= 0x20 and text[i] != 0x7f and text[i] != b'"' and text[i] != b"\\":
            continue
        put(w, text + start, i - start)
        start = i + 1
        if text[i] == b'"' or text[i] == b"\\":
            put(w, b"\\", 1)
            start = i
    put(w, text + start, length - start)


cdef void put_challenge(Digest* digest, Writer* w, bint proxy, const uint8_t* realm, uint32_t realm_length, bint stale,
                        uint64_t now_ms) noexcept nogil:
    cdef uint8_t nonce[NONCE_TEXT]
    cdef int algorithm
    write_nonce(digest, now_ms, nonce)
    algorithm = DIGEST_SHA256
    while algorithm:                                     # SHA-256, then MD5: the bits from high to low
        if digest.algorithms & algorithm:
            put_text(w, b"Proxy-Authenticate: Digest realm=\"" if proxy else b"WWW-Authenticate: Digest realm=\"")
            put_quoted(w, realm, realm_length)
            put_text(w, b"\", nonce=\"")
            put(w, nonce, NONCE_TEXT)
            put_text(w, b"\", algorithm=SHA-256, qop=\"auth\"" if algorithm == DIGEST_SHA256 else
                        b"\", algorithm=MD5, qop=\"auth\"")
            put_text(w, b", stale=true\r\n" if stale else b"\r\n")
        algorithm >>= 1


# --- for the tests and the bench: no part of the server uses what follows ----------------------------------------------

OK, WRONG, STALE, REPLAY, MALFORMED, UNKNOWN, FORGOTTEN = (
    DIGEST_OK, DIGEST_WRONG, DIGEST_STALE, DIGEST_REPLAY, DIGEST_MALFORMED, DIGEST_UNKNOWN, DIGEST_FORGOTTEN)
MD5, SHA256 = DIGEST_MD5, DIGEST_SHA256
SLOTS = NONCE_SLOTS


def table_size():
    return nonce_table_size()


cdef class Authenticator:
    cdef Digest* digest
    cdef object table
    cdef Message message
    cdef Credentials credentials

    def __cinit__(self, table, bytes key not None, uint32_t lifetime=300, int algorithms=DIGEST_MD5 | DIGEST_SHA256):
        cdef uint8_t[::1] view = table
        cdef HashKey hash_key
        cdef const char* error = NULL
        if len(key) != 16 or view.shape[0] < <Py_ssize_t>nonce_table_size():
            raise ValueError("a key of 16 bytes and a table of table_size() are needed")
        memcpy(&hash_key, <const char*>key, 16)
        self.table = view
        self.digest = digest_new(&view[0], &hash_key, lifetime, algorithms, &error)
        if self.digest == NULL:
            raise RuntimeError(error.decode())

    def __dealloc__(self):
        digest_free(self.digest)

    def challenge(self, bytes realm not None, uint64_t now_ms, bint proxy=False, bint stale=False):
        cdef uint8_t out[2048]
        cdef Writer w
        writer_init(&w, out, sizeof(out))
        put_challenge(self.digest, &w, proxy, <const uint8_t*><const char*>realm, len(realm), stale, now_ms)
        if w.overflow:
            raise OverflowError("realm too long")
        return (<char*>out)[:w.at - w.start]

    cdef int load(self, bytes request) except -1:
        cdef int header
        if parse_message(&self.message, <const uint8_t*><const char*>request, len(request), DATAGRAM) <= 0:
            raise ValueError("not a message")
        header = HDR_AUTHORIZATION
        if not has_header(&self.message, HDR_AUTHORIZATION):
            header = HDR_PROXY_AUTHORIZATION
        if not parse_credentials(self.message.data, header_value(&self.message, header), &self.credentials):
            raise ValueError("no credentials")
        return 0

    def check(self, bytes request not None, bytes ha1, uint64_t now_ms):
        self.load(request)
        if ha1 is None:
            return digest_check_nobody(self.digest, &self.message, &self.credentials, now_ms)
        if len(ha1) < 32:
            raise ValueError("HA1 is 32 or 64 hex digits")
        return digest_check(self.digest, &self.message, &self.credentials, <const char*>ha1, now_ms)

    def spend(self, uint64_t serial, uint32_t nc):
        return nonce_spend(self.digest.table, serial, nc) == NONCE_FRESH

    def time_check(self, bytes request not None, bytes ha1, uint64_t now_ms, int rounds):
        cdef uint64_t start
        cdef int i, result = 0
        self.load(request)
        start = ticks_ns()
        for i in range(rounds):
            if ha1 is None:
                result |= digest_check_nobody(self.digest, &self.message, &self.credentials, now_ms)
            else:
                result |= digest_check(self.digest, &self.message, &self.credentials, <const char*>ha1, now_ms)
        return (ticks_ns() - start) / <double>rounds
