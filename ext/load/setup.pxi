# From what Python says to what a turn reads. Texts live in one arena for as long as the engine.

cdef struct Arena:
    uint8_t* start
    size_t used
    size_t size


cdef int keep_text(list texts, Text* out, bytes text) except -1:
    # Remembered until all are known and the arena has its size; `at` is an offset until then.
    out.length = <uint32_t>len(text)
    texts.append((<size_t>out, text))
    return 0


cdef uint8_t* settle_texts(list texts) except NULL:
    cdef uint8_t* arena = <uint8_t*>calloc(1 + sum([len(text) for _, text in texts]), 1)
    cdef uint8_t* at = arena
    cdef Text* out
    cdef bytes text
    cdef size_t where
    if arena == NULL:
        raise MemoryError
    for where, text in texts:
        out = <Text*>where
        out.at = at
        memcpy(at, <const uint8_t*>text, out.length)
        at += out.length
    return arena


cdef bytes plain(str what, str text, int most=1024):
    # What goes into a message as it is: no line end, nothing that could end a URI.
    if not text or len(text) > most or any(c <= " " or c in '<>"' for c in text):
        raise ValueError(f"{what}: {text!r} cannot stand in a message")
    return text.encode()


cdef bytes uri_of(str what, str text):
    if not text.startswith(("sip:", "sips:")) or len(text) < 5:
        raise ValueError(f"{what}: {text!r} is no SIP URI")
    return plain(what, text)


cdef bytes body_text(str content_type, bytes body):
    if not body:
        return b""
    return f"\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


cdef bytes sdp(str host, int size):
    # An offer or answer of about that many bytes.
    if not size:
        return b""
    kind = "IP6" if ":" in host else "IP4"
    text = (f"v=0\r\no=- 1 1 IN {kind} {host}\r\ns=-\r\nc=IN {kind} {host}\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n"
            "a=rtpmap:0 PCMU/8000\r\n")
    while len(text) + 4 < size:
        text += "a=" + "x" * min(62, size - len(text) - 4) + "\r\n"
    return text.encode()


cdef str host_port(str host, int port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


cdef void* table_of(Py_ssize_t entries, size_t size) except NULL:
    cdef void* memory = calloc(entries if entries else 1, size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef dict TRANSPORTS = {"udp": TRANSPORT_UDP, "tcp": TRANSPORT_TCP, "tls": TRANSPORT_TLS}


cdef int read_places(Load* l, setup, list numbers) except -1:
    # One for each source address, and as many more as there are to be connections. `numbers` are the sockets' listener
    # numbers.
    cdef Address target
    cdef Place* place
    cdef bytes name, host
    cdef list found = []
    memset(&target, 0, sizeof(target))
    if setup.target is not None:
        host = setup.target[0].encode()
        if not address_parse(&target, host, <uint32_t>len(host), setup.target[1]):
            raise ValueError(f"target: {setup.target[0]!r} is not a numeric address")
    for number, source in zip(numbers, setup.sources):
        found += [(number, address, source.port, source.advertise, TRANSPORTS[source.transport])
                  for address in source.addresses or [source.host]]
    if setup.target is not None and setup.connections > len(found) and setup.sources[0].transport != "udp":
        found = [found[i % len(found)] for i in range(setup.connections)]
    l.place = <Place*>table_of(len(found), sizeof(Place))
    for number, address, port, advertise, transport in found:
        place = &l.place[l.places]
        if not read_place(l, place, number, address, port, transport, &target):
            raise ValueError(f"{host_port(address, port)} cannot send to the target")
        if advertise is not None:
            name = host_port(advertise[0], advertise[1]).encode()
        else:
            name = host_port(address if place.name_length == 0 else (<bytes>place.name[:place.name_length]).decode(),
                             port).encode()
        memcpy(place.name, <const uint8_t*>name, len(name))
        place.name_length = <uint32_t>len(name)
        l.places += 1
    l.settled = l.place[0].flow.reliable and len(setup.callers) >= l.places
    return 0


cdef bint read_place(Load* l, Place* place, int number, str address, int port, int transport, const Address* target):
    # `name` is the host that routing chooses where a wildcard socket has no addresses of its own.
    cdef bytes host = address.encode()
    cdef Flow like
    cdef char text[ADDRESS_TEXT]
    memset(&like, 0, sizeof(like))
    like.listener = <uint16_t>number
    like.transport = <uint8_t>transport
    if not address_parse(&like.local, host, <uint32_t>len(host), port):
        return False
    if target.family == 0:
        place.flow = like
        return True
    if not transport_route(l.transport, &like, target, transport, &place.flow) or place.flow.listener != number:
        return False
    place.name_length = address_host(&place.flow.local, text, False)
    memcpy(place.name, text, place.name_length)
    return True


cdef int read_work(Load* l, setup, list texts) except -1:
    cdef Py_ssize_t i
    cdef Person* person
    cdef Job* job
    cdef Segment* segment
    cdef double weight = 0, upto = 0
    host = setup.sources[0].host
    keep_text(texts, &l.agent, setup.user_agent.encode())
    keep_text(texts, &l.target, f"sip:{host_port(setup.target[0], setup.target[1])}".encode() if setup.target else b"")
    l.persons = <uint32_t>len(setup.callers)
    l.person = <Person*>table_of(l.persons, sizeof(Person))
    l.next_person = l.persons - 1 if l.persons else 0
    for i in range(l.persons):
        caller = setup.callers[i]
        person = &l.person[i]
        keep_text(texts, &person.aor, uri_of("callers", caller.aor))
        keep_text(texts, &person.name, (caller.name or caller.aor.split(":", 1)[1].split("@")[0]).encode())
        keep_text(texts, &person.password, (caller.password or "").encode())
        person.has_password = caller.password is not None
        person.cseq = 0
    l.callees = <uint32_t>len(setup.callees)
    l.callee = <Text*>table_of(l.callees, sizeof(Text))
    for i in range(l.callees):
        keep_text(texts, &l.callee[i], uri_of("callees", setup.callees[i]))
    l.gather = <uint64_t>setup.gather * 1000
    if l.gather:
        l.widest_aor = max([len(caller.aor) for caller in setup.callers], default=0)
        l.widest_callee = max([len(callee) for callee in setup.callees], default=0)
    l.jobs = <uint32_t>len(setup.scenarios)
    l.job = <Job*>table_of(l.jobs, sizeof(Job))
    weight = sum([scenario.weight for scenario in setup.scenarios])
    if l.jobs > 255 or l.jobs and not weight > 0:
        raise ValueError("scenarios: between 1 and 255 of them, and some weight")
    for i in range(l.jobs):
        scenario = setup.scenarios[i]
        job = &l.job[i]
        job.kind = KINDS.index(scenario.kind)
        upto += scenario.weight / weight
        job.upto = upto
        job.hold_kind = HOLDS.index(scenario.hold.kind)
        job.hold, job.hold_least = scenario.hold.mean, min(scenario.hold.least, scenario.hold.mean)
        job.busy = scenario.busy
        job.fresh = scenario.fresh
        job.reinvite, job.cancel, job.remove = scenario.reinvite, scenario.cancel, scenario.remove
        job.cancel_after, job.expires = scenario.cancel_after, scenario.expires
        keep_text(texts, &job.contact, plain("contact", scenario.contact, 300) if scenario.contact else b"")
        if job.kind == WORK_MESSAGE:
            keep_text(texts, &job.body, body_text("text/plain", b"x" * min(<int>scenario.body, 60000)))
        else:
            keep_text(texts, &job.body, body_text("application/sdp", sdp(host, min(<int>scenario.body, 60000))))
    l.arrivals.steps = <uint32_t>len(setup.plan)
    l.arrivals.plan = <Segment*>table_of(l.arrivals.steps, sizeof(Segment))
    for i, step in enumerate(sorted(setup.plan, key=lambda step: step.at)):
        segment = &l.arrivals.plan[i]
        segment.at, segment.rate, segment.slope = step.at, step.rate, step.slope
    return 0


KINDS = ("call", "register", "options", "message")
HOLDS = ("constant", "exponential", "uniform")
