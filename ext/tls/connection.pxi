# One connection. What OpenSSL calls back finds it as the SSL's first extra datum.
cdef enum:
    REASON = 96

cdef struct Tls:
    void* ssl
    TlsSet* one
    Wire wire
    bint client
    bint ready               # the handshake is done
    bint failed
    bint more                # tls_read would find something though the socket has nothing
    bint verified
    bint serves              # that certificate is good for a server too
    Names names
    uint32_t name_length
    char* name               # of the server, lower case, with a NUL; NULL for a server, or none was asked for
    char reason[REASON]


cdef Tls* tls_new(TlsStore* store, int fd, bint client) noexcept nogil:
    cdef Tls* tls = <Tls*>calloc(1, sizeof(Tls))
    cdef void* context
    if tls == NULL:
        return NULL
    tls.one = set_hold(store)
    tls.client = client
    tls.wire.library = &libssl
    tls.wire.fd = fd
    context = tls.one.client if client else tls.one.servers[0] if tls.one.count else NULL
    if context == NULL:
        say_errno(EINVAL)
    else:
        tls.ssl = libssl.SSL_new(context)
        if tls.ssl != NULL and wire_attach(&tls.wire, tls.ssl) and libssl.SSL_set_ex_data(tls.ssl, 0, tls):
            return tls
        say_errno(ENOMEM)
    tls_free(tls)
    return NULL


cdef Tls* tls_accept(TlsStore* store, int fd) noexcept nogil:
    cdef Tls* tls = tls_new(store, fd, False)
    if tls != NULL:
        libssl.SSL_set_accept_state(tls.ssl)
    return tls


cdef Tls* tls_connect(TlsStore* store, int fd, const uint8_t* server_name, uint32_t length) noexcept nogil:
    cdef Tls* tls = tls_new(store, fd, True)
    cdef void* session
    cdef Address address
    cdef uint32_t i
    if tls == NULL:
        return NULL
    libssl.SSL_set_connect_state(tls.ssl)
    if length and server_name[length - 1] == c".":
        length -= 1
    if length == 0:
        return tls
    if length < NAME:
        tls.name = <char*>malloc(length + 1)
    if tls.name == NULL:
        tls_free(tls)
        return NULL
    for i in range(length):
        tls.name[i] = <char>(server_name[i] | 0x20 if c"A" <= server_name[i] <= c"Z" else server_name[i])
    tls.name[length] = 0
    tls.name_length = length
    if not address_parse(&address, server_name, length, 0):
        libssl.SSL_ctrl(tls.ssl, CTRL_SERVER_NAME, 0, tls.name)
    session = session_get(tls.one, <const uint8_t*>tls.name, length)
    if session != NULL:
        libssl.SSL_set_session(tls.ssl, session)
        libssl.SSL_SESSION_free(session)
    return tls


cdef void tls_moved(Tls* tls, int fd) noexcept nogil:
    tls.wire.fd = fd


cdef void tls_free(Tls* tls) noexcept nogil:
    if tls == NULL:
        return
    if tls.ssl != NULL:
        if tls.ready and not tls.failed:
            libssl.SSL_set_shutdown(tls.ssl, SHUT_BOTH)      # else its session could not be resumed
        libssl.SSL_free(tls.ssl)
        libssl.ERR_clear_error()
    names_free(&tls.names)
    free(tls.name)
    set_release(tls.one)
    free(tls)


# --- what OpenSSL calls back -----------------------------------------------------------------------------------------

cdef int on_server_name(void* ssl, int* alert, void* argument) noexcept nogil:
    # The certificate for the name the client asks for: with that name, else with a wildcard for it, else the first.
    cdef Tls* tls = <Tls*>libssl.SSL_get_ex_data(ssl, 0)
    cdef const char* name = libssl.SSL_get_servername(ssl, 0)
    cdef uint8_t wild[NAME]
    cdef uint32_t length, i, dot = 0
    cdef int found = -1
    if name == NULL:
        return SERVER_NAME_NO_ACK
    length = <uint32_t>strlen(name)
    for i in range(tls.one.count):
        if names_have(&tls.one.hosts[i], <const uint8_t*>name, length):
            found = <int>i
            break
    while dot < length and name[dot] != c".":
        dot += 1
    if found < 0 and 0 < dot < length and length < NAME:
        wild[0] = c"*"
        memcpy(wild + 1, name + dot, length - dot)
        for i in range(tls.one.count):
            if names_have(&tls.one.hosts[i], wild, 1 + length - dot):
                found = <int>i
                break
    if found < 0:
        return SERVER_NAME_NO_ACK
    if found > 0:
        libssl.SSL_set_SSL_CTX(ssl, tls.one.servers[found])
    return SERVER_NAME_OK


cdef int on_ticket(void* ssl, uint8_t* name, uint8_t* iv, void* cipher, void* mac, int making) noexcept nogil:
    cdef Tls* tls = <Tls*>libssl.SSL_get_ex_data(ssl, 0)
    cdef TicketKey now, before
    cdef int verdict
    if not ticket_keys(tls.one, &now, &before):
        return -1
    verdict = ticket_use(&libssl, &now, &before, name, iv, cipher, mac, making)
    if verdict == 1 and not making and libssl.SSL_version(ssl) >= TLS_1_3:
        return 2                                             # good, and a new one: clients use these once
    return verdict


cdef int on_session(void* ssl, void* session) noexcept nogil:
    # 1: the reference is ours.
    cdef Tls* tls = <Tls*>libssl.SSL_get_ex_data(ssl, 0)
    if tls.name_length == 0:
        return 0
    session_put(tls.one, <const uint8_t*>tls.name, tls.name_length, session)
    return 1


# --- reading and writing -----------------------------------------------------------------------------------------------

cdef void say_why(Tls* tls, int error) noexcept nogil:
    cdef unsigned long code = libssl.ERR_get_error()
    cdef const char* text = NULL
    cdef long verdict = libssl.SSL_get_verify_result(tls.ssl)
    tls.failed = True
    if error == ERROR_SSL and code:
        text = libssl.ERR_reason_error_string(code)
        if text == NULL:
            snprintf(tls.reason, REASON, "TLS error %lx", code)
        elif verdict and not tls.ready:
            snprintf(tls.reason, REASON, "%s: %s", text, libssl.X509_verify_cert_error_string(verdict))
        else:
            snprintf(tls.reason, REASON, "%s", text)
    elif tls.wire.error:
        error_text(tls.wire.error, tls.reason, REASON)
    elif tls.wire.eof:
        snprintf(tls.reason, REASON, "closed by the peer")
    else:
        snprintf(tls.reason, REASON, "the peer said goodbye in the handshake")
    libssl.ERR_clear_error()


cdef int outcome_of(Tls* tls, int result) noexcept nogil:
    # Of a call that gave `result`, not above 0: what it waits for, TLS_FAILED, or TLS_DONE for the end of the stream.
    cdef int error = libssl.SSL_get_error(tls.ssl, result)
    if error == ERROR_WANT_READ:
        return TLS_WANT_READ
    if error == ERROR_WANT_WRITE:
        return TLS_WANT_WRITE
    if tls.ready and (error == ERROR_ZERO_RETURN or (error == ERROR_SYSCALL and tls.wire.eof and tls.wire.error == 0)):
        libssl.ERR_clear_error()
        return TLS_DONE
    say_why(tls, error)
    return TLS_FAILED


cdef bint know_peer(Tls* tls) noexcept nogil:
    # Whose certificate it is; 0 if that is not who was asked for, or memory is out.
    cdef bint asked = tls.one.verify_server if tls.client else tls.one.verify_client
    cdef void* certificate = libssl.SSL_get1_peer_certificate(tls.ssl) if asked else NULL
    cdef int fine = 1
    if certificate != NULL:
        if libssl.SSL_get_verify_result(tls.ssl) == 0:
            tls.verified = True
            tls.serves = certificate_serves(&libssl, certificate)
            fine = certificate_names(&libssl, certificate, 0, &tls.names)
        libssl.X509_free(certificate)
    if not fine:
        snprintf(tls.reason, REASON, "out of memory")
        return False
    if tls.client and asked and tls.name_length and not tls_peer_is(tls, <const uint8_t*>tls.name, tls.name_length):
        snprintf(tls.reason, REASON, "the certificate is not for %s", tls.name)
        session_forget(tls.one, <const uint8_t*>tls.name, tls.name_length)
        return False
    return True


cdef int tls_handshake(Tls* tls) noexcept nogil:
    cdef int result
    if tls.failed:
        return TLS_FAILED
    if tls.ready:
        return TLS_DONE
    libssl.ERR_clear_error()
    result = libssl.SSL_do_handshake(tls.ssl)
    if result != 1:
        result = outcome_of(tls, result)
        if result == TLS_FAILED and tls.client and tls.name_length:
            session_forget(tls.one, <const uint8_t*>tls.name, tls.name_length)
        return result
    tls.ready = True
    tls.more = libssl.SSL_has_pending(tls.ssl)
    if know_peer(tls):
        return TLS_DONE
    tls.failed = True
    return TLS_FAILED


cdef ssize_t tls_read(Tls* tls, void* out, size_t size) noexcept nogil:
    # Record after record while they are there already: asking once more would be a system call for nothing.
    cdef size_t total = 0
    cdef int n, outcome
    tls.more = False
    if tls.failed:
        return -TLS_FAILED
    if size == 0:
        return 0
    libssl.ERR_clear_error()
    while True:
        n = libssl.SSL_read(tls.ssl, <char*>out + total, <int>min(size - total, <size_t>1 << 30))
        if n > 0:
            total += <size_t>n
            if total < size and libssl.SSL_has_pending(tls.ssl):
                continue
            tls.more = libssl.SSL_has_pending(tls.ssl)
            return <ssize_t>total
        outcome = outcome_of(tls, n)
        if total:
            tls.more = outcome == TLS_DONE or outcome == TLS_FAILED
            return <ssize_t>total
        return -outcome


cdef ssize_t tls_write(Tls* tls, const void* data, size_t length) noexcept nogil:
    cdef size_t total = 0
    cdef int n, outcome
    if tls.failed:
        return -TLS_FAILED
    libssl.ERR_clear_error()
    while total < length:
        n = libssl.SSL_write(tls.ssl, <const char*>data + total, <int>min(length - total, <size_t>1 << 30))
        if n > 0:
            total += <size_t>n
            continue
        outcome = outcome_of(tls, n)
        if total:
            break
        return -outcome if outcome != TLS_DONE else -TLS_FAILED
    return <ssize_t>total


cdef int tls_pending(Tls* tls) noexcept nogil:
    cdef int n = libssl.SSL_pending(tls.ssl)
    return n if n else tls.more


cdef void tls_shutdown(Tls* tls) noexcept nogil:
    if tls.ready and not tls.failed:
        libssl.ERR_clear_error()
        libssl.SSL_shutdown(tls.ssl)
        libssl.ERR_clear_error()


cdef const char* tls_reason(Tls* tls) noexcept nogil:
    return tls.reason


cdef bint tls_peer_is(Tls* tls, const uint8_t* domain, uint32_t length) noexcept nogil:
    return names_have(&tls.names, domain, length)


cdef uint32_t tls_peer_name(Tls* tls, uint32_t index, const uint8_t** name) noexcept nogil:
    return names_get(&tls.names, index, name)


cdef bint tls_peer_verified(Tls* tls) noexcept nogil:
    return tls.verified


cdef bint tls_peer_serves(Tls* tls) noexcept nogil:
    return tls.serves


cdef bint tls_resumed(Tls* tls) noexcept nogil:
    return libssl.SSL_session_reused(tls.ssl) != 0
