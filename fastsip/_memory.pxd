# Reference-counted buffers in size classes; see ext/memory.h. Header only: there is no fastsip._memory to import.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "memory.h" nogil:
    ctypedef struct Buffer:
        uint32_t references
        uint32_t length
        uint32_t capacity
        uint8_t* data

    ctypedef struct BufferPool:
        pass

    void pool_init(BufferPool* pool) noexcept
    void pool_trim(BufferPool* pool) noexcept
    uint64_t pool_live(const BufferPool* pool) noexcept
    Buffer* buffer_new(BufferPool* pool, uint32_t capacity) noexcept
    Buffer* buffer_copy(BufferPool* pool, const void* data, uint32_t length) noexcept
    Buffer* buffer_hold(Buffer* buffer) noexcept
    void buffer_release(BufferPool* pool, Buffer* buffer) noexcept
