# Addresses as the socket module has them: (host, port), for IPv6 with more behind it.

cdef int read_address(object given, Address* out) except -1:
    cdef bytes host
    if not isinstance(given, tuple) or len(<tuple>given) < 2:
        raise TypeError("an address is a tuple (host, port), the host as numbers")
    text, port = (<tuple>given)[:2]
    if not isinstance(text, str) or not isinstance(port, int):
        raise TypeError("an address is a tuple (host, port), the host as numbers")
    host = (<str>text).partition("%")[0].encode("utf-8", "surrogateescape")
    if not 0 <= port <= 65535 or not address_parse(out, <const uint8_t*>host, <uint32_t>len(host), <uint16_t>port):
        raise ValueError(f"{text!r}, {port!r} is not a numeric address with a port")
    if len(<tuple>given) > 3:
        out.scope = (<tuple>given)[3]
    return 0


cdef tuple write_address(const Address* address):
    cdef char[ADDRESS_TEXT] text
    cdef uint32_t length = address_host(address, text, False)
    host = text[:length].decode("ascii")
    return (host, address.port, 0, address.scope) if address.scope else (host, address.port)
