# Transport: UDP sockets in batches, connections, rings between workers, one epoll.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastsip._address cimport Address, Flow
from fastsip._control cimport Control
from fastsip._memory cimport Buffer, BufferPool
from fastsip._message cimport Slice
from fastsip._remark cimport Remarks
from fastsip._tls cimport DoorState, Tls

cdef enum:
    RECEIVE_BATCH = 64
    RECEIVE_SLOT = 65600     # bytes per receive slot: any datagram, with room behind it
    MAX_LISTENERS = 32

cdef enum PacketKind:
    PACKET_RECEIVED = 0
    PACKET_NO_LENGTH = 1     # the header section of a message whose Content-Length is missing or wrong: 400, the end of its
    PACKET_TOO_LARGE = 2     # connection; of one that is too large: 513
    PACKET_UNDELIVERED = 3   # not received: it was to be sent by `flow` and could not be
    PACKET_GONE = 4          # nor this: `flow` has ended by which people were reached, addresses-of-record with LFs between
    PACKET_UNANSWERED = 5    # nor this: `flow` has ended with this request unanswered, whose branch it is

cdef struct Packet:          # one received message, valid until the next transport_receive
    uint8_t* data            # in a receive slot
    uint32_t length
    uint32_t slot            # receive slot + 1; what came by ring is copied into one, so that the crash file covers it
    uint8_t kind             # PacketKind
    uint8_t claimed          # it is known to be this worker's; else transport_claim says, once the Call-ID is known
    uint64_t call            # hash of its Call-ID by Control.owner_key, 0 while nobody needed it
    Flow flow

cdef struct Listener:
    int fd
    Address address          # bound address; unspecified ip when wildcard
    Address advertise        # what to write in Via and Record-Route instead; family 0: the local address
    uint8_t transport
    uint8_t wildcard         # IP_PKTINFO is on: Flow.local is per datagram
    uint8_t adopted          # a dead neighbour's socket, read by this worker too
    uint8_t index            # which configured listen address (the same for every worker's socket of it)
    uint64_t overflow        # last SO_RXQ_OVFL seen

cdef struct TransportSetup:
    uint32_t worker
    uint32_t workers
    Control* control
    BufferPool* pool
    void* slots              # RECEIVE_BATCH * RECEIVE_SLOT bytes shared with the master (crash file)
    void* rings              # rings_size(workers, budget) bytes shared by all workers
    size_t rings_size
    DoorState* door          # where TLS connections come from; NULL: no TLS
    const uint8_t* peer      # who everyone is to be to whom TLS connections are opened; NULL: their address. Outlives this
    uint32_t peer_length
    int wake                 # own eventfd
    int* wakes               # every worker's eventfd, by index

cdef struct TransportState   # opaque

cpdef size_t rings_size(uint32_t workers, size_t budget) noexcept nogil
cdef Remarks* transport_remarks(TransportState* t) noexcept nogil     # about connections; one thread reads them
cdef TransportState* transport_new(const TransportSetup* setup) noexcept nogil       # NULL with errno
cdef void transport_free(TransportState* t) noexcept nogil
# Add a bound, non-blocking socket of a transport (TRANSPORT_*), listening if that is one of streams; returns its listener number or -1 with errno. A socket that is there already, by
# whatever descriptor, is not added twice: if the listener returned has another fd, the one given may be closed.
cdef int transport_listen(TransportState* t, int fd, int transport, int index, const Address* advertise,
                          bint adopted) noexcept nogil
# Take over a connection of a WS or WSS listener whose opening handshake is done, with what came behind it. -1, and it is
# closed, when there is no room.
cdef int transport_join(TransportState* t, int fd, Tls* tls, uint32_t number, const Address* remote, const void* rest,
                        uint32_t length) noexcept nogil
# Read an adopted socket no longer: its own worker is back. The number is free for the next; the descriptor stays open.
cdef void transport_forget(TransportState* t, uint32_t number) noexcept nogil
cdef uint32_t transport_listeners(TransportState* t) noexcept nogil
cdef Listener* transport_listener(TransportState* t, uint32_t number) noexcept nogil
# The listener number of a listen address, -1 if none; whether there is one of a transport.
cdef int transport_numbered(const TransportState* t, int index) noexcept nogil
cdef bint transport_has(const TransportState* t, int transport) noexcept nogil
# Watch one more descriptor (the service thread's eventfd); transport_wait says when it is readable.
cdef int transport_watch(TransportState* t, int fd) noexcept nogil
# Sleep until something is readable or `ms` from `now` (CLOCK_MONOTONIC, ns) passed, give or take one. Handles the `sleeping` word (set, re-check rings, sleep, clear).
# 1 if the watched descriptor is readable (already read).
cdef int transport_wait(TransportState* t, uint64_t now, uint32_t ms) noexcept nogil
# The same to the nanosecond, where the kernel can (5.11); else to the millisecond above.
cdef int transport_wait_ns(TransportState* t, uint64_t ns) noexcept nogil
# The next batch (at most RECEIVE_BATCH), first from ready sockets in turn, then from the rings; 0 when all are empty.
# Datagrams of other owners are already in their ring, unless nearly all that came lately was this worker's own: then
# nobody looked, and `claimed` is 0. Keep-alives (CRLF) are counted and dropped, a datagram without a Call-ID is returned
# here (it belongs to whoever got it).
cdef int transport_receive(TransportState* t, Packet** packets) noexcept nogil
# Once the Call-ID of a packet that is not `claimed` is known: 1 if it is this worker's, else it went to its owner.
cdef bint transport_claim(TransportState* t, Packet* packet, const uint8_t* call_id, uint32_t length) noexcept nogil
# Mark which packet is being worked on, for the crash file; NULL for none.
cdef void transport_in_hand(TransportState* t, const Packet* packet) noexcept nogil
# Queue for sending; takes a reference. By a stream's flow without a connection: on one that was opened to that peer
# before, or is opened now; what cannot be delivered comes back as PACKET_UNDELIVERED. With a connection: through its
# worker, and if it is gone, back. -1 if it can never leave: larger than a datagram, no such listener, family
# mismatch or an address that is not sendable; then it is counted as dropped_unsendable here.
cdef int transport_send(TransportState* t, const Flow* flow, Buffer* buffer) noexcept nogil
# Give a stream's flow a connection of its own, which no other flow takes, unless the one it has still lives. It may still
# be on its way, and what is sent by it waits. -1 with errno if it cannot even be tried.
cdef int transport_connect(TransportState* t, Flow* flow) noexcept nogil
# From now on a flush lets runs of datagrams to one address, of one length but for a shorter last one, leave in one piece
# where the kernel can (UDP_SEGMENT, 4.18); on the wire nothing changes. -1 when memory is out.
cdef int transport_pack(TransportState* t) noexcept nogil
# One sendmmsg per socket for all that was queued, then wake the workers whose rings got something and who sleep.
cdef void transport_flush(TransportState* t) noexcept nogil
# The listener through which to reach `remote` by a transport: the one `like` came by if it fits, else the first that does.
# Fills `out` (remote, local, listener, transport); 0 if none fits.
cdef int transport_route(TransportState* t, const Flow* like, const Address* remote, int transport, Flow* out) noexcept nogil
# Who has to be at the other end of a connection that is opened by this flow, if that is by TLS (RFC 5922 4): a domain, at
# most 253 bytes. 0 when memory is out, or it is none.
cdef bint transport_expect(TransportState* t, Flow* flow, const uint8_t* name, uint32_t length) noexcept nogil
# From now on requests to this port of a connection's peer may take it (RFC 5923), where he has shown a certificate.
cdef void transport_alias(TransportState* t, const Flow* flow, uint16_t port) noexcept nogil
# A connection, any worker's, may be silent for so long from now, whatever the limit: somebody is reached through it. If it
# ends before, PACKET_GONE says so of whoever was named, by up to 512 bytes; length 0: nobody is.
cdef void transport_keep(TransportState* t, const Flow* flow, uint32_t ms, const void* aor, uint32_t length) noexcept nogil
# The host to write in Via and Record-Route for messages leaving by `flow`: advertised, else local, else bound.
cdef void transport_sent_by(TransportState* t, const Flow* flow, Address* out) noexcept nogil
