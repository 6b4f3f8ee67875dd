/* A network that fails to order, for LD_PRELOAD. SENDMMSG_SCRIPT is a comma list, one item a call: a positive number
 * lets that many datagrams leave at most, a negative one is the errno to fail with. Behind its end all calls succeed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags) {
    static int (*real)(int, struct mmsghdr *, unsigned int, int);
    static const char *script;
    if (!real) {
        real = (int (*)(int, struct mmsghdr *, unsigned int, int))dlsym(RTLD_NEXT, "sendmmsg");
        script = getenv("SENDMMSG_SCRIPT");
    }
    if (script && *script) {
        char *end;
        long item = strtol(script, &end, 10);
        script = *end ? end + 1 : end;
        if (item < 0) {
            errno = (int)-item;
            return -1;
        }
        if ((long)count > item) count = (unsigned int)item;
    }
    return real(fd, messages, count, flags);
}
