/* The gateways, as every process of a server sees them: weight, health, calls, in one table in shared memory.
 *
 * A slot belongs to a gateway by the hash of its name, so a changed configuration finds the health of the gateways it
 * keeps. What a gateway is called and where it is stands in the configuration, not here. Times are CLOCK_MONOTONIC in
 * milliseconds, one clock for all processes of a machine, which nobody can set.
 *
 * Who writes what:
 *
 *     used, and of a slot name,      the master, when it reads a configuration
 *     weight, limit, in_use
 *     health, retry_until, counters  anybody: one CAS or one addition each
 *     column[w]                      worker w's hot thread; the master when that worker is dead
 *     open, told[w]                  the state process, which keeps the confirmed dialogs
 *     probed, probe                  the prober
 *
 * A process may die at any store: no decision needs two words that were written together. `health` is one word,
 *
 *     63                        16 15         0
 *     | down until, ms; 0 for up  | failures   |
 *
 * because how often a gateway has failed and how long it is left alone belong together; every change of it is one CAS,
 * and each value it can have is right for all. `retry_until` (Retry-After of a 503, RFC 3261 21.5.4) stands apart: an
 * answer to an older request brings a dead gateway back, but takes back nothing that a 503 asked for.
 *
 * A gateway that failed FAILURES times in a row is down, at first for DOWN_FIRST. Failures while it is down change
 * nothing: they are of calls that were sent to it before. When the time is over it is on trial: one call may try it, by
 * `targets_claim`, which counts as a failure at once and takes it down for twice the time; an answer brings it back, and
 * nothing needs to happen where there is none. So who claims it and dies has only made the next trial a later one. While
 * a prober runs it keeps the time of a dead gateway ahead of its own next attempt (`targets_probe_failed`), so that no
 * call has to try; when the prober is gone that ends by itself.
 *
 * A call is counted in one place after the other: `ringing` of its worker from `targets_begin` to `targets_end`; or, if
 * it was answered and its fact is on the way to the state process, `handed` of its worker less `told`, what the state
 * process has heard from there; then in `open`. Each step is written after the next place has the call, and read in the
 * order ringing, handed, told, open, so a call on its way may be seen twice and is never missed. A worker that dies
 * takes its column along: calls that rang on it are lost. A state process that dies takes `open` along: its successor
 * knows only the dialogs it is told of. A fact that is lost leaves handed and told apart for ever; the state process
 * settles a difference that never gets smaller (targets_settle).
 */
#ifndef FASTSIP_TARGETS_H
#define FASTSIP_TARGETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include "control.h"

#define TARGETS_MAGIC 0x7374656772617466ULL
#define TARGETS_LAYOUT 1
#define TARGETS 1024u                     /* slots; a power of two */

#define TARGET_FAILURES 3u                /* in a row, until it is down */
#define TARGET_DOWN_FIRST 5000u           /* ms, doubled with each trial */
#define TARGET_DOWN_MOST 60000u
#define TARGET_RETRY_AFTER_MOST 3600u     /* s: no gateway takes itself away for longer */

/* What targets_state says; a call may be sent where it is positive. */
enum {
    TARGET_UP = 1,
    TARGET_ON_TRIAL = 2,                  /* by whoever claims it */
    TARGET_FULL = -1,
    TARGET_WAITING = -2,                  /* its Retry-After is not over */
    TARGET_DOWN = -3,
    TARGET_UNUSED = -4                    /* not in the configuration */
};

typedef struct TargetColumn {
    _Alignas(64) _Atomic uint32_t ringing;
    _Atomic uint32_t handed;              /* calls whose dialog's fact went to the state process; wraps around */
    _Atomic uint64_t calls;
} TargetColumn;

typedef struct TargetSlot {
    _Alignas(64) _Atomic uint64_t health;
    _Atomic uint64_t retry_until;
    _Atomic uint64_t name;                /* hash; 0: never anybody's */
    _Atomic uint32_t weight;
    _Atomic uint32_t limit;               /* calls at the same time, 0 for any number */
    _Atomic uint32_t open;
    _Atomic uint32_t in_use;              /* 1 while it is in the configuration */
    _Atomic uint64_t left;                /* when it was taken out of that, ms */
    _Alignas(64) _Atomic uint64_t timeouts;   /* without any answer, and what could not be sent */
    _Atomic uint64_t unavailable;         /* 503 */
    _Atomic uint64_t failed;              /* 5xx apart from 503 */
    _Atomic uint64_t probed;              /* when the last OPTIONS ended, ms; 0 for never */
    _Atomic uint64_t probe;               /* its round trip in us << 16 | status; status 0 without answer */
    _Alignas(64) _Atomic uint32_t told[MAX_WORKERS];
    TargetColumn column[MAX_WORKERS];
} TargetSlot;

typedef struct Targets {
    _Atomic uint64_t magic;
    uint32_t layout;
    uint32_t workers;
    _Atomic uint32_t used;                /* slots that are or were anybody's: the first so many. Others are not touched,
                                             for a page of a memfd exists once it was looked at */
    TargetSlot slot[TARGETS];
} Targets;

static inline size_t targets_size(void) { return sizeof(Targets); }

/* Once, by the master, in memory that is zero. */
static inline void targets_init(Targets *t, uint32_t workers) {
    t->layout = TARGETS_LAYOUT;
    t->workers = workers;
    atomic_store_explicit(&t->magic, TARGETS_MAGIC, memory_order_release);
}

/* NULL if it cannot be mapped or is no table of this layout. The descriptor must be at least targets_size() long. */
static inline Targets *targets_map(int fd) {
    void *at = mmap(NULL, sizeof(Targets), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) return NULL;
    Targets *t = (Targets *)at;
    if (atomic_load_explicit(&t->magic, memory_order_acquire) == TARGETS_MAGIC && t->layout == TARGETS_LAYOUT &&
        t->workers >= 1 && t->workers <= MAX_WORKERS)
        return t;
    munmap(at, sizeof(Targets));
    return NULL;
}

static inline void targets_unmap(Targets *t) { munmap((void *)t, sizeof(Targets)); }

/* Any number is some slot: a plan may say what it likes. */
static inline TargetSlot *targets_slot(Targets *t, uint32_t slot) { return &t->slot[slot & (TARGETS - 1)]; }

static inline uint64_t target_until(uint64_t health) { return health >> 16; }
static inline uint32_t target_failures(uint64_t health) { return (uint32_t)(health & 0xffff); }

/* Whether the slot is a gateway's of the configuration: a plan may name any. */
static inline bool targets_known(Targets *t, uint32_t slot) {
    return slot < atomic_load_explicit(&t->used, memory_order_acquire) &&
           atomic_load_explicit(&targets_slot(t, slot)->in_use, memory_order_relaxed);
}

/* Calls, by the hot thread of `worker` alone. */

/* A branch to it begins. */
static inline void targets_begin(Targets *t, uint32_t slot, uint32_t worker) {
    TargetColumn *c = &targets_slot(t, slot)->column[worker];
    atomic_store_explicit(&c->calls, atomic_load_explicit(&c->calls, memory_order_relaxed) + 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->ringing, 1, memory_order_seq_cst);
}

/* What was begun last is the call of the branch before it, at another server of the same gateway. */
static inline void targets_same_call(Targets *t, uint32_t slot, uint32_t worker) {
    TargetColumn *c = &targets_slot(t, slot)->column[worker];
    atomic_store_explicit(&c->calls, atomic_load_explicit(&c->calls, memory_order_relaxed) - 1, memory_order_relaxed);
}

/* The branch had its final response, or ended without one; of a 2xx whose dialog is handed over, see below. */
static inline void targets_end(Targets *t, uint32_t slot, uint32_t worker) {
    TargetColumn *c = &targets_slot(t, slot)->column[worker];
    uint32_t ringing = atomic_load_explicit(&c->ringing, memory_order_relaxed);
    if (ringing) atomic_store_explicit(&c->ringing, ringing - 1, memory_order_release);
}

/* In place of targets_end, when the fact that its dialog is confirmed was put into the queue to the state process: the
 * call is counted on until that process has heard of it. */
static inline void targets_confirmed(Targets *t, uint32_t slot, uint32_t worker) {
    TargetColumn *c = &targets_slot(t, slot)->column[worker];
    uint32_t handed = atomic_load_explicit(&c->handed, memory_order_relaxed);
    atomic_store_explicit(&c->handed, handed + 1, memory_order_release);
    targets_end(t, slot, worker);
}

/* Ringing and open calls of all workers. Never too few; a call that is just being handed over may be seen twice. */
static inline uint32_t targets_busy(Targets *t, uint32_t slot) {
    TargetSlot *s = targets_slot(t, slot);
    int64_t busy = 0;
    for (uint32_t w = 0; w < t->workers; w++) {
        uint32_t ringing = atomic_load_explicit(&s->column[w].ringing, memory_order_seq_cst);
        uint32_t handed = atomic_load_explicit(&s->column[w].handed, memory_order_acquire);
        uint32_t told = atomic_load_explicit(&s->told[w], memory_order_acquire);
        busy += (int64_t)ringing + (int32_t)(handed - told);
    }
    busy += atomic_load_explicit(&s->open, memory_order_acquire);
    return busy > 0 ? (uint32_t)busy : 0;
}

/* As targets_begin, unless it has as many calls as it may: then false, nothing is counted, and nothing may be sent.
 * Two workers that take the last place at the same moment may both be refused; they never both get it, because each
 * counts itself before it looks, and all agree on the order of that (seq_cst). */
static inline bool targets_admit(Targets *t, uint32_t slot, uint32_t worker) {
    TargetSlot *s = targets_slot(t, slot);
    uint32_t limit = atomic_load_explicit(&s->limit, memory_order_relaxed);
    if (limit == 0) {
        targets_begin(t, slot, worker);
        return true;
    }
    TargetColumn *c = &s->column[worker];
    atomic_fetch_add_explicit(&c->ringing, 1, memory_order_seq_cst);
    if (targets_busy(t, slot) > limit) {
        targets_end(t, slot, worker);
        return false;
    }
    atomic_store_explicit(&c->calls, atomic_load_explicit(&c->calls, memory_order_relaxed) + 1, memory_order_relaxed);
    return true;
}

/* Health, by anybody. */

/* Any response at all: it lives. */
static inline void targets_answered(Targets *t, uint32_t slot, uint64_t now) {
    TargetSlot *s = targets_slot(t, slot);
    (void)now;
    if (atomic_load_explicit(&s->health, memory_order_relaxed))
        atomic_store_explicit(&s->health, 0, memory_order_release);
}

/* Down until `until`, or, with 0, as long as so many failures are worth. */
static inline uint64_t target_health(uint32_t failures, uint64_t now, uint64_t until) {
    if (until == 0 && failures >= TARGET_FAILURES) {
        uint32_t doubled = failures - TARGET_FAILURES < 8 ? failures - TARGET_FAILURES : 8;
        uint32_t pause = TARGET_DOWN_FIRST << doubled;
        until = now + (pause < TARGET_DOWN_MOST ? pause : TARGET_DOWN_MOST);
    }
    return until << 16 | (failures < 0xffff ? failures : 0xffff);
}

/* One failure more, unless it is down, and for as long as `until`. True if it was up and is not any more. */
static inline bool target_fails(TargetSlot *s, uint64_t now, uint64_t until) {
    uint64_t seen = atomic_load_explicit(&s->health, memory_order_relaxed), next;
    do {
        if (target_until(seen) > now && target_until(seen) >= until) return false;
        next = target_health(target_failures(seen) + 1, now, until);
    } while (!atomic_compare_exchange_weak_explicit(&s->health, &seen, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return target_until(seen) <= now && target_until(next) > now;
}

/* No answer within its try_time, or nothing could be sent there. True if it is down by that and was not before. */
static inline bool targets_timeout(Targets *t, uint32_t slot, uint64_t now) {
    TargetSlot *s = targets_slot(t, slot);
    atomic_fetch_add_explicit(&s->timeouts, 1, memory_order_relaxed);
    return target_fails(s, now, 0);
}

/* A 503, `retry_after` its Retry-After in seconds, 0 if it had none: then it is a 500 (RFC 3261 21.5.4), and only
 * counted. */
static inline void targets_unavailable(Targets *t, uint32_t slot, uint64_t now, uint32_t retry_after) {
    TargetSlot *s = targets_slot(t, slot);
    atomic_fetch_add_explicit(&s->unavailable, 1, memory_order_relaxed);
    targets_answered(t, slot, now);
    if (retry_after == 0) return;
    if (retry_after > TARGET_RETRY_AFTER_MOST) retry_after = TARGET_RETRY_AFTER_MOST;
    uint64_t until = now + retry_after * UINT64_C(1000);
    uint64_t seen = atomic_load_explicit(&s->retry_until, memory_order_relaxed);
    while (seen < until && !atomic_compare_exchange_weak_explicit(&s->retry_until, &seen, until, memory_order_acq_rel,
                                                                  memory_order_relaxed)) {}
}

/* A 5xx that is no 503, for who counts. */
static inline void targets_failed(Targets *t, uint32_t slot) {
    atomic_fetch_add_explicit(&targets_slot(t, slot)->failed, 1, memory_order_relaxed);
}

/* The prober's OPTIONS had no answer: when that makes it down, it is down until `until`, if not longer. */
static inline bool targets_probe_failed(Targets *t, uint32_t slot, uint64_t now, uint64_t until) {
    TargetSlot *s = targets_slot(t, slot);
    uint64_t health = atomic_load_explicit(&s->health, memory_order_relaxed);
    return target_fails(s, now, target_failures(health) + 1 < TARGET_FAILURES ? 0 : until);
}

static inline int targets_state(Targets *t, uint32_t slot, uint64_t now) {
    TargetSlot *s = targets_slot(t, slot);
    uint64_t health = atomic_load_explicit(&s->health, memory_order_acquire);
    uint32_t limit = atomic_load_explicit(&s->limit, memory_order_relaxed);
    if (!atomic_load_explicit(&s->in_use, memory_order_relaxed)) return TARGET_UNUSED;
    if (atomic_load_explicit(&s->retry_until, memory_order_acquire) > now) return TARGET_WAITING;
    if (target_until(health) > now) return TARGET_DOWN;
    if (limit && targets_busy(t, slot) >= limit) return TARGET_FULL;
    return target_until(health) ? TARGET_ON_TRIAL : TARGET_UP;
}

static inline bool targets_usable(Targets *t, uint32_t slot, uint64_t now) { return targets_state(t, slot, now) > 0; }

/* For one that is on trial: true for the one caller who may try it. */
static inline bool targets_claim(Targets *t, uint32_t slot, uint64_t now) {
    TargetSlot *s = targets_slot(t, slot);
    uint64_t seen = atomic_load_explicit(&s->health, memory_order_relaxed);
    if (target_until(seen) == 0) return true;
    if (target_until(seen) > now) return false;
    uint64_t next = target_health(target_failures(seen) + 1, now, 0);
    return atomic_compare_exchange_strong_explicit(&s->health, &seen, next, memory_order_acq_rel, memory_order_relaxed);
}

/* The state process. */

static inline void targets_set_open(Targets *t, uint32_t slot, uint32_t open) {
    atomic_store_explicit(&targets_slot(t, slot)->open, open, memory_order_release);
}

/* So many confirmed dialogs of `worker` were heard of; they are in `open` already. */
static inline void targets_heard(Targets *t, uint32_t slot, uint32_t worker, uint32_t dialogs) {
    _Atomic uint32_t *told = &targets_slot(t, slot)->told[worker];
    atomic_store_explicit(told, atomic_load_explicit(told, memory_order_relaxed) + dialogs, memory_order_release);
}

/* Calls of `worker` handed over and not heard of. Negative where one was heard of twice. */
static inline int32_t targets_on_the_way(Targets *t, uint32_t slot, uint32_t worker) {
    TargetSlot *s = targets_slot(t, slot);
    uint32_t told = atomic_load_explicit(&s->told[worker], memory_order_acquire);
    return (int32_t)(atomic_load_explicit(&s->column[worker].handed, memory_order_acquire) - told);
}

/* The master, for a worker that is dead: what rang on it is lost. What it had handed over may still come. */
static inline void targets_clear_worker(Targets *t, uint32_t worker) {
    uint32_t used = atomic_load_explicit(&t->used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++)
        atomic_store_explicit(&t->slot[i].column[worker].ringing, 0, memory_order_release);
}

#endif
