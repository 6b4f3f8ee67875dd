/* Stress of ext/targets.h: threads, then processes killed at any store.
 *
 * limit:  workers take places at a gateway with a limit and hand them over to a state thread, which ends them: there are
 *         never more calls than the limit, wherever each of them is counted, and none is counted when all are over
 * trial:  threads claim a gateway whose pause is over, all at the same time: exactly one gets it
 * killed: workers get SIGKILL now and then; the column of each is cleared, and its successor goes on. Nothing is left
 *         over at the end, and health is one of the values it may have
 *
 * Prints one line a part and exits 0 if all held. Compile with -fsanitize=thread for the first two.
 * Arguments: "threads" or "killed", and how many rounds or deaths.
 */
#include "../../ext/targets.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4
#define LIMIT 3u
#define ROUNDS 1000u

typedef struct Shared {
    Targets table;
    _Atomic uint32_t calls, most;        /* real ones, wherever they are counted */
    _Atomic uint32_t facts[WORKERS];     /* on the way to the state thread */
    _Atomic uint32_t over;
    _Atomic uint64_t admitted, refused;
    _Atomic uint32_t claims[ROUNDS];     /* of each trial */
} Shared;

static Shared *shared;
static pthread_barrier_t barrier;
static uint32_t rounds;

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void call(uint32_t worker, uint64_t random) {
    Targets *t = &shared->table;
    if (!targets_admit(t, 0, worker)) {
        atomic_fetch_add(&shared->refused, 1);
        return;
    }
    atomic_fetch_add(&shared->admitted, 1);
    uint32_t calls = atomic_fetch_add(&shared->calls, 1) + 1, most = atomic_load(&shared->most);
    while (calls > most && !atomic_compare_exchange_weak(&shared->most, &most, calls)) {}
    if (random % 4 == 0) {
        atomic_fetch_sub(&shared->calls, 1);
        targets_end(t, 0, worker);
    } else {
        atomic_fetch_add(&shared->facts[worker], 1);
        targets_confirmed(t, 0, worker);
    }
}

static void *calling(void *argument) {
    uint32_t worker = (uint32_t)(uintptr_t)argument;
    uint64_t random = worker * 0x9e3779b97f4a7c15u + 1;
    for (uint32_t i = 0; i < rounds * 100; i++) call(worker, next_random(&random) >> 8);
    return NULL;
}

static void *state(void *argument) {
    Targets *t = &shared->table;
    uint32_t open = 0, heard;
    (void)argument;
    for (;;) {
        uint32_t last = atomic_load(&shared->over);
        for (uint32_t w = 0; w < WORKERS; w++) {
            /* a fact counts as come once its worker has handed it over: facts of a real queue come later still */
            int32_t way = targets_on_the_way(t, 0, w);
            heard = way > 0 ? (uint32_t)way : 0;
            if (!heard) continue;
            atomic_fetch_sub(&shared->facts[w], heard);
            open += heard;
            targets_set_open(t, 0, open);
            targets_heard(t, 0, w, heard);
        }
        while (open) {
            atomic_fetch_sub(&shared->calls, 1);
            targets_set_open(t, 0, --open);
        }
        if (last) return NULL;
    }
}

static int limit(void) {
    pthread_t worker[WORKERS], keeper;
    memset((void *)shared, 0, sizeof *shared);
    targets_init(&shared->table, WORKERS);
    atomic_store(&shared->table.slot[0].in_use, 1);
    atomic_store(&shared->table.slot[0].limit, LIMIT);
    pthread_create(&keeper, NULL, state, NULL);
    for (uintptr_t i = 0; i < WORKERS; i++) pthread_create(&worker[i], NULL, calling, (void *)i);
    for (int i = 0; i < WORKERS; i++) pthread_join(worker[i], NULL);
    atomic_store(&shared->over, 1);
    pthread_join(keeper, NULL);
    uint32_t left = targets_busy(&shared->table, 0);
    printf("limit: admitted %llu refused %llu most %u left %u\n", (unsigned long long)atomic_load(&shared->admitted),
           (unsigned long long)atomic_load(&shared->refused), atomic_load(&shared->most), left);
    return atomic_load(&shared->most) <= LIMIT && left == 0 && atomic_load(&shared->admitted) > 0;
}

static void *trying(void *argument) {
    Targets *t = &shared->table;
    (void)argument;
    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t now = round * UINT64_C(100000) + 99999;   /* longer than any pause after the last one */
        pthread_barrier_wait(&barrier);
        if (targets_state(t, 1, now) == TARGET_ON_TRIAL && targets_claim(t, 1, now))
            atomic_fetch_add(&shared->claims[round % ROUNDS], 1);
        targets_timeout(t, 1, now);
    }
    return NULL;
}

static int trial(void) {
    pthread_t thread[WORKERS];
    uint32_t wrong = 0;
    memset((void *)shared, 0, sizeof *shared);
    targets_init(&shared->table, WORKERS);
    atomic_store(&shared->table.slot[1].in_use, 1);
    for (uint32_t i = 0; i < TARGET_FAILURES; i++) targets_timeout(&shared->table, 1, 1);
    pthread_barrier_init(&barrier, NULL, WORKERS);
    for (uintptr_t i = 0; i < WORKERS; i++) pthread_create(&thread[i], NULL, trying, (void *)i);
    for (int i = 0; i < WORKERS; i++) pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&barrier);
    for (uint32_t i = 0; i < rounds && i < ROUNDS; i++) wrong += atomic_load(&shared->claims[i]) != 1;
    printf("trial: rounds %u wrong %u\n", rounds, wrong);
    return wrong == 0;
}

static void working(uint32_t worker) {
    Targets *t = &shared->table;
    uint64_t random = (uint64_t)getpid() * 0x9e3779b97f4a7c15u + 3;
    for (;;) {
        uint64_t r = next_random(&random) >> 8, now = r % 100000;
        if (r % 2) targets_begin(t, 0, worker);
        if (r % 3) targets_end(t, 0, worker);
        switch (r % 7) {
            case 0: targets_timeout(t, 0, now); break;
            case 1: targets_answered(t, 0, now); break;
            case 2: targets_unavailable(t, 0, now, (uint32_t)(r >> 20) % 100); break;
            case 3: targets_claim(t, 0, now); break;
            case 4: targets_probe_failed(t, 0, now, now + 1000); break;
        }
    }
}

static int killed(int deaths) {
    pid_t child[WORKERS] = {0};
    memset((void *)shared, 0, sizeof *shared);
    targets_init(&shared->table, WORKERS);
    atomic_store(&shared->table.used, 1);
    atomic_store(&shared->table.slot[0].in_use, 1);
    for (int death = 0; death < deaths + WORKERS; death++) {
        for (uint32_t i = 0; i < WORKERS && death < deaths; i++) {
            if (child[i]) continue;
            child[i] = fork();
            if (child[i] == 0) working(i);
        }
        struct timespec pause = {0, 1000000 + death % 7 * 400000};
        nanosleep(&pause, NULL);
        int victim = death % WORKERS;
        if (!child[victim]) continue;
        kill(child[victim], SIGKILL);
        waitpid(child[victim], NULL, 0);
        child[victim] = 0;
        targets_clear_worker(&shared->table, (uint32_t)victim);
    }
    uint64_t health = atomic_load(&shared->table.slot[0].health);
    uint32_t left = targets_busy(&shared->table, 0);
    int whole = target_until(health) == 0 ? target_failures(health) < TARGET_FAILURES
                                          : target_until(health) <= 100000 + TARGET_DOWN_MOST;
    printf("killed: left %u health %llx\n", left, (unsigned long long)health);
    return left == 0 && whole;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 2;
    rounds = (uint32_t)atoi(arguments[2]);
    if (strcmp(arguments[1], "killed") == 0) return !killed((int)rounds);
    int first = limit();
    return !(trial() && first);
}
