"""Block lists: globs over identities, such as "sip:spammer@*" or "sip:+1900*", as one compiled pattern.

An identity is matched without case, without parameters, password, port and headers, escapes undone; sips is sip. A
number matches with and without its separators, as a tel URI, as a SIP user at its host, and as a SIP user alone, its
own parameters such as ;isub left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from fastsip._message import Uri

Blocks = Callable[[list[str]], bool]
"""Whether one of these forms (of `forms`) is on the list."""

_NUMBER = re.compile(r"\+?[0-9*#().\-]*[0-9][0-9*#().\-]*")
_NUMBER_GLOB = re.compile(r"((?:sip|tel):)([+0-9*?#().\-]+)(@.*)?")
_SEPARATORS = str.maketrans("", "", "-.()")


def compile_globs(globs: Iterable[str]) -> Blocks | None:
    """What says whether an identity is on the list; None for an empty one."""
    patterns = [_pattern(_normal(glob)) for glob in globs]
    if not patterns:
        return None
    fits = re.compile("|".join(patterns), re.DOTALL).fullmatch
    return lambda forms: any(map(fits, forms))


def forms(uri: Uri, host: str | None = None) -> list[str]:
    """What an identity may be called on a list; with `host` in place of its own."""
    user, host = (uri.user or "").lower(), (host or uri.host or "").lower()
    if uri.scheme == "tel":
        number = user.translate(_SEPARATORS)
        return [f"tel:{number}", f"sip:{number}", f"sip:{number}@"]
    if not host:
        return [str(uri).lower()]
    if not user:
        return [f"sip:{host}"]
    found = [f"sip:{user}@{host}", f"sip:{user}"]
    subscriber = user.partition(";")[0]
    if _NUMBER.fullmatch(subscriber):
        number = subscriber.translate(_SEPARATORS)
        found += [f"sip:{number}@{host}", f"sip:{number}", f"tel:{number}"]
    return found


def _normal(glob: str) -> str:
    text = glob.lower()
    if text.startswith("sips:"):
        text = "sip:" + text[5:]
    if number := _NUMBER_GLOB.fullmatch(text):
        text = number[1] + number[2].translate(_SEPARATORS) + (number[3] or "")
    return text


def _pattern(glob: str) -> str:
    # Once the text between two stars has been found at its first place no other place is better, so nothing is tried
    # again, however long a name a stranger gives himself.
    first, *rest = [re.escape(part).replace(r"\?", ".") for part in re.sub(r"\*+", "*", glob).split("*")]
    if not rest:
        return f"(?:{first})"
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
    return f"(?:{first}{middle}.*{rest[-1]})"
