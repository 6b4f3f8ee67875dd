/* WebSocket frames, random ones, right and wrong: cut anywhere they mean what they mean in one piece, what was written is
 * read again, and nothing outside the bytes is touched (build with sanitizers: each piece is memory of exactly its size).
 *
 *     websocket_fuzz STREAMS [SEED]
 */
#include <stdio.h>
#include "websocket.h"

enum { MOST = 1 << 18 };

static uint64_t state;
static uint32_t below(uint32_t bound) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % bound);
}

static void fail(const char *what) {
    printf("%s\n", what);
    exit(1);
}

/* One event folded into what was found so far. */
static uint64_t fold(uint64_t sum, const void *data, uint32_t length) {
    for (uint32_t i = 0; i < length; i++) sum = (sum ^ ((const uint8_t *)data)[i]) * 0x100000001B3u;
    return sum;
}

static uint32_t events, failures;

/* What is found in a stream that comes in pieces of at most `piece` bytes. */
static uint64_t read_stream(const uint8_t *stream, uint32_t length, int masked, uint32_t piece) {
    FrameReader reader = {.masked = (uint8_t)masked};
    FrameSpan span;
    uint64_t sum = 0xCBF29CE484222325u;
    uint8_t *rest = malloc(1);
    uint32_t have = 0, at = 0, used;
    while (at < length) {
        uint32_t more = piece ? 1 + below(piece) : length;
        if (more > length - at) more = length - at;
        uint8_t *memory = malloc(have + more);
        memcpy(memory, rest, have);
        memcpy(memory + have, stream + at, more);
        free(rest);
        at += more;
        have += more;
        uint32_t start = 0;
        int found;
        while ((found = frame_next(&reader, memory + start, have - start, &used, &span)) != FRAME_WAIT) {
            if (used > have - start) fail("more was used than there is");
            start += used;
            sum = fold(fold(sum, &found, sizeof found), &span.code, sizeof span.code);
            sum = fold(fold(sum, &span.opcode, 1), span.data, span.length);
            sum = fold(sum, &span.length, sizeof span.length);
            if (span.length > FRAME_MESSAGE_MAX) fail("a message is too long");
            if (found == FRAME_MESSAGE && span.opcode == FRAME_TEXT && !utf8_valid(span.data, span.length))
                fail("text is not UTF-8");
            events++;
            failures += found == FRAME_FAILED;
        }
        if (used > have - start) fail("more was used than there is");
        start += used;
        if (!reader.ended && span.length <= have - start) fail("nothing was found though enough is there");
        have -= start;
        rest = malloc(have + 1);
        memcpy(rest, memory + start, have);
        free(memory);
    }
    free(rest);
    frame_reader_free(&reader);
    return sum;
}

static uint32_t write_stream(uint8_t *out, int masked) {
    uint32_t length = 0, frames = 1 + below(8), open = 0;
    while (frames-- && length < MOST - FRAME_MOST - 64) {
        uint32_t word = below(1u << 31) * 3;
        uint8_t mask[4];
        memcpy(mask, &word, 4);
        uint32_t size = below(3) ? below(300) : below(10) ? below(2000) : below(FRAME_MESSAGE_MAX + 1);
        int control = !below(4), opcode = control ? FRAME_PING + (int)below(2) : open ? 0 : 1 + (int)below(2);
        if (control) size = below(FRAME_CONTROL_MAX + 1);
        uint32_t head = frame_head(out + length, opcode, size, masked ? mask : NULL);
        if (!control && (open = !below(3))) out[length] &= 0x7F;
        uint8_t *payload = out + length + head;
        for (uint32_t i = 0; i < size; i++) payload[i] = (uint8_t)('a' + i % 26);
        uint32_t wide = size > 4 && !below(3) ? 1 + below(size - 4) : 0;
        if (wide) memcpy(payload + wide, "\xF0\x9F\x92\xAC", below(8) ? 4 : 3);
        if (masked) frame_mask(payload, size, word);
        length += head + size;
    }
    if (!below(4)) length += frame_close(out + length, below(2) ? 1000 : 0, masked ? (const uint8_t *)"mask" : NULL);
    if (below(2)) return length;
    for (uint32_t i = 1 + below(4); i--;) {
        uint32_t place = below(below(2) || length < 12 ? length : 12);
        out[place] ^= (uint8_t)(1 << below(8));
    }
    return length;
}

int main(int count, char **words) {
    uint32_t streams = count > 1 ? (uint32_t)atoi(words[1]) : 10000;
    uint8_t *stream = malloc(MOST);
    state = count > 2 ? (uint64_t)atoll(words[2]) : 1;
    for (uint32_t i = 0; i < streams; i++) {
        int masked = (int)below(2);
        uint32_t length = write_stream(stream, masked);
        uint64_t whole = read_stream(stream, length, masked, 0);
        if (read_stream(stream, length, masked, 1 + below(1000)) != whole) fail("in pieces it means something else");
        if (length < 400 && read_stream(stream, length, masked, 1) != whole) fail("byte by byte it means something else");
    }
    free(stream);
    printf("%u streams, %u events, %u failures\n", streams, events, failures);
    return 0;
}
