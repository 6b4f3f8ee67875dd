/*
 * Another library's parser under the same clock as fastsip's: nanoseconds to parse one message and give it back, least of
 * the rounds. Built with -DOSIP (libosip2) or -DSOFIA (sofia-sip).
 *
 *   parsers ROUNDS FILE...        prints one number a file
 *
 * Both build a tree of allocated values. osip parses each header it knows at once; sofia the same, from its own buffer.
 * Reading a value from the tree afterwards costs next to nothing, so it is not timed, but is done once to see that the
 * parser understood the message.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#ifdef OSIP
#include <osipparser2/osip_parser.h>

static int parse(const char *data, size_t length, int show)
{
    osip_message_t *message;
    int bad = osip_message_init(&message) || osip_message_parse(message, data, length);
    bad = bad || (show && !(message->call_id && message->cseq && message->from && message->to));
    osip_message_free(message);
    return bad;
}

static void begin(void)
{
    parser_init();
}
#else
#include <sofia-sip/msg.h>
#include <sofia-sip/msg_parser.h>
#include <sofia-sip/sip.h>
#include <sofia-sip/sip_parser.h>

static const msg_mclass_t *classes;

static int parse(const char *data, size_t length, int show)
{
    msg_t *message = msg_make(classes, 0, data, (ssize_t)length);
    sip_t *sip = message ? sip_object(message) : NULL;
    int bad = !sip || (show && !(sip->sip_call_id && sip->sip_cseq && sip->sip_from && sip->sip_to && sip->sip_via));
    msg_destroy(message);
    return bad;
}

static void begin(void)
{
    classes = sip_default_mclass();
}
#endif

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int main(int count, char **words)
{
    enum { EACH = 200 };
    static char data[65536];
    int rounds = count > 2 ? atoi(words[1]) : 0;
    if (rounds < 1) {
        fprintf(stderr, "usage: parsers ROUNDS FILE...\n");
        return 2;
    }
    begin();
    for (int i = 2; i < count; i++) {
        FILE *file = fopen(words[i], "rb");
        size_t length = file ? fread(data, 1, sizeof data - 1, file) : 0;
        int64_t least = INT64_MAX;
        if (!length || (data[length] = 0, parse(data, length, 1))) {
            fprintf(stderr, "not read or not understood: %s\n", words[i]);
            return 1;
        }
        fclose(file);
        for (int round = 0; round < rounds; round++) {
            int64_t begun = nanoseconds();
            for (int n = 0; n < EACH; n++)
                parse(data, length, 0);
            begun = nanoseconds() - begun;
            least = begun < least ? begun : least;
        }
        printf("%.1f\n", (double)least / EACH);
    }
    return 0;
}
