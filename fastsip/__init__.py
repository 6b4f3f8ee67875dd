"""fastsip: a fast, multiprocess SIP proxy, registrar and redirect server."""

from typing import TYPE_CHECKING

from fastsip.errors import ParseError, SipError
from fastsip.version import __version__

if TYPE_CHECKING:
    from fastsip._message import Message, parse

__all__ = ["Message", "ParseError", "SipError", "__version__", "parse"]


def __getattr__(name: str) -> object:
    # The compiled parser is loaded when it is first used: the command line's help needs none of it.
    if name in ("Message", "parse"):
        from fastsip import _message

        return getattr(_message, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
