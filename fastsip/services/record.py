"""The services of one address-of-record, as they are kept: what RECORD_SERVICES holds, and what the planner reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

RING_TIME = 20.0
"""Seconds a person's devices ring before forward_no_answer or the next of find_me, unless he says otherwise."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Services of one address-of-record. Addresses are URIs; one whose address-of-record is this server's means the
    person with his devices and his services."""

    forward_always: str | None = None
    """All calls go there, his own devices do not ring."""
    forward_busy: str | None = None
    """After 486; at once while do_not_disturb is on."""
    forward_no_answer: str | None = None
    """After `ring_time`, 408, 480 or 487."""
    forward_unavailable: str | None = None
    """When no device is registered, or none could be reached. Without it forward_no_answer does that too."""
    ring_time: float | None = None
    """Seconds each step rings; None: RING_TIME where something follows, else until the caller gives up or Timer C."""
    find_me: tuple[tuple[str, ...], ...] = ()
    """In place of his devices: groups, one after another, a group at once. He himself in a group means his devices."""
    block_incoming: tuple[str, ...] = ()
    """Globs over From and P-Asserted-Identity of those who get 403."""
    block_outgoing: tuple[str, ...] = ()
    """Globs over what he may not call, nor have his calls forwarded to."""
    refuse_anonymous: bool = False
    """433 for callers who hide who they are."""
    do_not_disturb: bool = False
    """480, or forward_busy."""
    redirect: bool = False
    """Callers are told where he is, with 302, and call there themselves: forward_always, else his devices."""
    added: tuple[str, ...] = ()
    """Names of those that `ctl services` set, which are in the store; the others are in the configuration."""
    below: Record | None = None
    """Where both say something, what the configuration alone says."""


KEYS = tuple(f.name for f in msgspec.structs.fields(Record) if f.name not in ("added", "below"))
"""Names of the services, in the order people are told them."""
NOTHING = Record()

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """The value of its location record: msgpack, only what differs from the default."""
    return _encoder.encode(record)


def decode(value: bytes) -> Record:
    """What `encode` made. Raises ValueError for anything else; keys of later versions are ignored."""
    try:
        return _decoder.decode(value)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a record of services: {error}") from None


def plain(record: Record) -> dict[str, Any]:
    """The services that are set, as JSON has them."""
    data: dict[str, Any] = msgspec.to_builtins(record)
    return {key: value for key, value in data.items() if key in KEYS}


def from_plain(data: object) -> Record:
    """What `plain` made. Raises ValueError for anything else."""
    try:
        return msgspec.convert(data, Record)
    except msgspec.ValidationError as error:
        raise ValueError(f"not a record of services: {error}") from None


def configured(record: Record | None) -> Record:
    """What the configuration alone says."""
    if record is None or not record.added:
        return record or NOTHING
    return record.below or NOTHING


def changes(record: Record | None) -> dict[str, Any]:
    """What was set over it at run time, by name."""
    return some(record, record.added) if record is not None else {}


def some(record: Record, names: Iterable[str]) -> dict[str, Any]:
    """These of its services, by name."""
    return {name: getattr(record, name) for name in names}


def overlaid(below: Record, over: dict[str, Any]) -> Record:
    """What the configuration says, and what was set at run time over it."""
    if not over:
        return below
    added = tuple(key for key in KEYS if key in over)
    return msgspec.structs.replace(below, **over, added=added, below=below if below != NOTHING else None)
