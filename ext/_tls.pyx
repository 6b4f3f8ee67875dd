"""TLS over libssl, and the door (fastsip/_tls.pxd is the contract).

A TlsSet is one generation of certificates and rules: SSL_CTXs for servers, one per certificate, and one for clients.
A TlsStore has the current set, which reload() changes under its mutex, and the sessions to resume as a client. A Tls
holds the set it was made from, and the store; whoever lets go last frees.
"""
import hashlib
import os

from libc.errno cimport EAGAIN, ECONNABORTED, EINPROGRESS, EINTR, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset, strlen

from fastsip._address cimport (
    ADDRESS_TEXT, Address, address_from_sockaddr, address_host, address_parse, address_to_sockaddr, sockaddr_storage)
from fastsip._hash cimport HashKey, siphash
from fastsip._message cimport TRANSPORT_TLS, TRANSPORT_WSS
from fastsip._queue cimport Queue, queue_free, queue_new, queue_peek, queue_put, queue_take
from fastsip._remark cimport (
    REMARK_AT, REMARK_FROM, REMARK_TO, Remark, Remarks, remark, remarks_close, remarks_open, remarks_take)

include "tls/library.pxi"
include "tls/contexts.pxi"
include "tls/connection.pxi"
include "tls/sources.pxi"
include "tls/door.pxi"
include "tls/setup.pxi"
include "tls/face.pxi"
