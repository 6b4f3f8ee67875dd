/* Finding line ends and separators 64 or 16 bytes at a time: SSE2, NEON or plain C behind one interface.
 *
 * Each form gives a vector type and five operations on it; what is searched for is written once, below. No function
 * reads a byte outside [data, data + readable). Define FASTSIP_SCAN_PLAIN to have the plain form where a faster one
 * exists: tests/c/scan.c holds them equal. */
#ifndef FASTSIP_SCAN_H
#define FASTSIP_SCAN_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(FASTSIP_SCAN_PLAIN)
#include <emmintrin.h>

#define SCAN_STEP 16       /* bytes in a vector */
#define SCAN_BIT_SHIFT 0   /* log2 of the mask's bits for one byte */

typedef __m128i ScanVector;

static inline ScanVector scan_load(const uint8_t *at) { return _mm_loadu_si128((const __m128i *)at); }
static inline ScanVector scan_is(ScanVector v, uint8_t byte) { return _mm_cmpeq_epi8(v, _mm_set1_epi8((char)byte)); }
static inline ScanVector scan_set(ScanVector v, uint8_t bits) { return _mm_or_si128(v, _mm_set1_epi8((char)bits)); }
static inline ScanVector scan_or(ScanVector a, ScanVector b) { return _mm_or_si128(a, b); }
static inline ScanVector scan_at_most(ScanVector v, uint8_t edge) {
    return _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8((char)edge)), v);
}
static inline ScanVector scan_at_least(ScanVector v, uint8_t edge) {
    return _mm_cmpeq_epi8(_mm_max_epu8(v, _mm_set1_epi8((char)edge)), v);
}
static inline uint64_t scan_mask(ScanVector v) { return (uint32_t)_mm_movemask_epi8(v); }

/* One bit for each of 64 bytes. */
static inline uint64_t scan_bits(ScanVector a, ScanVector b, ScanVector c, ScanVector d) {
    return (scan_mask(a) | scan_mask(b) << 16) | (scan_mask(c) | scan_mask(d) << 16) << 32;
}

#elif defined(__aarch64__) && !defined(FASTSIP_SCAN_PLAIN)
#include <arm_neon.h>

#define SCAN_STEP 16
#define SCAN_BIT_SHIFT 2

typedef uint8x16_t ScanVector;

static inline ScanVector scan_load(const uint8_t *at) { return vld1q_u8(at); }
static inline ScanVector scan_is(ScanVector v, uint8_t byte) { return vceqq_u8(v, vdupq_n_u8(byte)); }
static inline ScanVector scan_set(ScanVector v, uint8_t bits) { return vorrq_u8(v, vdupq_n_u8(bits)); }
static inline ScanVector scan_or(ScanVector a, ScanVector b) { return vorrq_u8(a, b); }
static inline ScanVector scan_at_most(ScanVector v, uint8_t edge) { return vcleq_u8(v, vdupq_n_u8(edge)); }
static inline ScanVector scan_at_least(ScanVector v, uint8_t edge) { return vcgeq_u8(v, vdupq_n_u8(edge)); }
/* NEON has no movemask; a narrowing shift comes closest, with four bits for each byte. */
static inline uint64_t scan_mask(ScanVector v) {
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(v), 4)), 0);
}

/* Each byte keeps the bit of its place in eight, then neighbours are added up. */
static inline uint64_t scan_bits(ScanVector a, ScanVector b, ScanVector c, ScanVector d) {
    const uint8x16_t place = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t ab = vpaddq_u8(vandq_u8(a, place), vandq_u8(b, place));
    uint8x16_t cd = vpaddq_u8(vandq_u8(c, place), vandq_u8(d, place));
    uint8x16_t all = vpaddq_u8(ab, cd);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

#else

#define SCAN_STEP 16
#define SCAN_BIT_SHIFT 2
#define SCAN_LOW 0x0101010101010101ULL
#define SCAN_SEVEN 0x7f7f7f7f7f7f7f7fULL

/* Two words; what holds for a byte is said by its high bit. All sums stay inside their byte, so each is exact. */
typedef struct ScanVector {
    uint64_t low, high;
} ScanVector;

static inline uint64_t scan_word_is(uint64_t v, uint8_t byte) {
    v ^= SCAN_LOW * byte;
    return ~(((v & SCAN_SEVEN) + SCAN_SEVEN) | v | SCAN_SEVEN);
}
static inline uint64_t scan_word_at_least(uint64_t v, uint8_t edge) {
    return (((v & SCAN_SEVEN) + SCAN_LOW * (0x80u - edge)) | v) & ~SCAN_SEVEN;
}
static inline ScanVector scan_load(const uint8_t *at) {
    ScanVector v;
    memcpy(&v, at, sizeof v);
    return v;
}
static inline ScanVector scan_is(ScanVector v, uint8_t byte) {
    return (ScanVector){scan_word_is(v.low, byte), scan_word_is(v.high, byte)};
}
static inline ScanVector scan_set(ScanVector v, uint8_t bits) {
    return (ScanVector){v.low | SCAN_LOW * bits, v.high | SCAN_LOW * bits};
}
static inline ScanVector scan_or(ScanVector a, ScanVector b) { return (ScanVector){a.low | b.low, a.high | b.high}; }
static inline ScanVector scan_at_least(ScanVector v, uint8_t edge) {
    return (ScanVector){scan_word_at_least(v.low, edge), scan_word_at_least(v.high, edge)};
}
static inline ScanVector scan_at_most(ScanVector v, uint8_t edge) {
    return (ScanVector){~scan_word_at_least(v.low, edge + 1) & ~SCAN_SEVEN,
                        ~scan_word_at_least(v.high, edge + 1) & ~SCAN_SEVEN};
}
/* The high bits of eight bytes as eight bits; and those as four bits each would be, so that both forms index alike. */
static inline uint64_t scan_pack(uint64_t high) { return ((high >> 7) * 0x0102040810204080ULL) >> 56; }
static inline uint64_t scan_mask(ScanVector v) {
    if (v.low) return 1ULL << (__builtin_ctzll(v.low) >> 3 << 2);
    return v.high ? 1ULL << (32 + (__builtin_ctzll(v.high) >> 3 << 2)) : 0;
}
static inline uint64_t scan_pair(ScanVector v) { return scan_pack(v.low) | scan_pack(v.high) << 8; }
static inline uint64_t scan_bits(ScanVector a, ScanVector b, ScanVector c, ScanVector d) {
    return scan_pair(a) | scan_pair(b) << 16 | scan_pair(c) << 32 | scan_pair(d) << 48;
}

#endif

#define SCAN_BLOCK 64

static inline uint32_t scan_first(uint64_t mask) { return (uint32_t)__builtin_ctzll(mask); }

/* One bit for each of 64 bytes: control characters (below 0x20). Line ends are among them, and little else. */
static inline uint64_t scan_controls(const uint8_t *at) {
    return scan_bits(scan_at_most(scan_load(at), 0x1f), scan_at_most(scan_load(at + 16), 0x1f),
                     scan_at_most(scan_load(at + 32), 0x1f), scan_at_most(scan_load(at + 48), 0x1f));
}

static inline uint64_t scan_lines(const uint8_t *at) {
    return scan_bits(scan_is(scan_load(at), '\n'), scan_is(scan_load(at + 16), '\n'),
                     scan_is(scan_load(at + 32), '\n'), scan_is(scan_load(at + 48), '\n'));
}

/* The same for the `left` bytes (below 64) at the end of a message, through a block of our own. */
static inline const uint8_t *scan_tail(const uint8_t *at, uint32_t left, uint8_t block[SCAN_BLOCK]) {
    memset(block, 0x20, SCAN_BLOCK);
    memcpy(block, at, left);
    return block;
}

static inline uint64_t scan_controls_tail(const uint8_t *at, uint32_t left) {
    uint8_t block[SCAN_BLOCK];
    return scan_controls(scan_tail(at, left, block));
}

static inline uint64_t scan_lines_tail(const uint8_t *at, uint32_t left) {
    uint8_t block[SCAN_BLOCK];
    return scan_lines(scan_tail(at, left, block));
}

/* Where the byte first stands in the 16 bytes from `at` on, SCAN_STEP if it does not. */
static inline uint32_t scan_near(const uint8_t *at, uint8_t byte) {
    uint64_t mask = scan_mask(scan_is(scan_load(at), byte));
    return mask ? scan_first(mask) >> SCAN_BIT_SHIFT : SCAN_STEP;
}

/* uint32_t NAME(data, from, end, readable, byte): offset of the first byte of [from, end) that is searched for, or end.
 * `readable` (>= end) is how far vectors may be loaded. */
#define SCAN_FUNCTION(NAME, VECTOR, SCALAR)                                                                            \
    static inline uint32_t NAME(const uint8_t *data, uint32_t from, uint32_t end, uint32_t readable, uint8_t byte) {   \
        (void)byte;                                                                                                    \
        while (from < end && readable - from >= SCAN_STEP) {                                                           \
            ScanVector v = scan_load(data + from);                                                                     \
            uint64_t mask = scan_mask(VECTOR);                                                                         \
            if (mask) {                                                                                                \
                from += scan_first(mask) >> SCAN_BIT_SHIFT;                                                            \
                return from < end ? from : end;                                                                        \
            }                                                                                                          \
            from += SCAN_STEP;                                                                                         \
        }                                                                                                              \
        for (; from < end; from++) {                                                                                   \
            uint8_t c = data[from];                                                                                    \
            if (SCALAR) return from;                                                                                   \
        }                                                                                                              \
        return end;                                                                                                    \
    }

SCAN_FUNCTION(scan_byte_within, scan_is(v, byte), c == byte)

/* 0x20 and below: no part of a URI, a Call-ID or a token. */
SCAN_FUNCTION(scan_blank_within, scan_at_most(v, 0x20), c <= 0x20)

/* What cannot stand between "<" and ">": blanks, double quote, "<" and ">" itself. */
SCAN_FUNCTION(scan_bracket_within,
              scan_or(scan_at_most(v, 0x20), scan_or(scan_is(v, '"'), scan_is(scan_set(v, 2), '>'))),
              c <= 0x20 || c == '"' || c == '<' || c == '>')

/* What cannot stand in an unquoted parameter value: all but CHAR_VALUE of chars.h. */
SCAN_FUNCTION(scan_value_within,
              scan_or(scan_or(scan_or(scan_at_most(v, 0x20), scan_at_least(v, 0x7f)),
                              scan_or(scan_is(v, '"'), scan_is(scan_set(v, 1), ')'))),
                      scan_or(scan_or(scan_is(scan_set(v, 0x10), '<'), scan_is(v, '>')),
                              scan_or(scan_is(v, ';'), scan_is(v, '\\')))),
              c <= 0x20 || c >= 0x7f || c == '"' || c == '(' || c == ')' || c == ',' || c == '<' || c == '>' ||
                  c == ';' || c == '\\')

static inline uint32_t scan_byte(const uint8_t *data, uint32_t from, uint32_t end, uint8_t byte) {
    return scan_byte_within(data, from, end, end, byte);
}

static inline uint32_t scan_blank(const uint8_t *data, uint32_t from, uint32_t end) {
    return scan_blank_within(data, from, end, end, 0);
}

#endif
