# How many handshakes are under way from each source: an IPv4 address or an IPv6 /64, what one attacker has for nothing.
cdef struct Source:
    Source* next
    uint8_t key[9]           # family, and 4 or 8 bytes of the address
    uint32_t count

cdef struct Sources:
    HashKey hash
    Source** buckets
    uint32_t mask


cdef bint sources_open(Sources* sources, uint32_t most) noexcept nogil:
    cdef uint32_t size = 16
    while size < most and size < 1 << 20:
        size <<= 1
    sources.mask = size - 1
    sources.buckets = <Source**>calloc(size, sizeof(Source*))
    return sources.buckets != NULL and libssl.RAND_bytes(<uint8_t*>&sources.hash, sizeof(HashKey)) == 1


cdef Source** source_at(Sources* sources, const uint8_t* key) noexcept nogil:
    # Where the link to it is, or would be.
    cdef Source** at = &sources.buckets[siphash(&sources.hash, key, 9) & sources.mask]
    while at[0] != NULL and memcmp(at[0].key, key, 9) != 0:
        at = &at[0].next
    return at


cdef void source_key(const Address* address, uint8_t* key) noexcept nogil:
    memset(key, 0, 9)
    key[0] = address.family
    memcpy(key + 1, address.ip, 4 if address.family == 4 else 8)


cdef bint source_enter(Sources* sources, const Address* address, uint32_t most) noexcept nogil:
    # 0 if it has as many as it may.
    cdef uint8_t key[9]
    cdef Source** at
    source_key(address, key)
    at = source_at(sources, key)
    if at[0] == NULL:
        at[0] = <Source*>calloc(1, sizeof(Source))
        if at[0] == NULL:
            return False
        memcpy(at[0].key, key, 9)
    if at[0].count >= most:
        return False
    at[0].count += 1
    return True


cdef void source_leave(Sources* sources, const Address* address) noexcept nogil:
    cdef uint8_t key[9]
    cdef Source** at
    cdef Source* gone
    source_key(address, key)
    at = source_at(sources, key)
    gone = at[0]
    if gone == NULL:
        return
    gone.count -= 1
    if gone.count == 0:
        at[0] = gone.next
        free(gone)


cdef void sources_close(Sources* sources) noexcept nogil:
    # Everybody left before.
    free(sources.buckets)
