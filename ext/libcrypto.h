/* MD5 and SHA-256 by OpenSSL's libcrypto, found at run time: no headers and no linking, so a wheel runs with whichever
 * libcrypto (1.1 or 3) the Python at hand already uses. EVP says whether an algorithm may be used; the work is done by
 * MD5_Init and its like, where the library has them, or else by an EVP context that is kept between messages. With OpenSSL
 * 3 that context is a third of what EVP_Digest costs; they save some 600 instructions a hash more. */
#ifndef FASTSIP_LIBCRYPTO_H
#define FASTSIP_LIBCRYPTO_H

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Libcrypto {
    const void *(*md5)(void);
    const void *(*sha256)(void);
    void *(*fetch)(void *library, const char *name, const char *properties);  /* OpenSSL 3, else NULL */
    void (*fetched_free)(void *type);
    void *(*context_new)(void);
    void (*context_free)(void *context);
    int (*init)(void *context, const void *type, void *engine);
    int (*update)(void *context, const void *data, size_t length);
    int (*final)(void *context, uint8_t *out, unsigned *length);
    struct Plain {
        int (*init)(void *state);
        int (*update)(void *state, const void *data, size_t length);
        int (*final)(uint8_t *out, void *state);
    } plain[2];                  /* MD5, SHA-256; NULL where the library does without */
} Libcrypto;

/* One algorithm, for one thread. Input is gathered in `gathered`, because a short update costs more than a copy. */
typedef struct Hash {
    Libcrypto *crypto;
    const struct Plain *plain;   /* NULL: by way of `context` */
    void *context;
    const void *type;
    void *fetched;
    uint32_t size;               /* bytes of the digest: 16 or 32 */
    uint32_t filled;
    _Alignas(16) uint8_t state[256];         /* MD5_CTX has 92 bytes, SHA256_CTX 112 */
    uint8_t gathered[1024];
} Hash;

/* Open the library at `path` (or by soname) and find its functions; 1 if all are there. */
static inline int libcrypto_open(Libcrypto *crypto, const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return 0;
    *(void **)&crypto->md5 = dlsym(library, "EVP_md5");
    *(void **)&crypto->sha256 = dlsym(library, "EVP_sha256");
    *(void **)&crypto->fetch = dlsym(library, "EVP_MD_fetch");
    *(void **)&crypto->fetched_free = dlsym(library, "EVP_MD_free");
    *(void **)&crypto->context_new = dlsym(library, "EVP_MD_CTX_new");
    *(void **)&crypto->context_free = dlsym(library, "EVP_MD_CTX_free");
    *(void **)&crypto->init = dlsym(library, "EVP_DigestInit_ex");
    *(void **)&crypto->update = dlsym(library, "EVP_DigestUpdate");
    *(void **)&crypto->final = dlsym(library, "EVP_DigestFinal_ex");
    static const char *const names[2][3] = {{"MD5_Init", "MD5_Update", "MD5_Final"},
                                            {"SHA256_Init", "SHA256_Update", "SHA256_Final"}};
    for (int i = 0; i < 2; i++) {
        struct Plain *plain = &crypto->plain[i];
        *(void **)&plain->init = dlsym(library, names[i][0]);
        *(void **)&plain->update = dlsym(library, names[i][1]);
        *(void **)&plain->final = dlsym(library, names[i][2]);
        if (!plain->init || !plain->update || !plain->final) memset(plain, 0, sizeof *plain);
    }
    return crypto->md5 && crypto->sha256 && crypto->context_new && crypto->context_free && crypto->init &&
           crypto->update && crypto->final && (!crypto->fetch || crypto->fetched_free);
}

static inline void hash_start(Hash *hash) {
    hash->filled = 0;
    if (hash->plain) hash->plain->init(hash->state);
    else hash->crypto->init(hash->context, hash->type, NULL);
}

static inline void hash_update(Hash *hash, const void *data, uint32_t length) {
    if (hash->plain) hash->plain->update(hash->state, data, length);
    else hash->crypto->update(hash->context, data, length);
}

static inline void hash_add(Hash *hash, const void *data, uint32_t length) {
    if (length > sizeof hash->gathered - hash->filled) {
        hash_update(hash, hash->gathered, hash->filled);
        hash->filled = 0;
        if (length > sizeof hash->gathered) {
            hash_update(hash, data, length);
            return;
        }
    }
    memcpy(hash->gathered + hash->filled, data, length);
    hash->filled += length;
}

/* The digest, `hash->size` bytes, to `out`. 0 if the library failed. */
static inline int hash_finish(Hash *hash, uint8_t *out) {
    unsigned length = 0;
    hash_update(hash, hash->gathered, hash->filled);
    if (hash->plain) return hash->plain->final(out, hash->state);
    return hash->crypto->final(hash->context, out, &length) && length == hash->size;
}

/* 1 if the algorithm works; a libcrypto in FIPS mode refuses MD5. */
static inline int hash_open(Hash *hash, Libcrypto *crypto, int sha256) {
    uint8_t out[32];
    hash->crypto = crypto;
    hash->size = sha256 ? 32 : 16;
    hash->fetched = crypto->fetch ? crypto->fetch(NULL, sha256 ? "SHA256" : "MD5", NULL) : NULL;
    hash->type = crypto->fetch ? hash->fetched : sha256 ? crypto->sha256() : crypto->md5();
    hash->context = crypto->context_new();
    if (!hash->type || !hash->context || !crypto->init(hash->context, hash->type, NULL)) return 0;
    hash->filled = 0;
    if (!hash_finish(hash, out)) return 0;
    hash->plain = crypto->plain[sha256].init ? &crypto->plain[sha256] : NULL;
    return 1;
}

static inline void hash_close(Hash *hash) {
    if (hash->context) hash->crypto->context_free(hash->context);
    if (hash->fetched) hash->crypto->fetched_free(hash->fetched);
    memset(hash, 0, sizeof *hash);
}

#endif
