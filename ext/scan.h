/* Finding line ends and separators, 64 or 16 bytes at a time: SSE2, NEON or plain C behind one interface.
 *
 * No function reads a byte outside [at, end): what is left over at the end goes through a local block. Define
 * FASTSIP_SCAN_PLAIN to have the plain form where a faster one exists; tests/c/scan.c holds them equal. */
#ifndef FASTSIP_SCAN_H
#define FASTSIP_SCAN_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(FASTSIP_SCAN_PLAIN)
#define SCAN_SSE2 1
#include <emmintrin.h>
#elif defined(__aarch64__) && !defined(FASTSIP_SCAN_PLAIN)
#define SCAN_NEON 1
#include <arm_neon.h>
#endif

#define SCAN_BLOCK 64

static inline uint32_t scan_first(uint64_t mask) { return (uint32_t)__builtin_ctzll(mask); }

#if defined(SCAN_SSE2)

#define SCAN_STEP 16      /* bytes looked at together */
#define SCAN_BIT_SHIFT 0  /* log2 of the mask's bits per byte */

static inline uint64_t scan_equal16(const uint8_t *at, uint8_t byte) {
    __m128i v = _mm_loadu_si128((const __m128i *)at);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8((char)byte)));
}

/* Bytes of 0x20 and below: no part of a URI, a Call-ID or a token. */
static inline uint64_t scan_blank16(const uint8_t *at) {
    __m128i v = _mm_loadu_si128((const __m128i *)at), edge = _mm_set1_epi8(0x20);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(v, edge), v));
}

/* One bit for each of 64 bytes: line feeds as the result, all control characters (below 0x20) in *controls. */
static inline uint64_t scan_block(const uint8_t *at, uint64_t *controls) {
    const __m128i lf = _mm_set1_epi8('\n'), edge = _mm_set1_epi8(0x1f);
    uint64_t lines = 0, below = 0;
    for (int i = 0; i < 4; i++) {
        __m128i v = _mm_loadu_si128((const __m128i *)(at + 16 * i));
        lines |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, lf)) << (16 * i);
        below |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(v, edge), v)) << (16 * i);
    }
    *controls = below;
    return lines;
}

static inline uint64_t scan_block_lines(const uint8_t *at) {
    const __m128i lf = _mm_set1_epi8('\n');
    uint64_t lines = 0;
    for (int i = 0; i < 4; i++) {
        __m128i v = _mm_loadu_si128((const __m128i *)(at + 16 * i));
        lines |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, lf)) << (16 * i);
    }
    return lines;
}

#elif defined(SCAN_NEON)

#define SCAN_STEP 16
#define SCAN_BIT_SHIFT 2

/* Four bits for each of 16 bytes: NEON has no movemask, a narrowing shift comes closest. */
static inline uint64_t scan_narrow(uint8x16_t v) {
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(v), 4)), 0);
}

static inline uint64_t scan_equal16(const uint8_t *at, uint8_t byte) {
    return scan_narrow(vceqq_u8(vld1q_u8(at), vdupq_n_u8(byte)));
}

static inline uint64_t scan_blank16(const uint8_t *at) {
    return scan_narrow(vcleq_u8(vld1q_u8(at), vdupq_n_u8(0x20)));
}

/* 64 comparison bytes to 64 bits: each byte keeps the bit of its place in eight, then neighbours are added up. */
static inline uint64_t scan_gather(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d) {
    const uint8x16_t place = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t ab = vpaddq_u8(vandq_u8(a, place), vandq_u8(b, place));
    uint8x16_t cd = vpaddq_u8(vandq_u8(c, place), vandq_u8(d, place));
    uint8x16_t all = vpaddq_u8(ab, cd);
    all = vpaddq_u8(all, all);
    return vgetq_lane_u64(vreinterpretq_u64_u8(all), 0);
}

static inline uint64_t scan_block_lines(const uint8_t *at) {
    const uint8x16_t lf = vdupq_n_u8('\n');
    return scan_gather(vceqq_u8(vld1q_u8(at), lf), vceqq_u8(vld1q_u8(at + 16), lf),
                       vceqq_u8(vld1q_u8(at + 32), lf), vceqq_u8(vld1q_u8(at + 48), lf));
}

static inline uint64_t scan_block(const uint8_t *at, uint64_t *controls) {
    const uint8x16_t edge = vdupq_n_u8(0x20);
    *controls = scan_gather(vcltq_u8(vld1q_u8(at), edge), vcltq_u8(vld1q_u8(at + 16), edge),
                            vcltq_u8(vld1q_u8(at + 32), edge), vcltq_u8(vld1q_u8(at + 48), edge));
    return scan_block_lines(at);
}

#else

#define SCAN_STEP 8
#define SCAN_BIT_SHIFT 3

#define SCAN_LOW 0x0101010101010101ULL
#define SCAN_HIGH 0x8080808080808080ULL

/* The high bit of each byte that is zero; exact, no borrow runs from one byte into the next. */
static inline uint64_t scan_zero8(uint64_t v) {
    return ~((((v & ~SCAN_HIGH) + ~SCAN_HIGH) | v) | ~SCAN_HIGH);
}

/* The high bit of each byte below `edge`, which is at most 0x80. */
static inline uint64_t scan_below8(uint64_t v, uint8_t edge) {
    return ~(((v & ~SCAN_HIGH) + SCAN_LOW * (0x80u - edge)) | v) & SCAN_HIGH;
}

static inline uint64_t scan_load8(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

static inline uint64_t scan_equal16(const uint8_t *at, uint8_t byte) {
    return scan_zero8(scan_load8(at) ^ (SCAN_LOW * byte));
}

static inline uint64_t scan_blank16(const uint8_t *at) { return scan_below8(scan_load8(at), 0x21); }

/* The high bits of eight bytes as eight bits. */
static inline uint64_t scan_pack(uint64_t high) { return ((high >> 7) * 0x0102040810204080ULL) >> 56; }

static inline uint64_t scan_block(const uint8_t *at, uint64_t *controls) {
    uint64_t lines = 0, below = 0;
    for (int i = 0; i < 8; i++) {
        uint64_t v = scan_load8(at + 8 * i);
        lines |= scan_pack(scan_zero8(v ^ (SCAN_LOW * '\n'))) << (8 * i);
        below |= scan_pack(scan_below8(v, 0x20)) << (8 * i);
    }
    *controls = below;
    return lines;
}

static inline uint64_t scan_block_lines(const uint8_t *at) {
    uint64_t controls;
    return scan_block(at, &controls);
}

#endif

/* The same for the `left` bytes (below 64) at the end of a message. */
static inline uint64_t scan_tail(const uint8_t *at, uint32_t left, uint64_t *controls) {
    uint8_t block[SCAN_BLOCK];
    memset(block, 0x20, sizeof block);
    memcpy(block, at, left);
    return scan_block(block, controls);
}

static inline uint64_t scan_tail_lines(const uint8_t *at, uint32_t left) {
    uint64_t controls;
    return scan_tail(at, left, &controls);
}

/* Offset of the first `byte` in [from, end), or end. */
static inline uint32_t scan_byte(const uint8_t *data, uint32_t from, uint32_t end, uint8_t byte) {
    while (end - from >= SCAN_STEP) {
        uint64_t mask = scan_equal16(data + from, byte);
        if (mask) return from + (scan_first(mask) >> SCAN_BIT_SHIFT);
        from += SCAN_STEP;
    }
    while (from < end && data[from] != byte) from++;
    return from;
}

/* Offset of the first byte of 0x20 or below in [from, end), or end. */
static inline uint32_t scan_blank(const uint8_t *data, uint32_t from, uint32_t end) {
    while (end - from >= SCAN_STEP) {
        uint64_t mask = scan_blank16(data + from);
        if (mask) return from + (scan_first(mask) >> SCAN_BIT_SHIFT);
        from += SCAN_STEP;
    }
    while (from < end && data[from] > 0x20) from++;
    return from;
}

#endif
