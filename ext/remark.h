/* What a thread that cannot write a log has to say to an operator: short texts in a bounded queue, which the service
 * thread reads. A thread has Remarks of its own. So many a second are said of either way, and of the others how many there
 * were: a scanner costs a few lines, hides no trouble with the neighbours we connect to, and nobody waits.
 */
#ifndef FASTSIP_REMARK_H
#define FASTSIP_REMARK_H

#include <stdio.h>
#include <string.h>
#include "address.h"
#include "queue.h"

enum { REMARK_TEXT = 96, REMARK_ROOM = 1 << 13, REMARKS_A_SECOND = 5 };
enum { REMARK_FROM = 0, REMARK_TO = 1, REMARK_AT = 2 };    /* AT: a listen address of our own */

typedef struct Remark {
    Address remote;
    uint8_t transport;
    uint8_t way;
    uint32_t unsaid;         /* before this one */
    char text[REMARK_TEXT];
} Remark;

typedef struct Remarks {
    Queue *queue;            /* NULL: nothing is said */
    uint64_t second;
    uint32_t said[3];        /* by way */
    uint32_t unsaid[3];
} Remarks;

static inline int remarks_open(Remarks *remarks) {
    memset(remarks, 0, sizeof *remarks);
    remarks->queue = queue_new(REMARK_ROOM);
    return remarks->queue != NULL;
}

static inline void remarks_close(Remarks *remarks) {
    queue_free(remarks->queue);
    remarks->queue = NULL;
}

/* Of a connection from or to a peer; `now` in ms. */
static inline void remark(Remarks *remarks, uint64_t now, int transport, int way, const Address *remote, const char *text) {
    if (!remarks->queue) return;
    if (remarks->second != now / 1000) {
        remarks->second = now / 1000;
        memset(remarks->said, 0, sizeof remarks->said);
    }
    if (remarks->said[way] == REMARKS_A_SECOND) {
        remarks->unsaid[way]++;
        return;
    }
    Remark record;
    memset(&record, 0, sizeof record);
    record.remote = *remote;
    record.transport = (uint8_t)transport;
    record.way = (uint8_t)way;
    record.unsaid = remarks->unsaid[way];
    snprintf(record.text, REMARK_TEXT, "%s", text);
    if (queue_put(remarks->queue, &record, sizeof record)) {
        remarks->said[way]++;
        remarks->unsaid[way] = 0;
    } else
        remarks->unsaid[way]++;
}

/* The same with the words for an errno. */
static inline void remark_error(Remarks *remarks, uint64_t now, int transport, int way, const Address *remote, int error) {
    remark(remarks, now, transport, way, remote, strerror(error));
}

static inline int remarks_take(Remarks *remarks, Remark *out) {
    if (!remarks->queue || queue_peek(remarks->queue) < 0) return 0;
    queue_take(remarks->queue, out, sizeof *out);
    return 1;
}

#endif
