# When work begins: an open loop. Arrivals follow the rate, whatever became of those before.
#
# Between two arrivals the rate integrates to an amount of 1 (equal gaps) or to an exponential draw of mean 1 (a Poisson
# process, also while the rate changes). `owed` is what is left of that amount from `since` on.

cdef struct Segment:
    double at                    # seconds after the start
    double rate
    double slope

cdef struct Arrivals:
    Segment* plan
    uint32_t steps
    uint32_t next_step
    bint poisson
    bint overridden              # by set_rate: the plan is over
    double rate                  # at `since`
    double slope
    double since                 # seconds after the start
    double owed
    double due                   # seconds after the start; INFINITY while the rate is 0
    # written by other threads: odd while it is being written
    uint32_t version
    uint32_t seen
    double wanted_rate
    double wanted_slope


cdef double arrival_after(const Arrivals* a) noexcept nogil:
    # The time at which `owed` will have come together.
    cdef double square
    if a.owed <= 0:
        return a.since
    if a.slope == 0:
        return a.since + a.owed / a.rate if a.rate > 0 else INFINITY
    square = a.rate * a.rate + 2 * a.slope * a.owed
    if square < 0:
        return INFINITY          # it falls to nothing before
    square = (sqrt(square) - a.rate) / a.slope
    return a.since + square if square >= 0 else INFINITY


cdef void arrivals_turn(Arrivals* a, double at, double rate, double slope) noexcept nogil:
    # From `at` on another rate. What came together until then stays.
    cdef double passed = at - a.since, growing = passed
    if passed > 0:
        if a.slope < 0 and a.rate + a.slope * passed < 0:
            growing = -a.rate / a.slope
        a.owed -= a.rate * growing + a.slope * growing * growing / 2
    a.since = at
    a.rate = rate if rate > 0 else 0
    a.slope = slope
    a.due = arrival_after(a)


cdef void arrivals_step(Arrivals* a) noexcept nogil:
    # Steps of the plan that begin before the next arrival change it.
    while not a.overridden and a.next_step < a.steps and a.plan[a.next_step].at <= a.due:
        arrivals_turn(a, a.plan[a.next_step].at, a.plan[a.next_step].rate, a.plan[a.next_step].slope)
        a.next_step += 1


cdef void arrivals_draw(Arrivals* a, Random* random) noexcept nogil:
    # The arrival at `due` has come: when is the next?
    cdef double rate = a.rate + a.slope * (a.due - a.since)
    a.since = a.due
    a.rate = rate if rate > 0 else 0
    a.owed = random_exponential(random) if a.poisson else 1.0
    a.due = arrival_after(a)
    arrivals_step(a)


cdef void arrivals_start(Arrivals* a, Random* random) noexcept nogil:
    a.owed = random_exponential(random) if a.poisson else 1.0
    a.due = INFINITY
    arrivals_step(a)


cdef void arrivals_follow(Arrivals* a, double now) noexcept nogil:
    # What set_rate said. A writer in the middle of it is waited for until the next turn.
    cdef uint32_t version = load_version(&a.version)
    cdef double rate, slope
    if version == a.seen or version & 1:
        return
    rate, slope = a.wanted_rate, a.wanted_slope
    if load_version(&a.version) != version:
        return
    a.seen = version
    a.overridden = True
    arrivals_turn(a, now if now > a.since else a.since, rate, slope)


cdef void arrivals_want(Arrivals* a, double rate, double slope) noexcept:
    store_version(&a.version, a.version + 1)
    a.wanted_rate = rate
    a.wanted_slope = slope
    store_version(&a.version, a.version + 1)
