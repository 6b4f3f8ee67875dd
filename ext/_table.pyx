# cython: language_level=3, auto_pickle=False
"""The transaction layer for other programs: bytes and the time in, bytes and events out, no socket and no clock.

What the layer tells its user is noted in C while it works, without the interpreter, and turned into Python objects
behind it; so nothing of the caller's runs in the middle of a machine's step.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.math cimport isfinite
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

import os

from fastsip import events
from fastsip._address cimport *
from fastsip._memory cimport *
from fastsip._message cimport *
from fastsip._timer cimport Timer, wheel_armed, wheel_wait
from fastsip._transaction cimport *
from fastsip.errors import LimitReached, ParseError, UsageError

cdef extern from "Python.h" nogil:
    void Py_INCREF(PyObject*)
    void Py_DECREF(PyObject*)

cdef extern from "fsm.h" nogil:
    const char* const* STATE_NAMES

cdef enum:
    START = 1000                 # ms on the layer's clock when the caller's begins
    LONGEST_WAIT = 3_600_000     # ms
    MAX_DATAGRAM = 65507
    MAX_LIMIT = 1 << 24

cdef uint64_t LATEST = <uint64_t>1 << 52         # ms: more than a double can count in

cdef enum Kind:
    HAPPENED_RESPONSE, HAPPENED_TIMEOUT, HAPPENED_FAILURE, HAPPENED_TERMINATED

cdef struct Happening:
    int kind
    PyObject* transaction        # a reference of its own

cdef struct Outgoing:
    Buffer* buffer               # likewise
    Address to

cdef struct Notes:
    Happening* happened
    uint32_t happened_count, happened_room
    Outgoing* outgoing
    uint32_t outgoing_count, outgoing_room, outgoing_limit
    uint64_t dropped             # datagrams beyond the limit
    bint no_memory

TRANSPORTS = ("UDP", "TCP", "TLS", "SCTP", "WS", "WSS")

include "table/addresses.pxi"
include "table/build.pxi"
include "table/user.pxi"
include "table/transaction.pxi"
include "table/table.pxi"
