/* What the segment's harnesses share: a small segment without processes, and values that tell whether they are whole. */
#ifndef SEGMENT_MODEL_H
#define SEGMENT_MODEL_H

#include <assert.h>
#include <stdio.h>
#include <sys/mman.h>

#include "segment_writer.h"

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                            \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, "\n");                                                                                     \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static Control model_control;

static int model_segment(uint64_t size) {
    HashKey keys[5] = {{1, 2}, {3, 4}, {5, 6}, {7, 8}, {9, 10}};
    control_init(&model_control, 4, keys, 0);
    int fd = memfd_create("segment", MFD_CLOEXEC);
    CHECK(fd >= 0 && !ftruncate(fd, (off_t)size), "memfd");
    CHECK(!segment_format(fd, &model_control), "format");
    return fd;
}

static uint64_t model_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint32_t model_key(uint8_t *out, uint32_t key) {
    return (uint32_t)sprintf((char *)out, "user%u@example.com", key);
}

/* A value: key, version, then bytes that follow from both; its length follows from both too. */
static uint32_t model_value(uint8_t *out, uint32_t key, uint32_t version) {
    uint64_t state = (uint64_t)key << 32 ^ version ^ 0x9e3779b97f4a7c15ULL;
    uint32_t length = 8 + (uint32_t)(model_random(&state) % (version % 16 ? 250 : 3000));
    memcpy(out, &key, 4);
    memcpy(out + 4, &version, 4);
    for (uint32_t i = 8; i < length; i++) out[i] = (uint8_t)(model_random(&state) >> 32);
    return length;
}

/* The version of a value that must be whole and of this key. */
static uint32_t model_version(const uint8_t *value, uint32_t length, uint32_t key) {
    uint8_t expected[4096];
    uint32_t version;
    CHECK(length >= 8 && length < sizeof expected, "key %u: %u bytes", key, length);
    memcpy(&version, value + 4, 4);
    CHECK(model_value(expected, key, version) == length && !memcmp(expected, value, length),
          "key %u version %u is not whole", key, version);
    return version;
}

#endif
