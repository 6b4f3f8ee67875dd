"""Whether a regular expression may hold up a worker: how many ways there are for it to go through a short name.

Python's engine tries one way after another where a name does not fit. What is counted here is never fewer than those:
the choices of each repeat and alternative, multiplied, as if every one of them could stop anywhere. So patterns are
refused that would do no harm, such as "([0-9]+-)+", and none is let through that would.
"""

from __future__ import annotations

from collections.abc import Iterable
from re import _parser  # type: ignore[attr-defined]
from typing import Any

LONGEST_NAME = 64
"""Characters of a number or name that patterns are tried on."""
WAYS_AT_MOST = 1 << 20
"""Some tens of milliseconds."""
ALLOWED = (
    f"it could be tried in more than a million ways on a name of {LONGEST_NAME} characters: write no repeat inside a "
    'repeat and at most three repeats without an end ("[0-9]*"), others with one ("[0-9]{1,4}")'
)


def is_slow(pattern: str) -> bool:
    """Raises re.error if it is no regular expression."""
    return _ways(_parser.parse(pattern)) > WAYS_AT_MOST


def _ways(sequence: Iterable[tuple[Any, Any]]) -> int:
    """In how many ways a part may match what follows one place; at most one more than is allowed."""
    ways = 1
    for operation, argument in sequence:
        ways = min(ways * _choices(str(operation), argument), WAYS_AT_MOST + 1)
    return ways


def _choices(operation: str, argument: Any) -> int:
    if operation in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return _repeated(*argument)
    if operation == "BRANCH":
        return _alternatives(argument[1])
    if operation == "GROUPREF_EXISTS":
        return _ways(argument[1]) + _ways(argument[2] or ())
    if operation == "SUBPATTERN":
        return _ways(argument[3])
    if operation in ("ASSERT", "ASSERT_NOT"):
        return _ways(argument[1])
    return _ways(argument) if operation == "ATOMIC_GROUP" else 1


def _repeated(least: int, most: int, body: Any) -> int:
    most = min(int(most), LONGEST_NAME // max(1, body.getwidth()[0]))
    ways = _ways(body)
    if ways == 1:
        return max(1, most - least + 1)
    total = 0
    for times in range(least, most + 1):
        total += ways**times
        if total > WAYS_AT_MOST:
            break
    return max(1, total)


def _alternatives(branches: list[Any]) -> int:
    """Only one of those that begin with different characters can match."""
    begins = {chr(each[0][1]).casefold() for each in branches if len(each) and str(each[0][0]) == "LITERAL"}
    return (max if len(begins) == len(branches) else sum)(map(_ways, branches))
