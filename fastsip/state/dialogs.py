"""The confirmed dialogs, as far as workers told of them. The facts may be lost; calls do not depend on this table."""

from __future__ import annotations

from typing import Any

LIMIT = 500_000
PAGE = 256

DialogKey = tuple[bytes, bytes, bytes]
"""Call-ID, From tag, To tag."""


class Dialogs:
    """A bounded table in the order of confirmation. The oldest dialog is dropped, and counted, for a new one when it is
    full: a dialog whose BYE nobody saw must not stay for ever.

    Dialogs are numbered, and kept in pages of numbers, so that a listing may go on at any number while others come and
    go."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._numbers: dict[DialogKey, int] = {}
        self._pages: dict[int, dict[int, tuple[DialogKey, bytes, bytes, int]]] = {}
        self._next = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def confirmed(self, fact: tuple[Any, ...]) -> None:
        """A DIALOG_CONFIRMED fact; one that is known already changes nothing."""
        _, call_id, from_tag, to_tag, from_uri, to_uri, when = fact
        key = (call_id, from_tag, to_tag)
        if key in self._numbers:
            return
        number = self._next
        self._next = number + 1
        self._numbers[key] = number
        page = self._pages.get(number // PAGE)
        if page is None:
            page = self._pages[number // PAGE] = {}
        page[number] = (key, from_uri, to_uri, when)
        if len(self._numbers) > self._limit:
            self._remove(next(iter(self._numbers)))
            self.dropped += 1

    def ended(self, fact: tuple[Any, ...]) -> None:
        """A DIALOG_ENDED fact. Either side may have sent the BYE, so its tags may be the other way round."""
        _, call_id, from_tag, to_tag = fact
        if (call_id, from_tag, to_tag) in self._numbers:
            self._remove((call_id, from_tag, to_tag))
        elif (call_id, to_tag, from_tag) in self._numbers:
            self._remove((call_id, to_tag, from_tag))

    def list(self, cursor: int, limit: int) -> tuple[int | None, list[dict[str, object]]]:
        """Up to `limit` dialogs numbered from `cursor`, and the number to go on with."""
        found: list[dict[str, object]] = []
        for index, page in self._pages.items():
            if (index + 1) * PAGE <= cursor:
                continue
            for number, (key, from_uri, to_uri, when) in page.items():
                if number < cursor:
                    continue
                if len(found) == limit:
                    return number, found
                found.append(
                    {
                        "call_id": key[0].decode(errors="replace"),
                        "from_tag": key[1].decode(errors="replace"),
                        "to_tag": key[2].decode(errors="replace"),
                        "from": from_uri.decode(errors="replace"),
                        "to": to_uri.decode(errors="replace"),
                        "confirmed": when,
                    }
                )
        return None, found

    def _remove(self, key: DialogKey) -> None:
        number = self._numbers.pop(key)
        page = self._pages[number // PAGE]
        del page[number]
        if not page:
            del self._pages[number // PAGE]
