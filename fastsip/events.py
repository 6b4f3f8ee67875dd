"""What a `TransactionTable` has to tell. Match on the class; fields may be taken by position.

    for event in table.receive(data, source, now):
        match event:
            case RequestReceived(message, transaction):
                transaction.respond(486, now)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fastsip._message import Message
    from fastsip._table import Address, Transaction
    from fastsip.errors import ParseError


class Event(msgspec.Struct, frozen=True):
    """Base of them all."""


class RequestReceived(Event, frozen=True):
    """A request that began a server transaction. It waits for `transaction.respond`."""

    message: Message
    transaction: Transaction
    source: Address


class CancelReceived(Event, frozen=True):
    """A CANCEL, which is a transaction of its own (RFC 3261 9.2): 200 if it names one, which then gets 487, or 481."""

    message: Message
    transaction: Transaction
    source: Address
    cancels: Transaction | None
    """The INVITE's server transaction, None if there is none."""


class AckReceived(Event, frozen=True):
    """An ACK of a 2xx. That of another final response ends in the table (17.2.1)."""

    message: Message
    transaction: Transaction | None
    """The INVITE's server transaction, None if there is none: an ACK has its own branch, and then the dialog knows."""
    source: Address


class RequestRefused(Event, frozen=True):
    """A request for which there was no room. It comes again soon, or may be answered with 503 without a transaction."""

    message: Message
    source: Address


class ResponseReceived(Event, frozen=True):
    """A response to a request sent: every provisional, the first final one, and every 2xx to an INVITE (RFC 6026)."""

    message: Message
    transaction: Transaction
    source: Address


class StrayResponse(Event, frozen=True):
    """A response that belongs to no client transaction."""

    message: Message
    source: Address


class Malformed(Event, frozen=True):
    """Bytes that are no SIP message, or one that must be refused; `error.status` says how, if it is worth an answer."""

    error: ParseError
    source: Address


class Timeout(Event, frozen=True):
    """No final response came to a request (Timer B or F), or no ACK to a final response (H). Terminated follows."""

    transaction: Transaction


class TransportError(Event, frozen=True):
    """Something of this transaction cannot be sent. A client transaction is then terminated; a server's stays."""

    transaction: Transaction


class Terminated(Event, frozen=True):
    """The last event of every transaction: nothing comes for it any more."""

    transaction: Transaction
