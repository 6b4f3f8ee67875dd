# A TlsSet from what the configuration says.
import hashlib
import os
import stat
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES:!aNULL:!eNULL"
MINIMUM = {"1.2": TLS_1_2, "1.3": TLS_1_3}
VERIFY = {"no": VERIFY_NONE, "ask": VERIFY_PEER, "require": VERIFY_REQUIRED}


class SetupError(ValueError):
    key = text = ""
    index = 0

    def __init__(self, str key, str text, index=0):
        super().__init__(f"{key}: {text}")
        self.key, self.text, self.index = key, text, index


cdef str trouble():
    # What libssl has to say about what just failed.
    cdef unsigned long code = libssl.ERR_get_error()
    cdef const char* text = libssl.ERR_reason_error_string(code) if code else NULL
    libssl.ERR_clear_error()
    return text.decode(errors="replace") if text != NULL else "no reason given"


cdef int fits(bint fine, str what) except -1:
    if not fine:
        raise ValueError(f"{what}: {trouble()}")
    return 0


cdef int opened(setup, str path, str what, index=0) except -1:
    # A descriptor of what a file has, or had when the setup was made, for libssl to open by `name_of`.
    # It has to be a file: libssl would wait for whoever writes into a pipe.
    cdef int fd
    text = setup.files.get(path)
    try:
        if text is not None:
            with open(os.memfd_create("fastsip-tls"), "wb") as file:
                file.write(text)
                return os.dup(file.fileno())
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    except OSError as error:
        raise SetupError(what, f"cannot read {path}: {error.strerror}", index) from None
    raise SetupError(what, f"{path} is no file", index)


cdef bytes name_of(int fd):
    return b"/proc/self/fd/%d" % fd


cdef void* new_context(object setup) except NULL:
    # What clients and servers have in common.
    cdef void* context = libssl.SSL_CTX_new(libssl.TLS_method())
    cdef bytes ciphers = (setup.ciphers or CIPHERS).encode(), suites = setup.suites.encode()
    if context == NULL:
        raise MemoryError
    try:
        if setup.minimum not in MINIMUM:
            raise ValueError(f"minimum = {setup.minimum!r}: expected one of {', '.join(MINIMUM)}")
        libssl.SSL_CTX_ctrl(context, CTRL_MINIMUM, MINIMUM[setup.minimum], NULL)
        libssl.SSL_CTX_ctrl(context, CTRL_MODE, MODES, NULL)
        libssl.SSL_CTX_ctrl(context, CTRL_READ_AHEAD, 1, NULL)
        libssl.SSL_CTX_set_options(context, OPTIONS)
        libssl.SSL_CTX_set_default_passwd_cb(context, <void*>no_password)
        fits(libssl.SSL_CTX_set_cipher_list(context, ciphers), f"ciphers = {setup.ciphers!r}")
        if suites:
            fits(libssl.SSL_CTX_set_ciphersuites(context, suites), f"suites = {setup.suites!r}")
        return context
    except BaseException:
        libssl.SSL_CTX_free(context)
        raise


cdef int use_certificate(void* context, object setup, uint32_t index) except -1:
    # The key first: once there is a certificate, another one's key is refused as if it were none.
    cdef str chain, key
    cdef int encrypted = 0, fd, fine
    chain, key = setup.certificates[index]
    libssl.SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted)
    fd = opened(setup, key, "key", index)
    fine = libssl.SSL_CTX_use_PrivateKey_file(context, name_of(fd), FILE_PEM)
    os.close(fd)
    libssl.SSL_CTX_set_default_passwd_cb_userdata(context, NULL)
    if not fine:
        raise SetupError("key", f"{key} is encrypted: a key without a passphrase is needed" if encrypted else
                         f"{key} is no private key that can be used", index)
    fd = opened(setup, chain, "certificate", index)
    fine = libssl.SSL_CTX_use_certificate_chain_file(context, name_of(fd))
    os.close(fd)
    if not fine:
        raise SetupError("certificate", f"{chain}: {trouble()}", index)
    if not libssl.SSL_CTX_check_private_key(context):
        raise SetupError("key", f"{key} is not that of {chain}", index)
    return 0


cdef int build_client(TlsSet* one, object setup) except -1:
    cdef int fd, fine
    one.client = new_context(setup)
    if setup.ca_file:
        fd = opened(setup, setup.ca_file, "ca_file")
        fine = libssl.SSL_CTX_load_verify_locations(one.client, name_of(fd), NULL)
        os.close(fd)
        if not fine:
            raise SetupError("ca_file", f"{setup.ca_file}: {trouble()}")
    else:
        libssl.SSL_CTX_set_default_verify_paths(one.client)
    libssl.SSL_CTX_set_verify(one.client, VERIFY_PEER if one.verify_server else VERIFY_NONE, NULL)
    libssl.SSL_CTX_ctrl(one.client, CTRL_SESSION_CACHE, SESSIONS_CLIENT_OURS, NULL)
    libssl.SSL_CTX_sess_set_new_cb(one.client, <void*>on_session)
    if setup.certificates:
        use_certificate(one.client, setup, 0)
    return 0


cdef int build_server(TlsSet* one, uint32_t index, object setup, bytes policy) except -1:
    cdef void* context = new_context(setup)
    cdef void* names = NULL
    cdef int fd
    one.servers[index] = context
    use_certificate(context, setup, index)
    if not certificate_names(&libssl, libssl.SSL_CTX_get0_certificate(context), 1, &one.hosts[index]):
        raise MemoryError
    libssl.SSL_CTX_set_verify(context, VERIFY[setup.verify_client], NULL)
    if one.verify_client:
        libssl.SSL_CTX_set1_cert_store(context, libssl.SSL_CTX_get_cert_store(one.client))
        if setup.ca_file:
            fd = opened(setup, setup.ca_file, "ca_file")
            names = libssl.SSL_load_client_CA_file(name_of(fd))
            os.close(fd)
            if names != NULL:
                libssl.SSL_CTX_set_client_CA_list(context, names)
    libssl.SSL_CTX_ctrl(context, CTRL_SESSION_CACHE, SESSIONS_OFF, NULL)
    libssl.SSL_CTX_set_session_id_context(context, policy, POLICY)
    libssl.SSL_CTX_set_timeout(context, <long>one.lifetime)
    libssl.SSL_CTX_callback_ctrl(context, CTRL_SERVER_NAME_CALLBACK, <void*>on_server_name)
    if setup.tickets:
        libssl.SSL_CTX_set_num_tickets(context, 1)
        if libssl.SSL_CTX_set_tlsext_ticket_key_evp_cb != NULL:
            libssl.SSL_CTX_set_tlsext_ticket_key_evp_cb(context, <void*>on_ticket)
        else:
            libssl.SSL_CTX_callback_ctrl(context, CTRL_TICKET_KEY_CALLBACK, <void*>on_ticket)
    else:
        libssl.SSL_CTX_set_options(context, OPTION_NO_TICKET)
        libssl.SSL_CTX_set_num_tickets(context, 0)
    return 0


cdef bytes policy_of(object setup):
    # A ticket is good where the same clients are let in: not under a stricter rule, nor after another CA came.
    policy = hashlib.sha256(setup.verify_client.encode())
    if setup.verify_client != "no" and setup.ca_file:
        with open(opened(setup, setup.ca_file, "ca_file"), "rb") as file:
            file.seek(0)
            policy.update(file.read())
    return policy.digest()


cdef TlsSet* build_set(TlsStore* store, object setup) except NULL:
    cdef TlsSet* one
    cdef bytes secret = setup.ticket_secret or os.urandom(32), policy
    cdef Py_ssize_t count = len(setup.certificates)
    if setup.verify_client not in VERIFY:
        raise ValueError(f"verify_client = {setup.verify_client!r}: expected one of {', '.join(VERIFY)}")
    if not 16 <= len(secret) <= SECRET:
        raise ValueError(f"ticket_secret has {len(secret)} bytes: expected 16 to {SECRET}")
    if not 1 <= setup.ticket_lifetime <= 604800:
        raise ValueError(f"ticket_lifetime = {setup.ticket_lifetime!r}: expected 1 to 604800 seconds")
    libssl.ERR_clear_error()
    one = <TlsSet*>calloc(1, sizeof(TlsSet))
    if one == NULL:
        raise MemoryError
    try:
        one.store = store
        one.servers = <void**>calloc(count + 1, sizeof(void*))
        one.hosts = <Names*>calloc(count + 1, sizeof(Names))
        if one.servers == NULL or one.hosts == NULL:
            raise MemoryError
        one.count = <uint32_t>count
        one.verify_server = setup.verify_server
        one.verify_client = setup.verify_client != "no"
        one.lifetime = setup.ticket_lifetime
        one.secret_length = <uint32_t>len(secret)
        memcpy(one.secret, <const char*>secret, one.secret_length)
        build_client(one, setup)
        policy = policy_of(setup)
        for i in range(count):
            build_server(one, i, setup, policy)
        libssl.ERR_clear_error()
        return one
    except BaseException:
        set_free(one)
        raise
