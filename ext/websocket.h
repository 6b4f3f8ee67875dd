/* WebSocket frames (RFC 6455 5) as SIP uses them (RFC 7118): bytes of a stream in, whole messages out.
 *
 *     frame_parse    one frame's head: where its payload lies, or that more is needed, or the code to close with
 *     frame_next     the next thing that concerns the reader's owner: a message, a ping, a pong, a close, a failure
 *     frame_head     what is written in front of a payload; frame_close a whole Close frame
 *
 * A frame is looked at again until all of it is there, and unmasked in place only then: what frame_next did not use is
 * as it was received. A message of one frame is a span of these bytes; one of several is put together in memory of the
 * reader's own, bounded by FRAME_MESSAGE_MAX, and a control frame in between comes out when it is met. Text is checked
 * to be UTF-8 as a whole (8.1); SIP takes text and binary alike (RFC 7118 4.2). No extensions: reserved bits are errors.
 */
#ifndef FASTSIP_WEBSOCKET_H
#define FASTSIP_WEBSOCKET_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_MESSAGE_MAX 65507u                   /* as much as a datagram carries: what a Message can be */
#define FRAME_CONTROL_MAX 125u
#define FRAME_HEAD_MAX 14u
#define FRAME_MOST (FRAME_HEAD_MAX + FRAME_MESSAGE_MAX)  /* a stream's buffer that holds this never stands still */

enum { FRAME_CONTINUATION = 0, FRAME_TEXT = 1, FRAME_BINARY = 2, FRAME_CLOSE = 8, FRAME_PING = 9, FRAME_PONG = 10 };

/* Results of frame_parse; what is over FRAME_OK is the code to close with. */
enum { FRAME_MORE = 0, FRAME_OK = 1, FRAME_PROTOCOL_ERROR = 1002, FRAME_TOO_BIG = 1009 };

typedef struct Frame {
    uint32_t head;                                 /* bytes before the payload; with FRAME_MORE, see `length` */
    uint32_t length;                               /* of the payload; with FRAME_MORE, at least head + length are needed */
    uint32_t mask;                                 /* as it lies in memory, 0 if there is none */
    uint8_t opcode;
    uint8_t final;
} Frame;

/* What frame_next found. */
enum {
    FRAME_WAIT = 0,                                /* nothing whole: `length` bytes from here on are needed at least */
    FRAME_MESSAGE = 1,                             /* `data` is one */
    FRAME_PINGED = 2,                              /* write a Pong with `data` */
    FRAME_PONGED = 3,
    FRAME_CLOSED = 4,                              /* the other side closes: write Close with `code`, unless we did */
    FRAME_FAILED = 5,                              /* write Close with `code`, and end the connection (7.1.7) */
};

typedef struct FrameSpan {
    const uint8_t *data;                           /* in the bytes given, or in the reader until its next frame_next */
    uint32_t length;
    uint16_t code;                                 /* 0: a Close without one */
    uint8_t opcode;                                /* of a message: FRAME_TEXT or FRAME_BINARY */
} FrameSpan;

typedef struct FrameReader {                       /* of one connection; zeroed but for `masked` to begin */
    uint8_t *parts;                                /* what came of a message in several frames, NULL if there is none */
    uint32_t length;
    uint32_t capacity;
    uint8_t masked;                                /* 1 at the server: frames must be masked; 0 at the client: must not */
    uint8_t opcode;                                /* of the message that is not complete, 0 if there is none */
    uint8_t wide;                                  /* there is a byte that is not ASCII in it */
    uint8_t ended;                                 /* FRAME_CLOSED or FRAME_FAILED was said: all that follows is ignored */
} FrameReader;

_Static_assert(sizeof(FrameReader) == 24, "there is one for every connection");

/* --- payloads ---------------------------------------------------------------------------------------------------- */

typedef uint64_t FrameWords __attribute__((vector_size(16)));

/* Unmask (or mask) in place; whether some byte of the result is not ASCII. */
static inline int frame_mask(uint8_t *data, uint32_t length, uint32_t mask) {
    uint64_t wide = (uint64_t)mask << 32 | mask, word, seen = 0;
    const FrameWords masks = {wide, wide};
    FrameWords a, b, all = {0, 0};
    for (; length >= 32; data += 32, length -= 32) {
        memcpy(&a, data, 16);
        memcpy(&b, data + 16, 16);
        a ^= masks;
        b ^= masks;
        all |= a | b;
        memcpy(data, &a, 16);
        memcpy(data + 16, &b, 16);
    }
    for (; length >= 8; data += 8, length -= 8) {
        memcpy(&word, data, 8);
        word ^= wide;
        seen |= word;
        memcpy(data, &word, 8);
    }
    for (uint32_t i = 0; i < length; i++) {
        data[i] ^= ((const uint8_t *)&wide)[i];
        seen |= data[i];
    }
    return ((seen | all[0] | all[1]) & 0x8080808080808080u) != 0;
}

/* Whether bytes are UTF-8 (RFC 3629): no longer forms, no surrogates, nothing over U+10FFFF. */
static inline int utf8_valid(const uint8_t *at, uint32_t length) {
    const uint8_t *end = at + length;
    uint64_t a, b;
    while (at < end) {
        uint8_t c = *at;
        if (c < 0x80) {
            for (at++; end - at >= 16; at += 16) {
                memcpy(&a, at, 8);
                memcpy(&b, at + 8, 8);
                if ((a | b) & 0x8080808080808080u) break;
            }
            continue;
        }
        uint32_t more = c >= 0xC2 && c <= 0xDF ? 1 : c >= 0xE0 && c <= 0xEF ? 2 : c >= 0xF0 && c <= 0xF4 ? 3 : 0;
        if (!more || (uint32_t)(end - at) <= more) return 0;
        uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        if (at[1] < low || at[1] > high) return 0;
        for (uint32_t i = 2; i <= more; i++)
            if ((at[i] & 0xC0) != 0x80) return 0;
        at += more + 1;
    }
    return 1;
}

/* --- heads ------------------------------------------------------------------------------------------------------- */

/* Read the frame that begins at `data`. FRAME_OK if all of it is there, FRAME_MORE if it is not, else the code to close
 * with, which is known as soon as the bytes that are wrong are there. `masked`: 1 at the server, 0 at the client. */
static inline int frame_parse(const uint8_t *data, uint32_t length, int masked, Frame *out) {
    uint64_t size;
    uint32_t head = masked ? 6 : 2;
    out->head = head;
    out->length = 0;
    out->mask = 0;
    if (length < 2) return FRAME_MORE;
    uint8_t opcode = data[0] & 0x0F, first = data[1] & 0x7F;
    out->opcode = opcode;
    out->final = data[0] >> 7;
    if (data[0] & 0x70 || data[1] >> 7 != masked) return FRAME_PROTOCOL_ERROR;
    if (opcode >= FRAME_CLOSE ? opcode > FRAME_PONG || !out->final || first > FRAME_CONTROL_MAX : opcode > FRAME_BINARY)
        return FRAME_PROTOCOL_ERROR;
    if (first < 126) {
        size = first;
    } else if (first == 126) {
        out->head = head += 2;
        if (length < 4) return FRAME_MORE;
        size = (uint32_t)data[2] << 8 | data[3];
        if (size < 126) return FRAME_PROTOCOL_ERROR;
    } else {
        out->head = head += 8;
        if (length < 10) return FRAME_MORE;
        memcpy(&size, data + 2, 8);
        size = __builtin_bswap64(size);
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
        size = __builtin_bswap64(size);
#endif
        if (size >> 63 || size < 65536) return FRAME_PROTOCOL_ERROR;
    }
    if (size > FRAME_MESSAGE_MAX) return FRAME_TOO_BIG;
    out->length = (uint32_t)size;
    if (length < head + out->length) return FRAME_MORE;
    if (masked) memcpy(&out->mask, data + head - 4, 4);
    return FRAME_OK;
}

/* Write the head of a whole message or control frame; `mask` is four bytes, NULL at the server. How long it is. */
static inline uint32_t frame_head(uint8_t *out, int opcode, uint32_t length, const uint8_t *mask) {
    uint32_t size = 2;
    uint8_t flag = mask ? 0x80 : 0;
    out[0] = (uint8_t)(0x80 | opcode);
    if (length < 126) {
        out[1] = (uint8_t)(flag | length);
    } else if (length < 65536) {
        out[1] = flag | 126;
        out[2] = (uint8_t)(length >> 8);
        out[3] = (uint8_t)length;
        size = 4;
    } else {
        out[1] = flag | 127;
        memset(out + 2, 0, 4);
        for (int i = 0; i < 4; i++) out[6 + i] = (uint8_t)(length >> (24 - 8 * i));
        size = 10;
    }
    if (!mask) return size;
    memcpy(out + size, mask, 4);
    return size + 4;
}

/* Write a Close frame, without a code if that is 0; `out` holds 8 bytes. How long it is. */
static inline uint32_t frame_close(uint8_t *out, uint16_t code, const uint8_t *mask) {
    uint32_t size = frame_head(out, FRAME_CLOSE, code ? 2 : 0, mask);
    if (!code) return size;
    out[size] = (uint8_t)(code >> 8);
    out[size + 1] = (uint8_t)code;
    if (mask) {
        out[size] ^= mask[0];
        out[size + 1] ^= mask[1];
    }
    return size + 2;
}

/* Whether the other side may send this code (7.4, and those registered since). */
static inline int frame_close_code(uint32_t code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/* --- messages ---------------------------------------------------------------------------------------------------- */

static inline void frame_reader_free(FrameReader *r) {
    free(r->parts);
    r->parts = NULL;
    r->length = r->capacity = 0;
    r->opcode = 0;
}

static inline int frame_fail(FrameReader *r, FrameSpan *out, int code) {
    frame_reader_free(r);
    r->ended = 1;
    out->data = NULL;
    out->length = 0;
    out->code = (uint16_t)code;
    return FRAME_FAILED;
}

/* Keep a part of a message. 0, or the code to close with. */
static inline int frame_keep(FrameReader *r, const uint8_t *data, uint32_t length) {
    if (length > FRAME_MESSAGE_MAX - r->length) return FRAME_TOO_BIG;
    if (r->length + length > r->capacity) {
        uint32_t capacity = r->capacity ? r->capacity : 2048;
        while (capacity < r->length + length) capacity *= 2;
        if (capacity > FRAME_MESSAGE_MAX) capacity = FRAME_MESSAGE_MAX;
        uint8_t *parts = (uint8_t *)realloc(r->parts, capacity);
        if (!parts) return 1011;
        r->parts = parts;
        r->capacity = capacity;
    }
    if (length) memcpy(r->parts + r->length, data, length);
    r->length += length;
    return 0;
}

/* A Close frame (5.5.1): its code, after it was found in order. */
static inline int frame_closed(FrameReader *r, const uint8_t *payload, uint32_t length, FrameSpan *out) {
    uint32_t code = length > 1 ? (uint32_t)payload[0] << 8 | payload[1] : 0;
    if (length == 1 || (length && !frame_close_code(code))) return frame_fail(r, out, FRAME_PROTOCOL_ERROR);
    if (length > 2 && !utf8_valid(payload + 2, length - 2)) return frame_fail(r, out, 1007);
    frame_reader_free(r);
    r->ended = 1;
    out->data = length ? payload + 2 : payload;    /* its reason */
    out->length = length ? length - 2 : 0;
    out->code = (uint16_t)code;
    return FRAME_CLOSED;
}

/* What comes next in `length` bytes of the stream. `used` of them are done with, whatever the result: call again with
 * the rest until FRAME_WAIT, and then when more has come. */
static inline int frame_next(FrameReader *r, uint8_t *data, uint32_t length, uint32_t *used, FrameSpan *out) {
    uint8_t *at = data, *end = data + length;
    Frame frame;
    int result;
    out->data = NULL;
    out->length = 2;
    out->code = 0;
    out->opcode = 0;
    *used = length;
    if (r->ended) return FRAME_WAIT;
    if (!r->opcode && r->parts) frame_reader_free(r);  /* it was handed out */
    while ((result = frame_parse(at, (uint32_t)(end - at), r->masked, &frame)) == FRAME_OK) {
        uint8_t *payload = at + frame.head;
        int wide = r->masked ? frame_mask(payload, frame.length, frame.mask) : 1;
        at = payload + frame.length;
        *used = (uint32_t)(at - data);
        if (frame.opcode == FRAME_CLOSE) return frame_closed(r, payload, frame.length, out);
        if (frame.opcode > FRAME_CLOSE) {
            out->data = payload;
            out->length = frame.length;
            return frame.opcode == FRAME_PING ? FRAME_PINGED : FRAME_PONGED;
        }
        if (!frame.opcode != !!r->opcode) return frame_fail(r, out, FRAME_PROTOCOL_ERROR);
        if (frame.opcode && frame.final) {             /* nearly all there are */
            if (frame.opcode == FRAME_TEXT && wide && !utf8_valid(payload, frame.length)) return frame_fail(r, out, 1007);
            out->data = payload;
            out->length = frame.length;
            out->opcode = frame.opcode;
            return FRAME_MESSAGE;
        }
        if (frame.opcode) {
            r->opcode = frame.opcode;
            r->wide = 0;
        }
        if ((result = frame_keep(r, payload, frame.length))) return frame_fail(r, out, result);
        r->wide |= (uint8_t)wide;
        if (!frame.final) continue;
        out->data = r->parts ? r->parts : payload;
        out->length = r->length;
        out->opcode = r->opcode;
        r->opcode = 0;
        if (out->opcode == FRAME_TEXT && r->wide && !utf8_valid(out->data, out->length)) return frame_fail(r, out, 1007);
        return FRAME_MESSAGE;
    }
    if (result != FRAME_MORE) return frame_fail(r, out, result);
    *used = (uint32_t)(at - data);
    out->length = frame.head + frame.length;
    return FRAME_WAIT;
}

#endif
