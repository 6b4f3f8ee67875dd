# From buffers to sockets. A datagram the network refuses is dropped and counted: who needs it sends it again.

cdef void write_source(msghdr* message, void* control, const Address* local) noexcept nogil:
    # Leave from `local` on a wildcard socket: the peer knows us by the address it wrote to.
    cdef cmsghdr* item = <cmsghdr*>control
    cdef in_pktinfo info4
    cdef in6_pktinfo info6
    message.msg_control = control
    if local.family == 4:
        memset(&info4, 0, sizeof(info4))
        memcpy(&info4.ipi_spec_dst, local.ip, 4)
        message.msg_controllen = CMSG_SPACE(sizeof(info4))
        item.cmsg_level = IPPROTO_IP
        item.cmsg_type = IP_PKTINFO
        item.cmsg_len = CMSG_LEN(sizeof(info4))
        memcpy(CMSG_DATA(item), &info4, sizeof(info4))
    else:
        memset(&info6, 0, sizeof(info6))
        memcpy(&info6.ipi6_addr, local.ip, 16)
        info6.ipi6_ifindex = local.scope
        message.msg_controllen = CMSG_SPACE(sizeof(info6))
        item.cmsg_level = IPPROTO_IPV6
        item.cmsg_type = IPV6_PKTINFO
        item.cmsg_len = CMSG_LEN(sizeof(info6))
        memcpy(CMSG_DATA(item), &info6, sizeof(info6))


cdef int transport_send(TransportState* t, const Flow* flow, Buffer* buffer) noexcept nogil:
    cdef Listener* listener
    cdef SendQueue* queue
    cdef msghdr* message
    cdef uint32_t at
    if flow.reliable:
        return stream_send(t, flow, buffer)
    if (flow.listener >= t.listener_count or t.listeners[flow.listener].fd < 0 or buffer.length > RING_MESSAGE or not address_is_sendable(&flow.remote)
            or flow.remote.family != t.listeners[flow.listener].address.family):
        count_add(t.block, COUNT_dropped_unsendable, 1)
        return -1
    listener = &t.listeners[flow.listener]
    queue = t.queues[flow.listener]
    if queue.count == SEND_QUEUE:
        flush_queue(t, listener, queue)
    at = queue.count
    message = &queue.headers[at].msg_hdr
    message.msg_namelen = address_to_sockaddr(&flow.remote, &queue.names[at])
    queue.pieces[at].iov_base = buffer.data
    queue.pieces[at].iov_len = buffer.length
    if listener.wildcard and flow.local.family == flow.remote.family and not is_unspecified(&flow.local):
        write_source(message, queue.controls[at], &flow.local)
    else:
        message.msg_control = NULL
        message.msg_controllen = 0
    queue.buffers[at] = buffer_hold(buffer)
    queue.count = at + 1
    return 0


cdef void flush_queue(TransportState* t, Listener* listener, SendQueue* queue) noexcept nogil:
    # sendmmsg stops at the first datagram it cannot send and says why only when that is the first of the call. A full
    # send buffer is tried once more, then the rest of the queue is dropped: there is no room for it either. Any other
    # error is that one datagram's (no route, a firewall, a source address that is gone).
    cdef uint32_t at = 0, i
    cdef uint64_t bytes_out = 0, dropped = 0
    cdef int sent
    cdef bint refused = False
    if t.packs != NULL and queue.count > 1:
        at = send_packed(t, listener, queue, &bytes_out)
    while at < queue.count:
        sent = sendmmsg(listener.fd, &queue.headers[at], queue.count - at, MSG_DONTWAIT)
        if sent > 0:
            for i in range(at, at + <uint32_t>sent):
                bytes_out += queue.headers[i].msg_len
            at += <uint32_t>sent
            refused = False
        elif errno == EAGAIN:
            if refused:
                dropped += queue.count - at
                break
            refused = True
        elif errno != EINTR:
            dropped += 1
            at += 1
    for i in range(queue.count):
        buffer_release(t.pool, queue.buffers[i])
    count_add(t.block, COUNT_datagrams_out, queue.count - dropped)
    count_add(t.block, COUNT_bytes_out, bytes_out)
    if dropped:
        count_add(t.block, COUNT_dropped_send, dropped)
    queue.count = 0


cdef inline bint same_way(const SendQueue* queue, uint32_t a, uint32_t b) noexcept nogil:
    cdef const msghdr* first = &queue.headers[a].msg_hdr
    cdef const msghdr* other = &queue.headers[b].msg_hdr
    return (first.msg_namelen == other.msg_namelen and first.msg_controllen == other.msg_controllen
            and memcmp(first.msg_name, other.msg_name, first.msg_namelen) == 0
            and (first.msg_controllen == 0 or memcmp(first.msg_control, other.msg_control, first.msg_controllen) == 0))


cdef uint32_t pack_up(SendQueue* queue, uint32_t at, mmsghdr* head, uint64_t* control) noexcept nogil:
    # As many datagrams from `at` on as may leave in one piece: to one address, all of one length but a shorter last one.
    # Returns where the next piece begins.
    cdef uint32_t i = at + 1
    cdef size_t length = queue.pieces[at].iov_len, whole = length
    cdef cmsghdr* item
    cdef uint16_t segment = <uint16_t>length
    head[0] = queue.headers[at]
    while i < queue.count and i - at < PACK_SEGMENTS and whole + queue.pieces[i].iov_len <= PACK_BYTES:
        if queue.pieces[i].iov_len > length or not same_way(queue, at, i):
            break
        whole += queue.pieces[i].iov_len
        i += 1
        if queue.pieces[i - 1].iov_len < length:
            break
    if i - at == 1:
        return i
    head.msg_hdr.msg_iovlen = i - at             # the pieces lie one behind the other
    item = <cmsghdr*>control
    item.cmsg_level = SOL_UDP
    item.cmsg_type = UDP_SEGMENT
    item.cmsg_len = CMSG_LEN(sizeof(segment))
    memcpy(CMSG_DATA(item), &segment, sizeof(segment))
    memcpy(<uint8_t*>control + CMSG_SPACE(sizeof(segment)), head.msg_hdr.msg_control, head.msg_hdr.msg_controllen)
    head.msg_hdr.msg_control = control
    head.msg_hdr.msg_controllen += CMSG_SPACE(sizeof(segment))
    return i


cdef uint32_t send_packed(TransportState* t, Listener* listener, SendQueue* queue, uint64_t* bytes_out) noexcept nogil:
    # Generic segmentation offload: the kernel takes runs of equal datagrams through its layers as one and splits them at
    # the end. Returns how many of the queue are gone; what did not go leaves one by one, and where this kernel or path
    # cannot do it, so does everything from now on.
    cdef SendPacks* packs = t.packs
    cdef uint32_t count = 0, done = 0, at = 0, i
    cdef int sent
    while at < queue.count:
        packs.first[count] = at
        at = pack_up(queue, at, &packs.headers[count], packs.controls[count])
        count += 1
    packs.first[count] = at
    while done < count:
        sent = sendmmsg(listener.fd, &packs.headers[done], count - done, MSG_DONTWAIT)
        if sent <= 0:
            break
        for i in range(done, done + <uint32_t>sent):
            bytes_out[0] += packs.headers[i].msg_len
        done += <uint32_t>sent
    at = packs.first[done]
    if done < count and errno in (EINVAL, EIO, EMSGSIZE, EOPNOTSUPP):
        free(packs)
        t.packs = NULL
    return at


cdef int transport_pack(TransportState* t) noexcept nogil:
    if t.packs == NULL:
        t.packs = <SendPacks*>calloc(1, sizeof(SendPacks))
    return 0 if t.packs != NULL else -1


cdef void transport_flush(TransportState* t) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t one = 1
    for i in range(t.listener_count):
        if t.queues[i] != NULL and t.queues[i].count:
            flush_queue(t, &t.listeners[i], t.queues[i])
    if t.streams != NULL and t.streams.writable_count:
        flush_streams(t)
    if t.touched == 0:
        return
    for i in range(t.workers):
        if t.touched >> i & 1 and wake_needed(&t.control.worker[i]):
            write(t.wakes[i], &one, sizeof(one))
            count_add(t.block, COUNT_wakeups, 1)
    t.touched = 0
