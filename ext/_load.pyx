"""One load engine: calls, registrations, OPTIONS and MESSAGE at a rate, and the side that answers them.

`Engine.run` keeps one thread without the GIL. A turn receives in batches, fires what is due, begins the work whose time
has come and sleeps until there is more of either. All sending and receiving is the transport's, by `Flow`; nothing here
knows a socket. Messages are written from what was laid out at the start into buffers of the pool; a call is a record of a
slab and one timer; what comes back is found by the names this engine gave (load/write.pxi), without a search.
"""

import os
import threading

from libc.errno cimport errno
from libc.math cimport INFINITY, sqrt
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.stdlib cimport posix_memalign
from posix.time cimport CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID
from posix.unistd cimport close as close_fd
from posix.unistd cimport write as write_fd

from fastsip._address cimport (
    ADDRESS_TEXT, Address, Flow, address_equal, address_host, address_is_sendable,
    address_parse, address_same_ip)
from fastsip._control cimport (
    COUNT_datagrams_in, COUNT_datagrams_out, COUNT_dropped_send, COUNT_dropped_socket, COUNT_dropped_unsendable,
    COUNT_messages_in, COUNT_messages_out, Control, WorkerBlock)
from fastsip._digest cimport DIGEST_MD5, DIGEST_SHA256, credentials_algorithm, open_libcrypto
from fastsip._hash cimport HashKey, HashState, siphash_add, siphash_finish, siphash_start
from fastsip._libcrypto cimport (
    Hash, Libcrypto, hash_add, hash_close, hash_finish, hash_open, hash_start)
from fastsip._memory cimport Buffer, BufferPool, buffer_copy, buffer_hold, buffer_release, pool_init, pool_live, pool_trim
from fastsip._message cimport *
from fastsip._timer cimport (
    Timer, Wheel, timer_arm, timer_cancel, timer_init, wheel_armed, wheel_expire, wheel_free, wheel_new, wheel_wait)
from fastsip._tls cimport DoorSetup, DoorState, TlsContexts, door_free, door_new, door_run, door_stop
from fastsip._transport cimport (
    PACKET_RECEIVED, PACKET_UNDELIVERED, RECEIVE_BATCH, RECEIVE_SLOT, Packet, TransportSetup, TransportState,
    transport_connect, transport_flush, transport_free, transport_listen, transport_new, transport_pack, transport_receive,
    transport_route, transport_send, transport_sent_by, transport_wait_ns, transport_watch)

cdef extern from "load.h" nogil:
    enum: HISTOGRAM_LOWEST, HISTOGRAM_HIGHEST, HISTOGRAM_DIGITS
    enum LoadCounter:
        LOAD_offered, LOAD_done, LOAD_failed, LOAD_busy, LOAD_cancelled, LOAD_in_flight, LOAD_not_begun
        LOAD_calls, LOAD_calls_done, LOAD_registers, LOAD_registers_done, LOAD_options, LOAD_options_done
        LOAD_messages, LOAD_messages_done
        LOAD_answered, LOAD_dialogs, LOAD_refused_busy, LOAD_cancelled_in, LOAD_ended, LOAD_requests_in
        LOAD_again_invite, LOAD_again_bye, LOAD_again_register, LOAD_again_other, LOAD_again_answer, LOAD_again_ack
        LOAD_again_in, LOAD_challenges, LOAD_stale, LOAD_strays, LOAD_malformed, LOAD_unacknowledged
        LOAD_datagrams_in, LOAD_datagrams_out, LOAD_dropped_socket, LOAD_dropped_send
        LOAD_elapsed_us, LOAD_begun_us, LOAD_cpu_us, LOAD_turns, LOAD_COUNTERS_END
    const char** LOAD_COUNTER_NAMES
    ctypedef struct Histogram:
        uint64_t total, minimum, maximum, used
        uint64_t* counts
    ctypedef struct Random:
        pass
    void store_word(uint64_t* word, uint64_t value) noexcept
    uint64_t load_word(const uint64_t* word) noexcept
    void histogram_record(Histogram* h, uint64_t microseconds) noexcept
    void random_seed(Random* r, uint64_t seed) noexcept
    uint64_t random_word(Random* r) noexcept
    double random_unit(Random* r) noexcept
    double random_exponential(Random* r) noexcept
    uint32_t random_below(Random* r, uint32_t limit) noexcept
    uint64_t load_clock_ns(int clock) noexcept
    void load_sleep_until(uint64_t ns) noexcept
    uint32_t load_version(const uint32_t* version) noexcept
    void store_version(uint32_t* version, uint32_t value) noexcept

cdef enum:
    TIMER_CALL = 1
    TIMER_ANSWERED = 2

cdef enum HoldKind:
    HOLD_CONSTANT, HOLD_EXPONENTIAL, HOLD_UNIFORM

cdef enum:
    DOOR_PATIENCE = 4000         # ms for a connection and its handshake
    DOOR_ROOM = 8192             # handshakes under way
    TURN_BATCHES = 4             # receive batches before timers and arrivals get their turn
    TURN_TIMERS = 1024
    TURN_ARRIVALS = 64           # begun before they are sent and something is received again
    LONGEST_SLEEP = 100000000    # ns
    CPU_EVERY = 20000000         # ns between looks at the thread's own clock, which is a system call

include "load/arrivals.pxi"
include "load/state.pxi"
include "load/write.pxi"
include "load/caller.pxi"
include "load/callee.pxi"
include "load/digest.pxi"
include "load/turn.pxi"
include "load/setup.pxi"
include "load/face.pxi"
