# The slab: transactions in chunks that never move and are never given back before the layer is, so that a pointer and
# a generation are enough to ask, at any time, whether a transaction is still the one it was.

cdef enum:
    CHUNK_BITS = 8
    CHUNK = 1 << CHUNK_BITS
    SLOT_BITS = 25               # five digits of a branch
    GENERATION_BITS = 30         # six digits of a branch
    COUNTER_BITS = 18            # of a generation: uses of the slot; above them the worker's incarnation

cdef enum:
    NOT_TAKEN = 0                # retransmit.kind of a free slot

cdef struct Slab:
    Transaction** chunks
    uint32_t count
    uint32_t capacity
    Transaction* free            # by `chain`, the last one given back first: it is still in the cache


cdef inline uint32_t next_generation(uint32_t generation) noexcept nogil:
    cdef uint32_t counter = (1 << COUNTER_BITS) - 1
    return (generation & ~counter) | ((generation + 1) & counter)


cdef uint32_t first_generation(Transactions* layer, uint32_t index) noexcept nogil:
    # Incarnations do not share generations; where their numbers begin again (a new server), the counters begin
    # somewhere else.
    cdef uint64_t[3] seed
    cdef uint32_t counter
    seed[0] = layer.setup.incarnation
    seed[1] = index
    seed[2] = layer.setup.now
    counter = <uint32_t>siphash(&layer.setup.branch_key, seed, sizeof(seed)) & ((1 << COUNTER_BITS) - 1)
    return (layer.setup.incarnation << COUNTER_BITS | counter) & ((1 << GENERATION_BITS) - 1)


cdef bint slab_grow(Transactions* layer) noexcept nogil:
    cdef Slab* slab = <Slab*>layer.slab
    cdef Transaction** chunks
    cdef Transaction* chunk
    cdef uint32_t capacity, i, index
    if slab.count == 1 << SLOT_BITS - CHUNK_BITS:
        return False
    if slab.count == slab.capacity:
        capacity = slab.capacity * 2 if slab.capacity else 16
        chunks = <Transaction**>realloc(slab.chunks, capacity * sizeof(Transaction*))
        if chunks == NULL:
            return False
        slab.chunks = chunks
        slab.capacity = capacity
    chunk = <Transaction*>malloc(CHUNK * sizeof(Transaction))
    if chunk == NULL:
        return False
    for i in range(CHUNK - 1, -1, -1):
        index = (slab.count << CHUNK_BITS) + i
        chunk[i].index = index
        chunk[i].generation = first_generation(layer, index)
        chunk[i].retransmit.kind = NOT_TAKEN
        chunk[i].chain = slab.free
        slab.free = &chunk[i]
    slab.chunks[slab.count] = chunk
    slab.count += 1
    return True


cdef Transaction* slab_take(Transactions* layer) noexcept nogil:
    cdef Slab* slab = <Slab*>layer.slab
    cdef Transaction* t
    cdef uint32_t index, generation
    if slab.free == NULL and not slab_grow(layer):
        return NULL
    t = slab.free
    slab.free = t.chain
    index, generation = t.index, t.generation
    memset(t, 0, sizeof(Transaction))
    t.index, t.generation = index, generation
    layer.live += 1
    return t


cdef void slab_give(Transactions* layer, Transaction* t) noexcept nogil:
    cdef Slab* slab = <Slab*>layer.slab
    cdef uint32_t index = t.index, generation = next_generation(t.generation)
    poison(t, sizeof(Transaction))
    t.index, t.generation = index, generation
    t.retransmit.kind = NOT_TAKEN
    t.chain = slab.free
    slab.free = t
    layer.live -= 1


cdef void slab_free(Slab* slab) noexcept nogil:
    cdef uint32_t i
    for i in range(slab.count):
        free(slab.chunks[i])
    free(slab.chunks)


cdef Transaction* transaction_at(Transactions* layer, uint32_t index, uint32_t generation) noexcept nogil:
    cdef Slab* slab = <Slab*>layer.slab
    cdef Transaction* t
    if index >> CHUNK_BITS >= slab.count:
        return NULL
    t = &slab.chunks[index >> CHUNK_BITS][index & (CHUNK - 1)]
    return t if t.generation == generation and t.retransmit.kind != NOT_TAKEN else NULL
