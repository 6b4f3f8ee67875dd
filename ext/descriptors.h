/* For whom the descriptors of a process are. Who asks the kernel for one gets the lowest number that is free, so a high
 * number says how many are taken. Established connections have those at the bottom, whoever is still shaking hands for
 * TLS or WebSocket some more above, so that there is room to find out who a newcomer is; a few of these are for a door
 * that has few, whatever crowd there is at another. The rest of the process, name servers, policies, files, has the
 * FD_SPARE at the top.
 */
#ifndef FASTSIP_DESCRIPTORS_H
#define FASTSIP_DESCRIPTORS_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

enum { FD_SPARE = 32, FD_OPENING = 64, FD_FEW = 4, FD_DOORS = 3 };    /* TLS, WSS, and the reception of WebSocket */

static inline int fd_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT32_MAX) return INT32_MAX;
    return (int)limit.rlim_cur;
}

/* From this one on they are not for one more opening at a door that has so many; */
static inline int fd_most_opening(uint32_t under_way) {
    return fd_limit() - FD_SPARE - (under_way < FD_FEW ? 0 : FD_FEW * FD_DOORS);
}

/* and from this one on for no connection. */
static inline int fd_most_connected(void) {
    int part = fd_limit() / 16;
    return fd_most_opening(FD_FEW) - (part < FD_OPENING ? part : FD_OPENING);
}

/* The same socket by the lowest number there is. No epoll may know it by the one it had. */
static inline int fd_lower(int fd) {
    int low = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (low < 0) return fd;
    close(low < fd ? fd : low);
    return low < fd ? low : fd;
}

#endif
