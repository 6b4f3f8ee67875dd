/* Which nonces were used, and with which nonce counts: one table in shared memory for every worker (RFC 7616 3.3, 3.4).
 *
 * A nonce is a serial number with its issue time and a MAC (see _digest); this table only knows serials. They count up
 * from the wall clock of the moment the table was new, so a serial of an earlier table, whose use nobody remembers any
 * more, is below `first` and refused. (Were the clock set back, old serials lie beyond `issued` and are refused too.)
 *
 * Slot = serial % NONCE_SLOTS. A slot belongs to the newest serial that was ever *spent* in it: issuing a nonce touches
 * no slot, so a flood without passwords evicts nobody. An older serial that finds a newer one in its slot is evicted:
 * refused for good, since a slot's serial only grows. The client gets a fresh nonce with stale=true and tries again.
 *
 * The nonce counts seen are three words, each of
 *
 *     63     48 47      32 31             0
 *     | tag    | block    | bits           |     tag = serial / NONCE_SLOTS, block = nc / 32, bit = nc % 32
 *
 * where block b lives in word b % 3. A word holds the highest block of its residue class that was ever spent, exactly;
 * a lower block than it holds is refused. So the counts accepted out of order reach back at least 64, and a count is
 * never accepted twice: if its block is the word's, its bit tells; if it is lower, it is refused; if it is higher, no
 * count of that block was accepted before. Bits are never all zero in a word once written, so a zero word is a new one.
 *
 * Every word stands alone: each store leaves a table that is right for all, so a process may die between any two, and
 * nothing is ever locked. Claiming the slot is one CAS, spending a count is one CAS on one word. What may interleave:
 *
 * - Two workers spend the same count: both CAS the same word, one fails, sees the bit, refuses.
 * - A dies between claiming and spending: the slot is A's nonce's with no new bit; the retransmission succeeds.
 * - B claims the slot for a newer serial after A (older serial) looked at it. If B has replaced A's word, A's CAS fails
 *   and A, seeing a strange tag, looks at the slot again and is evicted. If B has not, A's CAS succeeds, and counts
 *   once: the next with A's serial is refused at the slot. B later finds A's tag in the word and replaces it.
 * - A must never replace a *newer* nonce's word by its own. A replaces a word with a strange tag only if the slot is
 *   still A's when looked at *after* the word was read: whoever wrote a newer tag had claimed the slot before (acquire
 *   and release order both), so A would see that claim. Hence the serial behind a word only grows, and no value comes
 *   back to fool a CAS.
 *
 * Tags are 16 bits and compared for equality only. A word left by a serial 65,536 laps older (2^34 serials) looks like
 * the nonce's own and may refuse a count, never accept one, unless a process slept through those laps between its load
 * and its CAS; nonces expire long before.
 */
#ifndef FASTSIP_NONCE_H
#define FASTSIP_NONCE_H

#include <stdatomic.h>
#include <stdint.h>

#ifndef NONCE_SLOTS
#define NONCE_SLOTS (1u << 18)       /* 8 MiB, touched as serials advance; at 800 nonces/s a slot lasts five minutes */
#endif
#define NONCE_COUNTS (1u << 21)      /* counts a nonce is good for: 16 bits of blocks of 32 */
#define NONCE_SERIALS_PER_MS 20      /* log2: the clock seeds serials faster than they can be issued */

enum { NONCE_FRESH = 1, NONCE_SEEN = 2, NONCE_EVICTED = 3 };

typedef struct NonceSlot {
    _Atomic uint64_t serial;
    _Atomic uint64_t word[3];
} NonceSlot;

typedef struct NonceTable {
    _Alignas(64) _Atomic uint64_t first;     /* serial of the first nonce of this table; 0 until the first attach */
    _Alignas(64) _Atomic uint64_t issued;
    _Alignas(64) NonceSlot slot[NONCE_SLOTS];
} NonceTable;

/* Attach to a table that was zeroed when it was made; whoever comes first seeds the serials. */
static inline void nonce_attach(NonceTable *table, uint64_t now_ms) {
    uint64_t unset = 0;
    atomic_compare_exchange_strong(&table->first, &unset, now_ms << NONCE_SERIALS_PER_MS);
}

static inline uint64_t nonce_issue(NonceTable *table) {
    uint64_t first = atomic_load_explicit(&table->first, memory_order_relaxed);
    return first + atomic_fetch_add_explicit(&table->issued, 1, memory_order_relaxed);
}

/* Take nonce count `nc` of a nonce that proved to be ours, with a right response. Exactly one caller gets NONCE_FRESH
 * for a (serial, nc); the others NONCE_SEEN, or NONCE_EVICTED when the table no longer (or never) knew the nonce. */
static inline int nonce_spend(NonceTable *table, uint64_t serial, uint32_t nc) {
    uint64_t first = atomic_load_explicit(&table->first, memory_order_relaxed);
    if (serial - first >= atomic_load_explicit(&table->issued, memory_order_relaxed)) return NONCE_EVICTED;
    if (nc >= NONCE_COUNTS) return NONCE_EVICTED;

    NonceSlot *slot = &table->slot[serial % NONCE_SLOTS];
    uint64_t holder = atomic_load_explicit(&slot->serial, memory_order_acquire);
    while (holder < serial) {
        if (atomic_compare_exchange_weak_explicit(&slot->serial, &holder, serial, memory_order_acq_rel,
                                                  memory_order_acquire))
            holder = serial;
    }
    if (holder != serial) return NONCE_EVICTED;

    const uint64_t tag = serial / NONCE_SLOTS & 0xffff, block = nc / 32, bit = (uint64_t)1 << (nc % 32);
    _Atomic uint64_t *word = &slot->word[block % 3];
    uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
    for (;;) {
        uint64_t next = tag << 48 | block << 32 | bit;
        if (seen != 0 && seen >> 48 == tag) {
            uint64_t held = seen >> 32 & 0xffff;
            if (held > block || (held == block && (seen & bit))) return NONCE_SEEN;
            if (held == block) next |= seen;
        } else if (atomic_load_explicit(&slot->serial, memory_order_acquire) != serial) {
            return NONCE_EVICTED;
        }
        if (atomic_compare_exchange_weak_explicit(word, &seen, next, memory_order_acq_rel, memory_order_acquire))
            return NONCE_FRESH;
    }
}

#endif
