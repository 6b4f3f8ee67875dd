"""The location service: which contacts an address-of-record is bound to (RFC 3261 10)."""

from fastsip.location.binding import Binding, BindingSet, Source
from fastsip.location.table import LocationTable, MemoryTable

__all__ = ["Binding", "BindingSet", "LocationTable", "MemoryTable", "Source"]
