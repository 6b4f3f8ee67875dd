/* The writer of the location segment: one process, one thread. What readers may rely on is told in segment.h.
 *
 * Everything here that is not in shared memory is rebuilt from the slots by segment_attach_writer: which blocks are free (a
 * bit per block, in private memory), which chunks, how many records. The heap hands out chunks of 256 KiB, each cut
 * into blocks of one size class; a chunk whose last block goes is given back to the system, unless it is the only one of
 * its class with room. Memory is asked for with fallocate before it is touched: a machine that has none left gives an
 * error here instead of a SIGBUS there.
 */
#ifndef FASTSIP_SEGMENT_WRITER_H
#define FASTSIP_SEGMENT_WRITER_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "segment.h"

/* Called after every store to shared memory; a test dies here. */
#ifndef SEGMENT_STORED
#define SEGMENT_STORED() ((void)0)
#define SEGMENT_COPY(to, from, length) memcpy(to, from, length)
#endif

#define BLOCK_CLASSES 52
#define RECLAIM_BATCH 256
#define NONE UINT32_MAX

typedef struct Chunk {
    uint64_t *map;                 /* a bit per block, 1 is free; NULL while the chunk is in no use */
    uint32_t free, total, block;   /* blocks free, blocks, bytes of a block */
    uint32_t next, previous;       /* in the list of chunks of this class that have room */
    uint16_t hint;                 /* no word of the map below this has a bit */
    uint8_t class;
    uint8_t listed;
} Chunk;

/* Something out of reach since `epoch`: a unit of the heap, or 1 << 32 | level << 1 | side for an index area. */
typedef struct Retired {
    uint64_t epoch, what;
} Retired;

/* What may lie in an index area: nothing; the index, or one of our own that readers may still see; something that was
 * there when we attached, which readers of that time may see. */
enum Area { AREA_FREE, AREA_OURS, AREA_FOUND };

typedef struct SegmentWriter {
    Segment segment;
    int fd;                        /* an open file description of our own, with the lock that keeps other writers out */
    uint32_t chunks, high;
    Chunk *chunk;
    uint32_t *spare;               /* chunks below high in no use */
    uint32_t spares;
    uint32_t room[BLOCK_CLASSES];  /* first chunk with a free block, or NONE */
    Retired *retired;              /* ring */
    uint64_t retired_head, retired_tail, retired_capacity;
    uint64_t limbo;                /* epoch at attach while readers of the dead writer's time may be there, then 0 */
    uint8_t area[INDEX_LEVEL_MAX + 1][2];                     /* an enum Area each */
    Slot *index;
    uint32_t level, side;
    uint64_t records, tombstones, kinds[RECORD_KINDS];
    uint64_t rebuild_at;           /* after a rebuild that failed: slots used when the next is tried */
    uint64_t block_bytes, chunk_bytes, damaged;
} SegmentWriter;

static inline uint32_t block_class(uint64_t size) {
    if (size <= 512) return size <= 32 ? 0 : (uint32_t)((size + 31) / 32 - 1);
    uint32_t b = 63 - (uint32_t)__builtin_clzll(size - 1);
    return 16 + (b - 9) * 4 + (uint32_t)((size - 1 - (1ULL << b)) >> (b - 2));
}

static inline uint32_t block_bytes(uint32_t class) {
    if (class < 16) return (class + 1) * 32;
    uint32_t b = 9 + (class - 16) / 4;
    return (1u << b) + ((class - 16) % 4 + 1) * (1u << (b - 2));
}

static inline uint64_t chunk_offset(const SegmentWriter *w, uint32_t c) {
    return w->segment.heap_start + (uint64_t)c * SEGMENT_CHUNK;
}

static inline _Atomic uint8_t *chunk_class(const SegmentWriter *w, uint32_t c) {
    return (_Atomic uint8_t *)(w->segment.base + SEGMENT_PAGE + c);
}

/* Memory for a range of the file, or none: 0 or -errno. A signal that comes in between is no reason to fail. */
static inline int pages_take(int fd, uint64_t offset, uint64_t length) {
    for (int i = 0; i < 100; i++) {
        if (!fallocate(fd, 0, (off_t)offset, (off_t)length)) return 0;
        if (errno != EINTR) break;
    }
    return errno == ENOSPC ? -ENOMEM : -errno;
}

static inline void pages_give(int fd, uint64_t offset, uint64_t length) {
    for (int i = 0; i < 100; i++)
        if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) || errno != EINTR)
            return;
}

/* ------------------------------------------------------------------------------------------------- heap */

static inline void room_link(SegmentWriter *w, uint32_t c) {
    Chunk *chunk = &w->chunk[c];
    uint32_t first = w->room[chunk->class];
    chunk->previous = NONE;
    chunk->next = first;
    if (first != NONE) w->chunk[first].previous = c;
    w->room[chunk->class] = c;
    chunk->listed = 1;
}

static inline void room_unlink(SegmentWriter *w, uint32_t c) {
    Chunk *chunk = &w->chunk[c];
    if (chunk->previous != NONE) w->chunk[chunk->previous].next = chunk->next;
    else w->room[chunk->class] = chunk->next;
    if (chunk->next != NONE) w->chunk[chunk->next].previous = chunk->previous;
    chunk->listed = 0;
}

/* Private state of a chunk whose class byte is stored: all blocks free, not in the list. 0 or -ENOMEM. */
static inline int chunk_open(SegmentWriter *w, uint32_t c, uint32_t class) {
    Chunk *chunk = &w->chunk[c];
    chunk->block = block_bytes(class);
    chunk->total = chunk->free = SEGMENT_CHUNK / chunk->block;
    uint32_t words = (chunk->total + 63) / 64;
    chunk->map = (uint64_t *)malloc(words * sizeof(uint64_t));
    if (!chunk->map) return -ENOMEM;
    memset(chunk->map, 0xff, words * sizeof(uint64_t));
    if (chunk->total % 64) chunk->map[words - 1] = (1ULL << chunk->total % 64) - 1;
    chunk->class = (uint8_t)class;
    chunk->hint = 0;
    chunk->listed = 0;
    w->chunk_bytes += SEGMENT_CHUNK;
    return 0;
}

static inline int chunk_take(SegmentWriter *w, uint32_t class) {
    uint32_t c = w->spares ? w->spare[w->spares - 1] : w->high;
    if (c == w->chunks) return -ENOSPC;
    int error = pages_take(w->fd, chunk_offset(w, c), SEGMENT_CHUNK);
    if (!error && c % SEGMENT_PAGE == 0) error = pages_take(w->fd, SEGMENT_PAGE + c, SEGMENT_PAGE);  /* class bytes */
    if (!error) error = chunk_open(w, c, class);
    if (error) return error;
    atomic_store_explicit(chunk_class(w, c), (uint8_t)(class + 1), memory_order_release);
    SEGMENT_STORED();
    if (w->spares) {
        w->spares--;
    } else {
        w->high++;
        atomic_store_explicit(&w->segment.header->high, w->high, memory_order_release);
        SEGMENT_STORED();
    }
    room_link(w, c);
    return 0;
}

/* A chunk without a taken block, not in the list, to the system. */
static inline void chunk_give(SegmentWriter *w, uint32_t c) {
    free(w->chunk[c].map);
    w->chunk[c].map = NULL;
    w->chunk_bytes -= SEGMENT_CHUNK;
    atomic_store_explicit(chunk_class(w, c), 0, memory_order_release);
    SEGMENT_STORED();
    pages_give(w->fd, chunk_offset(w, c), SEGMENT_CHUNK);
    SEGMENT_STORED();
    w->spare[w->spares++] = c;
}

/* A block for `size` bytes: its unit, or 0 with *error. */
static inline uint64_t block_take(SegmentWriter *w, uint64_t size, int *error) {
    uint32_t class = block_class(size);
    if (w->room[class] == NONE && (*error = chunk_take(w, class))) return 0;
    uint32_t c = w->room[class];
    Chunk *chunk = &w->chunk[c];
    uint32_t word = chunk->hint;
    while (!chunk->map[word]) word++;
    chunk->hint = (uint16_t)word;
    uint32_t bit = (uint32_t)__builtin_ctzll(chunk->map[word]);
    chunk->map[word] &= chunk->map[word] - 1;
    if (--chunk->free == 0) room_unlink(w, c);
    w->block_bytes += chunk->block;
    return (chunk_offset(w, c) + (uint64_t)(word * 64 + bit) * chunk->block) / SEGMENT_UNIT;
}

static inline void block_give(SegmentWriter *w, uint64_t unit) {
    uint64_t at = unit * SEGMENT_UNIT - w->segment.heap_start;
    uint32_t c = (uint32_t)(at / SEGMENT_CHUNK);
    Chunk *chunk = &w->chunk[c];
    uint32_t i = (uint32_t)(at % SEGMENT_CHUNK) / chunk->block;
#ifdef FASTSIP_DEBUG
    memset(w->segment.base + unit * SEGMENT_UNIT, 0xDB, chunk->block);
#endif
    chunk->map[i / 64] |= 1ULL << i % 64;
    if (i / 64 < chunk->hint) chunk->hint = (uint16_t)(i / 64);
    chunk->free++;
    w->block_bytes -= chunk->block;
    if (!chunk->listed) room_link(w, c);
    if (chunk->free == chunk->total && (chunk->next != NONE || chunk->previous != NONE)) {
        room_unlink(w, c);
        chunk_give(w, c);
    }
}

/* ---------------------------------------------------------------------------------------- reclamation */

/* Room to retire `more` things, before anything is changed. */
static inline int retire_reserve(SegmentWriter *w, uint64_t more) {
    uint64_t count = w->retired_tail - w->retired_head;
    if (count + more <= w->retired_capacity) return 0;
    uint64_t capacity = w->retired_capacity ? w->retired_capacity * 2 : 1024;
    Retired *ring = (Retired *)malloc(capacity * sizeof *ring);
    if (!ring) return -ENOMEM;
    for (uint64_t i = 0; i < count; i++)
        ring[i] = w->retired[(w->retired_head + i) & (w->retired_capacity - 1)];
    free(w->retired);
    w->retired = ring;
    w->retired_head = 0;
    w->retired_tail = count;
    w->retired_capacity = capacity;
    return 0;
}

static inline void retire(SegmentWriter *w, uint64_t what) {
    uint64_t epoch = atomic_load_explicit(&w->segment.control->location_epoch, memory_order_relaxed);
    w->retired[w->retired_tail++ & (w->retired_capacity - 1)] = (Retired){epoch, what};
}

static inline void area_give(SegmentWriter *w, uint32_t level, uint32_t side) {
    pages_give(w->fd, index_offset(&w->segment, level, side), 8 * index_slots(level));
    SEGMENT_STORED();
    w->area[level][side] = AREA_FREE;
}

/* The readers of the dead writer's time are gone: what no slot names is free. */
static inline void limbo_end(SegmentWriter *w) {
    w->limbo = 0;
    for (uint32_t c = 0; c < w->high; c++) {
        Chunk *chunk = &w->chunk[c];
        if (!chunk->map || chunk->listed || !chunk->free) continue;
        if (chunk->free == chunk->total) chunk_give(w, c);
        else room_link(w, c);
    }
    for (uint32_t level = INDEX_LEVEL_MIN; level <= w->segment.level_max; level++)
        for (uint32_t side = 0; side < 2; side++)
            if (w->area[level][side] == AREA_FOUND) area_give(w, level, side);
}

/* Free what no reader can see any more; how many things still wait. See segment.h for why this order is enough. */
static inline uint64_t segment_reclaim(SegmentWriter *w) {
    Control *control = w->segment.control;
    if (w->retired_head == w->retired_tail && !w->limbo) return 0;
    uint64_t epoch = atomic_load_explicit(&control->location_epoch, memory_order_relaxed);
    uint64_t newest = w->limbo;
    if (w->retired_head != w->retired_tail)
        newest = w->retired[(w->retired_tail - 1) & (w->retired_capacity - 1)].epoch;
    if (newest >= epoch) {
        atomic_store_explicit(&control->location_epoch, newest + 1, memory_order_seq_cst);
        SEGMENT_STORED();
    }
    uint64_t oldest = EPOCH_IDLE;
    for (uint32_t i = 0; i < MAX_WORKERS; i++) {
        uint64_t at = atomic_load_explicit(&control->worker[i].epoch, memory_order_seq_cst);
        if (at < oldest) oldest = at;
    }
    if (w->limbo && w->limbo < oldest) limbo_end(w);
    while (w->retired_head != w->retired_tail) {
        Retired *r = &w->retired[w->retired_head & (w->retired_capacity - 1)];
        if (r->epoch >= oldest || w->limbo) break;
        if (r->what >> 32) area_give(w, (uint32_t)r->what >> 1, r->what & 1);
        else block_give(w, r->what);
        w->retired_head++;
    }
    return w->retired_tail - w->retired_head;
}

/* ---------------------------------------------------------------------------------------------- index */

/* The slot that holds the key, else NULL and in *vacant where it would go, NULL if the search ran into the end. */
static inline Slot *index_locate(SegmentWriter *w, uint64_t tag, int kind, const uint8_t *key, uint32_t key_length,
                                 Slot **vacant) {
    uint64_t want = tag << SLOT_TAG_SHIFT | (uint64_t)kind << SLOT_KIND_SHIFT;
    *vacant = NULL;
    for (uint64_t i = index_home(tag, w->level), end = index_slots(w->level); i < end; i++) {
        uint64_t word = atomic_load_explicit(&w->index[i], memory_order_relaxed);
        if (word <= SLOT_TOMBSTONE) {
            if (!*vacant) *vacant = &w->index[i];
            if (word == SLOT_EMPTY) return NULL;
        } else if ((word & ~SLOT_UNIT_MASK) == want) {
            const uint8_t *value;
            uint32_t length;
            const Record *record = segment_record(&w->segment, word, &value, &length);
            if (record && record->key_length == key_length && !memcmp(record->key, key, key_length))
                return &w->index[i];
        }
    }
    return NULL;
}

/* All keys into an empty area; 0 if some ran into its end. There is data in it afterwards, even if there was no key. */
static inline int index_fill(SegmentWriter *w, Slot *to, uint32_t level) {
    atomic_store_explicit(&to[0], SLOT_EMPTY, memory_order_relaxed);
    SEGMENT_STORED();
    for (uint64_t i = 0, end = index_slots(w->level); i < end; i++) {
        uint64_t word = atomic_load_explicit(&w->index[i], memory_order_relaxed);
        if (word <= SLOT_TOMBSTONE) continue;
        uint64_t at = index_home(slot_tag(word), level);
        while (at < index_slots(level) && atomic_load_explicit(&to[at], memory_order_relaxed) != SLOT_EMPTY) at++;
        if (at == index_slots(level)) return 0;
        atomic_store_explicit(&to[at], word, memory_order_relaxed);
        SEGMENT_STORED();
    }
    return 1;
}

/* A new index, of a level from `level` to `highest`: the lowest with room for twice the keys, where the segment has it, and
 * with an area that nobody reads. 0 or -errno, the old index then stands. The caller has reserved two things to retire. */
static inline int index_rebuild(SegmentWriter *w, uint32_t level, uint32_t highest) {
    Segment *s = &w->segment;
    int error = -ENOSPC, reclaimed = 0;
    while (level < s->level_max && (w->records + 1) * 2 > 1ULL << level) level++;
    if (level == w->level && w->tombstones < 1ULL << level >> 3) return -ENOSPC;      /* the largest, and little to gain */
    for (; level <= highest; level++) {
        if (w->area[level][0] && w->area[level][1] && !reclaimed++) segment_reclaim(w);
        uint32_t side = w->area[level][0] ? 1 : 0;
        if (w->area[level][side]) {
            error = -EBUSY;
            continue;
        }
        uint64_t offset = index_offset(s, level, side), bytes = 8 * index_slots(level);
        int none = pages_take(w->fd, offset, bytes);
        Slot *to = (Slot *)(s->base + offset);
        if (!none && index_fill(w, to, level)) {
            w->area[level][side] = AREA_OURS;
            atomic_store_explicit(&s->header->root, (uint64_t)level << 1 | side, memory_order_seq_cst);
            SEGMENT_STORED();
            retire(w, 1ULL << 32 | w->level << 1 | w->side);
            w->index = to;
            w->level = level;
            w->side = side;
            w->tombstones = 0;
            w->rebuild_at = 0;
            return 0;
        }
        pages_give(w->fd, offset, bytes);
        if (none) return none;
    }
    return error;
}

static inline void count_records(SegmentWriter *w, int kind, int change) {
    w->records += (uint64_t)(int64_t)change;
    w->kinds[kind] += (uint64_t)(int64_t)change;
    atomic_store_explicit(&w->segment.header->records, w->records, memory_order_relaxed);
    SEGMENT_STORED();
}

/* Publish value under key. 0, or -errno and nothing changed: -EMSGSIZE, -ENOMEM (the machine), -ENOSPC (the segment),
 * -EBUSY (a reader that does not end its turn keeps all there is). */
static inline int segment_put(SegmentWriter *w, int kind, const uint8_t *key, uint32_t key_length,
                              const uint8_t *value, uint32_t length) {
    if (key_length > UINT16_MAX || record_head(key_length) + length > SEGMENT_CHUNK) return -EMSGSIZE;
    int error = retire_reserve(w, 2);
    if (error) return error;
    uint64_t tag = segment_tag(&w->segment, key, key_length);
    Slot *vacant, *slot = index_locate(w, tag, kind, key, key_length, &vacant);
    if (!slot && (!vacant || *vacant == SLOT_EMPTY)) {
        uint64_t slots = 1ULL << w->level, used = w->records + w->tombstones + 1;
        int crowded = !vacant || used * 10 > slots * 9;
        if (crowded || (used * 10 > slots * 7 && used >= w->rebuild_at)) {
            error = index_rebuild(w, vacant ? INDEX_LEVEL_MIN : w->level + 1, w->segment.level_max);
            if (error && crowded) return error;
            if (error) w->rebuild_at = used + slots / 64;
            index_locate(w, tag, kind, key, key_length, &vacant);
            if (!vacant) return -ENOSPC;
        }
    }
    uint64_t unit = block_take(w, record_head(key_length) + length, &error);
    if (!unit) {
        segment_reclaim(w);
        unit = block_take(w, record_head(key_length) + length, &error);
        if (!unit) return error == -ENOSPC && w->retired_head != w->retired_tail ? -EBUSY : error;
    }
    Record *record = (Record *)(w->segment.base + unit * SEGMENT_UNIT);
    *record = (Record){.value_length = length, .key_length = (uint16_t)key_length, .kind = (uint8_t)kind};
    SEGMENT_STORED();
    SEGMENT_COPY(record->key, key, key_length);
    SEGMENT_COPY((uint8_t *)record + record_head(key_length), value, length);

    uint64_t word = tag << SLOT_TAG_SHIFT | (uint64_t)kind << SLOT_KIND_SHIFT | unit;
    Slot *target = slot ? slot : vacant;
    uint64_t old = atomic_load_explicit(target, memory_order_relaxed);
    atomic_store_explicit(target, word, memory_order_seq_cst);
    SEGMENT_STORED();
    if (slot) {
        retire(w, old & SLOT_UNIT_MASK);
    } else {
        if (old == SLOT_TOMBSTONE) w->tombstones--;
        count_records(w, kind, 1);
    }
    if (w->retired_tail - w->retired_head >= RECLAIM_BATCH && w->retired_tail % RECLAIM_BATCH == 0) segment_reclaim(w);
    return 0;
}

/* Take the key out: 1 if it was there, else 0; -ENOMEM and nothing changed. */
static inline int segment_delete(SegmentWriter *w, int kind, const uint8_t *key, uint32_t key_length) {
    int error = retire_reserve(w, 2);
    if (error) return error;
    uint64_t tag = segment_tag(&w->segment, key, key_length);
    Slot *vacant, *slot = index_locate(w, tag, kind, key, key_length, &vacant);
    if (!slot) return 0;
    uint64_t old = atomic_load_explicit(slot, memory_order_relaxed);
    Slot *end = w->index + index_slots(w->level);
    if (slot + 1 < end && atomic_load_explicit(slot + 1, memory_order_relaxed) != SLOT_EMPTY) {
        atomic_store_explicit(slot, SLOT_TOMBSTONE, memory_order_seq_cst);
        SEGMENT_STORED();
        w->tombstones++;
    } else {
        /* No search passes the last slot of a run: it may become EMPTY, and then the tombstones just below it. */
        atomic_store_explicit(slot, SLOT_EMPTY, memory_order_seq_cst);
        SEGMENT_STORED();
        while (slot-- > w->index && atomic_load_explicit(slot, memory_order_relaxed) == SLOT_TOMBSTONE) {
            atomic_store_explicit(slot, SLOT_EMPTY, memory_order_seq_cst);
            SEGMENT_STORED();
            w->tombstones--;
        }
    }
    retire(w, old & SLOT_UNIT_MASK);
    count_records(w, kind, -1);
    if (w->level > INDEX_LEVEL_MIN && w->records < 1ULL << w->level >> 3)
        index_rebuild(w, INDEX_LEVEL_MIN, w->level - 1);
    if (w->retired_tail - w->retired_head >= RECLAIM_BATCH && w->retired_tail % RECLAIM_BATCH == 0) segment_reclaim(w);
    return 1;
}

/* ------------------------------------------------------------------------------------ format and attach */

/* 64 GiB of addresses, or what limits of this process allow. */
static inline uint64_t segment_size(void) {
    struct rlimit file;
    uint64_t limit = getrlimit(RLIMIT_FSIZE, &file) ? RLIM_INFINITY : file.rlim_cur;
    for (uint64_t size = SEGMENT_SIZE_MAX; size > 64 * SEGMENT_SIZE_MIN; size /= 2) {
        if (limit != RLIM_INFINITY && size > limit) continue;
        void *at = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) continue;
        munmap(at, size);
        return size;
    }
    return 64 * SEGMENT_SIZE_MIN;
}

/* An empty segment of the file's length; 0 or -errno. A quarter of the addresses is for the index, whatever its level. */
static inline int segment_format(int fd, Control *control) {
    struct stat status;
    if (fstat(fd, &status)) return -errno;
    if (status.st_size < (off_t)SEGMENT_SIZE_MIN) return -EINVAL;
    uint64_t size = (uint64_t)status.st_size & ~(SEGMENT_PAGE - 1);
    if (size > SEGMENT_SIZE_MAX) size = SEGMENT_SIZE_MAX;
    pages_give(fd, 0, (uint64_t)status.st_size);
    int error = pages_take(fd, 0, SEGMENT_PAGE);
    if (error) return error;
    SegmentHeader *header = (SegmentHeader *)mmap(NULL, SEGMENT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (header == MAP_FAILED) return -errno;
    header->layout = SEGMENT_LAYOUT;
    header->size = size;
    header->level_max = INDEX_LEVEL_MIN;
    while (header->level_max < INDEX_LEVEL_MAX && 1ULL << (header->level_max + 1) <= size / 128) header->level_max++;
    header->index_start = (SEGMENT_PAGE + size / SEGMENT_CHUNK + SEGMENT_PAGE) & ~(SEGMENT_PAGE - 1);
    Segment s = {.index_start = header->index_start};
    header->heap_start = index_offset(&s, header->level_max + 1, 0);
    header->chunks = (uint32_t)((size - header->heap_start) / SEGMENT_CHUNK);
    header->key_check = segment_key_check(&control->location_key);
    atomic_store_explicit(&header->root, (uint64_t)INDEX_LEVEL_MIN << 1, memory_order_relaxed);
    error = pages_take(fd, header->index_start, 8 * index_slots(INDEX_LEVEL_MIN));
    if (!error) __atomic_store_n(&header->magic, SEGMENT_MAGIC, __ATOMIC_RELEASE);
    munmap(header, SEGMENT_PAGE);
    return error;
}

/* Unmap and forget; the segment stays as it is, which is how the next writer expects it. */
static inline void segment_detach_writer(SegmentWriter *w) {
    if (w->chunk)
        for (uint32_t c = 0; c < w->high; c++) free(w->chunk[c].map);
    free(w->chunk);
    free(w->spare);
    free(w->retired);
    if (w->segment.base) munmap(w->segment.base, w->segment.mapped);
    if (w->fd >= 0) close(w->fd);
    free(w);
}

/* A file description of our own, so that the lock ends with this process and with nothing else. */
static inline int segment_lock(int fd) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDWR | O_CLOEXEC);
    if (own < 0) return fcntl(fd, F_DUPFD_CLOEXEC, 3);      /* no /proc: no lock either */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (!fcntl(own, F_OFD_SETLK, &lock)) return own;
    close(own);
    errno = EAGAIN;
    return -1;
}

/* Take the block that a slot names; 0 if it can be no record of this heap. */
static inline int attach_block(SegmentWriter *w, uint64_t word) {
    uint64_t offset = slot_offset(word);
    const uint8_t *value;
    uint32_t length;
    if (offset < w->segment.heap_start) return 0;
    uint64_t c = (offset - w->segment.heap_start) / SEGMENT_CHUNK;
    if (c >= w->high || !w->chunk[c].map) return 0;
    Chunk *chunk = &w->chunk[c];
    uint32_t at = (uint32_t)(offset - chunk_offset(w, (uint32_t)c)), i = at / chunk->block;
    if (at % chunk->block || i >= chunk->total || !(chunk->map[i / 64] >> i % 64 & 1)) return 0;
    const Record *record = segment_record(&w->segment, word, &value, &length);
    if (!record || record_head(record->key_length) + length > chunk->block || record->kind != slot_kind(word)
        || segment_tag(&w->segment, record->key, record->key_length) != slot_tag(word))
        return 0;
    chunk->map[i / 64] &= ~(1ULL << i % 64);
    chunk->free--;
    w->block_bytes += chunk->block;
    return 1;
}

/* Whoever publishes an area stores into it first, so one without data is under nobody's eyes. */
static inline void attach_areas(SegmentWriter *w) {
    for (uint32_t level = INDEX_LEVEL_MIN; level <= w->segment.level_max; level++)
        for (uint32_t side = 0; side < 2; side++) {
            uint64_t offset = index_offset(&w->segment, level, side), bytes = 8 * index_slots(level);
            off_t data = lseek(w->fd, (off_t)offset, SEEK_DATA);
            int none = data < 0 ? errno == ENXIO : (uint64_t)data >= offset + bytes;
            if (level == w->level && side == w->side) w->area[level][side] = AREA_OURS;
            else if (!none) w->area[level][side] = AREA_FOUND;
            else pages_give(w->fd, offset, bytes);          /* taken and not written is no data, but memory */
        }
}

/* Become the writer of whatever is there. NULL with errno: EAGAIN another writer lives, EPROTO not such a segment,
 * ENOMEM, or what open and mmap say. */
static inline SegmentWriter *segment_attach_writer(int fd, Control *control) {
    SegmentWriter *w = (SegmentWriter *)calloc(1, sizeof *w);
    if (!w) return NULL;
    int error;
    w->fd = segment_lock(fd);
    if (w->fd < 0) {
        error = errno;
        goto fail;
    }
    error = segment_map(&w->segment, w->fd, control, 1);
    if (error) goto fail;
    SegmentHeader *header = w->segment.header;
    w->chunks = header->chunks;
    w->high = atomic_load_explicit(&header->high, memory_order_relaxed);
    w->index = index_current(&w->segment, &w->level);
    error = EPROTO;
    if (!w->index || w->high > w->chunks) goto fail;
    error = ENOMEM;
    w->chunk = (Chunk *)calloc(w->chunks + 1, sizeof *w->chunk);
    w->spare = (uint32_t *)malloc((w->chunks + 1) * sizeof *w->spare);
    if (!w->chunk || !w->spare) goto fail;
    for (uint32_t class = 0; class < BLOCK_CLASSES; class++) w->room[class] = NONE;
    for (uint32_t c = w->high; c-- > 0;) {
        uint32_t class = atomic_load_explicit(chunk_class(w, c), memory_order_relaxed);
        if (class == 0 || class > BLOCK_CLASSES) w->spare[w->spares++] = c;
        else if (chunk_open(w, c, class - 1)) goto fail;
    }
    w->side = atomic_load_explicit(&header->root, memory_order_relaxed) & 1;
    attach_areas(w);
    for (uint64_t i = 0, end = index_slots(w->level); i < end; i++) {
        if (i + 16 < end)
            __builtin_prefetch(w->segment.base + slot_offset(atomic_load_explicit(&w->index[i + 16], memory_order_relaxed)));
        uint64_t word = atomic_load_explicit(&w->index[i], memory_order_relaxed);
        if (word == SLOT_EMPTY) continue;
        if (word != SLOT_TOMBSTONE && attach_block(w, word)) {
            w->records++;
            w->kinds[slot_kind(word)]++;
            continue;
        }
        w->tombstones++;
        if (word == SLOT_TOMBSTONE) continue;
        w->damaged++;
        atomic_store_explicit(&w->index[i], SLOT_TOMBSTONE, memory_order_seq_cst);
    }
    count_records(w, 0, 0);
    atomic_fetch_add_explicit(&header->attached, 1, memory_order_relaxed);
    w->limbo = atomic_load_explicit(&control->location_epoch, memory_order_relaxed);
    segment_reclaim(w);
    return w;
fail:
    segment_detach_writer(w);
    errno = error;
    return NULL;
}

#endif
