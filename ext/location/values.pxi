# Values of records, between Python tuples and the structs of ext/binding.h.

cdef uint64_t fitting(object number, uint64_t most, str name) except? 0:
    if not 0 <= number <= most:
        raise ValueError(f"binding: {name} is 0 to {most}, not {number}")
    return number


cdef uint16_t text_length(bytes text, str name) except? 0:
    if len(text) > 65535:
        raise ValueError(f"binding: {name} has at most 65535 bytes, not {len(text)}")
    return <uint16_t> len(text)


def encode_bindings(version: int, bindings: object) -> bytes:
    cdef list all_of_them = list(bindings)
    cdef Py_ssize_t length = sizeof(BindingSet)
    cdef BindingSet head
    cdef Binding b
    cdef bytes uri, call_id, parameters, path, ip
    cdef uint8_t* at
    memset(&head, 0, sizeof(head))
    head.version = fitting(version, 0xffffffffffffffff, "version")
    head.count = <uint16_t> fitting(len(all_of_them), 65535, "count")
    for uri, call_id, parameters, path, _, _, _, _, _, _, _, _ in all_of_them:
        length += (sizeof(Binding) + len(uri) + len(call_id) + len(parameters) + len(path) + 7) & ~7
    cdef bytes value = PyBytes_FromStringAndSize(NULL, length)
    at = <uint8_t*> <char*> value
    memcpy(at, &head, sizeof(head))
    at += sizeof(head)
    cdef uint32_t following = head.count
    for uri, call_id, parameters, path, q, transport, source, cseq, listener, expires, updated, connection in all_of_them:
        family, ip, port = source
        if family not in (0, 4, 6) or len(ip) != 16:
            raise ValueError(f"binding: source is (4, 6 or 0, 16 bytes, port), not {source}")
        following -= 1
        memset(&b, 0, sizeof(b))
        b.uri_length = text_length(uri, "uri")
        b.call_id_length = text_length(call_id, "call_id")
        b.parameters_length = text_length(parameters, "parameters")
        b.path_length = text_length(path, "path")
        b.size = <uint32_t> ((sizeof(b) + len(uri) + len(call_id) + len(parameters) + len(path) + 7) & ~7)
        b.q = <uint16_t> fitting(q, 65535, "q")
        b.transport = <uint8_t> fitting(transport, 255, "transport")
        b.source_family = <uint8_t> family
        b.cseq = <uint32_t> fitting(cseq, 0xffffffff, "cseq")
        b.listener = <uint16_t> fitting(listener, 65535, "listener")
        b.source_port = <uint16_t> fitting(port, 65535, "port")
        b.expires = fitting(expires, 0xffffffffffffffff, "expires")
        memcpy(b.source_ip, <const char*> ip, 16)
        b.updated = fitting(updated, 0xffffffffffffffff, "updated")
        b.connection = <uint32_t> fitting(connection, 0xffffffff, "connection")
        b.following = following
        memset(at + b.size - 8, 0, 8)
        memcpy(at, &b, sizeof(b))
        memcpy(<void*> binding_uri(<Binding*> at), <const char*> uri, len(uri))
        memcpy(<void*> binding_call_id(<Binding*> at), <const char*> call_id, len(call_id))
        memcpy(<void*> binding_parameters(<Binding*> at), <const char*> parameters, len(parameters))
        memcpy(<void*> binding_path(<Binding*> at), <const char*> path, len(path))
        at += b.size
    return value


def decode_bindings(value: bytes) -> tuple[int, list[tuple[object, ...]]]:
    cdef const BindingSet* held = binding_set(<const uint8_t*> <const char*> value, <uint32_t> len(value))
    if held == NULL:
        raise ValueError("not a set of bindings")
    cdef list found = []
    cdef const Binding* b = binding_first(held)
    while b != NULL:
        found.append((
            PyBytes_FromStringAndSize(<const char*> binding_uri(b), b.uri_length),
            PyBytes_FromStringAndSize(<const char*> binding_call_id(b), b.call_id_length),
            PyBytes_FromStringAndSize(<const char*> binding_parameters(b), b.parameters_length),
            PyBytes_FromStringAndSize(<const char*> binding_path(b), b.path_length),
            b.q,
            b.transport,
            (b.source_family, PyBytes_FromStringAndSize(<const char*> b.source_ip, 16), b.source_port),
            b.cseq,
            b.listener,
            b.expires,
            b.updated,
            b.connection,
        ))
        b = binding_next(b)
    return held.version, found


def datagram_flows(value: bytes, now: int) -> list[tuple[bytes, int, bytes, int, int]]:
    cdef const BindingSet* held = binding_set(<const uint8_t*> <const char*> value, <uint32_t> len(value))
    cdef uint64_t wall = now
    cdef const Binding* b = binding_first(held) if held != NULL else NULL
    cdef list found = []
    while b != NULL:
        if b.connection == FLOW_DATAGRAM and b.expires > wall:
            found.append((
                PyBytes_FromStringAndSize(<const char*> binding_uri(b), b.uri_length),
                b.source_family,
                PyBytes_FromStringAndSize(<const char*> b.source_ip, 16),
                b.source_port,
                b.listener,
            ))
        b = binding_next(b)
    return found


def summarize_bindings(value: bytes) -> tuple[int, int, int]:
    cdef const BindingSet* held = binding_set(<const uint8_t*> <const char*> value, <uint32_t> len(value))
    if held == NULL:
        raise ValueError("not a set of bindings")
    cdef uint64_t earliest = 0
    cdef const Binding* b = binding_first(held)
    while b != NULL:
        if not earliest or b.expires < earliest:
            earliest = b.expires
        b = binding_next(b)
    return held.version, held.count, earliest


def encode_user(ha1_md5: bytes, ha1_sha256: bytes, flags: int = 0) -> bytes:
    cdef User user
    if len(ha1_md5) not in (0, 32) or len(ha1_sha256) not in (0, 64) or not 0 <= flags <= 255:
        raise ValueError("user: HA1 by MD5 has 32 hex digits, by SHA-256 64, or none; flags are 0 to 255")
    memset(&user, 0, sizeof(user))
    memcpy(user.ha1_md5, <const char*> ha1_md5, len(ha1_md5))
    memcpy(user.ha1_sha256, <const char*> ha1_sha256, len(ha1_sha256))
    user.flags = flags
    return PyBytes_FromStringAndSize(<const char*> &user, sizeof(user))


def decode_user(value: bytes) -> tuple[bytes, bytes, int]:
    cdef const User* user = user_record(<const uint8_t*> <const char*> value, <uint32_t> len(value))
    if user == NULL:
        raise ValueError("not a user")
    md5 = PyBytes_FromStringAndSize(user.ha1_md5, 32)
    sha256 = PyBytes_FromStringAndSize(user.ha1_sha256, 64)
    return md5.rstrip(b"\0"), sha256.rstrip(b"\0"), user.flags
