/* One writer, three readers, one mapping, under ThreadSanitizer.
 *
 * Every value names its key and version and checks itself. A reader must never see a torn or a reused record (TSan
 * calls it a race, the check calls it not whole), never a version older than one it saw before, and always the keys that
 * are never taken out, by search and by scan, while the index grows, shrinks and is renewed and writers change. One of
 * them now and then stays in its turn for thousands of operations: its index and its records must stay as they were.
 * usage: segment_stress [operations]
 */
#include <pthread.h>

#include "segment_model.h"

#define KEYS 6000
#define STEADY 200                       /* keys below this are updated, never deleted */
#define READERS 3
#define TURN 64

static SegmentWriter *writer;
static _Atomic int stopping;
static _Atomic unsigned long looked, found, scans, written, dwelt;

/* A turn that sees a writer go and another come. What the index of its beginning names is whole at its end. */
static void dwell(Segment *view, uint32_t me) {
    uint32_t level, key, steady = 0, length;
    const uint8_t *value;
    segment_enter(view, me);
    Slot *index = index_current(view, &level);
    unsigned long until = atomic_load(&written) + 17000;
    while (atomic_load(&written) < until && !atomic_load(&stopping)) usleep(500);
    for (uint64_t i = 0; i < index_slots(level); i++) {
        uint64_t word = atomic_load_explicit(&index[i], memory_order_seq_cst);
        if (word <= SLOT_TOMBSTONE) continue;
        CHECK(segment_record(view, word, &value, &length), "no record");
        memcpy(&key, value, 4);
        model_version(value, length, key);
        steady += key < STEADY;
    }
    CHECK(steady == STEADY, "%u of the keys that stay", steady);
    segment_leave(view, me);
    atomic_fetch_add_explicit(&dwelt, 1, memory_order_relaxed);
}

static void *read_on(void *argument) {
    uint32_t me = (uint32_t)(uintptr_t)argument;
    uint64_t seed = 0x9e3779b97f4a7c15ULL * (me + 1);
    Segment view = *(Segment *)&writer->segment;       /* the same mapping: TSan must see both sides of an address */
    uint32_t *seen = (uint32_t *)calloc(KEYS, sizeof *seen);
    const uint8_t *value;
    uint32_t length;
    for (unsigned long turn = 0; !atomic_load(&stopping); turn++) {
        segment_enter(&view, me);
        for (int i = 0; i < TURN; i++) {
            uint8_t name[64];
            uint32_t key = (uint32_t)(model_random(&seed) % (i % 2 ? KEYS : STEADY));
            atomic_fetch_add_explicit(&looked, 1, memory_order_relaxed);
            if (!segment_find(&view, RECORD_BINDINGS, name, model_key(name, key), &value, &length)) {
                CHECK(key >= STEADY, "key %u is gone", key);
                continue;
            }
            uint32_t version = model_version(value, length, key);
            CHECK(version >= seen[key], "key %u: version %u after %u", key, version, seen[key]);
            seen[key] = version;
            atomic_fetch_add_explicit(&found, 1, memory_order_relaxed);
        }
        segment_leave(&view, me);
        if (me == 0 && turn % 64 == 0) dwell(&view, me);
        if (turn % 32) continue;
        uint8_t times[STEADY] = {0};
        Scan scan = {0};
        for (uint64_t cursor = 0; cursor != SCAN_END; cursor = scan.next) {
            segment_enter(&view, me);
            CHECK(!segment_scan(&view, cursor, 100, RECORD_BINDINGS, &scan), "scan");
            CHECK(scan.next > cursor, "a scan stands still");
            for (uint64_t i = 0; i < scan.count; i++) {
                uint32_t key;
                CHECK(segment_record(&view, scan.words[i], &value, &length), "no record");
                memcpy(&key, value, 4);
                model_version(value, length, key);
                if (key < STEADY) times[key]++;
            }
            segment_leave(&view, me);
        }
        free(scan.words);
        for (uint32_t key = 0; key < STEADY; key++) CHECK(times[key] == 1, "key %u %d times in a scan", key, times[key]);
        atomic_fetch_add_explicit(&scans, 1, memory_order_relaxed);
    }
    free(seen);
    return NULL;
}

static void put(uint32_t key, uint32_t version) {
    uint8_t name[64], value[4096];
    uint32_t length = model_value(value, key, version);
    int error = segment_put(writer, RECORD_BINDINGS, name, model_key(name, key), value, length);
    CHECK(!error, "put: %d", error);
}

int main(int argc, char **argv) {
    unsigned long operations = argc > 1 ? strtoul(argv[1], NULL, 0) : 60000;
    int fd = model_segment(128 << 20);
    uint64_t seed = 88172645463325252ULL, roots = 0, last = 0;
    pthread_t reader[READERS];
    uint8_t name[64];
    writer = segment_attach_writer(fd, &model_control);
    CHECK(writer, "attach: errno %d", errno);
    for (uint32_t key = 0; key < STEADY; key++) put(key, 1);
    for (uintptr_t i = 0; i < READERS; i++) pthread_create(&reader[i], NULL, read_on, (void *)i);
    for (uint32_t n = 2; n < operations; n++) {
        uint32_t key = (uint32_t)(model_random(&seed) % (n % 3 ? KEYS : STEADY));
        int shrinking = n / 20000 % 2;
        if (key >= STEADY && model_random(&seed) % 8 < (shrinking ? 7u : 1u))
            segment_delete(writer, RECORD_BINDINGS, name, model_key(name, key));
        else
            put(key, n);
        atomic_store(&written, n);
        uint64_t root = atomic_load(&writer->segment.header->root);
        roots += root != last;
        last = root;
        if (n % 15000 == 0) {
            /* A writer goes without a word and another comes. Its mapping stays, since the readers here borrow it. */
            struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
            SegmentWriter *next;
            CHECK(!fcntl(writer->fd, F_OFD_SETLK, &lock), "unlock");
            next = segment_attach_writer(fd, &model_control);
            CHECK(next && next->records == writer->records && !next->damaged, "attach: errno %d", errno);
            munmap(next->segment.base, next->segment.mapped);
            next->segment.base = writer->segment.base;
            next->segment.header = writer->segment.header;
            next->index = writer->index;
            writer->segment.base = NULL;
            segment_detach_writer(writer);
            writer = next;
        }
    }
    atomic_store(&stopping, 1);
    for (int i = 0; i < READERS; i++) pthread_join(reader[i], NULL);
    CHECK(segment_reclaim(writer) == 0, "something is never freed");
    printf("%lu searches, %lu found, %lu scans, %lu long turns, %lu indexes, %lu records\n", looked, found, scans, dwelt,
           (unsigned long)roots, writer->records);
    fflush(stdout);
    CHECK(roots > 3 && scans > 3 && dwelt > operations / 40000, "too little happened");
    segment_detach_writer(writer);
    return 0;
}
