# The location segment: shared memory with one immutable record per key, one writer (the state process), many readers.
# Mechanism and the argument for its crash safety: ext/segment.h. Keys are namespaced by a kind: binding sets of an
# address-of-record ("user@domain"), and users ("user@domain") with their HA1, and with their services.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastsip._address cimport Address
from fastsip._control cimport Control

cdef extern from "segment.h" nogil:
    enum RecordKind:
        RECORD_BINDINGS = 1
        RECORD_USER = 2
        RECORD_SERVICES = 3          # msgpack, fastsip/services/record.py; how many: control_services of _control.pxd
        RECORD_MARK = 7              # what a state process tells its successor
    ctypedef struct Segment:
        pass
    # Map the memfd for reading (PROT_READ). NULL with errno on failure, EPROTO when magic, version or layout differ.
    Segment* segment_open(int fd, Control* control) noexcept
    void segment_close(Segment* segment) noexcept
    # The record's value, valid until segment_leave; 1 if found. Only between segment_enter and segment_leave.
    int segment_find(Segment* segment, int kind, const uint8_t* key, uint32_t key_length, const uint8_t** value,
                     uint32_t* length) noexcept
    # The same in three steps, for who has several keys at hand: hash them all, prefetch for all, then find each; memory
    # works on all of them at once. In one turn, between segment_enter and segment_leave. Any step but the last may be
    # taken for a key that is never looked up, and segment_prefetch may be left out.
    uint64_t segment_hash(Segment* segment, int kind, const uint8_t* key, uint32_t key_length) noexcept
    void segment_prefetch(Segment* segment, uint64_t hash) noexcept
    int segment_find_hashed(Segment* segment, uint64_t hash, const uint8_t* key, uint32_t key_length,
                            const uint8_t** value, uint32_t* length) noexcept
    # Publish that worker `reader` reads in the current epoch / reads nothing. Once per turn of the hot loop; leave before
    # sleeping, or nothing is reclaimed while the worker sleeps.
    void segment_enter(Segment* segment, uint32_t reader) noexcept
    void segment_leave(Segment* segment, uint32_t reader) noexcept

    # The value of a RECORD_BINDINGS record. Written by Python (fastsip/location/record.py), read here in place.
    ctypedef struct BindingSet:      # 16 bytes, then `count` bindings one after another
        uint64_t version             # grows with every change of this address-of-record
        uint16_t count
        uint16_t reserved
        uint32_t reserved2
    ctypedef struct Binding:         # 64 bytes fixed, then uri, call_id, parameters, path, padded to 8
        uint32_t size                # of the whole binding with padding: the step to the next
        uint16_t uri_length
        uint16_t call_id_length
        uint16_t parameters_length   # contact parameters other than q and expires, as received, without the first ';'
        uint16_t path_length
        uint16_t q                   # thousandths, 1000 when not given
        uint8_t transport            # TRANSPORT_* the REGISTER came by
        uint8_t source_family        # 4, 6 or 0
        uint32_t cseq
        uint16_t listener
        uint16_t source_port
        uint64_t expires             # Unix time in ms
        uint8_t source_ip[16]        # where the REGISTER came from
        uint64_t updated             # Unix ms
        uint32_t connection
        uint32_t following           # bindings after this one
    # NULL if not exactly one set with every length inside it; what follows needs no further check.
    const BindingSet* binding_set(const uint8_t* value, uint32_t length) noexcept
    const Binding* binding_first(const BindingSet* set) noexcept      # NULL if the set is empty
    const Binding* binding_next(const Binding* binding) noexcept      # NULL after the last
    const uint8_t* binding_uri(const Binding* binding) noexcept
    const uint8_t* binding_call_id(const Binding* binding) noexcept
    const uint8_t* binding_parameters(const Binding* binding) noexcept
    const uint8_t* binding_path(const Binding* binding) noexcept

    # The value of a RECORD_USER record.
    ctypedef struct User:
        char ha1_md5[32]             # hex; all NUL when unknown
        char ha1_sha256[64]
        uint8_t flags
    const User* user_record(const uint8_t* value, uint32_t length) noexcept              # NULL if not one
