# libssl and the system, as they are called from here. `libssl` is opened once, with the first TlsContexts.
cdef extern from "libssl.h" nogil:
    ctypedef struct Libssl:
        const char* absent
        const char* (*OpenSSL_version)(int what) noexcept nogil
        const void* (*TLS_method)() noexcept nogil
        void* (*SSL_CTX_new)(const void* method) noexcept nogil
        void (*SSL_CTX_free)(void* context) noexcept nogil
        long (*SSL_CTX_ctrl)(void* context, int command, long number, void* pointer) noexcept nogil
        long (*SSL_CTX_callback_ctrl)(void* context, int command, void* callback) noexcept nogil
        uint64_t (*SSL_CTX_set_options)(void* context, uint64_t options) noexcept nogil
        void (*SSL_CTX_set_verify)(void* context, int mode, void* callback) noexcept nogil
        int (*SSL_CTX_load_verify_locations)(void* context, const char* file, const char* folder) noexcept nogil
        int (*SSL_CTX_set_default_verify_paths)(void* context) noexcept nogil
        void* (*SSL_CTX_get_cert_store)(const void* context) noexcept nogil
        void (*SSL_CTX_set1_cert_store)(void* context, void* store) noexcept nogil
        int (*SSL_CTX_use_certificate_chain_file)(void* context, const char* file) noexcept nogil
        int (*SSL_CTX_use_PrivateKey_file)(void* context, const char* file, int kind) noexcept nogil
        int (*SSL_CTX_check_private_key)(const void* context) noexcept nogil
        void (*SSL_CTX_set_default_passwd_cb)(void* context, void* callback) noexcept nogil
        void (*SSL_CTX_set_default_passwd_cb_userdata)(void* context, void* data) noexcept nogil
        int (*SSL_CTX_set_cipher_list)(void* context, const char* list) noexcept nogil
        int (*SSL_CTX_set_ciphersuites)(void* context, const char* list) noexcept nogil
        int (*SSL_CTX_set_session_id_context)(void* context, const uint8_t* text, unsigned int length) noexcept nogil
        void (*SSL_CTX_sess_set_new_cb)(void* context, void* callback) noexcept nogil
        long (*SSL_CTX_set_timeout)(void* context, long seconds) noexcept nogil
        int (*SSL_CTX_set_num_tickets)(void* context, size_t count) noexcept nogil
        void* (*SSL_CTX_get0_certificate)(const void* context) noexcept nogil
        void (*SSL_CTX_set_client_CA_list)(void* context, void* names) noexcept nogil
        void* (*SSL_load_client_CA_file)(const char* file) noexcept nogil
        int (*SSL_CTX_set_tlsext_ticket_key_evp_cb)(void* context, void* callback) noexcept nogil
        void* (*SSL_new)(void* context) noexcept nogil
        void (*SSL_free)(void* ssl) noexcept nogil
        void (*SSL_set_accept_state)(void* ssl) noexcept nogil
        void (*SSL_set_connect_state)(void* ssl) noexcept nogil
        int (*SSL_do_handshake)(void* ssl) noexcept nogil
        int (*SSL_read)(void* ssl, void* out, int size) noexcept nogil
        int (*SSL_write)(void* ssl, const void* data, int length) noexcept nogil
        int (*SSL_pending)(const void* ssl) noexcept nogil
        int (*SSL_has_pending)(const void* ssl) noexcept nogil
        int (*SSL_shutdown)(void* ssl) noexcept nogil
        void (*SSL_set_shutdown)(void* ssl, int how) noexcept nogil
        int (*SSL_get_error)(const void* ssl, int result) noexcept nogil
        long (*SSL_ctrl)(void* ssl, int command, long number, void* pointer) noexcept nogil
        const char* (*SSL_get_servername)(const void* ssl, int kind) noexcept nogil
        void* (*SSL_set_SSL_CTX)(void* ssl, void* context) noexcept nogil
        int (*SSL_set_session)(void* ssl, void* session) noexcept nogil
        int (*SSL_session_reused)(const void* ssl) noexcept nogil
        long (*SSL_get_verify_result)(const void* ssl) noexcept nogil
        const char* (*SSL_get_version)(const void* ssl) noexcept nogil
        int (*SSL_version)(const void* ssl) noexcept nogil
        const void* (*SSL_get_current_cipher)(const void* ssl) noexcept nogil
        const char* (*SSL_CIPHER_get_name)(const void* cipher) noexcept nogil
        void* (*SSL_get1_peer_certificate)(const void* ssl) noexcept nogil
        int (*SSL_set_ex_data)(void* ssl, int index, void* data) noexcept nogil
        void* (*SSL_get_ex_data)(const void* ssl, int index) noexcept nogil
        void (*SSL_SESSION_free)(void* session) noexcept nogil
        int (*SSL_SESSION_up_ref)(void* session) noexcept nogil
        int (*SSL_SESSION_is_resumable)(const void* session) noexcept nogil
        void (*ERR_clear_error)() noexcept nogil
        unsigned long (*ERR_get_error)() noexcept nogil
        const char* (*ERR_reason_error_string)(unsigned long code) noexcept nogil
        void (*X509_free)(void* certificate) noexcept nogil
        const char* (*X509_verify_cert_error_string)(long code) noexcept nogil
        const void* (*EVP_sha256)() noexcept nogil
        uint8_t* (*HMAC)(const void* kind, const void* key, int key_length, const uint8_t* data, size_t length,
                         uint8_t* out, unsigned int* out_length) noexcept nogil
        int (*RAND_bytes)(uint8_t* out, int length) noexcept nogil

    ctypedef struct Wire:
        const Libssl* library
        int fd
        int error
        uint32_t reads
        uint32_t writes
        uint8_t eof

    ctypedef struct TicketKey:
        pass

    ctypedef struct Names:
        uint32_t count

    enum: TLS_1_2, TLS_1_3, VERIFY_NONE, VERIFY_PEER, VERIFY_REQUIRED
    enum: ERROR_SSL, ERROR_WANT_READ, ERROR_WANT_WRITE, ERROR_SYSCALL, ERROR_ZERO_RETURN
    enum: CTRL_MODE, CTRL_READ_AHEAD, CTRL_SESSION_CACHE, CTRL_SERVER_NAME_CALLBACK, CTRL_SERVER_NAME
    enum: CTRL_TICKET_KEY_CALLBACK, CTRL_MINIMUM, MODES, OPTIONS, OPTION_NO_TICKET
    enum: SESSIONS_OFF, SESSIONS_CLIENT_OURS, SERVER_NAME_OK, SERVER_NAME_NO_ACK, SHUT_BOTH, FILE_PEM

    int libssl_open(Libssl* ssl, const char* path) noexcept
    int wire_attach(Wire* wire, void* ssl) noexcept
    int no_password(char* out, int size, int writing, void* asked) noexcept
    void names_free(Names* names) noexcept
    uint32_t names_get(const Names* names, uint32_t index, const uint8_t** name) noexcept
    int names_have(const Names* names, const uint8_t* text, size_t length) noexcept
    int certificate_names(const Libssl* ssl, const void* certificate, int all, Names* names) noexcept
    int certificate_serves(const Libssl* ssl, void* certificate) noexcept
    int64_t certificate_begin(const Libssl* ssl, const void* certificate) noexcept
    int64_t certificate_end(const Libssl* ssl, const void* certificate) noexcept
    int ticket_key(const Libssl* ssl, const uint8_t* secret, uint32_t length, uint64_t period, TicketKey* key) noexcept
    int ticket_use(const Libssl* ssl, const TicketKey* now, const TicketKey* before, uint8_t* name, uint8_t* iv,
                   void* cipher, void* mac, int making) noexcept
    void error_text(int number, char* out, size_t size) noexcept

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* mutex, const void* attributes) noexcept
    int pthread_mutex_destroy(pthread_mutex_t* mutex) noexcept
    int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept
    int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept

cdef extern from "<stdio.h>" nogil:
    int snprintf(char* out, size_t size, const char* format, ...) noexcept

cdef extern from *:
    """
    #include <time.h>
    static inline uint64_t tls_clock_ns(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    static inline uint64_t tls_clock_ms(void) { return tls_clock_ns() / 1000000; }
    static inline uint64_t tls_wall(void) { return (uint64_t)time(NULL); }
    #define say_errno(number) (errno = (number))
    """
    void say_errno(int number) noexcept nogil
    uint64_t tls_clock_ms() noexcept nogil
    uint64_t tls_clock_ns() noexcept nogil
    uint64_t tls_wall() noexcept nogil

cdef Libssl libssl
cdef bint libssl_there = False


cdef bint open_libssl() except -1:
    # The one `_ssl` is linked with first, which is found through it: it is in memory already, and it is the one this
    # Python was tested with.
    global libssl_there
    cdef list paths = [b"libssl.so.3", b"libssl.so.1.1"]
    cdef str trouble = ""
    if libssl_there:
        return True
    try:
        import _ssl
        paths.insert(0, os.fsencode(_ssl.__file__))
    except (ImportError, AttributeError):                    # none, or part of the interpreter
        pass
    for path in paths:
        if libssl_open(&libssl, <const char*><bytes>path):
            libssl_there = True
            return True
        if libssl.absent != NULL:
            trouble = f" ({path.decode(errors='replace')} has no {libssl.absent.decode()})"
    raise RuntimeError(f"no libssl (OpenSSL 3 or 1.1.1) found{trouble}: install libssl3, or a Python that is linked with one")
