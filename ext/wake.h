/* Waking a worker that sleeps, and only one that sleeps: an eventfd write costs 0.25 us, and 5 us when it wakes.
 *
 * The danger is the lost wake-up: the reader finds its rings empty and goes to sleep while the writer, which has just put
 * something there, still saw it awake. Each side stores one word and then loads the other's:
 *
 *     writer                                         reader
 *     W1  tail := ...      (release)                 R1  sleeping := 1    (exchange)
 *     W2  read sleeping    (fetch_add of 0)          R2  load tail of every ring
 *     W3  was it 1? write the eventfd                R3  all empty? epoll_wait, else stay awake
 *
 * W2 and R1 are read-modify-writes of one word, so one comes before the other in that word's order. If R1 came first, W2
 * reads 1 and W3 wakes. If W2 came first, R1 reads what W2 wrote, or what later read-modify-writes made of it (the word
 * knows no plain store), and so acquires what W2 released: W1 is before R2, and R2 sees the record. Acquire and release on
 * one word carry the proof, no fence is needed, and the thread sanitizer, which knows no fences, can check it.
 *
 * Nobody but the reader changes `sleeping`'s value: a writer that claimed the wake-up by clearing it and then died would
 * leave the reader asleep. Two writers may therefore both write the eventfd, which is harmless. A writer that dies between
 * W1 and W3 leaves a record that waits for the reader's next turn, at most the timeout of its wait.
 */
#ifndef FASTSIP_WAKE_H
#define FASTSIP_WAKE_H

#include "control.h"

/* R1: about to sleep. Look at every ring after this and before sleeping. */
static inline void wake_announce(WorkerBlock *self) {
    (void)atomic_exchange_explicit(&self->sleeping, 1, memory_order_acq_rel);
}

static inline void wake_clear(WorkerBlock *self) {
    (void)atomic_exchange_explicit(&self->sleeping, 0, memory_order_acq_rel);
}

/* W2: after the records were published. 1 if the eventfd must be written. */
static inline int wake_needed(WorkerBlock *target) {
    return atomic_fetch_add_explicit(&target->sleeping, 0, memory_order_acq_rel) != 0;
}

/* Which receive slot is being worked on. The master reads both words after the worker's death; the slot is 0 while the
 * length changes, so they are never of two different packets. */
static inline void mark_in_hand(WorkerBlock *self, uint32_t slot, uint32_t length) {
    atomic_store_explicit(&self->in_hand, 0, memory_order_relaxed);
    atomic_store_explicit(&self->in_hand_length, length, memory_order_release);
    atomic_store_explicit(&self->in_hand, slot, memory_order_release);
}

#endif
