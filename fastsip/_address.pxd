# Transport addresses; see ext/address.h. Header only.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "address.h" nogil:
    enum: ADDRESS_TEXT, FLOW_RELIABLE, FLOW_REGISTERED, FLOW_NAMED, FLOW_DATAGRAM, FLOW_CONNECTIONS

    ctypedef struct Address:
        uint8_t ip[16]
        uint16_t port
        uint8_t family
        uint32_t scope

    ctypedef struct Flow:
        Address remote
        Address local
        uint16_t listener
        uint8_t transport
        uint8_t reliable
        uint32_t connection

    ctypedef struct Network:
        uint8_t ip[16]
        uint8_t family
        uint8_t bits

    struct sockaddr_storage:
        pass

    bint flow_is_fixed(const Flow* flow) noexcept
    bint address_equal(const Address* a, const Address* b) noexcept
    uint64_t address_hash(const Address* address) noexcept
    bint address_same_ip(const Address* a, const Address* b) noexcept
    void address_from_sockaddr(Address* out, const void* sockaddr) noexcept
    uint32_t address_to_sockaddr(const Address* address, sockaddr_storage* out) noexcept
    bint address_parse(Address* out, const uint8_t* host, uint32_t length, uint16_t port) noexcept
    uint32_t address_host(const Address* address, char* out, bint brackets) noexcept
    bint address_is_loopback(const Address* a) noexcept
    bint address_is_sendable(const Address* a) noexcept
    bint network_contains(const Network* network, const Address* address) noexcept
