/* Eight hex digits at a time, in both directions. */
#ifndef FASTSIP_HEX_H
#define FASTSIP_HEX_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define HEX_BYTES 0x0101010101010101ULL

/* The digits of `number`, the first one in the lowest byte; lower case. */
static inline uint64_t hex_digits(uint32_t number) {
    uint64_t v = __builtin_bswap32(number);
    v = (v | v << 16) & 0x0000ffff0000ffffULL;
    v = (v | v << 8) & 0x00ff00ff00ff00ffULL;
    v = (v >> 4 & 0x000f000f000f000fULL) | (v & 0x000f000f000f000fULL) << 8;
    uint64_t letters = (v + HEX_BYTES * 6) >> 4 & HEX_BYTES;
    return v + HEX_BYTES * '0' + letters * ('a' - '0' - 10);
}

static inline void hex_write(uint8_t *out, uint32_t number) {
    uint64_t digits = htole64(hex_digits(number));
    memcpy(out, &digits, 8);
}

/* Eight digits of either case; 0 if one of them is none. */
static inline int hex_read(const uint8_t *text, uint32_t *number) {
    uint64_t digits;
    memcpy(&digits, text, 8);
    digits = le64toh(digits);
    uint64_t printable = (digits | digits >> 1) & HEX_BYTES * 0x20;    /* setting this bit makes digits of control bytes */
    digits |= HEX_BYTES * 0x20;
    uint64_t v = (digits & HEX_BYTES * 15) + (digits >> 6 & HEX_BYTES) * 9;
    v = (v & 0x000f000f000f000fULL) << 4 | (v >> 8 & 0x000f000f000f000fULL);
    v = (v | v >> 8) & 0x0000ffff0000ffffULL;
    v |= v >> 16;
    *number = __builtin_bswap32((uint32_t)v);
    return printable == HEX_BYTES * 0x20 && hex_digits(*number) == digits;
}

#endif
