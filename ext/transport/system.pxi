# What Linux gives us.
from libc.errno cimport (
    EAGAIN, ECONNRESET, EINPROGRESS, EINTR, EINVAL, EIO, EMFILE, EMSGSIZE, ENFILE, ENOBUFS, ENOMEM, ENOSPC, EOPNOTSUPP, EPROTONOSUPPORT,
    EPROTOTYPE, errno)
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, clock_gettime, itimerspec, timespec
from posix.types cimport clockid_t, time_t


cdef inline uint64_t clock_ns(clockid_t clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <uint64_t>now.tv_sec * 1000000000u + <uint64_t>now.tv_nsec


cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <linux/sock_diag.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/timerfd.h>
    #include <sys/uio.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    #ifndef SOL_UDP
    #define SOL_UDP 17
    #endif
    #ifndef UDP_SEGMENT
    #define UDP_SEGMENT 103
    #endif
    #ifndef SYS_epoll_pwait2
    #define SYS_epoll_pwait2 441
    #endif

    /* By its number: glibc has no name for it before 2.35. A kernel before 5.11 sleeps to the next millisecond. */
    static inline int epoll_wait_ns(int epoll, struct epoll_event *events, int capacity, uint64_t ns) {
        static int missing;
        if (ns % 1000000 && !missing) {
            struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
            int found = (int)syscall(SYS_epoll_pwait2, epoll, events, capacity, &t, NULL, 0);
            if (found >= 0 || errno != ENOSYS) return found;
            missing = 1;
        }
        uint64_t ms = (ns + 999999) / 1000000;
        return epoll_wait(epoll, events, capacity, ms < INT32_MAX ? (int)ms : INT32_MAX);
    }
    """

cdef extern from "<sys/socket.h>" nogil:
    ctypedef size_t socklen_t
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    struct sockaddr:
        pass
    struct linger:
        int l_onoff
        int l_linger
    int AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, SOCK_CLOEXEC, SOCK_NONBLOCK
    int SOL_SOCKET, SO_TYPE, SO_ERROR, SO_LINGER, SO_RXQ_OVFL, SO_MEMINFO, SO_COOKIE, MSG_DONTWAIT
    int socket(int domain, int kind, int protocol)
    int connect(int fd, const sockaddr* address, socklen_t length)
    int bind(int fd, const sockaddr* address, socklen_t length)
    int accept4(int fd, sockaddr* address, socklen_t* length, int flags)
    ssize_t recv(int fd, void* data, size_t length, int flags)
    int getsockname(int fd, sockaddr* address, socklen_t* length)
    int getsockopt(int fd, int level, int name, void* value, socklen_t* length)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t length)
    int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, void* timeout)
    int sendmmsg(int fd, mmsghdr* messages, unsigned int count, int flags)
    cmsghdr* CMSG_FIRSTHDR(msghdr* message)
    cmsghdr* CMSG_NXTHDR(msghdr* message, cmsghdr* item)
    unsigned char* CMSG_DATA(cmsghdr* item)
    size_t CMSG_LEN(size_t length)
    size_t CMSG_SPACE(size_t length)

cdef extern from "descriptors.h" nogil:
    int fd_most_connected() noexcept
    int fd_lower(int fd) noexcept

cdef extern from "<linux/sock_diag.h>" nogil:
    enum: SK_MEMINFO_DROPS, SK_MEMINFO_VARS

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IP_PKTINFO, IPV6_PKTINFO, IPV6_RECVPKTINFO
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct in_pktinfo:
        unsigned int ipi_ifindex
        in_addr ipi_spec_dst
    struct in6_pktinfo:
        in6_addr ipi6_addr
        unsigned int ipi6_ifindex

cdef extern from "stun.h" nogil:
    enum: STUN_ANSWER
    bint stun_is_one(const uint8_t* data, uint32_t length) noexcept
    uint32_t stun_answer(const uint8_t* data, uint32_t length, const uint8_t* ip, int family, uint16_t port,
                         uint8_t* out) noexcept

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLET, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int capacity, int timeout)

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY

cdef extern from "<sys/uio.h>" nogil:
    ssize_t writev(int fd, const iovec* pieces, int count)

cdef extern from "<string.h>" nogil:
    void* memmem(const void* data, size_t length, const void* sought, size_t sought_length)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t length)

cdef extern from * nogil:
    enum: SOL_UDP, UDP_SEGMENT
    int IP_BIND_ADDRESS_NO_PORT
    int epoll_wait_ns(int epoll, epoll_event* events, int capacity, uint64_t ns) noexcept

cdef extern from "<sys/timerfd.h>" nogil:
    enum: TFD_CLOEXEC, TFD_NONBLOCK, TFD_TIMER_ABSTIME
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* when, itimerspec* before)

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void* data, size_t length)
    ssize_t write(int fd, const void* data, size_t length)
    int close(int fd)

cdef extern from "ring.h" nogil:
    enum: RING_MESSAGE, RING_RECEIVED, RING_TO_SEND, RING_UNDELIVERED, RING_UNANSWERED, RING_KEEP, RING_ALIAS
    ctypedef struct Ring:
        pass
    ctypedef struct RingBlock:
        pass
    ctypedef struct RingWriter:
        uint64_t capacity
        uint64_t tail
        uint64_t head
    ctypedef struct RingReader:
        uint64_t head
        uint64_t tail
    uint64_t ring_capacity(uint32_t workers, uint64_t size) noexcept
    uint64_t rings_block_size(uint32_t workers, uint64_t budget) noexcept
    int rings_attach(RingBlock* block, uint64_t size, uint32_t workers) noexcept
    Ring* rings_at(RingBlock* block, uint64_t size, uint32_t workers, uint32_t source, uint32_t target) noexcept
    void ring_writer(RingWriter* writer, Ring* ring, uint64_t capacity) noexcept
    void ring_reader(RingReader* reader, Ring* ring, uint64_t capacity) noexcept
    bint ring_write(RingWriter* writer, uint32_t kind, const Flow* flow, const void* data, uint32_t length) noexcept
    void ring_publish(RingWriter* writer) noexcept
    bint ring_crowded(RingWriter* writer) noexcept
    int ring_read(RingReader* reader, uint32_t* kind, Flow* flow, void* out, uint32_t* length) noexcept
    void ring_release(RingReader* reader) noexcept
    bint ring_pending(RingReader* reader) noexcept

cdef extern from "wake.h" nogil:
    void wake_announce(WorkerBlock* block) noexcept
    void wake_clear(WorkerBlock* block) noexcept
    bint wake_needed(WorkerBlock* target) noexcept
    void mark_in_hand(WorkerBlock* block, uint32_t slot, uint32_t length) noexcept
