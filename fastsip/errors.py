"""The errors fastsip raises."""


class SipError(Exception):
    """Base of them all."""


class ParseError(SipError, ValueError):
    """Bytes that are no SIP message.

    Attributes:
        reason: what is wrong, in words.
        offset: of the byte where it is wrong, in the buffer given.
        status: what a server answers such a request: 400, 413, 505 or 513.
        header: name of the header field at fault, "" if it is none that fastsip knows.
    """

    def __init__(self, reason: str, *, offset: int, status: int, header: str = "") -> None:
        where = f"{header}, offset {offset}" if header else f"offset {offset}"
        super().__init__(f"{reason} ({where})")
        self.reason = reason
        self.offset = offset
        self.status = status
        self.header = header


class UsageError(SipError, RuntimeError):
    """A call that cannot be followed now: an answer after the final one, something of a transaction that has ended."""


class LimitReached(SipError):
    """A transaction more than `limit` allows."""
