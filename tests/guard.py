"""Memory that ends, and begins, at a page that cannot be touched: a read of one byte too many ends the process."""

from __future__ import annotations

import ctypes
import mmap

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_PROT_NONE = 0


class Guard:
    """Room for `capacity` bytes between two forbidden pages.

    `before_the_end(data)` places data so that its last byte is the last that may be read, `from_the_start(data)` so
    that its first is the first. Both give a view that the next call overwrites.
    """

    def __init__(self, capacity: int = 1 << 16) -> None:
        page = mmap.PAGESIZE
        self._room = -(-capacity // page) * page
        self._map = mmap.mmap(-1, self._room + 2 * page)
        whole = (ctypes.c_ubyte * len(self._map)).from_buffer(self._map)
        self._first = ctypes.addressof(whole) + page
        for address in (self._first - page, self._first + self._room):
            if _libc.mprotect(address, page, _PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._whole = whole

    def before_the_end(self, data: bytes) -> memoryview:
        return self._view(self._first + self._room - len(data), data)

    def from_the_start(self, data: bytes) -> memoryview:
        return self._view(self._first, data)

    def _view(self, address: int, data: bytes) -> memoryview:
        assert len(data) <= self._room
        ctypes.memmove(address, data, len(data))
        return memoryview((ctypes.c_ubyte * len(data)).from_address(address)).cast("B")
