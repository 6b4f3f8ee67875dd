# TLS 1.2 and 1.3 on non-blocking sockets, by OpenSSL's libssl (3, or 1.1.1) found at run time; and the door, which
# accepts, connects and shakes hands on a thread of its own and gives away what is ready.
#
# A Tls belongs to one thread at a time: the door's until it is taken, then the taker's. A TlsStore may be used by all.
# A write to a closed connection raises no SIGPIPE.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastsip._address cimport Address
from fastsip._remark cimport Remarks

cdef enum:
    TLS_DONE = 0
    TLS_WANT_READ = 1
    TLS_WANT_WRITE = 2
    TLS_FAILED = 3

cdef struct Tls              # one connection; the descriptor is the caller's, who closes it after tls_free
cdef struct TlsStore         # certificates and rules for new connections, sessions to resume; see TlsContexts

cdef class TlsContexts:
    cdef TlsStore* store     # lives until this object and the last connection made from it are gone

# NULL when memory is out. `server_name` is who the peer must be: it is sent (SNI) unless it is an address, and with
# verify_server a handshake fails whose certificate is not for it (RFC 5922 7.3). NULL, 0: neither; ask tls_peer_is.
cdef Tls* tls_accept(TlsStore* store, int fd) noexcept nogil
cdef Tls* tls_connect(TlsStore* store, int fd, const uint8_t* server_name, uint32_t length) noexcept nogil
# TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, or TLS_FAILED and tls_reason.
cdef int tls_handshake(Tls* tls) noexcept nogil
# How many bytes; 0: the peer closed (an end without close_notify counts: SIP has framing of its own); -TLS_WANT_READ,
# -TLS_WANT_WRITE or -TLS_FAILED. It takes all records that came with one system call, as far as they fit. Then ask
# tls_pending: where that is not 0 read again, for poll and epoll do not know of it; where it is 0 wait for the socket.
# Read once when a connection comes from the door: its first request may have come with the handshake.
cdef ssize_t tls_read(Tls* tls, void* out, size_t size) noexcept nogil
# How many bytes went out or into the record under way; fewer than `length` means that the socket is full. What did not
# go must be offered again from its first byte on, with at least as many bytes (the buffer may have moved). -TLS_WANT_WRITE
# if none, or -TLS_FAILED. One record holds 16 KiB: gather small messages, a record costs more.
cdef ssize_t tls_write(Tls* tls, const void* data, size_t length) noexcept nogil
# Not 0 if tls_read would find something though the socket has nothing: the bytes decrypted and not taken, or 1 for bytes
# not yet decrypted, for an end, or for a failure that came behind what was read.
cdef int tls_pending(Tls* tls) noexcept nogil
# Say close_notify, once, without waiting for an answer. The socket stays open.
cdef void tls_shutdown(Tls* tls) noexcept nogil
cdef void tls_free(Tls* tls) noexcept nogil              # NULL is fine
cdef void tls_moved(Tls* tls, int fd) noexcept nogil     # its socket has another number now
cdef const char* tls_reason(Tls* tls) noexcept nogil     # why it failed, "" if it did not

# After the handshake. The identities of RFC 5922 7.1 in a certificate that was verified, lower case: hosts of its sip:
# URIs, else its DNS names, else its common name if it has no subjectAltName; and its addresses, beside any of these.
# No wildcard (7.2). A peer without certificate, or one nobody verified, has none.
cdef bint tls_peer_is(Tls* tls, const uint8_t* domain, uint32_t length) noexcept nogil
cdef uint32_t tls_peer_name(Tls* tls, uint32_t index, const uint8_t** name) noexcept nogil    # its length; 0 after the last
cdef bint tls_peer_verified(Tls* tls) noexcept nogil
cdef bint tls_peer_serves(Tls* tls) noexcept nogil       # verified, and good for a server too
cdef bint tls_resumed(Tls* tls) noexcept nogil
cdef uint64_t tls_live(TlsStore* store) noexcept nogil   # connections not yet freed

# --- the door --------------------------------------------------------------------------------------------------------

cdef enum:
    DOOR_LISTENERS = 32
    DOOR_REASON = 96
    DOOR_NAME = 256

cdef enum:
    DOOR_ACCEPTED = 1        # fd and tls are the taker's, the handshake is done
    DOOR_CONNECTED = 2       # the same, for an order
    DOOR_FAILED = 3          # of the order `tag`; there is no fd

cdef struct DoorSetup:
    TlsStore* store          # outlives the door
    uint32_t accept_ms       # from accept to the end of the handshake; 0: 5,000
    uint32_t connect_ms      # from the order to the end of the handshake; 0: 5,000
    uint32_t unfinished      # handshakes under way at once; 0: 4,096. For one more the oldest goes that waits for its peer,
                             # of the source that has most, or else it is closed itself; both are counted
    uint32_t per_source      # the same per IPv4 address or IPv6 /64; 0: 64. For one more the oldest of that source goes
    uint8_t transport        # in remarks; 0: TLS

cdef struct DoorNews:
    uint8_t kind
    uint16_t listener        # the index given to door_listen
    int fd
    Tls* tls
    uint64_t tag
    Address remote
    Address local
    char reason[DOOR_REASON]

cdef struct DoorCounters:    # written by the door's thread alone, readable by all
    uint64_t accepted
    uint64_t done
    uint64_t failed
    uint64_t timed_out
    uint64_t refused_source
    uint64_t refused_total
    uint64_t ordered
    uint64_t connected
    uint64_t connect_failed  # connect_timed_out included
    uint64_t connect_timed_out
    uint64_t starved         # accept found no descriptor free; tried again a little later
    uint64_t unfinished      # now

cdef struct DoorState

# One thread is in door_run. One other is the taker: door_take, door_connect, door_listen, door_forget are its own.
# door_stop is anybody's.
cdef DoorState* door_new(const DoorSetup* setup) noexcept nogil          # NULL with errno
cdef void door_free(DoorState* door) noexcept nogil                      # nobody is in door_run; closes what was not taken
cdef int door_listen(DoorState* door, int fd, uint16_t index) noexcept nogil   # 0, or -1 with errno; fd stays the caller's
cdef void door_forget(DoorState* door, int fd) noexcept nogil            # before the fd is closed
cdef void door_run(DoorState* door) noexcept nogil                       # until door_stop
cdef void door_stop(DoorState* door) noexcept nogil
# Connect to `remote`, from `local` if that is not NULL (its port may be 0), and shake hands; the news has `tag`.
# 0, or -1 if too many orders wait or the name is longer than DOOR_NAME.
cdef int door_connect(DoorState* door, const Address* remote, const Address* local, const uint8_t* name, uint32_t length,
                      uint64_t tag) noexcept nogil
cdef int door_fd(DoorState* door) noexcept nogil                         # readable when there is news
cdef bint door_take(DoorState* door, DoorNews* news) noexcept nogil      # 0 when there is none; then door_fd is hushed
cdef DoorCounters* door_counters(DoorState* door) noexcept nogil
cdef Remarks* door_remarks(DoorState* door) noexcept nogil               # why handshakes failed; one thread reads them
