"""SIP messages as the tests see them: a small reader of its own, so that nothing is judged by the code under test."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

_COMPACT = {
    "v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "c": "content-type",
    "k": "supported", "s": "subject",
}  # fmt: skip
_LISTS = {"via", "record-route", "route", "contact"}


@dataclass(frozen=True)
class Message:
    """One message. `sent` says whether the end whose log this is sent it."""

    raw: bytes
    sent: bool = False
    time: float = 0.0
    source: tuple[str, int] | None = field(default=None, compare=False)

    @cached_property
    def start_line(self) -> str:
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def is_response(self) -> bool:
        return self.start_line.startswith("SIP/2.0 ")

    @property
    def status(self) -> int:
        """Status code, 0 for a request."""
        return int(self.start_line.split(" ", 2)[1]) if self.is_response else 0

    @property
    def method(self) -> str:
        """Method of a request; of a response, the one its CSeq names."""
        return self.one("CSeq").split()[-1] if self.is_response else self.start_line.split(" ", 1)[0]

    @property
    def uri(self) -> str:
        return self.start_line.split(" ")[1]

    @property
    def name(self) -> str:
        """`INVITE` for a request, `180` for a response: what stands on an arrow of a flow diagram."""
        return str(self.status) if self.is_response else self.method

    @cached_property
    def _headers(self) -> list[tuple[str, str]]:
        head = self.raw.split(b"\r\n\r\n", 1)[0].decode("latin-1")
        lines = re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")[1:]
        pairs = []
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            pairs.append((_COMPACT.get(name, name), value.strip()))
        return pairs

    def all(self, name: str) -> list[str]:
        """Every value of a header in order, comma lists of Via, Route, Record-Route and Contact taken apart."""
        name = name.lower()
        values = [value for key, value in self._headers if key == name]
        if name in _LISTS:
            values = [part.strip() for value in values for part in _split_list(value)]
        return values

    def one(self, name: str) -> str:
        """The only value of a header. Raises AssertionError if there is none or more than one."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: expected one value, found {values} in\n{self}"
        return values[0]

    def get(self, name: str) -> str:
        """The first value of a header, "" where there is none."""
        return next(iter(self.all(name)), "")

    @property
    def call_id(self) -> str:
        return self.get("Call-ID")

    @property
    def cseq(self) -> int:
        return int(self.one("CSeq").split()[0])

    @property
    def branch(self) -> str:
        match = re.search(r";\s*branch=([^;,\s]+)", self.get("Via"))
        return match.group(1) if match else ""

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    def __str__(self) -> str:
        arrow = ">" if self.sent else "<"
        return "\n".join(f"  {arrow} {line}" for line in self.raw.decode("latin-1").splitlines())


def _split_list(value: str) -> list[str]:
    parts, depth, quoted, start = [], 0, False, 0
    for index, char in enumerate(value):
        if char == '"' and value[index - 1 : index] != "\\":
            quoted = not quoted
        elif not quoted and char in "<>":
            depth += 1 if char == "<" else -1
        elif not quoted and not depth and char == ",":
            parts.append(value[start:index])
            start = index + 1
    return [*parts, value[start:]]


def tag(value: str) -> str:
    """The tag of a From or To value, "" where there is none."""
    match = re.search(r">?\s*;\s*tag=([^;\s]+)", value)
    return match.group(1) if match else ""


def parameters(challenge: str) -> dict[str, str]:
    """Parameters of a Digest challenge or of credentials, quotes taken off."""
    found = re.findall(r'([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s,]+))', challenge)
    return {name.lower(): quoted or bare for name, quoted, bare in found}
