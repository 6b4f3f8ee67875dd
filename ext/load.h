/* What a load engine counts and draws: counters, histograms in HdrHistogram's layout, a seeded generator of numbers.
 *
 * The engine's thread writes, any other may read while it does: every word stands alone, so a reader's numbers may be a
 * turn apart from each other but are never torn.
 */
#ifndef FASTSIP_LOAD_H
#define FASTSIP_LOAD_H

#include <math.h>
#include <stdint.h>
#include <time.h>

/* Counters of one engine, by the names `Snapshot.counters` has. */
#define LOAD_COUNTERS(X)                                                                                               \
    X(offered) X(done) X(failed) X(busy) X(cancelled) X(in_flight) X(not_begun)                                        \
    X(calls) X(calls_done) X(registers) X(registers_done) X(options) X(options_done) X(messages) X(messages_done)      \
    X(answered) X(dialogs) X(refused_busy) X(cancelled_in) X(ended) X(requests_in)                                     \
    X(again_invite) X(again_bye) X(again_register) X(again_other) X(again_answer) X(again_ack) X(again_in)             \
    X(challenges) X(stale) X(strays) X(malformed) X(unacknowledged)                                                    \
    X(datagrams_in) X(datagrams_out) X(dropped_socket) X(dropped_send)                                                 \
    X(elapsed_us) X(begun_us) X(cpu_us) X(turns)

enum LoadCounter {
#define X(name) LOAD_##name,
    LOAD_COUNTERS(X)
#undef X
    LOAD_COUNTERS_END
};

static const char *const LOAD_COUNTER_NAMES[] = {
#define X(name) #name,
    LOAD_COUNTERS(X)
#undef X
};

/* HdrHistogram(1, 60,000,000, 3): buckets of 2,048 values, each twice as coarse as the one before. */
#define HISTOGRAM_LOWEST 1
#define HISTOGRAM_HIGHEST 60000000
#define HISTOGRAM_DIGITS 3
#define HISTOGRAM_HALF_BITS 10
#define HISTOGRAM_COUNTS 17408

typedef struct Histogram {
    uint64_t total, minimum, maximum;
    uint64_t used;                             /* counts from here on are zero */
    uint64_t counts[HISTOGRAM_COUNTS];
} Histogram;

static inline void store_word(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }
static inline uint64_t load_word(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }

static inline uint32_t load_version(const uint32_t *version) { return __atomic_load_n(version, __ATOMIC_ACQUIRE); }
static inline void store_version(uint32_t *version, uint32_t value) { __atomic_store_n(version, value, __ATOMIC_SEQ_CST); }

static inline uint32_t histogram_index(uint64_t value) {
    uint64_t mask = (2u << HISTOGRAM_HALF_BITS) - 1;
    int bucket = 64 - __builtin_clzll(value | mask) - (HISTOGRAM_HALF_BITS + 1);
    return ((uint32_t)(bucket + 1) << HISTOGRAM_HALF_BITS) + (uint32_t)(value >> bucket) - (1u << HISTOGRAM_HALF_BITS);
}

static inline void histogram_record(Histogram *h, uint64_t microseconds) {
    uint64_t value = microseconds < HISTOGRAM_HIGHEST ? microseconds : HISTOGRAM_HIGHEST;
    uint32_t index = histogram_index(value);
    store_word(&h->counts[index], h->counts[index] + 1);
    if (index >= h->used) store_word(&h->used, index + 1);
    if (!h->total || value < h->minimum) store_word(&h->minimum, value);
    if (value > h->maximum) store_word(&h->maximum, value);
    store_word(&h->total, h->total + 1);
}

/* xoshiro256** (Blackman and Vigna), seeded by splitmix64. */
typedef struct Random {
    uint64_t s[4];
} Random;

static inline void random_seed(Random *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15ULL;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
        r->s[i] = z ^ z >> 31;
    }
}

static inline uint64_t random_word(Random *r) {
    uint64_t *s = r->s, five = s[1] * 5, result = (five << 7 | five >> 57) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return result;
}

/* [0, 1) */
static inline double random_unit(Random *r) { return (double)(random_word(r) >> 11) * 0x1p-53; }
/* Exponential with mean 1. */
static inline double random_exponential(Random *r) { return -log1p(-random_unit(r)); }
static inline uint32_t random_below(Random *r, uint32_t limit) {
    return (uint32_t)((random_word(r) >> 32) * (uint64_t)limit >> 32);
}

static inline uint64_t load_clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void load_sleep_until(uint64_t ns) {
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

#endif
