/* One wake-up for many gifts: whoever gives raises the flag after putting something into a queue, and wakes the taker only
 * if it was down; the taker lowers it before it looks into the queue. Both are read-modify-writes of one word: if the
 * giver found it up, the taker has yet to lower it and will see what was put.
 */
#ifndef FASTSIP_FLAG_H
#define FASTSIP_FLAG_H

/* 1 if it was up already. */
static inline int flag_raise(int *flag) { return __atomic_exchange_n(flag, 1, __ATOMIC_ACQ_REL); }

static inline void flag_lower(int *flag) {
    if (__atomic_load_n(flag, __ATOMIC_RELAXED)) (void)__atomic_exchange_n(flag, 0, __ATOMIC_ACQ_REL);
}

#endif
