/* TLS by OpenSSL's libssl, found at run time: no headers and no linking, so a wheel runs with whichever libssl (3, or
 * 1.1.1) the Python at hand already uses. All that is asked of it is declared here, with its types as `void`; what the
 * macros of its headers do is written with the functions below them, whose numbers are part of its ABI. */
#ifndef FASTSIP_LIBSSL_H
#define FASTSIP_LIBSSL_H

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define LIBSSL_NEEDED(F) \
    F(int, OPENSSL_init_ssl, (uint64_t, const void *)) \
    F(const char *, OpenSSL_version, (int)) \
    F(const void *, TLS_method, (void)) \
    F(void *, SSL_CTX_new, (const void *)) \
    F(void, SSL_CTX_free, (void *)) \
    F(long, SSL_CTX_ctrl, (void *, int, long, void *)) \
    F(long, SSL_CTX_callback_ctrl, (void *, int, void *)) \
    F(uint64_t, SSL_CTX_set_options, (void *, uint64_t)) \
    F(void, SSL_CTX_set_verify, (void *, int, void *)) \
    F(int, SSL_CTX_load_verify_locations, (void *, const char *, const char *)) \
    F(int, SSL_CTX_set_default_verify_paths, (void *)) \
    F(void *, SSL_CTX_get_cert_store, (const void *)) \
    F(void, SSL_CTX_set1_cert_store, (void *, void *)) \
    F(int, SSL_CTX_use_certificate_chain_file, (void *, const char *)) \
    F(int, SSL_CTX_use_PrivateKey_file, (void *, const char *, int)) \
    F(int, SSL_CTX_check_private_key, (const void *)) \
    F(void, SSL_CTX_set_default_passwd_cb, (void *, void *)) \
    F(void, SSL_CTX_set_default_passwd_cb_userdata, (void *, void *)) \
    F(int, SSL_CTX_set_cipher_list, (void *, const char *)) \
    F(int, SSL_CTX_set_ciphersuites, (void *, const char *)) \
    F(int, SSL_CTX_set_session_id_context, (void *, const uint8_t *, unsigned)) \
    F(void, SSL_CTX_sess_set_new_cb, (void *, void *)) \
    F(long, SSL_CTX_set_timeout, (void *, long)) \
    F(int, SSL_CTX_set_num_tickets, (void *, size_t)) \
    F(void *, SSL_CTX_get0_certificate, (const void *)) \
    F(void, SSL_CTX_set_client_CA_list, (void *, void *)) \
    F(void *, SSL_load_client_CA_file, (const char *)) \
    F(void *, SSL_new, (void *)) \
    F(void, SSL_free, (void *)) \
    F(void, SSL_set_bio, (void *, void *, void *)) \
    F(void, SSL_set_accept_state, (void *)) \
    F(void, SSL_set_connect_state, (void *)) \
    F(int, SSL_do_handshake, (void *)) \
    F(int, SSL_read, (void *, void *, int)) \
    F(int, SSL_write, (void *, const void *, int)) \
    F(int, SSL_pending, (const void *)) \
    F(int, SSL_has_pending, (const void *)) \
    F(int, SSL_shutdown, (void *)) \
    F(void, SSL_set_shutdown, (void *, int)) \
    F(int, SSL_get_error, (const void *, int)) \
    F(long, SSL_ctrl, (void *, int, long, void *)) \
    F(const char *, SSL_get_servername, (const void *, int)) \
    F(void *, SSL_set_SSL_CTX, (void *, void *)) \
    F(int, SSL_set_session, (void *, void *)) \
    F(int, SSL_session_reused, (const void *)) \
    F(long, SSL_get_verify_result, (const void *)) \
    F(const char *, SSL_get_version, (const void *)) \
    F(int, SSL_version, (const void *)) \
    F(const void *, SSL_get_current_cipher, (const void *)) \
    F(const char *, SSL_CIPHER_get_name, (const void *)) \
    F(int, SSL_set_ex_data, (void *, int, void *)) \
    F(void *, SSL_get_ex_data, (const void *, int)) \
    F(void, SSL_SESSION_free, (void *)) \
    F(int, SSL_SESSION_up_ref, (void *)) \
    F(int, SSL_SESSION_is_resumable, (const void *)) \
    F(void, ERR_clear_error, (void)) \
    F(unsigned long, ERR_get_error, (void)) \
    F(const char *, ERR_reason_error_string, (unsigned long)) \
    F(void, X509_free, (void *)) \
    F(void *, X509_get_ext_d2i, (const void *, int, int *, int *)) \
    F(void *, X509_get_subject_name, (const void *)) \
    F(const void *, X509_get0_notBefore, (const void *)) \
    F(const void *, X509_get0_notAfter, (const void *)) \
    F(int, ASN1_TIME_to_tm, (const void *, struct tm *)) \
    F(int, X509_check_purpose, (void *, int, int)) \
    F(int, X509_NAME_get_index_by_NID, (void *, int, int)) \
    F(void *, X509_NAME_get_entry, (const void *, int)) \
    F(void *, X509_NAME_ENTRY_get_data, (const void *)) \
    F(const char *, X509_verify_cert_error_string, (long)) \
    F(const uint8_t *, ASN1_STRING_get0_data, (const void *)) \
    F(int, ASN1_STRING_length, (const void *)) \
    F(int, OPENSSL_sk_num, (const void *)) \
    F(void *, OPENSSL_sk_value, (const void *, int)) \
    F(void, GENERAL_NAMES_free, (void *)) \
    F(void *, GENERAL_NAME_get0_value, (const void *, int *)) \
    F(void *, BIO_meth_new, (int, const char *)) \
    F(int, BIO_meth_set_write, (void *, void *)) \
    F(int, BIO_meth_set_read, (void *, void *)) \
    F(int, BIO_meth_set_ctrl, (void *, void *)) \
    F(void *, BIO_new, (const void *)) \
    F(void, BIO_set_data, (void *, void *)) \
    F(void *, BIO_get_data, (void *)) \
    F(void, BIO_set_init, (void *, int)) \
    F(void, BIO_set_flags, (void *, int)) \
    F(void, BIO_clear_flags, (void *, int)) \
    F(const void *, EVP_aes_256_cbc, (void)) \
    F(const void *, EVP_sha256, (void)) \
    F(const void *, EVP_sha512, (void)) \
    F(int, EVP_EncryptInit_ex, (void *, const void *, void *, const uint8_t *, const uint8_t *)) \
    F(int, EVP_DecryptInit_ex, (void *, const void *, void *, const uint8_t *, const uint8_t *)) \
    F(uint8_t *, HMAC, (const void *, const void *, int, const uint8_t *, size_t, uint8_t *, unsigned *)) \
    F(int, RAND_bytes, (uint8_t *, int))

/* Those of OpenSSL 3, and what 1.1.1 has instead; NULL where there is none. */
#define LIBSSL_EITHER(F) \
    F(void *, SSL_get1_peer_certificate, (const void *)) \
    F(void *, SSL_get_peer_certificate, (const void *)) \
    F(int, SSL_CTX_set_tlsext_ticket_key_evp_cb, (void *, void *)) \
    F(int, EVP_MAC_CTX_set_params, (void *, const void *)) \
    F(int, HMAC_Init_ex, (void *, const void *, int, const void *, void *))

#define LIBSSL_FIELD(result, name, arguments) result (*name) arguments;
typedef struct Libssl {
    LIBSSL_NEEDED(LIBSSL_FIELD)
    LIBSSL_EITHER(LIBSSL_FIELD)
    void *wire;                  /* BIO_METHOD, see below */
    const char *absent;          /* the first function that was not found */
} Libssl;
#undef LIBSSL_FIELD

enum {
    TLS_1_2 = 0x0303, TLS_1_3 = 0x0304,
    VERIFY_NONE = 0, VERIFY_PEER = 1, VERIFY_REQUIRED = 3,      /* SSL_VERIFY_PEER | ..._FAIL_IF_NO_PEER_CERT */
    ERROR_SSL = 1, ERROR_WANT_READ = 2, ERROR_WANT_WRITE = 3, ERROR_SYSCALL = 5, ERROR_ZERO_RETURN = 6,
    CTRL_MODE = 33, CTRL_READ_AHEAD = 41, CTRL_SESSION_CACHE = 44, CTRL_SERVER_NAME_CALLBACK = 53, CTRL_SERVER_NAME = 55,
    CTRL_TICKET_KEY_CALLBACK = 72, CTRL_MINIMUM = 123,
    /* SSL_MODE_ENABLE_PARTIAL_WRITE | ACCEPT_MOVING_WRITE_BUFFER | AUTO_RETRY | RELEASE_BUFFERS */
    MODES = 0x1 | 0x2 | 0x4 | 0x10,
    /* SSL_OP_IGNORE_UNEXPECTED_EOF (3 alone) | NO_COMPRESSION | CIPHER_SERVER_PREFERENCE | NO_RENEGOTIATION */
    OPTIONS = 1 << 7 | 1 << 17 | 1 << 22 | 1 << 30,
    OPTION_NO_TICKET = 1 << 14,
    SESSIONS_OFF = 0, SESSIONS_CLIENT_OURS = 0x1 | 0x300,      /* SSL_SESS_CACHE_CLIENT | NO_INTERNAL */
    SERVER_NAME_OK = 0, SERVER_NAME_NO_ACK = 3,
    SHUT_BOTH = 3,
    FILE_PEM = 1,
};

/* --- the socket under it: a BIO that raises no SIGPIPE and remembers what failed ---------------------------------- */

typedef struct Wire {
    const Libssl *library;
    int fd;
    int error;                   /* errno of the last call, 0 if it went well */
    uint32_t reads;              /* system calls */
    uint32_t writes;
    uint8_t eof;
} Wire;

enum { BIO_READS = 1, BIO_WRITES = 2, BIO_RETRIES = 8 };

static int wire_result(Wire *wire, void *bio, ssize_t n, int direction) {
    if (n >= 0) {
        wire->error = 0;
        return (int)n;
    }
    wire->error = errno;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) wire->library->BIO_set_flags(bio, direction | BIO_RETRIES);
    return -1;
}

/* BIO_get_data is asked of whichever library made the BIO: one is open in a process. */
static const Libssl *libssl_opened;

static int wire_write(void *bio, const char *data, int length) {
    Wire *wire = (Wire *)libssl_opened->BIO_get_data(bio);
    wire->library->BIO_clear_flags(bio, BIO_READS | BIO_WRITES | BIO_RETRIES);
    wire->writes++;
    return wire_result(wire, bio, send(wire->fd, data, (size_t)length, MSG_NOSIGNAL), BIO_WRITES);
}

static int wire_read(void *bio, char *out, int size) {
    Wire *wire = (Wire *)libssl_opened->BIO_get_data(bio);
    wire->library->BIO_clear_flags(bio, BIO_READS | BIO_WRITES | BIO_RETRIES);
    wire->reads++;
    int n = wire_result(wire, bio, recv(wire->fd, out, (size_t)size, 0), BIO_READS);
    if (n == 0) wire->eof = 1;
    return n;
}

static long wire_ctrl(void *bio, int command, long number, void *pointer) {
    enum { IS_EOF = 2, FLUSH = 11 };
    (void)number, (void)pointer;
    if (command == FLUSH) return 1;
    return command == IS_EOF ? ((Wire *)libssl_opened->BIO_get_data(bio))->eof : 0;
}

/* 1 if `ssl` reads and writes by `wire` from now on, and frees what is between. */
static inline int wire_attach(Wire *wire, void *ssl) {
    void *bio = wire->library->BIO_new(wire->library->wire);
    if (!bio) return 0;
    wire->library->BIO_set_data(bio, wire);
    wire->library->BIO_set_init(bio, 1);
    wire->library->SSL_set_bio(ssl, bio, bio);
    return 1;
}

/* Open the library at `path` (or by soname) and find its functions, libcrypto's through it; 1 if all are there. */
static inline int libssl_open(Libssl *ssl, const char *path) {
    enum { NO_ATEXIT = 0x00080000 };         /* threads may still be in it when the process ends */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return 0;
    memset(ssl, 0, sizeof *ssl);
#define LIBSSL_FIND(result, name, arguments) *(void **)&ssl->name = dlsym(library, #name);
#define LIBSSL_CHECK(result, name, arguments) LIBSSL_FIND(result, name, arguments) if (!ssl->name) { ssl->absent = #name; return 0; }
    LIBSSL_NEEDED(LIBSSL_CHECK)
    LIBSSL_EITHER(LIBSSL_FIND)
#undef LIBSSL_CHECK
#undef LIBSSL_FIND
    if (!ssl->SSL_get1_peer_certificate) ssl->SSL_get1_peer_certificate = ssl->SSL_get_peer_certificate;
    if (!ssl->SSL_get1_peer_certificate) ssl->absent = "SSL_get1_peer_certificate";
    if (!ssl->EVP_MAC_CTX_set_params && !ssl->HMAC_Init_ex) ssl->absent = "EVP_MAC_CTX_set_params";
    if (ssl->absent || !ssl->OPENSSL_init_ssl(NO_ATEXIT, NULL)) return 0;
    ssl->wire = ssl->BIO_meth_new(0x80 | 0x400, "fastsip");      /* BIO_TYPE_SOURCE_SINK, a number of our own */
    if (!ssl->wire) return 0;
    ssl->BIO_meth_set_write(ssl->wire, (void *)wire_write);
    ssl->BIO_meth_set_read(ssl->wire, (void *)wire_read);
    ssl->BIO_meth_set_ctrl(ssl->wire, (void *)wire_ctrl);
    libssl_opened = ssl;
    return 1;
}

/* `asked`, if not NULL, is an int that says whether there was a question. */
static int no_password(char *out, int size, int writing, void *asked) {
    (void)out, (void)size, (void)writing;
    if (asked) *(int *)asked = 1;
    return -1;
}

/* --- names in certificates ------------------------------------------------------------------------------------------ */

/* Byte strings of 1 to 255 bytes, each behind its length. */
typedef struct Names {
    uint8_t *text;
    uint32_t length;
    uint32_t count;
} Names;

static inline void names_free(Names *names) {
    free(names->text);
    memset(names, 0, sizeof *names);
}

/* Lower case, without a final dot. What has other bytes than hosts have (a NUL above all) is left out. 0: no memory. */
static inline int names_add(Names *names, const uint8_t *text, size_t length) {
    if (length > 1 && text[length - 1] == '.') length--;
    if (length < 1 || length > 255) return 1;
    for (size_t i = 0; i < length; i++) {
        uint8_t c = text[i], letter = (c | 0x20) - 'a';
        if (letter > 25 && (uint8_t)(c - '0') > 9 && (!c || !strchr("-._*:[]", c))) return 1;
    }
    uint8_t *grown = (uint8_t *)realloc(names->text, names->length + 1 + length);
    if (!grown) return 0;
    names->text = grown;
    grown += names->length;
    *grown++ = (uint8_t)length;
    for (size_t i = 0; i < length; i++) {
        uint8_t c = text[i];
        *grown++ = (uint8_t)(c - 'A') < 26 ? c | 0x20 : c;
    }
    names->length += (uint32_t)(1 + length);
    names->count++;
    return 1;
}

static inline uint32_t names_get(const Names *names, uint32_t index, const uint8_t **name) {
    const uint8_t *at = names->text, *end = at + names->length;
    while (at < end) {
        if (!index--) {
            *name = at + 1;
            return *at;
        }
        at += 1 + *at;
    }
    return 0;
}

/* One of them is `text`, without regard to case and a final dot. */
static inline int names_have(const Names *names, const uint8_t *text, size_t length) {
    const uint8_t *at = names->text, *end = at + names->length;
    if (length > 1 && text[length - 1] == '.') length--;
    for (; at < end; at += 1 + *at) {
        size_t i = 0;
        if (*at != length) continue;
        while (i < length && at[1 + i] == ((uint8_t)(text[i] - 'A') < 26 ? (text[i] | 0x20) : text[i])) i++;
        if (i == length) return 1;
    }
    return 0;
}

/* "sip:" and a host without user: where the host is, or 0. */
static inline size_t sip_host(const uint8_t *uri, size_t length, const uint8_t **host) {
    size_t i = 0;
    if (length < 5 || strncasecmp((const char *)uri, "sip:", 4) || memchr(uri, '@', length)) return 0;
    *host = uri += 4;
    length -= 4;
    if (*uri == '[') {
        while (i < length && uri[i] != ']') i++;
        return i < length ? i + 1 : 0;
    }
    while (i < length && uri[i] != ':' && uri[i] != ';' && uri[i] != '?') i++;
    return i;
}

/* The identities of RFC 5922 7.1 and the addresses; with `all`, the DNS names even where there are sip: URIs. 0: no memory. */
static inline int certificate_names(const Libssl *ssl, const void *certificate, int all, Names *names) {
    enum { SUBJECT_ALT_NAME = 85, COMMON_NAME = 13, DNS = 2, URI = 6, IP = 7 };
    int found = -1, fine = 1, uris = 0;
    void *alternatives = ssl->X509_get_ext_d2i(certificate, SUBJECT_ALT_NAME, &found, NULL);
    int count = alternatives ? ssl->OPENSSL_sk_num(alternatives) : 0;
    static const int order[] = {URI, DNS, IP};
    for (int pass = 0; pass < 3; pass++) {
        if (order[pass] == DNS && uris && !all) continue;
        for (int i = 0; i < count && fine; i++) {
            int kind;
            const void *value = ssl->GENERAL_NAME_get0_value(ssl->OPENSSL_sk_value(alternatives, i), &kind);
            if (kind != order[pass]) continue;
            const uint8_t *text = ssl->ASN1_STRING_get0_data(value);
            size_t length = (size_t)ssl->ASN1_STRING_length(value);
            char address[INET6_ADDRSTRLEN];
            if (kind == URI) {
                const uint8_t *host;
                size_t host_length = sip_host(text, length, &host);
                if (!host_length) continue;
                uris = 1;
                fine = names_add(names, host, host_length);
            } else if (kind == DNS) {
                fine = names_add(names, text, length);
            } else if ((length == 4 || length == 16) &&
                       inet_ntop(length == 4 ? AF_INET : AF_INET6, text, address, sizeof address)) {
                fine = names_add(names, (const uint8_t *)address, strlen(address));
            }
        }
    }
    if (alternatives) ssl->GENERAL_NAMES_free(alternatives);
    if (found == -1) {                       /* no such extension; -2: several, which is no certificate to believe */
        void *subject = ssl->X509_get_subject_name(certificate);
        int at = ssl->X509_NAME_get_index_by_NID(subject, COMMON_NAME, -1);
        const void *value = at >= 0 ? ssl->X509_NAME_ENTRY_get_data(ssl->X509_NAME_get_entry(subject, at)) : NULL;
        if (value) fine &= names_add(names, ssl->ASN1_STRING_get0_data(value), (size_t)ssl->ASN1_STRING_length(value));
    }
    return fine;
}

/* Whether a server may show it: what a client asks of one. */
static inline int certificate_serves(const Libssl *ssl, void *certificate) {
    enum { TLS_SERVER = 2, NO_AUTHORITY = 0 };
    return ssl->X509_check_purpose(certificate, TLS_SERVER, NO_AUTHORITY) == 1;
}

/* In Unix seconds; 0 if it cannot be read. */
static inline int64_t certificate_time(const Libssl *ssl, const void *time) {
    struct tm at;
    return ssl->ASN1_TIME_to_tm(time, &at) ? (int64_t)timegm(&at) : 0;
}

/* From when on it is valid, and when it expires. */
static inline int64_t certificate_begin(const Libssl *ssl, const void *certificate) {
    return certificate_time(ssl, ssl->X509_get0_notBefore(certificate));
}

static inline int64_t certificate_end(const Libssl *ssl, const void *certificate) {
    return certificate_time(ssl, ssl->X509_get0_notAfter(certificate));
}

/* --- keys of session tickets ------------------------------------------------------------------------------------------
 * They follow from the secret and the hour, or whatever a ticket's lifetime is: all workers change them at the same
 * moment and none says a word. A ticket is honoured in the period it was made in and in the next. */

typedef struct TicketKey {
    uint64_t period;             /* 0: none yet */
    uint8_t name[16];
    uint8_t mac[32];
    uint8_t cipher[32];
} TicketKey;

/* The key of `period`, unless it is that one already. */
static inline int ticket_key(const Libssl *ssl, const uint8_t *secret, uint32_t length, uint64_t period, TicketKey *key) {
    uint8_t text[9], name[32], both[64];
    if (key->period == period) return 1;
    key->period = 0;
    memcpy(text + 1, &period, 8);
    text[0] = 'n';
    if (!ssl->HMAC(ssl->EVP_sha256(), secret, (int)length, text, sizeof text, name, NULL)) return 0;
    memcpy(key->name, name, 16);
    text[0] = 'k';
    if (!ssl->HMAC(ssl->EVP_sha512(), secret, (int)length, text, sizeof text, both, NULL)) return 0;
    memcpy(key->mac, both, 32);
    memcpy(key->cipher, both + 32, 32);
    key->period = period;
    return 1;
}

/* What OpenSSL asks of a ticket callback; `mac` is an EVP_MAC_CTX or, with 1.1.1, an HMAC_CTX. */
static inline int ticket_use(const Libssl *ssl, const TicketKey *now, const TicketKey *before, uint8_t *name, uint8_t *iv,
                             void *cipher, void *mac, int making) {
    struct { const char *key; unsigned type; void *data; size_t size, returned; } set[3];        /* OSSL_PARAM */
    const TicketKey *key = now;
    int verdict = 1;
    if (making) {
        memcpy(name, key->name, 16);
        if (ssl->RAND_bytes(iv, 16) != 1) return -1;
        if (!ssl->EVP_EncryptInit_ex(cipher, ssl->EVP_aes_256_cbc(), NULL, key->cipher, iv)) return -1;
    } else {
        if (memcmp(name, key->name, 16)) {
            if (memcmp(name, before->name, 16)) return 0;
            key = before;
            verdict = 2;
        }
        if (!ssl->EVP_DecryptInit_ex(cipher, ssl->EVP_aes_256_cbc(), NULL, key->cipher, iv)) return -1;
    }
    if (!ssl->SSL_CTX_set_tlsext_ticket_key_evp_cb)
        return ssl->HMAC_Init_ex(mac, key->mac, sizeof key->mac, ssl->EVP_sha256(), NULL) ? verdict : -1;
    memset(set, 0, sizeof set);
    set[0].key = "key", set[0].type = 5, set[0].data = (void *)key->mac, set[0].size = sizeof key->mac;
    set[1].key = "digest", set[1].type = 4, set[1].data = (void *)"SHA256", set[1].size = 6;
    return ssl->EVP_MAC_CTX_set_params(mac, set) ? verdict : -1;
}

static inline void error_text(int number, char *out, size_t size) {
    char buffer[96];
    snprintf(out, size, "%s", strerror_r(number, buffer, sizeof buffer));
}

#endif
