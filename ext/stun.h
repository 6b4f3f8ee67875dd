/* STUN on the ports of SIP (RFC 5389, RFC 5626 8): a Binding request gets its success response, which tells a client
 * behind a NAT what address it has outside, and keeps the NAT's mapping open. Nobody is authenticated; attributes that
 * must be understood and are not get error 420. */
#ifndef FASTSIP_STUN_H
#define FASTSIP_STUN_H

#include <stdint.h>
#include <string.h>

#define STUN_HEAD 20
#define STUN_ANSWER 96 /* bytes an answer has at most */

enum { STUN_UNKNOWN_MOST = 8 };

static inline uint32_t stun_get16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }

static inline uint8_t *stun_put16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static const uint8_t stun_cookie[4] = {0x21, 0x12, 0xA4, 0x42};

/* The first byte of SIP is no control character. */
static inline int stun_is_one(const uint8_t *data, uint32_t length) {
    return length >= STUN_HEAD && data[0] < 4 && !memcmp(data + 4, stun_cookie, 4);
}

static uint32_t stun_fingerprint(const uint8_t *data, uint32_t length) {
    uint32_t crc = 0xFFFFFFFF;
    for (uint32_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xEDB88320 & -(crc & 1));
    }
    return crc ^ 0xFFFFFFFF ^ 0x5354554E;
}

/* The answer to a Binding request that came from `ip` (4 or 16 bytes by `family`) and `port`; its length, or 0 if there is
 * nothing to answer: anything else, or malformed. */
static uint32_t stun_answer(const uint8_t *data, uint32_t length, const uint8_t *ip, int family, uint16_t port,
                            uint8_t *out) {
    uint32_t unknown[STUN_UNKNOWN_MOST], unknowns = 0, at = STUN_HEAD, bytes = family == 4 ? 4 : 16;
    int fingerprint = 0;
    uint8_t *end = out + STUN_HEAD;
    if (stun_get16(data) != 0x0001 || stun_get16(data + 2) + STUN_HEAD != length || length % 4) return 0;
    while (at < length) {
        uint32_t type, size;
        if (length - at < 4) return 0;
        type = stun_get16(data + at);
        size = stun_get16(data + at + 2);
        if (size > length - at - 4) return 0;
        if (type == 0x8028) {
            uint32_t crc;
            if (size != 4 || at + 8 != length) return 0;
            crc = stun_fingerprint(data, at);
            if (stun_get16(data + at + 4) != crc >> 16 || stun_get16(data + at + 6) != (crc & 0xFFFF)) return 0;
            fingerprint = 1;
        } else if (type < 0x8000 && type != 0x0006 && type != 0x0008 && unknowns < STUN_UNKNOWN_MOST) {
            unknown[unknowns++] = type; /* but USERNAME and MESSAGE-INTEGRITY, which nobody checks here */
        }
        at += 4 + ((size + 3) & ~3u);
    }
    memcpy(out + 4, data + 4, 16);
    if (unknowns) {
        stun_put16(out, 0x0111);
        end = stun_put16(stun_put16(end, 0x0009), 4); /* ERROR-CODE */
        memcpy(end, "\0\0\4\24", 4);
        end = stun_put16(stun_put16(end + 4, 0x000A), 2 * unknowns); /* UNKNOWN-ATTRIBUTES */
        for (uint32_t i = 0; i < unknowns; i++) end = stun_put16(end, unknown[i]);
        if (unknowns & 1) end = stun_put16(end, 0);
    } else {
        stun_put16(out, 0x0101);
        end = stun_put16(stun_put16(end, 0x0020), 4 + bytes); /* XOR-MAPPED-ADDRESS */
        end = stun_put16(stun_put16(end, family == 4 ? 1 : 2), port ^ 0x2112u);
        for (uint32_t i = 0; i < bytes; i++) *end++ = ip[i] ^ data[4 + i];
    }
    stun_put16(out + 2, (uint32_t)(end - out) - STUN_HEAD + (fingerprint ? 8 : 0));
    if (fingerprint) {
        uint32_t crc = stun_fingerprint(out, (uint32_t)(end - out));
        end = stun_put16(stun_put16(end, 0x8028), 4);
        end = stun_put16(stun_put16(end, crc >> 16), crc & 0xFFFF);
    }
    return (uint32_t)(end - out);
}

#endif
