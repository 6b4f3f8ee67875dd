/* Character classes of the SIP grammar (RFC 3261 25.1), one bit each.
 *
 * Wider than the grammar where networks are: an unquoted parameter value may hold anything that cannot end it, a user
 * part may hold a raw "#" (dial strings), a host "_". */
#ifndef FASTSIP_CHARS_H
#define FASTSIP_CHARS_H

#include <stdint.h>

enum {
    CHAR_TOKEN = 1,       /* token */
    CHAR_VALUE = 2,       /* unquoted value of a header parameter */
    CHAR_URI_PARAM = 4,   /* paramchar */
    CHAR_HOST = 8,        /* hostname, IPv4address */
    CHAR_USER = 16,       /* user: unreserved, escaped, user-unreserved */
    CHAR_PASSWORD = 32,   /* password */
    CHAR_HEADERS = 64,    /* hname, hvalue and what joins them */
    CHAR_BLANK = 128,     /* SP HT CR LF: linear white space once the line ends are known */
};

#define CHAR_UNRESERVED (CHAR_VALUE | CHAR_URI_PARAM | CHAR_USER | CHAR_PASSWORD | CHAR_HEADERS)

static const uint8_t char_class[256] = {
    [' '] = CHAR_BLANK, ['\t'] = CHAR_BLANK, ['\r'] = CHAR_BLANK, ['\n'] = CHAR_BLANK,
    ['a' ... 'z'] = CHAR_TOKEN | CHAR_HOST | CHAR_UNRESERVED,
    ['A' ... 'Z'] = CHAR_TOKEN | CHAR_HOST | CHAR_UNRESERVED,
    ['0' ... '9'] = CHAR_TOKEN | CHAR_HOST | CHAR_UNRESERVED,
    ['-'] = CHAR_TOKEN | CHAR_HOST | CHAR_UNRESERVED,
    ['.'] = CHAR_TOKEN | CHAR_HOST | CHAR_UNRESERVED,
    ['_'] = CHAR_TOKEN | CHAR_HOST | CHAR_UNRESERVED,
    ['!'] = CHAR_TOKEN | CHAR_UNRESERVED,
    ['~'] = CHAR_TOKEN | CHAR_UNRESERVED,
    ['*'] = CHAR_TOKEN | CHAR_UNRESERVED,
    ['\''] = CHAR_TOKEN | CHAR_UNRESERVED,
    ['%'] = CHAR_TOKEN | CHAR_UNRESERVED,
    ['`'] = CHAR_TOKEN | CHAR_VALUE,
    ['('] = CHAR_UNRESERVED & ~CHAR_VALUE,
    [')'] = CHAR_UNRESERVED & ~CHAR_VALUE,
    ['+'] = CHAR_TOKEN | CHAR_UNRESERVED,
    ['$'] = CHAR_UNRESERVED,
    ['&'] = CHAR_UNRESERVED,
    ['='] = CHAR_VALUE | CHAR_USER | CHAR_PASSWORD | CHAR_HEADERS,
    [','] = CHAR_USER | CHAR_PASSWORD,
    [';'] = CHAR_USER,
    ['?'] = CHAR_VALUE | CHAR_USER | CHAR_HEADERS,
    ['/'] = CHAR_VALUE | CHAR_URI_PARAM | CHAR_USER | CHAR_HEADERS,
    [':'] = CHAR_VALUE | CHAR_URI_PARAM | CHAR_HEADERS,
    ['['] = CHAR_VALUE | CHAR_URI_PARAM | CHAR_HEADERS,
    [']'] = CHAR_VALUE | CHAR_URI_PARAM | CHAR_HEADERS,
    ['#'] = CHAR_VALUE | CHAR_USER,
    ['@'] = CHAR_VALUE,
    ['^'] = CHAR_VALUE,
    ['{'] = CHAR_VALUE,
    ['|'] = CHAR_VALUE,
    ['}'] = CHAR_VALUE,
};

#endif
