/* A single-producer single-consumer queue of byte records between two threads of one process: the hot thread's facts to
 * the service thread, and the state process's answers back.
 *
 * The writer owns `tail`, the reader owns `head`; both only grow. A record is published by the release store of `tail`
 * after its bytes are written, and its room is given back by the release store of `head` after they were read, so each
 * side sees whole records or none. A full queue refuses: nothing waits.
 */
#ifndef FASTSIP_QUEUE_H
#define FASTSIP_QUEUE_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Queue {
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) uint64_t capacity;      /* a power of two */
    uint8_t data[];
} Queue;

static inline Queue *queue_new(uint64_t capacity) {
    Queue *queue = (Queue *)aligned_alloc(64, sizeof(Queue) + capacity);
    if (!queue) return NULL;
    memset(queue, 0, sizeof *queue);
    queue->capacity = capacity;
    return queue;
}

static inline void queue_free(Queue *queue) { free(queue); }

static inline void queue_write(Queue *queue, uint64_t at, const void *data, uint64_t length) {
    uint64_t offset = at & (queue->capacity - 1), first = queue->capacity - offset;
    if (first > length) first = length;
    memcpy(queue->data + offset, data, first);
    memcpy(queue->data, (const uint8_t *)data + first, length - first);
}

static inline void queue_read(const Queue *queue, uint64_t at, void *out, uint64_t length) {
    uint64_t offset = at & (queue->capacity - 1), first = queue->capacity - offset;
    if (first > length) first = length;
    memcpy(out, queue->data + offset, first);
    memcpy((uint8_t *)out + first, queue->data, length - first);
}

/* 1, or 0 when there is no room. */
static inline int queue_put(Queue *queue, const void *data, uint32_t length) {
    uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    if (queue->capacity - (tail - head) < 4 + (uint64_t)length) return 0;
    queue_write(queue, tail, &length, 4);
    queue_write(queue, tail + 4, data, length);
    atomic_store_explicit(&queue->tail, tail + 4 + length, memory_order_release);
    return 1;
}

/* The next record's length, -1 when there is none. */
static inline int64_t queue_peek(Queue *queue) {
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    if (head == atomic_load_explicit(&queue->tail, memory_order_acquire)) return -1;
    uint32_t length;
    queue_read(queue, head, &length, 4);
    return length;
}

/* Take the record that queue_peek announced into `out`. */
static inline void queue_take(Queue *queue, void *out, uint32_t length) {
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    queue_read(queue, head + 4, out, length);
    atomic_store_explicit(&queue->head, head + 4 + length, memory_order_release);
}

static inline uint64_t queue_used(Queue *queue) {
    return atomic_load_explicit(&queue->tail, memory_order_acquire) -
           atomic_load_explicit(&queue->head, memory_order_acquire);
}

#endif
