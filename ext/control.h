/* Shared memory that every process of one server maps read-write: keys, buckets, heartbeats, counters.
 *
 * One writer per field: the master writes the header and the buckets, each worker its own block. Readers need no lock:
 * every shared word is a C11 atomic and stands alone. A process may die at any store; nothing here spans two words.
 */
#ifndef FASTSIP_CONTROL_H
#define FASTSIP_CONTROL_H

#include <stdatomic.h>
#include <stdint.h>
#include "siphash.h"

#define CONTROL_MAGIC 0x6c6f72746e6f6366ULL
#define CONTROL_LAYOUT 4
#define MAX_WORKERS 64
#define BUCKETS 1024
#define EPOCH_IDLE UINT64_MAX

/* Counters of one worker. Order is the order of `ctl stats --json`; the names are the keys. */
#define COUNTERS(X)                                                                                                    \
    X(datagrams_in) X(datagrams_out) X(bytes_in) X(bytes_out)                                                          \
    X(requests_in) X(responses_in) X(requests_out) X(responses_out)                                                    \
    X(retransmissions_in) X(retransmissions_out)                                                                       \
    X(handoffs_out) X(handoffs_in) X(wakeups) X(waits)                                                                 \
    X(dropped_socket) X(dropped_ring) X(dropped_malformed) X(dropped_stray) X(dropped_send) X(dropped_unsendable)      \
    X(dropped_facts) X(rejected_full) X(keepalives)                                                                    \
    X(transactions) X(contexts) X(buffers) X(timers)                                                                   \
    X(calls_set_up) X(calls_failed_3xx) X(calls_failed_4xx) X(calls_failed_5xx) X(calls_failed_6xx)                    \
    X(calls_cancelled) X(registers_ok) X(registers_failed)                                                             \
    X(auth_challenges) X(auth_failures) X(auth_replays) X(relay_denied) X(loops)                                       \
    X(facts_sent) X(facts_acknowledged) X(wakeups_service)                                                              \
    X(policy_asked) X(policy_late) X(policy_refused) X(wakeups_policy)                                                 \
    X(names_asked) X(names_late) X(names_refused) X(names_failed)                                                      \
    X(messages_in) X(messages_out) X(connections) X(connections_in) X(connections_out) X(connections_failed)           \
    X(connections_refused) X(connections_idle) X(connections_slow) X(stream_errors)                                   \
    X(handshakes) X(handshakes_failed) X(handshakes_refused) X(openings_refused) X(stun) X(pings) X(pings_answered)

enum Counter {
#define X(name) COUNT_##name,
    COUNTERS(X)
#undef X
    COUNT_END
};

typedef struct WorkerBlock {
    _Alignas(64) _Atomic uint64_t heartbeat;   /* CLOCK_MONOTONIC in ms, written every turn of the hot loop */
    _Atomic uint64_t epoch;                    /* location epoch this reader works in, EPOCH_IDLE between turns */
    _Atomic uint32_t sleeping;                 /* 1 while in epoll_wait: a ring writer must then write the eventfd */
    _Atomic uint32_t incarnation;
    _Atomic uint32_t in_hand;                  /* receive slot being worked on + 1, 0 for none: for the crash file */
    _Atomic uint32_t in_hand_length;
    _Alignas(64) uint64_t counters[96];        /* enum Counter; written by the owner only, torn reads impossible */
} WorkerBlock;

_Static_assert(COUNT_END <= 96, "the counters outgrew their block");

typedef struct Control {
    uint64_t magic;
    uint32_t layout;
    uint32_t workers;
    uint64_t started;                          /* wall clock, ms */
    HashKey owner_key;                         /* Call-ID to bucket; what stands for a Call-ID in other hashes */
    HashKey branch_key;                        /* check in our branches, loop hash */
    HashKey route_key;                         /* token in Record-Route */
    HashKey nonce_key;                         /* Digest nonces */
    HashKey location_key;                      /* hash of the location segment's index */
    _Atomic uint64_t location_epoch;           /* advanced by the state process */
    _Atomic uint32_t durable;                  /* 1 while the store keeps up, 0 when durability is lost */
    _Atomic uint32_t draining;                 /* 1 after SIGTERM: new dialogs get 503 */
    _Atomic uint32_t services;                 /* RECORD_SERVICES in the segment: nobody looks for one while it is 0 */
    _Alignas(64) _Atomic uint8_t bucket[BUCKETS];  /* owner of each bucket: a worker's index */
    WorkerBlock worker[MAX_WORKERS];
} Control;

static inline uint64_t load_counter(const uint64_t *counter) {
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void count_add(WorkerBlock *block, int counter, uint64_t by) {
    __atomic_store_n(&block->counters[counter], block->counters[counter] + by, __ATOMIC_RELAXED);
}

static inline void count_set(WorkerBlock *block, int counter, uint64_t value) {
    __atomic_store_n(&block->counters[counter], value, __ATOMIC_RELAXED);
}

static inline uint32_t owner_by(Control *control, uint64_t call) {
    return atomic_load_explicit(&control->bucket[call & (BUCKETS - 1)], memory_order_acquire);
}

static inline uint32_t owner_of(Control *control, const void *call_id, size_t length) {
    return owner_by(control, siphash(&control->owner_key, call_id, length));
}

/* A fresh block: bucket b is worker b % workers's, nobody reads the location segment, whose first epoch is 1. */
static inline void control_init(Control *control, uint32_t workers, const HashKey keys[5], uint64_t started) {
    memset((void *)control, 0, sizeof *control);
    control->layout = CONTROL_LAYOUT;
    control->workers = workers;
    control->started = started;
    control->owner_key = keys[0];
    control->branch_key = keys[1];
    control->route_key = keys[2];
    control->nonce_key = keys[3];
    control->location_key = keys[4];
    atomic_store_explicit(&control->location_epoch, 1, memory_order_relaxed);
    atomic_store_explicit(&control->durable, 1, memory_order_relaxed);
    for (uint32_t b = 0; b < BUCKETS; b++)
        atomic_store_explicit(&control->bucket[b], (uint8_t)(b % workers), memory_order_relaxed);
    for (uint32_t i = 0; i < MAX_WORKERS; i++)
        atomic_store_explicit(&control->worker[i].epoch, EPOCH_IDLE, memory_order_relaxed);
    __atomic_store_n(&control->magic, CONTROL_MAGIC, __ATOMIC_RELEASE);
}

/* Written by the state process, up before the first such record is published and down after the last is gone. */
static inline uint32_t control_services(const Control *control) {
    return atomic_load_explicit((_Atomic uint32_t *)&control->services, memory_order_acquire);
}

static inline void control_beat(WorkerBlock *b, uint64_t now) { atomic_store_explicit(&b->heartbeat, now, memory_order_relaxed); }

static inline uint64_t control_heartbeat(const WorkerBlock *b) { return atomic_load_explicit((_Atomic uint64_t *)&b->heartbeat, memory_order_relaxed); }

#endif
