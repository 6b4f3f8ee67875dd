/* Preloaded beside the sanitizers: counts the places of instrumented code (-fsanitize-coverage=trace-pc) that were
 * reached, writes down where datagrams were sent, and forbids to read what stands behind a received one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#define PLACES (1u << 20)
#define SENT 4096

static uint8_t reached[PLACES];
static uint32_t places;

static struct Sent {
    uint32_t ip;          /* network order; 0 for anything but IPv4 */
    uint16_t port;
    uint16_t is_response;
} sent[SENT];
static uint32_t sent_count;

void __sanitizer_cov_trace_pc(void) {
    uint32_t place = (uint32_t)((uintptr_t)__builtin_return_address(0) * 0x9E3779B97F4A7C15u >> 44);
    if (!reached[place]) {
        reached[place] = 1;
        places++;
    }
}

uint32_t fuzz_places(void) { return places; }

/* What was sent since the last call, at most SENT of it; how many there were. */
uint32_t fuzz_sent(struct Sent *out) {
    uint32_t count = sent_count;
    memcpy(out, sent, (count < SENT ? count : SENT) * sizeof *sent);
    sent_count = 0;
    return count;
}

void __asan_poison_memory_region(const volatile void *, size_t);
void __asan_unpoison_memory_region(const volatile void *, size_t);

/* Datagrams are read where they were received, in slots of shared memory that are larger than they are. */
int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout) {
    static int (*next)(int, struct mmsghdr *, unsigned int, int, struct timespec *);
    if (!next) next = (int (*)(int, struct mmsghdr *, unsigned int, int, struct timespec *))dlsym(RTLD_NEXT, "recvmmsg");
    for (unsigned int i = 0; i < count; i++) {
        const struct iovec *piece = messages[i].msg_hdr.msg_iov;
        __asan_unpoison_memory_region(piece->iov_base, piece->iov_len);
    }
    int got = next(fd, messages, count, flags, timeout);
    for (int i = 0; i < got; i++) {
        const struct iovec *piece = messages[i].msg_hdr.msg_iov;
        uint32_t length = messages[i].msg_len;
        __asan_poison_memory_region((char *)piece->iov_base + length, piece->iov_len - length);
    }
    return got;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
    static int (*next)(int, struct mmsghdr *, unsigned int, int);
    if (!next) next = (int (*)(int, struct mmsghdr *, unsigned int, int))dlsym(RTLD_NEXT, "sendmmsg");
    for (unsigned int i = 0; i < count; i++) {
        const struct msghdr *m = &messages[i].msg_hdr;
        struct Sent *s = &sent[sent_count++ & (SENT - 1)];
        memset(s, 0, sizeof *s);
        if (m->msg_name && ((const struct sockaddr *)m->msg_name)->sa_family == AF_INET) {
            s->ip = ((const struct sockaddr_in *)m->msg_name)->sin_addr.s_addr;
            s->port = ntohs(((const struct sockaddr_in *)m->msg_name)->sin_port);
        }
        s->is_response = m->msg_iovlen && m->msg_iov->iov_len > 4 && !memcmp(m->msg_iov->iov_base, "SIP/", 4);
    }
    return next(fd, messages, count, flags);
}
