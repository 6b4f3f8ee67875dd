/* A bell between two threads of one process: the hot thread rings when something urgent is in the queue, the service
 * thread hushes it while it is going to look anyway. A ring that is heard costs a system call and wakes a thread.
 *
 *     hot thread                                     service thread
 *     put the record                                 bell_hush      word := HUSHED
 *     bell_ring      word |= RUNG                    take all records, sleep for its pace
 *     not hushed? write the eventfd                  bell_listen    word: HUSHED -> 0; fails if RUNG
 *
 * Every step is a read-modify-write of the one word, so they have an order. A ring before bell_listen makes it fail, and
 * the service thread takes the records instead of sleeping on; a ring after it finds the bell not hushed. A ring before
 * bell_hush is forgotten by it, but the exchange acquires what the ring released: the record is among those taken.
 * A service thread that never hushes hears every ring.
 */
#ifndef FASTSIP_BELL_H
#define FASTSIP_BELL_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct Bell {
    _Alignas(64) _Atomic uint32_t word;
} Bell;

enum { BELL_HUSHED = 1, BELL_RUNG = 2 };

/* After the record was put. 1 if the eventfd must be written. */
static inline int bell_ring(Bell *bell) {
    return !(atomic_fetch_or_explicit(&bell->word, BELL_RUNG, memory_order_acq_rel) & BELL_HUSHED);
}

/* Before the records are taken. */
static inline void bell_hush(Bell *bell) {
    (void)atomic_exchange_explicit(&bell->word, BELL_HUSHED, memory_order_acq_rel);
}

/* 1: from now on rings are heard. 0: it rang since it was hushed, or was not hushed; look again. */
static inline int bell_listen(Bell *bell) {
    uint32_t hushed = BELL_HUSHED;
    return atomic_compare_exchange_strong_explicit(&bell->word, &hushed, 0, memory_order_acq_rel, memory_order_acquire);
}

#endif
