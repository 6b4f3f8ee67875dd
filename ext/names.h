/* Made by ext/gen_names.py from fastsip/names.py: do not edit, run that.
 *
 * A name's key is its bytes in three words, zero behind the end. Header names are folded to lower case by setting bit
 * 0x20 where bit 0x40 is set: a letter has no other preimage, and "-" and digits stay, so equal keys are equal names and
 * a name that is found needs no check of its characters. One multiplication gives a slot without collisions. */
#ifndef FASTSIP_NAMES_H
#define FASTSIP_NAMES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "keys of names are little-endian words"
#endif

enum HeaderId {
    HDR_UNKNOWN = 0,
    HDR_ACCEPT,
    HDR_ALLOW,
    HDR_AUTHORIZATION,
    HDR_CALL_ID,
    HDR_CONTACT,
    HDR_CONTENT_ENCODING,
    HDR_CONTENT_LENGTH,
    HDR_CONTENT_TYPE,
    HDR_CSEQ,
    HDR_DATE,
    HDR_EVENT,
    HDR_EXPIRES,
    HDR_FROM,
    HDR_MAX_FORWARDS,
    HDR_MIN_EXPIRES,
    HDR_PATH,
    HDR_PRIVACY,
    HDR_PROXY_AUTHENTICATE,
    HDR_PROXY_AUTHORIZATION,
    HDR_PROXY_REQUIRE,
    HDR_RECORD_ROUTE,
    HDR_REFER_TO,
    HDR_REFERRED_BY,
    HDR_REPLACES,
    HDR_REQUIRE,
    HDR_RETRY_AFTER,
    HDR_ROUTE,
    HDR_RSEQ,
    HDR_RACK,
    HDR_SERVICE_ROUTE,
    HDR_SESSION_EXPIRES,
    HDR_SUBJECT,
    HDR_SUPPORTED,
    HDR_TO,
    HDR_UNSUPPORTED,
    HDR_USER_AGENT,
    HDR_VIA,
    HDR_WWW_AUTHENTICATE,
    HDR_MAX_BREADTH,
    HDR_P_ASSERTED_IDENTITY,
    HDR_HISTORY_INFO,
    HDR_DIVERSION,
    HDR_REASON,
    HDR_ALLOW_EVENTS,
    HDR_JOIN,
    HDR_IDENTITY,
    HDR_SERVER,
    HDR_WARNING,
    HDR_P_PREFERRED_IDENTITY,
    HDR_COUNT
};

enum MethodId {
    METHOD_UNKNOWN = 0,
    METHOD_INVITE,
    METHOD_ACK,
    METHOD_BYE,
    METHOD_CANCEL,
    METHOD_OPTIONS,
    METHOD_REGISTER,
    METHOD_UPDATE,
    METHOD_PRACK,
    METHOD_INFO,
    METHOD_MESSAGE,
    METHOD_REFER,
    METHOD_SUBSCRIBE,
    METHOD_NOTIFY,
    METHOD_PUBLISH,
    METHOD_COUNT
};

#define METHOD_LONGEST 9

static const char *const header_names[HDR_COUNT] = {
    "",
    "Accept",
    "Allow",
    "Authorization",
    "Call-ID",
    "Contact",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "CSeq",
    "Date",
    "Event",
    "Expires",
    "From",
    "Max-Forwards",
    "Min-Expires",
    "Path",
    "Privacy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "Record-Route",
    "Refer-To",
    "Referred-By",
    "Replaces",
    "Require",
    "Retry-After",
    "Route",
    "RSeq",
    "RAck",
    "Service-Route",
    "Session-Expires",
    "Subject",
    "Supported",
    "To",
    "Unsupported",
    "User-Agent",
    "Via",
    "WWW-Authenticate",
    "Max-Breadth",
    "P-Asserted-Identity",
    "History-Info",
    "Diversion",
    "Reason",
    "Allow-Events",
    "Join",
    "Identity",
    "Server",
    "Warning",
    "P-Preferred-Identity",
};

typedef struct NameSlot {
    uint64_t a, b, c;
    uint64_t id;
} NameSlot;

#define NAME_KEY_BYTES 24

#define HEADER_ID_BITS 8
#define HEADER_ID_MULTIPLIER 0xe371be646699dc9fULL
static const NameSlot header_id_slots[256] = {
    [0] = {0x6e6f73616572, 0x0, 0x0, HDR_REASON}, /* reason */
    [3] = {0x747065636361, 0x0, 0x0, HDR_ACCEPT}, /* accept */
    [6] = {0x2d79726f74736968, 0x6f666e69, 0x0, HDR_HISTORY_INFO}, /* history-info */
    [7] = {0x73657269707865, 0x0, 0x0, HDR_EXPIRES}, /* expires */
    [10] = {0x2d746e65746e6f63, 0x676e69646f636e65, 0x0, HDR_CONTENT_ENCODING}, /* content-encoding */
    [14] = {0x64692d6c6c6163, 0x0, 0x0, HDR_CALL_ID}, /* call-id */
    [15] = {0x74, 0x0, 0x0, HDR_TO}, /* t */
    [16] = {0x6b, 0x0, 0x0, HDR_SUPPORTED}, /* k */
    [17] = {0x62, 0x0, 0x0, HDR_REFERRED_BY}, /* b */
    [22] = {0x616572622d78616d, 0x687464, 0x0, HDR_MAX_BREADTH}, /* max-breadth */
    [25] = {0x75612d79786f7270, 0x616369746e656874, 0x6574, HDR_PROXY_AUTHENTICATE}, /* proxy-authenticate */
    [27] = {0x726576726573, 0x0, 0x0, HDR_SERVER}, /* server */
    [44] = {0x73, 0x0, 0x0, HDR_SUBJECT}, /* s */
    [46] = {0x79636176697270, 0x0, 0x0, HDR_PRIVACY}, /* privacy */
    [59] = {0x697078652d6e696d, 0x736572, 0x0, HDR_MIN_EXPIRES}, /* min-expires */
    [65] = {0x66612d7972746572, 0x726574, 0x0, HDR_RETRY_AFTER}, /* retry-after */
    [67] = {0x726f707075736e75, 0x646574, 0x0, HDR_UNSUPPORTED}, /* unsupported */
    [70] = {0x6f742d7265666572, 0x0, 0x0, HDR_REFER_TO}, /* refer-to */
    [72] = {0x72, 0x0, 0x0, HDR_REFER_TO}, /* r */
    [73] = {0x69, 0x0, 0x0, HDR_CALL_ID}, /* i */
    [82] = {0x6567612d72657375, 0x746e, 0x0, HDR_USER_AGENT}, /* user-agent */
    [84] = {0x77726f662d78616d, 0x73647261, 0x0, HDR_MAX_FORWARDS}, /* max-forwards */
    [87] = {0x722d64726f636572, 0x6574756f, 0x0, HDR_RECORD_ROUTE}, /* record-route */
    [97] = {0x6f74, 0x0, 0x0, HDR_TO}, /* to */
    [109] = {0x2d6e6f6973736573, 0x73657269707865, 0x0, HDR_SESSION_EXPIRES}, /* session-expires */
    [116] = {0x6465727265666572, 0x79622d, 0x0, HDR_REFERRED_BY}, /* referred-by */
    [118] = {0x7265666572702d70, 0x6e6564692d646572, 0x79746974, HDR_P_PREFERRED_IDENTITY}, /* p-preferred-identity */
    [122] = {0x687475612d777777, 0x6574616369746e65, 0x0, HDR_WWW_AUTHENTICATE}, /* www-authenticate */
    [124] = {0x71657363, 0x0, 0x0, HDR_CSEQ}, /* cseq */
    [128] = {0x79, 0x0, 0x0, HDR_IDENTITY}, /* y */
    [134] = {0x76652d776f6c6c61, 0x73746e65, 0x0, HDR_ALLOW_EVENTS}, /* allow-events */
    [144] = {0x7463656a627573, 0x0, 0x0, HDR_SUBJECT}, /* subject */
    [147] = {0x6d6f7266, 0x0, 0x0, HDR_FROM}, /* from */
    [151] = {0x6574756f72, 0x0, 0x0, HDR_ROUTE}, /* route */
    [156] = {0x75612d79786f7270, 0x74617a69726f6874, 0x6e6f69, HDR_PROXY_AUTHORIZATION}, /* proxy-authorization */
    [157] = {0x78, 0x0, 0x0, HDR_SESSION_EXPIRES}, /* x */
    [158] = {0x6f, 0x0, 0x0, HDR_EVENT}, /* o */
    [159] = {0x66, 0x0, 0x0, HDR_FROM}, /* f */
    [161] = {0x616976, 0x0, 0x0, HDR_VIA}, /* via */
    [168] = {0x736563616c706572, 0x0, 0x0, HDR_REPLACES}, /* replaces */
    [170] = {0x68746170, 0x0, 0x0, HDR_PATH}, /* path */
    [171] = {0x7a69726f68747561, 0x6e6f697461, 0x0, HDR_AUTHORIZATION}, /* authorization */
    [174] = {0x7472657373612d70, 0x746e6564692d6465, 0x797469, HDR_P_ASSERTED_IDENTITY}, /* p-asserted-identity */
    [175] = {0x6f69737265766964, 0x6e, 0x0, HDR_DIVERSION}, /* diversion */
    [177] = {0x797469746e656469, 0x0, 0x0, HDR_IDENTITY}, /* identity */
    [181] = {0x676e696e726177, 0x0, 0x0, HDR_WARNING}, /* warning */
    [182] = {0x776f6c6c61, 0x0, 0x0, HDR_ALLOW}, /* allow */
    [185] = {0x6e696f6a, 0x0, 0x0, HDR_JOIN}, /* join */
    [186] = {0x65726975716572, 0x0, 0x0, HDR_REQUIRE}, /* require */
    [187] = {0x65, 0x0, 0x0, HDR_CONTENT_ENCODING}, /* e */
    [198] = {0x2d746e65746e6f63, 0x6874676e656c, 0x0, HDR_CONTENT_LENGTH}, /* content-length */
    [202] = {0x2d65636976726573, 0x6574756f72, 0x0, HDR_SERVICE_ROUTE}, /* service-route */
    [208] = {0x71657372, 0x0, 0x0, HDR_RSEQ}, /* rseq */
    [211] = {0x65746164, 0x0, 0x0, HDR_DATE}, /* date */
    [214] = {0x76, 0x0, 0x0, HDR_VIA}, /* v */
    [215] = {0x6d, 0x0, 0x0, HDR_CONTACT}, /* m */
    [222] = {0x6574726f70707573, 0x64, 0x0, HDR_SUPPORTED}, /* supported */
    [233] = {0x746e657665, 0x0, 0x0, HDR_EVENT}, /* event */
    [236] = {0x746361746e6f63, 0x0, 0x0, HDR_CONTACT}, /* contact */
    [238] = {0x65722d79786f7270, 0x6572697571, 0x0, HDR_PROXY_REQUIRE}, /* proxy-require */
    [240] = {0x2d746e65746e6f63, 0x65707974, 0x0, HDR_CONTENT_TYPE}, /* content-type */
    [242] = {0x75, 0x0, 0x0, HDR_ALLOW_EVENTS}, /* u */
    [243] = {0x6c, 0x0, 0x0, HDR_CONTENT_LENGTH}, /* l */
    [244] = {0x63, 0x0, 0x0, HDR_CONTENT_TYPE}, /* c */
    [249] = {0x6b636172, 0x0, 0x0, HDR_RACK}, /* rack */
};

#define METHOD_ID_BITS 5
#define METHOD_ID_MULTIPLIER 0x1ba0cded68e8a1f7ULL
static const NameSlot method_id_slots[32] = {
    [2] = {0x5245464552, 0x0, 0x0, METHOD_REFER}, /* REFER */
    [3] = {0x5245545349474552, 0x0, 0x0, METHOD_REGISTER}, /* REGISTER */
    [4] = {0x4249524353425553, 0x45, 0x0, METHOD_SUBSCRIBE}, /* SUBSCRIBE */
    [6] = {0x4547415353454d, 0x0, 0x0, METHOD_MESSAGE}, /* MESSAGE */
    [8] = {0x4c45434e4143, 0x0, 0x0, METHOD_CANCEL}, /* CANCEL */
    [9] = {0x4b43415250, 0x0, 0x0, METHOD_PRACK}, /* PRACK */
    [13] = {0x4b4341, 0x0, 0x0, METHOD_ACK}, /* ACK */
    [14] = {0x4f464e49, 0x0, 0x0, METHOD_INFO}, /* INFO */
    [15] = {0x4853494c425550, 0x0, 0x0, METHOD_PUBLISH}, /* PUBLISH */
    [16] = {0x455441445055, 0x0, 0x0, METHOD_UPDATE}, /* UPDATE */
    [17] = {0x455942, 0x0, 0x0, METHOD_BYE}, /* BYE */
    [26] = {0x534e4f4954504f, 0x0, 0x0, METHOD_OPTIONS}, /* OPTIONS */
    [27] = {0x594649544f4e, 0x0, 0x0, METHOD_NOTIFY}, /* NOTIFY */
    [28] = {0x455449564e49, 0x0, 0x0, METHOD_INVITE}, /* INVITE */
};

/* Bytes of ones that a name's length slides over. */
static const uint8_t name_masks[2 * NAME_KEY_BYTES] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
};

static inline uint64_t name_word(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

static inline uint64_t name_fold(uint64_t word) {
    return word | ((word & 0x4040404040404040ULL) >> 1);
}

static inline int name_find(const NameSlot *slots, unsigned bits, uint64_t multiplier, uint64_t a, uint64_t b,
                            uint64_t c) {
    const NameSlot *slot = &slots[((a ^ (b * 3) ^ (c * 5)) * multiplier) >> (64 - bits)];
    return (slot->a == a) & (slot->b == b) & (slot->c == c) ? (int)slot->id : 0;
}

/* As header_id, where NAME_KEY_BYTES from `name` on may be read whatever the length. */
static inline int header_id_padded(const uint8_t *name, uint32_t length) {
    if (length > NAME_KEY_BYTES) return HDR_UNKNOWN;
    const uint8_t *mask = name_masks + NAME_KEY_BYTES - length;
    return name_find(header_id_slots, HEADER_ID_BITS, HEADER_ID_MULTIPLIER,
                     name_fold(name_word(name) & name_word(mask)),
                     name_fold(name_word(name + 8) & name_word(mask + 8)),
                     name_fold(name_word(name + 16) & name_word(mask + 16)));
}

static inline int header_id(const uint8_t *name, uint32_t length) {
    uint8_t key[NAME_KEY_BYTES] = {0};
    if (length == 0 || length > NAME_KEY_BYTES) return HDR_UNKNOWN;
    memcpy(key, name, length);
    return header_id_padded(key, length);
}

static inline int method_id(const uint8_t *name, uint32_t length) {
    uint8_t key[NAME_KEY_BYTES] = {0};
    if (length == 0 || length > METHOD_LONGEST) return METHOD_UNKNOWN;
    for (uint32_t i = 0; i < length; i++) key[i] = name[i];
    return name_find(method_id_slots, METHOD_ID_BITS, METHOD_ID_MULTIPLIER, name_word(key), name_word(key + 8), 0);
}

static inline const char *reason_phrase(int status) {
    switch (status) {
    case 100: return "Trying";
    case 180: return "Ringing";
    case 181: return "Call Is Being Forwarded";
    case 182: return "Queued";
    case 183: return "Session Progress";
    case 199: return "Early Dialog Terminated";
    case 200: return "OK";
    case 202: return "Accepted";
    case 204: return "No Notification";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Moved Temporarily";
    case 305: return "Use Proxy";
    case 380: return "Alternative Service";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 410: return "Gone";
    case 412: return "Conditional Request Failed";
    case 413: return "Request Entity Too Large";
    case 414: return "Request-URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Unsupported URI Scheme";
    case 417: return "Unknown Resource-Priority";
    case 420: return "Bad Extension";
    case 421: return "Extension Required";
    case 422: return "Session Interval Too Small";
    case 423: return "Interval Too Brief";
    case 424: return "Bad Location Information";
    case 425: return "Bad Alert Message";
    case 428: return "Use Identity Header";
    case 429: return "Provide Referrer Identity";
    case 430: return "Flow Failed";
    case 433: return "Anonymity Disallowed";
    case 436: return "Bad Identity Info";
    case 437: return "Unsupported Credential";
    case 438: return "Invalid Identity Header";
    case 439: return "First Hop Lacks Outbound Support";
    case 440: return "Max-Breadth Exceeded";
    case 469: return "Bad Info Package";
    case 470: return "Consent Needed";
    case 480: return "Temporarily Unavailable";
    case 481: return "Call/Transaction Does Not Exist";
    case 482: return "Loop Detected";
    case 483: return "Too Many Hops";
    case 484: return "Address Incomplete";
    case 485: return "Ambiguous";
    case 486: return "Busy Here";
    case 487: return "Request Terminated";
    case 488: return "Not Acceptable Here";
    case 489: return "Bad Event";
    case 491: return "Request Pending";
    case 493: return "Undecipherable";
    case 494: return "Security Agreement Required";
    case 500: return "Server Internal Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Server Time-out";
    case 505: return "Version Not Supported";
    case 513: return "Message Too Large";
    case 555: return "Push Notification Service Not Supported";
    case 580: return "Precondition Failure";
    case 600: return "Busy Everywhere";
    case 603: return "Decline";
    case 604: return "Does Not Exist Anywhere";
    case 606: return "Not Acceptable";
    case 607: return "Unwanted";
    case 608: return "Rejected";
    }
    switch (status / 100) {
    case 1: return "Session Progress";
    case 2: return "OK";
    case 3: return "Multiple Choices";
    case 4: return "Bad Request";
    case 5: return "Server Internal Error";
    case 6: return "Busy Everywhere";
    }
    return "Unknown";
}

#endif
