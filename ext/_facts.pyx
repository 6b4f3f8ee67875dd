# cython: language_level=3, freelist=512
"""Facts as the state process applies them: bodies read in place, dialogs kept, REGISTERs decided (RFC 3261 10.3).

The contract is fastsip/_facts.pyi, the wire format fastsip/state/facts.py. Nothing here blocks or knows a clock.
"""

import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from fastsip._hash cimport HashKey, siphash
from fastsip._location cimport (
    RECORD_BINDINGS, Binding, BindingSet, binding_call_id, binding_first, binding_next, binding_parameters,
    binding_path, binding_set, binding_uri)
from fastsip._message cimport Slice, find_parameter, slice_length, uri_equal
from fastsip._targets cimport TARGETS

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t haystack_length, const void* needle, size_t needle_length)

cdef enum:
    FACT_REGISTER = 1
    FACT_DIALOG_CONFIRMED = 2
    FACT_DIALOG_ENDED = 3
    FLAG_STAR = 1
    FLAG_ONLY_IF_APPLIED = 2
    FLAG_FLOW_GONE = 4

include "facts/reader.pxi"
include "facts/dialogs.pxi"
include "facts/register.pxi"
include "facts/decide.pxi"
include "facts/plain.pxi"


def apply(bytes body not None, uint64_t count, uint64_t known, Dialogs dialogs not None):
    cdef const uint8_t* start = <const uint8_t*> <const char*> body
    cdef Reader reader
    cdef uint64_t number, kind
    cdef uint32_t length
    cdef const uint8_t* after
    cdef Register register
    cdef list registers = []
    cdef int64_t left_out = 0
    reader.at = start
    reader.end = start + len(body)
    if count > <uint64_t> len(body) or not skip(&reader, count) or reader.at != reader.end:
        raise ValueError(f"{len(body)} bytes are not {count} facts one after another")
    reader.at = start
    skip(&reader, min(known, count))
    for number in range(known, count):
        start = reader.at
        after = NULL
        if not read_array(&reader, &length) or length == 0 or not read_uint(&reader, &kind):
            left_out += 1
        elif kind == FACT_REGISTER:
            register = Register.__new__(Register)
            register.body = body
            register.index = number
            if not read_uint(&reader, &register.token):
                left_out += 1
            else:
                register.readable = length == 9 and read_register(register, &reader)
                registers.append(register)
                after = reader.at if register.readable else NULL      # all nine were read, so it ends here
        elif not ((kind == FACT_DIALOG_CONFIRMED and 7 <= length <= 8 and
                   dialog_confirmed(dialogs, &reader, length == 8)) or
                  (kind == FACT_DIALOG_ENDED and length == 4 and dialog_ended(dialogs, &reader))):
            left_out += 1
        if after == NULL:
            reader.at = start
            skip(&reader, 1)
    return registers, left_out
