/* The four transaction machines of RFC 3261 chapter 17 with RFC 6026, as data.
 *
 * FSM[machine][state][event] is one arrow of a figure: where it leads and what is done on the way. An arrow that is not
 * there is "ignore": the event is dropped, nothing is sent and nobody is told. That covers, for one, a provisional
 * after a final response, a second final response from the transaction user, Timer B after a provisional, and a request
 * retransmitted in Confirmed.
 *
 * Actions happen in the order of their bits, then a send that failed is an event of the new state, then buffers that
 * state does not keep (KEEPS) go back. STATE_TERMINATED stops every timer and gives back the slot.
 *
 *   INVITE_CLIENT       figure 5 as replaced by RFC 6026 8.4
 *   NON_INVITE_CLIENT   figure 6
 *   INVITE_SERVER       figure 7 as replaced by RFC 6026 8.6; Timer H informs the TU (17.2.1), as its text says
 *   NON_INVITE_SERVER   figure 8, with 17.2.4 as replaced by RFC 6026 8.8: a transport error informs the TU and the
 *                       machine stays where it is, so that retransmissions are not taken for new requests
 */
#ifndef FASTSIP_FSM_H
#define FASTSIP_FSM_H

#include <stdint.h>

enum Machine { INVITE_CLIENT, NON_INVITE_CLIENT, INVITE_SERVER, NON_INVITE_SERVER, MACHINE_COUNT };

enum TransactionState {
    STATE_FREE,          /* the slot's state before the machine starts, and what an absent arrow leads to */
    STATE_CALLING,
    STATE_TRYING,
    STATE_PROCEEDING,
    STATE_ACCEPTED,
    STATE_COMPLETED,
    STATE_CONFIRMED,
    STATE_TERMINATED,
    STATE_COUNT
};

enum Event {
    EVENT_REQUEST,       /* client: from the TU; server: received, the first or again */
    EVENT_1XX,           /* client: received; server: from the TU */
    EVENT_2XX,
    EVENT_300_699,
    EVENT_ACK,           /* server: received */
    EVENT_RETRANSMIT,    /* timer A, E or G */
    EVENT_TIMEOUT,       /* timer B, F or H */
    EVENT_WAITED,        /* timer D, I, J, K, L or M */
    EVENT_ERROR,         /* of the transport */
    EVENT_COUNT
};

enum Action {
    STOP_RETRANSMIT = 1 << 0,
    STOP_TIMEOUT = 1 << 1,
    START_RETRANSMIT = 1 << 2,   /* with T1; not on reliable flows */
    DOUBLE = 1 << 3,             /* the interval, for ever (A) */
    DOUBLE_TO_T2 = 1 << 4,       /* the interval, to T2 (E, G) */
    AT_T2 = 1 << 5,              /* the interval becomes T2 (E in Proceeding) */
    START_TIMEOUT = 1 << 6,      /* 64*T1 */
    START_WAIT = 1 << 7,         /* in place of the timeout timer */
    SEND_REQUEST = 1 << 8,
    SEND_RESPONSE = 1 << 9,      /* the one the TU gave */
    RESEND = 1 << 10,            /* the last response, if there is one */
    SEND_ACK = 1 << 11,          /* built from the INVITE and the first final response, then kept */
    PASS_REQUEST = 1 << 12,      /* to the TU, which is the caller */
    PASS_RESPONSE = 1 << 13,
    PASS_ACK = 1 << 14,          /* to the TU, which is the caller */
    TELL_TIMEOUT = 1 << 15,
    TELL_ERROR = 1 << 16
};
#define ACTION_COUNT 17

enum Keep { KEEP_REQUEST = 1, KEEP_RESPONSE = 2 };

typedef struct Arrow {
    uint8_t next;
    uint32_t actions;
} Arrow;

static const Arrow FSM[MACHINE_COUNT][STATE_COUNT][EVENT_COUNT] = {
    [INVITE_CLIENT] = {
        [STATE_FREE] = {
            [EVENT_REQUEST] = {STATE_CALLING, START_RETRANSMIT | START_TIMEOUT | SEND_REQUEST},
        },
        [STATE_CALLING] = {
            [EVENT_RETRANSMIT] = {STATE_CALLING, DOUBLE | SEND_REQUEST},
            [EVENT_TIMEOUT] = {STATE_TERMINATED, TELL_TIMEOUT},
            [EVENT_ERROR] = {STATE_TERMINATED, TELL_ERROR},
            [EVENT_1XX] = {STATE_PROCEEDING, STOP_RETRANSMIT | STOP_TIMEOUT | PASS_RESPONSE},
            [EVENT_2XX] = {STATE_ACCEPTED, STOP_RETRANSMIT | START_WAIT | PASS_RESPONSE},
            [EVENT_300_699] = {STATE_COMPLETED, STOP_RETRANSMIT | START_WAIT | SEND_ACK | PASS_RESPONSE},
        },
        [STATE_PROCEEDING] = {
            [EVENT_1XX] = {STATE_PROCEEDING, PASS_RESPONSE},
            [EVENT_2XX] = {STATE_ACCEPTED, START_WAIT | PASS_RESPONSE},
            [EVENT_300_699] = {STATE_COMPLETED, START_WAIT | SEND_ACK | PASS_RESPONSE},
        },
        [STATE_ACCEPTED] = {
            [EVENT_2XX] = {STATE_ACCEPTED, PASS_RESPONSE},
            [EVENT_WAITED] = {STATE_TERMINATED, 0},
        },
        [STATE_COMPLETED] = {
            [EVENT_300_699] = {STATE_COMPLETED, SEND_ACK},
            [EVENT_ERROR] = {STATE_TERMINATED, TELL_ERROR},
            [EVENT_WAITED] = {STATE_TERMINATED, 0},
        },
    },
    [NON_INVITE_CLIENT] = {
        [STATE_FREE] = {
            [EVENT_REQUEST] = {STATE_TRYING, START_RETRANSMIT | START_TIMEOUT | SEND_REQUEST},
        },
        [STATE_TRYING] = {
            [EVENT_RETRANSMIT] = {STATE_TRYING, DOUBLE_TO_T2 | SEND_REQUEST},
            [EVENT_TIMEOUT] = {STATE_TERMINATED, TELL_TIMEOUT},
            [EVENT_ERROR] = {STATE_TERMINATED, TELL_ERROR},
            [EVENT_1XX] = {STATE_PROCEEDING, PASS_RESPONSE},
            [EVENT_2XX] = {STATE_COMPLETED, STOP_RETRANSMIT | START_WAIT | PASS_RESPONSE},
            [EVENT_300_699] = {STATE_COMPLETED, STOP_RETRANSMIT | START_WAIT | PASS_RESPONSE},
        },
        [STATE_PROCEEDING] = {
            [EVENT_RETRANSMIT] = {STATE_PROCEEDING, AT_T2 | SEND_REQUEST},
            [EVENT_TIMEOUT] = {STATE_TERMINATED, TELL_TIMEOUT},
            [EVENT_ERROR] = {STATE_TERMINATED, TELL_ERROR},
            [EVENT_1XX] = {STATE_PROCEEDING, PASS_RESPONSE},
            [EVENT_2XX] = {STATE_COMPLETED, STOP_RETRANSMIT | START_WAIT | PASS_RESPONSE},
            [EVENT_300_699] = {STATE_COMPLETED, STOP_RETRANSMIT | START_WAIT | PASS_RESPONSE},
        },
        [STATE_COMPLETED] = {
            [EVENT_WAITED] = {STATE_TERMINATED, 0},
        },
    },
    [INVITE_SERVER] = {
        [STATE_FREE] = {
            [EVENT_REQUEST] = {STATE_PROCEEDING, PASS_REQUEST},
        },
        [STATE_PROCEEDING] = {
            [EVENT_REQUEST] = {STATE_PROCEEDING, RESEND},
            [EVENT_1XX] = {STATE_PROCEEDING, SEND_RESPONSE},
            [EVENT_2XX] = {STATE_ACCEPTED, START_WAIT | SEND_RESPONSE},
            [EVENT_300_699] = {STATE_COMPLETED, START_RETRANSMIT | START_TIMEOUT | SEND_RESPONSE},
            [EVENT_ERROR] = {STATE_PROCEEDING, TELL_ERROR},
        },
        [STATE_ACCEPTED] = {
            [EVENT_REQUEST] = {STATE_ACCEPTED, 0},
            [EVENT_2XX] = {STATE_ACCEPTED, SEND_RESPONSE},
            [EVENT_ACK] = {STATE_ACCEPTED, PASS_ACK},
            [EVENT_WAITED] = {STATE_TERMINATED, 0},
            [EVENT_ERROR] = {STATE_ACCEPTED, TELL_ERROR},
        },
        [STATE_COMPLETED] = {
            [EVENT_REQUEST] = {STATE_COMPLETED, RESEND},
            [EVENT_ACK] = {STATE_CONFIRMED, STOP_RETRANSMIT | START_WAIT},
            [EVENT_RETRANSMIT] = {STATE_COMPLETED, DOUBLE_TO_T2 | RESEND},
            [EVENT_TIMEOUT] = {STATE_TERMINATED, TELL_TIMEOUT},
            [EVENT_ERROR] = {STATE_COMPLETED, TELL_ERROR},
        },
        [STATE_CONFIRMED] = {
            [EVENT_WAITED] = {STATE_TERMINATED, 0},
        },
    },
    [NON_INVITE_SERVER] = {
        [STATE_FREE] = {
            [EVENT_REQUEST] = {STATE_TRYING, PASS_REQUEST},
        },
        [STATE_TRYING] = {
            [EVENT_1XX] = {STATE_PROCEEDING, SEND_RESPONSE},
            [EVENT_2XX] = {STATE_COMPLETED, START_WAIT | SEND_RESPONSE},
            [EVENT_300_699] = {STATE_COMPLETED, START_WAIT | SEND_RESPONSE},
        },
        [STATE_PROCEEDING] = {
            [EVENT_REQUEST] = {STATE_PROCEEDING, RESEND},
            [EVENT_1XX] = {STATE_PROCEEDING, SEND_RESPONSE},
            [EVENT_2XX] = {STATE_COMPLETED, START_WAIT | SEND_RESPONSE},
            [EVENT_300_699] = {STATE_COMPLETED, START_WAIT | SEND_RESPONSE},
            [EVENT_ERROR] = {STATE_PROCEEDING, TELL_ERROR},
        },
        [STATE_COMPLETED] = {
            [EVENT_REQUEST] = {STATE_COMPLETED, RESEND},
            [EVENT_WAITED] = {STATE_TERMINATED, 0},
            [EVENT_ERROR] = {STATE_COMPLETED, TELL_ERROR},
        },
    },
};

/* What a state may still need, and so does not give back: a request to send again or to build CANCEL and ACK from, a
 * response to send again (INVITE client: its ACK). A client's request on a reliable flow is kept for INVITE alone. */
static const uint8_t KEEPS[MACHINE_COUNT][STATE_COUNT] = {
    [INVITE_CLIENT] = {
        [STATE_CALLING] = KEEP_REQUEST,
        [STATE_PROCEEDING] = KEEP_REQUEST,
        [STATE_COMPLETED] = KEEP_RESPONSE,
    },
    [NON_INVITE_CLIENT] = {
        [STATE_TRYING] = KEEP_REQUEST,
        [STATE_PROCEEDING] = KEEP_REQUEST,
    },
    [INVITE_SERVER] = {
        [STATE_PROCEEDING] = KEEP_REQUEST | KEEP_RESPONSE,
        [STATE_COMPLETED] = KEEP_RESPONSE,
    },
    [NON_INVITE_SERVER] = {
        [STATE_TRYING] = KEEP_REQUEST,
        [STATE_PROCEEDING] = KEEP_REQUEST | KEEP_RESPONSE,
        [STATE_COMPLETED] = KEEP_RESPONSE,
    },
};

/* Waiting states: the answer has been given, the slot stays for retransmissions alone. */
static inline int is_waiting(int state) {
    return state == STATE_ACCEPTED || state == STATE_COMPLETED || state == STATE_CONFIRMED;
}

/* The letter of the waiting timer a state starts, 0 for none. */
static const char WAIT[MACHINE_COUNT][STATE_COUNT] = {
    [INVITE_CLIENT] = {[STATE_COMPLETED] = 'D', [STATE_ACCEPTED] = 'M'},
    [NON_INVITE_CLIENT] = {[STATE_COMPLETED] = 'K'},
    [INVITE_SERVER] = {[STATE_CONFIRMED] = 'I', [STATE_ACCEPTED] = 'L'},
    [NON_INVITE_SERVER] = {[STATE_COMPLETED] = 'J'},
};

static const char RETRANSMIT_LETTER[MACHINE_COUNT] = {'A', 'E', 'G', 0};
static const char TIMEOUT_LETTER[MACHINE_COUNT] = {'B', 'F', 'H', 0};

/* Timer values (RFC 3261 table 4, RFC 6026 8.11): ms. D waits as long as the other side may send again (its H); an
 * operator who changes T1 changes it for a network, so D follows it like the rest. */
static inline uint32_t wait_of(char letter, int reliable, uint32_t t1, uint32_t t4) {
    switch (letter) {
    case 'D': return reliable ? 0 : 64 * t1;
    case 'I':
    case 'K': return reliable ? 0 : t4;
    case 'J': return reliable ? 0 : 64 * t1;
    default: return 64 * t1; /* L, M */
    }
}

/* The words of the above, for people and for the tests. */
static const char *const MACHINE_NAMES[MACHINE_COUNT] = {
    "INVITE client", "non-INVITE client", "INVITE server", "non-INVITE server"};
static const char *const STATE_NAMES[STATE_COUNT] = {
    "", "Calling", "Trying", "Proceeding", "Accepted", "Completed", "Confirmed", "Terminated"};
static const char *const EVENT_NAMES[EVENT_COUNT] = {
    "request", "1xx", "2xx", "300-699", "ACK", "retransmit", "timeout", "waited", "transport error"};
static const char *const ACTION_NAMES[ACTION_COUNT] = {
    "stop retransmit", "stop timeout", "start retransmit", "double", "double to T2", "at T2", "start timeout",
    "start wait", "send request", "send response", "resend response", "send ACK", "pass request", "pass response",
    "pass ACK", "tell timeout", "tell error"};

#endif
