/* A binding set with any bytes changed is refused, or every byte its accessors reach is inside it.
 *
 * Built with AddressSanitizer; each value ends where its allocation ends. usage: binding_fuzz [rounds]
 */
#include <stdio.h>
#include <stdlib.h>

#include "binding.h"

static volatile uint8_t sink;

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint32_t build(uint8_t *out, uint64_t *seed) {
    BindingSet *set = (BindingSet *)out;
    memset(set, 0, sizeof *set);
    set->count = next(seed) % 5;
    uint8_t *at = out + sizeof *set;
    for (uint32_t i = 0; i < set->count; i++) {
        Binding *b = (Binding *)at;
        memset(b, 0, sizeof *b);
        b->uri_length = next(seed) % 60;
        b->call_id_length = next(seed) % 40;
        b->parameters_length = next(seed) % 30;
        b->path_length = next(seed) % 20;
        b->following = set->count - 1 - i;
        uint32_t texts = b->uri_length + b->call_id_length + b->parameters_length + b->path_length;
        b->size = (sizeof *b + texts + 7) & ~7u;
        memset(at + sizeof *b, 'a', b->size - sizeof *b);
        at += b->size;
    }
    return (uint32_t)(at - out);
}

static uint32_t walk(const uint8_t *value, uint32_t length) {
    const BindingSet *set = binding_set(value, length);
    uint32_t count = 0;
    if (!set) return 0;
    for (const Binding *b = binding_first(set); b; b = binding_next(b), count++) {
        const uint8_t *end = binding_path(b) + b->path_length;
        for (const uint8_t *at = binding_uri(b); at < end; at++) sink = *at;
    }
    if (count != set->count) abort();
    return 1;
}

int main(int argc, char **argv) {
    long rounds = argc > 1 ? atol(argv[1]) : 300000, taken = 0;
    uint64_t seed = 88172645463325252ULL;
    _Alignas(8) uint8_t whole[2048];
    for (long round = 0; round < rounds; round++) {
        uint32_t length = build(whole, &seed);
        if (!walk(whole, length)) return 1;
        uint32_t cut = next(&seed) % 4 ? length : (uint32_t)(next(&seed) % (length + 1));
        uint8_t *copy = (uint8_t *)malloc(cut ? cut : 1);
        memcpy(copy, whole, cut);
        for (uint64_t n = next(&seed) % 3; n > 0 && cut; n--) {
            uint64_t at = next(&seed) % (next(&seed) % 2 && cut > 92 ? 92 : cut);
            copy[at] = (uint8_t)(next(&seed) % 3 ? copy[at] ^ 1 << next(&seed) % 8 : next(&seed));
        }
        taken += walk(copy, cut);
        free(copy);
    }
    printf("%ld of %ld taken for a set\n", taken, rounds);
    return taken == 0 || taken == rounds;
}
