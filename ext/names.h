/* Made by ext/gen_names.py from fastsip/names.py: do not edit, run that.
 *
 * A name's key is its first and its last eight bytes, and the eight behind the first where it has more than sixteen.
 * Header names are folded to lower case by setting bit 0x20 where bit 0x40 is set: a letter has no other preimage, and
 * "-" stays, so equal keys and lengths are equal names, and a name that is found needs no check of its characters. One
 * multiplication gives each name a slot of its own. */
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
    uint32_t length, id;
} NameSlot;

#define NAME_KEY_BYTES 24

#define HEADER_ID_BITS 8
#define HEADER_ID_MULTIPLIER 0x1b028a96b9a50e47ULL
static const NameSlot header_id_slots[256] = {
    [1] = {0x616976, 0x0, 0x0, 3, HDR_VIA}, /* via */
    [2] = {0x6574756f72, 0x0, 0x0, 5, HDR_ROUTE}, /* route */
    [7] = {0x72, 0x0, 0x0, 1, HDR_REFER_TO}, /* r */
    [9] = {0x746361746e6f63, 0x0, 0x0, 7, HDR_CONTACT}, /* contact */
    [10] = {0x6574726f70707573, 0x646574726f707075, 0x0, 9, HDR_SUPPORTED}, /* supported */
    [17] = {0x726576726573, 0x0, 0x0, 6, HDR_SERVER}, /* server */
    [20] = {0x69, 0x0, 0x0, 1, HDR_CALL_ID}, /* i */
    [22] = {0x2d746e65746e6f63, 0x657079742d746e65, 0x0, 12, HDR_CONTENT_TYPE}, /* content-type */
    [34] = {0x73, 0x0, 0x0, 1, HDR_SUBJECT}, /* s */
    [36] = {0x726f707075736e75, 0x646574726f707075, 0x0, 11, HDR_UNSUPPORTED}, /* unsupported */
    [41] = {0x6d6f7266, 0x0, 0x0, 4, HDR_FROM}, /* from */
    [43] = {0x75612d79786f7270, 0x6574616369746e65, 0x616369746e656874, 18, HDR_PROXY_AUTHENTICATE}, /* proxy-authenticate */
    [47] = {0x79636176697270, 0x0, 0x0, 7, HDR_PRIVACY}, /* privacy */
    [51] = {0x7265666572702d70, 0x797469746e656469, 0x6e6564692d646572, 20, HDR_P_PREFERRED_IDENTITY}, /* p-preferred-identity */
    [52] = {0x7a69726f68747561, 0x6e6f6974617a6972, 0x0, 13, HDR_AUTHORIZATION}, /* authorization */
    [61] = {0x74, 0x0, 0x0, 1, HDR_TO}, /* t */
    [73] = {0x747065636361, 0x0, 0x0, 6, HDR_ACCEPT}, /* accept */
    [74] = {0x6b, 0x0, 0x0, 1, HDR_SUPPORTED}, /* k */
    [76] = {0x7463656a627573, 0x0, 0x0, 7, HDR_SUBJECT}, /* subject */
    [86] = {0x62, 0x0, 0x0, 1, HDR_REFERRED_BY}, /* b */
    [87] = {0x6f74, 0x0, 0x0, 2, HDR_TO}, /* to */
    [88] = {0x75, 0x0, 0x0, 1, HDR_ALLOW_EVENTS}, /* u */
    [92] = {0x797469746e656469, 0x0, 0x0, 8, HDR_IDENTITY}, /* identity */
    [94] = {0x65726975716572, 0x0, 0x0, 7, HDR_REQUIRE}, /* require */
    [95] = {0x64692d6c6c6163, 0x0, 0x0, 7, HDR_CALL_ID}, /* call-id */
    [96] = {0x71657372, 0x0, 0x0, 4, HDR_RSEQ}, /* rseq */
    [99] = {0x746e657665, 0x0, 0x0, 5, HDR_EVENT}, /* event */
    [101] = {0x6c, 0x0, 0x0, 1, HDR_CONTENT_LENGTH}, /* l */
    [107] = {0x2d746e65746e6f63, 0x676e69646f636e65, 0x0, 16, HDR_CONTENT_ENCODING}, /* content-encoding */
    [108] = {0x776f6c6c61, 0x0, 0x0, 5, HDR_ALLOW}, /* allow */
    [113] = {0x63, 0x0, 0x0, 1, HDR_CONTENT_TYPE}, /* c */
    [115] = {0x76, 0x0, 0x0, 1, HDR_VIA}, /* v */
    [116] = {0x616572622d78616d, 0x687464616572622d, 0x0, 11, HDR_MAX_BREADTH}, /* max-breadth */
    [123] = {0x65722d79786f7270, 0x657269757165722d, 0x0, 13, HDR_PROXY_REQUIRE}, /* proxy-require */
    [128] = {0x6d, 0x0, 0x0, 1, HDR_CONTACT}, /* m */
    [129] = {0x73657269707865, 0x0, 0x0, 7, HDR_EXPIRES}, /* expires */
    [142] = {0x6f69737265766964, 0x6e6f697372657669, 0x0, 9, HDR_DIVERSION}, /* diversion */
    [144] = {0x2d6e6f6973736573, 0x736572697078652d, 0x0, 15, HDR_SESSION_EXPIRES}, /* session-expires */
    [149] = {0x6b636172, 0x0, 0x0, 4, HDR_RACK}, /* rack */
    [153] = {0x76652d776f6c6c61, 0x73746e6576652d77, 0x0, 12, HDR_ALLOW_EVENTS}, /* allow-events */
    [162] = {0x6567612d72657375, 0x746e6567612d7265, 0x0, 10, HDR_USER_AGENT}, /* user-agent */
    [164] = {0x2d746e65746e6f63, 0x6874676e656c2d74, 0x0, 14, HDR_CONTENT_LENGTH}, /* content-length */
    [167] = {0x6f742d7265666572, 0x0, 0x0, 8, HDR_REFER_TO}, /* refer-to */
    [168] = {0x65, 0x0, 0x0, 1, HDR_CONTENT_ENCODING}, /* e */
    [169] = {0x78, 0x0, 0x0, 1, HDR_SESSION_EXPIRES}, /* x */
    [171] = {0x6e6f73616572, 0x0, 0x0, 6, HDR_REASON}, /* reason */
    [182] = {0x6f, 0x0, 0x0, 1, HDR_EVENT}, /* o */
    [189] = {0x697078652d6e696d, 0x736572697078652d, 0x0, 11, HDR_MIN_EXPIRES}, /* min-expires */
    [192] = {0x7472657373612d70, 0x797469746e656469, 0x746e6564692d6465, 19, HDR_P_ASSERTED_IDENTITY}, /* p-asserted-identity */
    [195] = {0x66, 0x0, 0x0, 1, HDR_FROM}, /* f */
    [196] = {0x79, 0x0, 0x0, 1, HDR_IDENTITY}, /* y */
    [199] = {0x65746164, 0x0, 0x0, 4, HDR_DATE}, /* date */
    [203] = {0x71657363, 0x0, 0x0, 4, HDR_CSEQ}, /* cseq */
    [206] = {0x676e696e726177, 0x0, 0x0, 7, HDR_WARNING}, /* warning */
    [207] = {0x68746170, 0x0, 0x0, 4, HDR_PATH}, /* path */
    [213] = {0x75612d79786f7270, 0x6e6f6974617a6972, 0x74617a69726f6874, 19, HDR_PROXY_AUTHORIZATION}, /* proxy-authorization */
    [214] = {0x77726f662d78616d, 0x7364726177726f66, 0x0, 12, HDR_MAX_FORWARDS}, /* max-forwards */
    [228] = {0x6e696f6a, 0x0, 0x0, 4, HDR_JOIN}, /* join */
    [231] = {0x2d65636976726573, 0x6574756f722d6563, 0x0, 13, HDR_SERVICE_ROUTE}, /* service-route */
    [234] = {0x6465727265666572, 0x79622d6465727265, 0x0, 11, HDR_REFERRED_BY}, /* referred-by */
    [235] = {0x2d79726f74736968, 0x6f666e692d79726f, 0x0, 12, HDR_HISTORY_INFO}, /* history-info */
    [238] = {0x687475612d777777, 0x6574616369746e65, 0x0, 16, HDR_WWW_AUTHENTICATE}, /* www-authenticate */
    [239] = {0x722d64726f636572, 0x6574756f722d6472, 0x0, 12, HDR_RECORD_ROUTE}, /* record-route */
    [243] = {0x736563616c706572, 0x0, 0x0, 8, HDR_REPLACES}, /* replaces */
    [251] = {0x66612d7972746572, 0x72657466612d7972, 0x0, 11, HDR_RETRY_AFTER}, /* retry-after */
};

#define METHOD_ID_BITS 5
#define METHOD_ID_MULTIPLIER 0x1ba0cded68e8a1f7ULL
static const NameSlot method_id_slots[32] = {
    [2] = {0x5245464552, 0x0, 0x0, 5, METHOD_REFER}, /* REFER */
    [3] = {0x5245545349474552, 0x0, 0x0, 8, METHOD_REGISTER}, /* REGISTER */
    [6] = {0x4547415353454d, 0x0, 0x0, 7, METHOD_MESSAGE}, /* MESSAGE */
    [8] = {0x4c45434e4143, 0x0, 0x0, 6, METHOD_CANCEL}, /* CANCEL */
    [9] = {0x4b43415250, 0x0, 0x0, 5, METHOD_PRACK}, /* PRACK */
    [10] = {0x4249524353425553, 0x4542495243534255, 0x0, 9, METHOD_SUBSCRIBE}, /* SUBSCRIBE */
    [13] = {0x4b4341, 0x0, 0x0, 3, METHOD_ACK}, /* ACK */
    [14] = {0x4f464e49, 0x0, 0x0, 4, METHOD_INFO}, /* INFO */
    [15] = {0x4853494c425550, 0x0, 0x0, 7, METHOD_PUBLISH}, /* PUBLISH */
    [16] = {0x455441445055, 0x0, 0x0, 6, METHOD_UPDATE}, /* UPDATE */
    [17] = {0x455942, 0x0, 0x0, 3, METHOD_BYE}, /* BYE */
    [26] = {0x534e4f4954504f, 0x0, 0x0, 7, METHOD_OPTIONS}, /* OPTIONS */
    [27] = {0x594649544f4e, 0x0, 0x0, 6, METHOD_NOTIFY}, /* NOTIFY */
    [28] = {0x455449564e49, 0x0, 0x0, 6, METHOD_INVITE}, /* INVITE */
};

static inline uint64_t name_word(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

/* The first `length` bytes (at most 8) of a word. */
static const uint64_t NAME_MASK[9] = {
    0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff, 0xffffffffffffffff};

static inline uint64_t name_short(uint64_t word, uint32_t length) { return word & NAME_MASK[length]; }

static inline uint64_t name_fold(uint64_t word) {
    return word | ((word & 0x4040404040404040ULL) >> 1);
}

static inline const NameSlot *header_slot(uint64_t a, uint64_t b) {
    return &header_id_slots[((a ^ (b * 3)) * HEADER_ID_MULTIPLIER) >> (64 - HEADER_ID_BITS)];
}

/* As header_id, where eight bytes from `name` on may be read whatever the length. */
static inline int header_id_padded(const uint8_t *name, uint32_t length) {
    if (length <= 8) {
        uint64_t a = name_fold(name_short(name_word(name), length));
        const NameSlot *slot = header_slot(a, 0);
        return slot->a == a && slot->length == length ? (int)slot->id : HDR_UNKNOWN;
    }
    if (length > NAME_KEY_BYTES) return HDR_UNKNOWN;
    uint64_t a = name_fold(name_word(name)), b = name_fold(name_word(name + length - 8));
    uint64_t c = length > 16 ? name_fold(name_word(name + 8)) : 0;
    const NameSlot *slot = header_slot(a, b);
    return slot->a == a && slot->b == b && slot->c == c && slot->length == length ? (int)slot->id : HDR_UNKNOWN;
}

static inline int header_id(const uint8_t *name, uint32_t length) {
    uint8_t key[8] = {0};
    if (length >= 8) return header_id_padded(name, length);
    for (uint32_t i = 0; i < length; i++) key[i] = name[i];
    return header_id_padded(key, length);
}

/* As method_id, where eight bytes from `name` on may be read whatever the length. */
static inline int method_id_padded(const uint8_t *name, uint32_t length) {
    uint64_t a = name_word(name), b = 0;
    if (length - 1 >= METHOD_LONGEST) return METHOD_UNKNOWN;
    if (length <= 8) a = name_short(a, length);
    else b = name_word(name + length - 8);
    const NameSlot *slot = &method_id_slots[((a ^ (b * 3)) * METHOD_ID_MULTIPLIER) >> (64 - METHOD_ID_BITS)];
    return slot->a == a && slot->length == length && slot->b == b ? (int)slot->id : METHOD_UNKNOWN;
}

static inline int method_id(const uint8_t *name, uint32_t length) {
    uint8_t key[8] = {0};
    if (length >= 8) return method_id_padded(name, length);
    for (uint32_t i = 0; i < length; i++) key[i] = name[i];
    return method_id_padded(key, length);
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
