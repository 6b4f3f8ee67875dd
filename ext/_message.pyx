# cython: auto_pickle=False
# Syntax. The contract is fastsip/_message.pxd; this is how. No function that takes a `data` pointer reads outside the
# bounds it was given, allocates, or needs the GIL; the Python face is the last fragment.
cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset, strlen

from fastsip.errors import ParseError
from fastsip.names import HEADERS, METHODS

cdef extern from "hex.h" nogil:
    void hex_write(uint8_t* out, uint32_t number) noexcept

cdef extern from "names.h" nogil:
    const char* const header_names[]
    int header_id_padded(const uint8_t* name, uint32_t length) noexcept
    int method_id_padded(const uint8_t* name, uint32_t length) noexcept
    uint64_t name_word(const uint8_t* at) noexcept
    uint64_t name_fold(uint64_t word) noexcept
    uint64_t name_short(uint64_t word, uint32_t length) noexcept

cdef extern from "scan.h" nogil:
    enum:
        SCAN_BLOCK, SCAN_STEP
    uint32_t scan_first(uint64_t mask) noexcept
    uint64_t scan_controls(const uint8_t* at) noexcept
    uint64_t scan_controls_tail(const uint8_t* at, uint32_t left) noexcept
    uint64_t scan_lines(const uint8_t* at) noexcept
    uint64_t scan_lines_tail(const uint8_t* at, uint32_t left) noexcept
    uint32_t scan_near(const uint8_t* at, uint8_t byte) noexcept
    uint32_t scan_byte(const uint8_t* data, uint32_t start, uint32_t end, uint8_t byte) noexcept
    uint32_t scan_blank(const uint8_t* data, uint32_t start, uint32_t end) noexcept
    uint32_t scan_byte_within(const uint8_t* data, uint32_t start, uint32_t end, uint32_t readable,
                              uint8_t byte) noexcept
    uint32_t scan_blank_within(const uint8_t* data, uint32_t start, uint32_t end, uint32_t readable, uint8_t) noexcept
    uint32_t scan_bracket_within(const uint8_t* data, uint32_t start, uint32_t end, uint32_t readable,
                                 uint8_t) noexcept
    uint32_t scan_value_within(const uint8_t* data, uint32_t start, uint32_t end, uint32_t readable, uint8_t) noexcept

cdef extern from "chars.h" nogil:
    const uint8_t char_class[256]
    enum:
        CHAR_TOKEN, CHAR_VALUE, CHAR_URI_PARAM, CHAR_HOST, CHAR_USER, CHAR_PASSWORD, CHAR_HEADERS, CHAR_BLANK

cdef enum:
    MAX_MESSAGE = 65507      # what a UDP datagram over IPv4 can carry; offsets are 16 bits
    SP = 0x20
    HT = 0x09
    CR = 0x0D
    LF = 0x0A

include "message/text.pxi"
include "message/parameters.pxi"
include "message/name_addr.pxi"
include "message/via.pxi"
include "message/uri.pxi"
include "message/compare.pxi"
include "message/credentials.pxi"
include "message/numbers.pxi"
include "message/lines.pxi"
include "message/values.pxi"
include "message/writer.pxi"
include "message/views.pxi"
include "message/face.pxi"
include "message/examine.pxi"
