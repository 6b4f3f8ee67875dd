# Byte records between two threads of one process, and a bell; see ext/queue.h and ext/bell.h. Headers only.
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "queue.h" nogil:
    ctypedef struct Queue:
        uint64_t capacity
    Queue* queue_new(uint64_t capacity) noexcept
    void queue_free(Queue* queue) noexcept
    int queue_put(Queue* queue, const void* data, uint32_t length) noexcept
    int64_t queue_peek(Queue* queue) noexcept
    void queue_take(Queue* queue, void* out, uint32_t length) noexcept
    uint64_t queue_used(Queue* queue) noexcept

cdef extern from "bell.h" nogil:
    ctypedef struct Bell:
        pass
    int bell_ring(Bell* bell) noexcept
    void bell_hush(Bell* bell) noexcept
    int bell_listen(Bell* bell) noexcept
