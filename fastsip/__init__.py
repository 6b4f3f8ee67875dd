"""fastsip: a fast, multiprocess SIP proxy, registrar and redirect server."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fastsip.errors import LimitReached, ParseError, SipError, UsageError
from fastsip.version import __version__

if TYPE_CHECKING:
    from fastsip._message import Headers, Message, NameAddr, Parameters, Uri, Via, parse
    from fastsip._table import Transaction, TransactionTable
    from fastsip.config import ConfigurationError
    from fastsip.process.embedded import Proxy
    from fastsip.process.problems import CannotStart

__all__ = [
    "CannotStart", "ConfigurationError", "Headers", "LimitReached", "Message", "NameAddr", "Parameters", "ParseError",
    "Proxy", "SipError", "Transaction", "TransactionTable", "Uri", "UsageError", "Via", "__version__", "get_include",
    "parse",
]  # fmt: skip

# What is compiled or large is loaded when it is first used: the command line's help needs none of it.
_HOMES = {
    "fastsip._message": ("Headers", "Message", "NameAddr", "Parameters", "Uri", "Via", "parse"),
    "fastsip._table": ("Transaction", "TransactionTable"),
    "fastsip.config": ("ConfigurationError",),
    "fastsip.process.embedded": ("Proxy",),
    "fastsip.process.problems": ("CannotStart",),
}


def get_include() -> str:
    """The folder of the C headers that fastsip's .pxd files name, for `Extension(include_dirs=[...])`."""
    package = Path(__file__).parent
    installed = package / "include"
    return str(installed if installed.is_dir() else package.parent / "ext")


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            module = import_module(home)
            globals().update({each: getattr(module, each) for each in names})
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
