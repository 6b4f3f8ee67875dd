/* Rings between workers: how a datagram reaches the worker that owns its call.
 *
 * One ring per ordered pair of workers, all in one block of memory that the master makes, zeroed, and every worker maps.
 * A ring has one writer and one reader, each a process that may be killed at any instruction and replaced by another that
 * maps the same memory. It is a byte ring: records of {length, kind, flow, bytes} one behind another, each padded to a cache
 * line, so a record's head never wraps while its bytes may. `tail` counts the bytes ever written, `head` the bytes ever
 * read; both only grow and their difference is what lies in the ring.
 *
 *     writer                                         reader
 *     1  load head (acquire): how much room          1  load tail (acquire): how much there is
 *     2  write records behind tail                   2  copy records out, check them
 *     3  store tail (release)                        3  store head (release)
 *                                                    4  work on the copies
 *
 * Why either may die at any store. The writer writes where the reader does not look, because tail is stored last. Killed
 * before step 3, what it wrote is not there, and its successor, which starts at the stored tail, writes over it; killed
 * after, the records are whole. The reader changes nothing but head. Killed before step 3, its successor reads the same
 * records, which nobody has worked on; killed after, the batch in hand is gone, as a datagram is that a process has read
 * and not answered, and SIP sends it again. Head moves before the work starts, not after it: a message that kills its
 * worker would otherwise be the first thing the next worker meets. So a record is worked on at most once, only whole, and
 * in the order written. No step waits for the other side: a full ring refuses the record, the caller drops and counts it.
 *
 * Each side keeps its own index in private memory and only stores it to the shared word; it loads that word once, when it
 * attaches. So a wild store into the words can mislead for a moment but not for good. What is loaded from the other side
 * is checked before it is used: a distance over the capacity or off the grid, or a record that claims more bytes than lie
 * in the ring, makes the reader skip to tail, which loses what was in the ring and reads nothing outside it; it makes the
 * writer see a full ring. ring_pending, once a turn, stores head again if the word is not what the reader put there, and
 * every ring_publish stores tail again.
 *
 * The first word of the block says layout, workers and capacity in one atomic store, so the block is either as it was
 * zeroed, in which case whoever comes first marks it, or of exactly the shape the newcomer expects, or refused.
 */
#ifndef FASTSIP_RING_H
#define FASTSIP_RING_H

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include "address.h"

#define RING_LAYOUT 2
#define RING_MESSAGE 65507u                        /* largest UDP payload */
#define RING_GRID 64u                              /* records start on these */
#define RING_SMALLEST (128u << 10)                 /* the power of two that holds the largest record */
#define RING_LARGEST (4u << 20)                    /* about what the receive buffer of a socket holds */

typedef struct RingRecord {
    uint32_t length;
    uint32_t kind;
    Flow flow;                                     /* `listener` is the listen address's index, the same in all workers */
} RingRecord;

enum RingKind {
    RING_RECEIVED,                                 /* for the owner of its call */
    RING_TO_SEND,                                  /* for the worker that has the connection */
    RING_UNDELIVERED,                              /* for the owner of its call: it could not be sent */
    RING_UNANSWERED,                               /* for the owner of the branch: its connection ended before an answer */
    RING_KEEP,                                     /* for the worker that has the connection: ms it may be silent */
    RING_ALIAS                                     /* and: the port its peer is to be found at */
};

typedef struct Ring {                              /* shared; the bytes follow */
    _Alignas(128) _Atomic uint64_t tail;           /* stored by the writer */
    _Alignas(128) _Atomic uint64_t head;           /* stored by the reader */
} Ring;

typedef struct RingBlock {                         /* shared; the rings follow */
    _Alignas(128) _Atomic uint64_t mark;
} RingBlock;

_Static_assert(sizeof(RingRecord) == RING_GRID, "a record's head is one cache line, so it never wraps");
_Static_assert(RING_GRID + RING_MESSAGE + RING_GRID < RING_SMALLEST, "the largest datagram fits the smallest ring");

typedef struct RingWriter {                        /* private to the writing process */
    Ring *ring;
    uint8_t *bytes;
    uint64_t capacity;
    uint64_t tail;                                 /* behind the last record written, published or not */
    uint64_t head;                                 /* as last seen */
} RingWriter;

typedef struct RingReader {                        /* private to the reading process */
    Ring *ring;
    uint8_t *bytes;
    uint64_t capacity;
    uint64_t head;                                 /* behind the last record read, released or not */
    uint64_t tail;                                 /* as last seen */
} RingReader;

/* What one record takes in the ring. */
static inline uint64_t ring_record_size(uint32_t length) {
    return ((uint64_t)sizeof(RingRecord) + length + RING_GRID - 1) & ~(uint64_t)(RING_GRID - 1);
}

static inline uint64_t rings_pairs(uint32_t workers) { return workers ? (uint64_t)workers * (workers - 1) : 0; }

/* Bytes of one ring when all of them share `size` bytes: a power of two, never under RING_SMALLEST. */
static inline uint64_t ring_capacity(uint32_t workers, uint64_t size) {
    uint64_t capacity = RING_LARGEST;
    while (capacity > RING_SMALLEST && sizeof(RingBlock) + rings_pairs(workers) * (sizeof(Ring) + capacity) > size)
        capacity /= 2;
    return capacity;
}

/* Bytes the block takes under a budget. Over the budget only where even the smallest rings are: from 24 workers at 64
 * MiB. The pages are touched as traffic touches them. */
static inline uint64_t rings_block_size(uint32_t workers, uint64_t budget) {
    uint64_t pairs = rings_pairs(workers);
    return (sizeof(RingBlock) + pairs * (sizeof(Ring) + ring_capacity(workers, budget)) + 4095) & ~(uint64_t)4095;
}

/* Join the block: 0, or EINVAL if it has another shape. The capacity follows from `size`. */
static inline int rings_attach(RingBlock *block, uint64_t size, uint32_t workers) {
    uint64_t capacity = ring_capacity(workers, size), none = 0;
    if (sizeof(RingBlock) + rings_pairs(workers) * (sizeof(Ring) + capacity) > size) return EINVAL;
    uint64_t mark = 0x66530000ULL << 32 | (uint64_t)RING_LAYOUT << 40 | (uint64_t)workers << 32 | capacity;
    if (atomic_compare_exchange_strong(&block->mark, &none, mark) || none == mark) return 0;
    return EINVAL;
}

static inline Ring *rings_at(RingBlock *block, uint64_t size, uint32_t workers, uint32_t from, uint32_t to) {
    uint64_t place = (uint64_t)from * (workers - 1) + (to < from ? to : to - 1);
    return (Ring *)((uint8_t *)(block + 1) + place * (sizeof(Ring) + ring_capacity(workers, size)));
}

static inline int ring_sane(uint64_t tail, uint64_t head, uint64_t capacity) {
    return tail - head <= capacity && !((tail | head) & (RING_GRID - 1));
}

static inline void ring_writer(RingWriter *w, Ring *ring, uint64_t capacity) {
    w->ring = ring;
    w->bytes = (uint8_t *)(ring + 1);
    w->capacity = capacity;
    w->tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    w->head = atomic_load_explicit(&ring->head, memory_order_acquire);
    if (!ring_sane(w->tail, w->head, capacity)) {
        w->tail = w->head = w->head & ~(uint64_t)(RING_GRID - 1);
        atomic_store_explicit(&ring->tail, w->tail, memory_order_release);
    }
}

static inline void ring_reader(RingReader *r, Ring *ring, uint64_t capacity) {
    r->ring = ring;
    r->bytes = (uint8_t *)(ring + 1);
    r->capacity = capacity;
    r->head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    r->tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    if (!ring_sane(r->tail, r->head, capacity)) {
        r->head = r->tail = r->tail & ~(uint64_t)(RING_GRID - 1);
        atomic_store_explicit(&ring->head, r->head, memory_order_release);
    }
}

/* Append one record, unseen by the reader until ring_publish. 0 if there is no room. */
static inline int ring_write(RingWriter *w, uint32_t kind, const Flow *flow, const void *data, uint32_t length) {
    uint64_t size = ring_record_size(length);
    if (length > RING_MESSAGE) return 0;
    if (w->tail + size - w->head > w->capacity) {
        w->head = atomic_load_explicit(&w->ring->head, memory_order_acquire);
        if (w->tail - w->head > w->capacity || w->tail + size - w->head > w->capacity) return 0;
    }
    uint64_t mask = w->capacity - 1, start = (w->tail + sizeof(RingRecord)) & mask, first = w->capacity - start;
    RingRecord *record = (RingRecord *)(w->bytes + (w->tail & mask));
    record->length = length;
    record->kind = kind;
    record->flow = *flow;
    if (length <= first) {
        memcpy(w->bytes + start, data, length);
    } else {
        memcpy(w->bytes + start, data, first);
        memcpy(w->bytes, (const uint8_t *)data + first, length - first);
    }
    w->tail += size;
    return 1;
}

/* Whether more than half of it is taken, as far as the reader has said. */
static inline int ring_crowded(RingWriter *w) {
    if (w->tail - w->head <= w->capacity / 2) return 0;
    w->head = atomic_load_explicit(&w->ring->head, memory_order_acquire);
    return w->tail - w->head > w->capacity / 2;
}

static inline void ring_publish(RingWriter *w) { atomic_store_explicit(&w->ring->tail, w->tail, memory_order_release); }

/* Copy the next record out; `out` holds RING_MESSAGE bytes. 1, 0 if there is none, -1 if the ring made no sense and was
 * emptied. The writer may use the room only after ring_release. */
static inline int ring_read(RingReader *r, uint32_t *kind, Flow *flow, void *out, uint32_t *length) {
    if (r->head == r->tail) {
        r->tail = atomic_load_explicit(&r->ring->tail, memory_order_acquire);
        if (r->head == r->tail) return 0;
    }
    uint64_t mask = r->capacity - 1;
    const RingRecord *record = (const RingRecord *)(r->bytes + (r->head & mask));
    uint32_t bytes = ring_sane(r->tail, r->head, r->capacity) ? record->length : UINT32_MAX;
    if (bytes > RING_MESSAGE || ring_record_size(bytes) > r->tail - r->head) {
        r->head = r->tail = r->tail & ~(uint64_t)(RING_GRID - 1);
        return -1;
    }
    uint64_t start = (r->head + sizeof(RingRecord)) & mask, first = r->capacity - start;
    *kind = record->kind;
    *flow = record->flow;
    *length = bytes;
    if (bytes <= first) {
        memcpy(out, r->bytes + start, bytes);
    } else {
        memcpy(out, r->bytes + start, first);
        memcpy((uint8_t *)out + first, r->bytes, bytes - first);
    }
    r->head += ring_record_size(bytes);
    return 1;
}

static inline void ring_release(RingReader *r) { atomic_store_explicit(&r->ring->head, r->head, memory_order_release); }

/* Whether there is something to read. Also the place where a damaged head is put right. */
static inline int ring_pending(RingReader *r) {
    if (atomic_load_explicit(&r->ring->head, memory_order_relaxed) != r->head) ring_release(r);
    return r->head != r->tail || atomic_load_explicit(&r->ring->tail, memory_order_acquire) != r->head;
}

#endif
