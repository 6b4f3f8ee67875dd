/* The clock of a replay, and where its counting begins; preloaded into the server under callgrind.
 *
 * Time stands where the driver put it, but for 100 ns a look, so that nobody waits for ever for a moment to pass.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <time.h>
#include <valgrind/callgrind.h>

#define NS 1000000000ull
#define WALL 1800000000ull                     /* seconds: what CLOCK_REALTIME says when the others say 0 */

static uint64_t now = NS;

void replay_clock(uint64_t ns) { now = ns; }

void replay_begin(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void replay_end(void) { CALLGRIND_STOP_INSTRUMENTATION; }

int clock_gettime(clockid_t clock, struct timespec *t) {
    now += 100;
    t->tv_sec = (time_t)(now / NS + (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ? WALL : 0));
    t->tv_nsec = (long)(now % NS);
    return 0;
}
