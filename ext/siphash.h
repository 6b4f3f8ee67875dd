/* SipHash (Aumasson and Bernstein, 2012): the keyed hash behind owners, branches, tables and tokens. */
#ifndef FASTSIP_SIPHASH_H
#define FASTSIP_SIPHASH_H

#include <stdint.h>
#include <string.h>

typedef struct HashKey {
    uint64_t k0, k1;
} HashKey;

#define SIP_ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND(a, b, c, d)                                                                                          \
    do {                                                                                                               \
        a += b; b = SIP_ROTATE(b, 13); b ^= a; a = SIP_ROTATE(a, 32);                                                  \
        c += d; d = SIP_ROTATE(d, 16); d ^= c;                                                                         \
        a += d; d = SIP_ROTATE(d, 21); d ^= a;                                                                         \
        c += b; b = SIP_ROTATE(b, 17); b ^= c; c = SIP_ROTATE(c, 32);                                                  \
    } while (0)

/* Several pieces hashed as one: state between siphash_start and siphash_finish. Each piece's length is mixed in, so
 * that ("ab","c") and ("a","bc") differ. */
typedef struct HashState {
    uint64_t v0, v1, v2, v3;
} HashState;

static inline void siphash_start(HashState *s, const HashKey *key) {
    s->v0 = key->k0 ^ 0x736f6d6570736575ULL;
    s->v1 = key->k1 ^ 0x646f72616e646f6dULL;
    s->v2 = key->k0 ^ 0x6c7967656e657261ULL;
    s->v3 = key->k1 ^ 0x7465646279746573ULL;
}

/* The last word: the bytes that fill no word, below the low byte of the length. */
static inline uint64_t siphash_tail(const uint8_t *data, size_t length) {
    const uint8_t *at = data + (length & ~(size_t)7);
    size_t left = length & 7;
    uint64_t word = 0;
    if (length >= 8 && left) {
        memcpy(&word, at + left - 8, 8);
        word >>= 64 - 8 * left;
    } else {
        for (size_t i = 0; i < left; i++) word |= (uint64_t)at[i] << (8 * i);
    }
    return word | (uint64_t)length << 56;
}

#define SIP_WORD(s, rounds, word)                                                                                      \
    do {                                                                                                               \
        (s)->v3 ^= (word);                                                                                             \
        for (int i = 0; i < (rounds); i++) SIP_ROUND((s)->v0, (s)->v1, (s)->v2, (s)->v3);                              \
        (s)->v0 ^= (word);                                                                                             \
    } while (0)

#define SIP_PIECE(s, rounds, set, data, length)                                                                        \
    do {                                                                                                               \
        HashState here = *(s); /* in registers */                                                                      \
        const uint8_t *at = (const uint8_t *)(data);                                                                   \
        uint64_t word;                                                                                                 \
        for (size_t left = (length); left >= 8; left -= 8, at += 8) {                                                  \
            memcpy(&word, at, 8);                                                                                      \
            word |= (set);                                                                                             \
            SIP_WORD(&here, rounds, word);                                                                             \
        }                                                                                                              \
        word = siphash_tail((const uint8_t *)(data), (length)) | ((set) >> 8);                                         \
        SIP_WORD(&here, rounds, word);                                                                                 \
        *(s) = here;                                                                                                   \
    } while (0)

static inline void siphash_add(HashState *s, const void *data, size_t length) { SIP_PIECE(s, 2, 0, data, length); }

/* A number: no length is mixed in, so it stands where there is always one. */
static inline void siphash_word(HashState *s, uint64_t word) { SIP_WORD(s, 2, word); }

static inline uint64_t siphash_finish(HashState *s) {
    s->v2 ^= 0xff;
    for (int i = 0; i < 4; i++) SIP_ROUND(s->v0, s->v1, s->v2, s->v3);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* SipHash-2-4 of one string: the published function, checked against its test vectors. */
static inline uint64_t siphash(const HashKey *key, const void *data, size_t length) {
    HashState s;
    siphash_start(&s, key);
    siphash_add(&s, data, length);
    return siphash_finish(&s);
}

/* SipHash-1-3, what Python and Rust put into their tables: half the work, for what only has to be hard to make collide.
 * What grants something is SipHash-2-4. */
static inline void tablehash_add(HashState *s, const void *data, size_t length) { SIP_PIECE(s, 1, 0, data, length); }

/* The same for letters of either case. All characters of a host differ in more than the bit that is set here. */
static inline void tablehash_add_folded(HashState *s, const void *data, size_t length) {
    SIP_PIECE(s, 1, 0x2020202020202020ULL, data, length);
}

static inline void tablehash_word(HashState *s, uint64_t word) { SIP_WORD(s, 1, word); }

static inline uint64_t tablehash_finish(HashState *s) {
    s->v2 ^= 0xff;
    for (int i = 0; i < 3; i++) SIP_ROUND(s->v0, s->v1, s->v2, s->v3);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

static inline uint64_t tablehash(const HashKey *key, const void *data, size_t length) {
    HashState s;
    siphash_start(&s, key);
    tablehash_add(&s, data, length);
    return tablehash_finish(&s);
}

#endif
