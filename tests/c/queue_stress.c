/* What ext/queue.h promises: whole records in order or none, whatever the sizes, the wrap-around and a full queue.
 *
 *     queue_stress threads RECORDS    a writer and a reader, both as fast as they can, every byte checked
 *     queue_stress bell RECORDS       the same with ext/bell.h: the reader sleeps, and every record is read although it does
 *     queue_stress edges              one thread: every length at every offset, and a queue that is exactly full
 *
 * Length and bytes of a record follow from its number, so the reader knows what must come without being told. The reader
 * rests now and then, so that the queue is full as often as it is empty. Records have their exact size on the heap and
 * the queue ends where its allocation ends: the address sanitizer sees a byte too many on either side.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "bell.h"
#include "queue.h"

static Queue *queue;
static uint32_t capacity;
static uint64_t records, full, empty;

static uint64_t mix(uint64_t x) {
    x ^= x >> 33; x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

static uint32_t length_of(uint64_t number) {
    uint64_t luck = mix(number);
    switch (luck >> 40 & 2047) {
        case 0: return capacity - 4;
        case 1: return 0;
        case 2: return (uint32_t)(luck % (capacity - 3));
        default: return (uint32_t)(luck % 200);
    }
}

static void fill(uint8_t *at, uint64_t number, uint32_t length) {
    for (uint32_t i = 0; i < length; i++) at[i] = (uint8_t)(mix(number) + i * 7);
}

static void die(const char *text, uint64_t a, uint64_t b) {
    fprintf(stderr, "queue_stress: %s (%llu, %llu)\n", text, (unsigned long long)a, (unsigned long long)b);
    _Exit(1);
}

static int put(uint64_t number, uint32_t length) {
    uint8_t *record = malloc(length ? length : 1);
    if (!record) die("no memory", number, length);
    fill(record, number, length);
    int put = queue_put(queue, record, length);
    free(record);
    return put;
}

/* 0 when there is nothing. */
static int take(uint64_t number, uint32_t length) {
    int64_t next = queue_peek(queue);
    if (next < 0) return 0;
    if (next != length) die("another length", (uint64_t)next, length);
    uint8_t *record = malloc(length ? length : 1), *expected = malloc(length ? length : 1);
    if (!record || !expected) die("no memory", number, length);
    fill(expected, number, length);
    queue_take(queue, record, length);
    if (memcmp(record, expected, length)) die("other bytes", number, length);
    free(record);
    free(expected);
    return 1;
}

static void *write_all(void *nothing) {
    for (uint64_t number = 0; number < records; number++) {
        while (!put(number, length_of(number))) {
            full++;
            sched_yield();
        }
    }
    return nothing;
}

static void threads(void) {
    pthread_t writer;
    if (pthread_create(&writer, NULL, write_all, NULL)) die("no thread", 0, 0);
    for (uint64_t number = 0; number < records; number++) {
        while (!take(number, length_of(number))) {
            empty++;
            sched_yield();
        }
        if (queue_used(queue) > capacity) die("more in it than fits", number, queue_used(queue));
        if (mix(~number) % 512 == 0)
            for (int rest = 0; rest < 3; rest++) sched_yield();
    }
    pthread_join(writer, NULL);
    if (queue_peek(queue) != -1 || queue_used(queue)) die("something is left", queue_used(queue), 0);
    if (!full || !empty) die("never full or never empty", full, empty);
    printf("%llu records, full %llu times, empty %llu times\n", (unsigned long long)records, (unsigned long long)full,
           (unsigned long long)empty);
}

static Bell bell;
static int heard;

static void *ring_all(void *nothing) {
    for (uint64_t number = 0; number < records; number++) {
        while (!put(number, (uint32_t)(number % 100))) sched_yield();
        if (bell_ring(&bell) && write(heard, &(uint64_t){1}, 8) != 8) die("the eventfd is full", number, 0);
        if (mix(number) % 16 == 0)
            for (int rest = 0; rest < 3; rest++) sched_yield();
    }
    return nothing;
}

/* As the service thread does it. A ring that got lost leaves a record and a reader that sleeps for ever. */
static void bells(void) {
    pthread_t writer;
    uint64_t number = 0, slept = 0, hushed = 0, word;
    if ((heard = eventfd(0, 0)) < 0 || pthread_create(&writer, NULL, ring_all, NULL)) die("no thread", 0, 0);
    while (number < records) {
        struct pollfd reading = {.fd = heard, .events = POLLIN};
        if (poll(&reading, 1, 5000) != 1) die("slept over a record", number, queue_used(queue));
        if (read(heard, &word, 8) != 8) die("no ring", number, 0);
        slept++;
        do {
            bell_hush(&bell);
            hushed++;
            while (number < records && take(number, (uint32_t)(number % 100))) number++;
            if (mix(hushed) % 4 == 0) sched_yield();
        } while (!bell_listen(&bell));
    }
    pthread_join(writer, NULL);
    if (hushed == slept) die("never rang while hushed", hushed, slept);
    printf("%llu records, slept %llu times, looked %llu times\n", (unsigned long long)records,
           (unsigned long long)slept, (unsigned long long)hushed);
}

static void edges(void) {
    uint64_t number = 0;
    for (uint32_t length = 0; length <= capacity - 4; length += length < 70 ? 1 : 1019) {
        for (uint32_t offset = 0; offset < capacity; offset += offset % 512 < 8 || offset % 512 > 504 ? 1 : 99) {
            queue->head = queue->tail = ((uint64_t)length << 40) + offset;
            if (queue_peek(queue) != -1 || queue_used(queue)) die("not empty", offset, length);
            if (!put(number, length) || queue_used(queue) != 4 + length) die("no room", offset, length);
            uint32_t rest = capacity - 4 - length;
            if (put(number, rest >= 4 ? rest - 3 : 0) || queue_used(queue) != 4 + length) die("too long, taken", offset, rest);
            if (rest >= 4 && (!put(number + 1, rest - 4) || put(0, 0))) die("not exactly full", offset, rest);
            if (!take(number, length) || (rest >= 4 && !take(number + 1, rest - 4))) die("lost", offset, length);
            if (take(0, 0) || queue_used(queue)) die("not empty again", offset, length);
            number += 2;
        }
    }
    static const uint8_t nothing[1];
    if (queue_put(queue, nothing, capacity - 3) || queue_put(queue, nothing, UINT32_MAX)) die("larger than the queue", 0, 0);
    printf("%llu records\n", (unsigned long long)number);
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    capacity = strcmp(arguments[1], "edges") ? 1 << 17 : 4096;
    queue = queue_new(capacity);
    if (!queue) return 2;
    records = count > 2 ? strtoull(arguments[2], NULL, 10) : 0;
    if (!strcmp(arguments[1], "threads")) threads();
    else if (!strcmp(arguments[1], "bell")) bells();
    else if (!strcmp(arguments[1], "edges")) edges();
    else return 2;
    queue_free(queue);
    return 0;
}
