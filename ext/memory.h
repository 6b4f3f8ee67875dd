/* Buffers: the only memory of the packet path that is not a table.
 *
 * A pool hands out reference-counted blocks from free lists by size class; blocks come from malloc once and return to
 * their list, never to the system, except the largest class. A pool belongs to one thread. `live` counts what is out,
 * per class, and is zero when everything was given back: the tests assert it.
 */
#ifndef FASTSIP_MEMORY_H
#define FASTSIP_MEMORY_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"

/* The address sanitizer sees a use of a buffer that was given back, though its block stays ours. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define buffer_close(buffer) ASAN_POISON_MEMORY_REGION((buffer)->data, (buffer)->capacity)
#define buffer_open(buffer) ASAN_UNPOISON_MEMORY_REGION((buffer)->data, (buffer)->capacity)
#else
#define buffer_close(buffer) ((void)0)
#define buffer_open(buffer) ((void)0)
#endif

#define BUFFER_CLASSES 8

typedef struct Buffer {
    struct Buffer *next;     /* in the free list */
    uint32_t references;
    uint32_t length;         /* bytes in use */
    uint32_t capacity;       /* bytes usable, at least what was asked for */
    uint32_t size_class;
    uint8_t data[];
} Buffer;

typedef struct BufferPool {
    Buffer *free[BUFFER_CLASSES];
    uint64_t live[BUFFER_CLASSES];
    uint64_t idle[BUFFER_CLASSES];
} BufferPool;

static const uint32_t BUFFER_CAPACITY[BUFFER_CLASSES] = {224, 480, 736, 992, 2016, 4064, 16352, 65568};

static inline void pool_init(BufferPool *pool) { memset(pool, 0, sizeof *pool); }

/* A buffer of at least `capacity` bytes with one reference and length 0; NULL when memory is out or capacity is over
 * the largest class. */
static inline Buffer *buffer_new(BufferPool *pool, uint32_t capacity) {
    uint32_t c = 0;
    while (c < BUFFER_CLASSES && BUFFER_CAPACITY[c] < capacity) c++;
    if (c == BUFFER_CLASSES) return NULL;
    Buffer *buffer = pool->free[c];
    if (buffer) {
        CHECK(!buffer->references);
        pool->free[c] = buffer->next;
        pool->idle[c]--;
        buffer_open(buffer);
    } else {
        buffer = (Buffer *)malloc(sizeof *buffer + BUFFER_CAPACITY[c]);
        if (!buffer) return NULL;
        buffer->size_class = c;
        buffer->capacity = BUFFER_CAPACITY[c];
    }
    buffer->next = NULL;
    buffer->references = 1;
    buffer->length = 0;
    pool->live[c]++;
    return buffer;
}

static inline Buffer *buffer_copy(BufferPool *pool, const void *data, uint32_t length) {
    Buffer *buffer = buffer_new(pool, length);
    if (buffer) {
        memcpy(buffer->data, data, length);
        buffer->length = length;
    }
    return buffer;
}

static inline Buffer *buffer_hold(Buffer *buffer) {
    CHECK(buffer->references > 0);
    buffer->references++;
    return buffer;
}

/* Drop one reference; NULL is fine. */
static inline void buffer_release(BufferPool *pool, Buffer *buffer) {
    if (!buffer) return;
    CHECK(buffer->references > 0);
    if (--buffer->references) return;
    uint32_t c = buffer->size_class;
    pool->live[c]--;
    if (c >= BUFFER_CLASSES - 2 && pool->idle[c] >= 16) {
        free(buffer);
        return;
    }
    poison(buffer->data, buffer->capacity);
    buffer_close(buffer);
    buffer->next = pool->free[c];
    pool->free[c] = buffer;
    pool->idle[c]++;
}

static inline uint64_t pool_live(const BufferPool *pool) {
    uint64_t total = 0;
    for (int c = 0; c < BUFFER_CLASSES; c++) total += pool->live[c];
    return total;
}

/* Give the idle blocks back to the system. Blocks still out are not touched. */
static inline void pool_trim(BufferPool *pool) {
    for (int c = 0; c < BUFFER_CLASSES; c++) {
        while (pool->free[c]) {
            Buffer *buffer = pool->free[c];
            pool->free[c] = buffer->next;
            free(buffer);
        }
        pool->idle[c] = 0;
    }
}

#endif
