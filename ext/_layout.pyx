"""The number of this fastsip's layout, for import_fastsip of fastsip/_layout.pxd."""


cdef uint64_t installed_layout() noexcept nogil:
    return compiled_layout()


LAYOUT = compiled_layout()
