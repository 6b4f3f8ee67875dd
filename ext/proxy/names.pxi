# Next hops that are names (RFC 3263). What the resolver's thread has said of a name is kept here, with its servers, until
# its time is over; a request whose next hop is not known yet waits, without a policy and without Python, for as long as
# [dns] timeout. Rights are looked at before: nobody is asked on behalf of somebody who may not be relayed.

cdef enum:
    NAME_SETS = 1024             # of the table
    NAME_WAYS = 4                # names in each; the one whose time ends first makes room
    NAME_LONGEST = 253           # bytes
    DEAD_AT_MOST = 64            # servers that are known to fail
    DEAD_FOR = 30000             # ms
    LOCATING_AT_MOST = 4096      # requests that may wait for an answer at the same time
    DELAYED_AT_MOST = 64         # datagrams without a transaction that may; the oldest makes room

cdef struct Name:
    uint64_t hash                # keyed, of host, port, transport and scheme: it stands for them; 0: nothing here
    uint64_t expires             # ms
    uint32_t count               # 0: there is known to be no server
    NamedServer servers[8]

cdef struct Dead:
    Address address
    uint64_t until
    uint8_t transport

cdef struct Delayed:
    uint64_t hash
    Buffer* data                 # NULL: nothing here
    Flow flow

cdef struct Missed:              # the last name that was looked for and is not known
    uint64_t hash
    uint16_t port
    uint8_t transport
    uint8_t sips
    uint8_t length
    uint8_t host[253]

cdef struct Names:
    Name names[1024][4]
    Dead dead[64]
    uint32_t dead_count
    Delayed delayed[64]
    uint32_t next_delayed
    uint64_t chance
    bint stable                  # always the same server: for what has no transaction (RFC 3263 4.4)
    Missed missed
    Flow located[8]              # the servers of the name that was looked for last, in the order to be tried


cdef Names* names_new(const Proxy* p) noexcept nogil:
    cdef Names* n = <Names*>calloc(1, sizeof(Names))
    if n != NULL:
        n.chance = siphash(&p.control.branch_key, &p.worker, sizeof(p.worker)) | 1
    return n


cdef void names_free(Proxy* p) noexcept nogil:
    cdef Names* n = <Names*>p.names
    cdef uint32_t i
    if n == NULL:
        return
    for i in range(DELAYED_AT_MOST):
        buffer_release(p.pool, n.delayed[i].data)
    free(n)
    p.names = NULL


cdef void names_forget(Proxy* p) noexcept nogil:
    # After a reload: other name servers may say something else.
    if p.names != NULL:
        memset((<Names*>p.names).names, 0, sizeof((<Names*>p.names).names))


cdef inline void set_stable(Proxy* p, bint stable) noexcept nogil:
    if p.names != NULL:
        (<Names*>p.names).stable = stable


cdef bint is_name_byte(uint8_t c) noexcept nogil:
    return 97 <= c <= 122 or 48 <= c <= 57 or c == c'-' or c == c'.' or c == c'_'


cdef bint read_name(Proxy* p, const uint8_t* data, Slice host, const Uri* uri, Missed* out) noexcept nogil:
    # What is looked for; False if the host cannot be a name.
    cdef HashState h
    cdef uint32_t length = slice_length(host), i
    cdef uint8_t c
    if length and data[host.end - 1] == c'.':
        length -= 1
    if length == 0 or length > NAME_LONGEST:
        return False
    for i in range(length):
        c = data[host.start + i]
        if 65 <= c <= 90:
            c |= 0x20
        if not is_name_byte(c):
            return False
        out.host[i] = c
    out.length = <uint8_t>length
    out.port = uri.port
    out.transport = <uint8_t>uri.transport
    out.sips = uri.scheme == SCHEME_SIPS
    siphash_start(&h, &p.control.branch_key)
    siphash_word(&h, <uint64_t>out.port << 16 | <uint64_t>out.transport << 8 | out.sips)
    siphash_add(&h, out.host, length)
    out.hash = siphash_finish(&h) | 1
    return True


cdef Name* name_find(Names* n, uint64_t hash, uint64_t now) noexcept nogil:
    cdef Name* ways = n.names[(hash >> 1) % NAME_SETS]
    cdef uint32_t i
    for i in range(NAME_WAYS):
        if ways[i].hash == hash:
            return &ways[i] if ways[i].expires > now else NULL
    return NULL


cdef void name_put(Names* n, const NameAnswer* said, uint64_t now) noexcept nogil:
    cdef Name* ways = n.names[(said.hash >> 1) % NAME_SETS]
    cdef Name* place = &ways[0]
    cdef uint32_t i
    for i in range(NAME_WAYS):
        if ways[i].hash == said.hash:
            place = &ways[i]
            break
        if ways[i].expires < place.expires:
            place = &ways[i]
    place.hash = said.hash
    place.expires = now + said.lifetime
    place.count = min(said.count, <uint32_t>NAME_SERVERS)
    memcpy(place.servers, said.servers, place.count * sizeof(NamedServer))


cdef bint is_dead(Names* n, const NamedServer* server, uint64_t now) noexcept nogil:
    cdef uint32_t i = 0
    while i < n.dead_count:
        if n.dead[i].until <= now:
            n.dead_count -= 1
            n.dead[i] = n.dead[n.dead_count]
            continue
        if n.dead[i].transport == server.transport and address_equal(&n.dead[i].address, &server.address):
            return True
        i += 1
    return False


cdef double by_chance(Names* n) noexcept nogil:
    # From 0 up to 1: xorshift64*.
    n.chance ^= n.chance >> 12
    n.chance ^= n.chance << 25
    n.chance ^= n.chance >> 27
    return <double>((n.chance * <uint64_t>2685821657736338717u) >> 11) / 9007199254740992.0


cdef uint32_t draw(Names* n, const Name* name, uint8_t* order) noexcept nogil:
    # The servers in the order to be tried: by priority, among equals by chance and weight (RFC 2782), the addresses of one
    # host together.
    cdef uint32_t first = 0, end, i, count = 0, used, chosen
    cdef double sum, at
    while first < name.count:
        end = first
        while end < name.count and name.servers[end].tier == name.servers[first].tier:
            end += 1
        used = 0                 # choices
        while count < end:
            sum = 0
            for i in range(first, end):
                if name.servers[i].leads and not (used >> name.servers[i].choice) & 1:
                    sum += name.servers[i].weight
            at = 0 if n.stable else by_chance(n) * sum
            chosen = NAME_SERVERS
            for i in range(first, end):
                if name.servers[i].leads and not (used >> name.servers[i].choice) & 1:
                    chosen = name.servers[i].choice
                    at -= name.servers[i].weight
                    if at < 0:
                        break
            if chosen == NAME_SERVERS:
                break
            used |= <uint32_t>1 << chosen
            for i in range(first, end):
                if name.servers[i].choice == chosen:
                    order[count] = <uint8_t>i
                    count += 1
        first = end
    return count


cdef bint named_hop(Proxy* p, const uint8_t* data, Slice host, const Uri* uri, const Flow* like, Flow* out) noexcept nogil:
    # The first server of a name, all of them in `located`. A name that is not known yet is `missed`.
    cdef Names* n = <Names*>p.names
    cdef uint8_t order[8]
    cdef const NamedServer* server
    cdef const Name* name
    cdef Missed sought
    cdef uint32_t i, count, late, found = 0
    cdef bint dead
    p.located = 0
    if n == NULL or not read_name(p, data, host, uri, &sought):
        return False
    name = name_find(n, sought.hash, p.layer.now)
    if name == NULL:
        if not p.missed:
            n.missed = sought
            p.missed = True
        return False
    count = draw(n, name, order)
    for late in range(2):        # who failed a while ago comes last, but comes: he may be the only one
        for i in range(count):
            server = &name.servers[order[i]]
            dead = n.dead_count != 0 and not n.stable and is_dead(n, server, p.layer.now)
            if dead != (late == 1):
                continue
            if (address_is_sendable(&server.address)
                    and transport_route(p.transport, like, &server.address, server.transport, &n.located[found])
                    and transport_expect(p.transport, &n.located[found], sought.host, sought.length)):
                found += 1
    p.located = found
    if found == 0:
        return False
    out[0] = n.located[0]
    return True


cdef uint32_t named_addresses(Proxy* p, Address* out) noexcept nogil:
    # Of the name that was looked for last, up to NAME_SERVERS; where it is known no longer, those it had.
    cdef Names* n = <Names*>p.names
    cdef const Name* ways = n.names[(n.missed.hash >> 1) % NAME_SETS]
    cdef uint32_t i, k
    if not p.missed:
        for i in range(p.located):
            out[i] = n.located[i].remote
        return p.located
    for i in range(NAME_WAYS):
        if ways[i].hash == n.missed.hash:
            for k in range(ways[i].count):
                out[k] = ways[i].servers[k].address
            return ways[i].count
    return 0


# Questions

cdef bint ask_resolver(Proxy* p, const NameQuestion* q) noexcept nogil:
    if p.names_asked == NULL or not queue_put(p.names_asked, q, sizeof(NameQuestion)):
        return False
    p.names_wanted = True
    return True


cdef bint ask_where(Proxy* p, const ResponseContext* waiting) noexcept nogil:
    # Where the name is that was missed, which a context waits for, or nobody.
    cdef Names* n = <Names*>p.names
    cdef NameQuestion q
    memset(&q, 0, sizeof(q))
    q.kind = NAME_LOCATE
    q.hash, q.port, q.transport, q.sips = n.missed.hash, n.missed.port, n.missed.transport, n.missed.sips
    q.length = n.missed.length
    memcpy(q.host, n.missed.host, q.length)
    if waiting != NULL:
        q.waits = True
        q.token = token_of(waiting)
    return ask_resolver(p, &q)


cdef bint wait_for_name(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # Until it is known, or until the deadline, which is one for all names that one request needs.
    if p.locating >= LOCATING_AT_MOST:
        count_add(p.block, COUNT_names_refused, 1)
        return False
    if not ask_where(p, ctx):
        count_add(p.block, COUNT_names_refused, 1)
        return False
    ctx.asking = QUESTION_NAME
    p.locating += 1
    count_add(p.block, COUNT_names_asked, 1)
    if ctx.wait.kind != TIMER_WAIT_NAME or not timer_is_armed(&ctx.wait):
        if ctx.wait.kind == TIMER_TRYING and timer_is_armed(&ctx.wait):
            on_trying(p, ctx)
        timer_cancel(p.layer.wheel, &ctx.wait)
        ctx.wait.kind = TIMER_WAIT_NAME
        timer_arm(p.layer.wheel, &ctx.wait, p.layer.now, p.settings.dns_timeout)
    return True


cdef void ask_name(Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    # A request whose next hop is not known yet: its server transaction waits.
    cdef ResponseContext* ctx = open_context(p, m, r)
    cdef uint8_t* memory
    if ctx == NULL:
        return
    if not wait_for_name(p, ctx):
        context_free(p, ctx)
        answer(p, m, &r.answer, 503)
        return
    memory = plan_new(p, ctx, 0, 0, kept_size(m))
    if memory != NULL:
        keep_request(ctx, memory, m)
    if m.method == METHOD_INVITE:
        hold_trying(p, ctx, m)


cdef void route_on(Proxy* p, ResponseContext* ctx, bint again) noexcept nogil:
    # A request that waited goes where it would have gone at once; `again`: it may wait for another name.
    cdef Routing r
    cdef const Message* m = reopen(p, ctx, &r)
    cdef int status = 500
    if m != NULL:
        status = destination(p, m, &r)
        if p.missed and again and wait_for_name(p, ctx):
            return
        plan_drop(p, ctx)
        if status == 0 and not make_plan(p, ctx, m, &r):
            status = 500
    timer_cancel(p.layer.wheel, &ctx.wait)
    if status:
        ctx.stopped = 1
        consider(p, ctx, NULL, status, NULL)
        finish_plan(p, ctx)
        return
    run_plan(p, ctx, m, &r)


cdef bint locate_candidates(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # Contacts of a 3xx that are names: False while one of them is waited for. Who is not found is tried in vain.
    cdef Target* target
    cdef uint32_t i
    for i in range(ctx.plan.target_count):
        target = &ctx.plan.targets[i]
        if target.state != TARGET_CANDIDATE or target.step != ctx.step or target.order != NULL:
            continue
        p.missed = False
        if not hop_of(p, ctx, target) and p.missed and wait_for_name(p, ctx):
            return False
    ctx.unlocated = 0
    timer_cancel(p.layer.wheel, &ctx.wait)
    return True


cdef void on_name_late(Proxy* p, ResponseContext* ctx) noexcept nogil:
    # The deadline: whoever else the request can be sent to gets it now.
    count_add(p.block, COUNT_names_late, 1)
    go_on_named(p, ctx, False)


cdef void go_on_named(Proxy* p, ResponseContext* ctx, bint again) noexcept nogil:
    ctx.asking = 0
    p.locating -= 1
    if ctx.final_sent:
        return                   # somebody who had been silent has answered meanwhile
    if ctx.plan.target_count == 0:
        route_on(p, ctx, again)
        return
    if not again:
        ctx.unlocated = 0
    go_on(p, ctx)


cdef void proxy_located(Proxy* p, const NameAnswer* said) noexcept nogil:
    cdef Names* n = <Names*>p.names
    cdef Transaction* server
    cdef ResponseContext* ctx
    if n == NULL:
        return
    name_put(n, said, p.layer.now)
    replay(p, n, said.hash)
    if not said.waits:
        return
    server = transaction_at(p.layer, <uint32_t>(said.token >> 32), <uint32_t>said.token)
    if server == NULL or server.user == NULL or server.branch == LINKED:
        return
    ctx = <ResponseContext*>server.user
    if ctx.kind != CONTEXT_PROXY or ctx.asking != QUESTION_NAME:
        return
    go_on_named(p, ctx, True)


# What has no transaction: ACK, and requests of stateless roles. They are received once more when their name is known.

cdef bint delay(Proxy* p, const Message* m, const Routing* r) noexcept nogil:
    cdef Names* n = <Names*>p.names
    cdef Delayed* place
    cdef Buffer* data
    if not p.missed or not ask_where(p, NULL):
        return False
    data = buffer_copy(p.pool, m.data, m.size)
    if data == NULL:
        return False
    count_add(p.block, COUNT_names_asked, 1)
    place = &n.delayed[n.next_delayed % DELAYED_AT_MOST]
    n.next_delayed += 1
    buffer_release(p.pool, place.data)
    place.hash, place.data, place.flow = n.missed.hash, data, r.source
    return True


cdef void replay(Proxy* p, Names* n, uint64_t hash) noexcept nogil:
    cdef Packet packet
    cdef Buffer* data
    cdef uint32_t i
    for i in range(DELAYED_AT_MOST):
        if n.delayed[i].data == NULL or n.delayed[i].hash != hash:
            continue
        data = n.delayed[i].data
        n.delayed[i].data = NULL
        memset(&packet, 0, sizeof(packet))
        packet.data, packet.length, packet.flow = data.data, data.length, n.delayed[i].flow
        if parse_message(p.request, packet.data, packet.length, DATAGRAM) > 0:
            p.call = 0
            on_request(p, p.request, &packet)
        buffer_release(p.pool, data)


# Fail-over (RFC 3263 4.3)

cdef bint plan_servers(Proxy* p, ResponseContext* ctx, const Message* m, const Routing* r, uint32_t spare) noexcept nogil:
    # One target at the first server, with the others as its spares. False when memory is out.
    cdef Names* n = <Names*>p.names
    cdef uint32_t count = r.servers, i, length = slice_length(r.target.whole), size
    cdef const uint8_t* uri = m.data + r.target.whole.start
    cdef PlanHead* head
    cdef PlanStep* step
    cdef PlanTarget* order
    cdef uint8_t* memory
    if r.binding_length:
        uri, length = r.binding, r.binding_length
    size = (<uint32_t>(sizeof(PlanHead) + sizeof(PlanStep) + count * sizeof(PlanTarget)) + length + 7) & ~7
    memory = plan_new(p, ctx, count, count + spare, kept_size(m) + size + spare * MAX_URI)
    if memory == NULL:
        return False
    memory = keep_request(ctx, memory, m)
    memset(memory, 0, size)
    head = <PlanHead*>memory
    head.size, head.steps, head.targets = size, 1, <uint16_t>count
    head.flags = PLAN_RECURSE if spare else 0
    step = <PlanStep*>(head + 1)
    step.count = 1
    order = <PlanTarget*>(step + 1)
    memcpy(<uint8_t*>(order + count), uri, length)
    for i in range(count):
        order[i].uri.at = <uint32_t>(<uint8_t*>(order + count) - memory)
        order[i].uri.length = length
        order[i].q = 1000
        order[i].located = True
        order[i].spare_of = i > 0
        if i + 1 < count:
            # Who is slow to answer anything but an INVITE says nothing before that (RFC 4320 4.1).
            order[i].try_time = p.settings.dns_try_time * (1 if m.method == METHOD_INVITE else 2)
        ctx.plan.targets[i].flow = n.located[i]
    ctx.plan.head = head
    ctx.plan.targets[0].order = order
    ctx.plan.targets[0].uri, ctx.plan.targets[0].uri_length = <uint8_t*>(order + count), length
    adopt_spares(ctx)
    return True


cdef void server_failed(Proxy* p, const Target* target) noexcept nogil:
    # One server of a name: nothing heard, nothing sent, or a 503. It comes last for a while, in plans made elsewhere too.
    cdef Names* n = <Names*>p.names
    cdef NameQuestion q
    cdef Dead* dead
    cdef uint32_t i, oldest = 0
    if target.order == NULL or not target.order.located or n == NULL:
        return
    for i in range(n.dead_count):
        if n.dead[i].transport == target.flow.transport and address_equal(&n.dead[i].address, &target.flow.remote):
            n.dead[i].until = p.layer.now + DEAD_FOR
            break
        if n.dead[i].until < n.dead[oldest].until:
            oldest = i
    else:
        if n.dead_count < DEAD_AT_MOST:
            oldest = n.dead_count
            n.dead_count += 1
        dead = &n.dead[oldest]
        dead.address, dead.transport, dead.until = target.flow.remote, target.flow.transport, p.layer.now + DEAD_FOR
    count_add(p.block, COUNT_names_failed, 1)
    memset(&q, 0, sizeof(q))
    q.kind = NAME_FAILED
    q.failed, q.transport = target.flow.remote, target.flow.transport
    ask_resolver(p, &q)
