/* A transport address: 24 bytes, comparable, IPv4 and IPv6 in one shape. */
#ifndef FASTSIP_ADDRESS_H
#define FASTSIP_ADDRESS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct Address {
    uint8_t ip[16];      /* network order; IPv4 in the first four bytes, the rest zero */
    uint16_t port;       /* host order */
    uint8_t family;      /* 4, 6, or 0 for none */
    uint8_t reserved;
    uint32_t scope;      /* IPv6 zone, 0 for none */
} Address;

#define ADDRESS_TEXT 64  /* enough for "[ipv6%zone]:port" and its NUL */

static inline int address_equal(const Address *a, const Address *b) {
    return a->family == b->family && a->port == b->port && !memcmp(a->ip, b->ip, 16);
}

/* For small tables: spread over the high bits. */
static inline uint64_t address_hash(const Address *address) {
    uint64_t word[2];
    memcpy(word, address->ip, 16);
    return (word[0] ^ word[1] ^ address->port) * 0x9E3779B97F4A7C15u;
}

static inline int address_same_ip(const Address *a, const Address *b) {
    return a->family == b->family && !memcmp(a->ip, b->ip, 16);
}

/* sockaddr to Address; an IPv4-mapped IPv6 address becomes IPv4. */
static inline void address_from_sockaddr(Address *out, const void *sockaddr) {
    memset(out, 0, sizeof *out);
    const struct sockaddr *any = (const struct sockaddr *)sockaddr;
    if (any->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sockaddr;
        memcpy(out->ip, &in->sin_addr, 4);
        out->port = ntohs(in->sin_port);
        out->family = 4;
    } else if (any->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sockaddr;
        out->port = ntohs(in6->sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            memcpy(out->ip, (const uint8_t *)&in6->sin6_addr + 12, 4);
            out->family = 4;
        } else {
            memcpy(out->ip, &in6->sin6_addr, 16);
            out->family = 6;
            out->scope = in6->sin6_scope_id;
        }
    }
}

/* Address to sockaddr; returns its length, 0 if the address has no family. */
static inline uint32_t address_to_sockaddr(const Address *address, struct sockaddr_storage *out) {
    if (address->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        memset(in, 0, sizeof *in);
        in->sin_family = AF_INET;
        in->sin_port = htons(address->port);
        memcpy(&in->sin_addr, address->ip, 4);
        return sizeof *in;
    }
    if (address->family == 6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
        memset(in6, 0, sizeof *in6);
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(address->port);
        memcpy(&in6->sin6_addr, address->ip, 16);
        in6->sin6_scope_id = address->scope;
        return sizeof *in6;
    }
    return 0;
}

/* Four numbers of 0 to 255 with dots between, as inet_pton takes them (no leading zeros): 1, or 0 for anything else. */
static inline int address_parse4(uint8_t *ip, const uint8_t *text, uint32_t length) {
    const uint8_t *end = text + length;
    if (length < 7 || length > 15) return 0;
    for (int part = 0; part < 4; part++) {
        uint32_t value = (uint32_t)*text++ - '0', digit;
        if (value > 9) return 0;
        while (text < end && (digit = (uint32_t)*text - '0') <= 9) {
            if (!value || (value = value * 10 + digit) > 255) return 0;
            text++;
        }
        ip[part] = (uint8_t)value;
        if (part == 3) return text == end;
        if (end - text < 2 || *text++ != '.') return 0;
    }
    return 0;
}

/* The other way round; how many bytes it wrote, at most 15. */
static inline uint32_t address_text4(const uint8_t *ip, char *out) {
    char *at = out;
    for (int part = 0; part < 4; part++) {
        uint32_t value = ip[part];
        if (part) *at++ = '.';
        if (value >= 100) *at++ = (char)('0' + value / 100);
        if (value >= 10) *at++ = (char)('0' + value / 10 % 10);
        *at++ = (char)('0' + value % 10);
    }
    return (uint32_t)(at - out);
}

/* An IPv6 host, with or without brackets, as address_parse takes it. Kept apart, as IPv4 is what is asked for all day. */
static __attribute__((noinline)) int address_parse6(Address *out, const uint8_t *host, uint32_t length, uint16_t port) {
    char text[INET6_ADDRSTRLEN + 1], *colons;
    memset(out, 0, sizeof *out);
    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
    }
    if (length == 0 || length >= sizeof text) return 0;
    if (!memchr(host, ':', length)) return 0;
    memcpy(text, host, length);
    text[length] = 0;
    colons = strstr(text, ":::");
    if (colons) memmove(colons, colons + 1, strlen(colons));
    if (inet_pton(AF_INET6, text, out->ip) == 1) {
        out->port = port;
        out->family = 6;
        if (IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)out->ip)) {
            memcpy(out->ip, out->ip + 12, 4);
            memset(out->ip + 4, 0, 12);
            out->family = 4;
        }
        return 1;
    }
    memset(out, 0, sizeof *out);
    return 0;
}

/* A numeric host to an Address with the given port. 1 if it was numeric, else 0. An IPv4-mapped IPv6 address becomes
 * IPv4, and the three colons that the grammar of RFC 3261 made of two (RFC 5118 4.10) are two. */
static inline int address_parse(Address *out, const uint8_t *host, uint32_t length, uint16_t port) {
    memset(out, 0, sizeof *out);
    if (!address_parse4(out->ip, host, length)) return address_parse6(out, host, length, port);
    out->port = port;
    out->family = 4;
    return 1;
}

/* The host alone, IPv6 in brackets when asked (as in a URI or a Via); returns its length. `out` holds ADDRESS_TEXT. */
static inline uint32_t address_host(const Address *address, char *out, int brackets) {
    char *at = out;
    if (address->family == 6) {
        if (brackets) *at++ = '[';
        inet_ntop(AF_INET6, address->ip, at, INET6_ADDRSTRLEN);
        at += strlen(at);
        if (brackets) *at++ = ']';
        *at = 0;
    } else {
        at += address_text4(address->ip, at);
        *at = 0;
    }
    return (uint32_t)(at - out);
}

static inline int address_is_loopback(const Address *a) {
    if (a->family == 4) return a->ip[0] == 127;
    static const uint8_t one[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    return a->family == 6 && !memcmp(a->ip, one, 16);
}

/* Whether an answer or a request may be sent there at all: not unspecified, broadcast or multicast, and with a port. */
static inline int address_is_sendable(const Address *a) {
    if (a->port == 0) return 0;
    if (a->family == 4) {
        if (a->ip[0] == 0 || a->ip[0] >= 224) return 0;
        return 1;
    }
    if (a->family == 6) {
        static const uint8_t zero[16] = {0};
        return memcmp(a->ip, zero, 16) && a->ip[0] != 0xff;
    }
    return 0;
}

enum {
    FLOW_RELIABLE = 1,
    FLOW_REGISTERED = 2,     /* somebody has registered through this connection */
    FLOW_NAMED = 4           /* a token named it, not the location service */
};

/* Connections have names from here on. Below is who stands where no connection does: datagrams to somebody who is found
 * nowhere but where his came from; with TLS, the number of who has to be found where one is to be opened. */
enum { FLOW_CONNECTIONS = 0x10000, FLOW_DATAGRAM = 1 };

/* Where a message came from and how an answer or a request gets there. UDP uses `listener` (which of the server's
 * sockets) with `local` (the address it came to, from IP_PKTINFO on wildcard listeners); stream transports add a
 * connection. A flow is a value: it owns nothing. */
typedef struct Flow {
    Address remote;
    Address local;           /* family 0: let the kernel choose */
    uint16_t listener;
    uint8_t transport;       /* TRANSPORT_* of _message */
    uint8_t reliable;        /* FLOW_*; 0 for datagrams, which have retransmission timers */
    uint32_t connection;     /* its name, or what stands there; 0: none */
} Flow;

/* This way and no other: a connection that is there, or the place somebody's datagrams came from. */
static inline int flow_is_fixed(const Flow *flow) {
    return flow->connection >= FLOW_CONNECTIONS || (flow->connection && !flow->reliable);
}

/* An address block, as in `trusted = ["192.0.2.0/24"]`. */
typedef struct Network {
    uint8_t ip[16];
    uint8_t family;
    uint8_t bits;
} Network;

static inline int network_contains(const Network *network, const Address *address) {
    if (network->family != address->family) return 0;
    uint32_t whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(network->ip, address->ip, whole)) return 0;
    if (!rest) return 1;
    uint8_t mask = (uint8_t)(0xff << (8 - rest));
    return (network->ip[whole] & mask) == (address->ip[whole] & mask);
}

#endif
