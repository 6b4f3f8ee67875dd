"""One contact an address-of-record is bound to, and the whole set of them."""

from __future__ import annotations

import msgspec

from fastsip._location import decode_bindings, encode_bindings

Source = tuple[int, bytes, int]
"""Address family (4, 6, or 0 for none), 16 bytes of address (IPv4 in the first four, the rest zero), port."""


class Binding(msgspec.Struct, frozen=True, gc=False):
    """A contact address with what its REGISTER said (RFC 3261 10.3 step 7), in the field order of a location record."""

    uri: bytes
    """As received, without the angle brackets."""
    call_id: bytes
    parameters: bytes
    """Contact parameters other than q and expires, as received, without the first semicolon."""
    path: bytes
    q: int
    """Preference in thousandths."""
    transport: int
    """TRANSPORT_* by which the REGISTER came; with `source`, `listener` and `connection` the flow it came on."""
    source: Source
    cseq: int
    listener: int
    expires: int
    """When the binding ends, Unix milliseconds."""
    updated: int
    """When a REGISTER last touched it, Unix milliseconds."""
    connection: int


class BindingSet(msgspec.Struct, frozen=True, gc=False):
    """All bindings of one address-of-record. A set without bindings is the tombstone of a removed one: it says that
    what the store may still hold is older."""

    version: int
    """Grows with every change of this address-of-record, also across restarts."""
    bindings: tuple[Binding, ...]

    def encode(self) -> bytes:
        """The value of its location record. Raises ValueError if a field does not fit its place."""
        return encode_bindings(self.version, map(msgspec.structs.astuple, self.bindings))

    @classmethod
    def decode(cls, value: bytes) -> BindingSet:
        """The set in the value of a location record. Raises ValueError if it is not one."""
        version, bindings = decode_bindings(value)
        return cls(version, tuple([Binding(*fields) for fields in bindings]))
