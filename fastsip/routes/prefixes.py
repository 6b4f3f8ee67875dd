"""The longest of many prefixes that a text begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

V = TypeVar("V")


class Prefixes(Generic[V]):
    """A table that is made once and read often. One lookup is a binary search over the lengths there are, not over the
    prefixes: with ten thousand of seven lengths, three looks into a dictionary.

    For that, where a search has to go on to longer prefixes than the length it looks at first, the table of that length
    has their beginnings too, each with the longest prefix that it itself begins with, so that a search never goes back
    (Waldvogel and others, "Scalable High Speed IP Routing Lookups", 1997).
    """

    def __init__(self, prefixes: Mapping[str, V]) -> None:
        self._lengths = sorted({len(prefix) for prefix in prefixes})
        # In the dictionaries stands a place in the list, which may hold None: nothing so far.
        self._values: list[V | None] = [None]
        tables: list[dict[str, int]] = [{} for _ in self._lengths]
        places = {prefix: place for place, prefix in enumerate(prefixes, 1)}
        self._values += prefixes.values()
        for prefix, place in places.items():
            low, high = 0, len(self._lengths)
            while True:
                middle = (low + high) // 2
                length = self._lengths[middle]
                if length == len(prefix):
                    tables[middle][prefix] = place
                    break
                if length > len(prefix):
                    high = middle
                    continue
                low = middle + 1
                beginning = prefix[:length]
                if beginning not in tables[middle]:
                    shorter = (places.get(beginning[:end]) for end in range(length, -1, -1))
                    tables[middle][beginning] = next((found for found in shorter if found is not None), 0)
        self._root = self._node(tables, 0, len(tables))

    def longest(self, text: str) -> V | None:
        """The value of the longest prefix that `text` begins with, None if there is none."""
        node = self._root
        best = 0
        while node:
            length, get, shorter, longer = node
            place = get(text[:length])
            if place is None:
                node = shorter
            else:
                best = place
                node = longer
        return self._values[best]

    def _node(self, tables: list[dict[str, int]], low: int, high: int) -> tuple:  # type: ignore[type-arg]
        """(length, lookup, node for shorter ones, node for longer ones), empty where there is none."""
        if low == high:
            return ()
        middle = (low + high) // 2
        below, above = self._node(tables, low, middle), self._node(tables, middle + 1, high)
        return self._lengths[middle], tables[middle].get, below, above
