/* Stress of ext/nonce.h: threads, then processes killed at any store, over a table of four slots.
 *
 * rounds:   every thread spends the same counts of the same nonce, in step within the window: each exactly once
 * eviction: threads spend counts of nonces that share slots, and whatever happens, nothing twice, and nothing of a
 *           nonce after anyone was told that it is evicted
 * killed:   the same by processes that get SIGKILL now and then and are replaced
 *
 * Prints one line a part and exits 0 if all held. Compile with -fsanitize=thread for the first two.
 * Arguments: "threads" or "killed", and how many rounds or deaths.
 */
#define NONCE_SLOTS 4u
#include "../../ext/nonce.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define SERIALS 4096u                /* nonces a part may use */
#define COUNTS 512u                  /* counts of each */

typedef struct Shared {
    NonceTable table;
    _Atomic uint32_t accepted[SERIALS][COUNTS];
    _Atomic uint32_t evicted[SERIALS];
    _Atomic uint32_t front;          /* nonces are drawn from the last eight issued */
    _Atomic uint64_t spent;
    _Atomic uint32_t twice, risen;   /* the two things that must not happen */
} Shared;

static Shared *shared;
static uint64_t first;
static pthread_barrier_t barrier;
static uint32_t rounds;
static uint32_t issue_every = 16;         /* spends to one new nonce, about */

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fresh(void) {
    memset((void *)shared, 0, sizeof *shared);
    nonce_attach(&shared->table, 1700000000000u);
    first = atomic_load(&shared->table.first);
}

static void spend(uint32_t nonce, uint32_t count) {
    uint32_t was_evicted = atomic_load(&shared->evicted[nonce]);
    int result = nonce_spend(&shared->table, first + nonce, count);
    if (result == NONCE_FRESH) {
        if (atomic_fetch_add(&shared->accepted[nonce][count], 1)) atomic_fetch_add(&shared->twice, 1);
        if (was_evicted) atomic_fetch_add(&shared->risen, 1);
        atomic_fetch_add(&shared->spent, 1);
    } else if (result == NONCE_EVICTED) {
        atomic_store(&shared->evicted[nonce], 1);
    }
}

static void *in_step(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument * 0x9e3779b97f4a7c15u + 1;
    for (uint32_t nonce = 0; nonce < rounds; nonce++) {
        for (uint32_t base = 0; base < COUNTS; base += 32) {
            /* any order within the 64 counts that the window promises */
            uint32_t turn = (uint32_t)next_random(&random) % 64;
            for (uint32_t i = 0; i < 64; i++) {
                uint32_t count = base + (i + turn) % 64;
                if (count < COUNTS) spend(nonce, count);
            }
            pthread_barrier_wait(&barrier);
        }
    }
    return NULL;
}

static void draw(uint64_t *random) {
    uint64_t r = next_random(random);
    if (r % issue_every == 0 && atomic_load(&shared->front) + 2 * THREADS < SERIALS) {
        uint32_t issued = (uint32_t)(nonce_issue(&shared->table) - first), front = atomic_load(&shared->front);
        while (front < issued && !atomic_compare_exchange_weak(&shared->front, &front, issued)) {}
    }
    uint32_t front = atomic_load(&shared->front), back = (uint32_t)(r >> 8) % 8;
    spend(front >= back ? front - back : 0, (uint32_t)(r >> 16) % (r >> 40 & 1 ? 8 : COUNTS));
}

static void *at_random(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument * 0x9e3779b97f4a7c15u + 7;
    for (uint32_t i = 0; i < rounds * 1000; i++) draw(&random);
    return NULL;
}

static void run(void *(*body)(void *)) {
    pthread_t thread[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++) pthread_create(&thread[i], NULL, body, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&barrier);
}

static void killed(int deaths) {
    pid_t child[THREADS] = {0};
    for (int death = 0; death < deaths; death++) {
        for (int i = 0; i < THREADS; i++) {
            if (child[i]) continue;
            child[i] = fork();
            if (child[i] == 0) {
                uint64_t random = (uint64_t)getpid() * 0x9e3779b97f4a7c15u + 3;
                for (;;) draw(&random);
            }
        }
        struct timespec pause = {0, 1000000 + death % 7 * 400000};
        nanosleep(&pause, NULL);
        int victim = death % THREADS;
        kill(child[victim], SIGKILL);
        waitpid(child[victim], NULL, 0);
        child[victim] = 0;
    }
    for (int i = 0; i < THREADS; i++) {
        if (!child[i]) continue;
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
    }
}

static int verdict(const char *part, int whole) {
    uint32_t missing = 0;
    if (whole)
        for (uint32_t n = 0; n < rounds; n++)
            for (uint32_t c = 0; c < COUNTS; c++) missing += atomic_load(&shared->accepted[n][c]) == 0;
    uint32_t twice = atomic_load(&shared->twice), risen = atomic_load(&shared->risen);
    printf("%s: spent %llu twice %u after_eviction %u missing %u\n", part,
           (unsigned long long)atomic_load(&shared->spent), twice, risen, missing);
    fflush(stdout);
    return twice || risen || missing;
}

int main(int count, char **arguments) {
    int failed = 0;
    if (count != 3) return 2;
    rounds = (uint32_t)atoi(arguments[2]);
    if (rounds > SERIALS) return 2;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 2;
    if (!strcmp(arguments[1], "threads")) {
        fresh();
        for (uint32_t i = 0; i < rounds; i++) nonce_issue(&shared->table);
        run(in_step);
        failed |= verdict("rounds", 1);
        fresh();
        nonce_issue(&shared->table);
        run(at_random);
        failed |= verdict("eviction", 0);
    } else {
        fresh();
        nonce_issue(&shared->table);
        issue_every = 1500;
        killed((int)rounds);
        failed |= verdict("killed", 0);
    }
    return failed;
}
