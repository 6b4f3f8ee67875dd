"""Facts on the wire: what workers tell the state process over ZeroMQ, and what it answers. Version 1.

A worker is a DEALER, the state process a ROUTER. Frames (behind the identity):

    worker -> state  b"H", [worker, incarnation, oldest?]                          hello
    worker -> state  b"F", [worker, incarnation, first, count, oldest?], body      facts
    state -> worker  b"H", [incarnation of the state process, applied]
    state -> worker  b"A", [applied, [[token, status, retry_after], ...]]          one for each batch
    admin -> state   b"Q", [id, command, arguments]
    state -> admin   b"R", [id, ok, result]

All second frames are msgpack. A body is `count` facts one after another, numbered from `first`, as arrays whose first
element is the kind; texts are msgpack bin:

    REGISTER          [1, token, aor, call_id, cseq, flags, [family, ip, port, listener, transport, connection], path,
                       [[uri, q, expires, parameters], ...]]
    DIALOG_CONFIRMED  [2, call_id, from_tag, to_tag, from_uri, to_uri, unix_ms]
    DIALOG_ENDED      [3, call_id, from_tag, to_tag]

`fastsip._facts` reads bodies. Facts of one worker and incarnation are numbered from 1 and applied in that order, each
once. `oldest` is the first number the worker still keeps: all before it were acknowledged or given up. With it a state
process that never heard of the worker knows where to begin, and one that did knows what it need not wait for. A batch
that leaves a gap is then not applied: the answer says what is, and the worker sends again from there. Without `oldest`
a gap counts as given up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

VERSION = 1

HELLO = b"H"
FACTS = b"F"
ACKNOWLEDGE = b"A"
QUERY = b"Q"
REPLY = b"R"

BODY_LIMIT = 16 * 1024 * 1024

Outcome = tuple[int, int, int]
"""token, status, retry_after in seconds."""


class Malformed(ValueError):
    """A frame that does not follow the format above."""


class Hello(msgspec.Struct, frozen=True, array_like=True):
    worker: int
    incarnation: int
    oldest: int = 0
    """0 when the worker does not say."""


class Batch(msgspec.Struct, frozen=True, array_like=True):
    worker: int
    incarnation: int
    first: int
    count: int
    oldest: int = 0


class Query(msgspec.Struct, frozen=True, array_like=True):
    id: int
    command: str
    arguments: dict[str, Any]


_hello = msgspec.msgpack.Decoder(Hello)
_batch = msgspec.msgpack.Decoder(Batch)
_query = msgspec.msgpack.Decoder(Query)


def decode_hello(frame: bytes) -> Hello:
    """Raises Malformed."""
    try:
        return _hello.decode(frame)
    except msgspec.MsgspecError as error:
        raise Malformed(f"hello: {error}") from None


def decode_batch(frame: bytes) -> Batch:
    """Raises Malformed."""
    try:
        return _batch.decode(frame)
    except msgspec.MsgspecError as error:
        raise Malformed(f"batch: {error}") from None


def decode_query(frame: bytes) -> Query:
    """Raises Malformed."""
    try:
        return _query.decode(frame)
    except msgspec.MsgspecError as error:
        raise Malformed(f"query: {error}") from None


def encode_hello(incarnation: int, applied: int) -> bytes:
    return msgspec.msgpack.encode((incarnation, applied))


def encode_acknowledge(applied: int, outcomes: Iterable[Outcome]) -> bytes:
    return msgspec.msgpack.encode((applied, list(outcomes)))


def encode_reply(query: int, ok: bool, result: object) -> bytes:
    return msgspec.msgpack.encode((query, ok, result))
