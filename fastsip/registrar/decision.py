"""RFC 3261 10.3 steps 6 to 8 as a function of the current bindings and one REGISTER: no I/O, no clock, no state."""

from __future__ import annotations

import msgspec

from fastsip._message import uri_equal
from fastsip.location import Binding

STAR = 1
"""`Contact: *` with `Expires: 0`: remove every binding. There are no contacts."""
ONLY_IF_APPLIED = 2
"""The credentials were seen before: this may only be the repeat of a REGISTER that was applied."""


class Origin(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Where a REGISTER came from, and by what flow."""

    family: int
    ip: bytes
    port: int
    listener: int
    transport: int
    connection: int


class RegisterContact(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One Contact of a REGISTER."""

    uri: bytes
    """As received, without the angle brackets."""
    q: int
    """Thousandths."""
    expires: int
    """Seconds, the default filled in and the limits applied; 0 removes the binding."""
    parameters: bytes


class Register(msgspec.Struct, frozen=True, array_like=True):
    """One REGISTER, authenticated, as far as it concerns the bindings."""

    token: int
    aor: bytes
    call_id: bytes
    cseq: int
    flags: int
    origin: Origin
    path: bytes
    contacts: tuple[RegisterContact, ...]


def decide(
    current: tuple[Binding, ...], register: Register, now: int, max_contacts: int
) -> tuple[tuple[Binding, ...] | None, int]:
    """The bindings after `register` at `now` (Unix milliseconds) and the status to answer.

    None for the bindings means that nothing changes: the request fails (500, 403, 401), or it says what the bindings
    already say (200). All changes are made or none. Bindings whose time has passed count as gone (RFC 3261 10.3).

    500: a binding it concerns was set by the same Call-ID with a CSeq not lower than this one's (steps 6 and 7).
    403: more than `max_contacts` bindings, unless that many were there before. 401: `ONLY_IF_APPLIED` and it was not.
    """
    live = tuple(b for b in current if b.expires > now)
    if register.flags & STAR:
        return _remove_all(live, register)
    contacts = _last_of_each(register.contacts)
    places = [_find(live, contact.uri) for contact in contacts]
    if _is_applied(live, register, contacts, places):
        return None, 200
    if register.flags & ONLY_IF_APPLIED:
        return None, 401
    changed: list[Binding | None] = list(live)
    for contact, place in zip(contacts, places, strict=True):
        if place is not None and live[place].call_id == register.call_id and register.cseq <= live[place].cseq:
            return None, 500
        binding = _bind(register, contact, now) if contact.expires else None
        if place is not None:
            changed[place] = binding
        elif binding is not None:
            changed.append(binding)
    result = tuple(b for b in changed if b is not None)
    if len(result) > max_contacts and len(result) > len(live):
        return None, 403
    return result, 200


def _remove_all(live: tuple[Binding, ...], register: Register) -> tuple[tuple[Binding, ...] | None, int]:
    if not live:
        return None, 200
    if register.flags & ONLY_IF_APPLIED:
        return None, 401
    if any(b.call_id == register.call_id and register.cseq <= b.cseq for b in live):
        return None, 500
    return (), 200


def _is_applied(
    live: tuple[Binding, ...],
    register: Register,
    contacts: tuple[RegisterContact, ...],
    places: list[int | None],
) -> bool:
    # A REGISTER comes again when its answer was lost, or when the worker that sent the fact did not hear that it was
    # applied. Call-ID and CSeq name the request, so bindings that carry both and removals with nothing left to remove
    # are its work.
    for contact, place in zip(contacts, places, strict=True):
        if place is None:
            if contact.expires:
                return False
        elif not contact.expires or live[place].cseq != register.cseq or live[place].call_id != register.call_id:
            return False
    return True


def _last_of_each(contacts: tuple[RegisterContact, ...]) -> tuple[RegisterContact, ...]:
    """Of contacts that are the same URI, the last one: that is what processing them in turn comes to."""
    if len(contacts) < 2:
        return contacts
    return tuple(
        contact
        for index, contact in enumerate(contacts)
        if not any(_same_uri(contact.uri, later.uri) for later in contacts[index + 1 :])
    )


def _find(bindings: tuple[Binding, ...], uri: bytes) -> int | None:
    for index, binding in enumerate(bindings):
        if _same_uri(binding.uri, uri):
            return index
    return None


def _same_uri(a: bytes, b: bytes) -> bool:
    return a == b or bool(uri_equal(a, b))


def _bind(register: Register, contact: RegisterContact, now: int) -> Binding:
    origin = register.origin
    return Binding(
        uri=contact.uri,
        call_id=register.call_id,
        parameters=contact.parameters,
        path=register.path,
        q=contact.q,
        transport=origin.transport,
        source=(origin.family, origin.ip, origin.port),
        cseq=register.cseq,
        listener=origin.listener,
        expires=now + contact.expires * 1000,
        updated=now,
        connection=origin.connection,
    )
