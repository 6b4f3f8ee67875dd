# Shared words of one server: keys, buckets, heartbeats, counters; see ext/control.h. Header only.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastsip._hash cimport HashKey

cdef extern from "control.h" nogil:
    enum: CONTROL_MAGIC, CONTROL_LAYOUT, MAX_WORKERS, BUCKETS, EPOCH_IDLE
    enum Counter:
        COUNT_datagrams_in, COUNT_datagrams_out, COUNT_bytes_in, COUNT_bytes_out
        COUNT_requests_in, COUNT_responses_in, COUNT_requests_out, COUNT_responses_out
        COUNT_retransmissions_in, COUNT_retransmissions_out
        COUNT_handoffs_out, COUNT_handoffs_in, COUNT_wakeups, COUNT_waits
        COUNT_dropped_socket, COUNT_dropped_ring, COUNT_dropped_malformed, COUNT_dropped_stray, COUNT_dropped_send
        COUNT_dropped_unsendable, COUNT_dropped_facts, COUNT_rejected_full, COUNT_keepalives
        COUNT_transactions, COUNT_contexts, COUNT_buffers, COUNT_timers
        COUNT_calls_set_up, COUNT_calls_failed_3xx, COUNT_calls_failed_4xx, COUNT_calls_failed_5xx
        COUNT_calls_failed_6xx, COUNT_calls_cancelled, COUNT_registers_ok, COUNT_registers_failed
        COUNT_auth_challenges, COUNT_auth_failures, COUNT_auth_replays, COUNT_relay_denied, COUNT_loops
        COUNT_facts_sent, COUNT_facts_acknowledged, COUNT_wakeups_service
        COUNT_policy_asked, COUNT_policy_late, COUNT_policy_refused, COUNT_wakeups_policy
        COUNT_names_asked, COUNT_names_late, COUNT_names_refused, COUNT_names_failed
        COUNT_messages_in, COUNT_messages_out, COUNT_connections, COUNT_connections_in, COUNT_connections_out
        COUNT_connections_failed, COUNT_connections_refused, COUNT_connections_idle, COUNT_connections_slow
        COUNT_stream_errors, COUNT_handshakes, COUNT_handshakes_failed, COUNT_handshakes_refused
        COUNT_openings_refused
        COUNT_stun, COUNT_pings, COUNT_pings_answered
        COUNT_END

    ctypedef struct WorkerBlock:
        uint64_t counters[96]
    ctypedef struct Control:
        uint64_t magic
        uint32_t layout
        uint32_t workers
        uint64_t started
        HashKey owner_key, branch_key, route_key, nonce_key, location_key
        WorkerBlock worker[64]

    void count_add(WorkerBlock* block, int counter, uint64_t by) noexcept
    void count_set(WorkerBlock* block, int counter, uint64_t value) noexcept
    void control_beat(WorkerBlock* block, uint64_t now) noexcept
    uint32_t control_services(const Control* control) noexcept  # how many RECORD_SERVICES the segment has
    uint32_t owner_of(Control* control, const void* call_id, size_t length) noexcept
    uint32_t owner_by(Control* control, uint64_t call) noexcept
