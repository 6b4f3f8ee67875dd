# The table of server transactions: chains by 64-bit key, doubled without a pause. While it grows there are two arrays;
# every insertion moves two chains of the old one, so a key is in the old array or in the new one by the number of its
# old bucket alone.

cdef enum:
    FIRST_BUCKETS = 1024
    MOVES = 2

cdef struct Table:
    Transaction** buckets
    uint64_t mask
    Transaction** old            # NULL when not growing
    uint64_t old_mask
    uint64_t moved               # old buckets below this are empty for good
    uint64_t count


cdef inline Transaction** bucket_of(Table* table, uint64_t key) noexcept nogil:
    if table.old != NULL and (key & table.old_mask) >= table.moved:
        return &table.old[key & table.old_mask]
    return &table.buckets[key & table.mask]


cdef bint table_init(Table* table) noexcept nogil:
    table.buckets = <Transaction**>calloc(FIRST_BUCKETS, sizeof(Transaction*))
    table.mask = FIRST_BUCKETS - 1
    return table.buckets != NULL


cdef void table_free(Table* table) noexcept nogil:
    free(table.buckets)
    free(table.old)


cdef void table_grow(Table* table) noexcept nogil:
    # Out of memory: chains get longer, nothing else.
    cdef Transaction** buckets = <Transaction**>calloc(2 * (table.mask + 1), sizeof(Transaction*))
    if buckets == NULL:
        return
    table.old = table.buckets
    table.old_mask = table.mask
    table.moved = 0
    table.buckets = buckets
    table.mask = 2 * table.mask + 1


cdef void table_move(Table* table) noexcept nogil:
    cdef Transaction* t
    cdef Transaction* next
    cdef Transaction** bucket
    cdef int i
    for i in range(MOVES):
        t = table.old[table.moved]
        while t != NULL:
            next = t.chain
            bucket = &table.buckets[t.key & table.mask]
            t.chain = bucket[0]
            bucket[0] = t
            t = next
        table.moved += 1
        if table.moved > table.old_mask:
            free(table.old)
            table.old = NULL
            return


cdef Transaction* table_find(Table* table, uint64_t key) noexcept nogil:
    cdef Transaction* t = bucket_of(table, key)[0]
    while t != NULL and t.key != key:
        t = t.chain
    return t


cdef void table_add(Table* table, Transaction* t) noexcept nogil:
    cdef Transaction** bucket
    if table.old != NULL:
        table_move(table)
    elif table.count > table.mask:
        table_grow(table)
    bucket = bucket_of(table, t.key)
    t.chain = bucket[0]
    bucket[0] = t
    table.count += 1


cdef void table_remove(Table* table, Transaction* t) noexcept nogil:
    cdef Transaction** at = bucket_of(table, t.key)
    while at[0] != t:
        CHECK(at[0] != NULL)
        at = &at[0].chain
    at[0] = t.chain
    t.chain = NULL
    table.count -= 1
