/* SipHash-2-4 (Aumasson and Bernstein, 2012): the keyed hash behind owners, branches, tables and tokens. */
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

static inline void siphash_add(HashState *s, const void *data, size_t length) {
    uint64_t v0 = s->v0, v1 = s->v1, v2 = s->v2, v3 = s->v3, word;
    const uint8_t *at = (const uint8_t *)data;
    size_t left = length;
    for (; left >= 8; left -= 8, at += 8) {
        memcpy(&word, at, 8);
        v3 ^= word;
        SIP_ROUND(v0, v1, v2, v3);
        SIP_ROUND(v0, v1, v2, v3);
        v0 ^= word;
    }
    word = (uint64_t)length << 56;
    for (size_t i = 0; i < left; i++) word |= (uint64_t)at[i] << (8 * i);
    v3 ^= word;
    SIP_ROUND(v0, v1, v2, v3);
    SIP_ROUND(v0, v1, v2, v3);
    v0 ^= word;
    s->v0 = v0; s->v1 = v1; s->v2 = v2; s->v3 = v3;
}

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

#endif
