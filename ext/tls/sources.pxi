# Handshakes under way by source: an IPv4 address or an IPv6 /64, what one attacker has for nothing. Sources stand in ranks
# by how many they have, each in the order in which it came to have so many.
cdef struct Knock

cdef struct Source:
    Source* next             # in its bucket
    Source* before           # in its rank
    Source* after
    uint8_t key[9]           # family, and 4 or 8 bytes of the address
    uint32_t count
    Knock* first             # those that wait for their peer, or for us; the oldest first
    Knock* last

cdef struct Rank:
    Source* first
    Source* last

cdef struct Sources:
    HashKey hash
    Source** buckets
    uint32_t mask
    Rank* ranks              # by count
    uint32_t top             # the highest that has one; 0: none


cdef bint sources_open(Sources* sources, uint32_t most, uint32_t each) noexcept nogil:
    # For so many altogether, and of each source.
    cdef uint32_t size = 16
    while size < most and size < 1 << 20:
        size <<= 1
    sources.mask = size - 1
    sources.buckets = <Source**>calloc(size, sizeof(Source*))
    sources.ranks = <Rank*>calloc(min(most, each) + 2, sizeof(Rank))
    return (sources.buckets != NULL and sources.ranks != NULL
            and libssl.RAND_bytes(<uint8_t*>&sources.hash, sizeof(HashKey)) == 1)


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


cdef void rank_leave(Sources* sources, Source* source) noexcept nogil:
    cdef Rank* rank = &sources.ranks[source.count]
    if source.before != NULL:
        source.before.after = source.after
    else:
        rank.first = source.after
    if source.after != NULL:
        source.after.before = source.before
    else:
        rank.last = source.before


cdef void rank_enter(Sources* sources, Source* source) noexcept nogil:
    cdef Rank* rank = &sources.ranks[source.count]
    source.before, source.after = rank.last, NULL
    if rank.last != NULL:
        rank.last.after = source
    else:
        rank.first = source
    rank.last = source


cdef Source* source_of(Sources* sources, const Address* address) noexcept nogil:
    # NULL if it has none.
    cdef uint8_t key[9]
    source_key(address, key)
    return source_at(sources, key)[0]


cdef Source* source_enter(Sources* sources, const Address* address) noexcept nogil:
    # One more of it; the caller saw to it that it may have that. NULL without memory.
    cdef uint8_t key[9]
    cdef Source** at
    cdef Source* source
    source_key(address, key)
    at = source_at(sources, key)
    source = at[0]
    if source == NULL:
        source = <Source*>calloc(1, sizeof(Source))
        if source == NULL:
            return NULL
        memcpy(source.key, key, 9)
        at[0] = source
    else:
        rank_leave(sources, source)
    source.count += 1
    rank_enter(sources, source)
    sources.top = max(sources.top, source.count)
    return source


cdef void source_leave(Sources* sources, Source* source) noexcept nogil:
    cdef Source** at
    rank_leave(sources, source)
    source.count -= 1
    if source.count:
        rank_enter(sources, source)
    else:
        at = source_at(sources, source.key)
        at[0] = source.next
        free(source)
    while sources.top and sources.ranks[sources.top].first == NULL:
        sources.top -= 1


cdef void source_waits(Source* source, Knock* knock) noexcept nogil:
    knock.source = source
    knock.before, knock.after = source.last, NULL
    if source.last != NULL:
        source.last.after = knock
    else:
        source.first = knock
    source.last = knock


cdef void source_waits_no_more(Knock* knock) noexcept nogil:
    if knock.before != NULL:
        knock.before.after = knock.after
    else:
        knock.source.first = knock.after
    if knock.after != NULL:
        knock.after.before = knock.before
    else:
        knock.source.last = knock.before


cdef void sources_close(Sources* sources) noexcept nogil:
    # Everybody left before.
    free(sources.buckets)
    free(sources.ranks)
