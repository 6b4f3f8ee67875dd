/* What ext/ring.h promises, under load and under fire.
 *
 *     ring_stress threads RECORDS     writer and reader as two threads (for the thread sanitizer), every byte checked
 *     ring_stress wake RECORDS        the same, asleep on an eventfd whenever the ring is empty: no wake-up is lost
 *     ring_stress crash ROUNDS        writer and reader as two processes, one or both killed at random, ROUNDS times
 *     ring_stress damage ROUNDS       wild stores into indices and records: nothing outside is read, and it recovers
 *
 * Length and bytes of a record follow from the position it stands at, so the reader knows what must be there without
 * being told, and anything lost, doubled, torn or out of order shows.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ring.h"
#include "wake.h"

#define PATTERN 8192
static uint8_t pattern[PATTERN + RING_MESSAGE];

typedef struct Shared {
    _Atomic uint64_t worked;      /* behind the last record worked on */
    _Atomic uint64_t records;
    _Atomic int stop;
    WorkerBlock block;            /* the reader's */
} Shared;

static Shared *shared;
static Ring *ring;
static uint64_t capacity, limit;
static int wake_fd, sleepy;

static uint64_t mix(uint64_t x) {
    x ^= x >> 33; x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53ULL;
    return x ^ x >> 33;
}

static uint32_t length_at(uint64_t position) {
    uint64_t luck = mix(position);
    switch (luck >> 32 & 1023) {
        case 0: case 1: return RING_MESSAGE;
        case 2: case 3: return (uint32_t)(luck % (RING_MESSAGE + 1));
        case 4: return 0;
        default: return (uint32_t)(luck % 700);
    }
}

static const uint8_t *bytes_at(uint64_t position) { return pattern + mix(position ^ 0x5bd1e995) % PATTERN; }

static Flow flow_at(uint64_t position) {
    Flow flow;
    memset(&flow, 0, sizeof flow);
    memcpy(flow.remote.ip, &position, 8);
    flow.listener = (uint16_t)mix(position);
    return flow;
}

static int right(uint64_t position, const Flow *flow, const uint8_t *data, uint32_t length) {
    Flow expected = flow_at(position);
    return length == length_at(position) && !memcmp(flow, &expected, sizeof expected) && !memcmp(data, bytes_at(position), length);
}

static void die(const char *text, uint64_t a, uint64_t b) {
    fprintf(stderr, "ring_stress: %s (%llu, %llu)\n", text, (unsigned long long)a, (unsigned long long)b);
    _exit(1);
}

static int put_one(RingWriter *writer) {
    Flow flow = flow_at(writer->tail);
    return ring_write(writer, RING_RECEIVED, &flow, bytes_at(writer->tail), length_at(writer->tail));
}

static void *write_all(void *unused) {
    RingWriter writer;
    uint64_t luck = 1, one = 1;
    ring_writer(&writer, ring, capacity);
    for (uint64_t n = 0; n < limit;) {
        uint64_t batch = (luck = mix(luck + n)) % 32 + 1;
        for (; batch && n < limit; batch--) {
            if (put_one(&writer)) n++;
            else break;
        }
        ring_publish(&writer);
        if (sleepy && wake_needed(&shared->block) && write(wake_fd, &one, 8) != 8) die("eventfd", 0, 0);
        if (batch) sched_yield();
        if (sleepy && luck >> 40 & 1) for (int spin = luck >> 50 & 4095; spin; spin--) __asm__ volatile("");
    }
    return NULL;
}

static void *read_all(void *unused) {
    static uint8_t out[RING_MESSAGE];
    RingReader reader;
    struct pollfd poll_wake = {.fd = wake_fd, .events = POLLIN};
    ring_reader(&reader, ring, capacity);
    for (uint64_t n = 0; n < limit;) {
        Flow flow;
        uint32_t length, kind;
        uint64_t position = reader.head, value;
        int got = ring_read(&reader, &kind, &flow, out, &length);
        if (got < 0) die("nonsense in a healthy ring", position, reader.tail);
        if (got) {
            if (!right(position, &flow, out, length)) die("wrong record", position, length);
            n++;
            if (n % 16 == 0) ring_release(&reader);
            continue;
        }
        ring_release(&reader);
        if (!sleepy) {
            sched_yield();
            continue;
        }
        wake_announce(&shared->block);
        if (!ring_pending(&reader) && poll(&poll_wake, 1, 5000) == 0) die("a wake-up was lost", n, reader.head);
        wake_clear(&shared->block);
        if (read(wake_fd, &value, 8) < 0) sched_yield();
    }
    ring_release(&reader);
    return NULL;
}

static void threads(uint64_t records) {
    pthread_t writer, reader;
    limit = records;
    pthread_create(&reader, NULL, read_all, NULL);
    pthread_create(&writer, NULL, write_all, NULL);
    pthread_join(writer, NULL);
    pthread_join(reader, NULL);
    printf("%llu records, %.1f rounds of the ring\n", (unsigned long long)records, (double)ring->tail / (double)capacity);
}

static void writing_process(uint64_t luck) {
    RingWriter writer;
    ring_writer(&writer, ring, capacity);
    for (;;) {
        for (uint64_t batch = (luck = mix(luck + 1)) % 16 + 1; batch; batch--)
            if (!put_one(&writer)) {
                sched_yield();
                break;
            }
        ring_publish(&writer);
    }
}

/* Read a batch, release it, then work on it, as transport_receive does. Work may be skipped by a death, never repeated. */
static int reading_step(RingReader *reader, int *fresh) {
    static uint8_t out[64][RING_MESSAGE];
    static uint64_t positions[65];
    static Flow flows[64];
    static uint32_t lengths[64];
    uint32_t kind;
    int n = 0, got = 0;
    for (; n < 64; n++) {
        positions[n] = reader->head;
        got = ring_read(reader, &kind, &flows[n], out[n], &lengths[n]);
        if (got <= 0) break;
    }
    if (got < 0) die("nonsense in a healthy ring", reader->head, reader->tail);
    positions[n] = reader->head;
    ring_release(reader);
    for (int i = 0; i < n; i++) {
        uint64_t worked = atomic_load(&shared->worked);
        if (positions[i] < worked) die("worked on twice", positions[i], worked);
        if (positions[i] != worked && !*fresh) die("a gap without a death", positions[i], worked);
        if (!right(positions[i], &flows[i], out[i], lengths[i])) die("wrong record", positions[i], lengths[i]);
        *fresh = 0;
        atomic_store(&shared->worked, positions[i + 1]);
        atomic_fetch_add(&shared->records, 1);
    }
    return n;
}

static void reading_process(void) {
    RingReader reader;
    int fresh = 1;
    ring_reader(&reader, ring, capacity);
    for (;;)
        if (!reading_step(&reader, &fresh)) sched_yield();
}

static pid_t spawn(int reads, uint64_t luck) {
    pid_t child = fork();
    if (child) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (reads) reading_process();
    else writing_process(luck);
    _exit(2);
}

static void end(pid_t child) {
    int status;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) die("a child found a fault", (uint64_t)status, 0);
}

static void crash(int rounds) {
    uint64_t luck = (uint64_t)getpid();
    pid_t children[2] = {spawn(0, luck), spawn(1, luck)};
    for (int i = 0; i < rounds; i++) {
        luck = mix(luck + 1);
        usleep((unsigned)(luck % 1500));
        unsigned which = (unsigned)(luck >> 20) % 3 + 1;
        for (int k = 0; k < 2; k++)
            if (which >> k & 1) end(children[k]);
        for (int k = 0; k < 2; k++)
            if (which >> k & 1) children[k] = spawn(k, luck);
    }
    end(children[0]);
    end(children[1]);
    RingReader reader;
    int fresh = 1;
    ring_reader(&reader, ring, capacity);
    while (reading_step(&reader, &fresh)) {}
    if (reader.head != atomic_load(&ring->tail)) die("records left behind", reader.head, ring->tail);
    printf("%llu records through %d deaths\n", (unsigned long long)shared->records, rounds);
    if (shared->records < (uint64_t)rounds) die("hardly anything went through", shared->records, (uint64_t)rounds);
}

static void damage(int rounds) {
    static uint8_t out[RING_MESSAGE];
    uint64_t luck = (uint64_t)getpid(), healthy = 0;
    RingWriter writer;
    RingReader reader;
    ring_writer(&writer, ring, capacity);
    ring_reader(&reader, ring, capacity);
    for (int i = 0; i < rounds; i++) {
        luck = mix(luck + 1);
        uint64_t wild = luck >> 8 & 1 ? mix(luck) : writer.tail + (luck >> 16) % (4 * capacity) - 2 * capacity;
        switch (luck & 7) {
            case 0: ring->tail = wild; break;
            case 1: ring->head = wild; break;
            case 2: memcpy((uint8_t *)(ring + 1) + ((wild % capacity) & ~63ULL), &wild, 8); break;
            case 3: memset(ring + 1, (int)luck >> 8, capacity); break;
            case 4: if (luck >> 9 & 1) ring_writer(&writer, ring, capacity); break;
            case 5: if (luck >> 9 & 1) ring_reader(&reader, ring, capacity); break;
        }
        for (uint64_t n = luck >> 24 & 63; n; n--) put_one(&writer);
        if (luck >> 60 & 1) ring_publish(&writer);
        for (uint64_t n = luck >> 32 & 63; n; n--) {
            Flow flow;
            uint32_t length = 0, kind;
            uint64_t position = reader.head;
            int got = ring_read(&reader, &kind, &flow, out, &length);
            if (got > 0 && length > RING_MESSAGE) die("too long", length, 0);
            if (got > 0) healthy += (uint64_t)right(position, &flow, out, length);
        }
        ring_release(&reader);
        if (i % 100) continue;
        /* No more damage: two turns of each side, and everything that is written arrives. */
        for (int turn = 0; turn < 2; turn++) {
            Flow flow;
            uint32_t length, kind;
            ring_publish(&writer);
            (void)ring_pending(&reader);
            while (ring_read(&reader, &kind, &flow, out, &length)) {}
            ring_release(&reader);
        }
        for (int n = 0; n < 20; n++) {
            Flow flow;
            uint32_t length = 0, kind;
            uint64_t position = writer.tail;
            if (!put_one(&writer)) die("no room after the damage", writer.tail, writer.head);
            ring_publish(&writer);
            if (ring_read(&reader, &kind, &flow, out, &length) != 1 || !right(position, &flow, out, length))
                die("not recovered", position, reader.head);
            ring_release(&reader);
        }
    }
    printf("%llu whole records between %d wild stores\n", (unsigned long long)healthy, rounds);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    for (size_t i = 0; i < sizeof pattern; i++) pattern[i] = (uint8_t)mix(i);
    /* The smallest rings, so that they are full and wrap all the time; an unreadable page behind the last one. */
    uint64_t size = rings_block_size(2, 0);
    uint8_t *memory = mmap(NULL, size + 4096, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, size, PROT_READ | PROT_WRITE)) return 1;
    RingBlock *block = (RingBlock *)memory;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    wake_fd = eventfd(0, EFD_NONBLOCK);
    if (rings_attach(block, size, 2) || rings_attach(block, size, 2)) die("attach", size, 0);
    if (rings_attach(block, size, 3) != EINVAL) die("another shape was accepted", size, 3);
    ring = rings_at(block, size, 2, 1, 0);
    capacity = ring_capacity(2, size);
    int n = atoi(arguments[2]);
    if (!strcmp(arguments[1], "threads")) threads((uint64_t)n);
    else if (!strcmp(arguments[1], "wake")) sleepy = 1, threads((uint64_t)n);
    else if (!strcmp(arguments[1], "crash")) crash(n);
    else if (!strcmp(arguments[1], "damage")) damage(n);
    else return 2;
    return 0;
}
