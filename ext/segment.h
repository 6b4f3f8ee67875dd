/* The location segment: the whole location service in shared memory, one writer, any number of readers.
 *
 * The state process publishes one immutable record per key (an address-of-record's whole binding set, a user's HA1, his
 * services); workers look them up in place. No reader ever waits for the writer or for another reader, and the memory
 * is sound for readers at every instant, so also at the instant the writer is killed. This file is what a reader needs;
 * the writer is segment_writer.h.
 *
 *
 * Layout
 *
 *     0                  header: magic, geometry, check of the hash key; the root on a cache line of its own
 *     4096               one byte per chunk: its size class + 1, or 0 for a chunk not in use     (writer's)
 *     index_start        for each level L two areas, side 0 and 1, of 2^L + 512 slots of 8 bytes
 *     heap_start         chunks of 256 KiB, each cut into blocks of one size
 *
 * The file is sparse: 64 GiB of addresses, memory only where something was written. Only one index area is in use, and
 * those that were in use wait for their last readers.
 *
 *     root    64 bits:   level << 1 | side                          which area is the index
 *     slot    64 bits:   tag 30 | kind 3 | unit 31                  0 is EMPTY, 1 is a TOMBSTONE (kinds begin at 1)
 *     record             value length, key length, kind; key, zeros up to 8; value      at offset unit * 32
 *
 * The tag is the top of the keyed SipHash-1-3 of the key, and a key's home slot is the top of the tag. So slots alone say
 * where they belong at every level: growing the index touches no record and is a merge of two sequential arrays. A key is
 * searched from its home upwards until it or an EMPTY slot is met, at most to the area's end: there is no wrap around,
 * the 512 slots past 2^L take what spills. The tag also is the order of a scan, and that order is the same at every
 * level, whatever grows meanwhile. Two keys may share tag and kind: the record's key is always compared.
 *
 *
 * Publication
 *
 * A record is written wholly into a block nobody can reach, then one store puts its word into a slot: into the slot of
 * the record it replaces, into a TOMBSTONE, or into the EMPTY slot that ended the search. That store has release order, the
 * reader's load of the slot acquire order, so who sees the word sees the record. To remove a key is one store of
 * TOMBSTONE (or of EMPTY, where the next slot is EMPTY already: then nobody's search passes through here). Both keep
 *
 *     (1)  from the home of a published key up to its slot, no slot is EMPTY
 *
 * true at every instant, and a key never changes its slot within one area. So one walk over the slots finds every key
 * that is there throughout the walk, however the writer works meanwhile, and a walk of at most 2^L + 512 steps is all
 * a search is: there is nothing to try again.
 *
 * A new index is filled in an area nobody can reach, then one store to the root publishes it. A reader that loaded the
 * old root goes on in the old area, which never changes any more; what it misses is what happened after its search began.
 * Where the old areas of the right level are all under somebody's eyes still, the new index takes the next level that has
 * one to spare. It lasts twice as long there, so a reader that does not end its turn for long costs no put: it costs
 * some 20 bytes of index for each record that is put or taken out meanwhile, and that record's block.
 *
 *
 * Reclamation
 *
 * A replaced record may still be under a reader's eyes. Every reader announces in Control.worker[i].epoch the value
 * that Control.location_epoch had when its turn began, or EPOCH_IDLE between turns. The writer stamps what it takes out of
 * reach (a block, an index area) with the current epoch g, later moves the epoch on to g+1, looks at all readers once, and
 * frees what is stamped lower than every announced epoch. A reader that announces r > g loaded an epoch stored after the
 * block was out of reach, so it cannot find it. A reader that announces r <= g keeps it alive. The doubtful case is
 * the reader that is just announcing while the writer looks:
 *
 *        reader                                     writer
 *     1  load location_epoch -> g
 *     2                                             slot = other record       (block X is out of reach, stamped g)
 *     3                                             location_epoch = g+1
 *     4                                             load worker[i].epoch -> EPOCH_IDLE: frees X
 *     5  worker[i].epoch = g
 *     6  load slot                                  writes another record into X
 *
 * At 6 the reader must not see X. Steps 2, 4, 5, 6 are all sequentially consistent, hence in one order; 4 read what was there
 * before 5, so 4 precedes 5, and 2 precedes 4, 5 precedes 6: 6 sees the store of 2. If instead 5 came before 4, 4 would
 * have seen g and kept X. (The root is loaded and stored with the same order, for index areas.) On x86 that costs a
 * reader one exchange per turn, and its loads nothing; on aarch64 they are ldar, as acquire would be.
 *
 * In the other direction: segment_leave is a release store and step 4 an acquire load, so everything a reader read in
 * a turn is read before the block is written again. A reader that dies in a turn would keep its epoch for ever, so the
 * master clears it once the process is waited for. A reader that hangs keeps memory, never the writer, and is killed.
 *
 * A process that may not announce (ctl, a test) uses that nothing is freed without location_epoch moving first: what it
 * copied between two equal readings of the epoch is whole. It must be ready to give up: SegmentReader in _location.pyx.
 *
 *
 * Death of the writer
 *
 * The only words a reader depends on are root, slots, and the bytes of records that slots name. Slots and root change
 * by single stores from one true state to another (above). So a writer may die between any two stores, and readers
 * go on unharmed. The next writer needs no repair either: which blocks are taken is not written anywhere but in the
 * slots. It walks the index and takes for free what no slot names, once the readers that were in a turn when it
 * attached have left it, since the dead writer may have put something out of reach under their eyes. That may take long,
 * and until then it has other places to write to: chunks that were in no use, and index areas where the file has no data.
 * An area is given back, as a hole, only when nobody reads it, and it is written into before it is published; so where
 * there is no data no reader is. What the new writer itself replaces meanwhile is stamped as ever. Chunk classes and
 * their number are stored before the first slot names a block in the chunk. A put that was acknowledged is a slot
 * stored; one that was not is either whole or not there.
 */
#ifndef FASTSIP_SEGMENT_H
#define FASTSIP_SEGMENT_H

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "binding.h"
#include "control.h"
#include "siphash.h"

#define SEGMENT_MAGIC 0x7461636f6c736673ULL
#define SEGMENT_LAYOUT 2
#define SEGMENT_SIZE_MIN (1ULL << 20)
#define SEGMENT_SIZE_MAX (1ULL << 36)      /* 2^31 units of 32 bytes */
#define SEGMENT_PAGE 4096ULL
#define SEGMENT_CHUNK (256u * 1024)
#define SEGMENT_UNIT 32u

#define INDEX_LEVEL_MIN 10
#define INDEX_LEVEL_MAX 29
#define INDEX_LINE 8u                      /* slots of a cache line, searched together */
#define INDEX_SPILL 512u                   /* slots past 2^level: one page */

#define TAG_BITS 30
#define SLOT_UNIT_MASK 0x7fffffffULL
#define SLOT_KIND_SHIFT 31
#define SLOT_TAG_SHIFT 34
#define SLOT_EMPTY 0ULL
#define SLOT_TOMBSTONE 1ULL

enum RecordKind { RECORD_BINDINGS = 1, RECORD_USER = 2, RECORD_SERVICES = 3, RECORD_MARK = 7, RECORD_KINDS = 8 };

typedef struct Record {
    uint32_t value_length;
    uint16_t key_length;
    uint8_t kind;
    uint8_t reserved;
    uint8_t key[];
} Record;

typedef _Atomic uint64_t Slot;

typedef struct SegmentHeader {
    uint64_t magic;
    uint32_t layout;
    uint32_t chunks;                       /* that fit between heap_start and size */
    uint64_t size;
    uint64_t index_start, heap_start;
    uint64_t key_check;                    /* hash of "fastsip" under the location key: same keys, same slots */
    uint32_t level_max;
    uint32_t reserved;
    _Alignas(64) _Atomic uint64_t root;
    _Alignas(64) _Atomic uint32_t high;    /* chunks below this may be in use */
    _Atomic uint32_t attached;             /* writers so far */
    _Atomic uint64_t records;              /* how many; told to readers, never relied on */
} SegmentHeader;

typedef struct Segment {
    uint8_t *base;
    SegmentHeader *header;
    Control *control;
    HashKey key;
    uint64_t mapped, size, index_start, heap_start;
    uint32_t level_max;
} Segment;

static inline uint64_t index_slots(uint32_t level) { return (1ULL << level) + INDEX_SPILL; }

/* Where an area begins: all lower levels' pairs come first. */
static inline uint64_t index_offset(const Segment *s, uint32_t level, uint32_t side) {
    uint64_t lower = 2 * 8 * ((1ULL << level) - (1ULL << INDEX_LEVEL_MIN))
                     + 2 * 8 * (uint64_t)INDEX_SPILL * (level - INDEX_LEVEL_MIN);
    return s->index_start + lower + side * 8 * index_slots(level);
}

/* The current index and its level. */
static inline Slot *index_current(const Segment *s, uint32_t *level) {
    uint64_t root = atomic_load_explicit(&s->header->root, memory_order_seq_cst);
    *level = (uint32_t)(root >> 1);
    if (*level < INDEX_LEVEL_MIN || *level > s->level_max) return NULL;
    return (Slot *)(s->base + index_offset(s, *level, root & 1));
}

/* The first slot of the cache line the tag's top bits name. */
static inline uint64_t index_home(uint64_t tag, uint32_t level) {
    return tag >> (TAG_BITS - level) & ~(uint64_t)(INDEX_LINE - 1);
}

static inline uint64_t slot_tag(uint64_t word) { return word >> SLOT_TAG_SHIFT; }
static inline uint32_t slot_kind(uint64_t word) { return word >> SLOT_KIND_SHIFT & (RECORD_KINDS - 1); }
static inline uint64_t slot_offset(uint64_t word) { return (word & SLOT_UNIT_MASK) * SEGMENT_UNIT; }

static inline uint64_t segment_tag(const Segment *s, const uint8_t *key, uint32_t length) {
    return tablehash(&s->key, key, length) >> (64 - TAG_BITS);
}

static inline uint64_t record_head(uint32_t key_length) { return sizeof(Record) + ((key_length + 7ULL) & ~7ULL); }

/* The record a slot names, with its lengths inside the segment, or NULL. */
static inline const Record *segment_record(const Segment *s, uint64_t word, const uint8_t **value, uint32_t *length) {
    uint64_t offset = slot_offset(word);
    if (offset < s->heap_start || offset + sizeof(Record) > s->size) return NULL;
    const Record *record = (const Record *)(s->base + offset);
    uint64_t head = record_head(record->key_length);
    uint32_t value_length = record->value_length;
    if (value_length > SEGMENT_CHUNK || offset + head + value_length > s->size) return NULL;
    *value = s->base + offset + head;
    *length = value_length;
    return record;
}

/* Looking up in three steps, for who has several keys at hand: hash them all, then prefetch for all, then find each. Memory
 * then works on all of them at once, where one lookup after the other waits twice for it: for the line of the index, and
 * for the record the line names. Only between segment_enter and segment_leave, and in the same turn. Steps may be left
 * out: a prefetch changes nothing, and segment_find is all three in one. */

/* What a slot of this kind and key holds above its unit; the line of the index is on its way. */
static inline uint64_t segment_hash(Segment *s, int kind, const uint8_t *key, uint32_t key_length) {
    uint64_t tag = segment_tag(s, key, key_length);
    uint32_t level;
    Slot *index = index_current(s, &level);
    if (index) __builtin_prefetch((const void *)&index[index_home(tag, level)]);
    return tag << SLOT_TAG_SHIFT | (uint64_t)kind << SLOT_KIND_SHIFT;
}

/* The record is on its way, if it is named in its home line, as nearly all are. */
static inline void segment_prefetch(Segment *s, uint64_t hash) {
    uint32_t level;
    Slot *index = index_current(s, &level);
    if (!index) return;
    uint64_t home = index_home(slot_tag(hash), level), unit = 0;
#pragma GCC unroll 8
    for (uint32_t j = 0; j < INDEX_LINE; j++) {
        uint64_t word = atomic_load_explicit(&index[home + j], memory_order_relaxed);
        unit = (word & ~SLOT_UNIT_MASK) == hash ? word & SLOT_UNIT_MASK : unit;
    }
    const uint8_t *record = s->base + unit * SEGMENT_UNIT;          /* unit 0 is the header, which does no harm */
    __builtin_prefetch(record);
    __builtin_prefetch(record + 64);
    __builtin_prefetch(record + 128);
}

static inline int segment_find_hashed(Segment *s, uint64_t hash, const uint8_t *key, uint32_t key_length,
                                      const uint8_t **value, uint32_t *length) {
    uint32_t level;
    Slot *index = index_current(s, &level);
    if (!index) return 0;
    for (uint64_t i = index_home(slot_tag(hash), level), end = index_slots(level); i < end; i += INDEX_LINE) {
        uint64_t word[INDEX_LINE];
        uint32_t match = 0, empty = 0;
#pragma GCC unroll 8
        for (uint32_t j = 0; j < INDEX_LINE; j++) {                /* no branch, so nothing to predict wrongly */
            word[j] = atomic_load_explicit(&index[i + j], memory_order_seq_cst);
            match |= (uint32_t)((word[j] & ~SLOT_UNIT_MASK) == hash) << j;
            empty |= word[j] == SLOT_EMPTY;
        }
        for (; match; match &= match - 1) {
            /* Where the value begins follows from our own key, so that it is fetched beside the record's head. */
            uint64_t offset = slot_offset(word[__builtin_ctz(match)]), head = record_head(key_length);
            if (offset < s->heap_start || offset + head > s->size) continue;
            const Record *record = (const Record *)(s->base + offset);
            if (record->key_length != key_length || memcmp(record->key, key, key_length)) continue;
            *value = s->base + offset + head;
            *length = record->value_length;
            return offset + head + *length <= s->size;
        }
        if (empty) return 0;
    }
    return 0;
}

/* The record's value, valid until segment_leave; 1 if found. Only between segment_enter and segment_leave. */
static inline int segment_find(Segment *s, int kind, const uint8_t *key, uint32_t key_length, const uint8_t **value,
                               uint32_t *length) {
    return segment_find_hashed(s, segment_hash(s, kind, key, key_length), key, key_length, value, length);
}

/* Publish that worker `reader` reads in the current epoch / reads nothing. Once per turn of the hot loop; a reader that
 * goes to sleep leaves first, or nothing is reclaimed while it sleeps. */
static inline void segment_enter(Segment *s, uint32_t reader) {
    uint64_t epoch = atomic_load_explicit(&s->control->location_epoch, memory_order_seq_cst);
    atomic_store_explicit(&s->control->worker[reader].epoch, epoch, memory_order_seq_cst);
}

static inline void segment_leave(Segment *s, uint32_t reader) {
    atomic_store_explicit(&s->control->worker[reader].epoch, EPOCH_IDLE, memory_order_release);
}

/* For a reader that died in its turn; by the master, when the process is waited for. */
static inline void segment_clear_reader(Control *control, uint32_t reader) {
    atomic_store_explicit(&control->worker[reader].epoch, EPOCH_IDLE, memory_order_release);
}

/* Some slots of one kind in the order of their tags: those with cursor <= tag < *next, about `limit` of them, or what
 * 65,536 slots hold. *next is SCAN_END when there is nothing beyond. The caller frees words. */
#define SCAN_END (1ULL << TAG_BITS)
#define SCAN_STEP 65536u

typedef struct Scan {
    uint64_t *words;
    uint64_t count, capacity;
    uint64_t next;
} Scan;

static inline int segment_scan(const Segment *s, uint64_t cursor, uint64_t limit, int kind, Scan *scan) {
    uint32_t level;
    Slot *index = index_current(s, &level);
    scan->next = SCAN_END;
    scan->count = 0;
    if (!index || cursor >= SCAN_END) return 0;
    uint64_t start = index_home(cursor, level);
    for (uint64_t i = start, end = index_slots(level); i < end; i++) {
        uint64_t word = atomic_load_explicit(&index[i], memory_order_seq_cst);
        if (word == SLOT_EMPTY) {
            /* What has its home in this line or below lies below i, by (1): a place to stop. */
            uint64_t line = (i | (INDEX_LINE - 1)) + 1;
            if ((scan->count >= limit || i - start >= SCAN_STEP) && line < 1ULL << level) {
                scan->next = line << (TAG_BITS - level);
                break;
            }
            continue;
        }
        if (slot_kind(word) != (uint32_t)kind || slot_tag(word) < cursor) continue;
        if (scan->count == scan->capacity) {
            uint64_t more = scan->capacity ? scan->capacity * 2 : 256;
            uint64_t *words = (uint64_t *)realloc(scan->words, more * sizeof *words);
            if (!words) return -ENOMEM;
            scan->words = words;
            scan->capacity = more;
        }
        uint64_t at = scan->count++;           /* displaced by few slots only: insertion sort is nearly a copy */
        for (; at > 0 && slot_tag(scan->words[at - 1]) > slot_tag(word); at--) scan->words[at] = scan->words[at - 1];
        scan->words[at] = word;
    }
    if (scan->count > limit && limit > 0) {
        uint64_t keep = limit;
        while (keep < scan->count && slot_tag(scan->words[keep]) == slot_tag(scan->words[keep - 1])) keep++;
        if (keep < scan->count) {
            scan->next = slot_tag(scan->words[keep]);
            scan->count = keep;
        }
    }
    return 0;
}

static inline uint64_t segment_key_check(const HashKey *key) { return tablehash(key, "fastsip", 7); }

/* A mapping of the whole segment; 0, or errno: EPROTO when magic, layout, geometry or hash key differ. */
static inline int segment_map(Segment *s, int fd, Control *control, int writable) {
    struct stat status;
    memset(s, 0, sizeof *s);
    if (fstat(fd, &status)) return errno;
    if (status.st_size < (off_t)SEGMENT_SIZE_MIN) return EPROTO;
    uint64_t size = (uint64_t)status.st_size;
    void *base = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return errno;
    madvise(base, size, MADV_DONTDUMP);
    SegmentHeader *header = (SegmentHeader *)base;
    if (header->magic != SEGMENT_MAGIC || header->layout != SEGMENT_LAYOUT || header->size > size
        || header->level_max > INDEX_LEVEL_MAX || header->heap_start > header->size
        || header->key_check != segment_key_check(&control->location_key)) {
        munmap(base, size);
        return EPROTO;
    }
    s->base = (uint8_t *)base;
    s->header = header;
    s->control = control;
    s->mapped = size;
    s->key = control->location_key;
    s->size = header->size;
    s->index_start = header->index_start;
    s->heap_start = header->heap_start;
    s->level_max = header->level_max;
    return 0;
}

/* Map the memfd for reading (PROT_READ). NULL with errno on failure, EPROTO when magic, layout or keys differ. */
static inline Segment *segment_open(int fd, Control *control) {
    Segment *s = (Segment *)malloc(sizeof *s);
    if (!s) return NULL;
    int error = segment_map(s, fd, control, 0);
    if (error) {
        free(s);
        errno = error;
        return NULL;
    }
    return s;
}

static inline void segment_close(Segment *s) {
    if (!s) return;
    munmap(s->base, s->mapped);
    free(s);
}

#endif
