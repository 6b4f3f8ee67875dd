"""Telephone numbers as they stand in URIs (RFC 3966; RFC 3261 19.1.6), in one form that can be compared and routed.

    number_of(Uri("tel:+1-972-555-2222"))                            Number("+19725552222")
    number_of(Uri("sip:7042;phone-context=example.com@gw;user=phone"))   Number("7042", context="example.com")

Visual separators are gone (5.1.1), digits of a local number and domain names are in one case, parameters are in the
order of RFC 3966 3. So two numbers are the same if they are equal, which is what section 5 asks for.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import msgspec

from fastsip._message import Uri

SEPARATORS = "-.()"
"""RFC 3966 3, visual-separator."""

_REMOVE = str.maketrans("", "", SEPARATORS)
_GLOBAL = re.compile(r"\+[0-9]+")
_LOCAL = re.compile(r"[0-9A-F*#]+")
_DIALLED = re.compile(r"\+?[0-9*#]+")
"""What is a number though nobody says so: a user of these characters alone, separators apart."""
_DOMAIN = re.compile(r"(?:[A-Z0-9](?:[A-Z0-9-]*[A-Z0-9])?\.)*[A-Z](?:[A-Z0-9-]*[A-Z0-9])?\.?", re.IGNORECASE)
USER = "+*&=$,;?/!~'()-_."
"""Characters that need no escape in a SIP URI's user (RFC 3261 25.1)."""


class Number(msgspec.Struct, frozen=True):
    """A telephone number."""

    digits: str
    """With a "+" in front if it is a global number. A local one may have * and # and A to F."""
    context: str | None = None
    """phone-context of a local number: a domain name in lower case, or "+1972"."""
    extension: str | None = None
    """ext: digits."""
    subaddress: str | None = None
    """isub."""
    post_dial: str | None = None
    """postd, of RFC 2806."""
    parameters: tuple[tuple[str, str], ...] = ()
    """All others by name, such as those of number portability (RFC 4694)."""
    declared: bool = msgspec.field(default=True)
    """Whether the URI says that it is one: tel, or user=phone. Otherwise it looks like one."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def is_global(self) -> bool:
        return self.digits.startswith("+")

    @property
    def length(self) -> int:
        """Digits, without the "+"."""
        return len(self.digits) - self.is_global

    def dialled(self, digits: str) -> Number:
        """The same with other digits, by a dial plan: what was said for the old ones (phone-context) goes, unless both
        are local."""
        keeps = not self.is_global and not digits.startswith("+")
        return msgspec.structs.replace(self, digits=digits, context=self.context if keeps else None)

    def subscriber(self) -> str:
        """telephone-subscriber of RFC 3966, without escapes: what stands behind "tel:"."""
        parts = [self.digits]
        named = [("isub", self.subaddress), ("ext", self.extension), ("postd", self.post_dial)]
        for name, value in [*named, ("phone-context", self.context), *self.parameters]:
            if value is not None:
                parts.append(f"{name}={value}" if value else name)
        return ";".join(parts)

    def tel(self) -> str:
        return f"tel:{quote(self.subscriber(), safe=USER + '#')}"

    def sip(self, host: str, parameters: str = "", scheme: str = "sip") -> str:
        """As a SIP URI there: the subscriber becomes its user (RFC 3261 19.1.6). `host` may have a port, `parameters`
        are text such as ";transport=tcp"."""
        return f"{scheme}:{quote(self.subscriber(), safe=USER)}@{host}{parameters};user=phone"

    def _key(self) -> tuple[object, ...]:
        return (self.digits, self.context, self.extension, self.subaddress, self.post_dial, self.parameters)


def number_of(uri: Uri) -> Number | None:
    """The number a URI holds, None if it is none: a tel URI; a SIP URI with user=phone; or one whose user looks like
    what people dial (`Number.declared` is False then, and its phone-context may be missing)."""
    if uri.scheme == "tel":
        given = [(name, unquote(value)) for name, value in uri.parameters.items()]
        return _number(unquote(uri.user or ""), given, True)
    if uri.scheme not in ("sip", "sips") or not uri.user:
        return None
    subscriber, *pairs = uri.user.split(";")
    declared = uri.parameters.get("user", "").lower() == "phone"
    context = uri.parameters.get("phone-context")  # where drafts before RFC 2806 had it
    given = [(name, value) for name, _, value in (pair.partition("=") for pair in pairs)]
    if context is not None and not any(name.lower() == "phone-context" for name, _ in given):
        given.append(("phone-context", context))
    if not declared and not _DIALLED.fullmatch(subscriber.translate(_REMOVE)):
        return None
    return _number(subscriber, given, declared)


def dialled(text: str) -> Number | None:
    """The number of a text such as "+1-972-555-2222" or "7042;phone-context=example.com", None if it is none."""
    subscriber, *pairs = text.split(";")
    return _number(subscriber, [(name, value) for name, _, value in (pair.partition("=") for pair in pairs)], True)


def _number(text: str, given: list[tuple[str, str]], declared: bool) -> Number | None:
    digits = text.translate(_REMOVE).upper()
    if not (_GLOBAL if digits.startswith("+") else _LOCAL).fullmatch(digits):
        return None
    parameters = {name.lower(): value for name, value in given}
    if len(parameters) != len(given) or "" in parameters:
        return None  # RFC 3966 3: each at most once
    context = parameters.pop("phone-context", None)
    extension = parameters.pop("ext", None)
    return Number(
        digits,
        context_of(context) if context is not None and not digits.startswith("+") else None,
        extension.translate(_REMOVE) if extension is not None else None,
        parameters.pop("isub", None),
        parameters.pop("postd", None),
        tuple(sorted((name, value.lower()) for name, value in parameters.items())),
        declared,
    )


def context_of(text: str) -> str:
    """A phone-context in its one form. What is neither a domain nor global digits, as of old private plans, is kept."""
    if text.startswith("+"):
        return text.translate(_REMOVE)
    return text.lower().rstrip(".") if _DOMAIN.fullmatch(text) else text.lower()
