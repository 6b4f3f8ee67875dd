/* Every function of scan.h against what it says, byte by byte, in pseudo-random and in spiteful bytes, at every offset
 * and length; prints a hash of all that was found. tests/test_scan.py and tests/test_aarch64.py compile this once per form
 * and compare. What is searched ends where an unreadable page begins, or begins where one ends. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "chars.h"
#include "scan.h"

static uint64_t state = 3261;

static uint32_t next_random(void) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(state >> 33);
}

static uint64_t hash = 1469598103934665603ULL;

static void mix(uint64_t value) { hash = (hash ^ value) * 1099511628211ULL; }

static int is_byte(uint8_t c, uint8_t byte) { return c == byte; }
static int is_blank(uint8_t c, uint8_t byte) { return (void)byte, c <= 0x20; }
static int is_bracket(uint8_t c, uint8_t byte) { return (void)byte, c <= 0x20 || (c && strchr("\"<>", c)); }
static int is_value(uint8_t c, uint8_t byte) { return (void)byte, !(char_class[c] & CHAR_VALUE); }

typedef uint32_t Search(const uint8_t *data, uint32_t from, uint32_t end, uint32_t readable, uint8_t byte);

static void search(const char *name, Search *fast, int (*sought)(uint8_t, uint8_t), const uint8_t *data, uint32_t from,
                   uint32_t end, uint32_t readable, uint8_t byte) {
    uint32_t found = fast(data, from, end, readable, byte), at = from;
    while (at < end && !sought(data[at], byte)) at++;
    if (at != found) {
        fprintf(stderr, "%s(%u, %u, %u, 0x%02x): %u, should be %u\n", name, from, end, readable, byte, found, at);
        exit(1);
    }
    mix(found);
}

#define SEARCH(name, sought, end, readable, byte) search(#name, name, sought, data, from, end, readable, byte)

static void block(const uint8_t *data, uint32_t from, uint32_t length) {
    int whole = length - from >= SCAN_BLOCK;
    uint64_t controls = whole ? scan_controls(data + from) : scan_controls_tail(data + from, length - from);
    uint64_t lines = whole ? scan_lines(data + from) : scan_lines_tail(data + from, length - from);
    mix(lines);
    mix(controls);
    for (uint32_t i = 0; i < SCAN_BLOCK; i++) {
        uint8_t byte = from + i < length ? data[from + i] : ' ';
        if ((lines >> i & 1) != (byte == '\n') || (controls >> i & 1) != (byte < 0x20)) {
            fprintf(stderr, "block at %u of %u, byte %u\n", from, length, i);
            exit(1);
        }
    }
}

static void near(const uint8_t *data, uint32_t from, uint32_t length, uint8_t byte) {
    uint32_t at = 0;
    if (length - from < SCAN_STEP) return;
    while (at < SCAN_STEP && data[from + at] != byte) at++;
    if (scan_near(data + from, byte) != at) {
        fprintf(stderr, "scan_near(%u, 0x%02x): should be %u\n", from, byte, at);
        exit(1);
    }
    mix(at);
}

static void searches(const uint8_t *data, uint32_t from, uint32_t end, uint32_t length, uint8_t byte) {
    SEARCH(scan_byte_within, is_byte, end, end, byte);
    SEARCH(scan_byte_within, is_byte, end, length, byte);
    SEARCH(scan_blank_within, is_blank, end, length, 0);
    SEARCH(scan_bracket_within, is_bracket, end, length, 0);
    SEARCH(scan_value_within, is_value, end, length, 0);
    if (scan_byte(data, from, end, byte) != scan_byte_within(data, from, end, end, byte)) exit(1);
    if (scan_blank(data, from, end) != scan_blank_within(data, from, end, end, 0)) exit(1);
}

/* Every value at every place of a block, among neighbours that differ from it by one or by the high bit: what a sum or a
 * comparison that leaves its byte would get wrong. */
static void spite(uint8_t *data) {
    static const uint8_t differs[] = {1, 0xff, 0x80, 0};
    for (uint32_t value = 0; value < 256; value++) {
        for (uint32_t place = 0; place < SCAN_BLOCK; place++) {
            memset(data, (uint8_t)(value + differs[(value + place) % sizeof differs]), SCAN_BLOCK);
            data[place] = (uint8_t)value;
            if (place) data[place - 1] = (uint8_t)(value + 1);
            if (place + 1 < SCAN_BLOCK) data[place + 1] = (uint8_t)(value - 1);
            block(data, 0, SCAN_BLOCK);
            near(data, place & ~15u, SCAN_BLOCK, (uint8_t)value);
            for (uint32_t from = place & ~15u; from <= place; from += 5) {
                searches(data, from, SCAN_BLOCK, SCAN_BLOCK, (uint8_t)value);
                searches(data, from, place, SCAN_BLOCK, (uint8_t)value);
            }
        }
    }
}

int main(void) {
    static const char palette[] = "\r\n\t ab:;,<>\"()\\=@\x7f\x80\xff\x1f!z{}";
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *pages = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + page, page, PROT_READ | PROT_WRITE)) return 2;
    spite(pages + 2 * page - SCAN_BLOCK);
    for (int round = 0; round < 400; round++) {
        uint32_t length = next_random() % 160, end = length ? next_random() % length : 0;
        uint8_t *data = round % 4 ? pages + 2 * page - length : pages + page;
        int plain = round % 3;
        for (uint32_t i = 0; i < length; i++) {
            uint32_t r = next_random();
            data[i] = plain == 0 ? (uint8_t)r : plain == 1 ? palette[r % (sizeof palette - 1)]
                                              : r % 37 ? 'x' : palette[r / 37 % (sizeof palette - 1)];
        }
        for (uint32_t from = 0; from <= end; from++) {
            searches(data, from, end, length, ':');
            searches(data, from, end, length, 0x80);
        }
        for (uint32_t from = 0; from < length; from++) {
            block(data, from, length);
            near(data, from, length, ':');
        }
    }
    printf("%016llx\n", (unsigned long long)hash);
    return 0;
}
