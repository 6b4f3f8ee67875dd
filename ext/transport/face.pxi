# The Python face. The master needs sizes; everything below them is for tests and benchmarks.
from fastsip._address cimport ADDRESS_TEXT, address_host, address_parse

SLOTS_SIZE = RECEIVE_BATCH * RECEIVE_SLOT
LARGEST_DATAGRAM = RING_MESSAGE


cdef Address address_of(object pair) except *:
    cdef Address address
    cdef bytes host = pair[0].encode()
    if not address_parse(&address, host, <uint32_t>len(host), pair[1]):
        raise ValueError(f"not a numeric address: {pair[0]!r}")
    return address


cdef object pair_of(const Address* address):
    cdef char text[ADDRESS_TEXT]
    if address.family == 0:
        return None
    return text[:address_host(address, text, False)].decode(), address.port


cdef class Endpoint:
    # For tests and benchmarks: the transport of one worker, driven from Python.
    cdef TransportState* state
    cdef BufferPool pool
    cdef Control* control
    cdef object keep
    cdef int wakes[64]
    cdef const uint8_t[::1] control_view
    cdef const uint8_t[::1] rings_view
    cdef const uint8_t[::1] slots_view

    def __cinit__(self, control, rings, slots, wakes, worker=0):
        cdef TransportSetup setup
        memset(&setup, 0, sizeof(setup))
        pool_init(&self.pool)
        self.control_view = control
        self.rings_view = rings
        self.slots_view = slots
        self.control = <Control*><void*>&self.control_view[0]
        if self.slots_view.shape[0] < RECEIVE_BATCH * RECEIVE_SLOT or len(wakes) > 64:
            raise ValueError("slots too small or too many workers")
        for i, fd in enumerate(wakes):
            self.wakes[i] = fd
        setup.worker = worker
        setup.workers = <uint32_t>len(wakes)
        setup.control = self.control
        setup.pool = &self.pool
        setup.slots = <void*>&self.slots_view[0]
        setup.rings = <void*>&self.rings_view[0]
        setup.rings_size = <size_t>self.rings_view.shape[0]
        setup.wake = self.wakes[worker] if worker < len(wakes) else -1
        setup.wakes = self.wakes
        self.state = transport_new(&setup)
        if self.state == NULL:
            raise OSError(errno, "transport_new")

    def __dealloc__(self):
        transport_free(self.state)
        pool_trim(&self.pool)

    def listen(self, int fd, int index=0, advertise=None, bint adopted=False, int transport=TRANSPORT_UDP):
        cdef Address address
        cdef int number
        if advertise is not None:
            address = address_of(advertise)
        number = transport_listen(self.state, fd, transport, index, &address if advertise is not None else NULL, adopted)
        if number < 0:
            raise OSError(errno, "transport_listen")
        return number

    def forget(self, uint32_t number):
        transport_forget(self.state, number)

    def listener(self, uint32_t number):
        cdef Listener* found = transport_listener(self.state, number)
        if found == NULL:
            raise IndexError(number)
        return {"fd": found.fd, "address": pair_of(&found.address), "advertise": pair_of(&found.advertise),
                "wildcard": bool(found.wildcard), "adopted": bool(found.adopted), "index": found.index}

    def listeners(self):
        return transport_listeners(self.state)

    def watch(self, int fd):
        if transport_watch(self.state, fd) < 0:
            raise OSError(errno, "transport_watch")

    def wait(self, uint32_t ms):
        cdef int watched
        with nogil:
            watched = transport_wait(self.state, clock_ns(CLOCK_MONOTONIC), ms)
        return bool(watched)

    def receive(self):
        # Whose a packet is that nobody asked about is found as a parser would.
        cdef Packet* packets
        cdef Slice call_id
        cdef int count, i
        with nogil:
            count = transport_receive(self.state, &packets)
            for i in range(count):
                if not packets[i].claimed and find_call_id(packets[i].data, packets[i].length, &call_id):
                    if not transport_claim(self.state, &packets[i], packets[i].data + call_id.start, slice_length(call_id)):
                        packets[i].length = 0
        return [(packets[i].data[:packets[i].length], pair_of(&packets[i].flow.remote), pair_of(&packets[i].flow.local),
                 packets[i].flow.listener, packets[i].slot) for i in range(count) if packets[i].length]

    def in_hand(self, slot, length):
        cdef Packet packet
        packet.slot = slot or 0
        packet.length = length
        transport_in_hand(self.state, &packet if slot else NULL)

    def send(self, data, remote, local=None, uint32_t listener=0):
        cdef Flow flow
        cdef const uint8_t[::1] view = data
        cdef Buffer* buffer
        cdef int result
        memset(&flow, 0, sizeof(flow))
        flow.remote = address_of(remote)
        if local is not None:
            flow.local = address_of(local)
        flow.listener = <uint16_t>listener
        buffer = buffer_copy(&self.pool, &view[0] if view.shape[0] else NULL, <uint32_t>view.shape[0])
        if buffer == NULL:
            return -1
        result = transport_send(self.state, &flow, buffer)
        buffer_release(&self.pool, buffer)
        return result

    def flush(self):
        with nogil:
            transport_flush(self.state)

    def route(self, remote, like=None, int transport=TRANSPORT_UDP):
        # `like` is (listener, local) of the flow a request came by.
        cdef Flow flow, out
        cdef Address target = address_of(remote)
        memset(&flow, 0, sizeof(flow))
        if like is not None:
            flow.listener = <uint16_t>like[0]
            if like[1] is not None:
                flow.local = address_of(like[1])
        if not transport_route(self.state, &flow if like is not None else NULL, &target, transport, &out):
            return None
        return out.listener, pair_of(&out.local), pair_of(&out.remote)

    def sent_by(self, listener, remote, local=None):
        cdef Flow flow
        cdef Address out
        memset(&flow, 0, sizeof(flow))
        flow.listener = <uint16_t>listener
        flow.remote = address_of(remote)
        if local is not None:
            flow.local = address_of(local)
        transport_sent_by(self.state, &flow, &out)
        return pair_of(&out)

    def buffers(self):
        return pool_live(&self.pool)

    def hand(self, uint32_t worker, data, uint32_t index=0):
        # Put a record straight into a neighbour's ring, as receive_batch does; True if there was room.
        cdef Flow flow
        cdef const uint8_t[::1] view = data
        cdef bint done
        memset(&flow, 0, sizeof(flow))
        flow.listener = <uint16_t>index
        done = ring_write(&self.state.writers[worker], RING_RECEIVED, &flow, &view[0], <uint32_t>view.shape[0])
        if done:
            ring_publish(&self.state.writers[worker])
            self.state.touched |= 1ull << worker
        else:
            count_add(self.state.block, COUNT_dropped_ring, 1)
        return bool(done)

    def bounce(self, uint32_t worker, uint64_t count, uint32_t spin, uint32_t ms, bint first):
        # Play one 8-byte record back and forth with a neighbour `count` times, asleep in between; how often it came.
        # `spin` varies when each side goes to sleep: between 0 and that many turns of looking first.
        cdef Flow flow
        cdef Packet* packets
        cdef uint64_t done = 0, word = 0, luck = 88172645463325252
        cdef uint64_t deadline
        cdef uint32_t turns
        cdef int got = 0
        memset(&flow, 0, sizeof(flow))
        with nogil:
            while done < count:
                if first or done:
                    ring_write(&self.state.writers[worker], RING_RECEIVED, &flow, &word, sizeof(word))
                    ring_publish(&self.state.writers[worker])
                    self.state.touched |= 1ull << worker
                    transport_flush(self.state)
                luck ^= luck << 13
                luck ^= luck >> 7
                luck ^= luck << 17
                turns = <uint32_t>(luck % (spin + 1))
                got = 0
                while got == 0 and turns:
                    turns -= 1
                    self.state.ring_batches = 0
                    got = transport_receive(self.state, &packets)
                deadline = clock_ns(CLOCK_MONOTONIC) + ms * <uint64_t>1000000
                while got == 0 and clock_ns(CLOCK_MONOTONIC) < deadline:     # waking for nothing is allowed
                    transport_wait(self.state, clock_ns(CLOCK_MONOTONIC), ms)
                    got = transport_receive(self.state, &packets)
                if got != 1 or clock_ns(CLOCK_MONOTONIC) >= deadline:        # what came by timeout was not announced
                    break
                memcpy(&word, packets[0].data, sizeof(word))
                word += 1
                done += 1
            if not first and done == count:
                ring_write(&self.state.writers[worker], RING_RECEIVED, &flow, &word, sizeof(word))
                ring_publish(&self.state.writers[worker])
                self.state.touched |= 1ull << worker
                transport_flush(self.state)
        return done

    def pump(self, uint32_t worker, data, uint64_t count, uint32_t batch):
        # Hand `count` records to a neighbour in batches, waiting while the ring is full; CPU ns of those that had room.
        cdef Flow flow
        cdef const uint8_t[::1] view = data
        cdef uint64_t done = 0, spent = 0, started
        cdef uint32_t n
        memset(&flow, 0, sizeof(flow))
        with nogil:
            while done < count:
                started = clock_ns(CLOCK_THREAD_CPUTIME_ID)
                n = 0
                while n < batch and ring_write(&self.state.writers[worker], RING_RECEIVED, &flow, &view[0], <uint32_t>view.shape[0]):
                    n += 1
                ring_publish(&self.state.writers[worker])
                if n:
                    self.state.touched |= 1ull << worker
                    transport_flush(self.state)
                    spent += clock_ns(CLOCK_THREAD_CPUTIME_ID) - started
                    done += n
        return spent

    def drain(self, uint64_t count):
        # Take `count` packets from the rings without ever sleeping; CPU ns of the batches that had any.
        cdef Packet* packets
        cdef uint64_t done = 0, spent = 0, started
        cdef int got
        with nogil:
            while done < count:
                started = clock_ns(CLOCK_THREAD_CPUTIME_ID)
                self.state.ring_batches = 0
                got = transport_receive(self.state, &packets)
                if got:
                    spent += clock_ns(CLOCK_THREAD_CPUTIME_ID) - started
                    done += <uint64_t>got
        return spent

    def forward(self, remote):
        # One turn that sends every packet on to `remote` in a buffer of its own: (datagrams, CPU ns).
        cdef Flow flow
        cdef Address target = address_of(remote)
        cdef Packet* packets
        cdef Buffer* buffer
        cdef uint64_t done = 0, started, ended
        cdef int got, i
        with nogil:
            started = clock_ns(CLOCK_THREAD_CPUTIME_ID)
            transport_wait(self.state, 0, 0)
            while True:
                got = transport_receive(self.state, &packets)
                if got == 0:
                    break
                for i in range(got):
                    flow = packets[i].flow
                    flow.remote = target
                    buffer = buffer_copy(&self.pool, packets[i].data, packets[i].length)
                    transport_send(self.state, &flow, buffer)
                    buffer_release(&self.pool, buffer)
                done += <uint64_t>got
            transport_flush(self.state)
            ended = clock_ns(CLOCK_THREAD_CPUTIME_ID)
        return done, ended - started

    def forward_bare(self, remote, uint32_t listener=0):
        # The floor to compare with: epoll_wait, recvmmsg, sendmmsg of the same memory, nothing else.
        cdef Address target = address_of(remote)
        cdef sockaddr_storage name
        cdef mmsghdr* out = self.state.queues[listener].headers
        cdef epoll_event event
        cdef uint64_t done = 0, started, ended
        cdef socklen_t length = address_to_sockaddr(&target, &name)
        cdef int fd = self.state.listeners[listener].fd, got, i
        with nogil:
            started = clock_ns(CLOCK_THREAD_CPUTIME_ID)
            epoll_wait(self.state.epoll, &event, 1, 0)
            while True:
                got = recvmmsg(fd, self.state.headers, RECEIVE_BATCH, MSG_DONTWAIT, NULL)
                if got <= 0:
                    break
                for i in range(got):
                    self.state.headers[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
                    self.state.headers[i].msg_hdr.msg_controllen = CONTROL_BYTES
                    self.state.queues[listener].pieces[i].iov_base = self.state.pieces[i].iov_base
                    self.state.queues[listener].pieces[i].iov_len = self.state.headers[i].msg_len
                    memcpy(&self.state.queues[listener].names[i], &name, length)
                    out[i].msg_hdr.msg_namelen = length
                    out[i].msg_hdr.msg_control = NULL
                    out[i].msg_hdr.msg_controllen = 0
                sendmmsg(fd, out, <unsigned int>got, MSG_DONTWAIT)
                done += <uint64_t>got
                if got < RECEIVE_BATCH:
                    break
            ended = clock_ns(CLOCK_THREAD_CPUTIME_ID)
        return done, ended - started
