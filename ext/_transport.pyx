"""UDP sockets in batches, connections, rings between workers, one epoll (fastsip/_transport.pxd is the contract).

One turn of a worker: transport_wait sleeps; transport_receive gives batch after batch until 0; what the batches caused is
queued by transport_send; transport_flush lets it go and wakes the neighbours that got something. All of it belongs to one
thread. Sockets, rings and slots belong to the master and outlive the worker.
"""
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastsip._address cimport (
    ADDRESS_TEXT, FLOW_CONNECTIONS, FLOW_REGISTERED, FLOW_RELIABLE, Address, Flow, address_equal, address_from_sockaddr, address_host, address_is_loopback,
    address_is_sendable, address_same_ip, address_to_sockaddr, sockaddr_storage)
from fastsip._control cimport (
    COUNT_bytes_in, COUNT_bytes_out, COUNT_connections, COUNT_connections_failed, COUNT_connections_idle, COUNT_connections_in,
    COUNT_connections_out, COUNT_connections_refused, COUNT_connections_slow, COUNT_datagrams_in, COUNT_datagrams_out,
    COUNT_dropped_malformed, COUNT_dropped_ring, COUNT_dropped_send, COUNT_dropped_socket, COUNT_dropped_unsendable, COUNT_handoffs_in,
    COUNT_handoffs_out, COUNT_keepalives, COUNT_messages_in, COUNT_messages_out, COUNT_stream_errors, COUNT_stun, COUNT_waits,
    COUNT_wakeups, Control, WorkerBlock, count_add, count_set, owner_by)
from fastsip._memory cimport (
    Buffer, BufferPool, buffer_copy, buffer_hold, buffer_new, buffer_release, pool_init, pool_live, pool_trim)
from fastsip._hash cimport siphash
from fastsip._message cimport (
    TRANSPORT_TCP, TRANSPORT_TLS, TRANSPORT_UDP, TRANSPORT_WS, TRANSPORT_WSS, Slice, find_call_id, slice_length)
from fastsip._remark cimport (
    REMARK_AT, REMARK_FROM, REMARK_TO, Remarks, remark, remark_error, remarks_close, remarks_open)
from fastsip._tls cimport (
    DOOR_ACCEPTED, DOOR_CONNECTED, DOOR_FAILED, TLS_FAILED, TLS_WANT_READ, TLS_WANT_WRITE, DoorNews, DoorState, Tls,
    door_connect, door_fd, door_forget, door_listen, door_take, tls_free, tls_moved, tls_peer_is, tls_peer_serves,
    tls_peer_verified, tls_pending, tls_read, tls_shutdown, tls_write)
from fastsip._transaction cimport BRANCH_LENGTH, read_branch
from fastsip._websocket cimport (
    FRAME_BINARY, FRAME_CLOSE, FRAME_CLOSED, FRAME_CONTROL_MAX, FRAME_FAILED, FRAME_HEAD_MAX, FRAME_MESSAGE, FRAME_PINGED,
    FRAME_PONG, FRAME_TEXT, FRAME_WAIT, FrameReader, FrameSpan, frame_close, frame_head, frame_next, frame_reader_free,
    utf8_valid)

include "transport/system.pxi"
include "transport/peers.pxi"
include "transport/connection.pxi"
include "transport/incoming.pxi"
include "transport/outgoing.pxi"
include "transport/framing.pxi"
include "transport/stream.pxi"
include "transport/asked.pxi"
include "transport/websocket.pxi"
include "transport/state.pxi"
include "transport/receive.pxi"
include "transport/send.pxi"
include "transport/route.pxi"
include "transport/face.pxi"
