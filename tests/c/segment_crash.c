/* The writer dies at every store, one after the other, and each time a new one attaches.
 *
 * The model: each key has a version or is absent. An operation is begun, cut off after its n-th store, for n = 1, 2, ...
 * until it comes through. After each cut, before anything is repaired, a reader must find every key as it was, and the
 * key in question as it was or as it was to become. A reader that was in a turn when the writer died keeps reading its
 * records, unharmed, while the new writer works. usage: segment_crash [seed]
 */
#include <setjmp.h>

static jmp_buf death;
static long stores_left = -1;
static unsigned long stores, deaths;

static void stored(void) {
    stores++;
    if (stores_left > 0 && --stores_left == 0) longjmp(death, 1);
}

#define SEGMENT_STORED() stored()
#define SEGMENT_COPY(to, from, length)                                                                                 \
    do {                                                                                                               \
        size_t half = (length) / 2;                                                                                    \
        memcpy(to, from, half);                                                                                        \
        stored();                                                                                                      \
        memcpy((uint8_t *)(to) + half, (const uint8_t *)(from) + half, (length) - half);                               \
        stored();                                                                                                      \
    } while (0)

#include "segment_model.h"

#define KEYS 1500
#define HELD 8
#define RENEWAL KEYS                                      /* not a key: rebuild the index at its level */

static uint32_t version_of[KEYS + 1], next_version = 1;
static unsigned long grown, shrunk, renewed;              /* rebuilds of the index, by what became of its level */
static SegmentWriter *writer;
static Segment *reader;
static int fd;

static struct { const uint8_t *value; uint32_t length, key; } held[HELD];

static uint32_t look(uint32_t key) {
    uint8_t name[64];
    const uint8_t *value;
    uint32_t length;
    if (!segment_find(reader, RECORD_BINDINGS, name, model_key(name, key), &value, &length)) return 0;
    return model_version(value, length, key);
}

static void verify_all(uint32_t except) {
    for (uint32_t key = 0; key < KEYS; key++)
        if (key != except) CHECK(look(key) == version_of[key], "key %u has version %u", key, look(key));
}

static int apply(uint32_t key, uint32_t version) {
    uint8_t name[64], value[4096];
    uint32_t length = model_key(name, key);
    if (key == RENEWAL) return retire_reserve(writer, 2) || index_rebuild(writer, writer->level, reader->level_max);
    if (!version) return segment_delete(writer, RECORD_BINDINGS, name, length) < 0;
    return segment_put(writer, RECORD_BINDINGS, name, length, value, model_value(value, key, version));
}

static void attach(void) {
    uint64_t records = 0;
    for (uint32_t key = 0; key < KEYS; key++) records += version_of[key] != 0;
    writer = segment_attach_writer(fd, &model_control);
    CHECK(writer, "attach: errno %d", errno);
    CHECK(writer->records == records && !writer->damaged, "%lu records, %lu damaged", writer->records, writer->damaged);
}

static int rebuilds_soon(uint32_t key, int gone) {
    if (gone) return writer->level > INDEX_LEVEL_MIN && writer->records - 1 < 1ULL << writer->level >> 3;
    return !version_of[key] && (writer->records + writer->tombstones + 1) * 10 > (7ULL << writer->level);
}

/* One operation, dying at its every store first. */
static void die_through(uint32_t key, int gone) {
    for (volatile long n = 1;; n++) {
        uint32_t version = gone ? 0 : next_version++;
        uint8_t name[64];
        segment_enter(reader, 1);
        for (uint32_t i = 0; i < HELD; i++) {
            held[i].key = i ? (key + i) % KEYS : key;
            if (!segment_find(reader, RECORD_BINDINGS, name, model_key(name, held[i].key), &held[i].value,
                              &held[i].length))
                held[i].value = NULL;
        }
        stores_left = n;
        if (!setjmp(death)) {
            CHECK(!apply(key, version), "apply");
            stores_left = -1;
            version_of[key] = version;
            segment_leave(reader, 1);
            return;
        }
        deaths++;
        if (n % 8) segment_leave(reader, 1);              /* mostly not in a turn: then all blocks are free at once */
        uint32_t now = look(key);
        CHECK(now == version || now == version_of[key], "key %u has version %u", key, now);
        version_of[key] = now;
        verify_all(key);
        segment_detach_writer(writer);                    /* what the kernel does: lock and private memory go */
        attach();
        for (uint32_t i = 0; i < 4; i++) {                /* the new writer works on the very keys that are being read */
            uint32_t other = (key + 1 + i) % KEYS;
            if (!version_of[other]) continue;
            version_of[other] = next_version++;
            CHECK(!apply(other, version_of[other]), "chunks %u of %u", writer->high, writer->chunks);
        }
        segment_reclaim(writer);
        for (uint32_t i = 0; i < HELD && n % 8 == 0; i++)
            if (held[i].value) model_version(held[i].value, held[i].length, held[i].key);
        segment_leave(reader, 1);
        segment_reclaim(writer);
        if (key == RENEWAL && !writer->tombstones) return;
        if (key != RENEWAL && gone && !now) {                               /* back again, to be taken out again */
            version_of[key] = next_version++;
            CHECK(!apply(key, version_of[key]), "apply");
        }
    }
}

/* Whether taking the key out, or putting it in, makes one slot more that is not EMPTY. */
static int fills_index(uint32_t key) {
    uint8_t name[64];
    uint32_t length = model_key(name, key);
    Slot *vacant, *slot;
    slot = index_locate(writer, segment_tag(reader, name, length), RECORD_BINDINGS, name, length, &vacant);
    return slot ? slot[1] != SLOT_EMPTY : *vacant == SLOT_EMPTY;
}

static void count_rebuilds(void) {
    static uint64_t last = INDEX_LEVEL_MIN << 1;
    uint64_t root = atomic_load(&reader->header->root);
    if (root >> 1 > last >> 1) grown++;
    else if (root >> 1 < last >> 1) shrunk++;
    else renewed += root != last;
    last = root;
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) | 1 : 88172645463325252ULL;
    fd = model_segment(128 << 20);
    reader = segment_open(fd, &model_control);
    CHECK(reader, "open: errno %d", errno);
    attach();
    /* The share of keys that are there, of 16, phase by phase: grow, shrink, pile up tombstones, grow. */
    static const uint32_t share[] = {12, 0, 4, 15};
    for (uint32_t step = 0; step < 8000; step++) {
        count_rebuilds();
        uint32_t key = (uint32_t)(model_random(&seed) % KEYS);
        int gone = model_random(&seed) % 16 >= share[step / 2000];
        if (share[step / 2000] == 4 && step % 2000 == 1999) die_through(RENEWAL, 1);
        if ((gone && !version_of[key]) || (share[step / 2000] == 4 && !fills_index(key))) continue;
        if (rebuilds_soon(key, gone) || step % 199 == 0) {
            die_through(key, gone);
            verify_all(KEYS);
            continue;
        }
        uint32_t version = gone ? 0 : next_version++;
        CHECK(!apply(key, version), "apply");
        version_of[key] = version;
    }
    verify_all(KEYS);
    segment_reclaim(writer);
    uint64_t used = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        uint8_t name[64], value[4096];
        if (!version_of[key]) continue;
        uint64_t size = record_head(model_key(name, key)) + model_value(value, key, version_of[key]);
        used += block_bytes(block_class(size));
    }
    CHECK(writer->block_bytes == used, "%lu bytes taken, %lu needed", writer->block_bytes, used);
    printf("%lu stores, %lu deaths, index %lu times grown, %lu shrunk, %lu renewed\n", stores, deaths, grown, shrunk, renewed);
    fflush(stdout);
    CHECK(deaths > 1000 && grown > 1 && shrunk && renewed, "too little happened");
    segment_detach_writer(writer);
    segment_close(reader);
    return 0;
}
