# Header-only functions whose results an oracle knows.
from fastsip._address cimport ADDRESS_TEXT, Address, address_host, address_parse
from fastsip._hash cimport HashKey, HashState, siphash, siphash_start, tablehash, tablehash_add_folded, tablehash_finish


def hashes(bytes key, bytes data):
    cdef HashKey k
    cdef HashState s
    memcpy(&k, <const char*>key, 16)
    siphash_start(&s, &k)
    tablehash_add_folded(&s, <const char*>data, len(data))
    return (siphash(&k, <const char*>data, len(data)), tablehash(&k, <const char*>data, len(data)),
            tablehash_finish(&s))


def numeric_address(bytes host):
    cdef Address address
    cdef char text[ADDRESS_TEXT]
    if not address_parse(&address, host, <uint32_t>len(host), 5060):
        return None
    return address.family, text[:address_host(&address, text, False)].decode()
