"""A bounded mapping that forgets what was not used for longest.

Any thread may use it: each step is one operation of the mapping beneath, and none relies on the one before.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """At most `limit` entries. It knows no time: whoever reads an entry sees whether it is too old."""

    __slots__ = ("_entries", "get", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()
        self.get = self._entries.get
        """The value of a key, None if there is none; not yet a use of it."""

    def __len__(self) -> int:
        return len(self._entries)

    def used(self, key: K) -> None:
        """It goes last now, if it is still there."""
        try:
            self._entries.move_to_end(key)
        except KeyError:
            return

    def put(self, key: K, value: V) -> None:
        self._entries.pop(key, None)
        self._entries[key] = value
        while len(self._entries) > self.limit:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        self._entries.pop(key, None)

    def clear(self) -> None:
        self._entries.clear()
