"""What callgrind wrote, by function and by layer, and what of it grew.

Only fastsip's own modules and the libraries they call are counted; the interpreter around a turn is not. A function is
named as in its source; the copies a compiler makes of it (`.part.0`, `.constprop.0`) count as it. Layers go by the file
an instruction was written in, so that an inlined siphash counts where it is used but a segment lookup as location.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 0.05
"""Share by which a path may get dearer."""
FILES = {
    "scan.h": "message",
    "names.h": "message",
    "chars.h": "message",
    "fsm.h": "transaction",
    "ring.h": "transport",
    "wake.h": "transport",
    "segment.h": "location",
    "binding.h": "location",
    "nonce.h": "digest",
    "libcrypto.h": "digest",
    "queue.h": "worker",
}
LIBRARIES = {"libc": "libc", "libpthread": "libc", "libcrypto": "libcrypto", "clock": "libc"}
_COPY = re.compile(r"(\.(isra|part|constprop|cold|lto_priv)(\.\d+)?)+$|'\d+$")
_CYTHON = re.compile(r"__pyx_(?:f|fuse_\d+|pf|pw)_7fastsip_(\d+)(.*)")


@dataclass
class Costs:
    """Instructions of one run. `functions` are by (layer of the object, name)."""

    messages: int = 0
    sent: int = 0
    """Datagrams the server sent."""
    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    layers: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.functions.total()

    @property
    def per_message(self) -> float:
        return self.total / self.messages if self.messages else 0.0

    @property
    def per_sent(self) -> float:
        return self.total / self.sent if self.sent else 0.0

    def add(self, module: str, file: str, function: str, cost: int) -> None:
        self.functions[module, function] += cost
        self.layers[FILES.get(file, module)] += cost


@dataclass(frozen=True)
class Growth:
    """A function's instructions per received message, before and after."""

    layer: str
    name: str
    before: float
    after: float

    @property
    def more(self) -> float:
        return self.after - self.before


def module_of(path: str) -> str | None:
    """The layer a shared object is, None for one that is not counted."""
    name = Path(path).name.split(".")[0]
    if name.startswith("_") and "fastsip" in path:
        return name[1:]
    return LIBRARIES.get(name)


def function_name(symbol: str) -> str:
    """A name a reader finds in the source: `Worker.turn`, `parse_message`."""
    name = _COPY.sub("", symbol)
    found = _CYTHON.match(name)
    if not found:
        return name
    rest = found.group(2)[int(found.group(1)) :].removeprefix("_")
    parts = []
    while (length := re.match(r"(\d+)", rest)) and len(rest) > int(length.group(1)):
        end = length.end() + int(length.group(1))
        if not rest[length.end() : length.end() + 1].isupper():
            rest = rest[length.end() :]  # the number of a method, not the length of a class's name
            continue
        parts.append(rest[length.end() : end])
        rest = rest[end:].removeprefix("_")
    return ".".join([*parts, rest])


def read_costs(text: str, messages: int, sent: int = 0) -> Costs:
    """Parse a callgrind.out file written with --compress-strings=no. ValueError if it is none."""
    if not text.startswith(("# callgrind format", "version:")):
        raise ValueError("not a callgrind output file")
    costs = Costs(messages, sent)
    module, file, function, called = "", "", "", False
    for line in text.splitlines():
        if line[:1] in "0123456789+-*" and line:
            if called:
                called = False  # what the callee cost is counted where it ran
            elif module_name := module_of(module):
                costs.add(module_name, Path(file).name, function, int(line.split()[1]))
            continue
        key, _, value = line.partition("=")
        if key == "ob":
            module = value
        elif key in ("fl", "fi", "fe"):
            file = value
        elif key == "fn":
            function = function_name(value)
        elif key == "calls":
            called = True
    return costs


def grown(before: Costs, after: Costs) -> tuple[list[Growth], list[Growth]]:
    """Functions that cost more per received message than before and those that cost less, most first."""
    found = [
        Growth(*key, before.functions[key] / before.messages, after.functions[key] / after.messages)
        for key in before.functions.keys() | after.functions.keys()
    ]
    found.sort(key=lambda one: one.more)
    return [one for one in reversed(found) if one.more > 0], [one for one in found if one.more < 0]


def change(before: Costs, after: Costs) -> float:
    """By what share a message got dearer; negative if cheaper."""
    return after.per_message / before.per_message - 1


def too_much(before: Costs, after: Costs) -> bool:
    return change(before, after) > LIMIT
