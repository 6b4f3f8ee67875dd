/*
 * The floor: what it costs to take datagrams in and send them out again, and nothing else. N processes, each with a
 * socket of one SO_REUSEPORT group, epoll, recvmmsg, sendmmsg, SCHED_BATCH, as fastsip's workers have; no SIP.
 *
 *   floor ADDRESS PORT PROCESSES CALLERS CALLEES EXTRA
 *
 * CALLERS and CALLEES are address:first_port:count. What a caller sends goes to the callee of the same number (modulo
 * their count) and what a callee sends to the caller it last heard of by that number: with as many of either, pairs. EXTRA
 * of 1,000 datagrams from callers bring one more of 300 bytes back to the caller: a proxy answers an INVITE with 100.
 * A reuseport program gives each process every Nth sender, so that each has its share at any number of senders.
 * Prints "ready", then on SIGTERM received and sent datagrams.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 32
#define SIZE 4096
#define MOST 64
#define QUEUE (16 << 20)

struct side {
    uint32_t host;
    uint16_t first, count;
};

struct counts {
    _Alignas(64) atomic_ulong received, sent, failed, wakeups;
};

static volatile sig_atomic_t stopping;
static struct counts *counts;
static struct side callers, callees;
static unsigned extra;

static void stop(int signal)
{
    (void)signal;
    stopping = 1;
}

static void refuse(const char *what)
{
    perror(what);
    exit(2);
}

static struct side side_of(char *text)
{
    struct side side;
    char *colon = strchr(text, ':'), *second = colon ? strchr(colon + 1, ':') : NULL;
    if (!second) {
        fprintf(stderr, "not address:port:count: %s\n", text);
        exit(2);
    }
    *colon = *second = 0;
    side.host = inet_addr(text);
    side.first = (uint16_t)atoi(colon + 1);
    side.count = (uint16_t)atoi(second + 1);
    return side;
}

static int within(const struct side *side, const struct sockaddr_in *from)
{
    return from->sin_addr.s_addr == side->host && (uint16_t)(ntohs(from->sin_port) - side->first) < side->count;
}

static void address_of(const struct side *side, unsigned number, struct sockaddr_in *to)
{
    to->sin_family = AF_INET;
    to->sin_addr.s_addr = side->host;
    to->sin_port = htons((uint16_t)(side->first + number % side->count));
}

static int listening(const char *host, int port)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), on = 1, size = QUEUE;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = inet_addr(host)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&own, sizeof own))
        refuse("bind");
    return fd;
}

static void share_out(int fd, unsigned processes)
{
    struct sock_filter code[] = {
        /* A = source port of the UDP header, behind an IPv4 header without options; A % processes. */
        {BPF_LD | BPF_H | BPF_ABS, 0, 0, (uint32_t)SKF_NET_OFF + 20},
        {BPF_ALU | BPF_MOD | BPF_K, 0, 0, processes},
        {BPF_RET | BPF_A, 0, 0, 0},
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program))
        fprintf(stderr, "no reuseport program, the kernel's hash decides: %s\n", strerror(errno));
}

static void forward(int fd, struct counts *own)
{
    static char data[BATCH][SIZE], answer[300];
    static struct mmsghdr in[BATCH], out[2 * BATCH];
    static struct iovec spans[BATCH], out_spans[2 * BATCH];
    static struct sockaddr_in from[BATCH], to[BATCH];
    struct epoll_event event = {.events = EPOLLIN};
    struct sched_param none = {0};
    int ready = epoll_create1(0), i, got, n, done;
    unsigned due = 0;

    sched_setscheduler(0, SCHED_BATCH, &none);
    memset(answer, '\r', sizeof answer);
    for (i = 1; i < (int)sizeof answer; i += 2)
        answer[i] = '\n';
    epoll_ctl(ready, EPOLL_CTL_ADD, fd, &event);
    for (i = 0; i < BATCH; i++) {
        spans[i] = (struct iovec){data[i], SIZE};
        in[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_iov = &spans[i], .msg_iovlen = 1};
    }
    while (!stopping) {
        if (epoll_wait(ready, &event, 1, 1000) <= 0)
            continue;
        atomic_fetch_add_explicit(&own->wakeups, 1, memory_order_relaxed);
        do {
            for (i = 0; i < BATCH; i++)
                in[i].msg_hdr.msg_namelen = sizeof from[i];
            got = recvmmsg(fd, in, BATCH, MSG_DONTWAIT, NULL);
            for (i = n = 0; i < got; i++) {
                int caller = within(&callers, &from[i]);
                const struct side *mine = caller ? &callers : &callees;
                if (!caller && !within(&callees, &from[i]))
                    continue;
                if (caller && (due += extra) >= 1000) {
                    due -= 1000;
                    out_spans[n] = (struct iovec){answer, sizeof answer};
                    out[n].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i],
                                                     .msg_iov = &out_spans[n], .msg_iovlen = 1};
                    n++;
                }
                address_of(caller ? &callees : &callers, (unsigned)(ntohs(from[i].sin_port) - mine->first), &to[i]);
                out_spans[n] = (struct iovec){data[i], in[i].msg_len};
                out[n].msg_hdr = (struct msghdr){.msg_name = &to[i], .msg_namelen = sizeof to[i],
                                                 .msg_iov = &out_spans[n], .msg_iovlen = 1};
                n++;
            }
            for (done = 0; done < n;) {
                int sent = sendmmsg(fd, out + done, (unsigned)(n - done), 0);
                if (sent <= 0) {
                    atomic_fetch_add_explicit(&own->failed, 1, memory_order_relaxed);
                    done++;
                } else
                    done += sent;
            }
            if (got > 0) {
                atomic_fetch_add_explicit(&own->received, (unsigned long)got, memory_order_relaxed);
                atomic_fetch_add_explicit(&own->sent, (unsigned long)n, memory_order_relaxed);
            }
        } while (got == BATCH && !stopping);
    }
    _exit(0);
}

int main(int count, char **words)
{
    int processes, i, fds[MOST];
    pid_t children[MOST];
    unsigned long received = 0, sent = 0, failed = 0, wakeups = 0;
    struct sigaction ending = {.sa_handler = stop};

    if (count != 7 || (processes = atoi(words[3])) < 1 || processes > MOST) {
        fprintf(stderr, "usage: floor ADDRESS PORT PROCESSES CALLERS CALLEES EXTRA, the first lines of floor.c say what\n");
        return 2;
    }
    callers = side_of(words[4]);
    callees = side_of(words[5]);
    extra = (unsigned)atoi(words[6]);
    if (!callers.count || !callees.count) {
        fprintf(stderr, "no callers or no callees\n");
        return 2;
    }
    counts = mmap(NULL, sizeof *counts * MOST, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counts == MAP_FAILED)
        refuse("mmap");
    sigaction(SIGTERM, &ending, NULL);
    sigaction(SIGINT, &ending, NULL);
    for (i = 0; i < processes; i++)
        fds[i] = listening(words[1], atoi(words[2]));
    if (processes > 1)
        share_out(fds[0], (unsigned)processes);
    for (i = 0; i < processes; i++)
        if (!(children[i] = fork())) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            forward(fds[i], &counts[i]);
        }
    puts("ready");
    fflush(stdout);
    while (!stopping)
        pause();
    for (i = 0; i < processes; i++) {
        kill(children[i], SIGTERM);
        waitpid(children[i], NULL, 0);
        received += counts[i].received;
        sent += counts[i].sent;
        failed += counts[i].failed;
        wakeups += counts[i].wakeups;
    }
    printf("%lu %lu %lu %lu\n", received, sent, failed, wakeups);
    return 0;
}
