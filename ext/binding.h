/* The values of the location segment's records, read in place: binding sets and users.
 *
 * A binding set is checked whole, once, by binding_set(): every length in it is inside the record from then on, so that
 * the accessors need no limits. Records are immutable, so a check stays true for as long as the record may be read.
 */
#ifndef FASTSIP_BINDING_H
#define FASTSIP_BINDING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct BindingSet {        /* then `count` bindings one after another */
    uint64_t version;              /* grows with every change of this address-of-record */
    uint16_t count;
    uint16_t reserved;
    uint32_t reserved2;
} BindingSet;

typedef struct Binding {           /* then uri, call_id, parameters, path, zeros up to a multiple of 8 */
    uint32_t size;                 /* of the whole binding: the step to the next */
    uint16_t uri_length;
    uint16_t call_id_length;
    uint16_t parameters_length;
    uint16_t path_length;
    uint16_t q;                    /* thousandths */
    uint8_t transport;             /* TRANSPORT_* the REGISTER came by */
    uint8_t source_family;         /* 4, 6 or 0 */
    uint32_t cseq;
    uint16_t listener;
    uint16_t source_port;
    uint64_t expires;              /* Unix ms */
    uint8_t source_ip[16];
    uint64_t updated;              /* Unix ms */
    uint32_t connection;
    uint32_t following;            /* bindings after this one, so that a walk needs no counter */
} Binding;

_Static_assert(sizeof(BindingSet) == 16 && sizeof(Binding) == 64, "records are laid out by hand");

typedef struct User {
    char ha1_md5[32];              /* hex; all NUL when unknown */
    char ha1_sha256[64];
    uint8_t flags;
} User;

/* The set in `length` bytes at an address that is a multiple of 8, or NULL if they are not exactly one set. */
static inline const BindingSet *binding_set(const uint8_t *value, uint32_t length) {
    if (length < sizeof(BindingSet) || ((uintptr_t)value & 7)) return NULL;
    const BindingSet *set = (const BindingSet *)value;
    const uint8_t *at = value + sizeof *set, *end = value + length;
    for (uint32_t following = set->count; following-- > 0;) {
        if ((size_t)(end - at) < sizeof(Binding)) return NULL;
        const Binding *b = (const Binding *)at;
        uint32_t texts = (uint32_t)b->uri_length + b->call_id_length + b->parameters_length + b->path_length;
        if (b->size > (size_t)(end - at) || b->size % 8 || b->size < sizeof *b + texts || b->following != following)
            return NULL;
        at += b->size;
    }
    return at == end ? set : NULL;
}

/* NULL when the set is empty. */
static inline const Binding *binding_first(const BindingSet *set) {
    return set->count ? (const Binding *)(set + 1) : NULL;
}

/* NULL after the last. */
static inline const Binding *binding_next(const Binding *binding) {
    return binding->following ? (const Binding *)((const uint8_t *)binding + binding->size) : NULL;
}

static inline const uint8_t *binding_uri(const Binding *b) { return (const uint8_t *)(b + 1); }
static inline const uint8_t *binding_call_id(const Binding *b) { return binding_uri(b) + b->uri_length; }
static inline const uint8_t *binding_parameters(const Binding *b) { return binding_call_id(b) + b->call_id_length; }
static inline const uint8_t *binding_path(const Binding *b) { return binding_parameters(b) + b->parameters_length; }

/* The user in `length` bytes, or NULL if they are not one. */
static inline const User *user_record(const uint8_t *value, uint32_t length) {
    return length == sizeof(User) ? (const User *)value : NULL;
}

#endif
