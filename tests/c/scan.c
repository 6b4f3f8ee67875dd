/* Print what every function of scan.h finds in pseudo-random bytes, at every offset and length; tests/test_scan.py
 * compiles this once per form and compares. Blocks come from malloc at their exact size, for the address sanitizer. */
#include <stdio.h>
#include <stdlib.h>

#include "chars.h"
#include "scan.h"

static uint64_t state = 3261;

static uint32_t next_random(void) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(state >> 33);
}

static uint64_t hash = 1469598103934665603ULL;

static void mix(uint64_t value) { hash = (hash ^ value) * 1099511628211ULL; }

int main(void) {
    static const char palette[] = "\r\n\t ab:;,<>\"()\\=@\x7f\x80\xff\x1f!z{}";
    for (int round = 0; round < 400; round++) {
        uint32_t length = next_random() % 160, end = length ? next_random() % length : 0;
        uint8_t *data = malloc(length ? length : 1);
        int plain = round % 3;
        for (uint32_t i = 0; i < length; i++) {
            uint32_t r = next_random();
            data[i] = plain == 0 ? (uint8_t)r : plain == 1 ? palette[r % (sizeof palette - 1)]
                                              : r % 37 ? 'x' : palette[r / 37 % (sizeof palette - 1)];
        }
        for (uint32_t from = 0; from <= end; from++) {
            mix(scan_byte(data, from, end, ':'));
            mix(scan_byte_within(data, from, end, length, 0x80));
            mix(scan_blank(data, from, end));
            mix(scan_blank_within(data, from, end, length, 0));
            mix(scan_bracket_within(data, from, end, length, 0));
            uint32_t stop = scan_value_within(data, from, end, length, 0), at = from;
            while (at < end && char_class[data[at]] & CHAR_VALUE) at++;
            if (at != stop) {
                fprintf(stderr, "scan_value_within is not CHAR_VALUE: %u, %u\n", at, stop);
                return 1;
            }
            mix(stop);
        }
        for (uint32_t from = 0; from < length; from++) {
            uint64_t controls = 0, lines;
            if (length - from >= SCAN_BLOCK) {
                lines = scan_block(data + from, &controls);
                if (lines != scan_block_lines(data + from)) return 1;
            } else {
                lines = scan_tail(data + from, length - from, &controls);
                if (lines != scan_tail_lines(data + from, length - from)) return 1;
            }
            mix(lines);
            mix(controls);
            for (uint32_t i = 0; i < SCAN_BLOCK; i++) {
                uint8_t byte = from + i < length ? data[from + i] : ' ';
                if ((lines >> i & 1) != (byte == '\n') || (controls >> i & 1) != (byte < 0x20)) return 1;
            }
        }
        free(data);
    }
    printf("%016llx\n", (unsigned long long)hash);
    return 0;
}
